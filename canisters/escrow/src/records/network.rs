//! Nodes and models, as the registry's feed tells of them, and what nodes do here.

use crate::records::{RoyaltyRecord, TermsRecord};
use crate::stored::{self, stored};
use candid::Principal;
use emc_protocol::model::Task;
use emc_protocol::{Price, Timestamp, Tokens};
use minicbor::{Decode, Encode};

/// A node's work on a model.
#[derive(Encode, Decode, Clone, Copy, Debug, Default, PartialEq)]
pub struct RunningRecord {
    /// Leases that run.
    #[n(0)]
    pub leases: u32,
    /// Where the next claim goes on looking, when the last one looked at as many jobs as it may.
    #[n(1)]
    pub cursor: Option<u64>,
}

/// A node, from the feed.
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct NodeRecord {
    /// Its Ed25519 public key.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub public_key: [u8; 32],
    /// Who is paid.
    #[cbor(n(1), with = "stored::principal")]
    pub owner: Principal,
    /// True if it has the compute role.
    #[n(2)]
    pub compute: bool,
    /// True if its status is active.
    #[n(3)]
    pub active: bool,
    /// True if its stake here is large enough.
    #[n(4)]
    pub eligible: bool,
    /// The stake allotted to this escrow.
    #[cbor(n(5), with = "stored::tokens")]
    pub stake: Tokens,
    /// When it was last heard of.
    #[cbor(n(6), with = "stored::time")]
    pub last_seen: Timestamp,
    /// The models it serves.
    #[n(7)]
    pub offers: Vec<OfferRecord>,
    /// True if it has the validator role.
    #[n(8)]
    pub validator: bool,
    /// The feed's change that told of stake being taken out, while the registry waits for an acknowledgement.
    #[n(9)]
    pub unstaking: Option<u64>,
}

impl NodeRecord {
    /// True where it can be given work.
    pub fn takes_work(&self) -> bool {
        self.compute && self.active && self.eligible
    }

    /// True where it can be drawn as a validator.
    pub fn votes(&self) -> bool {
        self.validator && self.active && self.eligible
    }
}

/// An offer of a node.
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct OfferRecord {
    /// The model's number here.
    #[n(0)]
    pub model: u32,
    /// Its id.
    #[n(1)]
    pub id: String,
    /// Its version.
    #[n(2)]
    pub version: u32,
    /// What the node asks.
    #[cbor(n(3), with = "stored::price")]
    pub price: Price,
    /// Jobs at a time.
    #[n(4)]
    pub concurrency: u32,
    /// Longest prompt and output together.
    #[n(5)]
    pub context: u32,
}

/// A node that can be given work of a model: the index behind quotes.
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct ServerRecord {
    /// Who is paid.
    #[cbor(n(0), with = "stored::principal")]
    pub owner: Principal,
    /// What the node asks.
    #[cbor(n(1), with = "stored::price")]
    pub price: Price,
    /// Longest prompt and output together.
    #[n(2)]
    pub context: u32,
    /// When it was last heard of.
    #[cbor(n(3), with = "stored::time")]
    pub last_seen: Timestamp,
    /// Its stake here.
    #[cbor(n(4), with = "stored::maybe_tokens")]
    pub stake: Option<Tokens>,
}

/// A model version, from the feed.
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct ModelRecord {
    /// Its id.
    #[n(0)]
    pub id: String,
    /// Its version.
    #[n(1)]
    pub version: u32,
    /// What the catalogue says; `None` while only an offer has named it.
    #[n(2)]
    pub entry: Option<CatalogueRecord>,
}

/// What the catalogue says of a model version.
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct CatalogueRecord {
    /// The root of its files.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub root: [u8; 32],
    /// True if it answers conversations and continues texts.
    #[n(1)]
    pub chat: bool,
    /// Longest context in tokens; 0 where it has none.
    #[n(2)]
    pub context: u32,
    /// Listed by the governor.
    #[n(3)]
    pub listed: bool,
    /// No new jobs.
    #[n(4)]
    pub retired: bool,
    /// When an output counts as the model's; only where it is listed.
    #[n(5)]
    pub audit: Option<TermsRecord>,
    /// What its author gets; only where it is listed.
    #[n(6)]
    pub royalty: Option<RoyaltyRecord>,
    /// Computing power of a million units; only where it is listed.
    #[n(7)]
    pub compute_units: Option<u64>,
    /// True if it makes pictures; `None` where it was written before there were jobs for those.
    #[n(8)]
    pub image: Option<bool>,
}

impl CatalogueRecord {
    /// True if it does jobs of a task. Of an old record that is not for texts it is not known what it is for until the
    /// feed tells of it again: it counts as one that makes pictures, which only a node that serves it can show.
    pub fn does(&self, task: Task) -> bool {
        match task {
            Task::Chat => self.chat,
            Task::Image => self.image.unwrap_or(!self.chat),
            Task::Embedding => false,
        }
    }
}

/// How fast nodes have answered with a model of late.
#[derive(Encode, Decode, Clone, Copy, Debug, Default, PartialEq)]
pub struct PaceRecord {
    /// Nanoseconds from claim to delivery for one output token, or for a thousand pixel-steps, on average; the newest
    /// count most.
    #[n(0)]
    pub per_token: u64,
}

stored!(
    PaceRecord,
    RunningRecord,
    NodeRecord,
    ServerRecord,
    ModelRecord
);
