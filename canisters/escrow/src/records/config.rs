//! What the canister was installed with, its settings, and its counters.

use crate::records::{
    AuditSettingsRecord, ImageSettingsRecord, MiningSettingsRecord, PendingRecord,
};
use crate::stored::{self, stored};
use candid::Principal;
use emc_protocol::audit::AuditSettings;
use emc_protocol::image::ImageSettings;
use emc_protocol::mining::MiningSettings;
use emc_protocol::{Seconds, Timestamp, Tokens, escrow::Settings};
use minicbor::{Decode, Encode};

/// What the canister was installed with, and what was fixed afterwards.
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct Config {
    /// This escrow.
    #[cbor(n(0), with = "stored::principal")]
    pub escrow: Principal,
    /// The token's ledger.
    #[cbor(n(1), with = "stored::principal")]
    pub ledger: Principal,
    /// The registry.
    #[cbor(n(2), with = "stored::principal")]
    pub registry: Principal,
    /// Who may change settings.
    #[cbor(n(3), with = "stored::principal")]
    pub governor: Principal,
    /// Who may withdraw the treasury.
    #[cbor(n(4), with = "stored::principal")]
    pub treasury: Principal,
    /// The settings.
    #[n(5)]
    pub settings: SettingsRecord,
    /// The installation's nonce.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub nonce: [u8; 16],
    /// What salts and capabilities are derived from; `None` until it has come from `raw_rand`.
    #[n(7)]
    pub secret: Option<Secret>,
    /// How long a change of parameters is public, in seconds; `None` is the default.
    #[n(8)]
    pub delay: Option<u64>,
    /// The change of parameters that is announced.
    #[n(9)]
    pub pending: Option<PendingRecord>,
}

