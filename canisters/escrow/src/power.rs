//! What nodes have shown in probe rounds, day by day, until the registry knows it. A day is reported once it is over and
//! every job of its rounds is final; so what is reported does not change any more.

use crate::records::*;
use crate::state::State;
use candid::Principal;
use emc_protocol::Timestamp;
use emc_protocol::mining::{MiningReport, NodePower, REPORT_POWERS, epoch, power_of_upheld};

/// A job of an epoch's rounds has begun.
pub(crate) fn begun(state: &mut State, epoch: u64) {
    let unfinished = state.epochs.get(&epoch).unwrap_or_default();
    state.epochs.insert(epoch, unfinished + 1);
}

/// A job of an epoch's rounds is final.
pub(crate) fn ended(state: &mut State, epoch: u64) {
    match state.epochs.get(&epoch).unwrap_or_default() {
        0 | 1 => state.epochs.remove(&epoch),
        unfinished => state.epochs.insert(epoch, unfinished - 1),
    };
}

/// Credits what an upheld job showed. Jobs that were not drawn show nothing, and those that were stand for them: so that
/// an answer which no audit would uphold is worth nothing, drawn or not, behind however many nodes.
pub(crate) fn credit(state: &mut State, job: &JobRecord) {
    let (Some(mining), Some(attempt), Some(usage), Some(checking)) =
        (job.mining, job.attempts.last(), job.usage, job.checking)
    else {
        return;
    };
    let power = power_of_upheld(usage.0.output_tokens, mining.units, checking.chance);
    change(state, mining.epoch, attempt.node, |shown| {
        shown.power = shown.power.saturating_add(power);
    });
}

/// A job was overturned: its node gets nothing for the day.
pub(crate) fn forfeit(state: &mut State, job: &JobRecord) {
    if let (Some(mining), Some(attempt)) = (job.mining, job.attempts.last()) {
        change(state, mining.epoch, attempt.node, |shown| {
            shown.forfeited = true
        });
    }
}

/// A validator's vote on a job was accepted.
pub(crate) fn voted(state: &mut State, mining: &MiningJob, validator: Principal) {
    change(state, mining.epoch, validator, |shown| {
        shown.votes = shown.votes.saturating_add(1);
    });
}

fn change(state: &mut State, epoch: u64, node: Principal, change: impl FnOnce(&mut PowerRecord)) {
    let mut shown = state.power.get(&(epoch, node)).unwrap_or_default();
    change(&mut shown);
    state.power.insert((epoch, node), shown);
}

/// What there is to report now: lines of days that will not change any more, and up to which day everything is said
/// once these are.
pub(crate) fn to_report(state: &State, now: Timestamp) -> (Vec<ReportedPower>, Option<u64>) {
    let unfinished = state.epochs.first_key_value().map(|(epoch, _)| epoch);
    // The first epoch of which something may still change.
    let open = unfinished.map_or(epoch(now), |unfinished| unfinished.min(epoch(now)));
    let first = Principal::management_canister();
    let lines: Vec<ReportedPower> = state
        .power
        .range(..(open, first))
        .take(REPORT_POWERS)
        .map(|entry| ReportedPower {
            epoch: entry.key().0,
            node: entry.key().1,
            power: entry.value(),
        })
        .collect();
    let complete = match lines.len() {
        // There may be more of the last one.
        REPORT_POWERS => lines.last().map(|line| line.epoch),
        _ => Some(open),
    };
    (lines, complete.and_then(|open| open.checked_sub(1)))
}

/// The mining part of a report.
pub(crate) fn part(lines: &[ReportedPower], complete: Option<u64>) -> MiningReport {
    MiningReport {
        powers: lines
            .iter()
            .map(|line| NodePower {
                node: line.node,
                epoch: line.epoch,
                power: line.power.power,
                votes: line.power.votes,
                forfeited: line.power.forfeited,
            })
            .collect(),
        complete,
    }
}

/// The registry knows these lines.
pub(crate) fn reported(state: &mut State, lines: &[ReportedPower], complete: Option<u64>) {
    for line in lines {
        state.power.remove(&(line.epoch, line.node));
    }
    if complete > state.mining_reported.get().complete {
        state.mining_reported.set(MiningReported { complete });
    }
}
