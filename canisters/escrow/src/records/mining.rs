//! Mining: the running round, the jobs that it gave, and the power that nodes have shown.

use crate::stored::{self, stored};
use candid::Principal;
use emc_protocol::mining::MiningSettings;
use emc_protocol::{JobId, Seconds, Timestamp};
use minicbor::{Decode, Encode};

/// Stored form of [`MiningSettings`].
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct MiningSettingsRecord {
    /// Of a day.
    #[n(0)]
    pub rounds_per_day: u32,
    /// How long each is open.
    #[cbor(n(1), with = "stored::seconds")]
    pub window: Seconds,
    /// Output tokens of a job.
    #[n(2)]
    pub probe_tokens: u32,
    /// Of a node.
    #[n(3)]
    pub probes_per_round: u32,
    /// In basis points.
    #[n(4)]
    pub canary_share: u16,
}

impl From<&MiningSettings> for MiningSettingsRecord {
    fn from(s: &MiningSettings) -> Self {
        Self {
            rounds_per_day: s.rounds_per_day,
            window: s.window,
            probe_tokens: s.probe_tokens,
            probes_per_round: s.probes_per_round,
            canary_share: s.canary_share,
        }
    }
}

impl From<&MiningSettingsRecord> for MiningSettings {
    fn from(s: &MiningSettingsRecord) -> Self {
        Self {
            rounds_per_day: s.rounds_per_day,
            window: s.window,
            probe_tokens: s.probe_tokens,
            probes_per_round: s.probes_per_round,
            canary_share: s.canary_share,
        }
    }
}

/// The newest round, and when the moment of the next one was last drawn for.
#[derive(Encode, Decode, Clone, Copy, Debug, Default, PartialEq)]
pub struct RoundOfMining {
    /// Its number; zero before the first.
    #[n(0)]
    pub number: u64,
    /// What its jobs are made from.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub seed: [u8; 32],
    /// When it began.
    #[cbor(n(2), with = "stored::time")]
    pub begun: Timestamp,
    /// When it ends.
    #[cbor(n(3), with = "stored::time")]
    pub until: Timestamp,
    /// Until when moments were drawn for: the next draw is for the time since.
    #[cbor(n(4), with = "stored::time")]
    pub drawn: Timestamp,
}

/// What makes a job the pool's own.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq)]
pub struct MiningJob {
    /// The round.
    #[n(0)]
    pub round: u64,
    /// The day that it counts for.
    #[n(1)]
    pub epoch: u64,
    /// What a million tokens of its model count.
    #[n(2)]
    pub units: u64,
    /// The number of the twin with a wrong answer that it is to have.
    #[n(3)]
    pub twin: Option<JobId>,
    /// True for such a twin.
    #[n(4)]
    pub canary: bool,
    /// How many jobs the node had got in this round before.
    #[n(5)]
    pub index: u32,
}

/// What a node has shown in an epoch.
#[derive(Encode, Decode, Clone, Copy, Debug, Default, PartialEq)]
pub struct PowerRecord {
    /// Tokens times the units of a million of them.
    #[cbor(n(0), with = "stored::natural")]
    pub power: u128,
    /// Accepted votes.
    #[n(1)]
    pub votes: u32,
    /// True if one of its jobs was overturned.
    #[n(2)]
    pub forfeited: bool,
}

/// A line of a report.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq)]
pub struct ReportedPower {
    /// The node.
    #[cbor(n(0), with = "stored::principal")]
    pub node: Principal,
    /// The day.
    #[n(1)]
    pub epoch: u64,
    /// What it has shown.
    #[n(2)]
    pub power: PowerRecord,
}

/// How far mining is reported.
#[derive(Encode, Decode, Clone, Copy, Debug, Default, PartialEq)]
pub struct MiningReported {
    /// The newest epoch of which the registry knows everything, as it has confirmed.
    #[n(0)]
    pub complete: Option<u64>,
}

stored!(RoundOfMining, PowerRecord, MiningReported);
