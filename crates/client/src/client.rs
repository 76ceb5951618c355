//! The connection: a network, an identity, a retry policy. Canisters are reached through [`Client::ledger`],
//! [`Client::registry`] and [`Client::escrow`].

use crate::agent_wire::{AgentWire, certified_time, within};
use crate::outcome::{self, Call, Failure, Repeat};
use crate::{Error, Escrow, Identity, Ledger, Network, Registry, RetryPolicy, reply};
use candid::utils::ArgumentEncoder;
use candid::{CandidType, Principal};
use emc_protocol::{ApiError, Timestamp};
use ic_agent::Agent;
use ic_agent::agent::AgentConfig;
use serde::de::DeserializeOwned;
use std::time::Instant;

/// A connection to a network with an identity. Cheap to clone; clones share their connections.
///
/// ```no_run
/// use emc_client::{Client, Identity, Network, RetryPolicy};
/// # async fn example() -> Result<(), emc_client::Error> {
/// let client = Client::builder()
///     .network("http://127.0.0.1:8000".parse()?)
///     .identity(Identity::from_seed(&[1; 32]))
///     .retry(RetryPolicy::for_ever())
///     .build()
///     .await?;
/// let bob = client.with_identity(Identity::from_seed(&[2; 32]));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    network: Network,
    url: String,
    identity: Identity,
    policy: RetryPolicy,
}

/// Makes a [`Client`].
#[derive(Clone, Debug, Default)]
#[must_use = "call build()"]
pub struct ClientBuilder {
    network: Network,
    identity: Identity,
    policy: RetryPolicy,
    root_key: Option<Vec<u8>>,
}

impl ClientBuilder {
    /// The network; [`Network::Local`] unless set.
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Who calls; nobody unless set.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = identity;
        self
    }

    /// How long to keep trying; [`RetryPolicy::default`] unless set.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// The network's root key (DER), where it is known beforehand; otherwise it is fetched for anything but the
    /// Internet Computer.
    pub fn root_key(mut self, root_key: Vec<u8>) -> Self {
        self.root_key = Some(root_key);
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// [`Error::Config`] for a wrong URL, [`Error::Transport`] where the network does not answer in the policy's time.
    pub async fn build(self) -> Result<Client, Error> {
        let url = self.network.url();
        let mut config = AgentConfig::default();
        config.url = Some(
            url.parse()
                .map_err(|e| Error::Config(format!("{url:?} is not a URL: {e}.")))?,
        );
        config.identity = self.identity.signer();
        let agent = Agent::new(config)
            .map_err(|e| Error::Config(format!("cannot use the network {url}: {e}.")))?;
        let client = Client {
            agent,
            network: self.network,
            url,
            identity: self.identity,
            policy: self.policy,
        };
        match self.root_key {
            Some(root_key) => client.agent.set_root_key(root_key),
            None if client.network.is_ic() => {}
            None => client.fetch_root_key().await?,
        }
        Ok(client)
    }
}

impl Client {
    /// Begins a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The URL that requests go to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Who calls.
    pub fn principal(&self) -> Principal {
        self.identity.principal()
    }

    /// How long calls are tried.
    pub fn policy(&self) -> &RetryPolicy {
        &self.policy
    }

    /// The same connection with another identity.
    #[must_use]
    pub fn with_identity(&self, identity: Identity) -> Self {
        let mut client = self.clone();
        client.agent.set_arc_identity(identity.signer());
        client.identity = identity;
        client
    }

    /// The same connection with another retry policy.
    #[must_use]
    pub fn with_retry(&self, policy: RetryPolicy) -> Self {
        Self {
            policy,
            ..self.clone()
        }
    }

    /// The agent underneath, for what this crate does not cover (installing canisters, reading metadata).
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// The token's ledger.
    pub fn ledger(&self, id: Principal) -> Ledger {
        Ledger::new(self.clone(), id)
    }

    /// The registry of nodes and models.
    pub fn registry(&self, id: Principal) -> Registry {
        Registry::new(self.clone(), id)
    }

    /// An escrow.
    pub fn escrow(&self, id: Principal) -> Escrow {
        Escrow::new(self.clone(), id)
    }

    /// The network's own time, certified; for stamps where this machine's clock is wrong.
    ///
    /// # Errors
    /// [`Error::Transport`] where the network does not answer.
    pub async fn network_time(&self, canister: Principal) -> Result<Timestamp, Error> {
        let read = self
            .agent
            .read_state_raw(vec![vec!["time".into()]], canister);
        let certificate = within(read).await.map_err(|failure| Error::Transport {
            tried: format!("the time of {}", self.url),
            attempts: 1,
            reason: format!("{failure:?}"),
            retryable: true,
        })?;
        certified_time(&certificate).ok_or_else(|| Error::Decode {
            method: "read_state".into(),
            reason: "the certificate holds no time".into(),
        })
    }

