//! Stake at risk: what a job's bond must be, and what of a node's stake is spoken for. The tokens lie in the registry;
//! here is only the count of them, and nothing else than this file changes it.
//!
//! reserve -> release, when the job or the vote ended well; reserve -> burn, when it did not. What is burned stays
//! spoken for until the registry has taken it off (`report`).

use crate::records::*;
use crate::state::State;
use candid::Principal;
use emc_protocol::audit::AuditSettings;
use emc_protocol::{ApiError, Tokens, error::code};

/// The unit of chances multiplied: basis points squared.
const WHOLE: u128 = 100_000_000;

/// The bond that makes cheating a loss on average: p x d x bond > (1 - p x d) x gain, where p is the chance that the
/// job is audited and d that a drawn cheat is overturned (design of the protocol, `docs/protocol.md`).
pub fn size(settings: &AuditSettings, chance: u16, gain: Tokens) -> Tokens {
    let caught = u128::from(chance) * u128::from(settings.detection);
    if caught == 0 {
        return Tokens(u128::MAX);
    }
    let escaped = WHOLE.saturating_sub(caught);
    // Divide first where the product would not fit; such prices do not exist, but must not overflow either.
    let bond = match gain.0.checked_mul(escaped) {
        Some(product) => product / caught,
        None => (gain.0 / caught).saturating_mul(escaped),
    };
    Tokens(bond.saturating_add(1).max(settings.least_bond.0))
}

/// What of a node's stake is free.
pub fn free(state: &State, node: Principal, stake: Tokens) -> Tokens {
    Tokens(stake.0.saturating_sub(spoken_for(state, node).0))
}

/// What of a node's stake is spoken for.
pub fn spoken_for(state: &State, node: Principal) -> Tokens {
    let bond = state.bonds.get(&node).unwrap_or_default();
    Tokens(bond.reserved.0.saturating_add(bond.burning.0))
}

/// Reserves a bond.
///
/// # Errors
/// The node has too little free stake.
pub(crate) fn reserve(
    state: &mut State,
    node: Principal,
    stake: Tokens,
    amount: Tokens,
) -> Result<(), ApiError> {
    let free = free(state, node, stake);
    if amount > free {
        let message = format!(
            "This job needs a bond of {amount} EMC and the node has {free} EMC of free stake in this escrow: stake more, or wait until other jobs are final."
        );
        return Err(ApiError::new(code::NO_BOND, message));
    }
    change(state, node, |bond| bond.reserved.0 += amount.0);
    Ok(())
}

/// Gives a reserved bond free.
pub(crate) fn release(state: &mut State, node: Principal, amount: Tokens) {
    change(state, node, |bond| {
        bond.reserved.0 = bond.reserved.0.saturating_sub(amount.0)
    });
}

/// Burns a reserved bond: the registry is told with the next report, and it stays spoken for until then.
pub(crate) fn burn(state: &mut State, node: Principal, amount: Tokens) {
    change(state, node, |bond| {
        bond.reserved.0 = bond.reserved.0.saturating_sub(amount.0);
        bond.burning.0 += amount.0;
    });
    crate::report::note(state, node, |outcome| outcome.slashed.0 += amount.0);
}

/// The registry has taken a burned bond off the node's stake: so does the copy of the stake here, which the feed
/// brings up to date anyway.
pub(crate) fn burned(state: &mut State, node: Principal, amount: Tokens) {
    change(state, node, |bond| {
        bond.burning.0 = bond.burning.0.saturating_sub(amount.0)
    });
    if let Some(mut record) = state.nodes.get(&node) {
        record.stake.0 = record.stake.0.saturating_sub(amount.0);
        state.nodes.insert(node, record);
    }
}

fn change(state: &mut State, node: Principal, change: impl FnOnce(&mut BondRecord)) {
    let mut bond = state.bonds.get(&node).unwrap_or_default();
    change(&mut bond);
    if bond == BondRecord::default() {
        state.bonds.remove(&node);
    } else {
        state.bonds.insert(node, bond);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cheating_is_a_loss_on_average(chance in 1u16..=10_000, detection in 1u16..=10_000, gain in 0u128..=1u128 << 70) {
            let settings = AuditSettings { detection, least_bond: Tokens(0), ..AuditSettings::default() };
            let bond = size(&settings, chance, Tokens(gain)).0;
            let caught = u128::from(chance) * u128::from(detection);
            prop_assert!(caught * bond > (WHOLE - caught) * gain);
            // And it is the smallest such bond, but for one.
            prop_assert!(bond == 1 || caught * (bond - 1) <= (WHOLE - caught) * gain);
        }
    }

    #[test]
    fn a_job_that_is_never_caught_needs_more_than_there_is() {
        let settings = AuditSettings::default();
        assert_eq!(size(&settings, 0, Tokens(1)), Tokens(u128::MAX));
    }
}
