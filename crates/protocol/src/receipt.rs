//! The receipt: what a node signs when it delivers, and how anyone checks it offline (`docs/spec/receipt.md`).

use crate::canonical::{VERSION, Writer};
use crate::{FinishReason, JobId, Tokens, Usage};
use candid::{CandidType, Principal};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

/// Separates receipts from everything else that an Ed25519 key may sign (the Internet Computer's requests, above all).
const DOMAIN: &str = "emc-receipt-v1";

/// What a node vouches for with its signature. The prompt and the output appear as salted hashes only.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The escrow.
    pub escrow: Principal,
    /// The installation's nonce, 16 bytes: a reinstalled escrow counts its jobs anew.
    #[serde(with = "serde_bytes")]
    pub nonce: Vec<u8>,
    /// The job.
    pub job_id: JobId,
    /// The attempt.
    pub attempt: u32,
    /// Root of the model's files, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub model_root: Vec<u8>,
    /// Hash of model and parameters, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub parameters_hash: Vec<u8>,
    /// Salted hash of the input, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub input_hash: Vec<u8>,
    /// Salted hash of the output, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub output_hash: Vec<u8>,
    /// The seed of sampling.
    pub seed: u64,
    /// What was used.
    pub usage: Usage,
    /// Why the output ended.
    pub finish_reason: FinishReason,
    /// What the node charges.
    pub charge: Tokens,
    /// Reserved: 32 zero bytes.
    #[serde(with = "serde_bytes")]
    pub evidence_root: Vec<u8>,
}

/// Why a receipt does not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReceiptError {
    /// A field of fixed length has another.
    #[error("the receipt's {0} has the wrong length")]
    Malformed(&'static str),
    /// The bytes are no Ed25519 public key.
    #[error("the public key is not an Ed25519 key")]
    BadKey,
    /// The signature is not this key's over this receipt.
    #[error("the signature is not this node's over this receipt")]
    BadSignature,
}

impl Receipt {
    /// The canonical bytes.
    ///
    /// # Errors
    /// [`ReceiptError::Malformed`] where a field of fixed length has another.
    pub fn bytes(&self) -> Result<Vec<u8>, ReceiptError> {
        let fixed = |field: &'static str, bytes: &[u8], length: usize| {
            if bytes.len() == length {
                Ok(())
            } else {
                Err(ReceiptError::Malformed(field))
            }
        };
        fixed("nonce", &self.nonce, 16)?;
        fixed("model_root", &self.model_root, 32)?;
        fixed("parameters_hash", &self.parameters_hash, 32)?;
        fixed("input_hash", &self.input_hash, 32)?;
        fixed("output_hash", &self.output_hash, 32)?;
        fixed("evidence_root", &self.evidence_root, 32)?;
        let mut out = Writer::new(DOMAIN);
        out.u8(VERSION);
        out.u8(self.escrow.as_slice().len() as u8);
        out.raw(self.escrow.as_slice());
        out.raw(&self.nonce);
        out.u64(self.job_id);
        out.u32(self.attempt);
        out.raw(&self.model_root);
        out.raw(&self.parameters_hash);
        out.raw(&self.input_hash);
        out.raw(&self.output_hash);
        out.u64(self.seed);
        out.u64(self.usage.prompt_tokens);
        out.u64(self.usage.output_tokens);
        out.u64(self.usage.pixel_steps);
        out.u8(self.finish_reason.byte());
        out.u128(self.charge.0);
        out.raw(&self.evidence_root);
        Ok(out.finish())
    }

    /// SHA-256 of the canonical bytes.
    ///
    /// # Errors
    /// As [`Receipt::bytes`].
    pub fn digest(&self) -> Result<[u8; 32], ReceiptError> {
        use sha2::Digest;
        Ok(sha2::Sha256::digest(self.bytes()?).into())
    }

    /// What is signed: one length byte, the domain's name, the digest.
    fn message(&self) -> Result<Vec<u8>, ReceiptError> {
        let mut out = Writer::new(DOMAIN);
        out.raw(&self.digest()?);
        Ok(out.finish())
    }

    /// Signs the receipt.
    ///
    /// # Errors
    /// As [`Receipt::bytes`].
    pub fn sign(&self, key: &SigningKey) -> Result<[u8; 64], ReceiptError> {
        Ok(key.sign(&self.message()?).to_bytes())
    }

    /// Checks a signature (strictly: no small-order keys, no malleable signatures).
    ///
    /// # Errors
    /// What is wrong, in a case each.
    pub fn verify(&self, public_key: &[u8], signature: &[u8]) -> Result<(), ReceiptError> {
        let message = self.message()?;
        let key: [u8; 32] = public_key.try_into().map_err(|_| ReceiptError::BadKey)?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| ReceiptError::BadKey)?;
        let signature = Signature::from_slice(signature).map_err(|_| ReceiptError::BadSignature)?;
        key.verify_strict(&message, &signature)
            .map_err(|_| ReceiptError::BadSignature)
    }
}

/// The principal of an Ed25519 key: self-authenticating over its DER form.
pub fn node_principal(public_key: &[u8; 32]) -> Principal {
    // SubjectPublicKeyInfo for Ed25519 (RFC 8410) has a fixed prefix.
    let mut der = vec![
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
    ];
    der.extend_from_slice(public_key);
    Principal::self_authenticating(der)
}
