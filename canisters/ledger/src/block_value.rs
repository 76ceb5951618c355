//! A block as clients see it: the ICRC-3 value, with the fields that the standard lays down for ICRC-1 and ICRC-2.
//!
//! These blocks carry no `btype`: the standard forbids it for them and infers their type (1mint, 1burn, 1xfer, 2xfer,
//! 2approve) from `tx.op` and `tx.spender`. The fee stands at the top only where the caller did not name it in `tx`.

use crate::{blocks::Block, tokens::Tokens, transaction::Transaction};
use candid::Nat;
use icrc_ledger_types::{icrc::generic_value::ICRC3Value as Value, icrc1::account::Account};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;

/// The block as an ICRC-3 value.
pub fn of_block(block: &Block) -> Value {
    let mut map = BTreeMap::new();
    if let Some(parent) = &block.parent {
        map.insert("phash".to_string(), blob(parent));
    }
    if let Some(fee) = block.fee {
        map.insert("fee".to_string(), nat(fee));
    }
    map.insert("ts".to_string(), time(block.timestamp));
    map.insert("tx".to_string(), of_transaction(&block.transaction));
    Value::Map(map)
}

fn of_transaction(transaction: &Transaction) -> Value {
    let fields = transaction.operation.fields();
    let mut map = BTreeMap::new();
    map.insert(
        "op".to_string(),
        Value::Text(transaction.operation.name().to_string()),
    );
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(key.to_string(), value);
        }
    };
    put("amt", Some(nat(fields.amount)));
    put("from", fields.from.map(account));
    put("to", fields.to.map(account));
    put("spender", fields.spender.map(account));
    put("fee", fields.fee.map(nat));
    put("expected_allowance", fields.expected_allowance.map(nat));
    put("expires_at", fields.expires_at.map(time));
    put("ts", transaction.created_at_time.map(time));
    put("memo", transaction.memo.as_deref().map(blob));
    Value::Map(map)
}

fn account(account: &Account) -> Value {
    let owner = blob(account.owner.as_slice());
    let subaccount = account.subaccount.as_ref().map(|bytes| blob(bytes));
    Value::Array(std::iter::once(owner).chain(subaccount).collect())
}

fn blob(bytes: &[u8]) -> Value {
    Value::Blob(ByteBuf::from(bytes))
}

fn nat(tokens: Tokens) -> Value {
    Value::Nat(tokens.into())
}

fn time(nanoseconds: u64) -> Value {
    Value::Nat(Nat::from(nanoseconds))
}
