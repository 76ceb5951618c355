//! The governor's parameters: a change is announced, public for the delay, and then takes effect by itself, by the timer
//! or before whatever is asked first. The log keeps everything that was announced, withdrawn and put into effect.
//!
//! What a job was submitted, claimed and priced under does not change with them: its record holds its own terms.

use crate::install;
use crate::records::*;
use crate::state::State;
use candid::Principal;
use emc_protocol::parameters::{
    EscrowParameterChange, EscrowParameterEvent, EscrowParameterLog, EscrowParameters,
};
use emc_protocol::{ApiError, Seconds, Timestamp, error::code, limits};

/// How long a change is public where nothing else is set.
pub const DELAY: Seconds = Seconds(24 * 3600);
/// The longest delay: a year.
pub const LONGEST: Seconds = Seconds(365 * 24 * 3600);

/// Announces a change; it replaces one that is pending. The same again is left as it is.
///
/// # Errors
/// `forbidden`, `invalid`.
pub fn set(
    state: &mut State,
    now: Timestamp,
    caller: Principal,
    change: &EscrowParameters,
) -> Result<(), ApiError> {
    settle(state, now);
    only_governor(state, caller, "sets parameters")?;
    if *change == EscrowParameters::default() {
        return Err(ApiError::invalid(
            "parameters",
            "a record with something in it to change",
        ));
    }
    check(change)?;
    let change = ParameterChangeRecord::from(change);
    let config = state.config();
    if config.pending.as_ref().is_some_and(|p| p.change == change) {
        return Ok(());
    }
    let effective = now.after(delay(config));
    let pending = PendingRecord {
        change: change.clone(),
        announced: now,
        effective,
        by: caller,
    };
    state.configure(|config| config.pending = Some(pending));
    let announced = ParameterEvent::Announced { change, effective };
    note(state, now, caller, announced);
    settle(state, now);
    Ok(())
}

/// Withdraws the pending change.
///
/// # Errors
/// `forbidden`; `wrong_state` where there is none.
pub fn cancel(state: &mut State, now: Timestamp, caller: Principal) -> Result<(), ApiError> {
    settle(state, now);
    only_governor(state, caller, "withdraws a change of parameters")?;
    let Some(pending) = state.config().pending.clone() else {
        let message = "No change of parameters is pending.";
        return Err(ApiError::new(code::WRONG_STATE, message));
    };
    state.configure(|config| config.pending = None);
    let cancelled = ParameterEvent::Cancelled {
        change: pending.change,
    };
    note(state, now, caller, cancelled);
    Ok(())
}

/// Puts into effect what has come of time. Cheap where nothing has.
pub fn settle(state: &mut State, now: Timestamp) {
    let due = |pending: &&PendingRecord| pending.effective <= now;
    let Some(pending) = state.config().pending.as_ref().filter(due).cloned() else {
        return;
    };
    state.configure(|config| {
        config.pending = None;
        apply(config, &pending.change);
    });
    let applied = ParameterEvent::Applied {
        change: pending.change,
    };
    note(state, now, pending.by, applied);
}

/// Changes parameters at once: with an upgrade, by a controller.
///
/// # Errors
/// `invalid`; nothing has changed then.
pub fn upgrade(
    state: &mut State,
    now: Timestamp,
    by: Principal,
    change: &EscrowParameters,
) -> Result<(), install::ArgumentError> {
    if *change == EscrowParameters::default() {
        return Ok(());
    }
    install::check_parameters(change)?;
    let change = ParameterChangeRecord::from(change);
    state.configure(|config| apply(config, &change));
    note(state, now, by, ParameterEvent::Upgraded { change });
    Ok(())
}

/// A page of the log, from a number on.
pub fn log(state: &State, start: u64, limit: u32) -> EscrowParameterLog {
    let limit = limit.clamp(1, limits::PAGE) as usize;
    let events = state.parameter_log.range(start..).take(limit);
    EscrowParameterLog {
        events: events
            .map(|entry| view(*entry.key(), &entry.value()))
            .collect(),
        length: state.parameter_log.len(),
    }
}

/// How long a change is public.
pub fn delay(config: &Config) -> Seconds {
    config.delay.map_or(DELAY, Seconds)
}

fn apply(config: &mut Config, change: &ParameterChangeRecord) {
    if let Some(settings) = &change.settings {
        config.settings = settings.clone();
    }
    config.delay = change.delay.or(config.delay);
}

fn check(change: &EscrowParameters) -> Result<(), ApiError> {
    install::check_parameters(change).map_err(|error| {
        let install::ArgumentError::Setting { field, expected } = error else {
            return ApiError::new(code::INVALID, error.to_string());
        };
        ApiError::invalid(field, expected)
    })
}

fn only_governor(state: &State, caller: Principal, what: &str) -> Result<(), ApiError> {
    if caller == state.config().governor {
        return Ok(());
    }
    Err(ApiError::new(
        code::FORBIDDEN,
        format!("Only the governor {what}."),
    ))
}

fn note(state: &mut State, time: Timestamp, by: Principal, what: ParameterEvent) {
    let number = state.parameter_log.len();
    let record = ParameterEventRecord { time, by, what };
    state.parameter_log.insert(number, record);
}

fn view(number: u64, record: &ParameterEventRecord) -> EscrowParameterEvent {
    let what = match &record.what {
        ParameterEvent::Announced { change, effective } => EscrowParameterChange::Announced {
            change: change.into(),
            effective: *effective,
        },
        ParameterEvent::Cancelled { change } => EscrowParameterChange::Cancelled {
            change: change.into(),
        },
        ParameterEvent::Applied { change } => EscrowParameterChange::Applied {
            change: change.into(),
        },
        ParameterEvent::Upgraded { change } => EscrowParameterChange::Upgraded {
            change: change.into(),
        },
    };
    EscrowParameterEvent {
        number,
        time: record.time,
        by: record.by,
        what: Some(what),
    }
}
