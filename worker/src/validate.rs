//! The node as a validator: it looks for audits that it was drawn for, recomputes the answer, and votes.
//!
//! 1. `audits` is a free query, asked at a slow pace. Each audit that it lists becomes a task, the most urgent first.
//! 2. While the round takes commitments: the task is fetched and computed by the model's engine (`ballot`), vote and salt
//!    go to the journal, and only then is the vote committed to.
//! 3. While the round takes votes: the vote is revealed from the journal, whoever computed it: this process, or one that
//!    has crashed since.
//!
//! What fails is tried again, with growing waits, for as long as the escrow lists it. Every seat ends as revealed or as
//! missed, and is counted so once.

mod ballot;
mod docket;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use candid::Principal;
use emc_protocol::audit::{AuditPhase, AuditSummary};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::backoff::Backoff;
use crate::drain::{Stage, reached};
use crate::escrow::{CallError, Escrow};
use crate::journal::{Journal, JournalError, SealedVote, SeatKey, VoteEnd};
use crate::metrics::Metrics;
use crate::work::{Served, log_panic, store};
use docket::Docket;

/// After so many looks, votes that the escrow does not ask for are looked after: their round may be over.
const LOOKS_BETWEEN: u32 = 5;

/// A node that validates in one escrow.
pub struct Validator<E> {
    /// The escrow's calls.
    pub escrow: Arc<E>,
    /// The escrow's principal, part of every commitment.
    pub escrow_id: Principal,
    /// The node, part of every commitment.
    pub node: Principal,
    /// The journal.
    pub journal: Arc<Journal>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The models; empty until they are loaded. Votes of an earlier process are revealed meanwhile.
    pub served: Arc<OnceLock<Vec<Arc<Served>>>>,
    /// The time between two looks.
    pub poll: Duration,
    /// The longest wait before a failed call is tried again.
    pub longest_wait: Duration,
}

/// How far the work on an audit has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Nothing more to do in this phase.
    Done,
    /// To be tried again.
    Later,
    /// Revealed or lost: nothing more to do at all.
    Over,
}