    /// A query of any canister, retried as [`crate::retry`] says; the reply is decoded as one value.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn query<A: ArgumentEncoder, T: CandidType + DeserializeOwned>(
        &self,
        canister: Principal,
        method: &str,
        args: A,
    ) -> Result<T, Error> {
        let bytes = self.query_bytes(canister, method, args).await?;
        reply::plain(method, &bytes)
    }

    /// A query that answers `variant { Ok; Err }`.
    pub(crate) async fn ask<A: ArgumentEncoder, T: CandidType + DeserializeOwned>(
        &self,
        canister: Principal,
        method: &str,
        args: A,
    ) -> Result<T, Error> {
        let bytes = self.query_bytes(canister, method, args).await?;
        reply::fallible::<T, ApiError>(method, &bytes)?.map_err(Error::from)
    }

    /// An update that answers `variant { Ok; Err }` and may be repeated.
    pub(crate) async fn repeatable<A: ArgumentEncoder, T: CandidType + DeserializeOwned>(
        &self,
        canister: Principal,
        method: &str,
        args: A,
    ) -> Result<T, Error> {
        let bytes = self
            .update_bytes(canister, method, args, Repeat::Harmless)
            .await?;
        reply::fallible::<T, ApiError>(method, &bytes)?.map_err(Error::from)
    }

    /// An update that answers `variant { Ok; Err }` and must not be done twice; `look_at` says what tells whether it
    /// was done.
    pub(crate) async fn once<A: ArgumentEncoder, T: CandidType + DeserializeOwned>(
        &self,
        canister: Principal,
        method: &str,
        args: A,
        look_at: &str,
    ) -> Result<T, Error> {
        let bytes = self
            .update_bytes(canister, method, args, Repeat::Never(look_at))
            .await?;
        reply::fallible::<T, ApiError>(method, &bytes)?.map_err(Error::from)
    }

    async fn query_bytes<A: ArgumentEncoder>(
        &self,
        canister: Principal,
        method: &str,
        args: A,
    ) -> Result<Vec<u8>, Error> {
        let call = Call {
            canister,
            method,
            arg: reply::encode(method, args)?,
            repeat: Repeat::Harmless,
        };
        outcome::query(&AgentWire::new(&self.agent, &self.url), &self.policy, call).await
    }

    pub(crate) async fn update_bytes<A: ArgumentEncoder>(
        &self,
        canister: Principal,
        method: &str,
        args: A,
        repeat: Repeat<'_>,
    ) -> Result<Vec<u8>, Error> {
        let call = Call {
            canister,
            method,
            arg: reply::encode(method, args)?,
            repeat,
        };
        outcome::update(&AgentWire::new(&self.agent, &self.url), &self.policy, call).await
    }

    async fn fetch_root_key(&self) -> Result<(), Error> {
        let start = Instant::now();
        let mut backoff = self.policy.backoff();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let failure = match within(self.agent.fetch_root_key()).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            let (reason, retryable) = match failure {
                Failure::Lost(reason) => (reason, true),
                Failure::Refused(reason) | Failure::Local(reason) => (reason, false),
                Failure::NotAccepted { message, .. } | Failure::Rejected { message, .. } => {
                    (message, false)
                }
            };
            match backoff.next_wait(start.elapsed()) {
                Some(wait) if retryable => tokio::time::sleep(wait).await,
                _ => {
                    return Err(Error::Transport {
                        tried: format!("the network {}", self.url),
                        attempts,
                        reason,
                        retryable,
                    });
                }
            }
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({} at {})", self.principal(), self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_can_be_made_from_any_task() {
        fn is_send<T: Send>(_: T) {}
        fn all(escrow: &Escrow, ledger: &Ledger) {
            is_send(escrow.info());
            is_send(escrow.get_job(1, None));
            is_send(escrow.cancel_job(1));
            is_send(ledger.transfer(Principal::anonymous(), emc_protocol::Tokens(1)));
            is_send(escrow.wait_for(1, None, |_| {}));
        }
        let _ = all;
    }

    #[tokio::test]
    async fn a_network_that_is_not_there_is_said_with_its_address() {
        // The discard port: nothing listens there.
        let error = Client::builder()
            .network(Network::Url("http://127.0.0.1:9".into()))
            .retry(RetryPolicy::never())
            .build()
            .await
            .unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert!(error.to_string().contains("http://127.0.0.1:9"), "{error}");
    }
}
