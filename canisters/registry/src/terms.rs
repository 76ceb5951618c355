//! Terms of models: what the governor corrects after a calibration takes effect after the public delay.

use crate::catalogue;
use crate::feed;
use crate::guard::resolve;
use crate::keys::{ModelKey, Subject};
use crate::model_records::{PendingTermsRecord, TermsRecord};
use crate::parameter_log::{self, Event};
use crate::parameters::only_governor;
use crate::state::State;
use candid::Principal;
use emc_protocol::model::ModelTerms;
use emc_protocol::{ApiError, ModelEntry, ModelRef};

const SECOND: u64 = 1_000_000_000;
/// Models whose terms are put into effect in one go.
const SETTLED_AT_ONCE: usize = 20;

/// Checks terms as they come in.
///
/// # Errors
/// `invalid`, with the field.
pub fn check(terms: &ModelTerms) -> Result<(), ApiError> {
    terms
        .check()
        .map_err(|(field, expected)| ApiError::invalid(field, expected))
}

/// Announces other terms for a model version; they replace those that are pending. The same again changes nothing.
///
/// # Errors
/// `forbidden`, `invalid`, `unknown_model`.
pub fn set(
    state: &mut State,
    now: u64,
    caller: Principal,
    model: &ModelRef,
    terms: ModelTerms,
) -> Result<ModelEntry, ApiError> {
    only_governor(state, caller, "corrects the terms of models")?;
    check(&terms)?;
    let key = resolve(state, model)?;
    let mut record = catalogue::stored(state, &key);
    let holds = record.pending.is_none() && record.terms().as_ref() == Some(&terms);
    let terms = TermsRecord::from(terms);
    let announced = record.pending.as_ref().is_some_and(|p| p.terms == terms);
    if holds || announced {
        return Ok(record.entry(key));
    }
    if let Some(before) = &record.pending {
        state.terms_due.remove(&(before.effective, key.clone()));
    }
    let delay = state.config.get().delay().saturating_mul(SECOND);
    let effective = now.saturating_add(delay);
    record.pending = Some(PendingTermsRecord {
        terms: terms.clone(),
        effective,
        by: caller,
    });
    state.models.insert(key.clone(), record);
    state.terms_due.insert((effective, key.clone()), ());
    let event = Event::TermsAnnounced {
        id: key.id.clone(),
        version: key.version,
        terms,
        effective,
    };
    parameter_log::note(state, now, caller, event);
    settle(state, now);
    Ok(catalogue::stored(state, &key).entry(key))
}

/// Puts announced terms into effect whose time has come, a bounded number.
pub fn settle(state: &mut State, now: u64) {
    let due: Vec<(u64, ModelKey)> = state
        .terms_due
        .keys_range(..)
        .take_while(|(effective, _)| *effective <= now)
        .take(SETTLED_AT_ONCE)
        .collect();
    for (effective, key) in due {
        state.terms_due.remove(&(effective, key.clone()));
        let mut record = catalogue::stored(state, &key);
        let Some(pending) = record.pending.take() else {
            continue;
        };
        record.corrected = Some(pending.terms.clone());
        let listed = record.listed;
        state.models.insert(key.clone(), record);
        if listed {
            feed::announce(state, Subject::Model(key.clone()));
        }
        let event = Event::TermsApplied {
            id: key.id,
            version: key.version,
            terms: pending.terms,
        };
        parameter_log::note(state, now, pending.by, event);
    }
}
