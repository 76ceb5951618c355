//! What a result has earned, where that is decided after its delivery: the job is drawn, perhaps audited, and only then
//! final. The journal remembers such results, and their jobs are looked at until they are.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use emc_protocol::{Job, JobState, PostingAccount, Tokens};

use crate::escrow::{DeliverVerdict, Escrow};
use crate::journal::{Awaited, JobKey, Journal, JournalError};
use crate::metrics::Metrics;

/// What the escrow writes beside the postings that pay for a job.
const PAY: [&str; 2] = ["price", "half of the price"];

/// Looks after results that are delivered and not paid.
pub struct Earnings<E> {
    /// The escrow's calls.
    pub escrow: Arc<E>,
    /// The journal.
    pub journal: Arc<Journal>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The time between two looks at the jobs.
    pub every: Duration,
}

impl<E: Escrow> Earnings<E> {
    /// Counts for ever; may be dropped at any time.
    pub async fn run(self) {
        loop {
            if let Err(error) = self.look().await {
                tracing::error!(%error, "earnings are counted later");
            }
            tokio::time::sleep(self.every).await;
        }
    }

    async fn look(&self) -> Result<(), JournalError> {
        let mut left = 0;
        for awaited in self.journal.awaited()? {
            match self.final_pay(awaited).await {
                Some(paid) => {
                    super::store(&self.journal, move |journal| {
                        journal.settled(awaited.key(), paid)
                    })
                    .await?;
                    self.metrics.earned_e8s.fetch_add(e8s(paid), Relaxed);
                }
                None => left += 1,
            }
        }
        self.metrics.awaited.store(left, Relaxed);
        Ok(())
    }

    /// What the owner got; `None` while the job is not final or cannot be looked at.
    async fn final_pay(&self, awaited: Awaited) -> Option<Tokens> {
        let job_id = awaited.job_id;
        match self.escrow.job(job_id).await {
            Ok(job) if job.state.is_some_and(is_final) => {
                let paid = paid_to_owner(&job, awaited.key());
                match job.state {
                    Some(JobState::Settled) => tracing::info!(job_id, %paid, "settled"),
                    state => tracing::warn!(job_id, %paid, ?state, "the audit did not uphold it"),
                }
                Some(paid)
            }
            Ok(_) => None,
            Err(error) if error.deliver_verdict() == DeliverVerdict::Refused => {
                tracing::warn!(job_id, %error, "what it has earned cannot be learned any more");
                Some(Tokens::ZERO)
            }
            Err(_) => None,
        }
    }
}

/// True for a state that a job never leaves.
pub(super) fn is_final(state: JobState) -> bool {
    matches!(
        state,
        JobState::Settled | JobState::Refunded | JobState::Undecided
    )
}

/// What the attempt's owner got for the job, by its postings.
pub(super) fn paid_to_owner(job: &Job, key: JobKey) -> Tokens {
    let owner = job
        .attempts
        .iter()
        .find(|attempt| attempt.number == key.attempt)
        .map(|attempt| attempt.owner);
    let to_owner = |account: &Option<PostingAccount>| match account {
        Some(PostingAccount::Available(principal)) => Some(*principal) == owner,
        _ => false,
    };
    let paid: i128 = job
        .postings
        .iter()
        .filter(|posting| PAY.contains(&posting.reason.as_str()) && to_owner(&posting.account))
        .fold(0, |sum: i128, posting| {
            sum.saturating_add(posting.amount.max(0))
        });
    Tokens(paid.unsigned_abs())
}

/// For a metric; beyond 64 bits it stays at the most.
pub(super) fn e8s(tokens: Tokens) -> u64 {
    u64::try_from(tokens.0).unwrap_or(u64::MAX)
}
