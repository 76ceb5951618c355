//! The registry's feed: what escrows pull to learn of nodes and models, so that a claim needs no call between canisters.

use crate::{ModelRef, NodeStatus, Offer, Role, Timestamp, Tokens};
use candid::{CandidType, Principal};
use serde::{Deserialize, Serialize};

/// A node as an escrow needs it.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct NodeChange {
    /// The node.
    pub id: Principal,
    /// Its Ed25519 public key, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub public_key: Vec<u8>,
    /// Who is paid for its work.
    pub owner: Principal,
    /// What it does.
    pub roles: Vec<Option<Role>>,
    /// Where it stands.
    pub status: Option<NodeStatus>,
    /// The models it serves.
    pub offers: Vec<Offer>,
    /// The stake allotted to the escrow that asks.
    pub stake: Tokens,
    /// True if `stake` is at least the registry's minimum.
    pub eligible: bool,
    /// When it was last heard of, to the nearest few minutes.
    pub last_seen: Timestamp,
    /// True while stake is being taken out and the registry waits for the escrow's acknowledgement
    /// ([`crate::report::Acknowledgement`]).
    pub unstaking: Option<bool>,
}

/// A model version as an escrow needs it.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ModelChange {
    /// Id and version.
    pub model: ModelRef,
    /// The root of its files, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub root: Vec<u8>,
    /// What it does.
    pub task: Option<crate::model::Task>,
    /// Longest context in tokens.
    pub context: u32,
    /// Listed by the governor.
    pub listed: bool,
    /// Withdrawn: no new jobs.
    pub retired: bool,
    /// When its outputs count as its own; only for a listed model.
    pub audit: Option<crate::AuditTerms>,
    /// What its author gets of a charge; only for a listed model.
    pub royalty: Option<crate::model::Royalty>,
    /// What a million output tokens or pixel-steps count in computing power; only for a listed model.
    pub compute_units: Option<u64>,
}

/// What has changed.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node is new or different.
    #[serde(rename = "node")]
    Node(NodeChange),
    /// A model version is new or different.
    #[serde(rename = "model")]
    Model(ModelChange),
}

/// A change with its place in the feed.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct NumberedChange {
    /// Grows with every change; each node and model appears once, at its newest change.
    pub sequence: u64,
    /// The change; a kind this client does not know reads as null.
    pub change: Option<Change>,
}

/// What a puller asks for.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ChangesArgs {
    /// Changes after this number; 0 for all.
    pub after: u64,
    /// The escrow whose allotments are meant.
    pub escrow: Principal,
    /// At most this many; at most [`crate::limits::PAGE`].
    pub limit: u32,
}

/// A page of the feed.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The changes, in order.
    pub changes: Vec<NumberedChange>,
    /// True if there are more after the last one.
    pub more: bool,
    /// The newest number in the feed.
    pub sequence: u64,
    /// The registry's time.
    pub time: Timestamp,
}