impl<E: Escrow> Validator<E> {
    /// Validates until drained: until every vote that was committed to is revealed, or the worker stops. The number of
    /// votes that still wait to be revealed; the next start does that.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn run(
        self: Arc<Self>,
        stages: watch::Receiver<Stage>,
    ) -> Result<usize, JournalError> {
        let sealed = self.journal.sealed_votes()?;
        if !sealed.is_empty() {
            tracing::info!(
                votes = sealed.len(),
                "votes from before wait to be revealed"
            );
        }
        let mut stopping = stages.clone();
        tokio::select! {
            () = self.clone().watch(stages) => {}
            () = reached(&mut stopping, Stage::Stopping) => {}
        }
        Ok(self.journal.sealed_votes()?.len())
    }

    async fn watch(self: Arc<Self>, stages: watch::Receiver<Stage>) {
        let mut draining = stages.clone();
        let mut docket = Docket::new(self.poll, self.longest_wait);
        let mut looks = Backoff::new(self.poll, self.longest_wait);
        let mut tasks = JoinSet::new();
        let mut count = 0u32;
        loop {
            let wait = match self.escrow.audits().await {
                Ok(listed) => {
                    looks.reset();
                    self.metrics.heard();
                    let sealed = self.sealed();
                    for key in docket.gone(&listed, &sealed) {
                        self.missed(key, "its time was up before it was committed to")
                            .await;
                    }
                    for audit in docket.due(&listed) {
                        self.clone().begin(audit, &mut tasks);
                    }
                    if count.is_multiple_of(LOOKS_BETWEEN) {
                        self.look_after(&listed, &sealed).await;
                    }
                    count = count.wrapping_add(1);
                    let loaded = self.served.get().is_some();
                    let idle = tasks.is_empty() && (listed.is_empty() || !loaded);
                    if *stages.borrow() >= Stage::Draining && idle && self.sealed().is_empty() {
                        return;
                    }
                    self.poll
                }
                Err(error) => {
                    self.metrics.call_failures.fetch_add(1, Relaxed);
                    // Once, not at each try of an outage.
                    if looks.failures() == 0 {
                        tracing::warn!(%error, "cannot see what audits there are; trying on");
                    }
                    looks.next_wait().max(self.poll)
                }
            };
            let until = tokio::time::Instant::now() + wait;
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => break,
                    Some(ended) = tasks.join_next() => match ended {
                        Ok((key, outcome)) => docket.ended(key, outcome),
                        Err(error) => {
                            docket.lost_a_task();
                            log_panic(Err(error));
                        }
                    },
                    () = reached(&mut draining, Stage::Draining),
                        if *stages.borrow() == Stage::Working => break,
                }
            }
        }
    }

    fn begin(self: Arc<Self>, audit: AuditSummary, tasks: &mut JoinSet<(SeatKey, Outcome)>) {
        let key = SeatKey::of(&audit);
        let span = tracing::info_span!("audit", id = key.job_id, round = key.round);
        let work = async move {
            let outcome = match audit.phase {
                Some(AuditPhase::Commit) => self.commit(&audit).await,
                Some(AuditPhase::Reveal) => self.reveal(key).await,
                // A phase of tomorrow: nothing that this version could do.
                None => Outcome::Done,
            };
            (key, outcome)
        };
        tasks.spawn(work.instrument(span));
    }

    /// Votes that are not revealed. Where they cannot be read it is logged, and none are looked after now.
    fn sealed(&self) -> Vec<SealedVote> {
        let sealed = self.journal.sealed_votes().unwrap_or_else(|error| {
            tracing::error!(%error, "the votes cannot be read");
            vec![]
        });
        self.metrics
            .votes_sealed
            .store(sealed.len() as u64, Relaxed);
        sealed
    }

    /// Drops votes whose round is over: revealed by a call whose answer was lost, or too late.
    async fn look_after(&self, listed: &[AuditSummary], sealed: &[SealedVote]) {
        for vote in sealed {
            let key = vote.key();
            if listed.iter().any(|audit| SeatKey::of(audit) == key) {
                continue;
            }
            let audit = match self.escrow.audit(key.job_id).await {
                Ok(audit) => audit,
                Err(CallError::Refused(error)) => {
                    tracing::warn!(id = key.job_id, %error, "the escrow does not know the audit");
                    self.missed(key, "the escrow does not know the audit").await;
                    continue;
                }
                Err(CallError::Unanswered(_)) => continue,
            };
            let rounds = audit.rounds.len();
            let round = audit.rounds.into_iter().find(|r| r.number == key.round);
            let seats = round.map(|round| round.seats).unwrap_or_default();
            // Votes are shown once the round is over. One without any is over where another follows, or none will.
            let over = audit.verdict.is_some()
                || rounds > key.round as usize
                || seats.iter().any(|seat| seat.vote.is_some());
            let ours = seats.iter().find(|seat| seat.node == self.node);
            match ours {
                Some(seat) if seat.vote.is_some() => self.revealed(key, vote.committed).await,
                _ if over => {
                    self.missed(key, "its round was over before it was revealed")
                        .await
                }
                _ => {}
            }
        }
    }

    /// A vote was revealed; `was_known` says whether its commitment was known to have arrived.
    async fn revealed(&self, key: SeatKey, was_known: bool) {
        self.note(move |journal| {
            journal.committed(key)?;
            journal.seat_ended(key, VoteEnd::Revealed)
        })
        .await;
        let more = u64::from(!was_known);
        self.metrics.votes_committed.fetch_add(more, Relaxed);
        self.metrics.votes_revealed.fetch_add(1, Relaxed);
    }

    async fn missed(&self, key: SeatKey, why: &str) {
        tracing::warn!(
            id = key.job_id,
            round = key.round,
            why,
            "a vote was missed; its bond may be lost"
        );
        self.note(move |journal| journal.seat_ended(key, VoteEnd::Missed))
            .await;
        self.metrics.votes_missed.fetch_add(1, Relaxed);
    }

    async fn note(
        &self,
        write: impl FnOnce(&Journal) -> Result<(), JournalError> + Send + 'static,
    ) {
        if let Err(error) = store(&self.journal, write).await {
            tracing::error!(%error, "an ended vote stays in the journal; it is looked after again");
        }
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
