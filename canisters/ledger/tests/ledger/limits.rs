//! Who calls too often is slowed, and nobody else is.

use crate::world::*;
use emc_ledger::{
    config::{InitArgs, UpgradeArgs},
    rate_limit::RateLimit,
    tokens::Tokens,
};
use icrc_ledger_types::{
    icrc1::transfer::TransferError,
    icrc2::{approve::ApproveError, transfer_from::TransferFromError},
};
use proptest::prelude::*;

fn limited() -> World {
    World::with(InitArgs {
        initial_balances: vec![
            (ALICE.account(), Tokens(1_000)),
            (BOB.account(), Tokens(500)),
        ],
        rate_limit: Some(RateLimit {
            burst: 2,
            per_minute: 60,
        }),
        exempt_principals: Some(vec![BOB.principal()]),
        ..settings()
    })
}

#[test]
fn a_flood_is_answered_temporarily_unavailable_and_served_again_later() {
    let mut world = limited();
    assert!(world.transfer(ALICE, send(BOB, 1u8)).is_ok());
    assert!(world.approve(ALICE, allow(BOB, 100u8)).is_ok());
    let unavailable = Err(TransferError::TemporarilyUnavailable);
    assert_eq!(world.transfer(ALICE, send(BOB, 1u8)), unavailable);
    assert_eq!(
        world.approve(ALICE, allow(BOB, 1u8)),
        Err(ApproveError::TemporarilyUnavailable)
    );
    assert_eq!(
        world.transfer_from(ALICE, spend(BOB, ALICE, 1u8)),
        Err(TransferFromError::TemporarilyUnavailable)
    );
    world.now += SECOND;
    assert!(world.transfer(ALICE, send(BOB, 1u8)).is_ok());
}

#[test]
fn calls_that_fail_count_too() {
    let mut world = limited();
    for _ in 0..2 {
        let answer = world.transfer(CAROL, send(BOB, 1u8));
        assert!(matches!(
            answer,
            Err(TransferError::InsufficientFunds { .. })
        ));
    }
    assert_eq!(
        world.transfer(CAROL, send(BOB, 1u8)),
        Err(TransferError::TemporarilyUnavailable)
    );
}

#[test]
fn the_exempt_and_the_minter_are_not_limited() {
    let mut world = limited();
    for _ in 0..10 {
        assert!(world.transfer(BOB, send(ALICE, 1u8)).is_ok());
        assert!(world.transfer(MINTER, send(ALICE, 1u8)).is_ok());
    }
    let nobody = UpgradeArgs {
        exempt_principals: Some(vec![]),
        ..UpgradeArgs::default()
    };
    world
        .ledger
        .reconfigure(nobody)
        .expect("the setting is good");
    let served = (0..10).filter(|_| world.transfer(BOB, send(ALICE, 1u8)).is_ok());
    assert_eq!(served.count(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_flood_makes_more_blocks_than_the_bucket_of_all_holds(
        calls in prop::collection::vec((1u8..4, 1u8..40, 0u64..3 * SECOND), 0..60)
    ) {
        let mut world = small();
        let before = world.ledger.log_length();
        for (caller, to, wait) in calls {
            world.now += wait;
            let _ = world.transfer(Caller(caller), send(CAROL.subaccount(to), 1u8));
            let _ = world.approve(Caller(caller), allow(BOB.subaccount(to), 1u8));
        }
        let made = world.ledger.log_length() - before;
        prop_assert!(made <= 4 + (world.now - START) / SECOND);
    }
}

/// A ledger of which all callers together get four blocks, and one more each second.
fn small() -> World {
    let emc = 100_000_000;
    World::with(InitArgs {
        initial_balances: vec![
            (ALICE.account(), Tokens(emc + 9)),
            (BOB.account(), Tokens(9)),
        ],
        transfer_fee: None,
        total_rate_limit: Some(RateLimit {
            burst: 4,
            per_minute: 60,
        }),
        ..settings()
    })
}

#[test]
fn blocks_of_all_callers_together_are_limited_and_the_last_half_is_for_holders() {
    let mut world = small();
    let unavailable = Err(TransferError::TemporarilyUnavailable);
    for _ in 0..3 {
        assert!(world.transfer(BOB, send(CAROL, 1u8)).is_ok());
    }
    assert_eq!(world.transfer(BOB, send(CAROL, 1u8)), unavailable);
    assert_eq!(
        world.approve(CAROL, allow(BOB, 1u8)),
        Err(ApproveError::TemporarilyUnavailable)
    );
    assert!(world.transfer(ALICE, send(CAROL, 1u8)).is_ok());
    assert_eq!(world.transfer(ALICE, send(CAROL, 1u8)), unavailable);
    assert!(world.transfer(MINTER, send(CAROL, 1u8)).is_ok());
    world.now += 2 * SECOND;
    assert!(world.transfer(BOB, send(CAROL, 1u8)).is_ok());
}

#[test]
fn calls_that_make_no_block_take_none_from_the_others() {
    let mut world = small();
    for _ in 0..100 {
        let answer = world.transfer(CAROL, send(BOB, 1u8));
        assert!(matches!(
            answer,
            Err(TransferError::InsufficientFunds { .. })
        ));
    }
    assert!(world.transfer(BOB, send(CAROL, 1u8)).is_ok());
}
