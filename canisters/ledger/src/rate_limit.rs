//! Token buckets, in bounded memory: calls cost their callers nothing, so a flood must be slowed otherwise. One for each
//! caller, of calls, and one for all callers together, of blocks.
//!
//! A full bucket is the same as none, so buckets that have filled up again are forgotten without loss. When the table is
//! full of buckets that have not, callers who are not in it share one bucket, so that a flood from many principals slows
//! the strangers among themselves and not those who are known. Lives on the heap: an upgrade fills every bucket.
//!
//! Principals cost nothing either, so what bounds the growth of storage is the bucket of all. While it is less than half
//! full, the rest is kept for accounts that hold at least [`RESERVED_FOR`]: a flood of dust slows other dust, not them.

use crate::tokens::Tokens;
use candid::{CandidType, Deserialize, Principal};
use std::collections::{BTreeMap, VecDeque};

/// The most callers whose buckets are remembered; about 2 MB.
const MAX_CALLERS: usize = 20_000;
/// How many buckets are looked at per call, to forget those that are full.
const SWEPT_PER_CALL: usize = 2;
const MINUTE: u128 = 60 * 1_000_000_000;
/// What an account must hold to be served from the second half of the bucket of all: 1 EMC.
pub const RESERVED_FOR: Tokens = Tokens(100_000_000);

/// How many blocks all callers together may make where the settings do not say: 100 a second in the long run.
pub const DEFAULT_TOTAL: RateLimit = RateLimit {
    burst: 100_000,
    per_minute: 6_000,
};

/// How often somebody may write. The minting account's owner and the exempt principals are not limited.
#[derive(CandidType, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How many writes at once; 0 switches the limit off.
    pub burst: u32,
    /// How many writes a minute in the long run.
    pub per_minute: u32,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            burst: 100,
            per_minute: 60,
        }
    }
}

/// How much is left in a bucket, in parts of a token: one token is [`MINUTE`] parts, so that refilling is exact.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    parts: u128,
    at: u64,
}

impl Bucket {
    fn full(limit: RateLimit, now: u64) -> Self {
        Self {
            parts: u128::from(limit.burst) * MINUTE,
            at: now,
        }
    }

    fn refilled(self, limit: RateLimit, now: u64) -> Self {
        let gained = u128::from(now.saturating_sub(self.at)) * u128::from(limit.per_minute);
        let full = Self::full(limit, now);
        Self {
            parts: self.parts.saturating_add(gained).min(full.parts),
            at: now,
        }
    }

    fn is_full(self, limit: RateLimit) -> bool {
        self.parts >= Self::full(limit, self.at).parts
    }

    /// Takes one token, if there is one.
    fn take(&mut self) -> bool {
        match self.parts.checked_sub(MINUTE) {
            Some(left) => {
                self.parts = left;
                true
            }
            None => false,
        }
    }
}

/// The buckets of all callers.
#[derive(Debug, Default)]
pub struct RateLimiter {
    buckets: BTreeMap<Principal, Bucket>,
    /// Every caller with a bucket, once, in the order in which they are looked at next.
    sweep: VecDeque<Principal>,
    /// The bucket of those who find no room.
    shared: Option<Bucket>,
    /// The bucket of all, of blocks.
    total: Option<Bucket>,
    throttled: u64,
}

/// How full the bucket of all is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// At least half full: anybody may make a block.
    ForAll,
    /// Less than half full: only who holds [`RESERVED_FOR`] may.
    ForHolders,
    /// Empty.
    None,
}

impl RateLimiter {
    /// Takes a token for a caller; false where there is none.
    pub fn take(&mut self, limit: RateLimit, caller: Principal, now: u64) -> bool {
        if limit.burst == 0 {
            return true;
        }
        self.sweep(limit, now);
        let room = self.buckets.len() < MAX_CALLERS;
        match self.buckets.get_mut(&caller) {
            Some(bucket) => {
                *bucket = bucket.refilled(limit, now);
                bucket.take()
            }
            None if room => {
                let mut bucket = Bucket::full(limit, now);
                let allowed = bucket.take();
                self.buckets.insert(caller, bucket);
                self.sweep.push_back(caller);
                allowed
            }
            None => {
                let bucket = self.shared.map_or_else(
                    || Bucket::full(limit, now),
                    |shared| shared.refilled(limit, now),
                );
                self.shared.insert(bucket).take()
            }
        }
    }

