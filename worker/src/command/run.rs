//! `emc-worker run`: everything together.
//!
//! 1. Settings, key, data folder and journal: whatever is wrong with them ends it at once.
//! 2. The network, for as long as it takes; what the journal owes is delivered, and what it has sealed revealed, from
//!    here on.
//! 3. Models: looked up, their files checked, engines started.
//! 4. The registry: registered, offers made right; then a heartbeat.
//! 5. Work by its roles, until drained.

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use ed25519_dalek::SigningKey;
use emc_client::{Client, Error, Identity, Registry, RetryPolicy};
use emc_inference::Activations;
use emc_protocol::ModelEntry;
use emc_protocol::node::UpdateNode;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use crate::backoff::Backoff;
use crate::config::{Config, Endpoints, Kind, Model};
use crate::data_dir::DataDir;
use crate::drain::{self, Stage, reached};
use crate::escrow_client::EscrowClient;
use crate::journal::{Journal, JournalError};
use crate::metrics::Metrics;
use crate::registration::{self, Wanted};
use crate::validate::Validator;
use crate::work::{Deliveries, Earnings, Pace, Served, Worker};
use crate::{catalogue, hardware, identity, metrics_server, report};

/// How to run.
#[derive(Debug, Args)]
pub struct Run {
    /// How long a drain may take, in seconds; what still runs then is given back.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    drain_timeout: u64,
    /// How exactly weights that are packed or in bf16 are multiplied on the processor, for all language models: exact,
    /// 16 or 8 bits. Unless given, each model's own setting.
    #[arg(long, value_name = "BITS")]
    activations: Option<Activations>,
}

/// How long the registry is told of a drain.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long one try to connect takes before it is logged.
const CONNECT: Duration = Duration::from_secs(5);
/// The time between two looks at delivered jobs that are not final.
const LOOK_AT_EARNINGS: Duration = Duration::from_secs(10);
/// Waits between tries to connect, to look up and to register.
const TRY_FIRST: Duration = Duration::from_secs(1);
const TRY_LONGEST: Duration = Duration::from_secs(30);

impl Run {
    /// Serves until drained.
    ///
    /// # Errors
    /// Where settings, key, data folder or models do not allow to serve.
    pub async fn execute(self, path: &Path) -> anyhow::Result<ExitCode> {
        let mut config = Config::read(path)?;
        let language = config
            .models
            .iter_mut()
            .filter(|model| model.kind == Kind::Llm);
        for model in language {
            model.activations = self.activations.or(model.activations);
        }
        if config.models.is_empty() {
            bail!(
                "{} has no [[model]]: say which models you serve",
                path.display()
            );
        }
        let endpoints = config.endpoints()?;
        let key = identity::read(&config.identity())?;
        let node = identity::principal(&key);
        let data_dir = DataDir::lock(&config.data_dir())?;
        let journal = Arc::new(Journal::open(&data_dir.journal(), node, endpoints.escrow)?);
        let metrics = Arc::new(Metrics::default());
        let totals = journal.totals()?;
        metrics
            .earned_e8s
            .store(u64::try_from(totals.earned.0).unwrap_or(u64::MAX), Relaxed);
        metrics.ever_delivered.store(totals.delivered, Relaxed);
        metrics
            .awaited
            .store(journal.awaited()?.len() as u64, Relaxed);
        if let Some(address) = config.metrics.address {
            let address = metrics_server::serve(address, metrics.clone())
                .await
                .with_context(|| format!("metrics.address {address}"))?;
            tracing::info!(%address, "metrics at /metrics, health at /healthz");
        }
        let mut stages = drain::on_signals(Duration::from_secs(self.drain_timeout))?;
        let roles = config.node.roles_shown();
        tracing::info!(%node, roles, url = %endpoints.url.0.url(), escrow = %endpoints.escrow, "starting");

        let connected = tokio::select! {
            client = connect(&endpoints, &key) => Some(client?),
            () = reached(&mut stages, Stage::Draining) => None,
        };
        let Some(client) = connected else {
            let owed = journal.owed()?.len() + journal.sealed_votes()?.len();
            return Ok(drain::exit_code(owed));
        };
        let station = Station {
            config,
            endpoints,
            key,
            journal,
            metrics,
            client,
        };
        let owed = station.serve(stages).await?;
        tracing::info!("ended");
        Ok(drain::exit_code(owed))
    }
}

