//! Approvals, and transfers by a spender.

use crate::world::*;
use candid::Nat;
use emc_ledger::{allowance::Allowance, config::InitArgs, tokens::Tokens};
use icrc_ledger_types::icrc2::{
    approve::{ApproveArgs, ApproveError},
    transfer_from::{TransferFromArgs, TransferFromError},
};

fn until(end: u64) -> ApproveArgs {
    ApproveArgs {
        expires_at: Some(end),
        ..allow(BOB, 100u8)
    }
}

fn insufficient_allowance(allowance: u32) -> Result<u64, TransferFromError> {
    Err(TransferFromError::InsufficientAllowance {
        allowance: allowance.into(),
    })
}

#[test]
fn a_spender_spends_amount_and_fee_from_the_allowance() {
    let mut world = World::new();
    assert_eq!(world.approve(ALICE, allow(BOB, 100u8)), Ok(2));
    assert_eq!(world.balance(ALICE), 990);
    assert_eq!(world.transfer_from(BOB, spend(ALICE, CAROL, 60u8)), Ok(3));
    assert_eq!(world.balance(ALICE), 920);
    assert_eq!(world.balance(CAROL), 60);
    assert_eq!(
        world.allowance(ALICE.account(), BOB.account()).amount,
        Tokens(30)
    );
    assert_eq!(
        world.transfer_from(BOB, spend(ALICE, CAROL, 21u8)),
        insufficient_allowance(30)
    );
    assert_eq!(world.transfer_from(BOB, spend(ALICE, CAROL, 20u8)), Ok(4));
    assert_eq!(
        world.transfer_from(BOB, spend(ALICE, CAROL, 0u8)),
        insufficient_allowance(0)
    );
}

#[test]
fn an_approval_replaces_the_one_before() {
    let mut world = World::new();
    world
        .approve(ALICE, allow(BOB, 100u8))
        .expect("Alice pays the fee");
    world
        .approve(ALICE, allow(BOB, 7u8))
        .expect("Alice pays the fee");
    assert_eq!(
        world.allowance(ALICE.account(), BOB.account()).amount,
        Tokens(7)
    );
    world
        .approve(ALICE, allow(BOB, 0u8))
        .expect("Alice pays the fee");
    assert_eq!(
        world.allowance(ALICE.account(), BOB.account()),
        Allowance::default()
    );
}

#[test]
fn spenders_with_different_subaccounts_have_different_allowances() {
    let mut world = World::new();
    world
        .approve(ALICE, allow(BOB.subaccount(1), 100u8))
        .expect("Alice pays the fee");
    assert_eq!(
        world.transfer_from(BOB, spend(ALICE, CAROL, 1u8)),
        insufficient_allowance(0)
    );
    let arg = TransferFromArgs {
        spender_subaccount: Some([1; 32]),
        ..spend(ALICE, CAROL, 1u8)
    };
    assert!(world.transfer_from(BOB, arg).is_ok());
}

#[test]
fn an_allowance_is_over_at_its_end_for_everybody() {
    let mut world = World::new();
    let end = START + HOUR;
    world.approve(ALICE, until(end)).expect("the end is ahead");
    world.now = end - 1;
    assert_eq!(
        world.allowance(ALICE.account(), BOB.account()).expires_at,
        Some(end)
    );
    assert!(world.transfer_from(BOB, spend(ALICE, CAROL, 1u8)).is_ok());
    world.now = end;
    assert_eq!(
        world.allowance(ALICE.account(), BOB.account()),
        Allowance::default()
    );
    assert_eq!(
        world.transfer_from(BOB, spend(ALICE, CAROL, 1u8)),
        insufficient_allowance(0)
    );
    assert_eq!(
        world.approve(ALICE, until(end)),
        Err(ApproveError::Expired { ledger_time: end })
    );
    let expecting_nothing = ApproveArgs {
        expected_allowance: Some(0u8.into()),
        ..allow(BOB, 5u8)
    };
    assert!(world.approve(ALICE, expecting_nothing).is_ok());
}

#[test]
fn a_prolonged_allowance_outlives_its_first_end() {
    let mut world = World::new();
    world
        .approve(ALICE, until(START + HOUR))
        .expect("the end is ahead");
    world
        .approve(ALICE, until(START + 3 * HOUR))
        .expect("the end is ahead");
    world.now += 2 * HOUR;
    // These calls clear up what is over.
    world
        .transfer(ALICE, send(BOB, 1u8))
        .expect("Alice has enough");
    world
        .transfer(ALICE, send(BOB, 1u8))
        .expect("Alice has enough");
    assert_eq!(
        world.allowance(ALICE.account(), BOB.account()).amount,
        Tokens(100)
    );
    world
        .approve(ALICE, allow(BOB, 100u8))
        .expect("Alice pays the fee");
    world.now += 10 * HOUR;
    world
        .transfer(ALICE, send(BOB, 1u8))
        .expect("Alice has enough");
    assert_eq!(
        world.allowance(ALICE.account(), BOB.account()).expires_at,
        None
    );
    assert!(world.transfer_from(BOB, spend(ALICE, CAROL, 1u8)).is_ok());
}

