//! `emc model list`: the catalogue.

use crate::{cli::Globals, output, session::Session, words};
use anyhow::Result;
use clap::Args;
use emc_client::protocol::model::ModelFilter;

/// The catalogue.
#[derive(Debug, Args)]
pub struct List {
    /// Only models whose id, name or description holds this
    text: Option<String>,
    /// Only models that the governor has listed
    #[arg(long)]
    listed: bool,
    /// Withdrawn ones too
    #[arg(long)]
    all: bool,
}

impl List {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open(globals).await?;
        let filter = ModelFilter {
            text: self.text,
            listed_only: self.listed.then_some(true),
            ..ModelFilter::default()
        };
        let mut models = session.registry().all_models(filter).await?;
        models.retain(|model| self.all || !model.retired);
        if globals.json {
            return output::json(&models.iter().map(words::model_json).collect());
        }
        let rows: Vec<_> = models
            .iter()
            .map(|m| {
                vec![
                    format!("{}@{}", m.id, m.version),
                    words::task(m.task).to_owned(),
                    m.context.to_string(),
                    words::bytes(m.files.iter().map(|f| f.length).sum()),
                    if m.listed { "yes" } else { "no" }.to_owned(),
                    m.terms
                        .as_ref()
                        .map_or_else(|| "-".into(), |terms| words::percent(terms.royalty)),
                    output::harmless(&m.licence),
                    output::harmless(&m.name),
                ]
            })
            .collect();
        output::table(
            &[
                "model", "task", "context", "size", "listed", "royalty", "licence", "name",
            ],
            &rows,
        )
    }
}
