//! Approvals: the owner of an account lets a spender take up to an amount from it.
//!
//! Checks come in the order of the reference ledger: the caller, the memo, the fee, the time, duplicates, the funds for
//! the fee, the end, the expected allowance. Nothing is written before all have passed.

use crate::{
    admission,
    allowance::{self, Allowance},
    block_hash,
    blocks::BlockIndex,
    commit::{Checked, commit},
    dedup::{self, BadTime},
    memo,
    refusal::Refusal,
    state::Ledger,
    tokens::Tokens,
    transaction::{Operation, Transaction},
};
use candid::Principal;
use icrc_ledger_types::{
    icrc1::account::Account,
    icrc2::approve::{ApproveArgs, ApproveError},
};

/// `icrc2_approve`.
///
/// An amount beyond 128 bits is more than can ever exist; it is taken as the largest that can be represented.
///
/// # Errors
/// As ICRC-2 says; what it has no name for is a [`Refusal`] with its code.
pub fn approve(
    ledger: &mut Ledger,
    caller: Principal,
    arg: ApproveArgs,
    now: u64,
) -> Result<BlockIndex, ApproveError> {
    let from = Account {
        owner: caller,
        subaccount: arg.from_subaccount,
    };
    let admitted = admission::admit(ledger, caller, &from, now)?;
    let config = ledger.config();
    let spender = arg.spender;
    if spender.owner == caller {
        return Err(Refusal::SelfApproval.into());
    }
    if from == config.minting_account {
        return Err(Refusal::MinterApproves.into());
    }
    let memo = memo::check(config, arg.memo)?;
    let fee = config.transfer_fee;
    if arg
        .fee
        .as_ref()
        .is_some_and(|named| Tokens::from_nat(named) != Some(fee))
    {
        return Err(ApproveError::BadFee {
            expected_fee: fee.into(),
        });
    }
    dedup::check_time(arg.created_at_time, now)?;

    let amount = Tokens::from_nat(&arg.amount).unwrap_or(Tokens::MAX);
    let expected = arg.expected_allowance.as_ref().map(Tokens::from_nat);
    let transaction = Transaction {
        operation: Operation::Approve {
            from,
            spender,
            amount,
            expected_allowance: expected.flatten(),
            expires_at: arg.expires_at,
            fee: arg.fee.map(|_| fee),
        },
        memo,
        created_at_time: arg.created_at_time,
    };
    let hash = block_hash::hash_transaction(&transaction);
    // An expectation beyond 128 bits was never met, so it is in no block.
    if expected != Some(None)
        && let Some(block) = dedup::find(ledger, transaction.created_at_time, &hash)
    {
        return Err(ApproveError::Duplicate {
            duplicate_of: block.into(),
        });
    }
    // Without a fee nothing is taken, so nothing needs to be held.
    let held = if fee.is_zero() {
        Tokens::ZERO
    } else {
        ledger.balance(&from)
    };
    if held < fee {
        return Err(ApproveError::InsufficientFunds {
            balance: held.into(),
        });
    }
    if allowance::is_expired(arg.expires_at, now) {
        return Err(ApproveError::Expired { ledger_time: now });
    }
    if let Some(expected) = expected {
        let current = allowance::current(ledger, &from, &spender, now).amount;
        if expected != Some(current) {
            return Err(ApproveError::AllowanceChanged {
                current_allowance: current.into(),
            });
        }
    }

    let allowed = Allowance {
        amount,
        expires_at: arg.expires_at,
    };
    allowance::set(ledger, &from, &spender, allowed);
    let checked = Checked {
        transaction,
        hash,
        fee,
        held,
    };
    let block = commit(ledger, checked, now);
    admitted.has_made_a_block(ledger);
    Ok(block)
}

impl From<BadTime> for ApproveError {
    fn from(bad: BadTime) -> Self {
        match bad {
            BadTime::TooOld => Self::TooOld,
            BadTime::CreatedInFuture { ledger_time } => Self::CreatedInFuture { ledger_time },
        }
    }
}
