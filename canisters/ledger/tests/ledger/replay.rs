//! The block log, replayed from nothing, as a client would who trusts only the hash chain.

use crate::oracle::{Place, place};
use candid::Nat;
use icrc_ledger_types::{
    icrc::generic_value::{ICRC3Map, ICRC3Value, Value},
    icrc1::account::Account,
    icrc3::schema,
};
use std::collections::BTreeMap;

fn map(value: ICRC3Value) -> ICRC3Map {
    match value {
        ICRC3Value::Map(map) => map,
        other => panic!("expected a map, got {other}"),
    }
}

fn nat(map: &ICRC3Map, key: &str) -> Option<Nat> {
    match map.get(key)? {
        ICRC3Value::Nat(nat) => Some(nat.clone()),
        other => panic!("expected a number for {key}, got {other}"),
    }
}

fn party(map: &ICRC3Map, key: &str) -> Option<Place> {
    let value = map.get(key)?.clone();
    let account = Account::try_from(Value::from(value)).expect("an account");
    Some(place(&account))
}

/// The balances that a client gets who reads the log and nothing else, verifying the chain as he goes.
pub fn replay(blocks: Vec<ICRC3Value>) -> BTreeMap<Place, Nat> {
    let mut balances = BTreeMap::<Place, Nat>::new();
    let mut parent = None;
    for block in blocks {
        schema::validate(&Value::from(block.clone())).expect("the block has the standard's fields");
        let hash = block.clone().hash();
        let block = map(block);
        let named = block.get("phash").map(|value| match value {
            ICRC3Value::Blob(hash) => hash.to_vec(),
            other => panic!("expected a hash, got {other}"),
        });
        assert_eq!(named, parent.map(|hash: [u8; 32]| hash.to_vec()));
        parent = Some(hash);
        let tx = map(block["tx"].clone());
        let amount = nat(&tx, "amt").expect("every block has an amount");
        let fee = nat(&block, "fee")
            .or_else(|| nat(&tx, "fee"))
            .unwrap_or(Nat::from(0u8));
        let ICRC3Value::Text(op) = &tx["op"] else {
            panic!("the operation is a text");
        };
        let moved = if op == "approve" {
            Nat::from(0u8)
        } else {
            amount
        };
        if let Some(from) = party(&tx, "from") {
            let balance = balances.entry(from).or_insert(Nat::from(0u8));
            assert!(
                *balance >= moved.clone() + fee.clone(),
                "the log never overdraws"
            );
            *balance -= moved.clone() + fee;
        }
        if let Some(to) = party(&tx, "to") {
            *balances.entry(to).or_insert(Nat::from(0u8)) += moved;
        }
    }
    balances.retain(|_, balance| *balance > 0u8);
    balances
}
