//! The connection: a network, an identity, a retry policy. Canisters are reached through [`Client::ledger`],
//! [`Client::registry`] and [`Client::escrow`].

use crate::outcome::{self, Answer, Call, Failure, Repeat, Wire};
use crate::{Error, Escrow, Identity, Ledger, Network, Registry, RetryPolicy, reply};
use candid::utils::ArgumentEncoder;
use candid::{CandidType, Principal};
use emc_protocol::{ApiError, Timestamp};
use ic_agent::agent::{AgentConfig, CallResponse, RequestStatusResponse};
use ic_agent::{Agent, AgentError};
use ic_certification::{Certificate, LookupResult};
use ic_transport_types::signed::SignedUpdate;
use serde::de::DeserializeOwned;
use std::time::{Duration, Instant};

/// How long one exchange may take before it counts as lost. The network answers an update within ten seconds or says
/// that it is still working.
const EXCHANGE: Duration = Duration::from_secs(45);

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
        outcome::query(&AgentWire::new(self), &self.policy, call).await
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
        outcome::update(&AgentWire::new(self), &self.policy, call).await
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

/// [`Wire`] over ic-agent.
struct AgentWire<'a> {
    agent: &'a Agent,
    url: &'a str,
    start: Instant,
}

impl<'a> AgentWire<'a> {
    fn new(client: &'a Client) -> Self {
        Self {
            agent: &client.agent,
            url: &client.url,
            start: Instant::now(),
        }
    }
}

impl Wire for AgentWire<'_> {
    type Signed = SignedUpdate;

    fn url(&self) -> &str {
        self.url
    }

    fn sign(&self, call: &Call<'_>) -> Result<SignedUpdate, Failure> {
        self.agent
            .update(&call.canister, call.method)
            .with_arg(call.arg.clone())
            .sign()
            .map_err(classify)
    }

    fn request_id(signed: &SignedUpdate) -> String {
        hex::encode(signed.request_id.as_slice())
    }

    async fn query(&self, call: &Call<'_>) -> Result<Vec<u8>, Failure> {
        let query = self
            .agent
            .query(&call.canister, call.method)
            .with_arg(call.arg.clone());
        within(query.call()).await
    }

    async fn submit(&self, signed: &SignedUpdate) -> Result<Answer, Failure> {
        let bytes = signed.signed_update.clone();
        match within(
            self.agent
                .update_signed(signed.effective_canister_id, bytes),
        )
        .await?
        {
            CallResponse::Response(reply) => Ok(Answer::Replied(reply)),
            CallResponse::Poll(_) => Ok(Answer::Working),
        }
    }

    async fn status(&self, signed: &SignedUpdate) -> Result<Answer, Failure> {
        let status = self
            .agent
            .request_status_raw(&signed.request_id, signed.effective_canister_id);
        let (status, certificate) = within(status).await?;
        Ok(match status {
            RequestStatusResponse::Replied(reply) => Answer::Replied(reply.arg),
            RequestStatusResponse::Rejected(reject) => {
                return Err(Failure::Rejected {
                    code: reject.reject_code,
                    message: reject.reject_message,
                });
            }
            RequestStatusResponse::Received | RequestStatusResponse::Processing => Answer::Working,
            RequestStatusResponse::Done => Answer::Forgotten,
            RequestStatusResponse::Unknown => Answer::Absent {
                expired: certified_time(&certificate)
                    .is_some_and(|time| time.0 > signed.ingress_expiry),
            },
        })
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// One exchange, cut off when it takes too long.
async fn within<T>(
    exchange: impl std::future::Future<Output = Result<T, AgentError>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(EXCHANGE, exchange).await {
        Ok(result) => result.map_err(classify),
        Err(_) => Err(Failure::Lost(format!(
            "no answer within {} s",
            EXCHANGE.as_secs()
        ))),
    }
}

/// What an agent's error says about the outcome.
fn classify(error: AgentError) -> Failure {
    match error {
        AgentError::CertifiedReject { reject, .. } => Failure::Rejected {
            code: reject.reject_code,
            message: reject.reject_message,
        },
        AgentError::UncertifiedReject { reject, .. } => Failure::NotAccepted {
            code: reject.reject_code,
            message: reject.reject_message,
        },
        AgentError::HttpError(http) => {
            let body = String::from_utf8_lossy(&http.content);
            let reason = format!(
                "HTTP {}: {}",
                http.status,
                body.chars().take(300).collect::<String>().trim()
            );
            // Too early, too many, timed out, or the server's own trouble: later may do. The rest is a plain no.
            match http.status {
                408 | 425 | 429 | 500.. => Failure::Lost(reason),
                _ => Failure::Refused(reason),
            }
        }
        AgentError::SigningError(reason) => Failure::Local(format!("cannot sign: {reason}.")),
        AgentError::InvalidReplicaUrl(reason) => Failure::Refused(reason),
        AgentError::TransportError(error) => Failure::Lost(innermost(&error)),
        // An answer that cannot be read or verified says nothing about the request.
        other => Failure::Lost(innermost(&other)),
    }
}

/// The message and its innermost cause: "connection refused" is what helps, not the three wrappers around it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        cause = inner.source();
        let inner = inner.to_string();
        if cause.is_none() && !text.contains(&inner) {
            text = format!("{text}: {inner}");
        }
    }
    text
}

fn certified_time(certificate: &Certificate) -> Option<Timestamp> {
    let LookupResult::Found(bytes) = certificate.tree.lookup_path([b"time".as_slice()]) else {
        return None;
    };
    // LEB128, at most ten bytes for 64 bits.
    let mut time = 0u64;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        time |= u64::from(byte & 0x7f).checked_shl(7 * i as u32)?;
        if byte & 0x80 == 0 {
            return Some(Timestamp(time));
        }
    }
    None
}
