//! A block as clients see it: the ICRC-3 value, with the fields that the standard lays down for ICRC-1 and ICRC-2.
//!
//! These blocks carry no `btype`: the standard forbids it for them and infers their type (1mint, 1burn, 1xfer, 2xfer,
//! 2approve) from `tx.op` and `tx.spender`. The fee stands at the top only where the caller did not name it in `tx`.
//! [`parts`] is the one place that says what is in a block; a value is made of it, and so is a reply, without a value.

use crate::{blocks::Block, transaction::Transaction};
use candid::Nat;
use icrc_ledger_types::{icrc::generic_value::ICRC3Value as Value, icrc1::account::Account};
use serde_bytes::ByteBuf;

/// What stands behind a key of a block.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// A blob.
    Blob(&'a [u8]),
    /// A text.
    Text(&'static str),
    /// A number: an amount, or a time in nanoseconds since 1970.
    Nat(u128),
    /// An array of one or two blobs: the owner, and the subaccount where one was given.
    Account(&'a Account),
    /// The map of the transaction.
    Transaction(&'a Transaction),
}

/// Keys with what stands behind them, in the order of the keys, and gaps where nothing does.
pub type Parts<'a, const N: usize> = [Option<(&'static str, Part<'a>)>; N];

/// The parts of a block.
pub fn parts(block: &Block) -> Parts<'_, 4> {
    [
        block.fee.map(|fee| ("fee", Part::Nat(fee.0))),
        block
            .parent
            .as_ref()
            .map(|hash| ("phash", Part::Blob(hash))),
        Some(("ts", Part::Nat(block.timestamp.into()))),
        Some(("tx", Part::Transaction(&block.transaction))),
    ]
}

/// The parts of a block's transaction.
pub fn transaction_parts(transaction: &Transaction) -> Parts<'_, 10> {
    let fields = transaction.operation.fields();
    let time = |time: u64| Part::Nat(time.into());
    [
        Some(("amt", Part::Nat(fields.amount.0))),
        fields
            .expected_allowance
            .map(|amount| ("expected_allowance", Part::Nat(amount.0))),
        fields.expires_at.map(|end| ("expires_at", time(end))),
        fields.fee.map(|fee| ("fee", Part::Nat(fee.0))),
        fields.from.map(|account| ("from", Part::Account(account))),
        transaction
            .memo
            .as_deref()
            .map(|memo| ("memo", Part::Blob(memo))),
        Some(("op", Part::Text(transaction.operation.name()))),
        fields
            .spender
            .map(|account| ("spender", Part::Account(account))),
        fields.to.map(|account| ("to", Part::Account(account))),
        transaction.created_at_time.map(|at| ("ts", time(at))),
    ]
}

/// The block as an ICRC-3 value.
pub fn of_block(block: &Block) -> Value {
    map(parts(block))
}

fn map<const N: usize>(parts: Parts<'_, N>) -> Value {
    let entries = parts.into_iter().flatten();
    Value::Map(
        entries
            .map(|(key, part)| (key.to_string(), value(part)))
            .collect(),
    )
}

fn value(part: Part<'_>) -> Value {
    let blob = |bytes: &[u8]| Value::Blob(ByteBuf::from(bytes));
    match part {
        Part::Blob(bytes) => blob(bytes),
        Part::Text(text) => Value::Text(text.to_string()),
        Part::Nat(number) => Value::Nat(Nat::from(number)),
        Part::Account(Account { owner, subaccount }) => {
            let subaccount = subaccount.as_ref().map(|bytes| blob(bytes));
            Value::Array(
                std::iter::once(blob(owner.as_slice()))
                    .chain(subaccount)
                    .collect(),
            )
        }
        Part::Transaction(transaction) => map(transaction_parts(transaction)),
    }
}
