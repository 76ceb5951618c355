//! Every change of a balance, in one place: a movement is a set of postings that sum to zero, applied whole or not at
//! all. *Conservation*: deposited - paid out = allotted + unbonding + leaving, always.

use crate::state::State;
use candid::Principal;

/// What a posting books to or from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// The world outside: stake comes from it, and is paid out to it.
    Outside,
    /// A node's stake behind its work in an escrow.
    Allotted {
        /// The node.
        node: Principal,
        /// The escrow.
        escrow: Principal,
    },
    /// Stake that waits to be withdrawn.
    Unbonding {
        /// The node.
        node: Principal,
        /// The unbonding's number.
        id: u64,
    },
    /// What a journal entry is to pay out.
    Leaving {
        /// The entry.
        entry: u64,
    },
}

/// Why a movement cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Imbalance {
    /// The postings do not sum to zero: an error in a rule.
    #[error("the postings of a movement do not sum to zero")]
    NotZero,
    /// An account would be overdrawn, or there is no such account.
    #[error("{0:?} does not hold enough")]
    Overdrawn(Account),
    /// An amount is beyond what can exist.
    #[error("an amount is too large")]
    TooLarge,
}

/// Moves tokens from one account to another.
///
/// # Errors
/// Nothing has changed then.
pub fn transfer(
    state: &mut State,
    from: Account,
    to: Account,
    amount: u128,
) -> Result<(), Imbalance> {
    let amount = i128::try_from(amount).map_err(|_| Imbalance::TooLarge)?;
    apply(state, &[(from, -amount), (to, amount)])
}

/// Applies a movement.
///
/// # Errors
/// Nothing has changed then.
pub fn apply(state: &mut State, postings: &[(Account, i128)]) -> Result<(), Imbalance> {
    let mut sum = 0i128;
    let mut totals = state.totals.get().clone();
    let mut balances = Vec::with_capacity(postings.len());
    for (account, amount) in postings {
        sum = sum.checked_add(*amount).ok_or(Imbalance::TooLarge)?;
        let total = match account {
            Account::Outside if *amount < 0 => &mut totals.deposited,
            Account::Outside => &mut totals.paid_out,
            Account::Allotted { .. } => &mut totals.allotted,
            Account::Unbonding { .. } => &mut totals.unbonding,
            Account::Leaving { .. } => &mut totals.leaving,
        };
        if *account == Account::Outside {
            let size = amount.unsigned_abs();
            *total = total.checked_add(size).ok_or(Imbalance::TooLarge)?;
            continue;
        }
        *total = add(*total, *amount).ok_or(Imbalance::Overdrawn(*account))?;
        let before = balance(state, *account).ok_or(Imbalance::Overdrawn(*account))?;
        let after = add(before, *amount).ok_or(Imbalance::Overdrawn(*account))?;
        balances.push((*account, after));
    }
    if sum != 0 {
        return Err(Imbalance::NotZero);
    }
    for (account, after) in balances {
        set(state, account, after);
    }
    state.totals.set(totals);
    Ok(())
}

fn add(balance: u128, amount: i128) -> Option<u128> {
    balance.checked_add_signed(amount)
}

/// What an account holds; `None` for an unbonding that does not exist.
fn balance(state: &State, account: Account) -> Option<u128> {
    match account {
        Account::Outside => None,
        Account::Allotted { node, escrow } => {
            Some(state.allotments.get(&(node, escrow)).unwrap_or_default())
        }
        Account::Unbonding { node, id } => Some(state.unbonding.get(&(node, id))?.amount),
        Account::Leaving { entry } => Some(state.leaving.get(&entry).unwrap_or_default()),
    }
}

fn set(state: &mut State, account: Account, amount: u128) {
    match account {
        Account::Outside => {}
        Account::Allotted { node, escrow } if amount == 0 => {
            state.allotments.remove(&(node, escrow));
        }
        Account::Allotted { node, escrow } => {
            state.allotments.insert((node, escrow), amount);
        }
        Account::Unbonding { node, id } => {
            if let Some(mut record) = state.unbonding.get(&(node, id)) {
                record.amount = amount;
                state.unbonding.insert((node, id), record);
            }
        }
        Account::Leaving { entry } if amount == 0 => {
            state.leaving.remove(&entry);
        }
        Account::Leaving { entry } => {
            state.leaving.insert(entry, amount);
        }
    }
}
