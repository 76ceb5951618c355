//! A ledger with a past: so many accounts and blocks, made natively by `crates/ledger-past` and given to the canister as
//! its stable memory. For measuring; only a development network can do it.

use crate::deploy::Deployer;
use crate::market::{LedgerArgs, LedgerInit, wasm};
use crate::people::Person;
use crate::{Control, DevNetwork, build};
use anyhow::{Context, Result, ensure};
use candid::{Encode, Principal};
use emc_client::{Client, Identity, Ledger, Network};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is in a past.
#[derive(Deserialize, Clone, Debug)]
pub struct Past {
    /// Accounts that hold something.
    pub accounts: u64,
    /// Blocks.
    pub blocks: u64,
    /// Allowances.
    pub allowances: u64,
    /// The owners of some accounts from all of the past.
    pub some_owners: Vec<Principal>,
    /// Bytes of each structure.
    pub parts: BTreeMap<String, u64>,
}

/// A network with nothing on it but a ledger that has a past.
pub struct LedgerWithPast {
    network: DevNetwork,
    controller: Client,
    /// The ledger.
    pub ledger: Principal,
    /// What it has seen.
    pub past: Past,
    /// Holds most of the tokens, and is not limited in its calls.
    pub bank: Person,
}

impl LedgerWithPast {
    /// An embedded network with such a ledger; `folder` takes its memory for a while.
    ///
    /// # Errors
    /// If the network does not start, the past cannot be made, or the canister does not open it.
    pub async fn new(accounts: u64, folder: &Path) -> Result<Self> {
        let network = DevNetwork::embedded(1, "127.0.0.1:0").await?;
        let control = network.control().context("an embedded network has one")?;
        let bank = Person::named("bank", 1);
        let controller = Client::builder()
            .network(Network::Url(network.url().to_owned()))
            .identity(Identity::from_signing_key(
                &Person::named("controller", 1).key,
            ))
            .build()
            .await?;
        let deployer = Deployer::new(controller.agent());
        let deployer = deployer.placed_by(network.effective_canister_id());
        let ledger = deployer.create().await?;
        let empty = LedgerArgs::Init(LedgerInit {
            minting_account: None,
            initial_balances: vec![],
            exempt_principals: None,
        });
        deployer
            .install(ledger, &Self::wasm()?, Encode!(&empty)?)
            .await?;

        let end = control.time().await?.0;
        let path = folder.join(format!("ledger-{accounts}"));
        let (file, holder) = (path.clone(), bank.principal());
        let made = tokio::task::spawn_blocking(move || make(accounts, holder, end, &file));
        let past = made.await.context("the past's maker panicked")??;
        deployer.stop(ledger).await?;
        control.load_stable_memory(ledger, &path).await?;
        std::fs::remove_file(&path).context("removing the image")?;
        let unchanged = Encode!(&LedgerArgs::Upgrade(None))?;
        deployer.upgrade(ledger, &Self::wasm()?, unchanged).await?;
        Ok(Self {
            network,
            controller,
            ledger,
            past,
            bank,
        })
    }

    /// The ledger's module, gzipped, as it is installed.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn wasm() -> Result<PathBuf> {
        wasm("ledger")
    }

    /// The ledger as somebody sees it.
    pub fn client(&self, person: &Person) -> Ledger {
        let identity = Identity::from_signing_key(&person.key);
        self.controller.with_identity(identity).ledger(self.ledger)
    }

    /// The network's control interface.
    ///
    /// # Errors
    /// If it has none.
    pub fn control(&self) -> Result<&Control> {
        self.network
            .control()
            .context("an embedded network has one")
    }
}

fn make(accounts: u64, bank: Principal, end: u64, file: &Path) -> Result<Past> {
    let program = build::binary("emc-ledger-past")?;
    let output = Command::new(&program)
        .args(["--accounts", &accounts.to_string()])
        .args(["--bank", &bank.to_text()])
        .args(["--end", &end.to_string()])
        .arg("--file")
        .arg(file)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("running {}", program.display()))?;
    ensure!(output.status.success(), "the past could not be made");
    serde_json::from_slice(&output.stdout).context("reading what is in the past")
}
