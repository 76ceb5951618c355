//! Slashing: stake leaves an allotment for `burning`, and the ledger burns what is there, by a journalled transfer to its
//! minting account: one at a time, never lost, never doubled.
//!
//! A report is answered without the ledger; the timer burns. While a burn is under way its amount stays in `burning`;
//! what is slashed meanwhile is burned by the next one.

use crate::postings::{Account, apply, transfer};
use crate::purpose::Purpose;
use crate::state::State;
use crate::{stake, unbonding};
use candid::Principal;
use emc_journal::{Account as LedgerAccount, Entry, Operation};

/// How long to wait after a burn that could not be, nanoseconds: the ledger is away, or the amount is below its fee.
const REST: u64 = 600 * 1_000_000_000;

/// Takes what an escrow has slashed, as far as it is there: from the allotment first, then from what is leaving it and
/// still waits for the escrow's acknowledgement, the oldest first. How much that was.
pub fn slash(state: &mut State, node: Principal, escrow: Principal, asked: u128) -> u128 {
    let allotted = state.allotments.get(&(node, escrow)).unwrap_or_default();
    let waiting = unbonding::waiting(state, node, escrow);
    let mut left = asked;
    let mut postings = vec![];
    let mut emptied = vec![];
    let sources = std::iter::once((Account::Allotted { node, escrow }, allotted));
    let unbondings = waiting
        .iter()
        .map(|(id, record)| (Account::Unbonding { node, id: *id }, record.amount));
    for (account, held) in sources.chain(unbondings) {
        let taken = held.min(left);
        if taken == 0 {
            continue;
        }
        left -= taken;
        postings.push((account, -signed(taken)));
        if let Account::Unbonding { id, .. } = account
            && taken == held
        {
            emptied.push(id);
        }
    }
    let taken = asked - left;
    if taken == 0 {
        return 0;
    }
    postings.push((Account::Burning, signed(taken)));
    apply(state, &postings).expect("each account holds what is taken from it");
    for id in emptied {
        state.unbonding.remove(&(node, id));
    }
    stake::note_exit(state, node);
    taken
}

fn signed(amount: u128) -> i128 {
    i128::try_from(amount).expect("stake is below the supply of the token")
}

/// True if there is something to burn now.
pub fn is_due(state: &State, now: u64) -> bool {
    let totals = state.totals.get();
    totals.burn.is_none() && totals.burning > 0 && now >= totals.burn_after
}

/// Opens the ledger call that burns everything that is there to burn; `None` where there is nothing, or a call is under
/// way.
pub fn begin(state: &mut State, now: u64, minting_account: LedgerAccount) -> Option<u64> {
    if !is_due(state, now) {
        return None;
    }
    let operation = Operation::Transfer {
        from_subaccount: None,
        to: minting_account,
        amount: state.totals.get().burning,
        // A burn costs none.
        fee: 0,
    };
    let entry = state.journal.open(operation, Purpose::Burn.encode(), now);
    state.change_totals(|totals| totals.burn = Some(entry));
    Some(entry)
}

/// Tries again later.
pub fn postpone(state: &mut State, now: u64) {
    state.change_totals(|totals| totals.burn_after = now.saturating_add(REST));
}

/// Books what a burn has led to.
pub fn ended(state: &mut State, now: u64, entry: &Entry, done: bool) {
    state.change_totals(|totals| totals.burn = None);
    if !done {
        return postpone(state, now);
    }
    let amount = entry.operation.amount();
    transfer(state, Account::Burning, Account::Burned, amount)
        .expect("what is being burned stays in `burning` until now");
}
