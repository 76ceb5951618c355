//! The ends of a job: settled, its lock divided between owner, author, treasury and requester; refunded, its lock given
//! back; or split, where an audit decided nothing. All of them close the job: it leaves every queue and index, and its
//! input is deleted.

use crate::audit;
use crate::bond;
use crate::callback;
use crate::delegate;
use crate::draw;
use crate::lease;
use crate::movement::{Charge, Movement};
use crate::power;
use crate::records::*;
use crate::report;
use crate::state::State;
use crate::submit::remove_open;
use emc_protocol::{JobId, Timestamp, Tokens};

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

/// Keeps a checked delivery until the draw. The caller stores the record.
pub(crate) fn await_draw(
    state: &mut State,
    id: JobId,
    job: &mut JobRecord,
    charge: Tokens,
    positions: u32,
) {
    leave(state, id, job);
    lease::drop_partial(state, id, job);
    state.count(|counts| counts.delivered += 1);
    job.stage = Stage::Delivered;
    job.lease_until = None;
    job.charge = Some(charge);
    state.audits.insert(id, audit::begun(job, positions));
    draw::request(state, id, Draw::First);
}

/// Pays for a checked delivery that was not drawn, or was upheld.
pub(crate) fn settle_delivered(state: &mut State, now: Timestamp, id: JobId, job: &mut JobRecord) {
    let Some(attempt) = job.attempts.last() else {
        return;
    };
    let (node, upheld) = (attempt.node, job.stage == Stage::Auditing);
    let charge = Charge::of(attempt, job.charge.unwrap_or_default());
    pay(state, now, id, job, &charge);
    if upheld {
        power::credit(state, job);
    }
    let paid = job.mining.is_none();
    report::note(state, node, |outcome| {
        outcome.settled += u32::from(paid);
        outcome.upheld += u32::from(upheld);
    });
    release_bond(state, job);
    close(state, now, id, job, Stage::Settled);
    keep_for_a_while(state, now, id);
}

/// Ends a job whose result an audit has overturned: everything that is still locked goes back, the bond is burned.
pub(crate) fn overturn(state: &mut State, now: Timestamp, id: JobId, job: &mut JobRecord) {
    if let Some(attempt) = job.attempts.last_mut() {
        let (node, bond) = (attempt.node, attempt.bond.take());
        bond::burn(state, node, bond.unwrap_or_default());
        report::note(state, node, |outcome| outcome.overturned += 1);
    }
    power::forfeit(state, job);
    refund(state, now, id, job, Refund::Overturned);
    state.count(|counts| counts.overturned += 1);
    keep_for_a_while(state, now, id);
}

/// Ends the audit of a twin: there is nothing to pay and nobody to burn.
pub(crate) fn end_canary(state: &mut State, now: Timestamp, id: JobId, job: &mut JobRecord) {
    refund(state, now, id, job, Refund::Overturned);
    keep_for_a_while(state, now, id);
}

/// Ends a job on which the validators did not decide: half of the price for the worker, all else goes back.
pub(crate) fn split(state: &mut State, now: Timestamp, id: JobId, job: &mut JobRecord) {
    let Some(attempt) = job.attempts.last() else {
        return;
    };
    let half = Tokens(job.charge.unwrap_or_default().0 / 2);
    let paid_in = job
        .checking
        .filter(|checking| !checking.always)
        .map_or(0, |checking| checking.audit_fee.0);
    let returned = Tokens(paid_in.min(state.books.audits().0));
    let movement = Movement::split(
        now,
        job.requester,
        id,
        job.lock.amount(),
        attempt.owner,
        half,
        returned,
    );
    let booked = state.books.apply_for(movement, id, job);
    booked.expect("half of a charge is at most what the job has locked");
    job.charged = Some(half);
    release_bond(state, job);
    close(state, now, id, job, Stage::Undecided);
    keep_for_a_while(state, now, id);
}

/// Gives the running attempt's bond free.
pub(crate) fn release_bond(state: &mut State, job: &mut JobRecord) {
    if let Some(attempt) = job.attempts.last_mut()
        && let Some(bond) = attempt.bond.take()
    {
        bond::release(state, attempt.node, bond);
    }
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
    lease::end_attempt(state, job, End::Cancelled);
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
    leave(state, id, job);
    state.count(|counts| match stage {
        Stage::Settled => counts.settled += 1,
        Stage::Undecided => counts.undecided += 1,
        _ => counts.refunded += 1,
    });
    state.inputs.remove(&id);
    job.stage = stage;
    job.lease_until = None;
    job.finished = Some(now);
    if let Some(mining) = job.mining {
        power::ended(state, mining.epoch);
    }
    delegate::give_back(state, job);
    callback::queue(state, now, id, job);
}

/// Takes a job out of what its stage has put it into.
fn leave(state: &mut State, id: JobId, job: &JobRecord) {
    if let Some(at) = job.due() {
        state.unqueue_due(id, at);
    }
    match job.stage {
        Stage::Open => remove_open(state, id, job),
        Stage::Leased => lease::release(state, job),
        _ => {}
    }
    let before = job.stage;
    state.count(|counts| {
        let count = match before {
            Stage::Open => &mut counts.open,
            Stage::Leased => &mut counts.leased,
            Stage::Delivered => &mut counts.delivered,
            Stage::Auditing => &mut counts.auditing,
            Stage::Settled | Stage::Refunded(_) | Stage::Undecided => return,
        };
        *count = count.saturating_sub(1);
    });
}

pub(crate) fn keep_for_a_while(state: &mut State, now: Timestamp, id: JobId) {
    let until = now.after(state.config().settings.retention);
    state.retention.insert((until.0, id), ());
}
