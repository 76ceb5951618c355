//! The worker at work: watch, claim, run, deliver, all at once, until it is drained.
//!
//! `claim` watches the escrow and takes leases while there are free slots; each lease becomes a task of `run`, whose
//! result `deliver` keeps offering to the escrow until it has been accepted or definitely refused. What is paid only
//! after a draw or an audit is counted by `earnings`.

mod claim;
mod deliver;
mod earnings;
mod paint;
mod run;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use candid::Principal;
use ed25519_dalek::SigningKey;
use emc_protocol::{Lease, ModelRef, Timestamp};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::assess::Terms;
use crate::delivery::Owed;
use crate::drain::{Stage, reached};
use crate::engine::Server;
use crate::escrow::Escrow;
use crate::journal::{JobKey, Journal, JournalError, LeaseEnd};
use crate::metrics::Metrics;
use crate::preview::Preview;

pub use deliver::Deliveries;
pub use earnings::Earnings;

/// A model that this node serves.
pub struct Served {
    /// Id and version.
    pub model: ModelRef,
    /// The root of the files that the engine runs.
    pub root: [u8; 32],
    /// What serves it.
    pub server: Server,
    /// Jobs at a time.
    pub concurrency: u32,
    /// Which jobs are accepted.
    pub terms: Terms,
    in_flight: AtomicU32,
}

impl Served {
    /// A model with an engine that runs it.
    pub fn new(
        model: ModelRef,
        root: [u8; 32],
        server: Server,
        concurrency: u32,
        terms: Terms,
    ) -> Self {
        Self {
            model,
            root,
            server,
            concurrency,
            terms,
            in_flight: AtomicU32::new(0),
        }
    }

    /// How many more jobs can be run: none while the engine is being started again, since they could only be given back.
    fn free(&self) -> u32 {
        if !self.server.is_ready() {
            return 0;
        }
        self.concurrency
            .saturating_sub(self.in_flight.load(Relaxed))
    }
}

/// How fast things are done.
#[derive(Debug, Clone)]
pub struct Pace {
    /// The longest wait between two looks at what work there is; right after a job it is a fifth of it.
    pub poll: Duration,
    /// When the first preview of an answer is sent.
    pub first_preview: Duration,
    /// The time between two previews of one answer.
    pub preview: Duration,
    /// The longest wait before a failed call is tried again.
    pub longest_wait: Duration,
    /// Results that may be owed before no new jobs are taken.
    pub most_owed: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(250),
            first_preview: Duration::from_millis(1000),
            // The escrow's limit is two seconds, by its own clock.
            preview: Duration::from_millis(2200),
            longest_wait: Duration::from_secs(15),
            most_owed: 256,
        }
    }
}

/// A node at work in one escrow.
pub struct Worker<E> {
    /// The escrow's calls.
    pub escrow: Arc<E>,
    /// The escrow's principal, part of every receipt.
    pub escrow_id: Principal,
    /// The node's key.
    pub key: SigningKey,
    /// The journal.
    pub journal: Arc<Journal>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The models.
    pub served: Vec<Arc<Served>>,
    /// How fast.
    pub pace: Pace,
    /// Where finished results go.
    pub deliveries: mpsc::UnboundedSender<Owed>,
    /// Told when a slot becomes free.
    pub freed: Notify,
    /// False for a node that only validates: it does what it has begun, and takes no jobs.
    pub claims: bool,
}

/// A slot of a model that is taken until dropped.
struct Slot<E: Escrow> {
    worker: Arc<Worker<E>>,
    served: Option<Arc<Served>>,
}

impl<E: Escrow> Drop for Slot<E> {
    fn drop(&mut self) {
        if let Some(served) = &self.served {
            served.in_flight.fetch_sub(1, Relaxed);
        }
        self.worker.metrics.in_flight.fetch_sub(1, Relaxed);
        self.worker.freed.notify_one();
    }
}

