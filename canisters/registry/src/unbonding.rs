//! Unbonding: stake on its way out. It leaves its allotment at once, the escrow learns of that from the feed, and the clock
//! starts when the escrow has acknowledged that what it has reserved fits into what is left. Until then the escrow can
//! slash it.
//!
//! An escrow that sends no report for the time of silence no longer holds what leaves it: its clock starts by itself.

use crate::feed;
use crate::keys::Subject;
use crate::postings::{Account, transfer};
use crate::purpose::Purpose;
use crate::records::{UnbondingRecord, WaitingRecord};
use crate::stake::{self, in_flight, owned};
use crate::state::State;
use candid::Principal;
use emc_journal::{Account as LedgerAccount, Operation};
use emc_protocol::node::UnstakeArgs;
use emc_protocol::report::Acknowledgement;
use emc_protocol::{ApiError, ErrorDetail, Timestamp, Tokens, error::code};
use std::ops::Bound;

/// Most unbondings of one node at a time.
pub const UNBONDINGS: usize = 32;
const SECOND: u64 = 1_000_000_000;
/// Unbondings that the timer looks at in one go.
const SWEPT_PER_TICK: usize = 200;
/// How long the timer rests between two ways through all of them, nanoseconds.
const SWEEP_REST: u64 = 3600 * SECOND;

/// The timer's way through the unbondings, to find those whose escrow is silent.
#[derive(Debug, Default)]
pub struct Sweep {
    after: Option<(Principal, u64)>,
    next: u64,
}

/// Takes stake out of an allotment; it waits for the escrow from now on.
///
/// # Errors
/// `not_found`, `forbidden`, `invalid`, `insufficient_funds`, `limit`.
pub fn unstake(
    state: &mut State,
    now: u64,
    caller: Principal,
    args: &UnstakeArgs,
) -> Result<(), ApiError> {
    let (node, escrow) = (args.node, args.escrow);
    owned(state, caller, node)?;
    if args.amount.is_zero() {
        return Err(ApiError::invalid("amount", "above zero"));
    }
    let available = state.allotments.get(&(node, escrow)).unwrap_or_default();
    if available < args.amount.0 {
        return Err(ApiError::new(
            code::INSUFFICIENT_FUNDS,
            format!(
                "Only {} EMC of the node's stake is allotted to that escrow.",
                Tokens(available)
            ),
        )
        .with(ErrorDetail::InsufficientFunds {
            available: Tokens(available),
            needed: args.amount,
        }));
    }
    if unbondings(state, node).len() >= UNBONDINGS {
        return Err(ApiError::limit(
            "unbonding",
            UNBONDINGS as u64 + 1,
            UNBONDINGS as u64,
        ));
    }
    let id = state.totals.get().unbondings + 1;
    state.change_totals(|totals| totals.unbondings = id);
    let mut record = UnbondingRecord {
        escrow,
        amount: 0,
        ready: 0,
        entry: None,
        waiting: None,
    };
    state.unbonding.insert((node, id), record.clone());
    transfer(
        state,
        Account::Allotted { node, escrow },
        Account::Unbonding { node, id },
        args.amount.0,
    )
    .expect("the allotment holds it, and the unbonding is new");
    stake::note_exit(state, node);
    feed::announce(state, Subject::Node(node));
    record.amount = args.amount.0;
    record.waiting = Some(WaitingRecord {
        announced: state.totals.get().sequence,
        since: now,
        wait: state.config.get().unbonding,
    });
    state.unbonding.insert((node, id), record.clone());
    // Where no silence is tolerated, nobody is waited for.
    start_if_silent(state, now, (node, id), record);
    Ok(())
}

/// Starts the clocks that an escrow's acknowledgement is for; false where there are none.
pub fn acknowledge(
    state: &mut State,
    now: u64,
    escrow: Principal,
    acknowledgement: &Acknowledgement,
) -> bool {
    let node = acknowledgement.node;
    let mut any = false;
    for (id, mut record) in waiting(state, node, escrow) {
        let meant = record
            .waiting
            .filter(|waiting| waiting.announced <= acknowledgement.sequence);
        if let Some(waiting) = meant {
            start(&mut record, waiting, now);
            state.unbonding.insert((node, id), record);
            any = true;
        }
    }
    any
}

fn start(record: &mut UnbondingRecord, waiting: WaitingRecord, from: u64) {
    record.waiting = None;
    record.ready = from.saturating_add(waiting.wait.saturating_mul(SECOND));
}

/// When the clock of what waits starts by itself, if the escrow sends no report until then.
pub fn starts_by(state: &State, escrow: Principal, waiting: WaitingRecord) -> u64 {
    let heard = state.escrows.get(&escrow).unwrap_or_default().heard;
    let silence = state.config.get().silence().saturating_mul(SECOND);
    heard.max(waiting.since).saturating_add(silence)
}

/// Starts an unbonding's clock if its escrow has been silent for long; true if it did.
fn start_if_silent(
    state: &mut State,
    now: u64,
    key: (Principal, u64),
    mut record: UnbondingRecord,
) -> bool {
    let Some(waiting) = record.waiting else {
        return false;
    };
    let by = starts_by(state, record.escrow, waiting);
    if by > now {
        return false;
    }
    start(&mut record, waiting, by);
    state.unbonding.insert(key, record);
    feed::announce(state, Subject::Node(key.0));
    true
}

