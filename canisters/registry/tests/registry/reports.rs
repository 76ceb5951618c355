//! Reports of escrows: applied once, in order, and only for the escrow's own nodes.

use crate::world::*;
use emc_protocol::error::ErrorDetail;
use emc_protocol::node::{Node, Outcomes};
use emc_protocol::report::{NodeOutcome, REPORT_NODES};
use emc_protocol::{NodeStatus, Tokens};
use emc_registry::guard::admit;
use emc_registry::listing;
use emc_registry::state::State;

fn with_stake() -> State {
    let (mut state, _) = registry();
    for n in 1..=2 {
        join(&mut state, n, n, vec![]);
        staked(&mut state, n, n, n, 500);
    }
    state
}

fn seen(state: &State, n: u8) -> Node {
    listing::node(state, node(n)).expect("it is there")
}

#[test]
fn counters_add_up_over_reports_and_escrows() {
    let mut state = with_stake();
    staked(&mut state, 1, 1, 2, 500);
    let much = |n: u8| NodeOutcome {
        node: node(n),
        settled: 10,
        lapsed: 2,
        declined: 3,
        upheld: 4,
        overturned: 0,
        votes: 5,
        votes_lost: 6,
        slashed: Tokens(7),
    };
    reported(&mut state, START, 1, 1, vec![much(1)], vec![]).expect("the first report");
    reported(&mut state, START, 1, 2, vec![much(1)], vec![]).expect("the second");
    reported(&mut state, START, 2, 1, vec![much(1)], vec![]).expect("another escrow's first");
    let expected = Outcomes {
        settled: 30,
        lapsed: 6,
        declined: 9,
        upheld: 12,
        overturned: 0,
        votes: 15,
        votes_lost: 18,
        slashed: Tokens(21),
    };
    assert_eq!(seen(&state, 1).outcomes, Some(expected));
    assert_eq!(seen(&state, 2).outcomes, Some(Outcomes::default()));
}

#[test]
fn each_number_is_applied_once_and_in_order() {
    let mut state = with_stake();
    let slash = || vec![outcome(1, 100, 0)];
    assert_eq!(reported(&mut state, START, 1, 1, slash(), vec![]), Ok(1));
    let once = (seen(&state, 1), listing::info(&state));
    assert_eq!(
        reported(&mut state, START + 9, 1, 1, slash(), vec![]),
        Ok(1)
    );
    assert_eq!((seen(&state, 1), listing::info(&state)), once);
    let gap = reported(&mut state, START, 1, 3, slash(), vec![]).expect_err("2 is missing");
    assert_eq!(gap.code, "gap");
    assert!(gap.message.contains("Report 2"), "{}", gap.message);
    assert!(matches!(
        gap.detail,
        Some(ErrorDetail::Limit { max: 2, got: 3, .. })
    ));
    assert_eq!((seen(&state, 1), listing::info(&state)), once);
    assert_eq!(
        code(reported(&mut state, START, 1, 0, slash(), vec![])),
        "invalid"
    );
    assert_eq!(reported(&mut state, START, 1, 2, slash(), vec![]), Ok(2));
    assert_eq!(reported(&mut state, START, 1, 1, slash(), vec![]), Ok(2));
    assert_eq!(seen(&state, 1).allotments[0].amount, Tokens(300));
}

#[test]
fn an_escrow_touches_only_the_nodes_with_stake_in_it() {
    let mut state = with_stake();
    let all = vec![outcome(2, 500, 1), outcome(3, 1, 1)];
    reported(&mut state, START, 1, 1, all, vec![]).expect("it has stake of node 1");
    assert_eq!(seen(&state, 2).status, Some(NodeStatus::Active));
    assert_eq!(seen(&state, 2).outcomes, Some(Outcomes::default()));
    assert_eq!(seen(&state, 2).allotments[0].amount, Tokens(500));
    assert!(state.outcomes.is_empty());
}

#[test]
fn whoever_is_no_escrow_cannot_report() {
    let mut state = with_stake();
    let refused = reported(&mut state, START, 3, 1, vec![outcome(1, 1, 0)], vec![]);
    assert_eq!(code(refused), "not_registered");
    assert!(!state.escrows.contains_key(&escrow(3)));
}

#[test]
fn an_escrow_whose_stake_is_older_than_its_record_is_known_by_its_nodes() {
    let mut state = with_stake();
    state.escrows.remove(&escrow(1));
    assert!(admit(&mut state, escrow(1), "report", START).is_ok());
    assert_eq!(
        code(admit(&mut state, escrow(1), "unjail", START)),
        "not_registered"
    );
    reported(&mut state, START, 1, 1, vec![outcome(1, 1, 0)], vec![]).expect("node 1 is its own");
    assert!(admit(&mut state, escrow(1), "unjail", START).is_ok());
}

#[test]
fn a_malformed_report_changes_nothing_and_keeps_its_number_free() {
    let mut state = with_stake();
    let twice = vec![outcome(1, 1, 0), outcome(1, 1, 0)];
    assert_eq!(
        code(reported(&mut state, START, 1, 1, twice, vec![])),
        "invalid"
    );
    let many = vec![outcome(1, 1, 0); REPORT_NODES + 1];
    assert_eq!(
        code(reported(&mut state, START, 1, 1, many, vec![])),
        "limit"
    );
    let many = vec![acknowledgement(1, 1); REPORT_NODES + 1];
    assert_eq!(
        code(reported(&mut state, START, 1, 1, vec![], many)),
        "limit"
    );
    assert_eq!(seen(&state, 1).allotments[0].amount, Tokens(500));
    assert_eq!(reported(&mut state, START, 1, 1, vec![], vec![]), Ok(1));
}

#[test]
fn what_changes_no_stake_is_no_news() {
    let mut state = with_stake();
    let sequence = state.totals.get().sequence;
    reported(&mut state, START, 1, 1, vec![outcome(1, 0, 0)], vec![]).expect("the first");
    assert_eq!(state.totals.get().sequence, sequence);
    reported(&mut state, START, 1, 2, vec![outcome(1, 1, 0)], vec![]).expect("the second");
    assert_eq!(state.totals.get().sequence, sequence + 1);
}
