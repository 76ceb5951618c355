//! What the tests share: a network with an agent that verifies everything, the test canister, the control interface.
#![allow(dead_code, reason = "each test file uses its part")]

use candid::utils::{ArgumentDecoder, ArgumentEncoder};
use candid::{Encode, Principal};
use emc_localnet::Network;
use ic_agent::Agent;
use ic_agent::identity::BasicIdentity;
use ic_management_canister_types::{CanisterIdRecord, CanisterStatusResult};
use ic_utils::interfaces::ManagementCanister;
use ic_utils::interfaces::management_canister::builders::CanisterInstallMode;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The test canister's module, built by the first test that needs it.
pub fn module() -> &'static [u8] {
    static MODULE: OnceLock<Vec<u8>> = OnceLock::new();
    MODULE.get_or_init(|| {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        let built = Command::new(env!("CARGO"))
            .current_dir(&root)
            .args([
                "build",
                "--quiet",
                "--package",
                "emc-localnet-test-canister",
                "--profile",
                "canister",
            ])
            .args(["--target", "wasm32-unknown-unknown", "--target-dir"])
            .arg(target_folder())
            .status()
            .expect("cargo runs");
        assert!(
            built.success(),
            "building the test canister failed; is the target wasm32-unknown-unknown installed?"
        );
        let file =
            target_folder().join("wasm32-unknown-unknown/canister/emc_localnet_test_canister.wasm");
        std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
    })
}

/// The folder that this test's own executable was built into.
fn target_folder() -> PathBuf {
    let executable = std::env::current_exe().expect("a path");
    executable
        .ancestors()
        .nth(3)
        .expect("target/debug/deps/test")
        .to_path_buf()
}

/// A network and an agent of one user on it.
pub struct Setting {
    pub network: Network,
    pub agent: Agent,
}

impl Setting {
    pub async fn new() -> Self {
        Self::on(
            Network::builder()
                .seed(7)
                .start()
                .expect("the network starts"),
        )
        .await
    }

    pub async fn on(network: Network) -> Self {
        let agent = agent(&network, 1).await;
        Self { network, agent }
    }

    pub fn management(&self) -> ManagementCanister<'_> {
        ManagementCanister::create(&self.agent)
    }

    pub async fn create(&self) -> Principal {
        let effective =
            Principal::from_text(self.network.default_effective_canister_id()).expect("an id");
        self.management()
            .create_canister()
            .as_provisional_create_with_amount(None)
            .with_effective_canister_id(effective)
            .await
            .expect("created")
            .0
    }

    /// Creates a canister and installs the test canister in it.
    pub async fn install(&self) -> Principal {
        let id = self.create().await;
        self.management()
            .install_code(&id, module())
            .with_mode(CanisterInstallMode::Install)
            .await
            .expect("installed");
        id
    }

    pub async fn upgrade(&self, id: Principal, fail: bool) -> Result<(), String> {
        self.management()
            .install_code(&id, module())
            .with_mode(CanisterInstallMode::Upgrade(None))
            .with_raw_arg(Encode!(&Some(fail)).expect("encodes"))
            .await
            .map_err(|e| e.to_string())
    }

    pub async fn try_update<A: ArgumentEncoder, R: for<'a> ArgumentDecoder<'a>>(
        &self,
        id: Principal,
        method: &str,
        arguments: A,
    ) -> Result<R, String> {
        let bytes = candid::encode_args(arguments).expect("encodes");
        let reply = self
            .agent
            .update(&id, method)
            .with_arg(bytes)
            .call_and_wait()
            .await
            .map_err(|e| format!("{e:?}"))?;
        Ok(candid::decode_args(&reply).expect("the expected type"))
    }

    pub async fn update<A: ArgumentEncoder, R: for<'a> ArgumentDecoder<'a>>(
        &self,
        id: Principal,
        method: &str,
        arguments: A,
    ) -> R {
        self.try_update(id, method, arguments)
            .await
            .unwrap_or_else(|e| panic!("{method}: {e}"))
    }

    pub async fn try_query<A: ArgumentEncoder, R: for<'a> ArgumentDecoder<'a>>(
        &self,
        id: Principal,
        method: &str,
        arguments: A,
    ) -> Result<R, String> {
        let bytes = candid::encode_args(arguments).expect("encodes");
        let reply = self
            .agent
            .query(&id, method)
            .with_arg(bytes)
            .call()
            .await
            .map_err(|e| format!("{e:?}"))?;
        Ok(candid::decode_args(&reply).expect("the expected type"))
    }

    pub async fn query<A: ArgumentEncoder, R: for<'a> ArgumentDecoder<'a>>(
        &self,
        id: Principal,
        method: &str,
        arguments: A,
    ) -> R {
        self.try_query(id, method, arguments)
            .await
            .unwrap_or_else(|e| panic!("{method}: {e}"))
    }

    /// A management method with arguments of the interface's own types.
    pub async fn manage<A: ArgumentEncoder, R: for<'a> ArgumentDecoder<'a>>(
        &self,
        id: Principal,
        method: &str,
        arguments: A,
    ) -> Result<R, String> {
        let bytes = candid::encode_args(arguments).expect("encodes");
        let call = self
            .agent
            .update(&Principal::management_canister(), method)
            .with_effective_canister_id(id);
        let reply = call
            .with_arg(bytes)
            .call_and_wait()
            .await
            .map_err(|e| format!("{e:?}"))?;
        Ok(candid::decode_args(&reply).expect("the expected type"))
    }

    pub async fn status(&self, id: Principal) -> CanisterStatusResult {
        let (status,) = self
            .manage(
                id,
                "canister_status",
                (CanisterIdRecord { canister_id: id },),
            )
            .await
            .expect("a status");
        status
    }

    /// (count, ticks, cleanups, entries of the stable map, stable pages)
    pub async fn state(&self, id: Principal) -> (u64, u64, u64, u64, u64) {
        self.query(id, "state", ()).await
    }

    /// The control interface: status and JSON.
    pub fn control(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, _, body) = http(&self.network, method, path, &[], body.as_bytes());
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub fn advance(&self, seconds: u64) {
        let (status, _) = self.control("POST", "/_/time", &format!("{{\"advance_s\":{seconds}}}"));
        assert_eq!(status, 200);
        let (status, ticked) = self.control("POST", "/_/tick", "");
        assert_eq!((status, &ticked["idle"]), (200, &Value::Bool(true)));
    }

    pub fn fault(&self, json: &str) {
        let (status, answer) = self.control("POST", "/_/faults", json);
        assert_eq!(status, 200, "{answer}");
    }
}

pub async fn agent(network: &Network, key: u8) -> Agent {
    let identity = BasicIdentity::from_raw_key(&[key; 32]);
    let agent = Agent::builder()
        .with_url(network.url())
        .with_identity(identity)
        .build()
        .expect("an agent");
    agent.fetch_root_key().await.expect("a root key");
    assert_eq!(agent.read_root_key(), network.root_key());
    agent
}

/// A plain HTTP request: status, head, body.
pub fn http(
    network: &Network,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(network.address()).expect("connects");
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    if !headers.iter().any(|h| h.0 == "host") {
        head += "host: localhost\r\n";
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream
        .write_all(format!("{head}\r\n").as_bytes())
        .expect("sent");
    stream.write_all(body).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answered");
    let end = answer
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .expect("a status");
    (status, head, answer[end + 4..].to_vec())
}
