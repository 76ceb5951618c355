//! The block log, replayed from nothing, as a client would who trusts only the hash chain.

use crate::oracle::{Place, place};
use candid::Nat;
use icrc_ledger_types::{
    icrc::generic_value::{ICRC3Map, ICRC3Value, Value},
    icrc1::account::Account,
    icrc3::schema,
};
use std::collections::BTreeMap;

/// An allowance: how much, and the time from which on nothing may be taken.
pub type Allowed = (Nat, Option<Nat>);

/// What a client knows who has read the log and nothing else. What is zero is left out.
#[derive(Debug, Default, PartialEq)]
pub struct Replayed {
    pub balances: BTreeMap<Place, Nat>,
    /// By account and spender; some may be over.
    pub allowances: BTreeMap<(Place, Place), Allowed>,
    pub supply: Nat,
}

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

/// Reads the whole log, verifying the chain on the way.
pub fn replay(blocks: Vec<ICRC3Value>) -> Replayed {
    let mut replayed = Replayed::default();
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
        replayed.enter(&block);
    }
    let zero = Nat::default();
    replayed.balances.retain(|_, balance| *balance > zero);
    replayed
        .allowances
        .retain(|_, (allowance, _)| *allowance > zero);
    replayed
}

impl Replayed {
    fn enter(&mut self, block: &ICRC3Map) {
        let tx = map(block["tx"].clone());
        let amount = nat(&tx, "amt").expect("every block has an amount");
        let fee = nat(block, "fee")
            .or_else(|| nat(&tx, "fee"))
            .unwrap_or_default();
        let now = nat(block, "ts").expect("every block has a time");
        let ICRC3Value::Text(op) = &tx["op"] else {
            panic!("the operation is a text");
        };
        let (from, to) = (party(&tx, "from"), party(&tx, "to"));
        let spender = party(&tx, "spender");
        let moved = if op == "approve" {
            let pair = (
                from.expect("an approval has an account"),
                spender.expect("an approval has a spender"),
            );
            let allowed = (amount, nat(&tx, "expires_at"));
            self.allowances.insert(pair, allowed);
            Nat::default()
        } else {
            if let (Some(from), Some(spender)) = (from, spender)
                && from != spender
            {
                self.take((from, spender), amount.clone() + fee.clone(), &now);
            }
            amount
        };
        match from {
            Some(from) => {
                let balance = self.balances.entry(from).or_default();
                let total = moved.clone() + fee.clone();
                assert!(*balance >= total, "the log never overdraws");
                *balance -= total;
                self.supply -= fee;
            }
            None => self.supply += moved.clone(),
        }
        match to {
            Some(to) => *self.balances.entry(to).or_default() += moved,
            None => self.supply -= moved,
        }
    }

    /// Nothing can be taken without an allowance, too.
    fn take(&mut self, pair: (Place, Place), total: Nat, now: &Nat) {
        let allowed = self.allowances.remove(&pair);
        let valid = |(_, end): &Allowed| end.as_ref().is_none_or(|end| end > now);
        let (allowance, end) = allowed.filter(valid).unwrap_or_default();
        assert!(allowance >= total, "the log never overspends");
        self.allowances.insert(pair, (allowance - total, end));
    }
}
