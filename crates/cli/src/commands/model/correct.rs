//! `emc model correct`: the governor announces other terms for a model.

use crate::{cli::Globals, output, session::Session, terms_file, words};
use anyhow::Result;
use clap::Args;
use emc_client::protocol::ModelRef;
use std::path::PathBuf;

/// Announce other terms for a model (thresholds after a calibration, royalty, compute units). Only the governor can; they
/// take effect after the public delay.
#[derive(Debug, Args)]
pub struct Correct {
    /// Its id, or id@version
    #[arg(value_parser = words::model_ref)]
    model: ModelRef,
    /// The terms, all of them, in a TOML or JSON file
    #[arg(long, value_name = "FILE")]
    terms: PathBuf,
}

impl Correct {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let terms = terms_file::read(&self.terms)?;
        let session = Session::open_signed(globals).await?;
        let entry = session
            .registry()
            .set_model_terms(self.model, terms)
            .await?;
        if globals.json {
            return output::json(&words::model_json(&entry));
        }
        let name = format!("{}@{}", entry.id, entry.version);
        match &entry.pending_terms {
            Some(pending) => output::line(format_args!(
                "{name} has these terms from {} on: {}",
                words::time(pending.effective),
                words::terms(&pending.terms)
            )),
            None => output::line(format_args!("{name} has these terms now")),
        }
    }
}
