//! Unstaking: the clock starts with the escrow's acknowledgement, or when the escrow has been silent for long.

use crate::world::*;
use emc_protocol::Tokens;
use emc_protocol::feed::{Change, ChangesArgs, NodeChange};
use emc_protocol::node::{Unbonding, UnstakeArgs};
use emc_registry::records::UnbondingRecord;
use emc_registry::state::State;
use emc_registry::{feed, listing, unbonding};

fn withdraw(state: &mut State, now: u64) -> Result<u64, emc_protocol::ApiError> {
    unbonding::begin_withdrawal(state, now, owner(1), node(1), None, 10)
}

/// Node 1 with 500 e8s in escrow 1, which is known by then.
fn with_stake() -> State {
    let (mut state, _) = registry();
    join(&mut state, 1, 1, vec![]);
    staked(&mut state, 1, 1, 1, 500);
    state
}

fn shown(state: &State) -> Vec<Unbonding> {
    listing::node(state, node(1))
        .expect("it is there")
        .unbonding
}

/// What an escrow reads of node 1, and the number of the change.
fn in_feed(state: &State, of: u8) -> (u64, NodeChange) {
    let args = ChangesArgs {
        after: 0,
        escrow: escrow(of),
        limit: 100,
    };
    let changes = feed::changes_since(state, START, &args).changes;
    let mut found = changes.into_iter().filter_map(|it| match it.change {
        Some(Change::Node(change)) if change.id == node(1) => Some((it.sequence, change)),
        _ => None,
    });
    found.next().expect("the node stands in the feed")
}

#[test]
fn unstaking_more_than_is_allotted_is_refused() {
    let mut state = with_stake();
    let args = UnstakeArgs {
        node: node(1),
        escrow: escrow(1),
        amount: Tokens(501),
    };
    assert_eq!(
        code(unbonding::unstake(&mut state, START, owner(1), &args)),
        "insufficient_funds"
    );
    unstaked(&mut state, START, 1, 1, 1, 500);
}

#[test]
fn what_unbonds_is_paid_out_once_and_not_before_its_time() {
    let mut state = with_stake();
    unstaked(&mut state, START, 1, 1, 1, 50);
    let (sequence, _) = in_feed(&state, 1);
    assert_eq!(code(withdraw(&mut state, START)), "wrong_state");
    let acknowledged = START + 100 * SECOND;
    let sent = vec![acknowledgement(1, sequence)];
    assert_eq!(
        reported(&mut state, acknowledged, 1, 1, vec![], sent),
        Ok(1)
    );
    let ready = acknowledged + UNBONDING * SECOND;
    assert_eq!(shown(&state)[0].ready.0, ready);
    assert_eq!(code(withdraw(&mut state, ready - 1)), "wrong_state");
    let entry = withdraw(&mut state, ready).expect("it is ready");
    assert_eq!(code(withdraw(&mut state, ready)), "in_flight");
    ledger_answers(&mut state, ready, entry, false);
    assert_eq!(state.totals.get().unbonding, 50);
    let entry = withdraw(&mut state, ready).expect("it was not paid out");
    ledger_answers(&mut state, ready, entry, true);
    assert_eq!(
        (state.totals.get().unbonding, state.totals.get().paid_out),
        (0, 50)
    );
    assert_eq!(code(withdraw(&mut state, ready)), "not_found");
}

#[test]
fn the_escrow_sees_that_stake_waits_for_it_and_only_that_escrow() {
    let mut state = with_stake();
    staked(&mut state, 1, 1, 2, 500);
    assert_eq!(in_feed(&state, 1).1.unstaking, Some(false));
    unstaked(&mut state, START, 1, 1, 1, 100);
    let (sequence, change) = in_feed(&state, 1);
    assert_eq!((change.stake, change.unstaking), (Tokens(400), Some(true)));
    assert_eq!(in_feed(&state, 2).1.unstaking, Some(false));
    let waits = &shown(&state)[0];
    assert_eq!((waits.ready.0, waits.waiting), (0, Some(true)));
    assert_eq!(
        waits.starts_by.map(|time| time.0),
        Some(START + SILENCE * SECOND)
    );
    let sent = vec![acknowledgement(1, sequence)];
    reported(&mut state, START, 1, 1, vec![], sent).expect("the first report");
    let (newer, change) = in_feed(&state, 1);
    assert!(newer > sequence, "the escrow learns that it waits no more");
    assert_eq!(change.unstaking, Some(false));
    let runs = &shown(&state)[0];
    assert_eq!((runs.waiting, runs.starts_by), (Some(false), None));
}

#[test]
fn an_acknowledgement_of_an_older_number_starts_nothing() {
    let mut state = with_stake();
    unstaked(&mut state, START, 1, 1, 1, 100);
    let (first, _) = in_feed(&state, 1);
    unstaked(&mut state, START, 1, 1, 1, 100);
    let (second, _) = in_feed(&state, 1);
    let mut acknowledge = |number, sequence| {
        let sent = vec![acknowledgement(1, sequence)];
        reported(&mut state, START, 1, number, vec![], sent).expect("the next report");
        let waiting = shown(&state).into_iter().map(|it| it.waiting == Some(true));
        waiting.collect::<Vec<_>>()
    };
    assert_eq!(acknowledge(1, first - 1), [true, true]);
    assert_eq!(acknowledge(2, first), [false, true]);
    assert_eq!(acknowledge(3, second), [false, false]);
}

