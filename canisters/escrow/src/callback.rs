//! Callbacks: a canister that submitted a job with `notify` is told of its end, by a call of its method `emc_job_done`
//! and of nothing else. One call at a time for each canister, five tries for each job, with growing waits; settlement
//! never depends on it.
//!
//! A try is counted before its call is made, and the canister's next call moved behind it: where the answer is lost, or
//! the code after it traps, the next call comes by itself.

use crate::records::*;
use crate::state::State;
use candid::Principal;
use emc_protocol::job::JobDone;
use emc_protocol::{ApiError, JobId, Seconds, Timestamp, limits};

/// Seconds until the next call, after each try. The first is longer than a call can take.
const WAITS: [u64; 5] = [30, 60, 600, 3_600, 30];

/// A call to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// The canister that submitted the job.
    pub callee: Principal,
    /// What it is told.
    pub done: JobDone,
}

/// Checks that a submitter can be called.
///
/// # Errors
/// It is not a canister.
pub(crate) fn check(submitter: Principal) -> Result<(), ApiError> {
    // The last byte of an opaque id, which canisters have, is 1 (the interface specification, "Principals").
    match submitter.as_slice() {
        [.., _, 1] => Ok(()),
        _ => Err(ApiError::invalid(
            "notify",
            "absent, unless a canister submits the job: only canisters can be called",
        )),
    }
}

/// Puts a final job among those of which its submitter is to be told.
pub(crate) fn queue(state: &mut State, now: Timestamp, id: JobId, job: &JobRecord) {
    if !job.notify {
        return;
    }
    let callee = job.submitter();
    let mut record = state.callees.get(&callee).unwrap_or_default();
    if record.jobs >= limits::CALLBACKS {
        state.count(|counts| counts.untold += 1);
        return;
    }
    if record.jobs == 0 {
        record.next = now.0;
        state.callees_due.insert((now.0, callee), ());
    }
    record.jobs += 1;
    state.callees.insert(callee, record);
    state.callbacks.insert((callee, id), 0);
}

/// True if a call is to be made now.
pub fn is_due(state: &State, now: Timestamp) -> bool {
    state
        .callees_due
        .first_key_value()
        .is_some_and(|((at, _), ())| at <= now.0)
}

/// The next call to be made, its try counted.
pub fn next(state: &mut State, now: Timestamp) -> Option<Callback> {
    loop {
        let ((at, callee), ()) = state.callees_due.first_key_value()?;
        if at > now.0 {
            return None;
        }
        let keys = (callee, 0)..=(callee, JobId::MAX);
        let first = state.callbacks.range(keys).next();
        let waiting = first.map(|entry| (entry.key().1, entry.value()));
        let Some((id, tries)) = waiting else {
            forget(state, callee);
            continue;
        };
        let (Some(wait), Some(job)) = (WAITS.get(tries as usize), state.jobs.get(&id)) else {
            give_up(state, callee, id);
            continue;
        };
        state.callbacks.insert((callee, id), tries + 1);
        call_at(state, callee, now.after(Seconds(*wait)));
        return Some(Callback {
            callee,
            done: JobDone {
                job_id: id,
                state: Some(job.stage.state()),
                charged: job.charged.unwrap_or_default(),
            },
        });
    }
}

/// A call was answered: the job is done with, and the canister's next one may follow at once.
pub fn answered(state: &mut State, now: Timestamp, callee: Principal, id: JobId) {
    if take(state, callee, id) {
        state.count(|counts| counts.told += 1);
        call_at(state, callee, now);
    }
}

/// A call was refused or lost: the next try comes by itself, unless this was the last.
pub fn failed(state: &mut State, callee: Principal, id: JobId) {
    let tries = state.callbacks.get(&(callee, id)).unwrap_or_default();
    if tries as usize >= WAITS.len() {
        give_up(state, callee, id);
    }
}

fn give_up(state: &mut State, callee: Principal, id: JobId) {
    if take(state, callee, id) {
        state.count(|counts| counts.untold += 1);
    }
}

/// Takes a job from those that wait; false where it does not.
fn take(state: &mut State, callee: Principal, id: JobId) -> bool {
    if state.callbacks.remove(&(callee, id)).is_none() {
        return false;
    }
    let mut record = state.callees.get(&callee).unwrap_or_default();
    record.jobs = record.jobs.saturating_sub(1);
    if record.jobs == 0 {
        forget(state, callee);
    } else {
        state.callees.insert(callee, record);
    }
    true
}

/// Moves a canister's next call, where it waits for one.
fn call_at(state: &mut State, callee: Principal, at: Timestamp) {
    if let Some(mut record) = state.callees.get(&callee) {
        state.callees_due.remove(&(record.next, callee));
        record.next = at.0;
        state.callees.insert(callee, record);
        state.callees_due.insert((at.0, callee), ());
    }
}

fn forget(state: &mut State, callee: Principal) {
    if let Some(record) = state.callees.remove(&callee) {
        state.callees_due.remove(&(record.next, callee));
    }
}
