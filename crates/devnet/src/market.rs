//! A market that is ready for use: the canisters deployed, a model published, people with EMC; and the check that
//! nothing was lost or made.

use crate::deploy::{self, Deployer};
use crate::node::HandNode;
use crate::{Control, DevNetwork, Person};
use anyhow::{Context, Result, ensure};
use candid::{CandidType, Encode, Principal};
use emc_client::{CanisterIds, Client, Identity, Network};
use emc_protocol::escrow::{EscrowArgs, EscrowInit, EscrowUpgrade, Settings};
use emc_protocol::llm::{LlmArgs, LlmInit, LlmModel, LlmSettings};
use emc_protocol::model::PublishModel;
use emc_protocol::node::{RegistryArgs, RegistryInfo, RegistryInit, RegistryUpgrade};
use emc_protocol::{ModelEntry, ModelRef, Role, Seconds, Tokens};
use icrc_ledger_types::icrc1::account::Account;
use std::path::PathBuf;
use std::time::Duration;

/// All EMC of a development market: what its bank and its mining pool have at the start.
pub const SUPPLY: Tokens = Tokens::emc(13_000_000);
/// What the mining pool has at the start: the test phase's 60 days.
pub const POOL: Tokens = Tokens::emc(3_000_000);
/// Least stake with which a node gets work in a development market.
pub const MINIMUM_STAKE: Tokens = Tokens::emc(100);
/// How long unstaked EMC wait in a development market: short, so that one can see them come back.
pub const UNBONDING: Seconds = Seconds(600);

/// The ledger's install argument, as far as a development market sets it.
#[derive(CandidType)]
pub(crate) struct LedgerInit {
    pub(crate) minting_account: Option<Account>,
    pub(crate) initial_balances: Vec<(Account, Tokens)>,
    pub(crate) exempt_principals: Option<Vec<Principal>>,
}

#[derive(CandidType)]
pub(crate) enum LedgerArgs {
    Init(LedgerInit),
    /// Null changes nothing.
    Upgrade(Option<Account>),
}

/// One of a market's canisters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The token's ledger.
    Ledger,
    /// The registry of nodes and models.
    Registry,
    /// The escrow.
    Escrow,
}

/// A deployed market.
pub struct Market {
    /// The network it runs on.
    pub network: DevNetwork,
    /// Where its canisters are.
    pub ids: CanisterIds,
    /// Makes each market's people different from every other's on the same network.
    pub seed: u64,
    /// Installs and controls the canisters; the governor.
    pub governor: Person,
    /// Has the EMC that nobody else has.
    pub bank: Person,
    connection: Client,
}

impl Market {
    /// Deploys a market on the network that the environment names, with the default settings.
    ///
    /// # Errors
    /// If the canisters cannot be built, deployed or called.
    pub async fn start(seed: u64) -> Result<Self> {
        Self::on(
            DevNetwork::from_environment(seed).await?,
            seed,
            Settings::default(),
        )
        .await
    }

