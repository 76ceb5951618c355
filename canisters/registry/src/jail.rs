//! Jail: a node whose result was overturned is barred for a time, in every escrow; then its owner may free it.

use crate::feed;
use crate::keys::Subject;
use crate::records::Standing;
use crate::stake::{allotments, owned};
use crate::state::State;
use candid::Principal;
use emc_protocol::{ApiError, ErrorDetail, Timestamp, Tokens, error::code};

/// Bars a node from now on; one that is jailed already stays so for longer.
pub fn jail(state: &mut State, now: u64, node: Principal) {
    let time = state.config.get().jail().saturating_mul(1_000_000_000);
    if let Some(mut record) = state.nodes.get(&node) {
        let until = now.saturating_add(time);
        record.standing = Standing::Jailed;
        record.jailed_until = Some(record.jailed_until.unwrap_or_default().max(until));
        state.nodes.insert(node, record);
    }
}

/// Frees a node whose time is over, if its stake suffices somewhere. Changes nothing where it is not jailed.
///
/// # Errors
/// `not_found`, `forbidden`, `wrong_state` with the time to wait, `insufficient_funds`.
pub fn unjail(
    state: &mut State,
    now: u64,
    caller: Principal,
    node: Principal,
) -> Result<(), ApiError> {
    let mut record = owned(state, caller, node)?;
    if record.standing != Standing::Jailed {
        return Ok(());
    }
    let until = record.jailed_until.unwrap_or_default();
    if now < until {
        let seconds = Timestamp(until).since(Timestamp(now));
        return Err(ApiError::new(
            code::WRONG_STATE,
            format!("The node is jailed for another {} s.", seconds.0 + 1),
        )
        .with(ErrorDetail::RetryAfter { seconds }));
    }
    let needed = state.config.get().minimum_stake;
    let stakes = allotments(state, node).into_iter();
    let available = stakes.map(|(_, stake)| stake).max().unwrap_or_default();
    if available < needed || available == 0 {
        return Err(ApiError::new(
            code::INSUFFICIENT_FUNDS,
            format!(
                "The node has {} EMC of stake in one escrow at most, it needs {}: stake more first.",
                Tokens(available),
                Tokens(needed)
            ),
        )
        .with(ErrorDetail::InsufficientFunds {
            available: Tokens(available),
            needed: Tokens(needed),
        }));
    }
    record.standing = Standing::Active;
    record.jailed_until = None;
    state.nodes.insert(node, record);
    feed::announce(state, Subject::Node(node));
    Ok(())
}
