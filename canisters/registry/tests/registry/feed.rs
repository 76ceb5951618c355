//! The feed: whoever pulls page by page ends with the registry's nodes and models as they are.

use crate::world::*;
use emc_protocol::feed::{Change, Changes, ChangesArgs};
use emc_protocol::node::{RegistryUpgrade, UpdateNode};
use emc_protocol::{NodeStatus, Tokens};
use emc_registry::state::State;
use emc_registry::{catalogue, feed, lifecycle, register};

fn pull(state: &State, after: u64, limit: u32) -> Changes {
    let args = ChangesArgs {
        after,
        escrow: escrow(1),
        limit,
    };
    feed::changes_since(state, START, &args)
}

#[test]
fn each_subject_stands_in_the_feed_once_at_its_newest_change() {
    let (mut state, _) = registry();
    publish(&mut state, 1, "m");
    join(&mut state, 1, 1, vec![offer(version("m", 1))]);
    catalogue::list(&mut state, governor(), &newest("m")).expect("there");
    let changes = pull(&state, 0, 100);
    assert_eq!(
        changes
            .changes
            .iter()
            .map(|c| c.sequence)
            .collect::<Vec<_>>(),
        [2, 3]
    );
    assert!(matches!(&changes.changes[0].change, Some(Change::Node(n)) if n.id == node(1)));
    assert!(matches!(&changes.changes[1].change, Some(Change::Model(m)) if m.listed));
    assert_eq!((changes.sequence, changes.more), (3, false));
    assert!(pull(&state, 3, 100).changes.is_empty());
}

#[test]
fn pages_join_without_gap_or_repetition() {
    let (mut state, _) = registry();
    for n in 0..25 {
        join(&mut state, n, 1, vec![]);
    }
    let (mut after, mut seen) = (0, vec![]);
    loop {
        let page = pull(&state, after, 4);
        seen.extend(page.changes.iter().map(|change| change.sequence));
        after = *seen
            .last()
            .expect("a page that is not the last holds something");
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, (1..=25).collect::<Vec<u64>>());
}

#[test]
fn a_node_is_eligible_in_the_escrow_where_its_stake_suffices() {
    let (mut state, _) = registry();
    join(&mut state, 1, 1, vec![]);
    staked(&mut state, 1, 1, 1, 99);
    staked(&mut state, 1, 1, 2, 500);
    let view = |state: &State| match pull(state, 0, 10).changes.remove(0).change {
        Some(Change::Node(node)) => node,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (view(&state).stake, view(&state).eligible),
        (Tokens(99), false)
    );
    staked(&mut state, 1, 1, 1, 1);
    assert_eq!(
        (view(&state).stake, view(&state).eligible),
        (Tokens(100), true)
    );
    let draining = UpdateNode {
        draining: Some(true),
        ..UpdateNode::default()
    };
    register::update(&mut state, START, node(1), draining).expect("a good update");
    assert_eq!(view(&state).status, Some(NodeStatus::Draining));
}

#[test]
fn a_new_least_stake_announces_every_node_anew_in_bounded_steps() {
    let (mut state, _) = registry();
    for n in 0..250 {
        join(&mut state, n, 1, vec![]);
    }
    let upgrade = RegistryUpgrade {
        minimum_stake: Some(Tokens(7)),
        ..RegistryUpgrade::default()
    };
    lifecycle::change_settings(&mut state, START, me(), upgrade).expect("a good value");
    let announced = |state: &State| state.totals.get().sequence - 250;
    let mut steps = vec![];
    for _ in 0..4 {
        feed::go_on_announcing(&mut state);
        steps.push(announced(&state));
    }
    assert_eq!(steps, [200, 250, 250, 250]);
    assert_eq!(state.feed.len(), 250);
}