    /// Deploys a market on a network.
    ///
    /// # Errors
    /// As [`Market::start`].
    pub async fn on(network: DevNetwork, seed: u64, settings: Settings) -> Result<Self> {
        // On a network that lives longer than this process, people of an earlier run must not be met again.
        let seed = if network.control().is_some() {
            seed
        } else {
            seed ^ now_nanos()
        };
        let governor = Person::named("governor", seed);
        let bank = Person::named("bank", seed);
        let connection = Client::builder()
            .network(Network::Url(network.url().to_owned()))
            .identity(Identity::from_signing_key(&governor.key))
            .build()
            .await
            .with_context(|| format!("the network at {} does not answer", network.url()))?;
        let deployer = Deployer::new(connection.agent()).placed_by(network.effective_canister_id());
        let ids = deploy::create_all(&deployer).await?;
        let account = |owner| Account {
            owner,
            subaccount: None,
        };
        let pool = connection.registry(ids.registry).mining_pool();
        let ledger = LedgerArgs::Init(LedgerInit {
            minting_account: Some(account(governor.principal())),
            initial_balances: vec![
                (
                    account(bank.principal()),
                    SUPPLY.checked_sub(POOL).expect("the pool is a part of it"),
                ),
                (pool, POOL),
            ],
            exempt_principals: Some(vec![ids.registry, ids.escrow, bank.principal()]),
        });
        let registry = RegistryArgs::Init(RegistryInit {
            ledger: Some(ids.ledger),
            governor: None,
            minimum_stake: MINIMUM_STAKE,
            unbonding: UNBONDING,
            jail: None,
            silence: None,
            // Nobody has to be warned here.
            delay: Some(Seconds(0)),
            mining_escrows: Some(vec![ids.escrow]),
        });
        let escrow = EscrowArgs::Init(EscrowInit {
            ledger: Some(ids.ledger),
            registry: Some(ids.registry),
            governor: None,
            treasury: None,
            settings: Some(settings),
            // Nobody has to be warned here.
            delay: Some(Seconds(0)),
        });
        deployer
            .install(ids.ledger, &wasm("ledger")?, Encode!(&ledger)?)
            .await?;
        deployer
            .install(ids.registry, &wasm("registry")?, Encode!(&registry)?)
            .await?;
        deployer
            .install(ids.escrow, &wasm("escrow")?, Encode!(&escrow)?)
            .await?;
        let market = Self {
            network,
            ids,
            seed,
            governor,
            bank,
            connection,
        };
        market.until_ready().await?;
        Ok(market)
    }

    /// Deploys the LLM adapter, with a table of names; its id.
    ///
    /// # Errors
    /// If it cannot be built or the network refuses.
    pub async fn deploy_llm(
        &self,
        models: Vec<LlmModel>,
        settings: Option<LlmSettings>,
    ) -> Result<Principal> {
        let llm = LlmArgs::Init(LlmInit {
            escrow: Some(self.ids.escrow),
            governor: None,
            models,
            settings,
        });
        self.deploy("llm", Encode!(&llm)?).await
    }

    /// Deploys a further canister of this repository with an encoded argument; its id. The governor controls it.
    ///
    /// # Errors
    /// If it cannot be built or the network refuses.
    pub async fn deploy(&self, name: &str, argument: Vec<u8>) -> Result<Principal> {
        let deployer = self
            .deployer()
            .placed_by(self.network.effective_canister_id());
        let id = deployer.create().await?;
        deployer.install(id, &wasm(name)?, argument).await?;
        Ok(id)
    }

    /// Deploys one more escrow on the same registry and ledger.
    ///
    /// # Errors
    /// If it cannot be built or the network refuses.
    pub async fn another_escrow(&self) -> Result<Principal> {
        let args = EscrowArgs::Init(EscrowInit {
            ledger: Some(self.ids.ledger),
            registry: Some(self.ids.registry),
            governor: None,
            treasury: None,
            settings: None,
            delay: Some(Seconds(0)),
        });
        let id = self.deploy("escrow", Encode!(&args)?).await?;
        let escrow = self.connection.escrow(id);
        let ready = async || {
            let info = escrow.info().await?;
            Ok((info.nonce.is_some() && info.feed_time.is_some()).then_some(()))
        };
        until(Duration::from_secs(60), "the escrow to be ready", ready).await?;
        Ok(id)
    }

    /// Upgrades a canister to the code that this repository has for it: stop, upgrade, start.
    ///
    /// # Errors
    /// If the network refuses.
    pub async fn upgrade(&self, id: Principal, name: &str, argument: Vec<u8>) -> Result<()> {
        self.deployer().upgrade(id, &wasm(name)?, argument).await
    }

    /// Waits until the escrow has its random secret and the registry's feed.
    async fn until_ready(&self) -> Result<()> {
        let escrow = self.connection.escrow(self.ids.escrow);
        until(
            Duration::from_secs(60),
            "the escrow to be ready",
            async || {
                let info = escrow.info().await?;
                Ok((info.nonce.is_some() && info.feed_time.is_some()).then_some(()))
            },
        )
        .await
    }

