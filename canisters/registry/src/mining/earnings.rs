//! What owners have earned by mining, and its way out: from the pool's subaccount to the owner, one payment of an owner at
//! a time; what the ledger does not do is the owner's again.

use crate::postings::{Account, transfer};
use crate::purpose::Purpose;
use crate::stake::in_flight;
use crate::state::State;
use candid::Principal;
use emc_journal::{Account as LedgerAccount, Operation};
use emc_protocol::mining::POOL_SUBACCOUNT;
use emc_protocol::{ApiError, ErrorDetail, Tokens, error::code};

/// What the pool holds for owners: it is not to be given away a second time, e8s.
pub fn owed(state: &State) -> u128 {
    let totals = state.totals.get();
    totals.earned + totals.drawing
}

/// Opens the ledger call that pays an owner out: so much, or everything; the ledger's fee is taken off it.
///
/// # Errors
/// `in_flight`, `not_found` where nothing was earned, `insufficient_funds`, `invalid` where the fee takes it all.
pub fn begin_withdrawal(
    state: &mut State,
    now: u64,
    owner: Principal,
    amount: Option<Tokens>,
    fee: u128,
) -> Result<u64, ApiError> {
    if let Some(entry) = state.drawers.get(&owner) {
        return Err(in_flight(entry));
    }
    let Some(earned) = state.earnings.get(&owner) else {
        return Err(ApiError::new(
            code::NOT_FOUND,
            "Your nodes have no earnings of mining here: a day's are credited after its end.",
        ));
    };
    let amount = amount.map_or(earned, |amount| amount.0);
    if amount > earned {
        return Err(ApiError::new(
            code::INSUFFICIENT_FUNDS,
            format!(
                "Only {} EMC of mining can be withdrawn: ask for that or less.",
                Tokens(earned)
            ),
        )
        .with(ErrorDetail::InsufficientFunds {
            available: Tokens(earned),
            needed: Tokens(amount),
        }));
    }
    let Some(arrives) = amount.checked_sub(fee).filter(|rest| *rest > 0) else {
        return Err(ApiError::invalid(
            "amount",
            format!("above the ledger's fee of {} EMC", Tokens(fee)),
        ));
    };
    let operation = Operation::Transfer {
        from_subaccount: Some(POOL_SUBACCOUNT),
        to: LedgerAccount {
            owner,
            subaccount: None,
        },
        amount: arrives,
        fee,
    };
    let purpose = Purpose::Mining { owner };
    let entry = state.journal.open(operation, purpose.encode(), now);
    state.drawers.insert(owner, entry);
    transfer(
        state,
        Account::Earned { owner },
        Account::Drawing { entry },
        amount,
    )
    .expect("the owner has earned it, and the entry is new");
    Ok(entry)
}

/// Books what the ledger call of a payment has led to.
pub fn paid(state: &mut State, entry: u64, done: bool, owner: Principal) {
    state.drawers.remove(&owner);
    let amount = state.drawing.get(&entry).unwrap_or_default();
    let to = match done {
        true => Account::Drawn,
        false => Account::Earned { owner },
    };
    transfer(state, Account::Drawing { entry }, to, amount)
        .expect("the entry holds exactly this amount");
}
