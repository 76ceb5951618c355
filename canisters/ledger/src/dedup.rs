//! Deduplication as ICRC-1 lays it down: who sets `created_at_time` is never served twice within the window.
//!
//! A transaction is remembered under its `created_at_time` and its hash. The time is part of the transaction, so one
//! ordered tree finds duplicates and gives the oldest entries first. Whoever is older than the window is refused as too
//! old, so an entry that is pruned can never be missed.

use crate::{
    block_hash::Hash,
    blocks::BlockIndex,
    state::{Ledger, RecentKey},
};

/// How long a transaction is remembered, in nanoseconds: 24 hours.
pub const WINDOW: u64 = 24 * 60 * 60 * 1_000_000_000;
/// How far the clocks of caller and ledger may differ, in nanoseconds: 2 minutes.
pub const PERMITTED_DRIFT: u64 = 2 * 60 * 1_000_000_000;
/// The most entries that one call forgets; two, while it adds at most one, so that the tree shrinks under load.
const PRUNED_PER_CALL: usize = 2;

/// Why a `created_at_time` is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTime {
    /// Before the window: nobody can say whether it was done before.
    TooOld,
    /// Further ahead of the ledger's clock than is permitted.
    CreatedInFuture {
        /// The ledger's clock.
        ledger_time: u64,
    },
}

/// Checks that a time lies within the window.
pub fn check_time(created_at_time: Option<u64>, now: u64) -> Result<(), BadTime> {
    match created_at_time {
        Some(time) if is_too_old(time, now) => Err(BadTime::TooOld),
        Some(time) if time > now.saturating_add(PERMITTED_DRIFT) => {
            Err(BadTime::CreatedInFuture { ledger_time: now })
        }
        _ => Ok(()),
    }
}

/// The block of the same transaction, where it was done before.
pub fn find(
    ledger: &Ledger,
    created_at_time: Option<u64>,
    transaction: &Hash,
) -> Option<BlockIndex> {
    ledger.recent.get(&key(created_at_time?, transaction))
}

/// Remembers a transaction, if it asked for that by its `created_at_time`.
pub(crate) fn remember(
    ledger: &mut Ledger,
    created_at_time: Option<u64>,
    transaction: &Hash,
    block: BlockIndex,
) {
    if let Some(time) = created_at_time {
        ledger.recent.insert(key(time, transaction), block);
        ledger.hints.oldest_recent = ledger.hints.oldest_recent.min(time);
    }
}

/// Forgets a few transactions that lie before the window.
pub(crate) fn prune(ledger: &mut Ledger, now: u64) {
    for _ in 0..PRUNED_PER_CALL {
        if !is_too_old(ledger.hints.oldest_recent, now) {
            return;
        }
        let Some((key, _)) = ledger.recent.first_key_value() else {
            ledger.hints.oldest_recent = u64::MAX;
            return;
        };
        let time = key
            .first_chunk::<8>()
            .map(|time| u64::from_be_bytes(*time))
            .expect("the key begins with a time of 8 bytes");
        ledger.hints.oldest_recent = time;
        if is_too_old(time, now) {
            ledger.recent.remove(&key);
        }
    }
}

/// The one predicate for the window's end.
fn is_too_old(created_at_time: u64, now: u64) -> bool {
    created_at_time.saturating_add(WINDOW + PERMITTED_DRIFT) < now
}

fn key(created_at_time: u64, transaction: &Hash) -> RecentKey {
    let mut key = [0; 8 + 32];
    key[..8].copy_from_slice(&created_at_time.to_be_bytes());
    key[8..].copy_from_slice(transaction);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_begins_a_day_and_the_drift_ago_and_ends_the_drift_ahead() {
        let now = 10 * WINDOW;
        let check = |time| check_time(Some(time), now);
        let oldest = now - WINDOW - PERMITTED_DRIFT;
        assert_eq!(check(oldest), Ok(()));
        assert_eq!(check(oldest - 1), Err(BadTime::TooOld));
        assert_eq!(check(now + PERMITTED_DRIFT), Ok(()));
        let ahead = Err(BadTime::CreatedInFuture { ledger_time: now });
        assert_eq!(check(now + PERMITTED_DRIFT + 1), ahead);
        assert_eq!(check(u64::MAX), ahead);
        assert_eq!(check(0), Err(BadTime::TooOld));
        assert_eq!(check_time(None, now), Ok(()));
    }
}