    /// Upgrades the three canisters to the code they have, as an operator would: stop, upgrade, start.
    ///
    /// # Errors
    /// If the network refuses.
    pub async fn upgrade_all(&self) -> Result<()> {
        for which in [Which::Escrow, Which::Registry, Which::Ledger] {
            self.upgrade_one(which).await?;
        }
        Ok(())
    }

    /// Upgrades one canister to the code it has: stop, upgrade, start.
    ///
    /// # Errors
    /// If the network refuses.
    pub async fn upgrade_one(&self, which: Which) -> Result<()> {
        let (name, argument) = match which {
            Which::Ledger => ("ledger", Encode!(&LedgerArgs::Upgrade(None))?),
            Which::Registry => {
                let upgrade = RegistryUpgrade::default();
                ("registry", Encode!(&RegistryArgs::Upgrade(upgrade))?)
            }
            Which::Escrow => {
                let upgrade = EscrowUpgrade::default();
                ("escrow", Encode!(&EscrowArgs::Upgrade(upgrade))?)
            }
        };
        self.upgrade(self.id(which), name, argument).await
    }

    /// Where a canister is.
    pub fn id(&self, which: Which) -> Principal {
        match which {
            Which::Ledger => self.ids.ledger,
            Which::Registry => self.ids.registry,
            Which::Escrow => self.ids.escrow,
        }
    }

