//! The two ends of a job: settled, its lock divided between owner, treasury and requester; or refunded, its lock given
//! back. Both close the job: it leaves every queue and index, and its input is deleted.

use crate::lease;
use crate::movement::{Charge, Movement};
use crate::records::*;
use crate::state::State;
use crate::submit::remove_open;
use emc_protocol::{JobId, Timestamp};

/// Pays for a job whose delivery was checked. The caller stores the record.
pub(crate) fn settle(
    state: &mut State,
    now: Timestamp,
    id: JobId,
    job: &mut JobRecord,
    charge: &Charge,
) {
    pay(state, now, id, job, charge);
    close(state, now, id, job, Stage::Settled);
    lease::drop_partial(state, id, job);
    keep_for_a_while(state, now, id);
}

/// Ends a job that the requester cancelled while a node worked on it: the progress is paid, the rest goes back. The
/// partial answer was paid for and is kept like a result.
pub(crate) fn cancel_leased(
    state: &mut State,
    now: Timestamp,
    id: JobId,
    job: &mut JobRecord,
    charge: &Charge,
) {
    pay(state, now, id, job, charge);
    lease::end_attempt(job, End::Cancelled);
    close(state, now, id, job, Stage::Refunded(Refund::Cancelled));
    if charge.charge.is_zero() {
        lease::drop_partial(state, id, job);
    } else {
        keep_for_a_while(state, now, id);
    }
}

/// Gives a job's lock back and ends it. The caller stores the record.
pub(crate) fn refund(
    state: &mut State,
    now: Timestamp,
    id: JobId,
    job: &mut JobRecord,
    reason: Refund,
) {
    let movement = Movement::refund(now, job.requester, id, job.lock.amount());
    let booked = state.books.apply_for(movement, id, job);
    booked.expect("a job's lock is what is given back");
    job.charged = Some(emc_protocol::Tokens::ZERO);
    close(state, now, id, job, Stage::Refunded(reason));
    lease::drop_partial(state, id, job);
}

fn pay(state: &mut State, now: Timestamp, id: JobId, job: &mut JobRecord, charge: &Charge) {
    let movement = Movement::settle(now, job.requester, id, job.lock.amount(), charge);
    let booked = state.books.apply_for(movement, id, job);
    booked.expect("a charge is at most what the job has locked");
    job.charged = Some(charge.charge);
}

/// Takes a job out of everything that unfinished jobs are in.
fn close(state: &mut State, now: Timestamp, id: JobId, job: &mut JobRecord, stage: Stage) {
    if let Some(at) = job.due() {
        state.unqueue_due(id, at);
    }
    match job.stage {
        Stage::Open => remove_open(state, id, job),
        Stage::Leased => lease::release(state, job),
        Stage::Settled | Stage::Refunded(_) => {}
    }
    let before = job.stage;
    state.count(|counts| {
        match before {
            Stage::Open => counts.open = counts.open.saturating_sub(1),
            Stage::Leased => counts.leased = counts.leased.saturating_sub(1),
            Stage::Settled | Stage::Refunded(_) => {}
        }
        match stage {
            Stage::Settled => counts.settled += 1,
            _ => counts.refunded += 1,
        }
    });
    state.inputs.remove(&id);
    job.stage = stage;
    job.lease_until = None;
    job.finished = Some(now);
}

fn keep_for_a_while(state: &mut State, now: Timestamp, id: JobId) {
    let until = now.after(state.config().settings.retention);
    state.retention.insert((until.0, id), ());
}
