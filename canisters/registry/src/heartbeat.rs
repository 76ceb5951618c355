//! Nodes say that they are there. Cheap: most heartbeats read one number and write nothing.

use crate::feed;
use crate::keys::Subject;
use crate::register::not_registered;
use crate::state::State;
use candid::Principal;
use emc_protocol::ApiError;

/// Heartbeats closer than this to the last one that was noted change nothing, nanoseconds. Well under the fifteen
/// minutes after which a node no longer counts as live, so that one lost heartbeat costs nobody a job.
pub const STEP: u64 = 3 * 60 * 1_000_000_000;

/// Notes that a node is there.
///
/// # Errors
/// `not_registered`.
pub fn heartbeat(state: &mut State, now: u64, caller: Principal) -> Result<(), ApiError> {
    let seen = state.seen.get(&caller).ok_or_else(not_registered)?;
    if now.saturating_sub(seen) >= STEP {
        state.seen.insert(caller, now);
        feed::announce(state, Subject::Node(caller));
    }
    Ok(())
}
