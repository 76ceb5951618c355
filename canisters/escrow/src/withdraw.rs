//! Withdrawals: what leaves is set aside first, under the number of the journal entry, and goes out or comes back when
//! the entry ends (`deposit::ended`).

use crate::deposit::{self, Purpose, check_amount, check_lane, read_subaccount};
use crate::movement::{Movement, Source};
use crate::state::State;
use candid::Principal;
use emc_journal::{Account, Operation};
use emc_protocol::{ApiError, Timestamp, Tokens, WithdrawArgs, error::code};

/// What a caller may withdraw from.
///
/// # Errors
/// The treasury is not the caller's.
pub fn treasury(state: &State, caller: Principal) -> Result<Source, ApiError> {
    if caller != state.config().treasury {
        let message = format!(
            "Only {} can withdraw the treasury.",
            state.config().treasury
        );
        return Err(ApiError::new(code::FORBIDDEN, message));
    }
    Ok(Source::Treasury)
}

/// Checks a withdrawal; where it goes.
///
/// # Errors
/// What is wrong with it.
pub fn check(
    state: &State,
    caller: Principal,
    source: Source,
    args: &WithdrawArgs,
) -> Result<Account, ApiError> {
    let to = match &args.to {
        Some(to) => Account {
            owner: to.owner,
            subaccount: read_subaccount("to.subaccount", to.subaccount.as_deref().map(|s| &s[..]))?,
        },
        None => Account {
            owner: caller,
            subaccount: None,
        },
    };
    if to.owner == state.config().escrow {
        return Err(ApiError::invalid("to", "an account outside this escrow"));
    }
    check_amount(state, args.amount)?;
    check_lane(state, Purpose::Withdrawal { source }.lane())?;
    Ok(to)
}

/// Sets the amount aside and opens the journal entry; its number.
///
/// # Errors
/// What is wrong with it; nothing has changed then.
pub fn begin(
    state: &mut State,
    now: Timestamp,
    caller: Principal,
    source: Source,
    args: &WithdrawArgs,
    fee: Tokens,
) -> Result<u64, ApiError> {
    let to = check(state, caller, source, args)?;
    let paid = args.amount.checked_sub(fee).filter(|paid| !paid.is_zero());
    let paid = paid.ok_or_else(|| {
        ApiError::invalid("amount", format!("more than the ledger's fee of {fee} EMC"))
    })?;
    let available = match source {
        Source::Available(principal) => state.books.account(&principal).available(),
        Source::Treasury => state.books.treasury(),
    };
    if available < args.amount {
        return Err(crate::books::Refused::Insufficient {
            available,
            needed: args.amount,
        }
        .into());
    }
    let operation = Operation::Transfer {
        from_subaccount: None,
        to,
        amount: paid.0,
        fee: fee.0,
    };
    let entry = deposit::open(state, now, operation, Purpose::Withdrawal { source });
    let movement = Movement::withdraw_begun(now, source, entry, args.amount);
    let booked = state.books.apply(&movement);
    booked.expect("the balance was checked to cover the amount");
    Ok(entry)
}
