//! From flags to a connection: which network, who calls, which canisters.

use crate::cli::Globals;
use crate::keystore::Keystore;
use anyhow::{Context, Result, bail};
use candid::Principal;
use emc_client::canister_ids::{PartialIds, choose, demo_url, escrows};
use emc_client::protocol::Timestamp;
use emc_client::{
    CanisterIds, Client, Escrow, Identity, Ledger, Network, Registry, RetryPolicy, ledger,
};
use std::path::Path;
use std::time::Duration;

/// How long a command looks for its network.
const CONNECT: Duration = Duration::from_secs(4);

/// A connection for one command.
pub struct Session {
    /// The connection.
    pub client: Client,
    /// The canisters.
    pub ids: CanisterIds,
}

impl Session {
    /// Connects as whoever is chosen, or as nobody: for what anyone may ask.
    pub async fn open(globals: &Globals) -> Result<Self> {
        let identity = chosen(globals)?.unwrap_or_default();
        Self::with(globals, identity).await
    }

    /// Connects as somebody, for what needs a key.
    pub async fn open_signed(globals: &Globals) -> Result<Self> {
        match chosen(globals)? {
            Some(identity) if !identity.is_anonymous() => Self::with(globals, identity).await,
            Some(_) => bail!(
                "this needs a key, not the anonymous identity; choose one with --identity NAME"
            ),
            None => bail!("this needs a key; make one with `emc identity new NAME`"),
        }
    }

    async fn with(globals: &Globals, identity: Identity) -> Result<Self> {
        let network = network(globals)?;
        let ids = ids(globals, &network, &identity)?;
        // A network that is not there should be said soon; one that goes away in mid-call is worth waiting for.
        let client = Client::builder()
            .network(network)
            .identity(identity)
            .retry(RetryPolicy::default().give_up_after(CONNECT))
            .build()
            .await?
            .with_retry(RetryPolicy::default());
        Ok(Self { client, ids })
    }

    /// The ledger.
    pub fn ledger(&self) -> Ledger {
        self.client.ledger(self.ids.ledger)
    }

    /// The registry.
    pub fn registry(&self) -> Registry {
        self.client.registry(self.ids.registry)
    }

    /// The escrow.
    pub fn escrow(&self) -> Escrow {
        self.client.escrow(self.ids.escrow)
    }

    /// The network's time, by which canisters count; this machine's where the network does not say.
    pub async fn now(&self) -> Timestamp {
        match self.client.network_time(self.ids.escrow).await {
            Ok(time) => time,
            Err(_) => Timestamp(ledger::now()),
        }
    }

    /// The principal given, or the caller's own.
    pub fn principal_or_own(&self, given: Option<Principal>) -> Result<Principal> {
        let principal = given.unwrap_or_else(|| self.client.principal());
        if principal == Principal::anonymous() && given.is_none() {
            bail!("whose? Name a principal, or make a key with `emc identity new NAME`");
        }
        Ok(principal)
    }
}

fn chosen(globals: &Globals) -> Result<Option<Identity>> {
    Keystore::open(globals.identity_dir.as_deref())?.choose(globals.identity.as_deref())
}

/// The network that is meant. `local`, said or not, is what the demo keeps running in this folder, where it does.
pub fn network(globals: &Globals) -> Result<Network> {
    let network: Network = match globals.network.as_deref() {
        Some(text) => text.parse()?,
        None => Network::Local,
    };
    let local_is_set = std::env::var_os("EMC_LOCAL_URL").is_some();
    if network == Network::Local
        && !local_is_set
        && let Some(url) = demo_url(Path::new("."))
    {
        return url
            .parse()
            .with_context(|| format!("the url in .emc/network.json, {url:?}"));
    }
    Ok(network)
}

/// The canisters: flags and variables first, files for the rest.
/// The canisters. Where the deployment has several escrows and none is named, the caller's is the one that its hash
/// chooses.
fn ids(globals: &Globals, network: &Network, caller: &Identity) -> Result<CanisterIds> {
    let here = Path::new(".");
    let chosen = match globals.escrow {
        Some(escrow) => Some(escrow),
        None => choose(&escrows(network, here)?, caller.principal()),
    };
    let given = PartialIds {
        ledger: globals.ledger,
        registry: globals.registry,
        escrow: chosen,
    };
    if let Ok(ids) = given.complete() {
        return Ok(ids);
    }
    let found = PartialIds::find(network, here)?;
    Ok(given.or(found).complete()?)
}