#[test]
fn another_escrow_s_acknowledgement_starts_nothing() {
    let mut state = with_stake();
    staked(&mut state, 1, 1, 2, 500);
    unstaked(&mut state, START, 1, 1, 1, 100);
    let sent = vec![acknowledgement(1, u64::MAX)];
    reported(&mut state, START, 2, 1, vec![], sent).expect("the first report");
    assert_eq!(shown(&state)[0].waiting, Some(true));
}

#[test]
fn a_heartbeat_in_between_does_not_hide_what_was_announced() {
    let mut state = with_stake();
    unstaked(&mut state, START, 1, 1, 1, 100);
    emc_registry::heartbeat::heartbeat(&mut state, START + 3600 * SECOND, node(1))
        .expect("registered");
    let (sequence, change) = in_feed(&state, 1);
    assert_eq!(change.unstaking, Some(true));
    let sent = vec![acknowledgement(1, sequence)];
    reported(&mut state, START, 1, 1, vec![], sent).expect("the first report");
    assert_eq!(shown(&state)[0].waiting, Some(false));
}

#[test]
fn a_dead_escrow_does_not_hold_the_stake_for_ever() {
    let mut state = with_stake();
    unstaked(&mut state, START, 1, 1, 1, 100);
    let heard = START + SILENCE * SECOND - 1;
    reported(&mut state, heard, 1, 1, vec![], vec![]).expect("a report that says nothing");
    unbonding::sweep(&mut state, START + SILENCE * SECOND);
    assert_eq!(shown(&state)[0].waiting, Some(true), "it is alive");
    let silent = heard + SILENCE * SECOND;
    unbonding::sweep(&mut state, silent - 1);
    assert_eq!(shown(&state)[0].waiting, Some(true));
    unbonding::sweep(&mut state, silent + 3600 * SECOND);
    assert_eq!(shown(&state)[0].waiting, Some(false));
    let ready = silent + UNBONDING * SECOND;
    assert_eq!(shown(&state)[0].ready.0, ready, "whenever the timer looked");
    assert_eq!(code(withdraw(&mut state, ready - 1)), "wrong_state");
    withdraw(&mut state, ready).expect("it is ready");
}

#[test]
fn where_no_silence_is_tolerated_nobody_is_waited_for() {
    let mut state = with_stake();
    let mut config = state.config.get().clone();
    config.silence = Some(0);
    state.config.set(config);
    unstaked(&mut state, START, 1, 1, 1, 100);
    let runs = &shown(&state)[0];
    assert_eq!(runs.waiting, Some(false));
    assert_eq!(runs.ready.0, START + UNBONDING * SECOND);
    assert_eq!(in_feed(&state, 1).1.unstaking, Some(false));
}

#[test]
fn whoever_withdraws_does_not_need_the_timer() {
    let mut state = with_stake();
    unstaked(&mut state, START, 1, 1, 1, 100);
    let ready = START + (SILENCE + UNBONDING) * SECOND;
    assert_eq!(code(withdraw(&mut state, ready - 1)), "wrong_state");
    withdraw(&mut state, ready).expect("its escrow was never heard of");
}

#[test]
fn the_timer_finds_every_unbonding_in_bounded_steps() {
    let (mut state, _) = registry();
    for n in 0..100 {
        join(&mut state, n, 1, vec![]);
        staked(&mut state, 1, n, 1, 500);
        for _ in 0..3 {
            unstaked(&mut state, START, 1, n, 1, 10);
        }
    }
    let waiting = |state: &State| {
        let all = state.unbonding.iter();
        all.filter(|entry| entry.value().waiting.is_some()).count()
    };
    let now = START + SILENCE * SECOND;
    let mut steps = vec![];
    for _ in 0..3 {
        unbonding::sweep(&mut state, now);
        steps.push(waiting(&state));
    }
    assert_eq!(steps, [100, 0, 0]);
}

#[test]
fn an_unbonding_of_before_keeps_the_time_that_it_had() {
    #[derive(minicbor::Encode)]
    struct Before {
        #[cbor(n(0), with = "minicbor::bytes")]
        escrow: Vec<u8>,
        #[cbor(n(1), with = "minicbor::bytes")]
        amount: Vec<u8>,
        #[n(2)]
        ready: u64,
        #[n(3)]
        entry: Option<u64>,
    }
    let before = Before {
        escrow: escrow(1).as_slice().to_vec(),
        amount: vec![50],
        ready: START + 7,
        entry: None,
    };
    let bytes = minicbor::to_vec(&before).expect("it is written to memory");
    let read: UnbondingRecord = minicbor::decode(&bytes).expect("it is still read");
    let expected = UnbondingRecord {
        escrow: escrow(1),
        amount: 50,
        ready: START + 7,
        entry: None,
        waiting: None,
    };
    assert_eq!(read, expected);
}
