//! Books kept from blocks that were written by hand: right ones are entered, each kind of wrong one is found.

use super::*;
use candid::{Nat, Principal};
use serde_bytes::ByteBuf;

const ALICE: u8 = 1;
const BOB: u8 = 2;
const CAROL: u8 = 3;

fn who(number: u8) -> Account {
    Principal::from_slice(&[number; 29]).into()
}

fn nat(number: u64) -> ICRC3Value {
    ICRC3Value::Nat(Nat::from(number))
}

fn party(number: u8) -> ICRC3Value {
    let owner = ByteBuf::from(who(number).owner.as_slice());
    ICRC3Value::Array(vec![ICRC3Value::Blob(owner)])
}

fn fields(fields: &[(&str, ICRC3Value)]) -> ICRC3Value {
    let entries = fields
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()));
    ICRC3Value::Map(entries.collect())
}

/// A block at a time, with the fields of its `tx`.
fn block(ts: u64, op: &str, tx: &[(&str, ICRC3Value)]) -> ICRC3Value {
    let op = ("op", ICRC3Value::Text(op.to_owned()));
    let tx = fields(&[&[op], tx].concat());
    fields(&[("ts", nat(ts)), ("tx", tx)])
}

fn mint(ts: u64, to: u8, amount: u64) -> ICRC3Value {
    block(ts, "mint", &[("to", party(to)), ("amt", nat(amount))])
}

fn transfer(ts: u64, from: u8, to: u8, amount: u64, fee: u64) -> ICRC3Value {
    let tx = [
        ("from", party(from)),
        ("to", party(to)),
        ("amt", nat(amount)),
        ("fee", nat(fee)),
    ];
    block(ts, "xfer", &tx)
}

fn approve(ts: u64, from: u8, spender: u8, amount: u64, more: &[(&str, ICRC3Value)]) -> ICRC3Value {
    let tx = [
        ("from", party(from)),
        ("spender", party(spender)),
        ("amt", nat(amount)),
    ];
    block(ts, "approve", &[&tx, more].concat())
}

fn take(ts: u64, spender: u8, from: u8, amount: u64) -> ICRC3Value {
    let tx = [
        ("from", party(from)),
        ("to", party(spender)),
        ("spender", party(spender)),
        ("amt", nat(amount)),
    ];
    block(ts, "xfer", &tx)
}

fn keep(blocks: &[ICRC3Value]) -> Result<Books, String> {
    let mut books = Books::default();
    for block in blocks {
        books.record(&Entry::of(block)?)?;
    }
    Ok(books)
}

fn found(blocks: &[ICRC3Value]) -> String {
    keep(blocks).expect_err("this must be found")
}

#[test]
fn balances_allowances_and_supply_follow_from_the_blocks() {
    let burn = [("from", party(BOB)), ("amt", nat(30))];
    let until = [("expires_at", nat(100)), ("fee", nat(2))];
    let books = keep(&[
        mint(1, ALICE, 1_000),
        transfer(2, ALICE, BOB, 100, 10),
        block(3, "burn", &burn),
        approve(4, ALICE, BOB, 50, &until),
        take(5, BOB, ALICE, 20),
        approve(6, ALICE, CAROL, 7, &[("expected_allowance", nat(0))]),
        approve(7, ALICE, CAROL, 0, &[("expected_allowance", nat(7))]),
    ]);
    let books = books.expect("these blocks are right");
    assert_eq!(books.balance(&who(ALICE)), Tokens(1_000 - 110 - 2 - 20));
    assert_eq!(books.balance(&who(BOB)), Tokens(100 - 30 + 20));
    assert_eq!(books.supply(), Tokens(1_000 - 10 - 30 - 2));
    let sum: u128 = books.balances().map(|(_, balance)| balance.0).sum();
    assert_eq!(Tokens(sum), books.supply());
    let left = Allowed {
        amount: Tokens(30),
        until: Some(100),
    };
    assert_eq!(books.allowance(&who(ALICE), &who(BOB), 99), left);
    assert_eq!(
        books.allowance(&who(ALICE), &who(BOB), 100).amount,
        Tokens(0)
    );
    assert_eq!(books.allowances().count(), 1, "Carol's was taken back");
}

#[test]
fn what_cannot_be_is_found() {
    let rich = mint(1, ALICE, 1_000);
    let allowed = approve(2, ALICE, BOB, 50, &[("expires_at", nat(10))]);
    for (wrong, why) in [
        (transfer(2, ALICE, BOB, 1_000, 1), "which has"),
        (transfer(0, ALICE, BOB, 1, 0), "older"),
        (take(2, BOB, ALICE, 1), "may take"),
        (
            approve(2, ALICE, BOB, 1, &[("expected_allowance", nat(1))]),
            "expects",
        ),
        (approve(2, ALICE, BOB, 1, &[("expires_at", nat(2))]), "over"),
        (approve(2, CAROL, BOB, 1, &[("fee", nat(1))]), "which has"),
        (block(2, "mint", &[("amt", nat(1))]), "to whom"),
        (block(2, "burn", &[("amt", nat(1))]), "from whom"),
        (block(2, "gift", &[("amt", nat(1))]), "no operation"),
        (block(2, "mint", &[("to", party(BOB))]), "no amount"),
        (
            block(
                2,
                "mint",
                &[("to", party(BOB)), ("amt", nat(1)), ("fee", nat(1))],
            ),
            "costs a fee",
        ),
    ] {
        let said = found(&[rich.clone(), wrong.clone()]);
        assert!(said.contains(why), "{wrong} is refused with: {said}");
    }
    for (wrong, why) in [
        (take(9, BOB, ALICE, 51), "may take"),
        (take(10, BOB, ALICE, 1), "may take"),
    ] {
        let said = found(&[rich.clone(), allowed.clone(), wrong]);
        assert!(said.contains(why), "{said}");
    }
    assert!(keep(&[rich, allowed, take(9, BOB, ALICE, 50)]).is_ok());
}

#[test]
fn a_fee_that_stands_twice_is_found() {
    let ICRC3Value::Map(mut twice) = transfer(1, ALICE, BOB, 1, 1) else {
        panic!("a block is a map");
    };
    twice.insert("fee".into(), nat(1));
    let said = found(&[mint(1, ALICE, 10), ICRC3Value::Map(twice)]);
    assert!(said.contains("twice"), "{said}");
}
