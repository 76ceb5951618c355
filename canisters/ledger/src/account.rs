//! Accounts as keys of a fixed width, so that nodes of the B-trees have one size and keys compare as plain bytes.
//!
//! ```text
//! | owner, padded with zeros: 29 bytes | length of owner: 1 byte | subaccount: 32 bytes |
//! ```
//!
//! The order is lexicographic in (owner, subaccount), so that all accounts of one owner stand together. An absent
//! subaccount is the one of 32 zeros: they are one balance.

use candid::Principal;
use ic_stable_structures::{Storable, storable::Bound};
use icrc_ledger_types::icrc1::account::Account;
use std::borrow::Cow;

const OWNER: usize = Principal::MAX_LENGTH_IN_BYTES;
const WIDTH: usize = OWNER + 1 + 32;

/// An account as a key of 62 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccountKey([u8; WIDTH]);

impl AccountKey {
    /// The bytes that a key takes.
    pub const WIDTH: usize = WIDTH;

    /// The account that this key stands for; its subaccount is absent where it is all zeros.
    pub fn account(&self) -> Account {
        let length = usize::from(self.0[OWNER]).min(OWNER);
        let mut subaccount = [0; 32];
        subaccount.copy_from_slice(&self.0[OWNER + 1..]);
        Account {
            owner: Principal::from_slice(&self.0[..length]),
            subaccount: (subaccount != [0; 32]).then_some(subaccount),
        }
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8; WIDTH] {
        &self.0
    }
}

impl From<&Account> for AccountKey {
    fn from(account: &Account) -> Self {
        let mut key = [0; WIDTH];
        let owner = account.owner.as_slice();
        key[..owner.len()].copy_from_slice(owner);
        key[OWNER] = owner.len() as u8;
        if let Some(subaccount) = &account.subaccount {
            key[OWNER + 1..].copy_from_slice(subaccount);
        }
        Self(key)
    }
}

impl Storable for AccountKey {
    const BOUND: Bound = Bound::Bounded {
        max_size: WIDTH as u32,
        is_fixed_size: true,
    };

    fn to_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.0)
    }

    fn into_bytes(self) -> Vec<u8> {
        self.0.to_vec()
    }

    fn from_bytes(bytes: Cow<[u8]>) -> Self {
        Self(
            bytes
                .as_ref()
                .try_into()
                .expect("an account key was written with its fixed width"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gives_its_account_back() {
        for owner in [
            Principal::anonymous(),
            Principal::management_canister(),
            Principal::from_slice(&[7; 29]),
            Principal::from_slice(&[1, 0, 0]),
        ] {
            for subaccount in [None, Some([9; 32])] {
                let account = Account { owner, subaccount };
                let back = AccountKey::from(&account).account();
                assert_eq!((back.owner, back.subaccount), (owner, subaccount));
            }
        }
    }

    #[test]
    fn an_absent_subaccount_is_the_one_of_zeros() {
        let owner = Principal::from_slice(&[1, 2, 3]);
        let key = |subaccount| AccountKey::from(&Account { owner, subaccount });
        assert_eq!(key(None), key(Some([0; 32])));
        assert_ne!(key(None), key(Some([1; 32])));
    }

    #[test]
    fn owners_that_differ_in_trailing_zeros_are_different() {
        let key = |bytes: &[u8]| AccountKey::from(&Account::from(Principal::from_slice(bytes)));
        assert_ne!(key(&[1]), key(&[1, 0]));
        assert!(key(&[1]) < key(&[1, 0]) && key(&[1, 0]) < key(&[2]));
    }
}