#[test]
fn an_unexpected_allowance_changes_nothing() {
    let mut world = World::new();
    world
        .approve(ALICE, allow(BOB, 100u8))
        .expect("Alice pays the fee");
    for expected in [Nat::from(99u8), beyond_u128()] {
        let arg = ApproveArgs {
            expected_allowance: Some(expected),
            ..allow(BOB, 5u8)
        };
        let error = ApproveError::AllowanceChanged {
            current_allowance: 100u8.into(),
        };
        assert_eq!(world.approve(ALICE, arg), Err(error));
    }
    assert_eq!(world.balance(ALICE), 990);
    let arg = ApproveArgs {
        expected_allowance: Some(100u8.into()),
        ..allow(BOB, 5u8)
    };
    assert!(world.approve(ALICE, arg).is_ok());
}

#[test]
fn an_amount_beyond_128_bits_is_taken_as_the_largest() {
    let mut world = World::new();
    world
        .approve(ALICE, allow(BOB, beyond_u128()))
        .expect("Alice pays the fee");
    assert_eq!(
        world.allowance(ALICE.account(), BOB.account()).amount,
        Tokens::MAX
    );
    let amount = beyond_u128();
    assert!(matches!(
        world.transfer_from(BOB, spend(ALICE, CAROL, amount)),
        Err(TransferFromError::InsufficientAllowance { .. })
    ));
    let balance = 990u16.into();
    assert_eq!(
        world.transfer_from(BOB, spend(ALICE, CAROL, 981u16)),
        Err(TransferFromError::InsufficientFunds { balance })
    );
}

#[test]
fn who_cannot_pay_the_fee_cannot_approve() {
    let mut world = World::new();
    let error = ApproveError::InsufficientFunds {
        balance: 0u8.into(),
    };
    assert_eq!(world.approve(CAROL, allow(BOB, 5u8)), Err(error));
    let error = ApproveError::BadFee {
        expected_fee: 10u8.into(),
    };
    let arg = ApproveArgs {
        fee: Some(0u8.into()),
        ..allow(BOB, 5u8)
    };
    assert_eq!(world.approve(CAROL, arg), Err(error));
}

#[test]
fn a_spender_burns_what_he_may() {
    let mut world = World::new();
    world
        .approve(ALICE, allow(BOB, 100u8))
        .expect("Alice pays the fee");
    assert_eq!(
        world.transfer_from(BOB, spend(ALICE, MINTER, 101u8)),
        insufficient_allowance(100)
    );
    assert_eq!(world.transfer_from(BOB, spend(ALICE, MINTER, 100u8)), Ok(3));
    assert_eq!(world.balance(ALICE), 890);
    assert_eq!(world.ledger.supply(), Tokens(1_390));
}

#[test]
fn an_owner_spends_his_own_account_without_an_allowance() {
    let mut world = World::new();
    assert_eq!(world.transfer_from(ALICE, spend(ALICE, CAROL, 5u8)), Ok(2));
    assert_eq!(world.balance(CAROL), 5);
}

#[test]
fn what_the_standards_leave_open_is_answered_with_a_code() {
    let mut world = World::new();
    let code = |error| match error {
        ApproveError::GenericError { error_code, .. } => error_code,
        other => panic!("expected GenericError, got {other:?}"),
    };
    let to_self = world.approve(ALICE, allow(ALICE.subaccount(1), 5u8));
    assert_eq!(code(to_self.expect_err("nobody needs that")), 6u8);
    let by_minter = world.approve(MINTER, allow(BOB, 5u8));
    assert_eq!(code(by_minter.expect_err("minting is not delegated")), 5u8);
    let mint = world.transfer_from(BOB, spend(MINTER, BOB, 5u8));
    let Err(TransferFromError::GenericError { error_code, .. }) = mint else {
        panic!("expected GenericError, got {mint:?}");
    };
    assert_eq!(error_code, 4u8);
}

#[test]
fn approvals_without_a_fee_need_no_funds() {
    let mut world = World::with(InitArgs {
        transfer_fee: None,
        ..settings()
    });
    assert_eq!(world.approve(CAROL, allow(BOB, 5u8)), Ok(0));
    assert_eq!(
        world.allowance(CAROL.account(), BOB.account()).amount,
        Tokens(5)
    );
}
