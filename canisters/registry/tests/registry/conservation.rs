//! *Conservation*: deposited = allotted + unbonding + leaving + burning + burned + paid out, and mined = earned + drawing +
//! drawn, whatever owners and escrows do and the ledger answers; and nothing is slashed beyond the allotment, started
//! before its acknowledgement, burned twice, or mined that the pool does not hold.

use crate::ledger::{How, Ledger};
use crate::mining;
use crate::world::*;
use candid::Principal;
use emc_journal::Account as LedgerAccount;
use emc_protocol::Tokens;
use emc_protocol::mining::NodePower;
use emc_protocol::node::UnstakeArgs;
use emc_protocol::report::{Acknowledgement, NodeOutcome};
use emc_registry::mining::schedule::FIRST;
use emc_registry::mining::{closing, earnings};
use emc_registry::postings::{self, Account, Imbalance};
use emc_registry::state::State;
use emc_registry::{burning, jail, stake, unbonding};
use proptest::prelude::*;
use std::collections::BTreeMap;

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
    /// `shift`: 0 is the next number, less a repeated one, more leaves a gap.
    Report {
        by: u8,
        shift: i8,
        slashes: Vec<(u8, u16, bool)>,
        acknowledges: Vec<(u8, u64)>,
    },
    Unjail {
        node: u8,
    },
    Burn,
    /// Escrow 0 reports power of days around today.
    Mine {
        powers: Vec<(u8, u8, u16, u32, bool)>,
        complete: bool,
    },
    /// The pool is counted, if something waits for that; as it is, or as it was before some payments.
    LookAtPool {
        payments_first: bool,
    },
    CloseStep,
    FundPool {
        amount: u16,
    },
    Draw {
        by: u8,
        amount: Option<u64>,
        fee: u8,
    },
    LedgerAnswers {
        which: usize,
        how: How,
    },
    Pass {
        seconds: u64,
    },
    Sweep,
    Upgrade,
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        4 => Just(How::Does),
        1 => Just(How::Refuses),
        2 => any::<bool>().prop_map(|executed| How::Loses { executed }),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let who = || (0u8..3, 0u8..3, 0u8..2);
    let slashes = prop::collection::btree_map(0u8..4, (0u16..400, prop::bool::weighted(0.1)), 0..4);
    let slashes = slashes.prop_map(|by_node| {
        let each = by_node.into_iter();
        each.map(|(node, (amount, overturned))| (node, amount, overturned))
            .collect()
    });
    let acknowledges = prop::collection::vec((0u8..4, 0u64..60), 0..4);
    prop_oneof![
        4 => who().prop_flat_map(|who| (Just(who), 0u16..500)).prop_map(|((by, node, escrow), amount)| Act::Stake { by, node, escrow, amount }),
        4 => (who(), 0u16..400).prop_map(|((by, node, escrow), amount)| Act::Unstake { by, node, escrow, amount }),
        4 => (who(), prop::option::of(1u64..9), 0u8..30)
            .prop_map(|((by, node, _), id, fee)| Act::Withdraw { by, node, id, fee }),
        6 => (0u8..2, prop_oneof![4 => Just(0i8), 1 => -3i8..3], slashes, acknowledges)
            .prop_map(|(by, shift, slashes, acknowledges)| Act::Report { by, shift, slashes, acknowledges }),
        1 => (0u8..3).prop_map(|node| Act::Unjail { node }),
        3 => Just(Act::Burn),
        4 => (prop::collection::vec((0u8..4, 0u8..4, 0u16..900, 0u32..4, prop::bool::weighted(0.1)), 0..5), any::<bool>())
            .prop_map(|(powers, complete)| Act::Mine { powers, complete }),
        4 => any::<bool>().prop_map(|payments_first| Act::LookAtPool { payments_first }),
        4 => Just(Act::CloseStep),
        1 => any::<u16>().prop_map(|amount| Act::FundPool { amount }),
        4 => (0u8..3, prop::option::of(0u64..2_000), 0u8..3).prop_map(|(by, amount, fee)| Act::Draw { by, amount, fee }),
        1 => (20 * 3600u64..4 * 24 * 3600).prop_map(|seconds| Act::Pass { seconds }),
        9 => (any::<usize>(), how()).prop_map(|(which, how)| Act::LedgerAnswers { which, how }),
        3 => (1u64..2 * UNBONDING).prop_map(|seconds| Act::Pass { seconds }),
        1 => Just(Act::Sweep),
        1 => Just(Act::Upgrade),
    ]
}

