//! What lies in stable memory of mining, with numbered fields so that later versions can add some.

use candid::Principal;
use emc_journal::cbor;
use emc_protocol::Timestamp;
use emc_protocol::mining::epoch;
use minicbor::{Decode, Encode};

/// Where mining stands.
#[derive(Encode, Decode, Clone, Debug, Default, PartialEq, Eq)]
pub struct MiningRecord {
    /// The first epoch that is paid.
    #[n(0)]
    pub first: Option<u64>,
    /// The epoch that is closed next.
    #[n(1)]
    pub next: u64,
    /// What closed epochs could not give away, e8s.
    #[cbor(n(2), with = "cbor::amount")]
    pub rolled: u128,
    /// What the pool held when it was last looked at, e8s.
    #[cbor(n(3), with = "cbor::amount")]
    pub pool: u128,
    /// The pool is not looked at before this, nanoseconds.
    #[n(4)]
    pub look_after: u64,
    /// The computing of shares that is under way, of epoch `next`.
    #[n(5)]
    pub closing: Option<ClosingRecord>,
}

impl MiningRecord {
    /// Epochs that are over and not closed.
    pub fn behind(&self, now: u64) -> u64 {
        let today = epoch(Timestamp(now));
        self.first.map_or(0, |_| today.saturating_sub(self.next))
    }
}

/// How far the computing of an epoch's shares is: first all power and votes are summed, then the shares are given.
#[derive(Encode, Decode, Clone, Debug, Default, PartialEq, Eq)]
pub struct ClosingRecord {
    /// What the schedule gives it, e8s.
    #[cbor(n(0), with = "cbor::amount")]
    pub scheduled: u128,
    /// What there is to give, e8s.
    #[cbor(n(1), with = "cbor::amount")]
    pub available: u128,
    /// Everything is summed.
    #[n(2)]
    pub summed: bool,
    /// While it is summed: nodes up to this one are.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub after: Option<Vec<u8>>,
    /// All power that counts.
    #[cbor(n(4), with = "cbor::amount")]
    pub power: u128,
    /// All votes that count.
    #[n(5)]
    pub votes: u64,
    /// Nodes with power that counts.
    #[n(6)]
    pub miners: u32,
    /// Nodes that have forfeited the day.
    #[n(7)]
    pub forfeited: u32,
    /// Given for power so far, e8s.
    #[cbor(n(8), with = "cbor::amount")]
    pub to_miners: u128,
    /// Given for votes so far, e8s.
    #[cbor(n(9), with = "cbor::amount")]
    pub to_validators: u128,
}

impl ClosingRecord {
    /// The node up to which everything is summed.
    pub fn after(&self) -> Option<Principal> {
        self.after.as_deref().map(Principal::from_slice)
    }
}

/// What a node has shown in an epoch that is not closed.
#[derive(Encode, Decode, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PowerRecord {
    /// Compute units.
    #[cbor(n(0), with = "cbor::amount")]
    pub power: u128,
    /// Accepted votes on probes.
    #[n(1)]
    pub votes: u32,
    /// It gets nothing.
    #[n(2)]
    pub forfeited: bool,
}

/// What a node got for an epoch.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinedRecord {
    /// What it has shown.
    #[n(0)]
    pub shown: PowerRecord,
    /// What it got, e8s.
    #[cbor(n(1), with = "cbor::amount")]
    pub reward: u128,
}

/// How an epoch was divided.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub struct EpochRecord {
    /// The computing of its shares, at its end.
    #[n(0)]
    pub closed: ClosingRecord,
    /// What was rolled over after it, e8s.
    #[cbor(n(1), with = "cbor::amount")]
    pub rolled: u128,
}

emc_journal::storable_record!(MiningRecord, PowerRecord, MinedRecord, EpochRecord);
