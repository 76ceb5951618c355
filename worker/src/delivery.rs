//! From a finished answer to what `deliver` takes: usage, charge, hashes, and the signed receipt.

use candid::{CandidType, Principal};
use ed25519_dalek::SigningKey;
use emc_protocol::work::DeliverArgs;
use emc_protocol::{Lease, Receipt, TextOutput, Timestamp, Tokens, Usage, canonical};
use serde::{Deserialize, Serialize};

use crate::journal::JobKey;

/// A finished result that the escrow has not accepted yet.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// What will be sent, the same each time.
    pub args: DeliverArgs,
    /// When the job is given up.
    pub deadline: Timestamp,
}

impl Owed {
    /// The job and attempt that it is for.
    pub fn key(&self) -> JobKey {
        JobKey {
            job_id: self.args.job_id,
            attempt: self.args.attempt,
        }
    }
}

/// Why a result cannot be delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The lease holds no input, or fields of a wrong length.
    #[error("the lease is malformed: {0}")]
    Lease(String),
    /// The price times the usage does not fit 128 bits.
    #[error("the price is too large to compute a charge")]
    Price,
}

/// Signs a result. The charge is the node's price for the usage, at most what the lease allows.
///
/// # Errors
/// Where the lease that the escrow sent is malformed, or the price is absurd.
pub fn sign(
    escrow: Principal,
    key: &SigningKey,
    lease: &Lease,
    prompt_tokens: u64,
    output: TextOutput,
) -> Result<Owed, DeliveryError> {
    let input = lease
        .input
        .as_ref()
        .ok_or_else(|| DeliveryError::Lease("it has no input".into()))?;
    let usage = Usage {
        prompt_tokens,
        output_tokens: output.ids.len() as u64,
        pixel_steps: 0,
    };
    let charge = lease.price.charge(&usage).ok_or(DeliveryError::Price)?;
    let charge = Tokens(charge.0.min(lease.max_charge.0));
    let output_hash = canonical::output_hash(&lease.salt, &canonical::output_bytes(&output));
    let receipt = Receipt {
        escrow,
        nonce: lease.nonce.clone(),
        job_id: lease.job_id,
        attempt: lease.attempt,
        model_root: lease.model_root.clone(),
        parameters_hash: canonical::job_parameters_hash(&lease.model, input, &lease.parameters)
            .to_vec(),
        input_hash: canonical::input_hash(&lease.salt, input).to_vec(),
        output_hash: output_hash.to_vec(),
        seed: lease.seed,
        usage,
        finish_reason: output.finish_reason,
        charge,
        evidence_root: vec![0; 32],
    };
    let signature = receipt
        .sign(key)
        .map_err(|error| DeliveryError::Lease(error.to_string()))?;
    Ok(Owed {
        args: DeliverArgs {
            job_id: lease.job_id,
            attempt: lease.attempt,
            output: Some(output),
            output_hash: output_hash.to_vec(),
            usage,
            charge,
            signature: signature.to_vec(),
            image: None,
        },
        deadline: lease.deadline,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_escrow::{ESCROW, check_receipt, key, lease};
    use emc_protocol::FinishReason;

    fn output() -> TextOutput {
        TextOutput {
            ids: vec![5, 6, 7],
            finish_reason: FinishReason::Stop,
            text: "five six".into(),
        }
    }

    #[test]
    fn a_receipt_holds_for_the_escrow_s_own_values() {
        let owed = sign(ESCROW, &key(), &lease(4), 12, output()).expect("signs");
        assert_eq!(owed.args.usage.output_tokens, 3);
        check_receipt(&lease(4), &owed.args).expect("verifies");
        let mut changed = lease(4);
        changed.seed += 1;
        assert!(check_receipt(&changed, &owed.args).is_err());
    }

    #[test]
    fn the_charge_is_the_price_and_at_most_what_is_locked() {
        let mut lease = lease(4);
        lease.price.output = Tokens(2_000_000);
        lease.price.prompt = Tokens(1_000_000);
        let owed = sign(ESCROW, &key(), &lease, 10, output()).expect("signs");
        assert_eq!(owed.args.charge, Tokens(16));
        lease.max_charge = Tokens(15);
        let owed = sign(ESCROW, &key(), &lease, 10, output()).expect("signs");
        assert_eq!(owed.args.charge, Tokens(15));
    }

    #[test]
    fn a_malformed_lease_is_an_error_not_a_panic() {
        let mut short = lease(4);
        short.nonce.pop();
        assert!(sign(ESCROW, &key(), &short, 1, output()).is_err());
        let mut empty = lease(4);
        empty.input = None;
        assert!(sign(ESCROW, &key(), &empty, 1, output()).is_err());
        let mut dear = lease(4);
        dear.price.prompt = Tokens(u128::MAX);
        assert!(sign(ESCROW, &key(), &dear, 2, output()).is_err());
    }
}
