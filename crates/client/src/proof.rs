//! Checks that a receipt is in the escrow's certified log, by the Internet Computer's certificate alone: whichever
//! replica or gateway has answered need not be believed.

use crate::Escrow;
use emc_protocol::escrow::{ReceiptProof, ReceiptRecord};
use ic_certification::{Certificate, HashTree, LookupResult};

/// The label of the log's root in what the escrow certifies.
const LABEL: &[u8] = b"receipts";

/// Why a proof does not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProofError {
    /// The proof is for another receipt than the one that is to be proved.
    #[error("the escrow has another receipt for this job")]
    OtherReceipt,
    /// Leaf, path and peaks do not fit.
    #[error("the path does not lead from the receipt to the log's root")]
    Path,
    /// The tree does not hold the root.
    #[error("what the canister certifies is not this log's root: {0}")]
    Tree(String),
    /// There is no certificate, or it does not certify the tree.
    #[error("the certificate does not hold: {0}")]
    Certificate(String),
}

/// Checks a proof for this very receipt. The certificate must be fresh (minutes), as every answer's is.
///
/// # Errors
/// What does not hold.
pub fn check_proof(
    escrow: &Escrow,
    receipt: &ReceiptRecord,
    proof: &ReceiptProof,
) -> Result<(), ProofError> {
    let record = &proof.record;
    let same = record.receipt == receipt.receipt
        && record.signature == receipt.signature
        && record.public_key == receipt.public_key;
    if !same || record.index != proof.proof.index {
        return Err(ProofError::OtherReceipt);
    }
    let root = record
        .leaf()
        .and_then(|leaf| proof.proof.root_of(leaf))
        .ok_or(ProofError::Path)?;

    let tree: HashTree =
        serde_cbor::from_slice(&proof.tree).map_err(|error| ProofError::Tree(error.to_string()))?;
    if tree.lookup_path([LABEL]) != LookupResult::Found(&root) {
        return Err(ProofError::Tree("it has another one".into()));
    }

    let wrong = |why: String| ProofError::Certificate(why);
    let bytes = proof
        .certificate
        .as_ref()
        .ok_or_else(|| wrong("there is none".into()))?;
    let certificate: Certificate =
        serde_cbor::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    let agent = escrow.client().agent();
    agent
        .verify(&certificate, escrow.id())
        .map_err(|error| wrong(error.to_string()))?;
    let id = escrow.id();
    let path: [&[u8]; 3] = [b"canister", id.as_slice(), b"certified_data"];
    match certificate.tree.lookup_path(path) {
        LookupResult::Found(data) if data == tree.digest() => Ok(()),
        _ => Err(wrong("it certifies other data of the canister".into())),
    }
}