impl<E: Escrow> Worker<E> {
    /// Works until drained. Returns when no job runs any more; its sender of results is dropped with it.
    ///
    /// # Errors
    /// Where the journal cannot be read at the start.
    pub async fn run(self: Arc<Self>, stages: watch::Receiver<Stage>) -> Result<(), JournalError> {
        if self.claims {
            let slots = self.served.iter().map(|s| u64::from(s.concurrency));
            self.metrics.slots.store(slots.sum(), Relaxed);
        }
        let mut jobs = JoinSet::new();
        for (lease, preview) in self.journal.leases()? {
            self.clone().resume(lease, preview, &stages, &mut jobs);
        }
        self.metrics.taking_work.store(true, Relaxed);
        if self.claims {
            claim::claim_until_drained(&self, &stages, &mut jobs).await;
        } else {
            reached(&mut stages.clone(), Stage::Draining).await;
        }
        self.metrics.taking_work.store(false, Relaxed);
        while let Some(ended) = jobs.join_next().await {
            log_panic(ended);
        }
        Ok(())
    }

    /// Takes up a lease that the journal held at the start: what has lapsed is dropped, the rest is done from its
    /// beginning, and the preview shows whether it comes out the same.
    fn resume(
        self: Arc<Self>,
        lease: Lease,
        preview: Preview,
        stages: &watch::Receiver<Stage>,
        jobs: &mut JoinSet<()>,
    ) {
        let key = JobKey::of(&lease);
        if lease.until <= now() && preview.ids.is_empty() {
            tracing::info!(
                job_id = key.job_id,
                attempt = key.attempt,
                "its lease has lapsed meanwhile"
            );
            if let Err(error) = self.journal.ended(key, LeaseEnd::Lost) {
                tracing::error!(%error, "a lapsed lease stays in the journal");
            }
            self.metrics.lost.fetch_add(1, Relaxed);
            return;
        }
        tracing::info!(
            job_id = key.job_id,
            attempt = key.attempt,
            "taken up again after a restart"
        );
        self.start_job(lease, preview, stages, jobs);
    }

    fn start_job(
        self: Arc<Self>,
        lease: Lease,
        preview: Preview,
        stages: &watch::Receiver<Stage>,
        jobs: &mut JoinSet<()>,
    ) {
        let served = self.served.iter().find(|s| s.model == lease.model).cloned();
        if let Some(served) = &served {
            served.in_flight.fetch_add(1, Relaxed);
        }
        self.metrics.in_flight.fetch_add(1, Relaxed);
        let span = tracing::info_span!(
            "job",
            id = lease.job_id,
            attempt = lease.attempt,
            model = %lease.model.id
        );
        let slot = Slot {
            worker: self.clone(),
            served,
        };
        let stages = stages.clone();
        jobs.spawn(
            async move { run::run_job(&slot, lease, preview, stages).await }.instrument(span),
        );
    }

    /// Writes to the journal off the runtime's threads, since it syncs the disk.
    async fn store(
        &self,
        write: impl FnOnce(&Journal) -> Result<(), JournalError> + Send + 'static,
    ) -> Result<(), JournalError> {
        store(&self.journal, write).await
    }
}

pub(crate) async fn store(
    journal: &Arc<Journal>,
    write: impl FnOnce(&Journal) -> Result<(), JournalError> + Send + 'static,
) -> Result<(), JournalError> {
    let journal = journal.clone();
    let written = tokio::task::spawn_blocking(move || write(&journal)).await;
    // A blocking task fails only by a panic or the runtime's end.
    written.unwrap_or_else(|error| Err(JournalError::Interrupted(error.to_string())))
}

pub(crate) fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a task failed; its job stays in the journal until the next start");
    }
}

/// This machine's time, as the escrow writes times. The two clocks may differ by minutes.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(since.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
#[path = "work_tests.rs"]
mod tests;
