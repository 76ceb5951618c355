//! The codes of `GenericError`, which the standards leave to the ledger. Each message says what to do.

use candid::Nat;
use icrc_ledger_types::{
    icrc1::transfer::TransferError,
    icrc2::{approve::ApproveError, transfer_from::TransferFromError},
};

/// A refusal for which the standards have no name.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Everybody is the anonymous caller, so nothing can be his.
    #[error("the anonymous principal cannot hold or move tokens here; call with an identity")]
    Anonymous,
    /// The memo is longer than `icrc1:max_memo_length`.
    #[error("the memo has {length} bytes, at most {limit} are allowed (icrc1:max_memo_length)")]
    MemoTooLong {
        /// The memo's length.
        length: usize,
        /// What is allowed.
        limit: u16,
    },
    /// A mint past the cap.
    #[error("this mint passes the cap on supply; at most {left} can still be minted")]
    CapReached {
        /// What is left.
        left: String,
    },
    /// `icrc2_transfer_from` from the minting account.
    #[error("minting cannot be delegated; mint with icrc1_transfer from the minting account")]
    MintDelegated,
    /// An approval by the minting account.
    #[error("the minting account cannot approve a spender, since minting cannot be delegated")]
    MinterApproves,
    /// An approval to oneself.
    #[error("an owner needs no approval for his own accounts; use icrc1_transfer")]
    SelfApproval,
}

impl Refusal {
    /// The number in `GenericError`; a number is never used for something else later.
    pub fn code(&self) -> u64 {
        match self {
            Self::Anonymous => 1,
            Self::MemoTooLong { .. } => 2,
            Self::CapReached { .. } => 3,
            Self::MintDelegated => 4,
            Self::MinterApproves => 5,
            Self::SelfApproval => 6,
        }
    }
}

macro_rules! becomes_generic_error {
    ($($error:ident),*) => {$(
        impl From<Refusal> for $error {
            fn from(refusal: Refusal) -> Self {
                Self::GenericError {
                    error_code: Nat::from(refusal.code()),
                    message: refusal.to_string(),
                }
            }
        }
    )*};
}

becomes_generic_error!(TransferError, TransferFromError, ApproveError);
