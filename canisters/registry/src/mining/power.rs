//! What escrows report of nodes' power, added up by day until the day is closed.

use crate::mining::records::MiningRecord;
use crate::report::concerns;
use crate::state::State;
use candid::Principal;
use emc_protocol::Timestamp;
use emc_protocol::mining::{MiningReport, NodePower, POWER_MAX, epoch};
use std::ops::RangeInclusive;

/// Takes in the mining part of a report. Lines are passed over that are of a day that is closed, being closed, or still
/// far, or of a node without stake in the escrow. Returns the epoch up to which the escrow has now reported everything:
/// at most today's, so that it cannot speak for days to come.
pub fn take(state: &mut State, now: u64, escrow: Principal, report: &MiningReport) -> Option<u64> {
    if let Some(open) = open(state.mining.get(), now) {
        for line in &report.powers {
            if open.contains(&line.epoch) && concerns(state, line.node, escrow) {
                add(state, line);
            }
        }
    }
    let today = epoch(Timestamp(now));
    report.complete.map(|complete| complete.min(today))
}

/// The epochs whose lines are taken: those that are not closed, up to tomorrow's, as an escrow's clock may be a little
/// ahead. `None` while mining has not begun.
pub fn open(mining: &MiningRecord, now: u64) -> Option<RangeInclusive<u64>> {
    mining.first?;
    let first = mining.next + u64::from(mining.closing.is_some());
    Some(first..=epoch(Timestamp(now)) + 1)
}

fn add(state: &mut State, line: &NodePower) {
    if line.power == 0 && line.votes == 0 && !line.forfeited {
        return;
    }
    let key = (line.epoch, line.node);
    let mut record = state.powers.get(&key).unwrap_or_default();
    record.power = record.power.saturating_add(line.power).min(POWER_MAX);
    record.votes = record.votes.saturating_add(line.votes);
    record.forfeited |= line.forfeited;
    state.powers.insert(key, record);
}
