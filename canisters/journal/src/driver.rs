//! The calls themselves: the only file with awaits.
//!
//! Committed before each await: that the action is begun ([`Journal::prepare`]). Committed after it, in one message: the
//! answer, and if it ends the entry, the canister's own books ([`Host::ended`]). If that message traps, the system undoes
//! it as if the answer had been lost, and the timer finds the entry as it was begun: its send is unknown.
//!
//! Who works on an entry holds a guard, so that two runs do not send it at once. The guard is in the heap and released on
//! drop: at the end of the run, and, because ic-cdk drops a trapped call's locals in the cleanup callback, after a trap.
//! An upgrade empties the heap. Should a guard ever be lost otherwise, it expires after [`GUARD_LIFE`], longer than any
//! bounded-wait call may take. Even two runs at once could not corrupt an entry: each send is counted by itself, and the
//! ledger recognises the repeated call; the guard only keeps things simple and cheap.

use crate::entry::Entry;
use crate::journal::{Journal, Progress};
use crate::ledger::{self, CallArgs, SCAN_PAGE};
use crate::refusal::Refusal;
use crate::verdict::{Action, Answer, Outcome};
use candid::{Nat, Principal};
use ic_cdk::api::{canister_self, time};
use ic_cdk::call::{Call, CallFailed, RejectCode, Response};
use ic_stable_structures::Memory;
use icrc_ledger_types::icrc3::blocks::GetBlocksResult;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// How long a call may take, seconds.
const CALL_SECONDS: u32 = 60;
/// When a guard counts as lost, nanoseconds.
pub const GUARD_LIFE: u64 = 15 * 60 * 1_000_000_000;
/// Calls made for one entry in one run; a longer scan goes on at the next.
const CALLS_PER_RUN: usize = 12;
/// Entries that one run of the timer looks at.
const ENTRIES_PER_TICK: usize = 8;

/// What the journal needs of its canister.
pub trait Host: 'static {
    /// The memory in which the journal lies.
    type Memory: Memory;

    /// The token's ledger.
    fn ledger() -> Principal;

    /// Lends the journal. Never called while it is lent.
    fn journal<R>(use_it: impl FnOnce(&mut Journal<Self::Memory>) -> R) -> R;

    /// An entry has ended: settle the books that [`Entry::purpose`] speaks of. Called exactly once in the history that
    /// is committed, outside [`Host::journal`], in the message that ends the entry.
    fn ended(entry: &Entry, outcome: &Outcome);
}

/// What a caller can be told after a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has ended; [`Host::ended`] was called.
    Ended(Outcome),
    /// Its outcome is not known yet; the timer goes on with it.
    Pending,
}

/// Works on an entry until it ends or has to rest. The books may have changed at every await inside: read them again.
pub async fn perform<H: Host>(id: u64) -> Verdict {
    let Some(guard) = Guard::take(id, time()) else {
        return Verdict::Pending;
    };
    for _ in 0..CALLS_PER_RUN {
        guard.renew(time());
        let Some((action, entry)) = H::journal(|journal| journal.prepare(id, time())) else {
            return Verdict::Pending;
        };
        let answer = match action {
            Action::Wait { .. } => return Verdict::Pending,
            Action::LookAtTip => look_at_tip(H::ledger()).await,
            Action::Send => send(H::ledger(), &entry).await,
            Action::Scan { from, .. } => scan(H::ledger(), &entry, from).await,
        };
        match H::journal(|journal| journal.apply(id, action, answer, time())) {
            Progress::Going => {}
            Progress::Resting | Progress::Gone => return Verdict::Pending,
            Progress::Ended(entry, outcome) => {
                H::ended(&entry, &outcome);
                return Verdict::Ended(outcome);
            }
        }
    }
    Verdict::Pending
}

/// Works on the entries that are due, a bounded number of them. To be called from a timer every few seconds.
pub async fn resume_due<H: Host>() {
    let due = H::journal(|journal| journal.due(time(), ENTRIES_PER_TICK));
    for id in due {
        perform::<H>(id).await;
    }
}

