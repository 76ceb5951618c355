//! The escrow itself: how it is installed, what it says of itself, what it expects a job to cost.

use crate::audit::{Assurance, AuditSettings};
use crate::image::ImageSettings;
use crate::mining::MiningSettings;
use crate::parameters::PendingEscrowParameters;
use crate::{JobInput, ModelRef, Parameters, Price, Receipt, Seconds, Timestamp, Tokens};
use candid::{CandidType, Principal};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Settings that the governor may change.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The treasury's share of a settled charge, in basis points.
    pub treasury_share: u16,
    /// What a lapsed lease costs the node's owner, paid to the requester, as far as the owner has it available.
    pub lapse_fee: Tokens,
    /// Shortest lease.
    pub lease_base: Seconds,
    /// What a lease is longer per 1,000 output tokens asked for.
    pub lease_per_1000_tokens: Seconds,
    /// How many distinct owners may try a job.
    pub max_attempts: u32,
    /// How long results are kept.
    pub retention: Seconds,
    /// Most jobs of one requester that are not final.
    pub max_open_jobs: u32,
    /// Least amount of a deposit or a withdrawal.
    pub minimum_transfer: Tokens,
    /// Settings of audits; the defaults where absent.
    pub audit: Option<AuditSettings>,
    /// With fewer cycles than this, no new job is taken, so that what was begun can end; 500,000,000,000 where absent.
    pub cycles_reserve: Option<u64>,
    /// Settings of probe rounds; the defaults where absent.
    pub mining: Option<MiningSettings>,
    /// Settings of image jobs; the defaults where absent.
    pub images: Option<ImageSettings>,
}

impl Settings {
    /// The reserve of cycles where none is set.
    pub const CYCLES_RESERVE: u64 = 500_000_000_000;
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            treasury_share: 200,
            lapse_fee: Tokens(100_000),
            lease_base: Seconds(60),
            lease_per_1000_tokens: Seconds(60),
            max_attempts: 3,
            retention: Seconds(7 * 24 * 3600),
            max_open_jobs: 1_000,
            minimum_transfer: Tokens(10_000),
            audit: None,
            cycles_reserve: None,
            mining: None,
            images: None,
        }
    }
}

/// How the escrow is installed.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct EscrowInit {
    /// The token's ledger; the environment variable `PUBLIC_CANISTER_ID:ledger` where absent.
    pub ledger: Option<Principal>,
    /// The registry whose feed is pulled; the environment variable `PUBLIC_CANISTER_ID:registry` where absent.
    pub registry: Option<Principal>,
    /// Who may change settings; whoever installs where absent.
    pub governor: Option<Principal>,
    /// Who may withdraw the treasury; whoever installs where absent.
    pub treasury: Option<Principal>,
    /// Settings; the defaults where absent.
    pub settings: Option<Settings>,
    /// How long a change of parameters is public before it takes effect; a day where absent.
    pub delay: Option<Seconds>,
}

/// What an upgrade of the escrow may change; absent fields stay.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct EscrowUpgrade {
    /// A new governor.
    pub governor: Option<Principal>,
    /// Who may withdraw the treasury from now on.
    pub treasury: Option<Principal>,
    /// New settings, at once; the log says so.
    pub settings: Option<Settings>,
    /// How long a change of parameters is public from now on.
    pub delay: Option<Seconds>,
}

/// The escrow's install and upgrade argument.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum EscrowArgs {
    /// For install and reinstall.
    Init(EscrowInit),
    /// For upgrade.
    Upgrade(EscrowUpgrade),
}

/// The escrow's settings and state, for anyone.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct EscrowInfo {
    /// Its version.
    pub version: String,
    /// The token's ledger.
    pub ledger: Principal,
    /// The registry.
    pub registry: Principal,
    /// Who may change settings.
    pub governor: Principal,
    /// Who may withdraw the treasury.
    pub treasury: Principal,
    /// The settings.
    pub settings: Settings,
    /// The installation's nonce, 16 bytes, part of every receipt; null until the canister is ready.
    pub nonce: Option<ByteBuf>,
    /// The newest change of the registry's feed that is known here.
    pub feed_sequence: u64,
    /// When the feed was last pulled; null before the first time.
    pub feed_time: Option<Timestamp>,
    /// Jobs ever submitted.
    pub jobs: u64,
    /// Jobs that wait for a node.
    pub open: u64,
    /// Jobs that a node works on.
    pub leased: u64,
    /// Receipts in the log.
    pub receipts: u64,
    /// Jobs that are delivered and wait for the draw.
    pub delivered: Option<u64>,
    /// Jobs that are being audited.
    pub auditing: Option<u64>,
    /// How long a change of parameters is public before it takes effect.
    pub delay: Option<Seconds>,
    /// The change of parameters that is announced.
    pub pending: Option<PendingEscrowParameters>,
}

