//! Cancelling: free while no node has the job; once one does, the progress that it has shown is paid.

use crate::due;
use crate::lease;
use crate::movement::Charge;
use crate::records::*;
use crate::settle;
use crate::state::State;
use candid::Principal;
use emc_protocol::{ApiError, JobId, Timestamp, error::code};

/// Cancels a job of the caller; its record afterwards.
///
/// # Errors
/// It is somebody else's, or final.
pub fn cancel(
    state: &mut State,
    now: Timestamp,
    caller: Principal,
    id: JobId,
) -> Result<JobRecord, ApiError> {
    let job = state.job(id)?;
    if job.requester != caller && job.submitter() != caller {
        let message = format!(
            "Job {id} is somebody else's: only its requester can cancel it, or who submitted it."
        );
        return Err(ApiError::new(code::FORBIDDEN, message));
    }
    let mut job = due::catch_up(state, now, id)?;
    match job.stage {
        Stage::Open => settle::refund(state, now, id, &mut job, Refund::Cancelled),
        Stage::Leased => {
            let charge = match job.attempts.last() {
                Some(attempt) => Charge::of(attempt, lease::progress_charge(&job)),
                None => return Err(lease::wrong_state(id, &job)),
            };
            settle::cancel_leased(state, now, id, &mut job, &charge);
        }
        _ => return Err(lease::wrong_state(id, &job)),
    }
    state.jobs.insert(id, job.clone());
    Ok(job)
}
