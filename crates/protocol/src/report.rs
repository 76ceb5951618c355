//! What an escrow reports to the registry: how jobs ended, node by node, and what may be unbonded. Reports are numbered
//! and delivered at least once; the registry applies each number once.

use crate::Tokens;
use candid::{CandidType, Principal};
use serde::{Deserialize, Serialize};

/// Most nodes in one report.
pub const REPORT_NODES: usize = 200;

/// What happened to a node's jobs and votes since the report before.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct NodeOutcome {
    /// The node.
    pub node: Principal,
    /// Jobs it delivered that were settled.
    pub settled: u32,
    /// Leases that lapsed.
    pub lapsed: u32,
    /// Leases it gave back.
    pub declined: u32,
    /// Its results that an audit upheld.
    pub upheld: u32,
    /// Its results that an audit overturned.
    pub overturned: u32,
    /// Its votes that were accepted.
    pub votes: u32,
    /// Its votes that were missing or contradicted.
    pub votes_lost: u32,
    /// What is to be burned of the stake that it has allotted to this escrow, e8s. Never more than the escrow holds
    /// reserved of it.
    pub slashed: Tokens,
}

/// Says that what the escrow has reserved of a node's stake fits into what is left of it.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The node.
    pub node: Principal,
    /// The number of the feed's change that told the escrow of the lower stake. Unbondings up to it may begin to wait.
    pub sequence: u64,
}

/// A numbered batch.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// 1 for an escrow's first, one more for each.
    pub number: u64,
    /// At most [`REPORT_NODES`], each node once.
    pub outcomes: Vec<NodeOutcome>,
    /// At most [`REPORT_NODES`].
    pub acknowledgements: Vec<Acknowledgement>,
    /// What was measured in probe rounds; counts only from escrows that the registry's governor has named.
    pub mining: Option<crate::mining::MiningReport>,
}

/// What `report` answers.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ReportReply {
    /// The newest number that was applied for this escrow. A repeated number changes nothing and is answered like the
    /// first time.
    pub applied: u64,
}
