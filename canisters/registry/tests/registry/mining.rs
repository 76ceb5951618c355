//! Mining: who counts, when a day is closed, how it is divided, and that nothing is given twice or from nothing.

use crate::world::*;
use candid::Principal;
use emc_protocol::Timestamp;
use emc_protocol::mining::{MiningReport, NodePower, POWER_MAX, REPORT_POWERS, epoch};
use emc_protocol::parameters::RegistryParameters;
use emc_protocol::report::Report;
use emc_protocol::{ApiError, Tokens};
use emc_registry::mining::schedule::{self, FIRST};
use emc_registry::mining::{closing, earnings, history};
use emc_registry::state::State;
use emc_registry::{parameters, report};
use ic_stable_structures::DefaultMemoryImpl;

pub const DAY: u64 = 24 * 3600 * SECOND;
/// The test phase's pool.
pub const POOL: u128 = 60 * FIRST;

/// A registry with escrow 1 named for mining, nodes 0 to `nodes` with stake in it, each its own owner's, and mining begun
/// at `START` with this pool.
pub fn begun(nodes: u8, pool: u128) -> (State, DefaultMemoryImpl) {
    let (mut state, memory) = registry();
    name(&mut state, &[escrow(1)]);
    for n in 0..nodes {
        join(&mut state, n, n, vec![]);
        staked(&mut state, n, n, 1, 100);
    }
    let look = closing::look(&state, START).expect("mining waits to begin");
    closing::found(&mut state, START, look, pool);
    (state, memory)
}

/// Names escrows for mining, at once.
pub fn name(state: &mut State, escrows: &[Principal]) {
    let change = RegistryParameters {
        mining_escrows: Some(escrows.to_vec()),
        ..RegistryParameters::default()
    };
    let change = parameters::checked(&change).expect("good escrows");
    parameters::apply(state, &change);
}

pub fn today(now: u64) -> u64 {
    epoch(Timestamp(now))
}

pub fn power(n: u8, epoch: u64, power: u128, votes: u32) -> NodePower {
    NodePower {
        node: node(n),
        epoch,
        power,
        votes,
        forfeited: false,
    }
}

/// Reports power as an escrow, with the number that is next.
pub fn measured(
    state: &mut State,
    now: u64,
    from: u8,
    powers: Vec<NodePower>,
    complete: Option<u64>,
) -> Result<u64, ApiError> {
    let last = state.escrows.get(&escrow(from)).unwrap_or_default().reports;
    let sent = Report {
        number: last + 1,
        outcomes: vec![],
        acknowledgements: vec![],
        mining: Some(MiningReport { powers, complete }),
    };
    report::report(state, now, escrow(from), &sent).map(|reply| reply.applied)
}

/// Closes the day that is due, with this in the pool; false if none is due.
pub fn close(state: &mut State, now: u64, pool: u128) -> bool {
    let Some(look) = closing::look(state, now) else {
        return false;
    };
    closing::found(state, now, look, pool);
    while state.mining.get().closing.is_some() {
        closing::step(state);
    }
    true
}

pub fn earned(state: &State, n: u8) -> u128 {
    history::earnings(state, owner(n)).0
}

pub fn newest(state: &State) -> emc_protocol::mining::EpochSummary {
    let closed = history::status(state, START).closed.expect("one is closed");
    history::epochs(state, closed, 1).remove(0)
}

/// The first day.
pub const E: u64 = START / DAY;
/// When the first day is over.
pub const OVER: u64 = (E + 1) * DAY;

