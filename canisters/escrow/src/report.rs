//! What the registry is told: how nodes' jobs and votes ended, what is burned, whose stake may be unbonded, and what was
//! shown in probe rounds. Reports are numbered; one is under way at a time and is sent again until the registry says that it has applied it.

use crate::bond;
use crate::power;
use crate::records::*;
use crate::state::State;
use candid::Principal;
use emc_protocol::report::{Acknowledgement, REPORT_NODES, Report};
use emc_protocol::{Seconds, Timestamp};

/// Notes that something happened to a node.
pub(crate) fn note(state: &mut State, node: Principal, change: impl FnOnce(&mut OutcomeRecord)) {
    let mut outcome = state.outcomes.get(&node).unwrap_or_default();
    change(&mut outcome);
    state.outcomes.insert(node, outcome);
}

/// How often the registry hears of this escrow at least: an escrow that is silent for long loses its hold on stake that
/// is being taken out.
const ALIVE: Seconds = Seconds(24 * 3_600);

/// The report that is to be sent now: the one under way, or a new one where there is something to say, or nothing was
/// said for a day.
pub fn next(state: &mut State, now: Timestamp) -> Option<Report> {
    let mut report = state.report.get().clone();
    if !report.open {
        let outcomes: Vec<ReportedRecord> = state
            .outcomes
            .iter()
            .take(REPORT_NODES)
            .map(|entry| ReportedRecord {
                node: *entry.key(),
                outcome: entry.value(),
            })
            .collect();
        let acknowledgements: Vec<AcknowledgedRecord> = state
            .unstaking
            .iter()
            .filter(|entry| fits(state, *entry.key()))
            .take(REPORT_NODES)
            .map(|entry| AcknowledgedRecord {
                node: *entry.key(),
                sequence: entry.value(),
            })
            .collect();
        let (powers, complete) = power::to_report(state, now);
        let told = complete <= state.mining_reported.get().complete;
        let silent = report.made.is_none_or(|made| made.after(ALIVE) <= now);
        let nothing = outcomes.is_empty() && acknowledgements.is_empty() && powers.is_empty();
        if nothing && (state.nodes.is_empty() || (!silent && told)) {
            return None;
        }
        for reported in &outcomes {
            state.outcomes.remove(&reported.node);
        }
        report = ReportRecord {
            number: report.number + 1,
            open: true,
            outcomes,
            acknowledgements,
            made: Some(now),
            powers,
            complete,
        };
        state.report.set(report.clone());
    }
    Some(Report {
        number: report.number,
        outcomes: report
            .outcomes
            .iter()
            .map(|line| line.outcome.of(line.node))
            .collect(),
        acknowledgements: report
            .acknowledgements
            .iter()
            .map(|line| Acknowledgement {
                node: line.node,
                sequence: line.sequence,
            })
            .collect(),
        mining: Some(power::part(&report.powers, report.complete)),
    })
}

/// True if what is spoken for of a node's stake fits into what the feed says is left of it.
fn fits(state: &State, node: Principal) -> bool {
    let left = state
        .nodes
        .get(&node)
        .map_or(Default::default(), |node| node.stake);
    bond::spoken_for(state, node) <= left
}

/// The registry has applied everything up to a number. What it says twice changes nothing. A number above ours means
/// that this escrow was installed anew and counts from the beginning again: ours was taken for a repetition, so that it
/// goes out once more, with the number after.
pub fn applied(state: &mut State, number: u64) {
    let mut report = state.report.get().clone();
    if !report.open || number < report.number {
        return;
    }
    if number > report.number {
        report.number = number + 1;
        state.report.set(report);
        return;
    }
    for line in std::mem::take(&mut report.outcomes) {
        if !line.outcome.slashed.is_zero() {
            bond::burned(state, line.node, line.outcome.slashed);
        }
    }
    for line in std::mem::take(&mut report.acknowledgements) {
        // The feed sets it again should the node take out more.
        if state.unstaking.get(&line.node) == Some(line.sequence) {
            state.unstaking.remove(&line.node);
        }
    }
    power::reported(state, &std::mem::take(&mut report.powers), report.complete);
    report.open = false;
    state.report.set(report);
}
