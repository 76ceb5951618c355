//! `icp deploy` with this repository's icp.yaml, on the embedded network: the canisters find each other, and an upgrade
//! with the other argument works, too.

use anyhow::{Context, Result, ensure};
use emc_client::{CanisterIds, Client, Network};
use emc_devnet::DevNetwork;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A project folder and a home of its own for the `icp` command.
struct Project {
    folder: tempfile::TempDir,
    icp: PathBuf,
}

impl Project {
    /// The repository's icp.yaml for a network at `url`. The canisters are built already, so the build steps only copy.
    fn new(url: &str) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("tests/ has a parent")?;
        let icp = root.join(".emc/bin/icp");
        ensure!(
            icp.exists(),
            "{} is missing: run `cargo xtask setup`",
            icp.display()
        );
        let built = xtask::canisters::build(&xtask::canisters::Options { quiet: true })?;
        let modules = built[0]
            .wasm_gz
            .parent()
            .context("modules lie in a folder")?;
        let manifest = std::fs::read_to_string(root.join("icp.yaml"))?;
        for expected in [
            "cargo xtask build",
            ".emc/canisters",
            "http://127.0.0.1:8000",
        ] {
            ensure!(
                manifest.contains(expected),
                "icp.yaml no longer says {expected}"
            );
        }
        let manifest = manifest
            .replace("cargo xtask build", "echo built")
            .replace(".emc/canisters", &modules.to_string_lossy())
            .replace("http://127.0.0.1:8000", url);
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("home"))?;
        std::fs::write(folder.path().join("icp.yaml"), manifest)?;
        Ok(Self { folder, icp })
    }

    fn icp(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.icp)
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path().join("home"))
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME")
            .output()
            .context("running icp")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "icp {} failed:\n{said}\n{complained}",
            arguments.join(" ")
        );
        Ok(said)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn icp_deploys_the_market_and_upgrades_it() -> Result<()> {
    if std::env::var_os("EMC_NETWORK").is_some_and(|url| !url.is_empty()) {
        println!("skipped: this test brings its own network");
        return Ok(());
    }
    let network = DevNetwork::embedded(71, "127.0.0.1:0").await?;
    let project = Project::new(network.url())?;
    project.icp(&["identity", "new", "operator", "--storage", "plaintext"])?;
    let operator = project.icp(&["identity", "principal", "--identity", "operator"])?;
    let operator = candid::Principal::from_text(operator.trim())?;
    let deploy = [
        "deploy",
        "--environment",
        "devnet",
        "--identity",
        "operator",
        "--yes",
    ];
    project.icp(&deploy)?;

    let ids = project
        .folder
        .path()
        .join(".icp/data/mappings/devnet.ids.json");
    let all: serde_json::Value = serde_json::from_slice(&std::fs::read(&ids)?)?;
    let ids = CanisterIds::from_file(&ids, "devnet")?;
    let client = Client::builder()
        .network(Network::Url(network.url().to_owned()))
        .build()
        .await?;
    let escrow = client.escrow(ids.escrow);
    let info = escrow.info().await?;
    ensure!(
        info.ledger == ids.ledger && info.registry == ids.registry,
        "the canisters found each other"
    );
    ensure!(
        info.governor == operator && info.treasury == operator,
        "who deploys has the powers"
    );
    let registry = client.registry(ids.registry).info().await?;
    ensure!(registry.ledger == ids.ledger && registry.governor == operator);
    let llm = candid::Principal::from_text(all["llm"].as_str().context("the adapter's id")?)?;
    let adapter: emc_protocol::llm::LlmInfo = client.query(llm, "info", ()).await?;
    ensure!(adapter.escrow == ids.escrow && adapter.governor == operator);
    ensure!(adapter.models.len() == 1, "its table of names is there");
    let pool = client.registry(ids.registry).mining_pool();
    let pool = client.ledger(ids.ledger).balance(pool).await?;
    ensure!(pool == emc_protocol::Tokens::emc(3_000_000), "{pool:?}");
    let measured_by = client.registry(ids.registry).mining_status().await?.escrows;
    ensure!(measured_by == [ids.escrow], "{measured_by:?}");
    let minter = client
        .ledger(ids.ledger)
        .icrc1_minting_account()
        .await?
        .context("a minting account")?;
    ensure!(minter.owner == operator);
    let candid = client
        .agent()
        .read_state_canister_metadata(ids.escrow, "candid:service")
        .await?;
    ensure!(
        String::from_utf8_lossy(&candid).contains("submit_job"),
        "the interface is in the metadata"
    );

    // The operator mints, then upgrades the ledger: the tokens are still there.
    let transfer = format!(
        "(record {{ to = record {{ owner = principal \"{}\" }}; amount = 12345 : nat }})",
        ids.escrow
    );
    let call = [
        "canister",
        "call",
        "--environment",
        "devnet",
        "--identity",
        "operator",
    ];
    project.icp(&[&call[..], &["ledger", "icrc1_transfer", &transfer]].concat())?;
    let upgrade = [
        "--mode",
        "upgrade",
        "--args",
        "(variant { Upgrade = null })",
        "ledger",
    ];
    project.icp(&[&deploy[..], &upgrade].concat())?;
    let balance = client.ledger(ids.ledger).balance(ids.escrow).await?;
    ensure!(balance == emc_protocol::Tokens(12_345), "{balance:?}");
    Ok(())
}
