//! `emc parameters log`: everything that was ever announced and put into effect.

use super::{given, parameters_json};
use crate::{cli::Globals, output, session::Session, words};
use anyhow::Result;
use clap::Args;
use emc_client::protocol::parameters::{ParameterChange, RegistryParameters};
use emc_client::protocol::{ModelRef, model::ModelTerms};
use serde_json::{Value, json};

/// Everything that was ever announced and put into effect, oldest first.
#[derive(Debug, Args)]
pub struct Log {}

impl Log {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open(globals).await?;
        let events = session.registry().whole_parameter_log().await?;
        if globals.json {
            let events = events.iter().map(|event| {
                json!({
                    "number": event.number,
                    "time": words::time(event.time),
                    "by": event.by.to_text(),
                    "what": event.what.as_ref().map(what_json),
                })
            });
            return output::json(&events.collect());
        }
        let rows: Vec<_> = events
            .iter()
            .map(|event| {
                let (what, values) = event.what.as_ref().map_or_else(
                    || ("unknown to this version".to_owned(), String::new()),
                    |what| (kind(what), values(what)),
                );
                let by = event.by.to_text();
                vec![words::time(event.time), what, values, by]
            })
            .collect();
        output::table(&["time", "what", "values", "by"], &rows)
    }
}

fn kind(what: &ParameterChange) -> String {
    match what {
        ParameterChange::Announced { effective, .. }
        | ParameterChange::TermsAnnounced { effective, .. } => {
            format!("announced for {}", words::time(*effective))
        }
        ParameterChange::Cancelled { .. } => "cancelled".into(),
        ParameterChange::Applied { .. } | ParameterChange::TermsApplied { .. } => {
            "in effect".into()
        }
        ParameterChange::Upgraded { .. } => "changed by an upgrade".into(),
    }
}

fn values(what: &ParameterChange) -> String {
    let list = |change: &RegistryParameters| {
        let given = given(change).into_iter();
        let texts: Vec<_> = given
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        texts.join(", ")
    };
    let of_model = |model: &ModelRef, terms: &ModelTerms| {
        format!("terms of {}: {}", words::model(model), words::terms(terms))
    };
    match what {
        ParameterChange::Announced { change, .. }
        | ParameterChange::Cancelled { change }
        | ParameterChange::Applied { change }
        | ParameterChange::Upgraded { change } => list(change),
        ParameterChange::TermsAnnounced { model, terms, .. }
        | ParameterChange::TermsApplied { model, terms } => of_model(model, terms),
    }
}

fn what_json(what: &ParameterChange) -> Value {
    match what {
        ParameterChange::Announced { change, effective } => {
            json!({ "announced": parameters_json(change), "effective": words::time(*effective) })
        }
        ParameterChange::Cancelled { change } => json!({ "cancelled": parameters_json(change) }),
        ParameterChange::Applied { change } => json!({ "applied": parameters_json(change) }),
        ParameterChange::Upgraded { change } => json!({ "upgraded": parameters_json(change) }),
        ParameterChange::TermsAnnounced {
            model,
            terms,
            effective,
        } => {
            json!({ "terms_announced": terms, "model": words::model(model), "effective": words::time(*effective) })
        }
        ParameterChange::TermsApplied { model, terms } => {
            json!({ "terms_applied": terms, "model": words::model(model) })
        }
    }
}
