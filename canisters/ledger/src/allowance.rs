//! Allowances: what a spender may still take from an account.
//!
//! [`is_expired`] is the one predicate for the end of an allowance; approving, spending, showing and pruning all use it.

use crate::{
    account::AccountKey,
    state::{ExpirationKey, Ledger, PairKey},
    tokens::Tokens,
};
use ic_stable_structures::{Storable, storable::Bound};
use icrc_ledger_types::icrc1::account::Account;
use std::borrow::Cow;

/// The most expired allowances that one call removes.
const PRUNED_PER_CALL: usize = 2;

/// What a spender may take, and until when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// How much, fees included.
    pub amount: Tokens,
    /// The time, in nanoseconds since 1970, from which on nothing may be taken.
    pub expires_at: Option<u64>,
}

/// Whether an allowance that ends at `expires_at` is over: it still holds one nanosecond before, and no more at it.
pub fn is_expired(expires_at: Option<u64>, now: u64) -> bool {
    expires_at.is_some_and(|end| end <= now)
}

/// What `spender` may take from `from` at this time: nothing where nothing was allowed or the allowance is over.
pub fn current(ledger: &Ledger, from: &Account, spender: &Account, now: u64) -> Allowance {
    ledger
        .allowances
        .get(&pair(from, spender))
        .map(|StoredAllowance(allowance)| allowance)
        .filter(|allowance| !is_expired(allowance.expires_at, now))
        .unwrap_or_default()
}

/// Replaces what `spender` may take from `from`; an allowance of nothing is not kept.
pub(crate) fn set(ledger: &mut Ledger, from: &Account, spender: &Account, allowance: Allowance) {
    let pair = pair(from, spender);
    let keep = !allowance.amount.is_zero();
    let before = if keep {
        ledger.allowances.insert(pair, StoredAllowance(allowance))
    } else {
        ledger.allowances.remove(&pair)
    };
    let old_end = before.and_then(|StoredAllowance(before)| before.expires_at);
    let new_end = allowance.expires_at.filter(|_| keep);
    if old_end == new_end {
        return;
    }
    if let Some(end) = old_end {
        ledger.expirations.remove(&expiration(end, &pair));
    }
    if let Some(end) = new_end {
        ledger.expirations.insert(expiration(end, &pair), ());
        ledger.hints.next_expiration = ledger.hints.next_expiration.min(end);
    }
}

/// Removes a few allowances that are over, so that they do not stay for ever.
pub(crate) fn prune(ledger: &mut Ledger, now: u64) {
    for _ in 0..PRUNED_PER_CALL {
        if !is_expired(Some(ledger.hints.next_expiration), now) {
            return;
        }
        let Some((key, ())) = ledger.expirations.first_key_value() else {
            ledger.hints.next_expiration = u64::MAX;
            return;
        };
        let (end, pair) = split(&key);
        ledger.hints.next_expiration = end;
        if is_expired(Some(end), now) {
            ledger.expirations.remove(&key);
            ledger.allowances.remove(&pair);
        }
    }
}

/// The key of what `spender` may take from `from`.
pub(crate) fn pair(from: &Account, spender: &Account) -> PairKey {
    let mut key = [0; 2 * AccountKey::WIDTH];
    key[..AccountKey::WIDTH].copy_from_slice(AccountKey::from(from).as_bytes());
    key[AccountKey::WIDTH..].copy_from_slice(AccountKey::from(spender).as_bytes());
    key
}

/// The account and the spender of a key.
pub(crate) fn parties(pair: &PairKey) -> (Account, Account) {
    let (from, spender) = pair.split_at(AccountKey::WIDTH);
    let account = |bytes: &[u8]| AccountKey::from_bytes(Cow::Borrowed(bytes)).account();
    (account(from), account(spender))
}

fn expiration(end: u64, pair: &PairKey) -> ExpirationKey {
    let mut key = [0; 8 + 2 * AccountKey::WIDTH];
    key[..8].copy_from_slice(&end.to_be_bytes());
    key[8..].copy_from_slice(pair);
    key
}

fn split(key: &ExpirationKey) -> (u64, PairKey) {
    let (end, pair) = key
        .split_first_chunk::<8>()
        .expect("the key begins with a time of 8 bytes");
    let pair = pair.try_into().expect("a pair follows the time");
    (u64::from_be_bytes(*end), pair)
}

/// An allowance as it is stored: 16 bytes amount, 1 byte whether it ends, 8 bytes when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredAllowance(pub Allowance);

impl Storable for StoredAllowance {
    const BOUND: Bound = Bound::Bounded {
        max_size: 25,
        is_fixed_size: true,
    };

    fn to_bytes(&self) -> Cow<'_, [u8]> {
        let mut bytes = Vec::with_capacity(25);
        bytes.extend_from_slice(&self.0.amount.0.to_le_bytes());
        bytes.push(self.0.expires_at.is_some().into());
        bytes.extend_from_slice(&self.0.expires_at.unwrap_or(0).to_le_bytes());
        Cow::Owned(bytes)
    }

    fn into_bytes(self) -> Vec<u8> {
        self.to_bytes().into_owned()
    }

    fn from_bytes(bytes: Cow<[u8]>) -> Self {
        let bytes: &[u8; 25] = bytes
            .as_ref()
            .try_into()
            .expect("an allowance was written with its fixed width");
        let (amount, end) = bytes
            .split_first_chunk::<16>()
            .expect("16 of 25 bytes are there");
        let time = end[1..].try_into().expect("8 bytes follow the mark");
        Self(Allowance {
            amount: Tokens(u128::from_le_bytes(*amount)),
            expires_at: (end[0] != 0).then_some(u64::from_le_bytes(time)),
        })
    }
}
