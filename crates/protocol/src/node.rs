//! Nodes as the registry knows them: who owns them, what they can do, what they ask for it.

use crate::parameters::{PendingParameters, RegistryParameters};
use crate::{ModelRef, Price, Seconds, Timestamp, Tokens};
use candid::{CandidType, Principal};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// How long a node may be silent and still count as live.
pub const LIVENESS: Seconds = Seconds(15 * 60);

/// What a node does.
#[derive(
    CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum Role {
    /// Runs jobs.
    #[serde(rename = "compute")]
    Compute,
    /// Re-runs samples of finished jobs and votes.
    #[serde(rename = "validator")]
    Validator,
}

/// Where a node stands.
#[derive(
    CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum NodeStatus {
    /// Takes work.
    #[serde(rename = "active")]
    Active,
    /// Finishes what it has and takes no more.
    #[serde(rename = "draining")]
    Draining,
    /// Barred for a time.
    #[serde(rename = "jailed")]
    Jailed,
    /// Left; its stake is unbonding or paid out.
    #[serde(rename = "exited")]
    Exited,
}

/// The machine behind a node, as its operator states it.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Hardware {
    /// Name of the GPU, or of the processor where there is none.
    pub device: String,
    /// How many of them.
    pub count: u32,
    /// Memory of one, in bytes.
    pub memory: u64,
    /// Driver and its version.
    pub driver: String,
}

/// A model that a node serves, and on what terms.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The model; `version` must be given.
    pub model: ModelRef,
    /// What the node asks.
    pub price: Price,
    /// Jobs of this model at a time.
    pub concurrency: u32,
    /// Longest prompt and output together, in tokens.
    pub context: u32,
}

/// Stake that an escrow may draw on.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Allotment {
    /// The escrow.
    pub escrow: Principal,
    /// How much of the node's stake stands behind its work there.
    pub amount: Tokens,
}

/// Stake on its way out.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Unbonding {
    /// Its number, for `withdraw_unbonded`.
    pub id: u64,
    /// The escrow it was allotted to.
    pub escrow: Principal,
    /// How much.
    pub amount: Tokens,
    /// When it can be withdrawn; 0 while it waits for the escrow's acknowledgement.
    pub ready: Timestamp,
    /// True while the unbonding time has not begun: the escrow has not acknowledged yet that what it has reserved fits
    /// into what is left. Until then the escrow can slash it.
    pub waiting: Option<bool>,
    /// While it waits: when the unbonding time begins at the latest, if the escrow sends no report until then.
    pub starts_by: Option<Timestamp>,
}

/// What became of a node's jobs and votes, as the escrows have reported it. The counters are as honest as the escrows in
/// which the node's owner has staked.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Jobs it delivered that were settled.
    pub settled: u64,
    /// Leases that lapsed.
    pub lapsed: u64,
    /// Leases it gave back.
    pub declined: u64,
    /// Its results that an audit upheld.
    pub upheld: u64,
    /// Its results that an audit overturned.
    pub overturned: u64,
    /// Its votes that were accepted.
    pub votes: u64,
    /// Its votes that were missing or contradicted.
    pub votes_lost: u64,
    /// What it has lost of its stake.
    pub slashed: Tokens,
}

/// A node in the registry.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The node: the self-authenticating principal of its key.
    pub id: Principal,
    /// Its Ed25519 public key, 32 bytes, which signs receipts.
    #[serde(with = "serde_bytes")]
    pub public_key: Vec<u8>,
    /// Who is paid for its work and may stake and unstake for it.
    pub owner: Principal,
    /// What it does; unknown roles read as null.
    pub roles: Vec<Option<Role>>,
    /// Where it stands.
    pub status: Option<NodeStatus>,
    /// The machine, as stated.
    pub hardware: Hardware,
    /// The models it serves.
    pub offers: Vec<Offer>,
    /// Its stake, per escrow.
    pub allotments: Vec<Allotment>,
    /// Stake on its way out.
    pub unbonding: Vec<Unbonding>,
    /// When it registered.
    pub registered: Timestamp,
    /// When it was last heard of.
    pub last_seen: Timestamp,
    /// How its jobs and votes ended.
    pub outcomes: Option<Outcomes>,
    /// Where it is jailed: from when on its owner can free it with `unjail`.
    pub jailed_until: Option<Timestamp>,
}

/// What a node sends to register. The caller must be the node itself: its principal is the self-authenticating one of
/// `public_key`. Repeating it changes nothing.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct RegisterNode {
    /// Its Ed25519 public key, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub public_key: Vec<u8>,
    /// Who is paid; the node itself where absent. The owner consents by staking.
    pub owner: Option<Principal>,
    /// What it does.
    pub roles: Vec<Role>,
    /// The machine.
    pub hardware: Hardware,
    /// The models it serves.
    pub offers: Vec<Offer>,
}

/// What a node may change; absent fields stay.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateNode {
    /// New roles.
    pub roles: Option<Vec<Role>>,
    /// New hardware.
    pub hardware: Option<Hardware>,
    /// New offers.
    pub offers: Option<Vec<Offer>>,
    /// True: finish what is there and take no more; false: take work again.
    pub draining: Option<bool>,
}

