//! A ledger by itself on a network of its own, with one account that has all the tokens.

use anyhow::{Context, Result};
use candid::{CandidType, Encode, Nat, Principal};
use emc_client::{Client, Identity, Ledger, Network};
use emc_devnet::deploy::Deployer;
use emc_devnet::{DevNetwork, Person, market};
use icrc_ledger_types::icrc1::account::Account;

/// What the bank holds at the start: 10,000,000 EMC.
pub const SUPPLY: u64 = 1_000_000_000_000_000;

/// The ledger's install argument, as far as these tests set it.
#[derive(CandidType)]
struct Init {
    minting_account: Option<Account>,
    initial_balances: Vec<(Account, Nat)>,
    transfer_fee: Option<Nat>,
    exempt_principals: Option<Vec<Principal>>,
}

#[derive(CandidType)]
enum Args {
    Init(Init),
    /// Null changes nothing.
    Upgrade(Option<Account>),
}

/// A deployed ledger.
pub struct Deployed {
    /// The network it runs on; it ends with this.
    pub network: DevNetwork,
    /// The ledger's id.
    pub id: Principal,
    /// Controls the canister; its default account mints.
    pub minter: Person,
    /// Has all tokens and is not limited.
    pub bank: Person,
    connection: Client,
    seed: u64,
}

impl Deployed {
    /// A new ledger that charges `fee`, on the network that the environment names or on an embedded one.
    pub async fn with_fee(seed: u64, fee: u64) -> Result<Self> {
        Self::on(DevNetwork::from_environment(seed).await?, seed, fee).await
    }

    /// A new ledger on a network.
    pub async fn on(network: DevNetwork, seed: u64, fee: u64) -> Result<Self> {
        let (minter, bank) = (Person::named("minter", seed), Person::named("bank", seed));
        let connection = Client::builder()
            .network(Network::Url(network.url().to_owned()))
            .identity(Identity::from_signing_key(&minter.key))
            .build()
            .await?;
        let mut deployed = Self {
            network,
            id: Principal::anonymous(),
            minter,
            bank,
            connection,
            seed,
        };
        deployed.id = deployed.another(fee).await?;
        Ok(deployed)
    }

    /// One more ledger like it beside it; its id.
    pub async fn another(&self, fee: u64) -> Result<Principal> {
        self.install(vec![(self.bank.principal().into(), SUPPLY.into())], fee)
            .await
    }

    /// A ledger beside it that has no block yet; its id.
    pub async fn empty(&self) -> Result<Principal> {
        self.install(vec![], 0).await
    }

    async fn install(&self, initial_balances: Vec<(Account, Nat)>, fee: u64) -> Result<Principal> {
        let args = Args::Init(Init {
            minting_account: Some(self.minter.principal().into()),
            initial_balances,
            transfer_fee: Some(fee.into()),
            exempt_principals: Some(vec![self.bank.principal()]),
        });
        let effective = self.network.effective_canister_id();
        let deployer = Deployer::new(self.connection.agent()).placed_by(effective);
        let id = deployer.create().await?;
        let module = market::wasm("ledger")?;
        let install = deployer.install(id, &module, Encode!(&args)?).await;
        install.context("installing the ledger")?;
        Ok(id)
    }

    /// A person of this network.
    pub fn person(&self, name: &str) -> Person {
        Person::named(name, self.seed)
    }

    /// A connection as somebody.
    pub fn client(&self, person: &Person) -> Client {
        self.connection
            .with_identity(Identity::from_signing_key(&person.key))
    }

    /// The ledger as somebody calls it.
    pub fn ledger(&self, person: &Person) -> Ledger {
        self.client(person).ledger(self.id)
    }

    /// Upgrades to the code that is installed already: stop, upgrade, start.
    pub async fn upgrade(&self) -> Result<()> {
        let module = market::wasm("ledger")?;
        let argument = Encode!(&Args::Upgrade(None))?;
        let deployer = Deployer::new(self.connection.agent());
        deployer.upgrade(self.id, &module, argument).await
    }
}
