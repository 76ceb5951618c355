//! Results are kept for a time and then deleted, a bounded number at a time. What remains of a job is its record: who,
//! when, what it cost and why; and its receipt. Nothing remains of the jobs of probe rounds.

use crate::image;
use crate::lease;
use crate::mining_job;
use crate::state::State;
use emc_protocol::Timestamp;

/// Deletes results whose time is over, at most `limit`; how many.
pub fn prune(state: &mut State, now: Timestamp, limit: usize) -> usize {
    for done in 0..limit {
        match state.retention.first_key_value() {
            Some(((until, id), ())) if until <= now.0 => {
                state.retention.remove(&(until, id));
                state.outputs.remove(&id);
                let job = state.jobs.get(&id);
                if job.as_ref().is_some_and(|job| job.image.is_some()) {
                    image::forget(state, id);
                }
                if job.as_ref().is_some_and(|job| job.mining.is_some()) {
                    mining_job::delete(state, id);
                } else if let Some(mut job) = job
                    && (job.progress.is_some() || job.upload.is_some())
                {
                    lease::drop_partial(state, id, &mut job);
                    state.jobs.insert(id, job);
                }
            }
            _ => return done,
        }
    }
    limit
}