#[test]
fn the_schedule_gives_the_test_phase_and_then_falls_for_ever() {
    assert!((0..150).all(|day| schedule::of(day) == FIRST));
    assert_eq!(schedule::of(150), FIRST * 9 / 10);
    assert_eq!(schedule::of(239), FIRST * 9 / 10);
    assert_eq!(schedule::of(240), FIRST * 81 / 100);
    let test_phase: u128 = (0..60).map(schedule::of).sum();
    assert_eq!(test_phase, 3_000_000 * 100_000_000);
    let (mut all, mut stage, mut amount) = (0, 0, FIRST);
    while amount > 0 {
        let days = 60 + stage * 90..60 + (stage + 1) * 90;
        let sum: u128 = days.clone().map(schedule::of).sum();
        assert_eq!(sum, 90 * amount, "stage {stage}");
        assert_eq!(
            schedule::next(days.start),
            Some((days.end, amount * 9 / 10))
        );
        (all, stage, amount) = (all + sum, stage + 1, amount * 9 / 10);
    }
    let reserve = 45_000_000 * 100_000_000;
    assert!(all <= reserve && all > reserve - 100_000_000, "{all}");
    assert_eq!(schedule::next(60 + stage * 90), None);
    assert_eq!(schedule::of(u64::MAX), 0);
}

#[test]
fn mining_begins_on_the_day_on_which_the_pool_holds_a_days_reward() {
    let (mut state, _) = registry();
    assert_eq!(closing::look(&state, START), None, "nobody measures");
    name(&mut state, &[escrow(1)]);
    let look = closing::look(&state, START).expect("now it is looked for");
    closing::found(&mut state, START, look, FIRST - 1);
    assert_eq!(history::status(&state, START).first_epoch, None);
    assert_eq!(closing::look(&state, START + 1), None, "not all the time");
    let later = START + DAY;
    let look = closing::look(&state, later).expect("a while later");
    closing::found(&mut state, later, look, FIRST);
    let status = history::status(&state, later);
    assert_eq!((status.first_epoch, status.epoch), (Some(E + 1), E + 1));
    assert_eq!(
        (status.scheduled, status.pool),
        (Tokens(FIRST), Tokens(FIRST))
    );
    let next = status.next_stage.expect("there is one");
    assert_eq!((next.epoch, next.scheduled), (E + 61, Tokens(FIRST)));
}

#[test]
fn nine_tenths_go_to_power_and_one_to_votes() {
    let (mut state, _) = begun(3, POOL);
    let lines = vec![power(0, E, 300, 0), power(1, E, 100, 3), power(2, E, 0, 1)];
    measured(&mut state, START, 1, lines, Some(E)).expect("the next report");
    assert!(!close(&mut state, OVER - 1, POOL), "the day is not over");
    assert!(close(&mut state, OVER, POOL));
    let (to_power, to_votes) = (FIRST / 10 * 9, FIRST / 10);
    assert_eq!(earned(&state, 0), to_power / 4 * 3);
    assert_eq!(earned(&state, 1), to_power / 4 + to_votes / 4 * 3);
    assert_eq!(earned(&state, 2), to_votes / 4);
    let day = newest(&state);
    assert_eq!((day.available, day.rolled_over), (Tokens(FIRST), Tokens(0)));
    assert_eq!((day.power, day.votes, day.miners), (400, 4, 2));
    assert_eq!(
        (day.to_miners, day.to_validators),
        (Tokens(to_power), Tokens(to_votes))
    );
    let line = &history::of_node(&state, OVER, node(1), None, 10)[0];
    assert_eq!((line.power, line.votes), (100, 3));
    assert_eq!(line.reward, Some(Tokens(earned(&state, 1))));
    assert_eq!(state.powers.len(), 0, "what is closed is history");
}

#[test]
fn lines_for_a_node_and_day_add_up_and_are_shown_before_the_day_is_closed() {
    let (mut state, _) = begun(1, POOL);
    for _ in 0..2 {
        let lines = vec![power(0, E, 7, 1), power(0, E, 3, 0)];
        measured(&mut state, START, 1, lines, None).expect("the next report");
    }
    let lines = history::of_node(&state, START, node(0), None, 10);
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (lines[0].power, lines[0].votes, lines[0].reward),
        (20, 2, None)
    );
    let huge = vec![power(0, E, u128::MAX, u32::MAX)];
    measured(&mut state, START, 1, huge, Some(E)).expect("the next report");
    let lines = history::of_node(&state, START, node(0), None, 10);
    assert_eq!((lines[0].power, lines[0].votes), (POWER_MAX, u32::MAX));
    close(&mut state, OVER, POOL);
    assert_eq!(earned(&state, 0), FIRST, "and nothing overflows");
}

