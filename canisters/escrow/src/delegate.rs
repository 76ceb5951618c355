//! Delegates: whom an account lets submit jobs on its balance, and for how much. A job counts with what it locks; what
//! comes back at its end comes back to the limit, as long as that is still the same permission.

use crate::movement::{Account, Reason};
use crate::records::*;
use crate::state::State;
use candid::Principal;
use emc_protocol::account::{Delegate, SetDelegate};
use emc_protocol::{ApiError, Timestamp, Tokens, error::code, limits};

/// Gives a permission, replaces it, or takes it away.
///
/// # Errors
/// The caller has no account, names itself, or has named too many.
pub fn set(
    state: &mut State,
    now: Timestamp,
    caller: Principal,
    args: &SetDelegate,
) -> Result<(), ApiError> {
    let key = (caller, args.delegate);
    if args.limit.is_zero() {
        remove(state, key);
        return Ok(());
    }
    if args.delegate == caller || args.delegate == Principal::anonymous() {
        return Err(ApiError::invalid("delegate", "somebody else's principal"));
    }
    if args.limit > Tokens(u64::MAX.into()) {
        return Err(ApiError::invalid("limit", "an amount that can exist"));
    }
    if args.expires.is_some_and(|expires| expires <= now) {
        return Err(ApiError::invalid("expires", "a time to come"));
    }
    if !state.books.knows(&caller) {
        return Err(ApiError::new(
            code::INSUFFICIENT_FUNDS,
            "Your account here is empty, so that nobody could pay from it: deposit first.",
        ));
    }
    let known = state.delegations.contains_key(&key);
    if !known && of(state, caller).count() >= limits::DELEGATES {
        let expired: Vec<_> = of(state, caller)
            .filter(|(_, record)| has_expired(record, now))
            .map(|(delegate, _)| delegate)
            .collect();
        for delegate in &expired {
            remove(state, (caller, *delegate));
        }
        if expired.is_empty() {
            return Err(ApiError::new(
                code::LIMIT,
                format!(
                    "You have {} delegates, the limit: take a permission away first, with a limit of 0.",
                    limits::DELEGATES
                ),
            ));
        }
    }
    state.count(|counts| counts.delegations += 1);
    let record = DelegationRecord {
        number: state.counts.get().delegations,
        limit: args.limit,
        left: args.limit,
        expires: args.expires,
    };
    if !known {
        count(state, args.delegate, |permissions| permissions + 1);
    }
    state.delegations.insert(key, record);
    Ok(())
}

/// An account's delegates.
pub fn list(state: &State, owner: Principal) -> Vec<Delegate> {
    of(state, owner)
        .map(|(delegate, record)| Delegate {
            delegate,
            limit: record.limit,
            left: record.left,
            expires: record.expires,
        })
        .collect()
}

/// True for whoever is somebody's delegate.
pub fn is_delegate(state: &State, principal: &Principal) -> bool {
    state.delegates.contains_key(principal)
}

/// The permission by which `delegate` may spend so much of the payer's balance.
///
/// # Errors
/// `not_delegated`.
pub(crate) fn check(
    state: &State,
    now: Timestamp,
    payer: Principal,
    delegate: Principal,
    amount: Tokens,
) -> Result<DelegationUsed, ApiError> {
    let refused = |why: String| ApiError::new(code::NOT_DELEGATED, why);
    let Some(record) = state.delegations.get(&(payer, delegate)) else {
        return Err(refused(format!(
            "{delegate} may not spend {payer}'s balance: {payer} has to call `set_delegate` first."
        )));
    };
    if has_expired(&record, now) {
        return Err(refused(format!(
            "{delegate}'s permission to spend {payer}'s balance has expired: renew it with `set_delegate`."
        )));
    }
    if record.left < amount {
        return Err(refused(format!(
            "{delegate} may spend {} EMC more of {payer}'s balance, this job locks {amount} EMC: raise the limit with `set_delegate`.",
            record.left
        )));
    }
    Ok(DelegationUsed {
        delegate,
        number: record.number,
    })
}

/// Takes what a job locks from the limit. It was checked.
pub(crate) fn spend(state: &mut State, payer: Principal, used: DelegationUsed, amount: Tokens) {
    change(state, payer, used, |left| left.saturating_sub(amount.0));
}

/// Gives back to the limit what came back from a job, at its end.
pub(crate) fn give_back(state: &mut State, job: &JobRecord) {
    let Some(used) = job.delegation else { return };
    let lines = job.movements.iter().flat_map(|movement| movement.lines());
    let back: i128 = lines
        .filter(|line| {
            line.account == Account::Available(job.requester)
                && matches!(line.reason, Reason::Refund | Reason::AuditFee)
        })
        .map(|line| line.amount)
        .sum();
    let back = u128::try_from(back).unwrap_or_default();
    change(state, job.requester, used, |left| {
        left.saturating_add(back.min(job.max_price.0))
    });
}

fn change(
    state: &mut State,
    payer: Principal,
    used: DelegationUsed,
    of_left: impl FnOnce(u128) -> u128,
) {
    let key = (payer, used.delegate);
    if let Some(mut record) = state.delegations.get(&key)
        && record.number == used.number
    {
        record.left = Tokens(of_left(record.left.0));
        state.delegations.insert(key, record);
    }
}

fn remove(state: &mut State, key: (Principal, Principal)) {
    if state.delegations.remove(&key).is_some() {
        count(state, key.1, |permissions| permissions.saturating_sub(1));
    }
}

/// Counts how many permissions a delegate has.
fn count(state: &mut State, delegate: Principal, change: impl FnOnce(u32) -> u32) {
    match change(state.delegates.get(&delegate).unwrap_or_default()) {
        0 => state.delegates.remove(&delegate),
        permissions => state.delegates.insert(delegate, permissions),
    };
}

fn has_expired(record: &DelegationRecord, now: Timestamp) -> bool {
    record.expires.is_some_and(|expires| expires <= now)
}

fn of(state: &State, owner: Principal) -> impl Iterator<Item = (Principal, DelegationRecord)> + '_ {
    let first = (owner, Principal::management_canister());
    state
        .delegations
        .range(first..)
        .take_while(move |entry| entry.key().0 == owner)
        .map(|entry| (entry.key().1, entry.value()))
}