/// Looks a model up, for as long as the registry does not answer.
async fn look_up_patiently(registry: &Registry, model: &Model) -> anyhow::Result<ModelEntry> {
    let mut backoff = Backoff::new(TRY_FIRST, TRY_LONGEST);
    loop {
        match catalogue::look_up(registry, model).await {
            Err(error) if catalogue::may_pass(&error) => {
                tracing::warn!(model = %model.id, "cannot look up the model; trying on: {error:#}");
                tokio::time::sleep(backoff.next_wait()).await;
            }
            result => return result,
        }
    }
}

/// Connects, for as long as it takes. The client tries for ever from then on.
async fn connect(endpoints: &Endpoints, key: &SigningKey) -> anyhow::Result<Client> {
    let mut backoff = Backoff::new(TRY_FIRST, TRY_LONGEST);
    loop {
        let client = Client::builder()
            .network(endpoints.url.0.clone())
            .identity(Identity::from_signing_key(key))
            .retry(RetryPolicy::default().give_up_after(CONNECT));
        match client.build().await {
            Ok(client) => return Ok(client.with_retry(RetryPolicy::for_ever())),
            Err(error @ Error::Transport { .. }) => {
                tracing::warn!("no network yet; trying on: {error}");
                tokio::time::sleep(backoff.next_wait()).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A worker that is connected.
struct Station {
    config: Config,
    endpoints: Endpoints,
    key: SigningKey,
    journal: Arc<Journal>,
    metrics: Arc<Metrics>,
    client: Client,
}

impl Station {
    /// Serves until drained; the number of results and votes that are still owed.
    async fn serve(self, mut stages: watch::Receiver<Stage>) -> anyhow::Result<usize> {
        let pace = Pace {
            poll: Duration::from_millis(self.config.work.poll_interval_ms),
            preview: Duration::from_millis(self.config.work.preview_interval_ms),
            ..Pace::default()
        };
        let escrow = Arc::new(EscrowClient::new(&self.client, self.endpoints.escrow));
        let (sender, receiver) = mpsc::unbounded_channel();
        let deliveries = Arc::new(Deliveries {
            escrow: escrow.clone(),
            node: self.client.principal(),
            journal: self.journal.clone(),
            metrics: self.metrics.clone(),
            longest_wait: pace.longest_wait,
        });
        let delivering = tokio::spawn(deliveries.run(receiver, stages.clone()));
        let earnings = Earnings {
            escrow: escrow.clone(),
            journal: self.journal.clone(),
            metrics: self.metrics.clone(),
            every: LOOK_AT_EARNINGS,
        };
        let counting = tokio::spawn(earnings.run());
        let loaded = Arc::new(OnceLock::new());
        let validating = self.begin_to_validate(&escrow, &loaded, &pace, &stages)?;

        let registry = self.client.registry(self.endpoints.registry);
        let ready = tokio::select! {
            ready = self.get_ready(&registry) => Some(ready?),
            () = reached(&mut stages, Stage::Draining) => None,
        };
        let mut keeping = None;
        if let Some((served, wanted)) = ready {
            loaded.get_or_init(|| served.clone());
            let worker = Arc::new(Worker {
                escrow,
                escrow_id: self.endpoints.escrow,
                key: self.key.clone(),
                journal: self.journal.clone(),
                metrics: self.metrics.clone(),
                served,
                pace,
                deliveries: sender,
                freed: Notify::new(),
                claims: self.config.node.computes(),
            });
            keeping = Some(tokio::spawn(self.keep_registered(wanted)));
            let farewell = tokio::spawn(farewell(registry, stages.clone()));
            let reporting = tokio::spawn(report::report(self.metrics.clone()));
            tracing::info!("serving");
            let worked = worker.run(stages.clone()).await;
            reporting.abort();
            worked?;
            // Bounded by its own time.
            let _ = farewell.await;
        } else {
            drop(sender);
        }
        let owed = delivering.await??;
        let sealed = match validating {
            Some(validating) => validating.await??,
            None => 0,
        };
        counting.abort();
        if let Some(keeping) = keeping {
            keeping.abort();
        }
        Ok(owed + sealed)
    }

    /// Starts to validate, before any model is there: what was committed to before must be revealed in time. `None` for
    /// a node that does not, and has nothing left of a time when it did.
    fn begin_to_validate(
        &self,
        escrow: &Arc<EscrowClient>,
        loaded: &Arc<OnceLock<Vec<Arc<Served>>>>,
        pace: &Pace,
        stages: &watch::Receiver<Stage>,
    ) -> anyhow::Result<Option<JoinHandle<Result<usize, JournalError>>>> {
        if !self.config.node.validates() && self.journal.sealed_votes()?.is_empty() {
            return Ok(None);
        }
        let validator = Arc::new(Validator {
            escrow: escrow.clone(),
            escrow_id: self.endpoints.escrow,
            node: self.client.principal(),
            journal: self.journal.clone(),
            metrics: self.metrics.clone(),
            served: loaded.clone(),
            poll: Duration::from_millis(self.config.work.audit_interval_ms),
            longest_wait: pace.longest_wait,
        });
        Ok(Some(tokio::spawn(validator.run(stages.clone()))))
    }

    /// Engines and registration, for as long as the network takes.
    async fn get_ready(&self, registry: &Registry) -> anyhow::Result<(Vec<Arc<Served>>, Wanted)> {
        let (mut served, mut offers) = (vec![], vec![]);
        for model in &self.config.models {
            let serving = async {
                let entry = look_up_patiently(registry, model)
                    .await
                    .with_context(|| format!("the model {} in the catalogue", model.id))?;
                tracing::info!(model = %entry.id, version = entry.version, "checking and loading");
                let percent = self.config.work.least_paid_percent;
                catalogue::serve(model, &entry, percent, self.metrics.clone()).await
            };
            match serving.await {
                Ok(one) => {
                    offers.push(catalogue::offer(&one, model));
                    served.push(Arc::new(one));
                }
                Err(error) => tracing::error!("not served: {error:#}"),
            }
        }
        if served.is_empty() {
            bail!("no model can be served: `emc-worker check` says why");
        }
        let on_gpu = self.config.models.iter().any(catalogue::uses_gpu);
        let wanted = Wanted {
            public_key: self.key.verifying_key().to_bytes(),
            owner: self.config.node.owner,
            roles: self.config.node.roles.clone(),
            hardware: hardware::detect(on_gpu),
            offers,
        };
        let mut backoff = Backoff::new(TRY_FIRST, TRY_LONGEST);
        loop {
            match registration::register(registry, &wanted).await {
                Ok(node) => {
                    tracing::info!(owner = %node.owner, "registered");
                    return Ok((served, wanted));
                }
                Err(error) => {
                    tracing::error!(%error, "not registered yet; trying on");
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    /// Says now and then that the node is there, and looks at what the owner has earned. Where the registry has
    /// forgotten the node, it is registered again.
    fn keep_registered(&self, wanted: Wanted) -> impl Future<Output = ()> + Send + use<> {
        let client = self.client.with_retry(RetryPolicy::default());
        let account = client.escrow(self.endpoints.escrow);
        let registry = client.registry(self.endpoints.registry);
        let owner = wanted.owner.unwrap_or(self.client.principal());
        let every = Duration::from_secs(self.config.work.heartbeat_seconds);
        let metrics = self.metrics.clone();
        async move {
            let mut beat = tokio::time::interval(every);
            beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                beat.tick().await;
                match registry.heartbeat().await {
                    Ok(()) => {}
                    Err(error) if registration::is_not_registered(&error) => {
                        if let Err(error) = registration::register(&registry, &wanted).await {
                            tracing::warn!(%error, "the registry has forgotten this node");
                        }
                    }
                    Err(error) => {
                        metrics.call_failures.fetch_add(1, Relaxed);
                        tracing::warn!(%error, "no heartbeat");
                    }
                }
                if let Ok(view) = account.account(owner).await {
                    let e8s = u64::try_from(view.available.0).unwrap_or(u64::MAX);
                    metrics.balance_e8s.store(e8s, Relaxed);
                }
            }
        }
    }
}

/// Tells the registry of a drain, so that requesters are not made to wait for a node that is leaving.
async fn farewell(registry: Registry, mut stages: watch::Receiver<Stage>) {
    reached(&mut stages, Stage::Draining).await;
    let update = UpdateNode {
        draining: Some(true),
        ..UpdateNode::default()
    };
    match tokio::time::timeout(FAREWELL, registry.update_node(update)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the registry was not told of the drain"),
        Err(_) => tracing::warn!("the registry was not told of the drain: no answer"),
    }
}