#[test]
fn only_named_escrows_count_and_only_nodes_with_stake_in_them() {
    let (mut state, _) = begun(2, POOL);
    join(&mut state, 5, 5, vec![]);
    staked(&mut state, 5, 5, 2, 100);
    let lines = vec![power(5, E, 10, 1), power(0, E, 10, 1)];
    let applied = measured(&mut state, START, 2, lines.clone(), Some(E));
    assert_eq!(applied, Ok(1), "that is no error");
    assert_eq!(state.powers.len(), 0);
    measured(&mut state, START, 1, lines, Some(E)).expect("the next report");
    assert_eq!(state.powers.len(), 1, "node 5 has no stake there");
    name(&mut state, &[escrow(1), escrow(2)]);
    assert!(
        !close(&mut state, OVER, POOL),
        "the other one is waited for"
    );
    let lines = vec![power(5, E, 10, 0)];
    measured(&mut state, OVER, 2, lines, Some(E)).expect("the next report");
    assert!(close(&mut state, OVER, POOL));
    assert_eq!(earned(&state, 5), FIRST / 10 * 9 / 2);
}

#[test]
fn a_report_is_counted_once_and_a_too_long_one_not_at_all() {
    let (mut state, _) = begun(1, POOL);
    let sent = Report {
        number: 1,
        outcomes: vec![],
        acknowledgements: vec![],
        mining: Some(MiningReport {
            powers: vec![power(0, E, 5, 0)],
            complete: None,
        }),
    };
    for _ in 0..2 {
        report::report(&mut state, START, escrow(1), &sent).expect("once, and answered again");
    }
    assert_eq!(
        state.powers.get(&(E, node(0))).expect("it is there").power,
        5
    );
    let long = vec![power(0, E, 5, 0); REPORT_POWERS + 1];
    assert_eq!(code(measured(&mut state, START, 1, long, None)), "limit");
    assert_eq!(
        state.powers.get(&(E, node(0))).expect("it is there").power,
        5
    );
}

#[test]
fn a_node_that_forfeits_the_day_gets_nothing_and_its_power_does_not_count() {
    let (mut state, _) = begun(2, POOL);
    let mut lines = vec![power(0, E, 900, 9), power(1, E, 100, 1)];
    lines.push(NodePower {
        forfeited: true,
        ..power(0, E, 0, 0)
    });
    measured(&mut state, START, 1, lines, Some(E)).expect("the next report");
    close(&mut state, OVER, POOL);
    assert_eq!((earned(&state, 0), earned(&state, 1)), (0, FIRST));
    let day = newest(&state);
    assert_eq!(
        (day.power, day.votes, day.miners, day.forfeited),
        (100, 1, 1, 1)
    );
    let line = &history::of_node(&state, OVER, node(0), None, 1)[0];
    assert_eq!((line.forfeited, line.reward), (true, Some(Tokens(0))));
}

#[test]
fn an_escrow_that_is_away_holds_a_day_for_three_days() {
    let (mut state, _) = begun(1, POOL);
    measured(&mut state, START, 1, vec![power(0, E, 5, 0)], None).expect("the next report");
    let until = OVER + closing::PATIENCE;
    assert!(!close(&mut state, until - 1, POOL));
    assert!(close(&mut state, until, POOL));
    assert_eq!(earned(&state, 0), FIRST / 10 * 9);
    // What comes later is of no day that is open, and changes nothing.
    measured(&mut state, until, 1, vec![power(0, E, 5, 0)], Some(E)).expect("the next report");
    assert_eq!(state.powers.len(), 0);
    assert_eq!(history::of_node(&state, until, node(0), None, 9).len(), 1);
}

#[test]
fn an_escrow_cannot_speak_for_days_to_come() {
    let (mut state, _) = begun(1, POOL);
    let far = vec![power(0, E + 2, 5, 0), power(0, E - 1, 5, 0)];
    measured(&mut state, START, 1, far, Some(u64::MAX)).expect("the next report");
    assert_eq!(state.powers.len(), 0);
    assert!(close(&mut state, OVER, POOL));
    assert!(
        !close(&mut state, OVER + DAY, POOL),
        "tomorrow was not said"
    );
}

