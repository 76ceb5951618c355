//! The log of receipts, kept for ever, and the Merkle mountain range over it, whose root the canister certifies: a proof
//! that a receipt is in the log is small for ever, and can be checked without asking the escrow again.

use crate::state::Mem;
use crate::stored::{self, stored};
use candid::Principal;
use emc_protocol::escrow::ReceiptRecord;
use emc_protocol::mountain_range::{self, Hash, Proof};
use emc_protocol::{FinishReason, JobId, Receipt, Timestamp, Tokens, Usage};
use ic_certification::{HashTree, labeled, leaf};
use ic_stable_structures::{StableLog, StableVec};
use minicbor::{Decode, Encode};

/// The root's label in what the canister certifies.
pub const LABEL: &str = "receipts";

/// A receipt as it is stored; escrow and nonce are the installation's.
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
struct Entry {
    #[n(0)]
    job: JobId,
    #[n(1)]
    attempt: u32,
    #[cbor(n(2), with = "minicbor::bytes")]
    model_root: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    parameters_hash: Vec<u8>,
    #[cbor(n(4), with = "minicbor::bytes")]
    input_hash: Vec<u8>,
    #[cbor(n(5), with = "minicbor::bytes")]
    output_hash: Vec<u8>,
    #[n(6)]
    seed: u64,
    #[cbor(n(7), with = "stored::usage")]
    usage: Usage,
    #[n(8)]
    finish_reason: u8,
    #[cbor(n(9), with = "stored::tokens")]
    charge: Tokens,
    #[cbor(n(10), with = "minicbor::bytes")]
    evidence_root: Vec<u8>,
    #[cbor(n(11), with = "stored::principal")]
    node: Principal,
    #[cbor(n(12), with = "minicbor::bytes")]
    public_key: Vec<u8>,
    #[cbor(n(13), with = "minicbor::bytes")]
    signature: Vec<u8>,
    #[cbor(n(14), with = "stored::time")]
    time: Timestamp,
}

stored!(Entry);

/// The log.
pub struct ReceiptLog {
    log: StableLog<Entry, Mem, Mem>,
    nodes: StableVec<Hash, Mem>,
}

impl ReceiptLog {
    /// Opens the log in its memories.
    pub fn init(index: Mem, data: Mem, nodes: Mem) -> Self {
        Self {
            log: StableLog::init(index, data),
            nodes: StableVec::init(nodes),
        }
    }

    /// How many receipts there are.
    pub fn len(&self) -> u64 {
        self.log.len()
    }

    /// True where there is none yet.
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// The root over all receipts.
    pub fn root(&self) -> Hash {
        let peaks = mountain_range::peaks(self.len());
        let peaks: Vec<Hash> = peaks.into_iter().map(|place| self.node(place)).collect();
        mountain_range::root(self.len(), &peaks)
    }

    fn node(&self, place: u64) -> Hash {
        self.nodes
            .get(place)
            .expect("every leaf has added its nodes")
    }

    /// What the canister certifies: a hash tree with the root, with room for more labels.
    pub fn certified(&self) -> HashTree {
        labeled(LABEL, leaf(self.root().to_vec()))
    }

    /// The same tree in CBOR, as the interface specification encodes it: a label is 2, a leaf is 3.
    pub fn certified_bytes(&self) -> Vec<u8> {
        let mut encoder = minicbor::Encoder::new(Vec::with_capacity(64));
        let written = (|| {
            encoder
                .tag(minicbor::data::Tag::new(55_799))?
                .array(3)?
                .u8(2)?;
            encoder.bytes(LABEL.as_bytes())?.array(2)?.u8(3)?;
            encoder.bytes(&self.root())?.ok()
        })();
        written.expect("writing to memory does not fail");
        encoder.into_writer()
    }

    /// The proof that a receipt is in the log.
    pub fn prove(&self, index: u64) -> Option<Proof> {
        mountain_range::prove(index, self.len(), |place| self.node(place))
    }

    /// Adds a receipt that was checked; its number in the log.
    pub fn append(&mut self, record: &ReceiptRecord) -> u64 {
        let entry = Entry {
            job: record.receipt.job_id,
            attempt: record.receipt.attempt,
            model_root: record.receipt.model_root.clone(),
            parameters_hash: record.receipt.parameters_hash.clone(),
            input_hash: record.receipt.input_hash.clone(),
            output_hash: record.receipt.output_hash.clone(),
            seed: record.receipt.seed,
            usage: record.receipt.usage,
            finish_reason: record.receipt.finish_reason.byte(),
            charge: record.receipt.charge,
            evidence_root: record.receipt.evidence_root.clone(),
            node: record.node,
            public_key: record.public_key.clone(),
            signature: record.signature.clone(),
            time: record.time,
        };
        let leaf = record
            .leaf()
            .expect("only receipts that were checked come here");
        let new = mountain_range::added(self.len(), leaf, |place| self.node(place));
        for node in &new {
            self.nodes.push(node);
        }
        self.log
            .append(&entry)
            .expect("stable memory can grow to its limit of 500 GiB")
    }

    /// A receipt by its number, with the installation's escrow and nonce.
    pub fn get(&self, index: u64, escrow: Principal, nonce: [u8; 16]) -> Option<ReceiptRecord> {
        let entry = self.log.get(index)?;
        Some(ReceiptRecord {
            index,
            receipt: Receipt {
                escrow,
                nonce: nonce.to_vec(),
                job_id: entry.job,
                attempt: entry.attempt,
                model_root: entry.model_root,
                parameters_hash: entry.parameters_hash,
                input_hash: entry.input_hash,
                output_hash: entry.output_hash,
                seed: entry.seed,
                usage: entry.usage,
                finish_reason: FinishReason::from_byte(entry.finish_reason)?,
                charge: entry.charge,
                evidence_root: entry.evidence_root,
            },
            node: entry.node,
            public_key: entry.public_key,
            signature: entry.signature,
            time: entry.time,
        })
    }
}
