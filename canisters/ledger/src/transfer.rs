//! Transfers, with their two special cases: from the minting account is a mint, to it is a burn.
//!
//! `icrc1_transfer` and `icrc2_transfer_from` are one rule; the latter has a spender. Checks come in the order of the
//! reference ledger: the caller, the memo, the fee, the time, duplicates, the allowance, the funds, the cap. Nothing is
//! written before all have passed.

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
    supply,
    tokens::Tokens,
    transaction::{Operation, Transaction},
};
use candid::{Nat, Principal};
use icrc_ledger_types::{
    icrc1::{
        account::Account,
        transfer::{Memo, TransferArg, TransferError},
    },
    icrc2::transfer_from::{TransferFromArgs, TransferFromError},
};

/// `icrc1_transfer`.
///
/// # Errors
/// As ICRC-1 says; what it has no name for is a [`Refusal`] with its code.
pub fn transfer(
    ledger: &mut Ledger,
    caller: Principal,
    arg: TransferArg,
    now: u64,
) -> Result<BlockIndex, TransferError> {
    let from = Account {
        owner: caller,
        subaccount: arg.from_subaccount,
    };
    let admitted = admission::admit(ledger, caller, &from, now)?;
    let request = Request {
        from,
        to: arg.to,
        spender: None,
        amount: arg.amount,
        fee: arg.fee,
        memo: arg.memo,
        created_at_time: arg.created_at_time,
    };
    let block = execute(ledger, request, now)?;
    admitted.has_made_a_block(ledger);
    Ok(block)
}

/// `icrc2_transfer_from`.
///
/// # Errors
/// As ICRC-2 says; what it has no name for is a [`Refusal`] with its code.
pub fn transfer_from(
    ledger: &mut Ledger,
    caller: Principal,
    arg: TransferFromArgs,
    now: u64,
) -> Result<BlockIndex, TransferFromError> {
    let admitted = admission::admit(ledger, caller, &arg.from, now)?;
    let request = Request {
        from: arg.from,
        to: arg.to,
        spender: Some(Account {
            owner: caller,
            subaccount: arg.spender_subaccount,
        }),
        amount: arg.amount,
        fee: arg.fee,
        memo: arg.memo,
        created_at_time: arg.created_at_time,
    };
    let block = execute(ledger, request, now)?;
    admitted.has_made_a_block(ledger);
    Ok(block)
}

/// A request to move tokens, by their owner or by a spender.
struct Request {
    from: Account,
    to: Account,
    spender: Option<Account>,
    amount: Nat,
    fee: Option<Nat>,
    memo: Option<Memo>,
    created_at_time: Option<u64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Route {
    Mint,
    Burn,
    Transfer,
}

impl Request {
    /// What the request is, by where the minting account stands in it.
    fn route(&self, minting_account: &Account) -> Result<Route, Refusal> {
        if self.to == *minting_account {
            Ok(Route::Burn)
        } else if self.from != *minting_account {
            Ok(Route::Transfer)
        } else if self.spender.is_none() {
            Ok(Route::Mint)
        } else {
            Err(Refusal::MintDelegated)
        }
    }