/// Looks for unbondings whose escrow is silent, a bounded step; called by the timer.
pub fn sweep(state: &mut State, now: u64) {
    if now < state.sweep.next {
        return;
    }
    let start = state.sweep.after.map_or(Bound::Unbounded, Bound::Excluded);
    let from_there = state.unbonding.range((start, Bound::Unbounded));
    let looked_at: Vec<_> = from_there
        .take(SWEPT_PER_TICK)
        .map(|entry| (*entry.key(), entry.value()))
        .collect();
    let last = looked_at.last().map(|(key, _)| *key);
    if looked_at.len() < SWEPT_PER_TICK {
        state.sweep = Sweep {
            after: None,
            next: now.saturating_add(SWEEP_REST),
        };
    } else {
        state.sweep.after = last;
    }
    for (key, record) in looked_at {
        start_if_silent(state, now, key, record);
    }
}

/// Opens the ledger call that pays an unbonding out to the node's owner: the named one, else the oldest that is ready.
///
/// # Errors
/// `not_found`, `forbidden`, `in_flight`, `wrong_state` with the time to wait, `invalid` where the fee takes it all.
pub fn begin_withdrawal(
    state: &mut State,
    now: u64,
    caller: Principal,
    node: Principal,
    id: Option<u64>,
    fee: u128,
) -> Result<u64, ApiError> {
    let owner = owned(state, caller, node)?.owner;
    for (id, record) in unbondings(state, node) {
        start_if_silent(state, now, (node, id), record);
    }
    let (id, mut record) = choose(state, now, node, id)?;
    if let Some(entry) = record.entry {
        return Err(in_flight(entry));
    }
    check_ready(state, now, id, &record)?;
    let Some(arrives) = record.amount.checked_sub(fee).filter(|rest| *rest > 0) else {
        return Err(ApiError::invalid(
            "id",
            format!("an unbonding above the ledger's fee of {} EMC", Tokens(fee)),
        ));
    };
    let operation = Operation::Transfer {
        from_subaccount: None,
        to: LedgerAccount {
            owner,
            subaccount: None,
        },
        amount: arrives,
        fee,
    };
    let amount = record.amount;
    let purpose = Purpose::Withdraw { node, id };
    let entry = state.journal.open(operation, purpose.encode(), now);
    record.entry = Some(entry);
    state.unbonding.insert((node, id), record);
    transfer(
        state,
        Account::Unbonding { node, id },
        Account::Leaving { entry },
        amount,
    )
    .expect("the unbonding holds exactly this amount, and the entry is new");
    Ok(entry)
}

fn check_ready(state: &State, now: u64, id: u64, record: &UnbondingRecord) -> Result<(), ApiError> {
    let (until, message) = match record.waiting {
        Some(waiting) => {
            let by = starts_by(state, record.escrow, waiting);
            let wait = waiting.wait.saturating_mul(SECOND);
            (
                by.saturating_add(wait),
                format!(
                    "Unbonding {id} waits until the escrow has nothing reserved of it any more; then {} s have to pass.",
                    waiting.wait
                ),
            )
        }
        None if now < record.ready => {
            let seconds = Timestamp(record.ready).since(Timestamp(now)).0 + 1;
            (
                record.ready,
                format!("Unbonding {id} can be withdrawn in {seconds} s."),
            )
        }
        None => return Ok(()),
    };
    let seconds = Timestamp(until).since(Timestamp(now));
    Err(ApiError::new(code::WRONG_STATE, message).with(ErrorDetail::RetryAfter { seconds }))
}

fn choose(
    state: &State,
    now: u64,
    node: Principal,
    id: Option<u64>,
) -> Result<(u64, UnbondingRecord), ApiError> {
    let nothing = |what| ApiError::new(code::NOT_FOUND, what);
    if let Some(id) = id {
        let found = state.unbonding.get(&(node, id)).map(|record| (id, record));
        return found.ok_or_else(|| nothing("This node has no unbonding of that number."));
    }
    let all = unbondings(state, node);
    let free = || all.iter().filter(|(_, record)| record.entry.is_none());
    let runs = || free().filter(|(_, record)| record.waiting.is_none());
    let ready = runs().find(|(_, record)| record.ready <= now);
    let next = ready
        .or_else(|| runs().min_by_key(|(_, record)| record.ready))
        .or_else(|| free().next())
        .or(all.first());
    next.cloned()
        .ok_or_else(|| nothing("Nothing of this node's stake is unbonding: `unstake` first."))
}

/// Books what the ledger call of a payment has led to.
pub fn paid(state: &mut State, entry: u64, done: bool, whose: (Principal, u64)) {
    let (node, id) = whose;
    let amount = state.leaving.get(&entry).unwrap_or_default();
    let to = if done {
        Account::Outside
    } else {
        Account::Unbonding { node, id }
    };
    transfer(state, Account::Leaving { entry }, to, amount)
        .expect("the entry holds exactly this amount");
    if done {
        state.unbonding.remove(&(node, id));
    } else if let Some(mut record) = state.unbonding.get(&(node, id)) {
        record.entry = None;
        state.unbonding.insert((node, id), record);
    }
}

/// A node's unbondings, oldest first.
pub fn unbondings(state: &State, node: Principal) -> Vec<(u64, UnbondingRecord)> {
    let of_node = state.unbonding.range((node, 0)..=(node, u64::MAX));
    of_node
        .map(|entry| (entry.key().1, entry.value()))
        .collect()
}

/// Those that left an escrow and wait for its acknowledgement, oldest first.
pub fn waiting(state: &State, node: Principal, escrow: Principal) -> Vec<(u64, UnbondingRecord)> {
    let mut waiting = unbondings(state, node);
    waiting.retain(|(_, record)| record.escrow == escrow && record.waiting.is_some());
    waiting
}
