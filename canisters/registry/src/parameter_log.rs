//! The log of parameters: everything that was announced, withdrawn and put into effect, kept for ever.

use crate::config::ParametersRecord;
use crate::keys::ModelKey;
use crate::model_records::TermsRecord;
use crate::state::State;
use candid::Principal;
use emc_journal::cbor;
use emc_protocol::parameters::{ParameterChange, ParameterEvent, ParameterLog};
use emc_protocol::{ModelRef, Timestamp, limits};
use minicbor::{Decode, Encode};

/// An entry.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// When, nanoseconds.
    #[n(0)]
    pub time: u64,
    /// Who.
    #[cbor(n(1), with = "cbor::principal")]
    pub by: Principal,
    /// What.
    #[n(2)]
    pub what: Event,
}

/// What happened; as [`ParameterChange`], which explains each.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of ParameterChange")]
pub enum Event {
    #[n(0)]
    Announced {
        #[n(0)]
        change: ParametersRecord,
        #[n(1)]
        effective: u64,
    },
    #[n(1)]
    Cancelled {
        #[n(0)]
        change: ParametersRecord,
    },
    #[n(2)]
    Applied {
        #[n(0)]
        change: ParametersRecord,
    },
    #[n(3)]
    Upgraded {
        #[n(0)]
        change: ParametersRecord,
    },
    #[n(4)]
    TermsAnnounced {
        #[n(0)]
        id: String,
        #[n(1)]
        version: u32,
        #[n(2)]
        terms: TermsRecord,
        #[n(3)]
        effective: u64,
    },
    #[n(5)]
    TermsApplied {
        #[n(0)]
        id: String,
        #[n(1)]
        version: u32,
        #[n(2)]
        terms: TermsRecord,
    },
}

emc_journal::storable_record!(EventRecord);

/// Writes down what happened.
pub fn note(state: &mut State, time: u64, by: Principal, what: Event) {
    let number = state.events.len();
    state.events.insert(number, EventRecord { time, by, what });
}

/// A page, from a number on.
pub fn page(state: &State, start: u64, limit: u32) -> ParameterLog {
    let limit = limit.clamp(1, limits::PAGE) as usize;
    let events = state.events.range(start..).take(limit);
    ParameterLog {
        events: events
            .map(|entry| view(*entry.key(), entry.value()))
            .collect(),
        length: state.events.len(),
    }
}

fn view(number: u64, record: EventRecord) -> ParameterEvent {
    let model = |id, version| -> ModelRef { ModelKey { id, version }.to_ref() };
    let what = match record.what {
        Event::Announced { change, effective } => ParameterChange::Announced {
            change: change.view(),
            effective: Timestamp(effective),
        },
        Event::Cancelled { change } => ParameterChange::Cancelled {
            change: change.view(),
        },
        Event::Applied { change } => ParameterChange::Applied {
            change: change.view(),
        },
        Event::Upgraded { change } => ParameterChange::Upgraded {
            change: change.view(),
        },
        Event::TermsAnnounced {
            id,
            version,
            terms,
            effective,
        } => ParameterChange::TermsAnnounced {
            model: model(id, version),
            terms: terms.view(),
            effective: Timestamp(effective),
        },
        Event::TermsApplied { id, version, terms } => ParameterChange::TermsApplied {
            model: model(id, version),
            terms: terms.view(),
        },
    };
    ParameterEvent {
        number,
        time: Timestamp(record.time),
        by: record.by,
        what: Some(what),
    }
}
