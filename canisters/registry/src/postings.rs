//! Every change of a balance, in one place: a movement is a set of postings that sum to zero, applied whole or not at
//! all. *Conservation*: deposited = allotted + unbonding + leaving + burning + burned + paid out, and of the pool's money,
//! which no movement mixes with stake: mined = earned + drawing + drawn; always.

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
    /// Slashed stake until the ledger has burned it.
    Burning,
    /// Stake that the ledger has burned.
    Burned,
    /// The mining pool: rewards come from it.
    Pool,
    /// What an owner's nodes have earned by mining.
    Earned {
        /// The owner.
        owner: Principal,
    },
    /// Earnings that a journal entry is to pay out.
    Drawing {
        /// The entry.
        entry: u64,
    },
    /// Earnings that were paid out.
    Drawn,
}

impl Account {
    /// True for the pool's money, false for stake.
    fn is_mining(self) -> bool {
        match self {
            Self::Pool | Self::Earned { .. } | Self::Drawing { .. } | Self::Drawn => true,
            Self::Outside
            | Self::Allotted { .. }
            | Self::Unbonding { .. }
            | Self::Leaving { .. }
            | Self::Burning
            | Self::Burned => false,
        }
    }
}

/// Why a movement cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Imbalance {
    /// The postings do not sum to zero, stake and mining each for itself: an error in a rule.
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
    let (mut of_stake, mut of_mining) = (0i128, 0i128);
    let mut totals = state.totals.get().clone();
    let mut balances = Vec::with_capacity(postings.len());
    for (account, amount) in postings {
        let sum = match account.is_mining() {
            true => &mut of_mining,
            false => &mut of_stake,
        };
        *sum = sum.checked_add(*amount).ok_or(Imbalance::TooLarge)?;
        let size = amount.unsigned_abs();
        let total = match account {
            Account::Outside if *amount < 0 => {
                totals.deposited = totals
                    .deposited
                    .checked_add(size)
                    .ok_or(Imbalance::TooLarge)?;
                continue;
            }
            Account::Outside => &mut totals.paid_out,
            Account::Allotted { .. } => &mut totals.allotted,
            Account::Unbonding { .. } => &mut totals.unbonding,
            Account::Leaving { .. } => &mut totals.leaving,
            Account::Burning => &mut totals.burning,
            Account::Burned => &mut totals.burned,
            Account::Pool if *amount <= 0 => {
                let mined = totals.mined.checked_add(size);
                totals.mined = mined.ok_or(Imbalance::TooLarge)?;
                continue;
            }
            // Nothing goes back into it by a movement: what is not given away was never taken out.
            Account::Pool => return Err(Imbalance::Overdrawn(*account)),
            Account::Earned { .. } => &mut totals.earned,
            Account::Drawing { .. } => &mut totals.drawing,
            Account::Drawn => &mut totals.drawn,
        };
        *total = add(*total, *amount).ok_or(Imbalance::Overdrawn(*account))?;
        if let Some(before) = balance(state, *account)? {
            let after = add(before, *amount).ok_or(Imbalance::Overdrawn(*account))?;
            balances.push((*account, after));
        }
    }
    if of_stake != 0 || of_mining != 0 {
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

/// What an account holds; `None` for those that are a sum and nothing else.
fn balance(state: &State, account: Account) -> Result<Option<u128>, Imbalance> {
    let held = match account {
        Account::Outside | Account::Burning | Account::Burned | Account::Pool | Account::Drawn => {
            return Ok(None);
        }
        Account::Allotted { node, escrow } => state.allotments.get(&(node, escrow)),
        Account::Unbonding { node, id } => {
            let waiting = state.unbonding.get(&(node, id));
            Some(waiting.ok_or(Imbalance::Overdrawn(account))?.amount)
        }
        Account::Leaving { entry } => state.leaving.get(&entry),
        Account::Earned { owner } => state.earnings.get(&owner),
        Account::Drawing { entry } => state.drawing.get(&entry),
    };
    Ok(Some(held.unwrap_or_default()))
}

fn set(state: &mut State, account: Account, amount: u128) {
    match account {
        Account::Outside | Account::Burning | Account::Burned | Account::Pool | Account::Drawn => {}
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
        Account::Earned { owner } if amount == 0 => {
            state.earnings.remove(&owner);
        }
        Account::Earned { owner } => {
            state.earnings.insert(owner, amount);
        }
        Account::Drawing { entry } if amount == 0 => {
            state.drawing.remove(&entry);
        }
        Account::Drawing { entry } => {
            state.drawing.insert(entry, amount);
        }
    }
}
