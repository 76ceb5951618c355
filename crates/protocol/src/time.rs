//! Points in time and durations, each with its unit in its type.

use candid::CandidType;
use serde::{Deserialize, Serialize};

const NANOS: u64 = 1_000_000_000;

/// Nanoseconds since 1970-01-01 UTC; a Candid `nat64`.
#[derive(
    CandidType,
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
)]
pub struct Timestamp(pub u64);

/// A duration in whole seconds; a Candid `nat64`.
#[derive(
    CandidType,
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
)]
pub struct Seconds(pub u64);

impl Timestamp {
    /// This time plus a duration; stays at the end of time where it would pass it.
    pub fn after(self, duration: Seconds) -> Self {
        Self(self.0.saturating_add(duration.nanos()))
    }

    /// This time minus a duration; stays at 1970 where it would pass it.
    pub fn before(self, duration: Seconds) -> Self {
        Self(self.0.saturating_sub(duration.nanos()))
    }

    /// The whole seconds from `earlier` to this time; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Seconds {
        Seconds(self.0.saturating_sub(earlier.0) / NANOS)
    }
}

impl Seconds {
    /// The duration in nanoseconds, saturating.
    pub fn nanos(self) -> u64 {
        self.0.saturating_mul(NANOS)
    }
}
