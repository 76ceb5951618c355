//! Transfers, mints and burns.

use crate::world::*;
use candid::Nat;
use emc_ledger::{config::InitArgs, tokens::Tokens};
use icrc_ledger_types::icrc1::{
    account::Account,
    transfer::{Memo, TransferArg, TransferError},
};

fn error_code(error: TransferError) -> Nat {
    match error {
        TransferError::GenericError { error_code, .. } => error_code,
        other => panic!("expected GenericError, got {other:?}"),
    }
}

#[test]
fn a_transfer_moves_the_amount_and_burns_the_fee() {
    let mut world = World::new();
    assert_eq!(world.transfer(ALICE, send(BOB, 100u8)), Ok(2));
    assert_eq!(world.balance(ALICE), 890);
    assert_eq!(world.balance(BOB), 600);
    assert_eq!(world.ledger.supply(), Tokens(1_490));
}

#[test]
fn no_fee_is_taken_by_default() {
    let mut world = World::with(InitArgs {
        initial_balances: vec![(ALICE.account(), Tokens(7))],
        transfer_fee: None,
        ..settings()
    });
    assert_eq!(world.transfer(ALICE, send(BOB, 7u8)), Ok(1));
    assert_eq!((world.balance(ALICE), world.balance(BOB)), (0, 7));
    assert_eq!(world.ledger.supply(), Tokens(7));
}

#[test]
fn a_transfer_to_oneself_costs_the_fee_only() {
    let mut world = World::new();
    assert_eq!(world.transfer(ALICE, send(ALICE, 990u16)), Ok(2));
    assert_eq!(world.balance(ALICE), 990);
    let arg = send(ALICE, 981u16);
    let error = TransferError::InsufficientFunds {
        balance: 990u16.into(),
    };
    assert_eq!(world.transfer(ALICE, arg), Err(error));
}

#[test]
fn an_absent_subaccount_is_the_one_of_zeros() {
    let mut world = World::new();
    let zeros = Account {
        owner: BOB.principal(),
        subaccount: Some([0; 32]),
    };
    world
        .transfer(ALICE, send(zeros, 5u8))
        .expect("Alice has enough");
    assert_eq!(world.balance(BOB), 505);
    assert_eq!(world.balance(zeros), 505);
    assert_eq!(world.balance(BOB.subaccount(1)), 0);
}

#[test]
fn a_wrong_fee_is_told_before_missing_funds_and_before_a_duplicate() {
    let mut world = World::new();
    let arg = TransferArg {
        created_at_time: Some(START),
        fee: Some(10u8.into()),
        ..send(BOB, 100u8)
    };
    world
        .transfer(ALICE, arg.clone())
        .expect("Alice has enough");
    let bad_fee = TransferError::BadFee {
        expected_fee: 10u8.into(),
    };
    for fee in [Nat::from(9u8), Nat::from(11u8), beyond_u128()] {
        let arg = TransferArg {
            fee: Some(fee),
            ..arg.clone()
        };
        assert_eq!(world.transfer(ALICE, arg.clone()), Err(bad_fee.clone()));
        let poor = TransferArg {
            amount: beyond_u128(),
            ..arg
        };
        assert_eq!(world.transfer(CAROL, poor), Err(bad_fee.clone()));
    }
}

#[test]
fn what_is_not_there_cannot_be_spent() {
    let mut world = World::new();
    let insufficient = |balance: u16| {
        Err(TransferError::InsufficientFunds {
            balance: balance.into(),
        })
    };
    assert_eq!(
        world.transfer(ALICE, send(BOB, 991u16)),
        insufficient(1_000)
    );
    for amount in [Nat::from(u128::MAX), beyond_u128()] {
        assert_eq!(
            world.transfer(ALICE, send(BOB, amount)),
            insufficient(1_000)
        );
    }
    assert_eq!(world.transfer(CAROL, send(BOB, 0u8)), insufficient(0));
    assert_eq!(world.transfer(ALICE, send(BOB, 990u16)), Ok(2));
    assert_eq!(world.balance(ALICE), 0);
}

