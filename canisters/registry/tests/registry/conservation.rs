//! *Conservation*: deposited = allotted + unbonding + leaving + paid out, whatever owners do and the ledger answers.

use crate::world::*;
use emc_journal::Operation;
use emc_protocol::Tokens;
use emc_protocol::node::UnstakeArgs;
use emc_registry::postings::{self, Account, Imbalance};
use emc_registry::stake;
use emc_registry::state::State;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Act {
    Stake {
        by: u8,
        node: u8,
        escrow: u8,
        amount: u16,
    },
    Unstake {
        by: u8,
        node: u8,
        escrow: u8,
        amount: u16,
    },
    Withdraw {
        by: u8,
        node: u8,
        id: Option<u64>,
        fee: u8,
    },
    LedgerAnswers {
        which: usize,
        done: bool,
    },
    Pass {
        seconds: u64,
    },
    Upgrade,
}

fn act() -> impl Strategy<Value = Act> {
    let who = || (0u8..3, 0u8..3, 0u8..2);
    prop_oneof![
        4 => (who(), 0u16..500).prop_map(|((by, node, escrow), amount)| Act::Stake { by, node, escrow, amount }),
        4 => (who(), 0u16..400).prop_map(|((by, node, escrow), amount)| Act::Unstake { by, node, escrow, amount }),
        4 => (who(), prop::option::of(1u64..9), 0u8..30)
            .prop_map(|((by, node, _), id, fee)| Act::Withdraw { by, node, id, fee }),
        6 => (any::<usize>(), prop::bool::weighted(0.7)).prop_map(|(which, done)| Act::LedgerAnswers { which, done }),
        3 => (1u64..2 * UNBONDING).prop_map(|seconds| Act::Pass { seconds }),
        1 => Just(Act::Upgrade),
    ]
}

