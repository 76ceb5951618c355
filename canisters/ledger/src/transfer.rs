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
    commit::commit,
    dedup::{self, BadTime},
    memo,
    postings::Posting,
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
    admission::admit(ledger, caller, now)?;
    let request = Request {
        from: Account {
            owner: caller,
            subaccount: arg.from_subaccount,
        },
        to: arg.to,
        spender: None,
        amount: arg.amount,
        fee: arg.fee,
        memo: arg.memo,
        created_at_time: arg.created_at_time,
    };
    Ok(execute(ledger, request, now)?)
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
    admission::admit(ledger, caller, now)?;
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
    Ok(execute(ledger, request, now)?)
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

fn execute(ledger: &mut Ledger, request: Request, now: u64) -> Result<BlockIndex, Failure> {
    let config = ledger.config();
    let Request { from, to, .. } = request;
    // A spender who spends from his own account needs no allowance.
    let spender = request.spender.filter(|spender| *spender != from);
    let memo = memo::check(config, request.memo)?;

    // 1. What it is, and what it costs.
    let route = if to == config.minting_account {
        Route::Burn
    } else if from == config.minting_account {
        Route::Mint
    } else {
        Route::Transfer
    };
    if route == Route::Mint && request.spender.is_some() {
        return Err(Refusal::MintDelegated.into());
    }
    let transfer_fee = config.transfer_fee;
    let fee = match route {
        Route::Transfer => transfer_fee,
        Route::Mint | Route::Burn => Tokens::ZERO,
    };
    check_fee(request.fee.as_ref(), fee)?;
    let held = match route {
        Route::Mint => Tokens::ZERO,
        Route::Burn | Route::Transfer => ledger.balance(&from),
    };
    let amount = Tokens::from_nat(&request.amount);
    if route == Route::Burn {
        check_burn(amount, transfer_fee, held)?;
    }

    // 2. Whether it is new.
    dedup::check_time(request.created_at_time, now)?;
    let permit = spender.map(|spender| (spender, allowance::current(ledger, &from, &spender, now)));
    let Some(amount) = amount else {
        return Err(never_affordable(
            ledger,
            route,
            permit.map(|(_, allowance)| allowance),
            held,
        ));
    };
    let transaction = Transaction {
        operation: match route {
            Route::Mint => Operation::Mint { to, amount },
            Route::Burn => Operation::Burn {
                from,
                spender: request.spender,
                amount,
            },
            Route::Transfer => Operation::Transfer {
                from,
                to,
                spender: request.spender,
                amount,
                fee: request.fee.map(|_| fee),
            },
        },
        memo,
        created_at_time: request.created_at_time,
    };
    let hash = block_hash::hash_transaction(&transaction);
    if let Some(block) = dedup::find(ledger, transaction.created_at_time, &hash) {
        return Err(Failure::Duplicate(block));
    }

    // 3. Whether it is allowed and paid for.
    let total = amount.checked_add(fee);
    let spent = match permit {
        Some((spender, allowance)) => {
            let left = total.and_then(|total| allowance.amount.checked_sub(total));
            let left = left.ok_or(Failure::InsufficientAllowance(allowance.amount))?;
            Some((
                spender,
                Allowance {
                    amount: left,
                    ..allowance
                },
            ))
        }
        None => None,
    };
    let postings: &[Posting] = match route {
        Route::Mint => {
            supply::check_cap(ledger, amount)?;
            &[
                Posting::Issue(amount),
                Posting::Credit {
                    account: &to,
                    amount,
                },
            ]
        }
        Route::Burn | Route::Transfer => {
            let total = total.filter(|total| *total <= held);
            let total = total.ok_or(Failure::InsufficientFunds(held))?;
            let debit = Posting::Debit {
                account: &from,
                held,
                amount: total,
            };
            match route {
                Route::Burn => &[debit, Posting::Retire(amount)],
                _ => &[
                    debit,
                    Posting::Credit {
                        account: &to,
                        amount,
                    },
                    Posting::Retire(fee),
                ],
            }
        }
    };

    // 4. Done.
    if let Some((spender, left)) = spent {
        allowance::set(ledger, &from, &spender, left);
    }
    Ok(commit(ledger, transaction, hash, fee, postings, now))
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
    allowance: Option<Allowance>,
    held: Tokens,
) -> Failure {
    match (route, allowance) {
        (_, Some(allowance)) => Failure::InsufficientAllowance(allowance.amount),
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