    fn into_transaction(
        self,
        route: Route,
        amount: Tokens,
        fee: Tokens,
        memo: Option<Vec<u8>>,
    ) -> Transaction {
        let Self {
            from, to, spender, ..
        } = self;
        Transaction {
            operation: match route {
                Route::Mint => Operation::Mint { to, amount },
                Route::Burn => Operation::Burn {
                    from,
                    spender,
                    amount,
                },
                Route::Transfer => Operation::Transfer {
                    from,
                    to,
                    spender,
                    amount,
                    fee: self.fee.map(|_| fee),
                },
            },
            memo,
            created_at_time: self.created_at_time,
        }
    }
}

fn execute(ledger: &mut Ledger, request: Request, now: u64) -> Result<BlockIndex, Failure> {
    let from = request.from;
    let (checked, spent) = check(ledger, request, now)?;
    if let Some(Permit { spender, allowance }) = spent {
        allowance::set(ledger, &from, &spender, allowance);
    }
    Ok(commit(ledger, checked, now))
}

/// A spender and what he may take.
struct Permit {
    spender: Account,
    allowance: Allowance,
}

/// Every check, and with it what is to be done: the transaction, and what is left of the spender's allowance.
fn check(
    ledger: &Ledger,
    mut request: Request,
    now: u64,
) -> Result<(Checked, Option<Permit>), Failure> {
    // 1. What it is, and what it costs.
    let config = ledger.config();
    let memo = memo::check(config, request.memo.take())?;
    let route = request.route(&config.minting_account)?;
    let fee = match route {
        Route::Transfer => config.transfer_fee,
        Route::Mint | Route::Burn => Tokens::ZERO,
    };
    check_fee(request.fee.as_ref(), fee)?;
    let held = match route {
        Route::Mint => Tokens::ZERO,
        Route::Burn | Route::Transfer => ledger.balance(&request.from),
    };
    let amount = Tokens::from_nat(&request.amount);
    if route == Route::Burn {
        check_burn(amount, config.transfer_fee, held)?;
    }

    // 2. Whether it is new.
    dedup::check_time(request.created_at_time, now)?;
    let permit = permit(ledger, &request, now);
    let Some(amount) = amount else {
        return Err(never_affordable(ledger, route, permit, held));
    };
    let transaction = request.into_transaction(route, amount, fee, memo);
    let hash = block_hash::hash_transaction(&transaction);
    if let Some(block) = dedup::find(ledger, transaction.created_at_time, &hash) {
        return Err(Failure::Duplicate(block));
    }

    // 3. Whether it is allowed and paid for.
    let total = amount.checked_add(fee);
    let spent = permit
        .map(|permit| check_allowance(permit, total))
        .transpose()?;
    match route {
        Route::Mint => supply::check_cap(ledger, amount)?,
        Route::Burn | Route::Transfer if total.is_none_or(|total| total > held) => {
            return Err(Failure::InsufficientFunds(held));
        }
        Route::Burn | Route::Transfer => {}
    }
    let checked = Checked {
        transaction,
        hash,
        fee,
        held,
    };
    Ok((checked, spent))
}

/// The permit that the request needs: none without a spender, nor for one who spends from his own account.
fn permit(ledger: &Ledger, request: &Request, now: u64) -> Option<Permit> {
    let spender = request.spender.filter(|spender| *spender != request.from)?;
    let allowance = allowance::current(ledger, &request.from, &spender, now);
    Some(Permit { spender, allowance })
}

/// The permit with what is left of it after the total is taken.
fn check_allowance(permit: Permit, total: Option<Tokens>) -> Result<Permit, Failure> {
    let Permit { spender, allowance } = permit;
    let amount = total
        .and_then(|total| allowance.amount.checked_sub(total))
        .ok_or(Failure::InsufficientAllowance(allowance.amount))?;
    let allowance = Allowance {
        amount,
        ..allowance
    };
    Ok(Permit { spender, allowance })
}

fn check_fee(named: Option<&Nat>, expected: Tokens) -> Result<(), Failure> {
    match named {
        Some(fee) if Tokens::from_nat(fee) != Some(expected) => Err(Failure::BadFee(expected)),
        _ => Ok(()),
    }
}

/// A burn costs no fee, so it must be worth at least one, or be all that is left; and it must burn something.
fn check_burn(amount: Option<Tokens>, fee: Tokens, held: Tokens) -> Result<(), Failure> {
    let least = fee.min(held).max(Tokens(1));
    match amount {
        Some(amount) if amount < least => Err(Failure::BadBurn(least)),
        _ => Ok(()),
    }
}

/// The answer to an amount beyond all that can exist: the same as to one that is merely too large.
fn never_affordable(
    ledger: &Ledger,
    route: Route,
    permit: Option<Permit>,
    held: Tokens,
) -> Failure {
    match (route, permit) {
        (_, Some(permit)) => Failure::InsufficientAllowance(permit.allowance.amount),
        (Route::Mint, None) => supply::cap_reached(ledger).into(),
        (_, None) => Failure::InsufficientFunds(held),
    }
}

/// Why tokens were not moved.
enum Failure {
    BadFee(Tokens),
    BadBurn(Tokens),
    BadTime(BadTime),
    Duplicate(BlockIndex),
    InsufficientAllowance(Tokens),
    InsufficientFunds(Tokens),
    Refused(Refusal),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<BadTime> for Failure {
    fn from(bad: BadTime) -> Self {
        Self::BadTime(bad)
    }
}

impl From<Failure> for TransferFromError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::BadFee(expected) => Self::BadFee {
                expected_fee: expected.into(),
            },
            Failure::BadBurn(least) => Self::BadBurn {
                min_burn_amount: least.into(),
            },
            Failure::BadTime(BadTime::TooOld) => Self::TooOld,
            Failure::BadTime(BadTime::CreatedInFuture { ledger_time }) => {
                Self::CreatedInFuture { ledger_time }
            }
            Failure::Duplicate(block) => Self::Duplicate {
                duplicate_of: block.into(),
            },
            Failure::InsufficientAllowance(allowance) => Self::InsufficientAllowance {
                allowance: allowance.into(),
            },
            Failure::InsufficientFunds(balance) => Self::InsufficientFunds {
                balance: balance.into(),
            },
            Failure::Refused(refusal) => refusal.into(),
        }
    }
}

impl From<Failure> for TransferError {
    fn from(failure: Failure) -> Self {
        match TransferFromError::from(failure) {
            TransferFromError::BadFee { expected_fee } => Self::BadFee { expected_fee },
            TransferFromError::BadBurn { min_burn_amount } => Self::BadBurn { min_burn_amount },
            TransferFromError::InsufficientFunds { balance } => Self::InsufficientFunds { balance },
            TransferFromError::TooOld => Self::TooOld,
            TransferFromError::CreatedInFuture { ledger_time } => {
                Self::CreatedInFuture { ledger_time }
            }
            TransferFromError::Duplicate { duplicate_of } => Self::Duplicate { duplicate_of },
            TransferFromError::TemporarilyUnavailable => Self::TemporarilyUnavailable,
            TransferFromError::GenericError {
                error_code,
                message,
            } => Self::GenericError {
                error_code,
                message,
            },
            TransferFromError::InsufficientAllowance { .. } => {
                unreachable!("a transfer without a spender looks at no allowance")
            }
        }
    }
}
