//! Why a ledger call was not made, as the ledger or the system says it, and how a caller is told.

use crate::cbor;
use emc_protocol::{ApiError, ErrorDetail, Timestamp, Tokens, error::code};
use minicbor::{Decode, Encode};

/// Why a call had no effect.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The account holds less than amount and fee.
    #[n(0)]
    #[error("the account holds only {}", Tokens(*balance))]
    InsufficientFunds {
        /// What it holds, in e8s.
        #[cbor(n(0), with = "cbor::amount")]
        balance: u128,
    },
    /// The approval covers less than amount and fee.
    #[n(1)]
    #[error("the approval covers only {}", Tokens(*allowance))]
    InsufficientAllowance {
        /// What it covers, in e8s.
        #[cbor(n(0), with = "cbor::amount")]
        allowance: u128,
    },
    /// The ledger's fee is another one.
    #[n(2)]
    #[error("the ledger's fee is now {}", Tokens(*expected))]
    BadFee {
        /// What it is, in e8s.
        #[cbor(n(0), with = "cbor::amount")]
        expected: u128,
    },
    /// The ledger's clock is more than its window past the call's time.
    #[n(3)]
    #[error("the ledger calls it too old")]
    TooOld,
    /// Any other refusal, in the ledger's words.
    #[n(4)]
    #[error("the ledger says: {text}")]
    Other {
        /// Its words.
        #[n(0)]
        text: String,
    },
    /// The message never reached the ledger.
    #[n(5)]
    #[error("the ledger cannot be reached: {text}")]
    NotDelivered {
        /// The system's words.
        #[n(0)]
        text: String,
    },
    /// The answer was lost, and the ledger's log does not hold the call: it never happened, and no longer can.
    #[n(6)]
    #[error("the ledger never executed it")]
    NeverExecuted,
}

impl Refusal {
    /// The error that a caller gets.
    pub fn to_api_error(&self) -> ApiError {
        match self {
            Self::InsufficientFunds { .. } | Self::InsufficientAllowance { .. } => ApiError::new(
                code::LEDGER,
                format!(
                    "The ledger refused: {self}. Make sure that account and approval cover the amount and the ledger's fee."
                ),
            ),
            Self::NotDelivered { .. } | Self::NeverExecuted => ApiError::new(
                code::UNAVAILABLE,
                format!("Nothing was moved: {self}. Try again in a while."),
            ),
            Self::BadFee { .. } | Self::TooOld | Self::Other { .. } => ApiError::new(
                code::LEDGER,
                format!("The ledger refused: {self}. Nothing was moved; try again."),
            ),
        }
    }
}

/// The error for a call whose outcome is not known yet.
pub fn pending(entry: u64, created_at: u64) -> ApiError {
    ApiError::new(
        code::PENDING,
        "The ledger's answer is not known yet. Nothing is lost: it is journalled and resolves by itself; look again later, do not repeat the call.",
    )
    .with(ErrorDetail::Pending {
        entry,
        created_at: Timestamp(created_at),
    })
}
