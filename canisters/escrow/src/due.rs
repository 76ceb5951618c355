//! The due queue: every unfinished job is in it, at the end of its lease, at its deadline, or at the end of an audit's
//! phase; but for those that wait in the draw queue (`draw`). A timer works it off, a
//! bounded number at a time; and whoever touches a job first brings it up to date, so that a late timer changes nothing
//! of what the rules say.

use crate::audit;
use crate::lease;
use crate::outage;
use crate::records::*;
use crate::settle;
use crate::state::State;
use emc_protocol::{ApiError, JobId, Timestamp};

/// Does what is due, for at most `limit` jobs; how many.
pub fn work_off(state: &mut State, now: Timestamp, limit: usize) -> usize {
    for done in 0..limit {
        match state.due.first_key_value() {
            Some(((at, id), ())) if at <= now.0 => {
                if catch_up(state, now, id).is_err() {
                    // An entry without a job cannot be; should one ever, it must not stop the queue.
                    state.due.remove(&(at, id));
                }
            }
            Some(((at, _), ())) => {
                state.next_due = at;
                return done;
            }
            None => {
                state.next_due = u64::MAX;
                return done;
            }
        }
    }
    limit
}

/// A job's record, after whatever was due for it.
///
/// # Errors
/// There is no such job.
pub(crate) fn catch_up(
    state: &mut State,
    now: Timestamp,
    id: JobId,
) -> Result<JobRecord, ApiError> {
    let mut job = state.job(id)?;
    let mut changed = outage::shift(state, id, &mut job);
    while job.due().is_some_and(|at| at <= now) {
        match job.stage {
            Stage::Open => settle::refund(state, now, id, &mut job, Refund::Deadline),
            Stage::Leased => lease::lapse(state, now, id, &mut job),
            Stage::Auditing => audit::phase_over(state, now, id, &mut job),
            Stage::Delivered | Stage::Settled | Stage::Refunded(_) | Stage::Undecided => break,
        }
        changed = true;
    }
    if changed {
        state.jobs.insert(id, job.clone());
    }
    Ok(job)
}
