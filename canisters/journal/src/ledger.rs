//! How an entry reads as a call of the ledger, how the ledger's answers read as ours, and how a block is recognised.

use crate::entry::{Entry, Operation};
use crate::refusal::Refusal;
use crate::verdict::Answer;
use candid::{Nat, Principal};
use icrc_ledger_types::icrc::generic_value::{ICRC3Map, ICRC3Value};
use icrc_ledger_types::icrc1::account::Account;
use icrc_ledger_types::icrc1::transfer::{Memo, TransferArg, TransferError};
use icrc_ledger_types::icrc2::transfer_from::{TransferFromArgs, TransferFromError};
use icrc_ledger_types::icrc3::blocks::{GetBlocksRequest, GetBlocksResult};
use serde_bytes::ByteBuf;

/// Blocks read with one call.
pub const SCAN_PAGE: u64 = 200;

/// The ledger's method and argument of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallArgs {
    /// For `icrc1_transfer`.
    Transfer(TransferArg),
    /// For `icrc2_transfer_from`.
    TransferFrom(TransferFromArgs),
}

/// An entry's call: the same at every send.
pub fn call_args(entry: &Entry) -> CallArgs {
    let memo = Some(Memo(ByteBuf::from(entry.memo.to_vec())));
    let created_at_time = Some(entry.created_at_time);
    match &entry.operation {
        Operation::Transfer {
            from_subaccount,
            to,
            amount,
            fee,
        } => CallArgs::Transfer(TransferArg {
            from_subaccount: *from_subaccount,
            to: *to,
            fee: Some(Nat::from(*fee)),
            created_at_time,
            memo,
            amount: Nat::from(*amount),
        }),
        Operation::TransferFrom {
            spender_subaccount,
            from,
            to,
            amount,
            fee,
        } => CallArgs::TransferFrom(TransferFromArgs {
            spender_subaccount: *spender_subaccount,
            from: *from,
            to: *to,
            amount: Nat::from(*amount),
            fee: Some(Nat::from(*fee)),
            memo,
            created_at_time,
        }),
    }
}

/// What the ledger's answer to `icrc1_transfer` means.
pub fn transfer_answer(answer: Result<Nat, TransferError>) -> Answer {
    Answer::Refused(match answer {
        Ok(block) => return done(&block),
        Err(TransferError::Duplicate { duplicate_of }) => return done(&duplicate_of),
        Err(TransferError::InsufficientFunds { balance }) => Refusal::InsufficientFunds {
            balance: amount(&balance),
        },
        Err(TransferError::BadFee { expected_fee }) => Refusal::BadFee {
            expected: amount(&expected_fee),
        },
        Err(TransferError::TooOld) => Refusal::TooOld,
        Err(other) => Refusal::Other {
            text: short(&other.to_string()),
        },
    })
}

/// What the ledger's answer to `icrc2_transfer_from` means.
pub fn transfer_from_answer(answer: Result<Nat, TransferFromError>) -> Answer {
    Answer::Refused(match answer {
        Ok(block) => return done(&block),
        Err(TransferFromError::Duplicate { duplicate_of }) => return done(&duplicate_of),
        Err(TransferFromError::InsufficientFunds { balance }) => Refusal::InsufficientFunds {
            balance: amount(&balance),
        },
        Err(TransferFromError::InsufficientAllowance { allowance }) => {
            Refusal::InsufficientAllowance {
                allowance: amount(&allowance),
            }
        }
        Err(TransferFromError::BadFee { expected_fee }) => Refusal::BadFee {
            expected: amount(&expected_fee),
        },
        Err(TransferFromError::TooOld) => Refusal::TooOld,
        Err(other) => Refusal::Other {
            text: short(&other.to_string()),
        },
    })
}

/// Asks for blocks; for none of them to learn the log's length.
pub fn blocks_request(from: u64, length: u64) -> Vec<GetBlocksRequest> {
    vec![GetBlocksRequest {
        start: Nat::from(from),
        length: Nat::from(length),
    }]
}

/// What a page of blocks says about an entry of the canister `me`. Only blocks that follow on `from` without a gap
/// count as looked at: what a ledger keeps in archives, which it leaves out here, is never taken for absent.
pub fn looked(entry: &Entry, me: Principal, from: u64, page: &GetBlocksResult) -> Answer {
    let log_length = number(&page.log_length);
    let mut up_to = from;
    let mut found = None;
    for block in &page.blocks {
        if number(&block.id) != up_to {
            break;
        }
        if is_block_of(entry, me, &block.block) {
            found = Some(up_to);
        }
        up_to += 1;
    }
    Answer::Looked {
        up_to,
        log_length,
        found,
    }
}

/// True if a block is this entry's call.
///
/// Anybody may put any memo into a transfer of his own, and our memos can be foretold. So the memo alone is no proof:
/// the block must also have been made in this canister's name, out of its account or with it as the spender.
pub fn is_block_of(entry: &Entry, me: Principal, block: &ICRC3Value) -> bool {
    let Some(ICRC3Value::Map(tx)) = map(block).and_then(|block| block.get("tx")) else {
        return false;
    };
    let blob = |key: &str| match tx.get(key) {
        Some(ICRC3Value::Blob(bytes)) => Some(bytes.as_slice()),
        _ => None,
    };
    let is_nat = |key: &str, value: Nat| tx.get(key) == Some(&ICRC3Value::Nat(value));
    let is_account =
        |key: &str, account: &Account| tx.get(key).and_then(read_account) == Some(*account);
    let mine = |subaccount: &Option<[u8; 32]>| Account {
        owner: me,
        subaccount: *subaccount,
    };
    let in_our_name = match &entry.operation {
        Operation::Transfer {
            from_subaccount, ..
        } => is_account("from", &mine(from_subaccount)) && !tx.contains_key("spender"),
        Operation::TransferFrom {
            spender_subaccount,
            from,
            ..
        } => is_account("spender", &mine(spender_subaccount)) && is_account("from", from),
    };
    in_our_name
        && blob("memo") == Some(&entry.memo)
        && is_nat("ts", Nat::from(entry.created_at_time))
        && is_nat("amt", Nat::from(entry.operation.amount()))
}

fn map(value: &ICRC3Value) -> Option<&ICRC3Map> {
    match value {
        ICRC3Value::Map(map) => Some(map),
        _ => None,
    }
}

fn read_account(value: &ICRC3Value) -> Option<Account> {
    let ICRC3Value::Array(parts) = value else {
        return None;
    };
    let (owner, subaccount) = match parts.as_slice() {
        [ICRC3Value::Blob(owner)] => (owner, None),
        [ICRC3Value::Blob(owner), ICRC3Value::Blob(subaccount)] => {
            (owner, Some(subaccount.as_slice().try_into().ok()?))
        }
        _ => return None,
    };
    let owner = Principal::try_from_slice(owner).ok()?;
    Some(Account { owner, subaccount })
}

fn done(block: &Nat) -> Answer {
    Answer::Done {
        block_index: number(block),
    }
}

/// A block's number or a log's length; a ledger that had more than 64 bits of them would have run for ever.
pub(crate) fn number(nat: &Nat) -> u64 {
    u64::try_from(&nat.0).unwrap_or(u64::MAX)
}

/// An amount, for showing.
pub(crate) fn amount(nat: &Nat) -> u128 {
    u128::try_from(&nat.0).unwrap_or(u128::MAX)
}

/// Another canister's words, cut to what is worth keeping.
pub(crate) fn short(text: &str) -> String {
    text.chars().take(200).collect()
}
