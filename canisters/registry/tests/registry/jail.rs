//! Jail: an overturned result bars the node for a time; its owner frees it.

use crate::world::*;
use emc_protocol::node::{Node, UpdateNode};
use emc_protocol::{NodeStatus, Tokens};
use emc_registry::jail::unjail;
use emc_registry::state::State;
use emc_registry::{listing, register};

fn jailed(stake: u128, slashed: u128) -> State {
    let (mut state, _) = registry();
    join(&mut state, 1, 1, vec![]);
    staked(&mut state, 1, 1, 1, stake);
    let sent = vec![outcome(1, slashed, 1)];
    reported(&mut state, START, 1, 1, sent, vec![]).expect("the first report");
    state
}

fn seen(state: &State) -> Node {
    listing::node(state, node(1)).expect("it is there")
}

#[test]
fn an_overturned_result_bars_the_node_until_its_owner_frees_it_in_time() {
    let mut state = jailed(500, 100);
    let until = START + JAIL * SECOND;
    assert_eq!(seen(&state).status, Some(NodeStatus::Jailed));
    assert_eq!(seen(&state).jailed_until.map(|time| time.0), Some(until));
    assert_eq!(
        code(unjail(&mut state, until, owner(2), node(1))),
        "forbidden"
    );
    assert_eq!(
        code(unjail(&mut state, until - 1, owner(1), node(1))),
        "wrong_state"
    );
    let sequence = state.totals.get().sequence;
    unjail(&mut state, until, owner(1), node(1)).expect("its time is over");
    assert_eq!(seen(&state).status, Some(NodeStatus::Active));
    assert_eq!(seen(&state).jailed_until, None);
    assert_eq!(state.totals.get().sequence, sequence + 1);
    unjail(&mut state, until, owner(1), node(1)).expect("free already");
    assert_eq!(state.totals.get().sequence, sequence + 1);
}

#[test]
fn a_second_overturned_result_prolongs_it() {
    let mut state = jailed(500, 100);
    let later = START + 60 * SECOND;
    reported(&mut state, later, 1, 2, vec![outcome(1, 100, 2)], vec![]).expect("the second");
    assert_eq!(
        seen(&state).jailed_until.map(|time| time.0),
        Some(later + JAIL * SECOND)
    );
}

#[test]
fn freedom_needs_the_least_stake() {
    let mut state = jailed(150, 100);
    let until = START + JAIL * SECOND;
    let refused = unjail(&mut state, until, owner(1), node(1)).expect_err("50 are not 100");
    assert_eq!(refused.code, "insufficient_funds");
    staked(&mut state, 1, 1, 1, 50);
    assert_eq!(
        seen(&state).status,
        Some(NodeStatus::Jailed),
        "staking alone frees nobody"
    );
    unjail(&mut state, until, owner(1), node(1)).expect("there is enough now");
}

#[test]
fn neither_drain_nor_exit_gets_a_node_out_of_jail() {
    let mut state = jailed(500, 100);
    for draining in [true, false] {
        let update = UpdateNode {
            draining: Some(draining),
            ..UpdateNode::default()
        };
        register::update(&mut state, START, node(1), update).expect("it may say so");
        assert_eq!(seen(&state).status, Some(NodeStatus::Jailed));
    }
    unstaked(&mut state, START, 1, 1, 1, 400);
    assert_eq!(seen(&state).status, Some(NodeStatus::Jailed));
    staked(&mut state, 1, 1, 1, 400);
    assert_eq!(seen(&state).status, Some(NodeStatus::Jailed));
    assert_eq!(seen(&state).allotments[0].amount, Tokens(400));
}