fn check(state: &State, ledger: &Ledger) {
    let totals = state.totals.get();
    let held = totals.allotted + totals.unbonding + totals.leaving + totals.burning;
    assert_eq!(
        totals.deposited,
        held + totals.burned + totals.paid_out,
        "conservation"
    );
    let allotted: u128 = state.allotments.iter().map(|e| e.value()).sum();
    assert_eq!(
        totals.mined,
        totals.earned + totals.drawing + totals.drawn,
        "conservation of what was mined"
    );
    let earned: u128 = state.earnings.iter().map(|e| e.value()).sum();
    let drawing: u128 = state.drawing.iter().map(|e| e.value()).sum();
    assert_eq!((earned, drawing), (totals.earned, totals.drawing));
    let given: u128 = state.mined.iter().map(|e| e.value().reward).sum();
    assert_eq!(given, totals.mined, "history explains it");
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
        .chain(totals.burn)
        .chain(state.drawers.iter().map(|e| e.value()))
        .collect();
    waiting.sort_unstable();
    assert_eq!(waiting, entries.iter().map(|e| e.id).collect::<Vec<_>>());
    if entries.is_empty() {
        assert_eq!(ledger.held, held, "backing");
        assert!(ledger.pool >= totals.earned, "the pool backs what it owes");
        assert_eq!(ledger.burned, totals.burned, "burned once, and all of it");
    }
    let slashed: u128 = state.outcomes.iter().map(|e| e.value().slashed).sum();
    assert_eq!(slashed, totals.burning + totals.burned);
}

/// What a node has in an escrow, by what can happen to it: allotted, waiting for the escrow, started.
fn parts(state: &State, node: Principal, escrow: Principal) -> (u128, u128, u128) {
    let allotted = state.allotments.get(&(node, escrow)).unwrap_or_default();
    let (mut waiting, mut started) = (0, 0);
    for (_, record) in unbonding::unbondings(state, node) {
        if record.escrow == escrow && record.waiting.is_some() {
            waiting += record.amount;
        } else if record.escrow == escrow {
            started += record.amount;
        }
    }
    (allotted, waiting, started)
}

