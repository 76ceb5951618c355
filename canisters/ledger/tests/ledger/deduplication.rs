//! Deduplication by `created_at_time`.

use crate::world::*;
use emc_ledger::dedup::{PERMITTED_DRIFT, WINDOW};
use icrc_ledger_types::{
    icrc1::{
        account::Account,
        transfer::{Memo, TransferArg, TransferError},
    },
    icrc2::approve::{ApproveArgs, ApproveError},
};

fn timed(created_at_time: u64) -> TransferArg {
    TransferArg {
        created_at_time: Some(created_at_time),
        ..send(BOB, 1u8)
    }
}

fn duplicate(of: u8) -> Result<u64, TransferError> {
    Err(TransferError::Duplicate {
        duplicate_of: of.into(),
    })
}

#[test]
fn without_a_time_nothing_is_a_duplicate() {
    let mut world = World::new();
    assert_eq!(world.transfer(ALICE, send(BOB, 1u8)), Ok(2));
    assert_eq!(world.transfer(ALICE, send(BOB, 1u8)), Ok(3));
}

#[test]
fn the_same_transfer_is_done_once_within_the_window() {
    let mut world = World::new();
    assert_eq!(world.transfer(ALICE, timed(START)), Ok(2));
    assert_eq!(world.transfer(ALICE, timed(START)), duplicate(2));
    world.now += WINDOW + PERMITTED_DRIFT;
    assert_eq!(world.transfer(ALICE, timed(START)), duplicate(2));
    world.now += 1;
    assert_eq!(
        world.transfer(ALICE, timed(START)),
        Err(TransferError::TooOld)
    );
}

#[test]
fn duplicates_are_told_before_missing_funds() {
    let mut world = World::new();
    let all = TransferArg {
        amount: 990u16.into(),
        ..timed(START)
    };
    assert_eq!(world.transfer(ALICE, all.clone()), Ok(2));
    assert_eq!(world.transfer(ALICE, all), duplicate(2));
}

#[test]
fn a_time_too_far_ahead_is_told() {
    let mut world = World::new();
    assert_eq!(world.transfer(ALICE, timed(START + PERMITTED_DRIFT)), Ok(2));
    for time in [START + PERMITTED_DRIFT + 1, u64::MAX] {
        let error = TransferError::CreatedInFuture { ledger_time: START };
        assert_eq!(world.transfer(ALICE, timed(time)), Err(error));
    }
}

#[test]
fn every_field_makes_a_different_transfer() {
    let mut world = World::new();
    let variations = [
        timed(START),
        timed(START + 1),
        TransferArg {
            amount: 2u8.into(),
            ..timed(START)
        },
        TransferArg {
            fee: Some(10u8.into()),
            ..timed(START)
        },
        TransferArg {
            memo: Some(Memo::from(vec![])),
            ..timed(START)
        },
        TransferArg {
            memo: Some(Memo::from(vec![0])),
            ..timed(START)
        },
        TransferArg {
            to: Account {
                owner: BOB.principal(),
                subaccount: Some([0; 32]),
            },
            ..timed(START)
        },
        TransferArg {
            from_subaccount: Some([0; 32]),
            ..timed(START)
        },
    ];
    for (index, arg) in variations.iter().enumerate() {
        assert_eq!(world.transfer(ALICE, arg.clone()), Ok(2 + index as u64));
    }
    for (index, arg) in variations.iter().enumerate() {
        assert_eq!(
            world.transfer(ALICE, arg.clone()),
            duplicate(2 + index as u8)
        );
    }
}

#[test]
fn approvals_and_transfers_by_a_spender_are_deduplicated_too() {
    let mut world = World::new();
    let approval = ApproveArgs {
        created_at_time: Some(START),
        ..allow(BOB, 500u16)
    };
    assert_eq!(world.approve(ALICE, approval.clone()), Ok(2));
    assert_eq!(
        world.approve(ALICE, approval),
        Err(ApproveError::Duplicate {
            duplicate_of: 2u8.into()
        })
    );
    let mut transfer = spend(ALICE, CAROL, 1u8);
    transfer.created_at_time = Some(START);
    assert_eq!(world.transfer_from(BOB, transfer.clone()), Ok(3));
    assert!(world.transfer_from(BOB, transfer).is_err());
    // The same movement by the owner himself is another transaction.
    let by_owner = TransferArg {
        to: CAROL.account(),
        ..timed(START)
    };
    assert_eq!(world.transfer(ALICE, by_owner), Ok(4));
}

#[test]
fn what_lies_within_the_window_is_not_forgotten() {
    let mut world = World::new();
    assert_eq!(world.transfer(ALICE, timed(START)), Ok(2));
    assert_eq!(world.transfer(ALICE, timed(START + SECOND)), Ok(3));
    world.now += WINDOW + PERMITTED_DRIFT + 1;
    world.upgrade();
    for _ in 0..5 {
        world
            .transfer(ALICE, send(BOB, 1u8))
            .expect("Alice has enough");
    }
    assert_eq!(
        world.transfer(ALICE, timed(START)),
        Err(TransferError::TooOld)
    );
    assert_eq!(world.transfer(ALICE, timed(START + SECOND)), duplicate(3));
}

#[test]
fn what_lies_before_the_window_is_forgotten_little_by_little() {
    let mut world = World::new();
    for n in 0..20 {
        world
            .transfer(ALICE, timed(START + n))
            .expect("Alice has enough");
    }
    let remembered = |world: &World| {
        let text = emc_ledger::metrics::encode(&world.ledger, Default::default(), world.now);
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("ledger_recent_transactions "))
            .expect("it is a metric")
            .to_string();
        line.split(' ')
            .next()
            .map(str::to_string)
            .expect("a number")
    };
    assert_eq!(remembered(&world), "20");
    world.now += WINDOW + PERMITTED_DRIFT + 100;
    world.upgrade();
    for expected in (0..20).step_by(2).rev() {
        world
            .transfer(BOB, send(ALICE, 1u8))
            .expect("Bob has enough");
        assert_eq!(remembered(&world), expected.to_string());
    }
}
