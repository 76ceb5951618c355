//! What anybody may ask of mining: where it stands, how days were divided, what a node got. History is kept for ever;
//! every call reads a bounded part of it.

use crate::mining::records::{EpochRecord, PowerRecord};
use crate::mining::{earnings::owed, power, schedule};
use crate::state::State;
use candid::Principal;
use emc_protocol::mining::{
    EpochSummary, MiningStatus, NextStage, NodeEpoch, POOL_SUBACCOUNT, epoch,
};
use emc_protocol::{Timestamp, Tokens, limits};

/// Most days before today that are looked through for lines that are not closed.
const OPEN_DAYS: usize = 32;

/// Where mining stands.
pub fn status(state: &State, now: u64) -> MiningStatus {
    let (mining, totals) = (state.mining.get(), state.totals.get());
    let today = epoch(Timestamp(now));
    let day = mining.first.map(|first| today.saturating_sub(first));
    let next_stage = mining.first.zip(day).and_then(|(first, day)| {
        let (day, scheduled) = schedule::next(day)?;
        Some(NextStage {
            epoch: first.checked_add(day)?,
            scheduled: Tokens(scheduled),
        })
    });
    let closed = mining.first.is_some_and(|first| first < mining.next);
    MiningStatus {
        first_epoch: mining.first,
        epoch: today,
        closed: closed.then(|| mining.next - 1),
        scheduled: Tokens(day.map_or(0, schedule::of)),
        rolled_over: Tokens(mining.rolled),
        distributed: Tokens(totals.mined),
        owed: Tokens(owed(state)),
        paid: Tokens(totals.drawn),
        pool: Tokens(mining.pool),
        pool_subaccount: POOL_SUBACCOUNT.to_vec(),
        escrows: state.config.get().mining_escrows(),
        next_stage,
        closing: mining.closing.is_some().then_some(mining.next),
    }
}

/// Closed epochs, from one on, oldest first.
pub fn epochs(state: &State, start: u64, limit: u32) -> Vec<EpochSummary> {
    let page = state.epochs.range(start..).take(page(limit));
    page.map(|entry| summary(*entry.key(), entry.value()))
        .collect()
}

/// What a node got, newest first, before an epoch where one is given. Days that are not closed come first, without a
/// reward.
pub fn of_node(
    state: &State,
    now: u64,
    node: Principal,
    before: Option<u64>,
    limit: u32,
) -> Vec<NodeEpoch> {
    let before = before.unwrap_or(u64::MAX);
    let mut open = power::open(state.mining.get(), now);
    // What is being closed is not taken any more, and still to be given.
    if let Some(open) = open
        .as_mut()
        .filter(|_| state.mining.get().closing.is_some())
    {
        *open = state.mining.get().next..=*open.end();
    }
    let days = open.into_iter().flat_map(|open| open.rev().take(OPEN_DAYS));
    let waiting = days.filter(|day| *day < before).filter_map(|day| {
        let shown = state.powers.get(&(day, node))?;
        Some(line(day, shown, None))
    });
    let mined = state.mined.range((node, 0)..(node, before)).rev();
    let mined = mined.map(|entry| {
        let record = entry.value();
        line(entry.key().1, record.shown, Some(record.reward))
    });
    waiting.chain(mined).take(page(limit)).collect()
}

/// What an owner can withdraw.
pub fn earnings(state: &State, owner: Principal) -> Tokens {
    Tokens(state.earnings.get(&owner).unwrap_or_default())
}

fn page(limit: u32) -> usize {
    limit.clamp(1, limits::PAGE) as usize
}

fn line(epoch: u64, shown: PowerRecord, reward: Option<u128>) -> NodeEpoch {
    NodeEpoch {
        epoch,
        power: shown.power,
        votes: shown.votes,
        forfeited: shown.forfeited,
        reward: reward.map(Tokens),
    }
}

fn summary(epoch: u64, record: EpochRecord) -> EpochSummary {
    let closed = record.closed;
    EpochSummary {
        epoch,
        scheduled: Tokens(closed.scheduled),
        available: Tokens(closed.available),
        to_miners: Tokens(closed.to_miners),
        to_validators: Tokens(closed.to_validators),
        rolled_over: Tokens(record.rolled),
        power: closed.power,
        votes: closed.votes,
        miners: closed.miners,
        forfeited: closed.forfeited,
    }
}
