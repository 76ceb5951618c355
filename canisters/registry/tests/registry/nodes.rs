//! Registration, changes, heartbeats, and how nodes are listed.

use crate::world::*;
use emc_protocol::NodeStatus;
use emc_protocol::node::{NodeFilter, UpdateNode};
use emc_registry::{heartbeat, listing, register};

#[test]
fn a_node_can_only_register_itself() {
    let (mut state, _) = registry();
    let args = registration(1, owner(1), vec![]);
    assert_eq!(
        code(register::register(&mut state, START, node(2), args.clone())),
        "forbidden"
    );
    register::register(&mut state, START, node(1), args).expect("the key's own principal");
    let node = listing::node(&state, node(1)).expect("it is registered");
    assert_eq!((node.owner, node.public_key), (owner(1), key(1).to_vec()));
}

#[test]
fn registering_again_changes_nothing() {
    let (mut state, _) = registry();
    join(&mut state, 1, 1, vec![]);
    let before = state.totals.get().clone();
    let again = registration(1, owner(2), vec![]);
    register::register(&mut state, START + 5, node(1), again).expect("harmless");
    assert_eq!(state.totals.get(), &before);
    assert_eq!(
        listing::node(&state, node(1)).expect("it is there").owner,
        owner(1)
    );
}

#[test]
fn an_offer_names_a_version_in_the_catalogue_and_each_once() {
    let (mut state, _) = registry();
    publish(&mut state, 1, "m");
    let mut try_offers = |offers| {
        let args = registration(1, owner(1), offers);
        register::register(&mut state, START, node(1), args)
    };
    assert_eq!(code(try_offers(vec![offer(newest("m"))])), "invalid");
    assert_eq!(
        code(try_offers(vec![offer(version("m", 2))])),
        "unknown_model"
    );
    assert_eq!(code(try_offers(vec![offer(version("m", 1)); 2])), "invalid");
    assert_eq!(code(try_offers(vec![offer(version("m", 1)); 65])), "limit");
    try_offers(vec![offer(version("m", 1))]).expect("a good offer");
}

#[test]
fn an_update_changes_what_is_given_and_keeps_the_rest() {
    let (mut state, _) = registry();
    publish(&mut state, 1, "m");
    join(&mut state, 1, 1, vec![offer(version("m", 1))]);
    let sequence = state.totals.get().sequence;
    register::update(&mut state, START, node(1), UpdateNode::default()).expect("nothing to do");
    assert_eq!(
        state.totals.get().sequence,
        sequence,
        "what changes nothing is no news"
    );
    let draining = UpdateNode {
        draining: Some(true),
        ..UpdateNode::default()
    };
    register::update(&mut state, START, node(1), draining).expect("a good update");
    let view = listing::node(&state, node(1)).expect("it is there");
    assert_eq!(view.status, Some(NodeStatus::Draining));
    assert_eq!(view.offers.len(), 1);
    assert_eq!(
        code(register::update(
            &mut state,
            START,
            node(2),
            UpdateNode::default()
        )),
        "not_registered"
    );
}

#[test]
fn a_heartbeat_is_noted_once_in_a_few_minutes() {
    let (mut state, _) = registry();
    join(&mut state, 1, 1, vec![]);
    let sequence = state.totals.get().sequence;
    let soon = START + heartbeat::STEP - 1;
    heartbeat::heartbeat(&mut state, soon, node(1)).expect("registered");
    assert_eq!(state.totals.get().sequence, sequence);
    let later = START + heartbeat::STEP;
    heartbeat::heartbeat(&mut state, later, node(1)).expect("registered");
    assert_eq!(state.totals.get().sequence, sequence + 1);
    assert_eq!(
        listing::node(&state, node(1))
            .expect("it is there")
            .last_seen
            .0,
        later
    );
    assert_eq!(
        code(heartbeat::heartbeat(&mut state, later, node(2))),
        "not_registered"
    );
}

#[test]
fn a_node_that_takes_out_all_its_stake_has_exited_until_it_stakes_again() {
    let (mut state, _) = registry();
    join(&mut state, 1, 1, vec![]);
    staked(&mut state, 1, 1, 1, 50);
    unstaked(&mut state, START, 1, 1, 1, 50);
    let status = |state: &_| listing::node(state, node(1)).expect("it is there").status;
    assert_eq!(status(&state), Some(NodeStatus::Exited));
    staked(&mut state, 1, 1, 1, 50);
    assert_eq!(status(&state), Some(NodeStatus::Active));
}

#[test]
fn every_way_of_listing_finds_its_nodes_page_by_page() {
    let (mut state, _) = registry();
    publish(&mut state, 1, "m");
    publish(&mut state, 1, "n");
    for n in 0..30 {
        let serves = if n % 2 == 0 { "m" } else { "n" };
        join(&mut state, n, n % 3, vec![offer(version(serves, 1))]);
    }
    let all = |filter: NodeFilter| {
        let mut filter = NodeFilter {
            limit: Some(4),
            ..filter
        };
        let mut found = vec![];
        loop {
            let page = listing::nodes(&state, &filter);
            assert!(page.nodes.len() <= 4);
            found.extend(page.nodes);
            if !page.more {
                return found;
            }
            filter.after = page.next;
        }
    };
    let everyone = all(NodeFilter::default());
    assert_eq!(everyone.len(), 30);
    assert!(everyone.is_sorted_by_key(|node| node.id));
    let of_owner = NodeFilter {
        owner: Some(owner(1)),
        ..NodeFilter::default()
    };
    assert_eq!(all(of_owner.clone()).len(), 10);
    let of_model = NodeFilter {
        model: Some(newest("m")),
        ..NodeFilter::default()
    };
    assert_eq!(all(of_model).len(), 15);
    let both = NodeFilter {
        model: Some(version("m", 1)),
        ..of_owner
    };
    let both = all(both);
    assert_eq!(both.len(), 5);
    assert!(
        both.iter()
            .all(|node| node.owner == owner(1) && node.offers[0].model.id == "m")
    );
}
