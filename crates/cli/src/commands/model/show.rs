//! `emc model show`: everything about a model.

use crate::{cli::Globals, output, session::Session, words};
use anyhow::Result;
use clap::Args;
use emc_client::protocol::ModelRef;

/// Everything about a model: files, licence, sources.
#[derive(Debug, Args)]
pub struct Show {
    /// Its id, or id@version
    #[arg(value_parser = words::model_ref)]
    model: ModelRef,
}

impl Show {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open(globals).await?;
        let entry = session.registry().model(self.model).await?;
        if globals.json {
            return output::json(&words::model_json(&entry));
        }
        output::fields(&[
            ("model", format!("{}@{}", entry.id, entry.version)),
            ("name", output::harmless(&entry.name)),
            ("description", output::harmless(&entry.description)),
            ("task", words::task(entry.task).to_owned()),
            ("context", format!("{} tokens", entry.context)),
            ("memory", words::bytes(entry.memory)),
            ("licence", output::harmless(&entry.licence)),
            ("sources", output::harmless(&entry.sources.join(" "))),
            ("author", entry.author.to_text()),
            ("published", words::time(entry.published)),
            ("listed", entry.listed.to_string()),
            ("retired", entry.retired.to_string()),
            (
                "terms",
                entry
                    .terms
                    .as_ref()
                    .map_or_else(|| "none".into(), words::terms),
            ),
            (
                "announced",
                entry.pending_terms.as_ref().map_or_else(
                    || "nothing".into(),
                    |pending| {
                        let terms = words::terms(&pending.terms);
                        format!("{terms}, from {} on", words::time(pending.effective))
                    },
                ),
            ),
            ("root", hex::encode(&entry.root)),
        ])?;
        output::line("")?;
        let rows: Vec<_> = entry
            .files
            .iter()
            .map(|file| {
                vec![
                    hex::encode(&file.sha256),
                    file.length.to_string(),
                    output::harmless(&file.path),
                ]
            })
            .collect();
        output::table(&["sha256", "bytes", "file"], &rows)
    }
}
