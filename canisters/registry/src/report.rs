//! Reports of escrows: how jobs and votes ended, what is slashed, what may begin to unbond. Each number of an escrow's
//! reports is applied once, in order. An escrow can touch only nodes that have, or had until they are paid out, stake in
//! it. What an escrow says of mining is passed over where the governor has not named it for that.

use crate::feed;
use crate::guard;
use crate::keys::Subject;
use crate::mining::power;
use crate::state::State;
use crate::{burning, jail, unbonding};
use candid::Principal;
use emc_protocol::mining::REPORT_POWERS;
use emc_protocol::report::{NodeOutcome, REPORT_NODES, Report, ReportReply};
use emc_protocol::{ApiError, ErrorDetail, error::code};
use std::collections::BTreeSet;

/// Applies a report, if it is the next one; one that was applied before is answered and changes nothing.
///
/// # Errors
/// `not_registered` for a caller in which no node has stake, `gap` with the number that is next, `limit`, `invalid`.
pub fn report(
    state: &mut State,
    now: u64,
    caller: Principal,
    report: &Report,
) -> Result<ReportReply, ApiError> {
    let known = state.escrows.get(&caller);
    let mut escrow = known.clone().unwrap_or_default();
    let next = escrow.reports + 1;
    if report.number == 0 {
        return Err(ApiError::invalid("number", "1 or more"));
    }
    if report.number < next {
        return Ok(ReportReply {
            applied: escrow.reports,
        });
    }
    if report.number > next {
        return Err(ApiError::new(
            code::GAP,
            format!(
                "Report {next} comes before report {}: send it first.",
                report.number
            ),
        )
        .with(ErrorDetail::Limit {
            field: "number".into(),
            max: next,
            got: report.number,
        }));
    }
    check(report)?;
    // Stake that was there before escrows were written down makes its escrow known here.
    if known.is_none()
        && !report
            .outcomes
            .iter()
            .any(|o| concerns(state, o.node, caller))
    {
        return Err(ApiError::new(
            code::NOT_REGISTERED,
            "No node has stake in an escrow of this principal.",
        ));
    }
    for outcome in &report.outcomes {
        apply(state, now, caller, outcome);
    }
    for acknowledgement in &report.acknowledgements {
        if unbonding::acknowledge(state, now, caller, acknowledgement) {
            feed::announce(state, Subject::Node(acknowledgement.node));
        }
    }
    if let Some(mining) = &report.mining
        && state.config.get().mining_escrows().contains(&caller)
    {
        let complete = power::take(state, now, caller, mining);
        escrow.measured = escrow.measured.max(complete);
    }
    escrow.reports = next;
    escrow.heard = now;
    state.escrows.insert(caller, escrow);
    Ok(ReportReply { applied: next })
}

fn check(report: &Report) -> Result<(), ApiError> {
    guard::count("outcomes", report.outcomes.len(), REPORT_NODES)?;
    let acknowledgements = report.acknowledgements.len();
    guard::count("acknowledgements", acknowledgements, REPORT_NODES)?;
    if let Some(mining) = &report.mining {
        guard::count("mining.powers", mining.powers.len(), REPORT_POWERS)?;
    }
    let nodes: BTreeSet<Principal> = report.outcomes.iter().map(|o| o.node).collect();
    if nodes.len() < report.outcomes.len() {
        return Err(ApiError::invalid("outcomes", "of each node once"));
    }
    Ok(())
}

fn apply(state: &mut State, now: u64, escrow: Principal, outcome: &NodeOutcome) {
    let node = outcome.node;
    if !concerns(state, node, escrow) {
        return;
    }
    let slashed = burning::slash(state, node, escrow, outcome.slashed.0);
    let mut outcomes = state.outcomes.get(&node).unwrap_or_default();
    outcomes.add(outcome, slashed);
    state.outcomes.insert(node, outcomes);
    let jailed = outcome.overturned > 0;
    if jailed {
        jail::jail(state, now, node);
    }
    if slashed > 0 || jailed {
        feed::announce(state, Subject::Node(node));
    }
}

/// True if the node has stake in the escrow, or stake that left it and is not paid out.
pub fn concerns(state: &State, node: Principal, escrow: Principal) -> bool {
    state.allotments.contains_key(&(node, escrow))
        || unbonding::unbondings(state, node)
            .iter()
            .any(|(_, record)| record.escrow == escrow)
}
