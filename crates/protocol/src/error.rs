//! The one shape of every refusal: a stable code for programs, a message that says what to do, a detail where it helps.

use crate::{JobId, JobState, Seconds, Timestamp, Tokens};
use candid::CandidType;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a call was refused; nothing has changed in the canister.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// A stable, machine-readable name in `snake_case`; the constants of [`code`].
    pub code: String,
    /// One or two sentences for a person: what is wrong and what to do.
    pub message: String,
    /// Values that a program can use; unknown cases read as null.
    pub detail: Option<ErrorDetail>,
}

/// Values that go with an error.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum ErrorDetail {
    /// The balance that was too small, and what was needed.
    #[serde(rename = "insufficient_funds")]
    InsufficientFunds {
        /// What the account has available.
        available: Tokens,
        /// What the call needs.
        needed: Tokens,
    },
    /// A field over its limit.
    #[serde(rename = "limit")]
    Limit {
        /// The field's name as in the Candid interface.
        field: String,
        /// The largest value (or length in bytes) that is accepted.
        max: u64,
        /// What was sent.
        got: u64,
    },
    /// The job is in a state in which this cannot be done.
    #[serde(rename = "state")]
    State {
        /// Its state now.
        state: Option<JobState>,
    },
    /// Try again, not before this.
    #[serde(rename = "retry_after")]
    RetryAfter {
        /// How long to wait.
        seconds: Seconds,
    },
    /// What was asked for exists already under this job.
    #[serde(rename = "job")]
    Job {
        /// The job's number.
        job_id: JobId,
    },
    /// A ledger call whose outcome is not known yet; it is journalled and resolves by itself.
    #[serde(rename = "pending")]
    Pending {
        /// The journal entry's number.
        entry: u64,
        /// When the call was made.
        created_at: Timestamp,
    },
}

/// The stable names of errors.
pub mod code {
    /// The caller is anonymous; use an identity.
    pub const ANONYMOUS: &str = "anonymous";
    /// The caller may not do this.
    pub const FORBIDDEN: &str = "forbidden";
    /// There is no such thing, or the caller may not know of it.
    pub const NOT_FOUND: &str = "not_found";
    /// A field is malformed.
    pub const INVALID: &str = "invalid";
    /// A field is over its limit.
    pub const LIMIT: &str = "limit";
    /// Too many calls or open things; wait and try again.
    pub const BUSY: &str = "busy";
    /// The account's available balance is too small.
    pub const INSUFFICIENT_FUNDS: &str = "insufficient_funds";
    /// The same request is being worked on; ask again.
    pub const IN_FLIGHT: &str = "in_flight";
    /// A ledger call's outcome is unknown; it is journalled and resolves by itself.
    pub const PENDING: &str = "pending";
    /// The ledger refused; the message holds its answer.
    pub const LEDGER: &str = "ledger";
    /// The ledger, or another canister that is needed, does not answer now.
    pub const UNAVAILABLE: &str = "unavailable";
    /// No live node serves the model within the price.
    pub const UNSERVED: &str = "unserved";
    /// The model is not in the catalogue.
    pub const UNKNOWN_MODEL: &str = "unknown_model";
    /// The model is for other tasks: texts, not pictures, or the other way round.
    pub const WRONG_TASK: &str = "wrong_task";
    /// The request key was used for a different job.
    pub const KEY_REUSED: &str = "key_reused";
    /// A numbered batch came before the one that is next; the message says which that is.
    pub const GAP: &str = "gap";
    /// The job is in a state in which this cannot be done.
    pub const WRONG_STATE: &str = "wrong_state";
    /// The lease is another node's, or another attempt's.
    pub const NOT_YOUR_LEASE: &str = "not_your_lease";
    /// The lease has lapsed and somebody else holds or held the job since.
    pub const LEASE_LOST: &str = "lease_lost";
    /// The job was delivered already.
    pub const ALREADY_DELIVERED: &str = "already_delivered";
    /// The receipt's signature is not the node's over these values.
    pub const BAD_SIGNATURE: &str = "bad_signature";
    /// The output does not match the hash that was given.
    pub const BAD_OUTPUT_HASH: &str = "bad_output_hash";
    /// The usage does not match the output, or is out of bounds.
    pub const BAD_USAGE: &str = "bad_usage";
    /// The partial output is not a continuation of what was sent before.
    pub const NOT_A_CONTINUATION: &str = "not_a_continuation";
    /// The node is not registered.
    pub const NOT_REGISTERED: &str = "not_registered";
    /// The node cannot be given work now: draining, jailed, too little stake.
    pub const NOT_ELIGIBLE: &str = "not_eligible";
    /// The registry's feed is older than an hour; no new leases until it comes back.
    pub const STALE_FEED: &str = "stale_feed";
    /// The result of a job with this model cannot be audited now.
    pub const NOT_AUDITABLE: &str = "not_auditable";
    /// The node has too little free stake for the job's bond.
    pub const NO_BOND: &str = "no_bond";
    /// The caller has no seat in this round of the audit, or the round is over.
    pub const NOT_YOUR_AUDIT: &str = "not_your_audit";
    /// The vote does not fit its task or its commitment.
    pub const BAD_VOTE: &str = "bad_vote";
    /// The caller is no delegate of the payer, or its allowance does not cover the job.
    pub const NOT_DELEGATED: &str = "not_delegated";
    /// The canister has too few cycles left to begin anything new.
    pub const LOW_CYCLES: &str = "low_cycles";
    /// The canister has just been installed and is not ready yet.
    pub const STARTING: &str = "starting";
}

impl ApiError {
    /// An error without details.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            detail: None,
        }
    }

    /// The same error with a detail.
    #[must_use]
    pub fn with(mut self, detail: ErrorDetail) -> Self {
        self.detail = Some(detail);
        self
    }

    /// A malformed field: `field` as in the interface, `expected` completes "it must be ...".
    pub fn invalid(field: &str, expected: impl fmt::Display) -> Self {
        Self::new(
            code::INVALID,
            format!("{field} is not valid: it must be {expected}."),
        )
    }

    /// A field over its limit.
    pub fn limit(field: &str, got: u64, max: u64) -> Self {
        Self::new(
            code::LIMIT,
            format!("{field} is {got}, the limit is {max}."),
        )
        .with(ErrorDetail::Limit {
            field: field.to_owned(),
            max,
            got,
        })
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.message, self.code)
    }
}

impl std::error::Error for ApiError {}
