//! Random steps for a ledger: calls at the edges of what is allowed, repeats, waits and upgrades.

use crate::world::*;
use candid::Principal;
use icrc_ledger_types::icrc1::account::Account;
use proptest::prelude::*;

const DAY: u64 = 24 * HOUR;
const DRIFT: u64 = 120 * SECOND;

/// A number whose meaning depends on the ledger's state at the time of the call.
#[derive(Clone, Copy, Debug)]
pub enum Amount {
    Exactly(u128),
    /// All that the paying account can pay, and so much more or less.
    All(i8),
    BeyondU128,
}

#[derive(Clone, Copy, Debug)]
pub enum Fee {
    Unnamed,
    Right,
    Zero,
    Wrong,
    BeyondU128,
}

/// A time relative to the ledger's clock.
#[derive(Clone, Copy, Debug)]
pub enum When {
    Never,
    Ago(u64),
    Ahead(u64),
    EndOfTime,
}

#[derive(Clone, Copy, Debug)]
pub enum Expected {
    Nothing,
    Current,
    Other(u8),
    BeyondU128,
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Transfer,
    TransferFrom,
    Approve,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub kind: Kind,
    pub caller: u8,
    pub accounts: [(u8, u8); 2],
    pub own_subaccount: u8,
    pub amount: Amount,
    pub fee: Fee,
    pub memo: Option<usize>,
    pub created: When,
    pub expires: When,
    pub expected: Expected,
}

#[derive(Clone, Debug)]
pub enum Step {
    Call(Call),
    /// The same call as some steps before, to the byte.
    Repeat(usize),
    Wait(u64),
    Upgrade,
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![
        8 => (0u128..200).prop_map(Amount::Exactly),
        3 => (-2i8..=2).prop_map(Amount::All),
        1 => prop_oneof![Just(u128::MAX), Just(u128::from(u64::MAX))].prop_map(Amount::Exactly),
        1 => Just(Amount::BeyondU128),
    ]
}

fn fee() -> impl Strategy<Value = Fee> {
    prop_oneof![
        12 => Just(Fee::Unnamed),
        8 => Just(Fee::Right),
        1 => Just(Fee::Zero),
        1 => Just(Fee::Wrong),
        1 => Just(Fee::BeyondU128),
    ]
}

fn created() -> impl Strategy<Value = When> {
    prop_oneof![
        4 => Just(When::Never),
        6 => (0u64..3).prop_map(When::Ago),
        1 => (0u64..3).prop_map(|n| When::Ago(DAY + DRIFT - 1 + n)),
        1 => (0u64..3).prop_map(|n| When::Ahead(DRIFT - 1 + n)),
        1 => Just(When::EndOfTime),
    ]
}

fn expires() -> impl Strategy<Value = When> {
    prop_oneof![
        3 => Just(When::Never),
        2 => (0u64..3).prop_map(When::Ahead),
        2 => (0u64..90 * SECOND).prop_map(When::Ahead),
        1 => Just(When::Ago(1)),
        1 => Just(When::EndOfTime),
    ]
}

fn expected() -> impl Strategy<Value = Expected> {
    prop_oneof![
        4 => Just(Expected::Nothing),
        2 => Just(Expected::Current),
        1 => any::<u8>().prop_map(Expected::Other),
        1 => Just(Expected::BeyondU128),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let kind = prop_oneof![
        Just(Kind::Transfer),
        Just(Kind::TransferFrom),
        Just(Kind::Approve)
    ];
    // Few callers and accounts, so that they meet: 0 mints, 4 is anonymous.
    let caller = prop_oneof![1 => Just(0u8), 8 => 1u8..4, 1 => Just(4u8)];
    let account = || {
        (
            prop_oneof![1 => Just(0u8), 8 => 1u8..4, 1 => Just(4u8)],
            0u8..3,
        )
    };
    let memo = prop::option::of(prop_oneof![4 => 0usize..2, 1 => 63usize..66]);
    (
        (kind, caller, [account(), account()], 0u8..3),
        (amount(), fee(), memo, created(), expires(), expected()),
    )
        .prop_map(
            |(
                (kind, caller, accounts, own_subaccount),
                (amount, fee, memo, created, expires, expected),
            )| Call {
                kind,
                caller,
                accounts,
                own_subaccount,
                amount,
                fee,
                memo,
                created,
                expires,
                expected,
            },
        )
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => call().prop_map(Step::Call),
        5 => (0usize..6).prop_map(Step::Repeat),
        1 => prop_oneof![Just(1), Just(SECOND), Just(60 * SECOND), Just(12 * HOUR), Just(25 * HOUR)].prop_map(Step::Wait),
        1 => Just(Step::Upgrade),
    ]
}

pub fn owner(number: u8) -> Principal {
    if number == 4 {
        Principal::anonymous()
    } else {
        Caller(number).principal()
    }
}

pub fn subaccount(number: u8) -> Option<[u8; 32]> {
    [None, Some([0; 32]), Some([1; 32])][usize::from(number)]
}

pub fn account((number, sub): (u8, u8)) -> Account {
    Account {
        owner: owner(number),
        subaccount: subaccount(sub),
    }
}
