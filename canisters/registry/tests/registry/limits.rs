//! Who is let in.

use crate::world::*;
use candid::Principal;
use emc_registry::guard::{admit, check};

#[test]
fn anonymous_callers_are_refused() {
    let (mut state, _) = registry();
    let refused = admit(&mut state, Principal::anonymous(), "register_node", START);
    assert_eq!(code(refused), "anonymous");
}

#[test]
fn strangers_may_only_make_themselves_known_and_share_one_bucket() {
    let (mut state, _) = registry();
    assert_eq!(
        code(admit(&mut state, principal(1), "heartbeat", START)),
        "not_registered"
    );
    assert_eq!(
        code(admit(&mut state, principal(1), "list_model", START)),
        "not_registered"
    );
    let mut let_in = 0;
    while admit(&mut state, principal(1), "register_node", START).is_ok() {
        let_in += 1;
    }
    assert_eq!(let_in, 100);
    assert_eq!(
        code(check(&state, principal(200), "publish_model", START)),
        "busy"
    );
    assert!(check(&state, principal(200), "publish_model", START + 10 * SECOND).is_ok());
}

#[test]
fn those_who_are_known_have_buckets_of_their_own() {
    let (mut state, _) = registry();
    join(&mut state, 1, 1, vec![]);
    join(&mut state, 2, 2, vec![]);
    while admit(&mut state, principal(1), "register_node", START).is_ok() {}
    for _ in 0..60 {
        admit(&mut state, node(1), "heartbeat", START).expect("strangers do not take from it");
    }
    assert_eq!(code(admit(&mut state, node(1), "heartbeat", START)), "busy");
    assert!(admit(&mut state, node(2), "heartbeat", START).is_ok());
    assert!(admit(&mut state, owner(1), "stake", START).is_ok());
    for _ in 0..1_000 {
        admit(&mut state, governor(), "list_model", START).expect("the governor is not limited");
    }
}

#[test]
fn publications_share_a_bucket_so_that_new_identities_do_not_fill_the_catalogue() {
    let (mut state, _) = registry();
    for n in 0..=200 {
        join(&mut state, n, n % 50, vec![]);
    }
    let let_in = (0..=200).filter(|n| admit(&mut state, node(*n), "publish_model", START).is_ok());
    assert_eq!(let_in.count(), 100);
    assert!(admit(&mut state, node(1), "heartbeat", START).is_ok());
    assert!(admit(&mut state, governor(), "publish_model", START).is_ok());
}
