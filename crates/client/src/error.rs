//! Everything that can go wrong with a call, each case saying what is known and what to do.

use candid::Principal;
use emc_protocol::error::code;
use emc_protocol::{ApiError, ErrorDetail, Seconds, Tokens};
use ic_agent::agent::RejectCode;
use icrc_ledger_types::icrc1::transfer::TransferError;
use icrc_ledger_types::icrc2::approve::ApproveError;
use icrc_ledger_types::icrc2::transfer_from::TransferFromError;
use std::fmt;
use std::time::Duration;

/// What went wrong.
///
/// ```
/// use emc_client::{protocol::{ApiError, error::code}, Error};
/// let error = Error::from(ApiError::new(code::BUSY, "Too many open jobs."));
/// assert!(error.is_retryable() && error.is_code(code::BUSY));
/// ```
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The canister refused; nothing has changed in it.
    #[error("{0}")]
    Api(Box<ApiError>),
    /// The ledger refused; nothing has changed in it.
    #[error("the ledger refused: {0}")]
    Ledger(LedgerError),
    /// The network refused the call, or the canister trapped or rejected it.
    #[error("{method} of {canister} was rejected: {message} [{}]", reject_name(*.code))]
    Rejected {
        /// The canister that was called.
        canister: Principal,
        /// The method that was called.
        method: String,
        /// The Internet Computer's reject code.
        code: RejectCode,
        /// What the network or the canister says.
        message: String,
    },
    /// The network could not be reached or did not answer as it should; nothing is known to have happened, and the call
    /// is one that may be repeated.
    #[error("cannot reach {tried} ({attempts} {}): {reason}", if *.attempts == 1 { "try" } else { "tries" })]
    Transport {
        /// What was tried: method and canister, at which address.
        tried: String,
        /// How often.
        attempts: u32,
        /// The last failure.
        reason: String,
        /// False where the answer was a plain no, which another try would not change.
        retryable: bool,
    },
    /// The call may or may not have been carried out, and must not be repeated before looking.
    #[error(
        "the outcome of {method} is not known ({reason}). Do not repeat it before looking: {look_at}"
    )]
    Unknown {
        /// The canister that was called.
        canister: Principal,
        /// The method that was called.
        method: String,
        /// The request id, in hexadecimal.
        request_id: String,
        /// The last failure.
        reason: String,
        /// What tells whether it was carried out.
        look_at: String,
    },
    /// The answer is not what this client expects; client and canister are of different versions.
    #[error(
        "{method} answered something that this version does not understand ({reason}); update this program."
    )]
    Decode {
        /// The method that was called.
        method: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// A setting, a file or an argument is wrong.
    #[error("{0}")]
    Config(String),
    /// A key is missing or wrong.
    #[error("{0}")]
    Identity(String),
}

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        Self::Api(Box::new(error))
    }
}

// Not its source: its text is part of ours, and would be said twice where causes are listed.
impl From<LedgerError> for Error {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl Error {
    /// True if the same call may succeed later and may safely be made again.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Api(error) => matches!(
                error.code.as_str(),
                code::BUSY
                    | code::IN_FLIGHT
                    | code::UNAVAILABLE
                    | code::STARTING
                    | code::STALE_FEED
            ),
            Self::Ledger(error) => error.is_temporary(),
            Self::Rejected { code, .. } => *code == RejectCode::SysTransient,
            Self::Transport { retryable, .. } => *retryable,
            Self::Unknown { .. } | Self::Decode { .. } | Self::Config(_) | Self::Identity(_) => {
                false
            }
        }
    }

    /// How long the canister asks to wait before the next try, where it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Api(error) => match error.detail {
                Some(ErrorDetail::RetryAfter {
                    seconds: Seconds(seconds),
                }) => Some(Duration::from_secs(seconds)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The canister's refusal, where it is one.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Api(error) => Some(error),
            _ => None,
        }
    }

    /// True for a canister's refusal with this code (the constants of [`emc_protocol::error::code`]).
    pub fn is_code(&self, code: &str) -> bool {
        self.api().is_some_and(|error| error.code == code)
    }
}

/// The ledger's refusals, as ICRC-1 and ICRC-2 define them. `Duplicate` is never one: it is a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerError {
    /// Of `icrc1_transfer`.
    Transfer(TransferError),
    /// Of `icrc2_approve`.
    Approve(ApproveError),
    /// Of `icrc2_transfer_from`.
    TransferFrom(TransferFromError),
}

impl std::error::Error for LedgerError {}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(balance) = self.insufficient_balance() {
            return write!(f, "the account holds {} EMC, too little", Tokens(balance));
        }
        match self {
            Self::Transfer(error) => error.fmt(f),
            Self::Approve(error) => error.fmt(f),
            Self::TransferFrom(error) => error.fmt(f),
        }
    }
}

impl LedgerError {
    /// True if the ledger says that it is only for now.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Transfer(TransferError::TemporarilyUnavailable)
                | Self::Approve(ApproveError::TemporarilyUnavailable)
                | Self::TransferFrom(TransferFromError::TemporarilyUnavailable)
        )
    }

    /// The balance that was too small, in e8s, where that is the reason.
    pub fn insufficient_balance(&self) -> Option<u128> {
        let balance = match self {
            Self::Transfer(TransferError::InsufficientFunds { balance })
            | Self::Approve(ApproveError::InsufficientFunds { balance })
            | Self::TransferFrom(TransferFromError::InsufficientFunds { balance }) => balance,
            _ => return None,
        };
        u128::try_from(balance.0.clone()).ok()
    }
}

fn reject_name(code: RejectCode) -> &'static str {
    match code {
        RejectCode::SysFatal => "the network, for good",
        RejectCode::SysTransient => "the network, for now",
        RejectCode::DestinationInvalid => "no such canister or method",
        RejectCode::CanisterReject => "the canister",
        RejectCode::CanisterError => "the canister failed",
    }
}