/// Sends a report and compares what it led to with what it may lead to.
fn report(
    state: &mut State,
    now: u64,
    by: u8,
    shift: i8,
    outcomes: Vec<NodeOutcome>,
    acknowledgements: Vec<Acknowledgement>,
) {
    let known = state.escrows.get(&escrow(by));
    let last = known.clone().map_or(0, |record| record.reports);
    let number = (last + 1).saturating_add_signed(shift.into());
    let pairs = (0..3).flat_map(|n| (0..2).map(move |e| (n, e)));
    let all = |state: &State| -> BTreeMap<(u8, u8), (u128, u128, u128)> {
        pairs
            .clone()
            .map(|(n, e)| ((n, e), parts(state, node(n), escrow(e))))
            .collect()
    };
    let all_unbondings = |state: &State| -> Vec<_> {
        state
            .unbonding
            .iter()
            .map(|entry| (*entry.key(), entry.value()))
            .collect()
    };
    let (before, waiting_before) = (all(state), all_unbondings(state));
    let sequence = state.totals.get().sequence;
    let answer = reported(
        state,
        now,
        by,
        number,
        outcomes.clone(),
        acknowledgements.clone(),
    );
    let after = all(state);
    if number != last + 1 || known.is_none() {
        assert_eq!(
            before, after,
            "only the next report of a known escrow changes anything"
        );
        assert_eq!(sequence, state.totals.get().sequence);
        match answer {
            Ok(applied) => assert!(number <= last && applied == last),
            Err(error) if number == 0 => assert_eq!(error.code, "invalid"),
            Err(error) if number > last + 1 => assert_eq!(error.code, "gap"),
            Err(error) => assert_eq!(error.code, "not_registered"),
        }
        return;
    }
    assert_eq!(answer, Ok(number));
    for ((n, e), (allotted, waiting, started)) in before {
        let (allotted_now, waiting_now, started_now) = after[&(n, e)];
        let asked = outcomes.iter().find(|o| o.node == node(n) && e == by);
        let asked = asked.map_or(0, |outcome| outcome.slashed.0);
        let lost = asked.min(allotted + waiting);
        assert_eq!(
            allotted_now,
            allotted - lost.min(allotted),
            "the allotment first"
        );
        assert_eq!(
            waiting_now + started_now,
            waiting + started - (lost - lost.min(allotted))
        );
        assert!(started_now >= started, "what has started is out of reach");
    }
    for ((of, id), record) in waiting_before {
        let Some(waited) = record.waiting else {
            continue;
        };
        let Some(now_record) = state.unbonding.get(&(of, id)) else {
            continue;
        };
        let meant = acknowledgements
            .iter()
            .any(|a| a.node == of && record.escrow == escrow(by) && a.sequence >= waited.announced);
        assert_eq!(
            now_record.waiting.is_none(),
            meant,
            "an older number starts nothing"
        );
        if meant {
            assert_eq!(now_record.ready, now + UNBONDING * SECOND);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn stake_is_conserved_over_random_sequences(acts in prop::collection::vec(act(), 1..120)) {
        let (mut state, memory) = registry();
        for n in 0..3 {
            join(&mut state, n, n, vec![]);
        }
        mining::name(&mut state, &[escrow(0)]);
        let mut now = START;
        let mut ledger = Ledger::holding(0, 2 * FIRST);
        let mut funded = ledger.pool;
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
                    let done = unbonding::unstake(&mut state, now, owner(by), &args);
                    let after = state.allotments.get(&(node(n), escrow(e))).unwrap_or_default();
                    match done {
                        Ok(()) => prop_assert_eq!(after + u128::from(amount), before),
                        Err(_) => prop_assert_eq!(after, before),
                    }
                }
                Act::Withdraw { by, node: n, id, fee } => {
                    let begun = unbonding::begin_withdrawal(&mut state, now, owner(by), node(n), id, fee.into());
                    if let Ok(entry) = begun {
                        prop_assert_eq!(by, n, "only the owner withdraws");
                        let held = state.leaving.get(&entry).expect("it is set aside");
                        let operation = state.journal.get(entry).expect("it is open").operation;
                        prop_assert_eq!(held, operation.amount() + operation.fee());
                    }
                }
                Act::Report { by, shift, slashes, acknowledges } => {
                    let outcomes = slashes.into_iter().map(|(n, slashed, overturned)| outcome(n, slashed.into(), overturned.into()));
                    let acknowledgements = acknowledges.into_iter().map(|(n, sequence)| acknowledgement(n, sequence));
                    report(&mut state, now, by, shift, outcomes.collect(), acknowledgements.collect());
                }
                Act::Unjail { node: n } => {
                    let until = state.nodes.get(&node(n)).and_then(|record| record.jailed_until);
                    let freed = jail::unjail(&mut state, now, owner(n), node(n));
                    prop_assert!(freed.is_err() || until.unwrap_or_default() <= now);
                }
                Act::Burn => {
                    let minting = LedgerAccount { owner: principal(98), subaccount: None };
                    let due = burning::is_due(&state, now);
                    prop_assert_eq!(burning::begin(&mut state, now, minting).is_some(), due);
                }
                Act::Mine { powers, complete } => {
                    let today = mining::today(now);
                    let powers = powers.into_iter().map(|(n, days, power, votes, forfeited)| NodePower {
                        node: node(n),
                        epoch: today + 1 - u64::from(days),
                        power: power.into(),
                        votes,
                        forfeited,
                    });
                    // Refused where nobody has stake in it.
                    let _ = mining::measured(&mut state, now, 0, powers.collect(), complete.then_some(today - 1));
                }
                Act::LookAtPool { payments_first } => {
                    if let Some(look) = closing::look(&state, now) {
                        let counted = ledger.pool;
                        for entry in state.journal.open_entries(0, if payments_first { 3 } else { 0 }) {
                            ledger.work(&mut state, now, entry.id, How::Does);
                        }
                        closing::found(&mut state, now, look, counted);
                    }
                }
                Act::CloseStep => closing::step(&mut state),
                Act::FundPool { amount } => {
                    ledger.pool += u128::from(amount);
                    funded += u128::from(amount);
                }
                Act::Draw { by, amount, fee } => {
                    let before = state.earnings.get(&owner(by)).unwrap_or_default();
                    let amount = amount.map(|amount| Tokens(amount.into()));
                    let begun = earnings::begin_withdrawal(&mut state, now, owner(by), amount, fee.into());
                    let after = state.earnings.get(&owner(by)).unwrap_or_default();
                    let taken = begun.map_or(0, |entry| state.drawing.get(&entry).expect("it is set aside"));
                    prop_assert_eq!(before, after + taken);
                }
                Act::LedgerAnswers { which, how } => {
                    let open = state.journal.open_entries(0, usize::MAX);
                    if !open.is_empty() {
                        ledger.work(&mut state, now, open[which % open.len()].id, how);
                    }
                }
                Act::Pass { seconds } => now += seconds * SECOND,
                Act::Sweep => unbonding::sweep(&mut state, now),
                Act::Upgrade => {
                    drop(state);
                    state = State::load(memory.clone()).expect("it is a registry's memory");
                }
            }
            check(&state, &ledger);
            prop_assert!(state.totals.get().mined <= funded, "never more than the pool ever held");
        }
        // Every entry ends, and then all that was slashed is burned.
        for _ in 0..4 {
            now += 2 * 24 * 3600 * SECOND;
            for entry in state.journal.open_entries(0, usize::MAX) {
                ledger.work(&mut state, now, entry.id, How::Does);
            }
            burning::begin(&mut state, now, LedgerAccount { owner: principal(98), subaccount: None });
            check(&state, &ledger);
        }
        prop_assert_eq!(state.totals.get().burning, 0);
        prop_assert_eq!(state.journal.figures().open, 0);
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
    check(&state, &Ledger::default());
}

#[test]
fn stake_and_mined_money_never_mix() {
    let (mut state, _) = registry();
    let earned = Account::Earned { owner: owner(1) };
    let mixed = postings::transfer(&mut state, Account::Outside, earned, 5);
    assert_eq!(mixed, Err(Imbalance::NotZero));
    let mixed = postings::transfer(&mut state, Account::Pool, Account::Outside, 5);
    assert_eq!(mixed, Err(Imbalance::NotZero));
    let back = postings::transfer(&mut state, Account::Drawn, Account::Pool, 5);
    assert!(back.is_err(), "nothing comes back into the pool");
    check(&state, &Ledger::default());
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
    assert_eq!(state.totals.get().allotted, 50);
    assert_eq!(state.totals.get().paid_out, 0);
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
    check(&state, &Ledger::default());
}