#[test]
fn what_a_day_cannot_give_rolls_over_and_comes_at_most_once_more_a_day() {
    let (mut state, _) = begun(1, POOL);
    for day in 0..4 {
        measured(&mut state, START, 1, vec![], None).expect("the next report");
        let now = OVER + day * DAY;
        measured(&mut state, now, 1, vec![], Some(E + day)).expect("the next report");
        assert!(close(&mut state, now, POOL));
    }
    assert_eq!(newest(&state).rolled_over, Tokens(4 * FIRST));
    let mut rolled = 4 * FIRST;
    for day in 4..10 {
        let now = OVER + day * DAY;
        let lines = vec![power(0, E + day, 1, 1)];
        measured(&mut state, now, 1, lines, Some(E + day)).expect("the next report");
        let before = earned(&state, 0);
        assert!(close(&mut state, now, POOL));
        let again = rolled.min(FIRST);
        assert_eq!(earned(&state, 0) - before, FIRST + again);
        rolled -= again;
        assert_eq!(newest(&state).rolled_over, Tokens(rolled));
    }
    assert_eq!(rolled, 0);
}

#[test]
fn a_day_without_votes_keeps_the_validators_part() {
    let (mut state, _) = begun(1, POOL);
    measured(&mut state, START, 1, vec![power(0, E, 5, 0)], Some(E)).expect("the next report");
    close(&mut state, OVER, POOL);
    assert_eq!(newest(&state).rolled_over, Tokens(FIRST / 10));
    let status = history::status(&state, OVER);
    assert_eq!(status.rolled_over, Tokens(FIRST / 10));
    assert_eq!(status.distributed.0, FIRST / 10 * 9);
}

#[test]
fn what_is_owed_is_not_given_a_second_time() {
    let (mut state, _) = begun(2, FIRST + 5);
    for day in 0..2 {
        let now = OVER + day * DAY;
        let lines = vec![power(0, E + day, 5, 5)];
        measured(&mut state, now, 1, lines, Some(E + day)).expect("the next report");
        close(&mut state, now, FIRST + 5);
    }
    assert_eq!(earned(&state, 0), FIRST + 5, "the pool had no more");
    assert_eq!(newest(&state).available, Tokens(5));
    assert_eq!(newest(&state).rolled_over, Tokens(FIRST - 5));
    let status = history::status(&state, OVER);
    assert_eq!(
        (status.pool, status.owed),
        (Tokens(FIRST + 5), Tokens(FIRST + 5))
    );
}

#[test]
fn a_payment_that_ends_while_the_pool_is_counted_frees_nothing() {
    let (mut state, _) = begun(1, 2 * FIRST);
    let lines = vec![power(0, E, 5, 5)];
    measured(&mut state, START, 1, lines, Some(E)).expect("the next report");
    close(&mut state, OVER, 2 * FIRST);
    let lines = vec![power(0, E + 1, 5, 5)];
    measured(&mut state, OVER, 1, lines, Some(E + 1)).expect("the next report");
    let later = OVER + DAY;
    let entry = earnings::begin_withdrawal(&mut state, later, owner(0), None, 0).expect("earned");
    let look = closing::look(&state, later).expect("a day is due");
    // The ledger counts, then pays; the books hear of the payment first.
    ledger_answers(&mut state, later, entry, true);
    closing::found(&mut state, later, look, 2 * FIRST);
    while state.mining.get().closing.is_some() {
        closing::step(&mut state);
    }
    assert_eq!(newest(&state).available, Tokens(FIRST), "not twice as much");
}

