//! The governor's parameters: a change is announced, public for the delay, and then takes effect by itself: by the timer,
//! or before whatever is asked first.

use crate::config::{ParametersRecord, PendingRecord, ids};
use crate::parameter_log::{self, Event};
use crate::state::State;
use crate::{feed, guard, stake, terms};
use candid::Principal;
use emc_protocol::parameters::RegistryParameters;
use emc_protocol::{ApiError, Seconds, error::code};
use std::collections::BTreeSet;

const SECOND: u64 = 1_000_000_000;
/// The longest time that any parameter may be: a year.
const LONGEST: Seconds = Seconds(365 * 24 * 3600);
/// Most escrows whose reports of computing power count.
pub const MINING_ESCROWS: usize = 16;

/// Refuses everybody but the governor.
///
/// # Errors
/// `forbidden`.
pub fn only_governor(state: &State, caller: Principal, what: &str) -> Result<(), ApiError> {
    if caller == state.config.get().governor {
        return Ok(());
    }
    Err(ApiError::new(
        code::FORBIDDEN,
        format!("Only the governor {what}."),
    ))
}

/// Announces a change; it replaces one that is pending. What changes nothing, and the same again, is left as it is.
///
/// # Errors
/// `forbidden`, `invalid`.
pub fn set(
    state: &mut State,
    now: u64,
    caller: Principal,
    change: &RegistryParameters,
) -> Result<(), ApiError> {
    only_governor(state, caller, "sets parameters")?;
    let change = checked(change)?;
    if change == ParametersRecord::default() {
        return Err(ApiError::invalid(
            "parameters",
            "a record with something in it to change",
        ));
    }
    let mut config = state.config.get().clone();
    if config.pending.as_ref().is_some_and(|p| p.change == change) {
        return Ok(());
    }
    let effective = now.saturating_add(config.delay().saturating_mul(SECOND));
    config.pending = Some(PendingRecord {
        change: change.clone(),
        announced: now,
        effective,
        by: caller,
    });
    state.config.set(config);
    let announced = Event::Announced { change, effective };
    parameter_log::note(state, now, caller, announced);
    settle(state, now);
    Ok(())
}

/// Withdraws the pending change.
///
/// # Errors
/// `forbidden`, `wrong_state` where there is none.
pub fn cancel(state: &mut State, now: u64, caller: Principal) -> Result<(), ApiError> {
    only_governor(state, caller, "withdraws a change of parameters")?;
    let mut config = state.config.get().clone();
    let Some(pending) = config.pending.take() else {
        return Err(ApiError::new(
            code::WRONG_STATE,
            "No change of parameters is pending.",
        ));
    };
    state.config.set(config);
    let cancelled = Event::Cancelled {
        change: pending.change,
    };
    parameter_log::note(state, now, caller, cancelled);
    Ok(())
}

/// Puts into effect what has come of time: parameters, and terms of models.
pub fn settle(state: &mut State, now: u64) {
    let due = |pending: &&PendingRecord| pending.effective <= now;
    if let Some(pending) = state.config.get().pending.as_ref().filter(due).cloned() {
        let mut config = state.config.get().clone();
        config.pending = None;
        state.config.set(config);
        apply(state, &pending.change);
        let applied = Event::Applied {
            change: pending.change,
        };
        parameter_log::note(state, now, pending.by, applied);
    }
    terms::settle(state, now);
}

/// Changes parameters at once.
pub fn apply(state: &mut State, change: &ParametersRecord) {
    let mut config = state.config.get().clone();
    let least = config.minimum_stake;
    config.change(change);
    let all_anew = config.minimum_stake != least;
    state.config.set(config);
    if all_anew {
        feed::announce_all(state);
    }
}

/// A change as it is stored.
///
/// # Errors
/// `invalid` where a value is out of its bounds.
pub fn checked(change: &RegistryParameters) -> Result<ParametersRecord, ApiError> {
    let seconds = |name: &str, value: Option<Seconds>| match value {
        Some(time) if time > LONGEST => Err(ApiError::invalid(name, "at most a year")),
        time => Ok(time.map(|time| time.0)),
    };
    let minimum_stake = match change.minimum_stake {
        Some(least) if least > stake::emc_supply() => {
            return Err(ApiError::invalid(
                "minimum_stake",
                "at most the supply of EMC",
            ));
        }
        least => least.and_then(|least| u64::try_from(least.0).ok()),
    };
    Ok(ParametersRecord {
        minimum_stake,
        unbonding: seconds("unbonding", change.unbonding)?,
        jail: seconds("jail", change.jail)?,
        silence: seconds("silence", change.silence)?,
        delay: seconds("delay", change.delay)?,
        mining_escrows: mining_escrows(change.mining_escrows.as_deref())?.map(ids),
    })
}

/// Escrows whose reports of computing power are to count.
///
/// # Errors
/// `limit`, `invalid`.
pub fn mining_escrows(escrows: Option<&[Principal]>) -> Result<Option<&[Principal]>, ApiError> {
    let field = "mining_escrows";
    let named = escrows.unwrap_or_default();
    guard::count(field, named.len(), MINING_ESCROWS)?;
    let different: BTreeSet<_> = named.iter().collect();
    if different.len() < named.len() || different.contains(&Principal::anonymous()) {
        return Err(ApiError::invalid(field, "escrow canisters, each once"));
    }
    Ok(escrows)
}