#[test]
fn the_minting_account_mints_without_a_fee() {
    let mut world = World::new();
    assert_eq!(world.transfer(MINTER, send(CAROL, 50u8)), Ok(2));
    assert_eq!(world.balance(CAROL), 50);
    assert_eq!(world.ledger.supply(), Tokens(1_550));
    let with_fee = TransferArg {
        fee: Some(10u8.into()),
        ..send(CAROL, 50u8)
    };
    let error = TransferError::BadFee {
        expected_fee: 0u8.into(),
    };
    assert_eq!(world.transfer(MINTER, with_fee), Err(error));
}

#[test]
fn another_subaccount_of_the_minter_is_an_ordinary_account() {
    let mut world = World::new();
    world
        .transfer(ALICE, send(MINTER.subaccount(1), 100u8))
        .expect("Alice has enough");
    assert_eq!(world.balance(MINTER.subaccount(1)), 100);
    assert_eq!(world.ledger.supply(), Tokens(1_490));
}

#[test]
fn a_transfer_to_the_minting_account_burns_without_a_fee() {
    let mut world = World::new();
    assert_eq!(world.transfer(ALICE, send(MINTER, 400u16)), Ok(2));
    assert_eq!(world.balance(ALICE), 600);
    assert_eq!(world.balance(MINTER), 0);
    assert_eq!(world.ledger.supply(), Tokens(1_100));
}

#[test]
fn a_burn_is_worth_a_fee_or_all_that_is_left() {
    let mut world = World::new();
    let bad_burn = |least: u8| {
        Err(TransferError::BadBurn {
            min_burn_amount: least.into(),
        })
    };
    assert_eq!(world.transfer(ALICE, send(MINTER, 9u8)), bad_burn(10));
    assert_eq!(world.transfer(ALICE, send(MINTER, 995u16)), Ok(2));
    assert_eq!(world.transfer(ALICE, send(MINTER, 4u8)), bad_burn(5));
    assert_eq!(world.transfer(ALICE, send(MINTER, 5u8)), Ok(3));
    assert_eq!(world.transfer(ALICE, send(MINTER, 0u8)), bad_burn(1));
}

#[test]
fn minting_to_the_minting_account_is_refused() {
    let mut world = World::new();
    let error = TransferError::InsufficientFunds {
        balance: 0u8.into(),
    };
    assert_eq!(world.transfer(MINTER, send(MINTER, 5u8)), Err(error));
}

#[test]
fn minting_never_passes_the_cap_and_what_was_burned_can_be_minted_again() {
    let mut world = World::with(InitArgs {
        initial_balances: vec![(ALICE.account(), Tokens(900))],
        max_supply: Some(Tokens(1_000)),
        ..settings()
    });
    for amount in [Nat::from(101u8), Nat::from(u128::MAX), beyond_u128()] {
        let error = world
            .transfer(MINTER, send(BOB, amount))
            .expect_err("past the cap");
        assert!(error.to_string().contains("at most 100 "), "{error}");
        assert_eq!(error_code(error), 3u8);
    }
    assert_eq!(world.transfer(MINTER, send(BOB, 100u8)), Ok(1));
    assert!(world.transfer(MINTER, send(BOB, 1u8)).is_err());
    assert_eq!(world.transfer(ALICE, send(MINTER, 30u8)), Ok(2));
    assert_eq!(world.transfer(MINTER, send(BOB, 30u8)), Ok(3));
    assert_eq!(world.ledger.supply(), Tokens(1_000));
}

#[test]
fn a_memo_of_32_bytes_is_taken_and_one_past_the_limit_is_answered() {
    let mut world = World::new();
    let with_memo = |length: usize| TransferArg {
        memo: Some(Memo::from(vec![1; length])),
        ..send(BOB, 1u8)
    };
    assert!(world.transfer(ALICE, with_memo(32)).is_ok());
    assert!(world.transfer(ALICE, with_memo(64)).is_ok());
    let error = world
        .transfer(ALICE, with_memo(65))
        .expect_err("one too long");
    assert_eq!(error_code(error), 2u8);
}

#[test]
fn the_anonymous_caller_is_answered() {
    let mut world = World::new();
    let anonymous = candid::Principal::anonymous();
    world
        .transfer(ALICE, send(anonymous, 100u8))
        .expect("Alice has enough");
    let error = emc_ledger::transfer::transfer(&mut world.ledger, anonymous, send(BOB, 1u8), START)
        .expect_err("anyone is anonymous");
    assert_eq!(error_code(error), 1u8);
}
