//! The log of receipts, kept for ever. Each entry holds everything that its leaf is hashed from, so that another tree
//! can be built over the same leaves later. The tip is a running hash over the leaves and is what the canister
//! certifies.

use crate::state::Mem;
use crate::stored::{self, stored};
use candid::Principal;
use emc_protocol::canonical::Writer;
use emc_protocol::escrow::ReceiptRecord;
use emc_protocol::{FinishReason, JobId, Receipt, Timestamp, Tokens, Usage};
use ic_certification::{HashTree, labeled, leaf};
use ic_stable_structures::{StableCell, StableLog};
use minicbor::{Decode, Encode};

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

/// The tip of the log.
#[derive(Encode, Decode, Clone, Copy, Debug, Default, PartialEq)]
struct Tip {
    #[cbor(n(0), with = "minicbor::bytes")]
    hash: [u8; 32],
}

stored!(Entry, Tip);

/// The log.
pub struct ReceiptLog {
    log: StableLog<Entry, Mem, Mem>,
    tip: StableCell<Tip, Mem>,
}

impl ReceiptLog {
    /// Opens the log in its memories.
    pub fn init(index: Mem, data: Mem, tip: Mem) -> Self {
        Self {
            log: StableLog::init(index, data),
            tip: StableCell::init(tip, Tip::default()),
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

    /// The running hash over all leaves.
    pub fn tip(&self) -> [u8; 32] {
        self.tip.get().hash
    }

    /// What the canister certifies: a hash tree with the tip, with room for more labels.
    pub fn certified(&self) -> HashTree {
        labeled("receipts_tip", leaf(self.tip().to_vec()))
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
        let index = self
            .log
            .append(&entry)
            .expect("stable memory can grow to its limit of 500 GiB");
        let mut next = Writer::new("emc-receipt-log-v1");
        next.raw(&self.tip());
        next.raw(&leaf_hash(record));
        self.tip.set(Tip {
            hash: next.sha256(),
        });
        index
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

/// The hash of a leaf: domain, number, the receipt's digest, public key, signature, time.
fn leaf_hash(record: &ReceiptRecord) -> [u8; 32] {
    let mut bytes = Writer::new("emc-receipt-leaf-v1");
    bytes.u64(record.index);
    let digest = record.receipt.digest();
    bytes.raw(&digest.expect("only receipts that were checked come here"));
    bytes.bytes(&record.public_key);
    bytes.bytes(&record.signature);
    bytes.u64(record.time.0);
    bytes.sha256()
}