/// What the ledger knows: what the registry's account holds.
fn check(state: &State, in_ledger: u128) {
    let totals = state.totals.get();
    let held = totals.allotted + totals.unbonding + totals.leaving;
    assert_eq!(totals.deposited, held + totals.paid_out, "conservation");
    assert_eq!(in_ledger, held, "backing");
    let allotted: u128 = state.allotments.iter().map(|e| e.value()).sum();
    let leaving: u128 = state.leaving.iter().map(|e| e.value()).sum();
    let unbonding: u128 = state.unbonding.iter().map(|e| e.value().amount).sum();
    assert_eq!(
        (allotted, unbonding, leaving),
        (totals.allotted, totals.unbonding, totals.leaving)
    );
    // Whatever waits for the ledger has its entry, and the other way round.
    let entries = state.journal.open_entries(0, usize::MAX);
    let paying = state.unbonding.iter().filter_map(|e| e.value().entry);
    let mut waiting: Vec<u64> = state
        .staking
        .iter()
        .map(|e| e.value())
        .chain(paying)
        .collect();
    waiting.sort_unstable();
    assert_eq!(waiting, entries.iter().map(|e| e.id).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn stake_is_conserved_over_random_sequences(acts in prop::collection::vec(act(), 1..80)) {
        let (mut state, memory) = registry();
        for n in 0..3 {
            join(&mut state, n, n, vec![]);
        }
        let mut now = START;
        let mut in_ledger = 0u128;
        for act in acts {
            match act {
                Act::Stake { by, node, escrow, amount } => {
                    let args = stake_args(node, escrow, amount.into());
                    let begun = stake::begin_stake(&mut state, now, owner(by), me(), &args, 10);
                    prop_assert!(begun.is_err() || by == node, "only the owner stakes");
                }
                Act::Unstake { by, node: n, escrow: e, amount } => {
                    let before = state.allotments.get(&(node(n), escrow(e))).unwrap_or_default();
                    let args = UnstakeArgs { node: node(n), escrow: escrow(e), amount: Tokens(amount.into()) };
                    let done = stake::unstake(&mut state, now, owner(by), &args);
                    let after = state.allotments.get(&(node(n), escrow(e))).unwrap_or_default();
                    match done {
                        Ok(()) => prop_assert_eq!(after + u128::from(amount), before),
                        Err(_) => prop_assert_eq!(after, before),
                    }
                }
                Act::Withdraw { by, node: n, id, fee } => {
                    let begun = stake::begin_withdrawal(&mut state, now, owner(by), node(n), id, fee.into());
                    if let Ok(entry) = begun {
                        prop_assert_eq!(by, n, "only the owner withdraws");
                        let held = state.leaving.get(&entry).expect("it is set aside");
                        let operation = state.journal.get(entry).expect("it is open").operation;
                        prop_assert_eq!(held, operation.amount() + operation.fee());
                    }
                }
                Act::LedgerAnswers { which, done } => {
                    let open = state.journal.open_entries(0, usize::MAX);
                    if !open.is_empty() {
                        let entry = &open[which % open.len()];
                        ledger_answers(&mut state, now, entry.id, done);
                        if done {
                            match &entry.operation {
                                Operation::TransferFrom { amount, .. } => in_ledger += amount,
                                Operation::Transfer { amount, fee, .. } => in_ledger -= amount + fee,
                            }
                        }
                    }
                }
                Act::Pass { seconds } => now += seconds * SECOND,
                Act::Upgrade => {
                    drop(state);
                    state = State::load(memory.clone()).expect("it is a registry's memory");
                }
            }
            check(&state, in_ledger);
        }
    }
}

#[test]
fn a_movement_that_does_not_sum_to_zero_changes_nothing() {
    let (mut state, _) = registry();
    let account = Account::Allotted {
        node: node(1),
        escrow: escrow(1),
    };
    let postings = [(Account::Outside, -5), (account, 6)];
    assert_eq!(
        postings::apply(&mut state, &postings),
        Err(Imbalance::NotZero)
    );
    check(&state, 0);
}

#[test]
fn a_movement_that_overdraws_changes_nothing() {
    let (mut state, _) = registry();
    join(&mut state, 1, 1, vec![]);
    staked(&mut state, 1, 1, 1, 50);
    let from = Account::Allotted {
        node: node(1),
        escrow: escrow(2),
    };
    let moved = postings::transfer(&mut state, from, Account::Outside, 1);
    assert_eq!(moved, Err(Imbalance::Overdrawn(from)));
    check(&state, 50);
}

#[test]
fn unstaking_more_than_is_allotted_is_refused() {
    let (mut state, _) = registry();
    join(&mut state, 1, 1, vec![]);
    staked(&mut state, 1, 1, 1, 50);
    let args = |amount| UnstakeArgs {
        node: node(1),
        escrow: escrow(1),
        amount: Tokens(amount),
    };
    assert_eq!(
        code(stake::unstake(&mut state, START, owner(1), &args(51))),
        "insufficient_funds"
    );
    stake::unstake(&mut state, START, owner(1), &args(50)).expect("that much there is");
}

#[test]
fn what_unbonds_is_paid_out_once_and_not_before_its_time() {
    let (mut state, _) = registry();
    join(&mut state, 1, 1, vec![]);
    staked(&mut state, 1, 1, 1, 50);
    let args = UnstakeArgs {
        node: node(1),
        escrow: escrow(1),
        amount: Tokens(50),
    };
    stake::unstake(&mut state, START, owner(1), &args).expect("that much there is");
    let withdraw =
        |state: &mut State, now| stake::begin_withdrawal(state, now, owner(1), node(1), None, 10);
    let ready = START + UNBONDING * SECOND;
    assert_eq!(code(withdraw(&mut state, ready - 1)), "wrong_state");
    let entry = withdraw(&mut state, ready).expect("it is ready");
    assert_eq!(code(withdraw(&mut state, ready)), "in_flight");
    ledger_answers(&mut state, ready, entry, false);
    check(&state, 50);
    let entry = withdraw(&mut state, ready).expect("it was not paid out");
    ledger_answers(&mut state, ready, entry, true);
    check(&state, 0);
    assert_eq!(code(withdraw(&mut state, ready)), "not_found");
}

#[test]
fn one_stake_of_an_owner_is_under_way_at_a_time() {
    let (mut state, _) = registry();
    join(&mut state, 1, 1, vec![]);
    let args = stake_args(1, 1, 50);
    let entry =
        stake::begin_stake(&mut state, START, owner(1), me(), &args, 0).expect("a good stake");
    assert_eq!(
        code(stake::begin_stake(
            &mut state,
            START,
            owner(1),
            me(),
            &args,
            0
        )),
        "in_flight"
    );
    ledger_answers(&mut state, START, entry, false);
    assert!(stake::check_stake(&state, owner(1), &args).is_ok());
    check(&state, 0);
}
