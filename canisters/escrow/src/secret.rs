//! What is derived rather than asked for: salts and capabilities, from a secret that nobody outside sees; seeds and the
//! nonce, from what everybody knows. `docs/protocol.md` has the formulas.

use crate::records::Secret;
use crate::state::State;
use candid::Principal;
use emc_protocol::canonical::Writer;
use emc_protocol::{ApiError, ErrorDetail, JobId, Seconds, Timestamp, error::code};

/// The secret, once the canister has it.
pub(crate) fn secret(state: &State) -> Result<Secret, ApiError> {
    state.config().secret.ok_or_else(|| {
        ApiError::new(
            code::STARTING,
            "The escrow has just been installed and waits for randomness: try again in a few seconds.",
        )
        .with(ErrorDetail::RetryAfter {
            seconds: Seconds(5),
        })
    })
}

/// The bytes that let their bearer read a job's result.
pub(crate) fn capability(secret: &Secret, id: JobId) -> [u8; 16] {
    let mut bytes = Writer::new("emc-capability-v1");
    bytes.raw(&secret.0);
    bytes.u64(id);
    let hash = bytes.sha256();
    *hash
        .first_chunk()
        .expect("a hash of 32 bytes begins with 16")
}

/// The salt of a job's hashes, where the requester gives none.
pub(crate) fn salt(secret: &Secret, id: JobId) -> [u8; 32] {
    let mut bytes = Writer::new("emc-salt-v1");
    bytes.raw(&secret.0);
    bytes.u64(id);
    bytes.sha256()
}

/// The seed of a job's sampling, where the requester gives none.
pub(crate) fn seed(state: &State, id: JobId) -> u64 {
    let escrow = state.config().escrow;
    let mut bytes = Writer::new("emc-seed-v1");
    bytes.u8(escrow.as_slice().len() as u8);
    bytes.raw(escrow.as_slice());
    bytes.raw(&state.config().nonce);
    bytes.u64(id);
    let hash = bytes.sha256();
    u64::from_le_bytes(
        *hash
            .first_chunk()
            .expect("a hash of 32 bytes begins with 8"),
    )
}

/// The nonce of an installation.
pub fn nonce(escrow: Principal, installed: Timestamp) -> [u8; 16] {
    let mut bytes = Writer::new("emc-nonce-v1");
    bytes.u8(escrow.as_slice().len() as u8);
    bytes.raw(escrow.as_slice());
    bytes.u64(installed.0);
    let hash = bytes.sha256();
    *hash
        .first_chunk()
        .expect("a hash of 32 bytes begins with 16")
}
