//! Slashing and burning: never beyond what the node has in the escrow, never lost, never twice.

use crate::ledger::{How, Ledger};
use crate::world::*;
use emc_journal::{Account, Operation};
use emc_protocol::node::Node;
use emc_protocol::{NodeStatus, Tokens};
use emc_registry::state::State;
use emc_registry::{burning, listing, unbonding};

fn minting() -> Account {
    Account {
        owner: principal(98),
        subaccount: None,
    }
}

fn with_stake() -> (State, Ledger) {
    let (mut state, _) = registry();
    let mut ledger = Ledger::default();
    join(&mut state, 1, 1, vec![]);
    let args = stake_args(1, 1, 500);
    let entry = emc_registry::stake::begin_stake(&mut state, START, owner(1), me(), &args, 0)
        .expect("a good stake");
    ledger.work(&mut state, START, entry, How::Does);
    (state, ledger)
}

fn slash(state: &mut State, number: u64, amount: u128) {
    let sent = vec![outcome(1, amount, 0)];
    reported(state, START, 1, number, sent, vec![]).expect("the next report");
}

fn seen(state: &State) -> Node {
    listing::node(state, node(1)).expect("it is there")
}

#[test]
fn the_allotment_is_taken_first_then_what_still_waits_for_the_escrow() {
    let (mut state, _) = with_stake();
    unstaked(&mut state, START, 1, 1, 1, 100);
    unstaked(&mut state, START, 1, 1, 1, 150);
    slash(&mut state, 1, 200);
    assert_eq!(seen(&state).allotments[0].amount, Tokens(50));
    slash(&mut state, 2, 200);
    assert!(seen(&state).allotments.is_empty());
    let left: Vec<_> = seen(&state)
        .unbonding
        .iter()
        .map(|it| it.amount.0)
        .collect();
    assert_eq!(left, [100], "the oldest went first, whole");
    assert_eq!(seen(&state).status, Some(NodeStatus::Exited));
    assert_eq!(state.totals.get().burning, 400);
    slash(&mut state, 3, u128::MAX);
    assert!(seen(&state).unbonding.is_empty());
    assert_eq!(state.totals.get().burning, 500);
    assert_eq!(seen(&state).outcomes.expect("counted").slashed, Tokens(500));
}

#[test]
fn what_the_escrow_has_acknowledged_is_out_of_its_reach() {
    let (mut state, _) = with_stake();
    unstaked(&mut state, START, 1, 1, 1, 400);
    let sent = vec![acknowledgement(1, state.totals.get().sequence)];
    reported(&mut state, START, 1, 1, vec![], sent).expect("the first report");
    slash(&mut state, 2, 300);
    assert_eq!(state.totals.get().burning, 100);
    assert_eq!(seen(&state).unbonding[0].amount, Tokens(400));
}

#[test]
fn a_slash_and_an_acknowledgement_in_one_report_are_taken_in_that_order() {
    let (mut state, _) = with_stake();
    unstaked(&mut state, START, 1, 1, 1, 400);
    let acknowledges = vec![acknowledgement(1, state.totals.get().sequence)];
    reported(
        &mut state,
        START,
        1,
        1,
        vec![outcome(1, 150, 0)],
        acknowledges,
    )
    .expect("the first");
    let left = &seen(&state).unbonding[0];
    assert_eq!((left.amount, left.waiting), (Tokens(350), Some(false)));
}

#[test]
fn burning_is_one_transfer_to_the_minting_account_at_a_time() {
    let (mut state, mut ledger) = with_stake();
    assert_eq!(burning::begin(&mut state, START, minting()), None);
    slash(&mut state, 1, 100);
    let entry = burning::begin(&mut state, START, minting()).expect("there is something to burn");
    let expected = Operation::Transfer {
        from_subaccount: None,
        to: minting(),
        amount: 100,
        fee: 0,
    };
    let opened = state.journal.get(entry).expect("it is open").operation;
    assert_eq!(opened, expected);
    slash(&mut state, 2, 50);
    assert_eq!(burning::begin(&mut state, START, minting()), None);
    ledger.work(&mut state, START, entry, How::Does);
    let totals = state.totals.get();
    assert_eq!((totals.burning, totals.burned), (50, 100));
    let entry = burning::begin(&mut state, START, minting()).expect("the rest");
    ledger.work(&mut state, START, entry, How::Does);
    let info = listing::info(&state);
    assert_eq!(
        (info.burning, info.burned),
        (Some(Tokens(0)), Some(Tokens(150)))
    );
    assert_eq!((ledger.held, ledger.burned), (350, 150));
}

#[test]
fn a_burn_whose_answer_is_lost_is_found_and_not_done_again() {
    let (mut state, mut ledger) = with_stake();
    slash(&mut state, 1, 100);
    let entry = burning::begin(&mut state, START, minting()).expect("there is something to burn");
    ledger.work(&mut state, START, entry, How::Loses { executed: true });
    assert_eq!((state.totals.get().burning, ledger.burned), (100, 100));
    let later = START + 3600 * SECOND;
    assert_eq!(burning::begin(&mut state, later, minting()), None);
    ledger.work(&mut state, later, entry, How::Does);
    assert_eq!((state.totals.get().burned, ledger.burned), (100, 100));
}

#[test]
fn a_refused_burn_is_tried_again_later() {
    let (mut state, mut ledger) = with_stake();
    slash(&mut state, 1, 100);
    let entry = burning::begin(&mut state, START, minting()).expect("there is something to burn");
    ledger.work(&mut state, START, entry, How::Refuses);
    assert_eq!(state.totals.get().burning, 100);
    assert!(!burning::is_due(&state, START + 599 * SECOND));
    let later = START + 600 * SECOND;
    let entry = burning::begin(&mut state, later, minting()).expect("again");
    ledger.work(&mut state, later, entry, How::Does);
    assert_eq!((state.totals.get().burned, ledger.burned), (100, 100));
}

#[test]
fn a_silent_escrow_s_hold_ends_and_so_does_its_reach() {
    let (mut state, _) = with_stake();
    unstaked(&mut state, START, 1, 1, 1, 500);
    unbonding::sweep(&mut state, START + SILENCE * SECOND);
    slash(&mut state, 1, 500);
    assert_eq!(state.totals.get().burning, 0);
    assert_eq!(seen(&state).unbonding[0].amount, Tokens(500));
}