/// 32 random bytes that nobody outside sees.
#[derive(Encode, Decode, Clone, Copy, PartialEq)]
#[cbor(transparent)]
pub struct Secret(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Stored form of [`Settings`].
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct SettingsRecord {
    /// In basis points.
    #[n(0)]
    pub treasury_share: u16,
    /// Paid by the owner to the requester.
    #[cbor(n(1), with = "stored::tokens")]
    pub lapse_fee: Tokens,
    /// Shortest lease.
    #[cbor(n(2), with = "stored::seconds")]
    pub lease_base: Seconds,
    /// Per 1,000 output tokens asked for.
    #[cbor(n(3), with = "stored::seconds")]
    pub lease_per_1000_tokens: Seconds,
    /// Distinct owners.
    #[n(4)]
    pub max_attempts: u32,
    /// How long results are kept.
    #[cbor(n(5), with = "stored::seconds")]
    pub retention: Seconds,
    /// Per requester.
    #[n(6)]
    pub max_open_jobs: u32,
    /// Least deposit or withdrawal.
    #[cbor(n(7), with = "stored::tokens")]
    pub minimum_transfer: Tokens,
    /// Of audits; `None` is the defaults.
    #[n(8)]
    pub audit: Option<AuditSettingsRecord>,
    /// `None` is the default.
    #[n(9)]
    pub cycles_reserve: Option<u64>,
    /// Of probe rounds; `None` is the defaults.
    #[n(10)]
    pub mining: Option<MiningSettingsRecord>,
    /// Of image jobs; `None` is the defaults.
    #[n(11)]
    pub images: Option<ImageSettingsRecord>,
}

impl SettingsRecord {
    /// Below so many cycles no new job is taken.
    pub fn cycles_reserve(&self) -> u64 {
        self.cycles_reserve.unwrap_or(Settings::CYCLES_RESERVE)
    }

    /// The settings of probe rounds.
    pub fn mining(&self) -> MiningSettings {
        self.mining
            .as_ref()
            .map(MiningSettings::from)
            .unwrap_or_default()
    }

    /// The settings of image jobs.
    pub fn images(&self) -> ImageSettings {
        self.images
            .as_ref()
            .map(ImageSettings::from)
            .unwrap_or_default()
    }

    /// The settings of audits.
    pub fn audit(&self) -> AuditSettings {
        self.audit
            .as_ref()
            .map(AuditSettings::from)
            .unwrap_or_default()
    }
}

impl From<&Settings> for SettingsRecord {
    fn from(s: &Settings) -> Self {
        Self {
            treasury_share: s.treasury_share,
            lapse_fee: s.lapse_fee,
            lease_base: s.lease_base,
            lease_per_1000_tokens: s.lease_per_1000_tokens,
            max_attempts: s.max_attempts,
            retention: s.retention,
            max_open_jobs: s.max_open_jobs,
            minimum_transfer: s.minimum_transfer,
            audit: s.audit.as_ref().map(AuditSettingsRecord::from),
            cycles_reserve: s.cycles_reserve,
            mining: s.mining.as_ref().map(MiningSettingsRecord::from),
            images: s.images.as_ref().map(ImageSettingsRecord::from),
        }
    }
}

impl From<&SettingsRecord> for Settings {
    fn from(s: &SettingsRecord) -> Self {
        Self {
            treasury_share: s.treasury_share,
            lapse_fee: s.lapse_fee,
            lease_base: s.lease_base,
            lease_per_1000_tokens: s.lease_per_1000_tokens,
            max_attempts: s.max_attempts,
            retention: s.retention,
            max_open_jobs: s.max_open_jobs,
            minimum_transfer: s.minimum_transfer,
            audit: s.audit.as_ref().map(AuditSettings::from),
            cycles_reserve: s.cycles_reserve,
            mining: s.mining.as_ref().map(MiningSettings::from),
            images: s.images.as_ref().map(ImageSettings::from),
        }
    }
}

/// Jobs, counted.
#[derive(Encode, Decode, Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Ever submitted; also the newest job's number.
    #[n(0)]
    pub jobs: u64,
    /// Open now.
    #[n(1)]
    pub open: u64,
    /// Leased now.
    #[n(2)]
    pub leased: u64,
    /// Ever settled.
    #[n(3)]
    pub settled: u64,
    /// Ever refunded.
    #[n(4)]
    pub refunded: u64,
    /// Leases that ever lapsed.
    #[n(5)]
    pub lapsed: u64,
    /// Model numbers given out.
    #[n(6)]
    pub models: u32,
    /// Delivered and waiting for the draw now.
    #[n(7)]
    #[cbor(default)]
    pub delivered: u64,
    /// Audited now.
    #[n(8)]
    #[cbor(default)]
    pub auditing: u64,
    /// Ever drawn for an audit.
    #[n(9)]
    #[cbor(default)]
    pub audited: u64,
    /// Ever overturned.
    #[n(10)]
    #[cbor(default)]
    pub overturned: u64,
    /// Ever left undecided.
    #[n(11)]
    #[cbor(default)]
    pub undecided: u64,
    /// Requests ever put into the draw queue; also the newest one's number.
    #[n(12)]
    #[cbor(default)]
    pub draws: u64,
    /// Delegations ever made; also the newest one's number.
    #[n(13)]
    #[cbor(default)]
    pub delegations: u64,
    /// Callbacks ever answered.
    #[n(14)]
    #[cbor(default)]
    pub told: u64,
    /// Callbacks ever given up, or never queued because the canister had too many.
    #[n(15)]
    #[cbor(default)]
    pub untold: u64,
    /// Jobs of probe rounds ever given.
    #[n(16)]
    #[cbor(default)]
    pub probes: u64,
    /// Their twins ever made.
    #[n(17)]
    #[cbor(default)]
    pub canaries: u64,
    /// Numbers kept for twins that were not made.
    #[n(18)]
    #[cbor(default)]
    pub reserved: u64,
}

/// How far the feed is known.
#[derive(Encode, Decode, Clone, Copy, Debug, Default, PartialEq)]
pub struct FeedRecord {
    /// The newest change that was applied.
    #[n(0)]
    pub sequence: u64,
    /// When all changes were last known to be here.
    #[cbor(n(1), with = "stored::maybe_time")]
    pub time: Option<Timestamp>,
}

/// The escrow's own clock.
#[derive(Encode, Decode, Clone, Copy, Debug, Default, PartialEq)]
pub struct ClockRecord {
    /// When it last knew that it was awake, in nanoseconds; zero before the first time.
    #[n(0)]
    pub awake: u64,
    /// How long it was away, all outages together, in nanoseconds.
    #[n(1)]
    pub away: u64,
    /// How many outages there were.
    #[n(2)]
    pub outages: u64,
}

/// A value that a cell holds; empty before the first installation has written it.
#[derive(Encode, Decode, Clone, Debug, Default, PartialEq)]
pub struct ConfigCell(#[n(0)] pub Option<Config>);
stored!(ConfigCell, Counts, FeedRecord, ClockRecord);
