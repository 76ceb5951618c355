//! Who may write at all, and how often: asked before anything else is looked at.

use crate::{
    rate_limit::{RESERVED_FOR, Room},
    refusal::Refusal,
    state::Ledger,
};
use candid::Principal;
use icrc_ledger_types::{
    icrc1::{account::Account, transfer::TransferError},
    icrc2::{approve::ApproveError, transfer_from::TransferFromError},
};

/// The longest argument that a write can need, many times over; longer ones are dropped before they cost anything.
pub const MAX_ARGUMENT_BYTES: usize = 4_096;

/// Why a caller is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// For good.
    Refused(Refusal),
    /// For now: the caller's bucket is empty, or that of all. Try again later.
    Throttled,
}

/// A write that may go on.
#[must_use]
pub struct Admitted {
    limited: bool,
}

/// Admits a write by this caller, paid for by this account, and takes one token from the caller's bucket.
pub fn admit(
    ledger: &mut Ledger,
    caller: Principal,
    payer: &Account,
    now: u64,
) -> Result<Admitted, Denied> {
    if caller == Principal::anonymous() {
        return Err(Denied::Refused(Refusal::Anonymous));
    }
    let config = ledger.config.get();
    if config.exempt_principals.contains(&caller) || config.minting_account.owner == caller {
        return Ok(Admitted { limited: false });
    }
    let admitted = ledger.limiter.take(config.rate_limit, caller, now)
        && match ledger.limiter.room(config.total_rate_limit(), now) {
            Room::ForAll => true,
            Room::ForHolders => ledger.balance(payer) >= RESERVED_FOR,
            Room::None => false,
        };
    if admitted {
        Ok(Admitted { limited: true })
    } else {
        ledger.limiter.count_throttled();
        Err(Denied::Throttled)
    }
}

impl Admitted {
    /// Counts the block that the write has made.
    pub fn has_made_a_block(self, ledger: &mut Ledger) {
        if self.limited {
            ledger.limiter.fill();
        }
    }
}

/// Whether a message from outside can succeed, for `inspect_message`: only a filter, [`admit`] is the guard.
pub fn can_succeed(caller: Principal, method: &str, argument_bytes: usize) -> bool {
    let writes = matches!(
        method,
        "icrc1_transfer" | "icrc2_approve" | "icrc2_transfer_from"
    );
    argument_bytes <= MAX_ARGUMENT_BYTES && !(writes && caller == Principal::anonymous())
}

macro_rules! is_answered_as {
    ($($error:ident),*) => {$(
        impl From<Denied> for $error {
            fn from(denied: Denied) -> Self {
                match denied {
                    Denied::Refused(refusal) => refusal.into(),
                    Denied::Throttled => Self::TemporarilyUnavailable,
                }
            }
        }
    )*};
}

is_answered_as!(TransferError, TransferFromError, ApproveError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_succeed_is_dropped() {
        let user = Principal::from_slice(&[1; 29]);
        let anonymous = Principal::anonymous();
        assert!(can_succeed(user, "icrc1_transfer", 200));
        assert!(!can_succeed(anonymous, "icrc1_transfer", 200));
        assert!(!can_succeed(anonymous, "icrc2_approve", 200));
        assert!(!can_succeed(anonymous, "icrc2_transfer_from", 200));
        assert!(can_succeed(anonymous, "icrc1_balance_of", 200));
        assert!(!can_succeed(
            user,
            "icrc1_balance_of",
            MAX_ARGUMENT_BYTES + 1
        ));
    }
}