/// What a quote is asked for.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct QuoteArgs {
    /// The model.
    pub model: ModelRef,
    /// What it would work on.
    pub input: JobInput,
    /// How the output would be chosen.
    pub parameters: Parameters,
    /// How strongly the result would be checked; not at all where absent.
    pub assurance: Option<Assurance>,
}

/// What a job would cost, and who could do it.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The model, with the version it would be.
    pub model: ModelRef,
    /// Live nodes that serve it.
    pub nodes: u64,
    /// Distinct owners of those.
    pub owners: u64,
    /// The cheapest live node's price.
    pub cheapest: Option<Price>,
    /// The dearest live node's price.
    pub dearest: Option<Price>,
    /// The prompt's size as the escrow estimates it, in tokens.
    pub prompt_tokens: u64,
    /// The least `max_price` with which the cheapest node could take it.
    pub lowest_max_price: Option<Tokens>,
    /// The least `max_price` with which every live node could take it.
    pub highest_max_price: Option<Tokens>,
    /// Jobs of this model that wait already.
    pub waiting: u64,
    /// What checking the result costs, inside the two prices above; null without assurance.
    pub check: Option<CheckQuote>,
    /// Seconds until a node would begin with it, by the pace of late and what waits; null while no pace is known.
    pub begins_in: Option<Seconds>,
    /// Seconds that an answer of the most tokens would take from then on; null while no pace is known.
    pub takes: Option<Seconds>,
    /// For a picture: its pixel-steps, which its price is for.
    pub pixel_steps: Option<u64>,
}

/// What checking a result costs, and what it is worth.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct CheckQuote {
    /// What is locked for the auditors.
    pub audit_fee: Tokens,
    /// What one accepted vote is paid.
    pub vote_fee: Tokens,
    /// The chance that the result is audited, in basis points.
    pub chance: u16,
    /// The bond that a node needs at the lowest max_price; null where nobody serves the model.
    pub bond: Option<Tokens>,
    /// Distinct owners whose validators serve the model.
    pub validator_owners: u64,
    /// How many there must be.
    pub least_owners: u32,
    /// True where the answer is so short (under 16 tokens) that an audit can hardly tell a cheat.
    pub weak: bool,
}

/// A receipt in the log.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ReceiptRecord {
    /// Its number in the log.
    pub index: u64,
    /// What was signed.
    pub receipt: Receipt,
    /// The node.
    pub node: Principal,
    /// Its Ed25519 public key, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub public_key: Vec<u8>,
    /// Its signature, 64 bytes.
    #[serde(with = "serde_bytes")]
    pub signature: Vec<u8>,
    /// When it was accepted.
    pub time: Timestamp,
}

impl ReceiptRecord {
    /// The leaf of the log's Merkle range: domain, number, the receipt's digest, public key, signature, time
    /// (`docs/spec/receipt.md`). `None` where the receipt is malformed.
    pub fn leaf(&self) -> Option<crate::mountain_range::Hash> {
        let mut bytes = crate::canonical::Writer::new("emc-receipt-leaf-v1");
        bytes.u64(self.index);
        bytes.raw(&self.receipt.digest().ok()?);
        bytes.bytes(&self.public_key);
        bytes.bytes(&self.signature);
        bytes.u64(self.time.0);
        Some(bytes.sha256())
    }
}

/// A receipt, its place in the log, and what certifies the log's root.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ReceiptProof {
    /// The receipt.
    pub record: ReceiptRecord,
    /// Its path to the root.
    pub proof: crate::mountain_range::Proof,
    /// The Internet Computer's certificate over the canister's data; null where the answer did not come from a query.
    pub certificate: Option<ByteBuf>,
    /// What the canister certifies: a hash tree (CBOR) with the root under the label `receipts`.
    #[serde(with = "serde_bytes")]
    pub tree: Vec<u8>,
}
