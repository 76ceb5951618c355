//! ICRC-103: the allowances that an owner has given, page by page. They are public, as the block log is.
//!
//! An owner's allowances stand together in the tree, ordered by account and then by spender. Those that are over are
//! passed by; calls that write remove them little by little, and a page looks at a bounded number.

use crate::{
    account::AccountKey,
    allowance::{self, StoredAllowance},
    state::{Ledger, PairKey},
};
use candid::{CandidType, Deserialize, Nat, Principal};
use icrc_ledger_types::{
    icrc1::account::Account,
    icrc103::get_allowances::{Allowance, Allowances, GetAllowancesArgs},
};
use std::ops::Bound;

/// The most allowances on a page: `icrc103:max_take_value`.
pub const MAX_TAKE: u64 = 500;
/// The most entries that a page looks at; passing one by takes some 5,000 instructions, and a query has 5,000 million.
const MAX_SEEN: usize = 100_000;

/// Why there is no page. ICRC-103 has `AccessDenied` as well, which a ledger with public allowances never answers.
#[derive(CandidType, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum GetAllowancesError {
    /// See the codes in `candid/ledger.did`.
    GenericError {
        /// What kind of error.
        error_code: Nat,
        /// What to do.
        message: String,
    },
}

/// `icrc103_get_allowances`: what the owner of `from_account` (the caller, where none is named) allows, beginning with
/// that account, after `prev_spender` if there is one. Fewer than asked for means that there are no more.
///
/// # Errors
/// Where so many allowances that are over lie between that a page would take too long; it can be asked for again later.
pub fn page(
    ledger: &Ledger,
    caller: Principal,
    args: &GetAllowancesArgs,
    now: u64,
) -> Result<Allowances, GetAllowancesError> {
    let take = args.take.as_ref().map_or(MAX_TAKE, |take| {
        u64::try_from(&take.0).unwrap_or(u64::MAX).min(MAX_TAKE)
    });
    let from = args.from_account.unwrap_or(caller.into());
    let begin = match &args.prev_spender {
        Some(spender) => Bound::Excluded(allowance::pair(&from, spender)),
        None => Bound::Included(first(&from)),
    };
    let mut found = vec![];
    let mut seen = 0;
    let all = ledger.allowances.range((begin, Bound::Unbounded));
    for entry in all {
        if found.len() as u64 == take {
            break;
        }
        let (from_account, to_spender) = allowance::parties(entry.key());
        if from_account.owner != from.owner {
            break;
        }
        seen += 1;
        if seen > MAX_SEEN {
            return Err(too_many());
        }
        let StoredAllowance(allowance) = entry.value();
        if !allowance::is_expired(allowance.expires_at, now) {
            found.push(Allowance {
                from_account,
                to_spender,
                allowance: allowance.amount.into(),
                expires_at: allowance.expires_at,
            });
        }
    }
    Ok(found)
}

/// The least key of an account.
fn first(from: &Account) -> PairKey {
    let mut key = [0; 2 * AccountKey::WIDTH];
    key[..AccountKey::WIDTH].copy_from_slice(AccountKey::from(from).as_bytes());
    key
}

fn too_many() -> GetAllowancesError {
    GetAllowancesError::GenericError {
        error_code: Nat::from(7u8),
        message:
            "too many of this owner's allowances are over and not yet removed; try again later"
                .to_string(),
    }
}