#[test]
fn earnings_are_paid_to_the_owner_one_payment_at_a_time() {
    let (mut state, memory) = begun(2, POOL);
    let withdraw = |state: &mut State, n, amount: Option<u128>, fee| {
        earnings::begin_withdrawal(state, OVER, owner(n), amount.map(Tokens), fee)
    };
    assert_eq!(code(withdraw(&mut state, 0, None, 0)), "not_found");
    let lines = vec![power(0, E, 5, 5)];
    measured(&mut state, START, 1, lines, Some(E)).expect("the next report");
    close(&mut state, OVER, POOL);
    let too_much = withdraw(&mut state, 0, Some(FIRST + 1), 0);
    assert_eq!(code(too_much), "insufficient_funds");
    assert_eq!(code(withdraw(&mut state, 0, Some(10), 10)), "invalid");
    assert_eq!(code(withdraw(&mut state, 0, Some(0), 0)), "invalid");
    assert_eq!(code(withdraw(&mut state, 1, None, 0)), "not_found");
    let entry = withdraw(&mut state, 0, Some(100), 10).expect("earned");
    assert_eq!(code(withdraw(&mut state, 0, Some(1), 0)), "in_flight");
    drop(state);
    let mut state = State::load(memory).expect("it is a registry's memory");
    ledger_answers(&mut state, OVER, entry, false);
    assert_eq!(earned(&state, 0), FIRST, "what was not done is there again");
    let entry = withdraw(&mut state, 0, Some(100), 10).expect("earned");
    let opened = state.journal.get(entry).expect("it is open").operation;
    assert_eq!((opened.amount(), opened.fee()), (90, 10));
    ledger_answers(&mut state, OVER, entry, true);
    assert_eq!(earned(&state, 0), FIRST - 100);
    let status = history::status(&state, OVER);
    assert_eq!(
        (status.paid, status.owed),
        (Tokens(100), Tokens(FIRST - 100))
    );
}

#[test]
fn escrows_for_mining_are_named_each_once_and_kept_by_an_upgrade() {
    let checked = |escrows: Vec<Principal>| {
        parameters::checked(&RegistryParameters {
            mining_escrows: Some(escrows),
            ..RegistryParameters::default()
        })
    };
    assert_eq!(code(checked(vec![escrow(1), escrow(1)])), "invalid");
    assert_eq!(code(checked(vec![Principal::anonymous()])), "invalid");
    let many = (0..17).map(principal).collect();
    assert_eq!(code(checked(many)), "limit");
    let (mut state, memory) = registry();
    name(&mut state, &[escrow(1), escrow(2)]);
    parameters::apply(&mut state, &Default::default());
    drop(state);
    let mut state = State::load(memory).expect("it is a registry's memory");
    let named = |state: &State| history::status(state, START).escrows;
    assert_eq!(named(&state), [escrow(1), escrow(2)]);
    name(&mut state, &[]);
    assert!(named(&state).is_empty());
}

#[test]
fn history_is_read_page_by_page() {
    let (mut state, _) = begun(1, POOL);
    for day in 0..5 {
        let now = OVER + day * DAY;
        let lines = vec![power(0, E + day, 5, 0)];
        measured(&mut state, now, 1, lines, Some(E + day)).expect("the next report");
        close(&mut state, now, POOL);
    }
    let now = OVER + 5 * DAY;
    measured(&mut state, now, 1, vec![power(0, E + 6, 5, 0)], None).expect("the next report");
    let days = |before, limit| -> Vec<u64> {
        let lines = history::of_node(&state, now, node(0), before, limit).into_iter();
        lines.map(|line| line.epoch - E).collect()
    };
    assert_eq!(days(None, 3), [6, 4, 3]);
    assert_eq!(days(Some(E + 3), 3), [2, 1, 0]);
    assert_eq!(days(Some(E), 3), [] as [u64; 0]);
    assert_eq!(days(Some(0), 3), [] as [u64; 0]);
    let epochs = |start, limit| -> Vec<u64> {
        let page = history::epochs(&state, start, limit).into_iter();
        page.map(|day| day.epoch - E).collect()
    };
    assert_eq!(epochs(0, 2), [0, 1]);
    assert_eq!(epochs(E + 3, 200), [3, 4]);
    assert_eq!(epochs(E + 5, 200), [] as [u64; 0]);
}