/// Puts stake behind a node's work in an escrow; pulled from the caller by ICRC-2.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct StakeArgs {
    /// The node; the caller must be its owner.
    pub node: Principal,
    /// The escrow in which it counts.
    pub escrow: Principal,
    /// How much.
    pub amount: Tokens,
    /// The caller's subaccount to take it from.
    pub from_subaccount: Option<ByteBuf>,
}

/// Takes stake out; it can be withdrawn after the unbonding time, which begins when the escrow has acknowledged.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct UnstakeArgs {
    /// The node; the caller must be its owner.
    pub node: Principal,
    /// The escrow it is allotted to.
    pub escrow: Principal,
    /// How much.
    pub amount: Tokens,
}

/// Which nodes a listing should hold; empty fields do not filter.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFilter {
    /// Only nodes of this owner.
    pub owner: Option<Principal>,
    /// Only nodes that offer this model.
    pub model: Option<ModelRef>,
    /// Start after this node (the last one of the page before).
    pub after: Option<Principal>,
    /// At most this many; at most [`crate::limits::PAGE`].
    pub limit: Option<u32>,
}

/// A page of nodes.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct NodePage {
    /// The nodes, by principal.
    pub nodes: Vec<Node>,
    /// True if there may be more. A page may be short, or empty, before the end: a call looks at a bounded number.
    pub more: bool,
    /// Where to go on: `after` of the next page's filter.
    pub next: Option<Principal>,
}

/// The registry's settings and state, for anyone.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct RegistryInfo {
    /// Its version.
    pub version: String,
    /// The token's ledger.
    pub ledger: Principal,
    /// Who may list models.
    pub governor: Principal,
    /// Least stake with which a node gets work.
    pub minimum_stake: Tokens,
    /// How long unstaked tokens wait.
    pub unbonding: Seconds,
    /// Nodes in the registry.
    pub nodes: u64,
    /// Model versions in the catalogue.
    pub models: u64,
    /// All stake that nodes have allotted.
    pub staked: Tokens,
    /// All stake on its way out.
    pub unbonding_total: Tokens,
    /// The newest change's number in the feed.
    pub sequence: u64,
    /// Stake that the ledger is asked to pay out, the outcome being unknown yet.
    pub leaving: Tokens,
    /// All stake that ever came in; equals `staked` + `unbonding_total` + `leaving` + `burning` + `burned` + `paid_out`,
    /// always.
    pub deposited: Tokens,
    /// All stake that ever went out, the ledger's fees included.
    pub paid_out: Tokens,
    /// Ledger calls whose outcome is not known yet.
    pub journal_open: u64,
    /// Slashed stake whose burning the ledger has not confirmed yet.
    pub burning: Option<Tokens>,
    /// Slashed stake that the ledger has burned.
    pub burned: Option<Tokens>,
    /// The parameters that hold, every field given.
    pub parameters: Option<RegistryParameters>,
    /// A change of them that waits for its time.
    pub pending: Option<PendingParameters>,
}

/// How the registry is installed.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct RegistryInit {
    /// The token's ledger; the environment variable `PUBLIC_CANISTER_ID:ledger` where absent.
    pub ledger: Option<Principal>,
    /// Who may list models and change settings; whoever installs where absent.
    pub governor: Option<Principal>,
    /// Least stake with which a node gets work.
    pub minimum_stake: Tokens,
    /// How long unstaked tokens wait.
    pub unbonding: Seconds,
    /// How long a node whose result was overturned is barred; 3 days where absent.
    pub jail: Option<Seconds>,
    /// How long an escrow may send no report before what leaves it no longer waits for it; 14 days where absent.
    pub silence: Option<Seconds>,
    /// How long a change of parameters is public before it takes effect; a day where absent.
    pub delay: Option<Seconds>,
    /// The escrows whose reports of computing power count for mining; where absent, the one that the environment variable
    /// `PUBLIC_CANISTER_ID:escrow` names, or none.
    pub mining_escrows: Option<Vec<Principal>>,
}

/// What an upgrade of the registry may change; absent fields stay.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryUpgrade {
    /// A new governor.
    pub governor: Option<Principal>,
    /// A new least stake.
    pub minimum_stake: Option<Tokens>,
    /// A new unbonding time, for what is unstaked from now on.
    pub unbonding: Option<Seconds>,
    /// A new time in jail, for nodes that are jailed from now on.
    pub jail: Option<Seconds>,
    /// A new time that an escrow may be silent.
    pub silence: Option<Seconds>,
    /// A new delay, for changes that are announced from now on.
    pub delay: Option<Seconds>,
    /// Other escrows whose reports of computing power count for mining.
    pub mining_escrows: Option<Vec<Principal>>,
}

/// The registry's install and upgrade argument.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum RegistryArgs {
    /// For install and reinstall.
    Init(RegistryInit),
    /// For upgrade.
    Upgrade(RegistryUpgrade),
}
