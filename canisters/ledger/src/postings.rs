//! Changes of balances, as double-entry postings: what is taken equals what is given, always.
//!
//! Minting takes from the issue, burning (fees too) gives to the retired; supply is what was issued less what was
//! retired. Nothing else in the ledger writes a balance.

use crate::{
    account::AccountKey,
    state::{Header, Ledger},
    tokens::Tokens,
    transaction::Operation,
};
use icrc_ledger_types::icrc1::account::Account;

/// One line of an entry in the books.
#[derive(Clone, Copy, Debug)]
pub enum Posting<'a> {
    /// Taken from an account.
    Debit {
        /// Whose.
        account: &'a Account,
        /// What it held before, as the check found it; it saves a second look.
        held: Tokens,
        /// How much.
        amount: Tokens,
    },
    /// Given to an account.
    Credit {
        /// Whose.
        account: &'a Account,
        /// How much.
        amount: Tokens,
    },
    /// Taken from what was never issued: a mint.
    Issue(Tokens),
    /// Given up for ever: a burn or a fee.
    Retire(Tokens),
}

/// The entry that a checked operation makes in the books; `held` is what the paying account holds before, `fee` what it
/// is charged.
pub(crate) fn entry(operation: &Operation, held: Tokens, fee: Tokens) -> Vec<Posting<'_>> {
    let debit = |account, amount: Tokens| Posting::Debit {
        account,
        held,
        amount: amount
            .checked_add(fee)
            .expect("amount and fee were found to be covered"),
    };
    match operation {
        Operation::Mint { to, amount } => vec![
            Posting::Issue(*amount),
            Posting::Credit {
                account: to,
                amount: *amount,
            },
        ],
        Operation::Burn { from, amount, .. } => {
            vec![debit(from, *amount), Posting::Retire(*amount)]
        }
        Operation::Transfer {
            from, to, amount, ..
        } => vec![
            debit(from, *amount),
            Posting::Credit {
                account: to,
                amount: *amount,
            },
            Posting::Retire(fee),
        ],
        Operation::Approve { from, .. } => vec![debit(from, Tokens::ZERO), Posting::Retire(fee)],
    }
}

/// Applies an entry whose lines were all checked before.
///
/// # Panics
/// Where the lines do not balance or a debit was not checked: a mistake of ours, which must undo the whole message.
pub(crate) fn apply(ledger: &mut Ledger, header: &mut Header, postings: &[Posting<'_>]) {
    let (mut taken, mut given) = (Tokens::ZERO, Tokens::ZERO);
    let add = |sum: &mut Tokens, amount: Tokens| {
        *sum = sum
            .checked_add(amount)
            .expect("amounts are within the supply");
    };
    for posting in postings {
        match *posting {
            Posting::Debit {
                account,
                held,
                amount,
            } => {
                add(&mut taken, amount);
                debit(ledger, account, held, amount);
            }
            Posting::Credit { account, amount } => {
                add(&mut given, amount);
                credit(ledger, account, amount);
            }
            Posting::Issue(amount) => {
                add(&mut taken, amount);
                add(&mut header.minted, amount);
            }
            Posting::Retire(amount) => {
                add(&mut given, amount);
                add(&mut header.burned, amount);
            }
        }
    }
    assert_eq!(taken, given, "the postings of an entry sum to zero");
}

/// An account that holds nothing is not kept.
fn debit(ledger: &mut Ledger, account: &Account, held: Tokens, amount: Tokens) {
    if amount.is_zero() {
        return;
    }
    let left = held
        .checked_sub(amount)
        .expect("funds were checked before the debit");
    let key = AccountKey::from(account);
    let before = if left.is_zero() {
        ledger.balances.remove(&key)
    } else {
        ledger.balances.insert(key, stored(left))
    };
    assert_eq!(
        before,
        Some(stored(held)),
        "the balance is the one that was checked"
    );
}

/// One walk through the tree for an account that is new, two for one that is there.
fn credit(ledger: &mut Ledger, account: &Account, amount: Tokens) {
    if amount.is_zero() {
        return;
    }
    let key = AccountKey::from(account);
    let amount = stored(amount);
    if let Some(held) = ledger.balances.insert(key, amount) {
        let sum = held
            .checked_add(amount)
            .expect("no balance is larger than the supply");
        ledger.balances.insert(key, sum);
    }
}

/// A balance as it is stored.
fn stored(balance: Tokens) -> u64 {
    u64::try_from(balance.0).expect("no balance passes the cap, which fits 64 bits")
}