    /// Stops, starts and installs code as the canisters' controller.
    pub fn deployer(&self) -> Deployer<'_> {
        Deployer::new(self.connection.agent())
    }

    /// A connection as somebody.
    pub fn client(&self, person: &Person) -> Client {
        self.connection
            .with_identity(Identity::from_signing_key(&person.key))
    }

    /// A connection as nobody.
    pub fn anonymous(&self) -> Client {
        self.connection.with_identity(Identity::anonymous())
    }

    /// A person of this market.
    pub fn person(&self, name: &str) -> Person {
        Person::named(name, self.seed)
    }

    /// A person with EMC in the ledger.
    ///
    /// # Errors
    /// If the transfer fails.
    pub async fn person_with(&self, name: &str, amount: Tokens) -> Result<Person> {
        let person = self.person(name);
        let ledger = self.client(&self.bank).ledger(self.ids.ledger);
        ledger
            .transfer(person.principal(), amount)
            .await
            .with_context(|| format!("funding {name}"))?;
        Ok(person)
    }

    /// A person with EMC deposited in the escrow.
    ///
    /// # Errors
    /// If the transfer or the deposit fails.
    pub async fn requester(&self, name: &str, amount: Tokens) -> Result<Person> {
        let person = self.person_with(name, amount).await?;
        self.client(&person)
            .fund(self.ids.ledger, self.ids.escrow, amount, None)
            .await
            .with_context(|| format!("depositing for {name}"))?;
        Ok(person)
    }

    /// Publishes a model in the catalogue and waits until the escrow knows it.
    ///
    /// # Errors
    /// If the registry refuses it.
    pub async fn publish(&self, model: PublishModel) -> Result<ModelEntry> {
        let registry = self.client(&self.governor).registry(self.ids.registry);
        let entry = registry
            .publish_model(model)
            .await
            .context("publishing the model")?;
        self.feed_arrived().await?;
        Ok(entry)
    }

    /// Waits until the escrow has everything that the registry's feed holds now.
    ///
    /// # Errors
    /// If it does not within a minute.
    pub async fn feed_arrived(&self) -> Result<()> {
        self.feed_arrived_in(self.ids.escrow).await
    }

    /// The same for another escrow of the registry.
    ///
    /// # Errors
    /// If it does not within a minute.
    pub async fn feed_arrived_in(&self, escrow: Principal) -> Result<()> {
        let newest = self
            .connection
            .registry(self.ids.registry)
            .info()
            .await?
            .sequence;
        let escrow = self.connection.escrow(escrow);
        // The escrow pulls every few seconds; where time can be moved, nobody needs to wait for that.
        if let Some(control) = self.network.control() {
            control.advance(Duration::from_secs(6)).await?;
        }
        until(
            Duration::from_secs(60),
            "the registry's feed to arrive in the escrow",
            async || Ok((escrow.info().await?.feed_sequence >= newest).then_some(())),
        )
        .await
    }

    /// Waits until the escrow has acknowledged everything that is taken out of a node's stake, so that it unbonds.
    ///
    /// # Errors
    /// If it does not within a minute.
    pub async fn unstaking_acknowledged(&self, node: Principal) -> Result<()> {
        let registry = self.connection.registry(self.ids.registry);
        until(
            Duration::from_secs(60),
            "the escrow to acknowledge what is unstaked",
            async || {
                // The escrow hears of it with one pull of the feed and answers after the next.
                self.feed_arrived().await?;
                let unbonding = registry.node(node).await?.unbonding;
                let waits = unbonding.iter().any(|one| one.waiting == Some(true));
                Ok((!waits).then_some(()))
            },
        )
        .await
    }

    /// Puts stake behind a node, as its owner.
    ///
    /// # Errors
    /// If the approval or the stake is refused.
    pub async fn stake(&self, owner: &Person, node: Principal, amount: Tokens) -> Result<()> {
        let ids = self.ids;
        self.client(owner)
            .stake(ids.ledger, ids.registry, node, ids.escrow, amount)
            .await?;
        Ok(())
    }

    /// A registered, staked node whose every call the test makes itself.
    ///
    /// # Errors
    /// If registration or stake is refused.
    pub async fn hand_node(&self, name: &str, model: &ModelRef) -> Result<HandNode> {
        let node = HandNode::register(self, name, model, Role::Compute).await?;
        self.feed_arrived().await?;
        Ok(node)
    }

    /// So many registered, staked validators of different owners whose every vote the test casts itself.
    ///
    /// # Errors
    /// If registration or stake is refused.
    pub async fn hand_validators(&self, count: usize, model: &ModelRef) -> Result<Vec<HandNode>> {
        let mut validators = vec![];
        for number in 0..count {
            let name = format!("validator {number}");
            validators.push(HandNode::register(self, &name, model, Role::Validator).await?);
        }
        self.feed_arrived().await?;
        Ok(validators)
    }

    /// Lists a model, as the governor, and waits until the escrow knows.
    ///
    /// # Errors
    /// If the registry refuses.
    pub async fn list(&self, model: &ModelRef) -> Result<()> {
        let registry = self.client(&self.governor).registry(self.ids.registry);
        registry.list_model(model.clone()).await?;
        self.feed_arrived().await
    }

    /// Time travel and faults.
    ///
    /// # Errors
    /// Where the network has none: the caller reports the test as skipped.
    pub fn control(&self) -> Result<&Control> {
        self.network
            .control()
            .context("this network has no control interface")
    }

    /// Checks that nothing was lost or made: what escrow and registry owe is what came in less what went out, their
    /// accounts in the ledger back it, the mining pool has what it had, less what it has paid, and the ledger's supply is
    /// what it was, less what was slashed and burned.
    ///
    /// # Errors
    /// What does not add up, with the figures.
    pub async fn check_conservation(&self) -> Result<()> {
        self.check_escrow(self.ids.escrow).await?;
        self.check_registry().await?;
        self.check_pool().await
    }

    /// Checks that what an escrow owes is what came in less what went out, and that its account backs it.
    ///
    /// # Errors
    /// What does not add up, with the figures.
    pub async fn check_escrow(&self, id: Principal) -> Result<()> {
        let ledger = self.connection.ledger(self.ids.ledger);
        let escrow = self.connection.escrow(id);
        // Two queries see two moments; a movement between them is not a loss, so the pair is read until it is still.
        for _ in 0..50 {
            let before = escrow.totals().await?;
            let held = ledger.balance(id).await?;
            let after = escrow.totals().await?;
            let parts = [
                before.available,
                before.locked,
                before.leaving,
                before.treasury,
                before.audits.unwrap_or_default(),
            ];
            let owed: u128 = parts.iter().map(|part| part.0).sum();
            ensure!(
                before.deposited.0.checked_sub(before.withdrawn.0) == Some(owed),
                "the escrow owes {owed} e8s, but its flows do not explain it: {before:?}"
            );
            if before != after {
                continue;
            }
            // What is on its way out may have arrived already; everything else lies in the ledger, or more.
            ensure!(
                held.0 + before.leaving.0 >= owed,
                "the escrow holds {held} in the ledger, too little for the {} it owes: {before:?}",
                Tokens(owed)
            );
            if before.journal_open == 0 {
                ensure!(
                    held.0 == owed,
                    "the escrow holds {held} in the ledger and owes {}: {before:?}",
                    Tokens(owed)
                );
            }
            return Ok(());
        }
        anyhow::bail!("the escrow's totals never stood still")
    }

    async fn check_registry(&self) -> Result<()> {
        let ledger = self.connection.ledger(self.ids.ledger);
        let registry = self.connection.registry(self.ids.registry);
        let figures = |info: &RegistryInfo| {
            let (burning, burned) = (info.burning, info.burned);
            let (burning, burned) = (burning.unwrap_or_default(), burned.unwrap_or_default());
            let owed = [info.staked, info.unbonding_total, info.leaving, burning];
            let owed: u128 = owed.iter().map(|part| part.0).sum();
            let gone = info.paid_out.0 + burned.0;
            (owed, info.deposited.0, gone, burned, info.journal_open)
        };
        for _ in 0..50 {
            let before = registry.info().await?;
            let held = ledger.balance(self.ids.registry).await?;
            let supply = ledger.icrc1_total_supply().await?;
            let after = registry.info().await?;
            let (owed, deposited, gone, burned, journal_open) = figures(&before);
            ensure!(
                deposited.checked_sub(gone) == Some(owed),
                "the registry owes {owed} e8s, but its flows do not explain it: {before:?}"
            );
            if figures(&before) != figures(&after) {
                continue;
            }
            ensure!(
                journal_open > 0 || held.0 == owed,
                "the registry holds {held} in the ledger and owes {}: {before:?}",
                Tokens(owed)
            );
            ensure!(
                journal_open > 0 || supply.0 + burned.0 == SUPPLY.0,
                "the ledger's supply is {supply}, it was {SUPPLY}, and {burned} were burned"
            );
            return Ok(());
        }
        anyhow::bail!("the registry's sums never stood still")
    }
}

/// The built module of a canister.
///
/// # Errors
/// If the canisters cannot be built.
pub fn wasm(name: &str) -> Result<PathBuf> {
    static BUILT: std::sync::OnceLock<Result<Vec<xtask::canisters::Canister>, String>> =
        std::sync::OnceLock::new();
    let built = BUILT.get_or_init(|| {
        xtask::canisters::build(&xtask::canisters::Options::default())
            .map_err(|error| format!("{error:#}"))
    });
    let canisters = built
        .as_ref()
        .map_err(|error| anyhow::anyhow!("the canisters cannot be built: {error}"))?;
    let canister = canisters.iter().find(|canister| canister.name == name);
    Ok(canister
        .with_context(|| format!("there is no canister {name}"))?
        .wasm_gz
        .clone())
}

fn now_nanos() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// Asks again and again until there is an answer.
///
/// # Errors
/// An error of `ask`, or that the time is up while waiting for `what`.
pub async fn until<T>(
    limit: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = std::time::Instant::now();
    let mut pause = Duration::from_millis(10);
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        ensure!(start.elapsed() < limit, "waited {limit:?} for {what}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}
