//! Closing a day: what it has to give is fixed, all power and votes are summed, and the shares are given, in steps that
//! are bounded and of which each leaves everything in stable memory. So a restart in the middle changes nothing.
//!
//! A day is closed when every named escrow has reported all of it, or three days after its end without that: an escrow
//! that is away does not stop mining for ever. Nine tenths go to power, one tenth to votes; what is not given away (for
//! want of power, of votes or of money, and what rounding leaves) rolls over.

use crate::mining::earnings::owed;
use crate::mining::records::{ClosingRecord, EpochRecord, MinedRecord, MiningRecord, PowerRecord};
use crate::mining::schedule;
use crate::postings::{Account, transfer};
use crate::state::State;
use candid::Principal;
use emc_protocol::Timestamp;
use emc_protocol::mining::{begins, epoch, parts, share};
use std::ops::Bound;

const SECOND: u64 = 1_000_000_000;
/// How long after a day's end escrows are waited for, nanoseconds.
pub const PATIENCE: u64 = 3 * 24 * 3600 * SECOND;
/// How long the pool is left alone where it did not suffice or the ledger did not answer, nanoseconds.
const REST: u64 = 300 * SECOND;
/// Nodes that one step deals with.
pub const STEP: usize = 200;

/// Why the pool is looked at, and what was known before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The epoch that waits for it.
    next: u64,
    /// What was owed to owners, e8s.
    owed: u128,
}

/// Whether the pool is to be looked at now: a day waits to be closed, or mining waits to begin.
pub fn look(state: &State, now: u64) -> Option<Look> {
    let mining = state.mining.get();
    let waits = match mining.first {
        None => !state.config.get().mining_escrows().is_empty(),
        Some(_) => mining.closing.is_none() && is_due(state, mining, now),
    };
    (waits && now >= mining.look_after).then(|| Look {
        next: mining.next,
        owed: owed(state),
    })
}

fn is_due(state: &State, mining: &MiningRecord, now: u64) -> bool {
    let end = begins(mining.next + 1).0;
    let complete = |escrow: Principal| {
        let known = state.escrows.get(&escrow).unwrap_or_default();
        known.measured >= Some(mining.next)
    };
    let mut escrows = state.config.get().mining_escrows().into_iter();
    now >= end && (now >= end.saturating_add(PATIENCE) || escrows.all(complete))
}

/// Leaves the pool alone for a while.
pub fn postpone(state: &mut State, now: u64) {
    let mut mining = state.mining.get().clone();
    mining.look_after = now.saturating_add(REST);
    state.mining.set(mining);
}

/// The pool holds this much: mining begins, if that is a day's reward at least; or the day that waited is closed.
pub fn found(state: &mut State, now: u64, before: Look, balance: u128) {
    let Some(look) = look(state, now).filter(|look| look.next == before.next) else {
        return;
    };
    let mut mining = state.mining.get().clone();
    mining.pool = balance;
    // Withdrawals may have been paid before the ledger counted and be settled since, or the other way round.
    let free = balance.saturating_sub(before.owed.max(look.owed));
    match mining.first {
        None if free >= schedule::FIRST => {
            let today = epoch(Timestamp(now));
            mining.first = Some(today);
            mining.next = today;
        }
        None => mining.look_after = now.saturating_add(REST),
        Some(first) => {
            let scheduled = schedule::of(mining.next.saturating_sub(first));
            // At most as much again of what was rolled over: waiting for others to go does not pay.
            let again = mining.rolled.min(scheduled);
            mining.closing = Some(ClosingRecord {
                scheduled,
                available: (scheduled + again).min(free),
                ..ClosingRecord::default()
            });
        }
    }
    state.mining.set(mining);
}

/// The next step of the closing that is under way, if there is one; called by the timer.
pub fn step(state: &mut State) {
    let mut mining = state.mining.get().clone();
    let Some(mut closing) = mining.closing.take() else {
        return;
    };
    let batch = batch(state, mining.next, closing.after());
    let last = batch.len() < STEP;
    if !closing.summed {
        sum(&mut closing, &batch);
        closing.summed = last;
        if last {
            closing.after = None;
        }
        mining.closing = Some(closing);
    } else {
        for (node, shown) in batch {
            give(state, &mut closing, mining.next, node, shown);
        }
        if last {
            end(state, &mut mining, closing);
        } else {
            mining.closing = Some(closing);
        }
    }
    state.mining.set(mining);
}

/// The next nodes of an epoch. Those that were given their share are no longer there.
fn batch(state: &State, epoch: u64, after: Option<Principal>) -> Vec<(Principal, PowerRecord)> {
    let first = (epoch, Principal::from_slice(&[]));
    let start = match after {
        Some(node) => Bound::Excluded((epoch, node)),
        None => Bound::Included(first),
    };
    let end = Bound::Excluded((epoch + 1, Principal::from_slice(&[])));
    let lines = state.powers.range((start, end)).take(STEP);
    lines.map(|entry| (entry.key().1, entry.value())).collect()
}

fn sum(closing: &mut ClosingRecord, batch: &[(Principal, PowerRecord)]) {
    for (_, shown) in batch {
        if shown.forfeited {
            closing.forfeited += 1;
            continue;
        }
        // Each is at most 2^80.
        closing.power = closing.power.saturating_add(shown.power);
        closing.votes = closing.votes.saturating_add(shown.votes.into());
        closing.miners += u32::from(shown.power > 0);
    }
    if let Some((node, _)) = batch.last() {
        closing.after = Some(node.as_slice().to_vec());
    }
}

fn give(
    state: &mut State,
    closing: &mut ClosingRecord,
    epoch: u64,
    node: Principal,
    shown: PowerRecord,
) {
    let (mut for_power, mut for_votes) = (0, 0);
    let owner = state.nodes.get(&node).map(|record| record.owner);
    if let Some(owner) = owner.filter(|_| !shown.forfeited) {
        let (to_power, to_votes) = parts(closing.available);
        for_power = share(to_power, shown.power, closing.power);
        for_votes = share(to_votes, shown.votes.into(), closing.votes.into());
        transfer(
            state,
            Account::Pool,
            Account::Earned { owner },
            for_power + for_votes,
        )
        .expect("all rewards stay below the supply of the token");
    }
    closing.to_miners += for_power;
    closing.to_validators += for_votes;
    let reward = for_power + for_votes;
    state.powers.remove(&(epoch, node));
    state
        .mined
        .insert((node, epoch), MinedRecord { shown, reward });
}

fn end(state: &mut State, mining: &mut MiningRecord, closed: ClosingRecord) {
    let given = closed.to_miners + closed.to_validators;
    // No more is given than is scheduled and was rolled over.
    mining.rolled = (mining.rolled + closed.scheduled).saturating_sub(given);
    let record = EpochRecord {
        closed,
        rolled: mining.rolled,
    };
    state.epochs.insert(mining.next, record);
    mining.next += 1;
}
