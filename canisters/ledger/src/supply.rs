//! The hard cap on supply: no mint passes it, whoever asks. What was burned can be minted again, up to the cap.

use crate::{refusal::Refusal, state::Ledger, tokens::Tokens};

/// Checks that this much more can be minted.
pub(crate) fn check_cap(ledger: &Ledger, amount: Tokens) -> Result<(), Refusal> {
    if amount <= left(ledger) {
        Ok(())
    } else {
        Err(cap_reached(ledger))
    }
}

/// The refusal of a mint that passes the cap.
pub(crate) fn cap_reached(ledger: &Ledger) -> Refusal {
    Refusal::CapReached {
        left: left(ledger).to_string(),
    }
}

fn left(ledger: &Ledger) -> Tokens {
    ledger
        .config()
        .max_supply
        .checked_sub(ledger.supply())
        .unwrap_or(Tokens::ZERO)
}
