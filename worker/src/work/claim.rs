//! Watching the escrow and taking leases.
//!
//! Looking is a free query; it is done often while there is something to do and less often when there is not. Only when
//! it shows work is `claim` called, which costs the escrow an update. Work that the escrow does not give us (too cheap,
//! tried before) makes the next claim wait, until what is offered changes.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use emc_protocol::limits::CLAIM_JOBS;
use emc_protocol::work::{ClaimArgs, DeclineArgs, WorkSummary};
use emc_protocol::{Lease, ModelRef};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Worker;
use crate::backoff::Backoff;
use crate::drain::{Stage, reached};
use crate::escrow::{CallError, Escrow};
use crate::preview::Preview;

/// How often to look while all slots are taken; only to know that the escrow is there.
const LOOK_WHEN_FULL: Duration = Duration::from_secs(5);

/// Takes and starts jobs until the stage is beyond working. A claim under way is waited for: its leases are ours.
pub(super) async fn claim_until_drained<E: Escrow>(
    worker: &Arc<Worker<E>>,
    stages: &watch::Receiver<Stage>,
    jobs: &mut JoinSet<()>,
) {
    let mut watch = Watch::new(worker);
    let mut draining = stages.clone();
    while *stages.borrow() == Stage::Working {
        while let Some(ended) = jobs.try_join_next() {
            super::log_panic(ended);
        }
        let (leases, wait) = watch.look().await;
        for lease in leases {
            worker
                .clone()
                .start_job(lease, Preview::default(), stages, jobs);
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = worker.freed.notified() => {}
            () = reached(&mut draining, Stage::Draining) => {}
        }
    }
}

struct Watch<'a, E: Escrow> {
    worker: &'a Arc<Worker<E>>,
    /// The wait while nothing happens; grows to the configured one.
    idle: Duration,
    looks: Backoff,
    claims: Backoff,
    /// Not to be claimed before this, unless what is offered changes.
    not_before: Option<Instant>,
    offered: Vec<WorkSummary>,
    last_refusal: Option<String>,
}

impl<'a, E: Escrow> Watch<'a, E> {
    fn new(worker: &'a Arc<Worker<E>>) -> Self {
        let first = Duration::from_millis(250).min(worker.pace.longest_wait);
        Self {
            worker,
            idle: worker.pace.poll,
            looks: Backoff::new(first, worker.pace.longest_wait),
            claims: Backoff::new(first, worker.pace.longest_wait.min(Duration::from_secs(10))),
            not_before: None,
            offered: vec![],
            last_refusal: None,
        }
    }

    /// Looks once and claims what there is. The leases are in the journal; and how long to wait before the next look.
    async fn look(&mut self) -> (Vec<Lease>, Duration) {
        let worker = self.worker;
        let all = worker.served.iter().map(|s| s.model.clone()).collect();
        let work = match worker.escrow.work_available(all).await {
            Ok(work) => work,
            Err(error) => {
                worker.metrics.call_failures.fetch_add(1, Relaxed);
                let wait = self.looks.next_wait();
                // Once, not at each try of an outage.
                if self.looks.failures() == 1 {
                    tracing::warn!(%error, "cannot see what work there is; trying on");
                }
                return (vec![], wait);
            }
        };
        if self.looks.failures() > 1 {
            tracing::info!("the escrow answers again");
        }
        self.looks.reset();
        worker.metrics.polled(work.iter().map(|w| w.open).sum());

        let free = self.free_models(&work);
        let slots: u32 = free.iter().map(|(_, free)| free).sum();
        let full = worker.served.iter().all(|s| s.free() == 0)
            || worker.metrics.owed.load(Relaxed) >= worker.pace.most_owed;
        if full {
            return (vec![], LOOK_WHEN_FULL.min(worker.pace.longest_wait));
        }
        if slots == 0 {
            self.idle = self.idle.mul_f64(1.3).min(worker.pace.poll);
            return (vec![], self.idle);
        }
        if work != self.offered {
            self.offered = work;
            self.not_before = None;
        }
        if let Some(time) = self.not_before.filter(|time| *time > Instant::now()) {
            return (vec![], self.idle.min(time - Instant::now()));
        }
        let args = ClaimArgs {
            models: free.into_iter().map(|(model, _)| model).collect(),
            max: slots.min(CLAIM_JOBS),
        };
        match worker.escrow.claim(args).await {
            Ok(leases) if !leases.is_empty() => {
                self.claims.reset();
                self.last_refusal = None;
                self.idle = worker.pace.poll / 5;
                (self.keep(leases).await, Duration::ZERO)
            }
            Ok(_) => (vec![], self.postpone()),
            Err(error) => {
                self.say(&error);
                worker.metrics.call_failures.fetch_add(1, Relaxed);
                let wait = self.postpone();
                (vec![], error.retry_after().unwrap_or(wait).max(wait))
            }
        }
    }

    /// The models that have both work and free slots, with how many.
    fn free_models(&self, work: &[WorkSummary]) -> Vec<(ModelRef, u32)> {
        let mut free = vec![];
        for served in &self.worker.served {
            let open = work
                .iter()
                .filter(|w| w.model == served.model)
                .map(|w| w.open)
                .sum::<u64>();
            let slots = u64::from(served.free()).min(open);
            if slots > 0 {
                free.push((served.model.clone(), slots as u32));
            }
        }
        free
    }

    fn postpone(&mut self) -> Duration {
        let wait = self.claims.next_wait();
        self.not_before = Some(Instant::now() + wait);
        wait.min(self.idle)
    }

    /// Stores leases before anything is done about them. Where that fails they are given back: what is not in the
    /// journal could be lost.
    async fn keep(&self, leases: Vec<Lease>) -> Vec<Lease> {
        let worker = self.worker;
        worker
            .metrics
            .claimed
            .fetch_add(leases.len() as u64, Relaxed);
        let stored = leases.clone();
        let written = worker.store(move |journal| journal.claimed(&stored)).await;
        let Err(error) = written else {
            return leases;
        };
        tracing::error!(%error, "leases are given back, since the journal cannot hold them");
        for lease in &leases {
            let args = DeclineArgs {
                job_id: lease.job_id,
                attempt: lease.attempt,
                reason: "the node's disk failed".into(),
            };
            if let Err(error) = worker.escrow.decline(args).await {
                tracing::warn!(%error, job_id = lease.job_id, "could not be given back");
            }
            worker.metrics.declined.fetch_add(1, Relaxed);
        }
        // A disk that fails now is likely to fail in a second.
        tokio::time::sleep(worker.pace.longest_wait).await;
        vec![]
    }

    /// Logs a refused claim once, not at each try.
    fn say(&mut self, error: &CallError) {
        let text = error.to_string();
        if self.last_refusal.as_ref() != Some(&text) {
            tracing::warn!(%error, "there is work, but no lease; trying on");
            self.last_refusal = Some(text);
        }
    }
}
