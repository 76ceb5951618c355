//! Rejections: the reject codes, error codes (`IC0xxx`) and texts that a replica gives, because agents, tools and
//! people match on them.

use candid::Principal;

/// Reject code 2: not delivered; trying again may help.
pub const SYS_TRANSIENT: u32 = 2;
/// Reject code 3: there is no such canister.
pub const DESTINATION_INVALID: u32 = 3;
/// Reject code 4: the canister (or the management canister) said no.
pub const CANISTER_REJECT: u32 = 4;
/// Reject code 6: whether the call was executed is not known.
pub const SYS_UNKNOWN: u32 = 6;

/// Why a message was not answered with a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// 1 SYS_FATAL, 2 SYS_TRANSIENT, 3 DESTINATION_INVALID, 4 CANISTER_REJECT, 5 CANISTER_ERROR, 6 SYS_UNKNOWN.
    pub code: u32,
    /// The number of the error code, 503 for `IC0503`.
    pub error: Option<u16>,
    /// What people read.
    pub message: String,
}

/// The answer to a message.
pub type Response = Result<Vec<u8>, Reject>;

impl Reject {
    /// A rejection without an error code.
    pub fn new(code: u32, message: impl Into<String>) -> Self {
        Self {
            code,
            error: None,
            message: message.into(),
        }
    }

    /// A rejection by error code; its first digit is the reject code.
    pub fn error(error: u16, message: impl Into<String>) -> Self {
        Self {
            code: u32::from(error / 100),
            error: Some(error),
            message: message.into(),
        }
    }

    /// The error code as agents show it, `IC0503`.
    pub fn error_code(&self) -> Option<String> {
        self.error.map(|e| format!("IC{e:04}"))
    }

    /// An error in running a canister's code, with the replica's prefix.
    pub fn from_canister(error: u16, canister: Principal, message: impl std::fmt::Display) -> Self {
        Self::error(error, format!("Error from Canister {canister}: {message}"))
    }

    /// No canister has this id.
    pub fn canister_not_found(canister: Principal) -> Self {
        Self::error(301, format!("Canister {canister} not found"))
    }

    /// The canister is empty.
    pub fn no_wasm_module(canister: Principal) -> Self {
        Self::from_canister(
            537,
            canister,
            "Attempted to execute a message, but the canister contains no Wasm module",
        )
    }

    /// The canister does not export such a method.
    pub fn no_method(canister: Principal, kind: &str, method: &str) -> Self {
        Self::from_canister(
            536,
            canister,
            format!(
                "Canister has no {kind} method '{method}'.\nCheck that the method being called is exported by the \
                 target canister."
            ),
        )
    }

    /// The canister finished without answering and waits for nothing.
    pub fn did_not_reply(canister: Principal) -> Self {
        Self::from_canister(506, canister, "Canister did not reply to the call")
    }

    /// The canister is stopped.
    pub fn stopped(canister: Principal) -> Self {
        Self::error(508, format!("Canister {canister} is stopped"))
    }

    /// The canister is stopping.
    pub fn stopping(canister: Principal) -> Self {
        Self::error(509, format!("Canister {canister} is stopping"))
    }

    /// The sender does not control the canister.
    pub fn not_controller(
        canister: Principal,
        controllers: &[Principal],
        sender: Principal,
    ) -> Self {
        let list: Vec<String> = controllers.iter().map(Principal::to_text).collect();
        Self::error(
            512,
            format!(
                "Only the controllers of the canister {canister} can control it.\nCanister's controllers: {}\n\
                 Sender's ID: {sender}",
                list.join(" ")
            ),
        )
    }

    /// The argument of a management method does not decode, or makes no sense.
    pub fn invalid_payload(message: impl Into<String>) -> Self {
        Self::error(408, message)
    }

    /// Something of the Internet Computer that this network does not offer.
    pub fn unsupported(what: impl std::fmt::Display) -> Self {
        Self::new(
            CANISTER_REJECT,
            format!("emc-localnet does not support {what}"),
        )
    }
}

impl std::fmt::Display for Reject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.error_code() {
            Some(e) => write!(f, "{e}: {} (reject code {})", self.message, self.code),
            None => write!(f, "{} (reject code {})", self.message, self.code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reject_code_is_the_first_digit_of_the_error_code() {
        let r = Reject::canister_not_found(Principal::anonymous());
        assert_eq!(
            (r.code, r.error_code().as_deref()),
            (DESTINATION_INVALID, Some("IC0301"))
        );
        assert_eq!(Reject::error(207, "out of cycles").code, SYS_TRANSIENT);
    }
}