/// The ledger's fee in e8s: as last known, or asked for if it never was. A `BadFee` answer corrects it.
///
/// # Errors
/// The ledger does not answer.
pub async fn fee<H: Host>() -> Result<u128, Refusal> {
    if let Some(fee) = H::journal(|journal| journal.fee()) {
        return Ok(fee);
    }
    let unreachable = |text: String| Refusal::NotDelivered {
        text: ledger::short(&text),
    };
    let reply = Call::bounded_wait(H::ledger(), "icrc1_fee")
        .change_timeout(CALL_SECONDS)
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    let fee: Nat = reply
        .candid()
        .map_err(|error| unreachable(error.to_string()))?;
    let fee = ledger::amount(&fee);
    H::journal(|journal| journal.fee_is(fee));
    Ok(fee)
}

async fn look_at_tip(ledger: Principal) -> Answer {
    match get_blocks(ledger, 0, 0).await {
        Ok(page) => Answer::Tip {
            log_length: ledger::number(&page.log_length),
        },
        Err(text) => Answer::Lost { text },
    }
}

async fn scan(ledger: Principal, entry: &Entry, from: u64) -> Answer {
    match get_blocks(ledger, from, SCAN_PAGE).await {
        Ok(page) => ledger::looked(entry, canister_self(), from, &page),
        Err(text) => Answer::Lost { text },
    }
}

async fn get_blocks(ledger: Principal, from: u64, length: u64) -> Result<GetBlocksResult, String> {
    let reply = Call::bounded_wait(ledger, "icrc3_get_blocks")
        .with_arg(ledger::blocks_request(from, length))
        .change_timeout(CALL_SECONDS)
        .await
        .map_err(|error| ledger::short(&error.to_string()))?;
    reply
        .candid()
        .map_err(|error| ledger::short(&error.to_string()))
}

async fn send(ledger: Principal, entry: &Entry) -> Answer {
    let call = |method| Call::bounded_wait(ledger, method).change_timeout(CALL_SECONDS);
    match ledger::call_args(entry) {
        CallArgs::Transfer(args) => {
            let reply = call("icrc1_transfer").with_arg(args).await;
            read_reply(reply, |r| r.candid().map(ledger::transfer_answer))
        }
        CallArgs::TransferFrom(args) => {
            let reply = call("icrc2_transfer_from").with_arg(args).await;
            read_reply(reply, |r| r.candid().map(ledger::transfer_from_answer))
        }
    }
}

/// Only what the system names as undelivered is; an answer that cannot be read says nothing.
fn read_reply<E: std::fmt::Display>(
    reply: Result<Response, CallFailed>,
    read: impl FnOnce(&Response) -> Result<Answer, E>,
) -> Answer {
    let failed = match reply {
        Ok(response) => {
            return read(&response).unwrap_or_else(|error| Answer::Lost {
                text: ledger::short(&error.to_string()),
            });
        }
        Err(failed) => failed,
    };
    let text = ledger::short(&failed.to_string());
    let undelivered = match &failed {
        CallFailed::InsufficientLiquidCycleBalance(_) | CallFailed::CallPerformFailed(_) => true,
        CallFailed::CallRejected(reject) => matches!(
            reject.reject_code(),
            Ok(RejectCode::SysTransient | RejectCode::DestinationInvalid)
        ),
    };
    if undelivered {
        Answer::NotDelivered { text }
    } else {
        Answer::Lost { text }
    }
}

thread_local! {
    /// Entries that somebody works on, and when their guards expire.
    static AT_WORK: RefCell<BTreeMap<u64, u64>> = const { RefCell::new(BTreeMap::new()) };
}

struct Guard(u64);

impl Guard {
    fn take(id: u64, now: u64) -> Option<Self> {
        AT_WORK.with_borrow_mut(|at_work| {
            if at_work.get(&id).is_some_and(|expires| now < *expires) {
                return None;
            }
            at_work.insert(id, now.saturating_add(GUARD_LIFE));
            Some(Self(id))
        })
    }

    fn renew(&self, now: u64) {
        AT_WORK.with_borrow_mut(|at_work| at_work.insert(self.0, now.saturating_add(GUARD_LIFE)));
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        AT_WORK.with_borrow_mut(|at_work| at_work.remove(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_worked_on_by_one_run_at_a_time() {
        let first = Guard::take(7, 100).expect("nobody works on it");
        assert!(Guard::take(7, 101).is_none());
        assert!(Guard::take(8, 101).is_some());
        drop(first);
        assert!(Guard::take(7, 102).is_some());
    }

    #[test]
    fn a_lost_guard_expires() {
        std::mem::forget(Guard::take(9, 100));
        assert!(Guard::take(9, 99 + GUARD_LIFE).is_none());
        assert!(Guard::take(9, 100 + GUARD_LIFE).is_some());
    }
}
