//! Computing-power mining: what escrows measure in probe rounds and report, and what the registry pays from its pool.
//!
//! An *epoch* is a day, by its number since 1970 (UTC). What is rewarded is computing power that was shown to the pool's
//! own jobs, never trade: jobs that people pay for count nothing. `docs/mining.md` has the rules.

use crate::{Seconds, Timestamp, Tokens};
use candid::{CandidType, Principal};
use serde::{Deserialize, Serialize};

/// Most nodes in the mining part of one report.
pub const REPORT_POWERS: usize = 200;

/// The registry's subaccount in the ledger that is the pool: whoever wants mining to go on sends EMC there.
pub const POOL_SUBACCOUNT: [u8; 32] = *b"emc mining pool\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Most compute units that one node can have in one epoch; what is above counts as this. About a million million tokens
/// a second of the largest models: no bound for a machine, one for the arithmetic.
pub const POWER_MAX: u128 = 1 << 80;

/// The epoch of a time.
pub fn epoch(time: Timestamp) -> u64 {
    time.0 / (24 * 3_600 * 1_000_000_000)
}

/// When an epoch begins.
pub fn begins(epoch: u64) -> Timestamp {
    Timestamp(epoch.saturating_mul(24 * 3_600 * 1_000_000_000))
}

/// What an upheld probe shows, in compute units: those of its own output tokens, and of the probes beside it that were not
/// drawn, which show nothing themselves. `units` are the model's for a million tokens; `chance` is the one it was drawn
/// with, in basis points. On average this is what was delivered, whatever the chance is; nothing where it is 0.
pub fn power_of_upheld(output_tokens: u64, units: u64, chance: u16) -> u128 {
    let own = u128::from(output_tokens).saturating_mul(units.into());
    let all = own.saturating_mul(10_000);
    all.checked_div(chance.into()).unwrap_or(0)
}

/// What of a day's e8s goes to miners for their power, nine tenths, and what to validators for their votes.
pub fn parts(available: u128) -> (u128, u128) {
    let to_power = available / 10 * 9 + available % 10 * 9 / 10;
    (to_power, available - to_power)
}

/// A node's share of such a part, in e8s, rounded down: `own` of `all` power or votes. Nothing where there are none. A
/// product beyond 128 bits gives nothing; no day (below 2^44 e8s) and node (at most [`POWER_MAX`]) has one.
pub fn share(part: u128, own: u128, all: u128) -> u128 {
    let product = part.checked_mul(own).unwrap_or(0);
    product.checked_div(all).unwrap_or(0)
}

/// An escrow's settings of probe rounds.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct MiningSettings {
    /// Rounds a day, each at a moment in its part of the day that nobody knows before; 0 for none.
    pub rounds_per_day: u32,
    /// How long a round is open.
    pub window: Seconds,
    /// Output tokens that a probe asks for.
    pub probe_tokens: u32,
    /// Most probes that one node gets in a round.
    pub probes_per_round: u32,
    /// How many of the probes have a twin with an answer that is known to be wrong, for validators, in basis points.
    pub canary_share: u16,
}

impl Default for MiningSettings {
    fn default() -> Self {
        Self {
            rounds_per_day: 24,
            window: Seconds(60),
            probe_tokens: 256,
            probes_per_round: 1_024,
            canary_share: 200,
        }
    }
}

/// What a node showed in an epoch, as an escrow reports it. Several lines for one node and epoch add up.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct NodePower {
    /// The node.
    pub node: Principal,
    /// The day.
    pub epoch: u64,
    /// Compute units of its upheld probes ([`power_of_upheld`]), which stand for all that it delivered in rounds.
    pub power: u128,
    /// Its votes on probes, and on their twins, that were accepted.
    pub votes: u32,
    /// True if one of its probes was overturned: it gets nothing for this day.
    pub forfeited: bool,
}

/// The mining part of a report.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct MiningReport {
    /// At most [`REPORT_POWERS`].
    pub powers: Vec<NodePower>,
    /// Everything is reported of this epoch and of all before it.
    pub complete: Option<u64>,
}

/// Where mining stands.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct MiningStatus {
    /// The first epoch that is paid; null while mining has not begun.
    pub first_epoch: Option<u64>,
    /// The epoch that is running.
    pub epoch: u64,
    /// The newest epoch whose shares were computed.
    pub closed: Option<u64>,
    /// What the schedule gives the running epoch.
    pub scheduled: Tokens,
    /// What earlier epochs could not give away.
    pub rolled_over: Tokens,
    /// Ever given to nodes' owners.
    pub distributed: Tokens,
    /// Of that, not withdrawn yet.
    pub owed: Tokens,
    /// Of that, paid out.
    pub paid: Tokens,
    /// What the pool held when it was last looked at, all that is owed included.
    pub pool: Tokens,
    /// Where to send EMC that is to fill the pool: this subaccount of the registry, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub pool_subaccount: Vec<u8>,
    /// The escrows whose reports of power count.
    pub escrows: Vec<Principal>,
    /// When the schedule changes next, and to what; null while mining has not begun, and at the end of the schedule.
    pub next_stage: Option<NextStage>,
    /// The epoch whose shares are being computed.
    pub closing: Option<u64>,
}

/// A change of the schedule that lies ahead.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct NextStage {
    /// Its first epoch.
    pub epoch: u64,
    /// What it gives each epoch.
    pub scheduled: Tokens,
}

/// How an epoch was divided.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct EpochSummary {
    /// The day.
    pub epoch: u64,
    /// What the schedule gave it.
    pub scheduled: Tokens,
    /// What there was to give: the schedule, what was rolled over, at most what the pool held.
    pub available: Tokens,
    /// What miners got for their power.
    pub to_miners: Tokens,
    /// What validators got for their votes.
    pub to_validators: Tokens,
    /// What this epoch and those before it have left for later ones.
    pub rolled_over: Tokens,
    /// All power that counted.
    pub power: u128,
    /// All votes that counted.
    pub votes: u64,
    /// Nodes with power that counted.
    pub miners: u32,
    /// Nodes that have forfeited the day.
    pub forfeited: u32,
}

/// What a node got for an epoch.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct NodeEpoch {
    /// The day.
    pub epoch: u64,
    /// Compute units.
    pub power: u128,
    /// Accepted votes on probes.
    pub votes: u32,
    /// True if it got nothing for having been overturned.
    pub forfeited: bool,
    /// What it got; null while the epoch is not closed.
    pub reward: Option<Tokens>,
}
