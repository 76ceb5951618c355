//! Outages: after a gap of more than five minutes in the escrow's own clock (its subnet stood still, it was stopped, or
//! out of cycles) the times of unfinished jobs move by the gap, so that nobody loses a lease, a deadline or a vote's
//! window to it.
//!
//! A job's record says which outages its times include; whoever touches the job first moves them. So an outage costs
//! the same whether there are ten unfinished jobs or a million.

use crate::records::*;
use crate::state::State;
use emc_protocol::{JobId, Timestamp};

/// The longest gap that is none.
const GAP: u64 = 5 * 60 * 1_000_000_000;

/// To be called before anything changes: notices that there was a gap.
pub fn wake(state: &mut State, now: Timestamp) {
    let gap = now.0.saturating_sub(state.awake);
    if state.awake != 0 && gap > GAP {
        let mut clock = *state.clock.get();
        clock.away = clock.away.saturating_add(gap);
        clock.outages += 1;
        clock.awake = now.0;
        state.clock.set(clock);
    }
    state.awake = state.awake.max(now.0);
}

/// Writes down that the escrow is awake, for what comes after an upgrade; to be called every few seconds.
pub fn mark(state: &mut State) {
    let clock = ClockRecord {
        awake: state.awake,
        ..*state.clock.get()
    };
    state.clock.set(clock);
}

/// Moves an unfinished job's times by the outages that they do not include yet; true if they have changed. The caller
/// stores the record.
pub(crate) fn shift(state: &mut State, id: JobId, job: &mut JobRecord) -> bool {
    let before = job.due();
    if !move_times(state, job) {
        return false;
    }
    if let Some(at) = before {
        state.unqueue_due(id, at);
    }
    if let Some(at) = job.due() {
        state.queue_due(id, at);
    }
    if let Some(mut audit) = state.audits.get(&id)
        && let (Some(round), Some(until)) = (audit.rounds.last_mut(), job.lease_until)
        && job.stage == Stage::Auditing
    {
        round.until = until;
        state.audits.insert(id, audit);
    }
    true
}

/// The same, for showing: nothing is stored.
pub(crate) fn move_times(state: &State, job: &mut JobRecord) -> bool {
    let away = state.clock.get().away;
    let gap = away.saturating_sub(job.away);
    if gap == 0 || job.stage.is_final() {
        return false;
    }
    let later = |time: &mut Timestamp| time.0 = time.0.saturating_add(gap);
    later(&mut job.deadline);
    job.lease_until.iter_mut().for_each(later);
    job.away = away;
    true
}
