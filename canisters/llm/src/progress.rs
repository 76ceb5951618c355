//! How long a request waits, how often it asks, and what a job's state means for it.

use crate::refusal::Refusal;
use emc_protocol::{Job, JobState, Seconds};

const SECOND: u64 = 1_000_000_000;
/// What is left of a caller's time for the cancellation and the last look.
pub const MARGIN: Seconds = Seconds(30);
/// The shortest wait: a job's shortest deadline.
pub const LEAST_WAIT: Seconds = emc_protocol::limits::DEADLINE_MIN;
/// The shortest timeout of a call that is taken.
pub const LEAST_TIMEOUT: Seconds = Seconds(MARGIN.0 + LEAST_WAIT.0);
/// The first question comes after this.
const FIRST_POLL: u64 = SECOND;
/// The pause between two questions grows up to this.
const LONGEST_PAUSE: u64 = 10 * SECOND;

/// What a look at a job tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing yet.
    Waiting,
    /// The model has answered.
    Answer(String),
    /// It ended without an answer.
    Failed(Refusal),
}

/// What a job's state means for who waits for it.
pub fn of(job: &Job) -> Progress {
    let output = job
        .private
        .as_ref()
        .and_then(|private| private.output.as_ref());
    match (job.state, output) {
        (Some(JobState::Refunded), _) => {
            Progress::Failed(Refusal::Refunded(job.id, job.refund_reason))
        }
        (_, Some(output)) => Progress::Answer(output.text.clone()),
        (Some(JobState::Settled | JobState::Undecided), None) => {
            Progress::Failed(Refusal::Gone(job.id))
        }
        (_, None) => Progress::Waiting,
    }
}

/// How long a request may wait: as set, but never past the end of the caller's own call.
///
/// # Errors
/// The caller's call ends too soon.
pub fn wait(set: Seconds, now: u64, call_ends: Option<u64>) -> Result<Seconds, Refusal> {
    let Some(ends) = call_ends else {
        return Ok(set);
    };
    let left = ends.saturating_sub(now) / SECOND;
    match left < LEAST_TIMEOUT.0 {
        true => Err(Refusal::ShortCall {
            left: Seconds(left),
        }),
        false => Ok(set.min(Seconds(left - MARGIN.0))),
    }
}

/// When to ask next: after a second, then ever more slowly, up to every ten seconds.
pub fn next_poll(started: u64, now: u64) -> u64 {
    let pause = now.saturating_sub(started) / 4;
    now.saturating_add(pause.clamp(FIRST_POLL, LONGEST_PAUSE))
}