    /// Whether there is room for another block.
    pub fn room(&mut self, limit: RateLimit, now: u64) -> Room {
        if limit.burst == 0 {
            return Room::ForAll;
        }
        let bucket = self.total.map_or_else(
            || Bucket::full(limit, now),
            |bucket| bucket.refilled(limit, now),
        );
        let Bucket { parts, .. } = *self.total.insert(bucket);
        if parts < MINUTE {
            Room::None
        } else if parts < Bucket::full(limit, now).parts / 2 {
            Room::ForHolders
        } else {
            Room::ForAll
        }
    }

    /// Notes that a block was made for which there was [`RateLimiter::room`].
    pub fn fill(&mut self) {
        if let Some(bucket) = &mut self.total {
            bucket.take();
        }
    }

    /// Notes that a caller was turned away.
    pub fn count_throttled(&mut self) {
        self.throttled += 1;
    }

    /// How many callers have a bucket that is not known to be full.
    pub fn callers(&self) -> usize {
        self.buckets.len()
    }

    /// How many calls were turned away since the last upgrade.
    pub fn throttled(&self) -> u64 {
        self.throttled
    }

    fn sweep(&mut self, limit: RateLimit, now: u64) {
        for _ in 0..SWEPT_PER_CALL.min(self.sweep.len()) {
            let Some(caller) = self.sweep.pop_front() else {
                return;
            };
            let full = self
                .buckets
                .get(&caller)
                .is_some_and(|bucket| bucket.refilled(limit, now).is_full(limit));
            if full {
                self.buckets.remove(&caller);
            } else {
                self.sweep.push_back(caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const LIMIT: RateLimit = RateLimit {
        burst: 3,
        per_minute: 60,
    };

    fn caller(n: u32) -> Principal {
        Principal::from_slice(&n.to_be_bytes())
    }

    #[test]
    fn a_burst_is_let_through_and_then_the_rate() {
        let mut limiter = RateLimiter::default();
        let mut at = |now| limiter.take(LIMIT, caller(1), now);
        assert!(at(0) && at(0) && at(0));
        assert!(!at(0));
        assert!(!at(SECOND - 1));
        assert!(at(SECOND));
        assert!(!at(SECOND));
        assert!(at(100 * SECOND) && at(100 * SECOND) && at(100 * SECOND) && !at(100 * SECOND));
    }

    #[test]
    fn callers_do_not_slow_each_other() {
        let mut limiter = RateLimiter::default();
        while limiter.take(LIMIT, caller(1), 0) {}
        assert!(limiter.take(LIMIT, caller(2), 0));
    }

    #[test]
    fn a_burst_of_zero_switches_the_limit_off() {
        let mut limiter = RateLimiter::default();
        let off = RateLimit {
            burst: 0,
            per_minute: 0,
        };
        assert!((0..1_000).all(|_| limiter.take(off, caller(1), 0)));
        assert_eq!(limiter.callers(), 0);
    }

    #[test]
    fn memory_is_bounded_and_strangers_share_what_is_left() {
        let mut limiter = RateLimiter::default();
        let known = MAX_CALLERS as u32;
        assert!((0..known).all(|n| limiter.take(LIMIT, caller(n), 0)));
        let strangers = (known..2 * known).filter(|n| limiter.take(LIMIT, caller(*n), 0));
        assert_eq!(strangers.count(), LIMIT.burst as usize);
        assert_eq!(limiter.callers(), MAX_CALLERS);
        assert!(
            limiter.take(LIMIT, caller(5), 0),
            "who is known is not slowed"
        );
    }

    #[test]
    fn the_second_half_of_the_bucket_of_all_is_for_holders() {
        let mut limiter = RateLimiter::default();
        let limit = RateLimit {
            burst: 4,
            per_minute: 60,
        };
        let mut seen = vec![];
        for _ in 0..5 {
            seen.push(limiter.room(limit, 0));
            limiter.fill();
        }
        use Room::{ForAll, ForHolders};
        assert_eq!(seen, [ForAll, ForAll, ForAll, ForHolders, Room::None]);
        assert_eq!(limiter.room(limit, SECOND), ForHolders);
        assert_eq!(limiter.room(limit, 2 * SECOND), ForAll);
        let off = RateLimit { burst: 0, ..limit };
        assert_eq!(limiter.room(off, 0), ForAll);
    }

    #[test]
    fn buckets_that_are_full_again_are_forgotten() {
        let mut limiter = RateLimiter::default();
        for n in 0..100 {
            limiter.take(LIMIT, caller(n), 0);
        }
        for _ in 0..100 {
            limiter.take(LIMIT, caller(1_000), 10 * SECOND);
        }
        assert_eq!(limiter.callers(), 1);
    }
}
