//! `emc model`: the catalogue.

mod correct;
mod list;
mod publish;
mod show;

use crate::cli::Globals;
use anyhow::Result;
use clap::Subcommand;

/// The models that can be asked.
#[derive(Debug, Subcommand)]
pub enum Model {
    /// The catalogue
    List(list::List),
    /// Everything about a model: files, licence, sources
    Show(show::Show),
    /// Publish a model, or a new version of one of yours
    Publish(Box<publish::Publish>),
    /// Announce other terms for a model (the governor's)
    Correct(correct::Correct),
}

impl Model {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        match self {
            Self::List(command) => command.run(globals).await,
            Self::Show(command) => command.run(globals).await,
            Self::Publish(command) => command.run(globals).await,
            Self::Correct(command) => command.run(globals).await,
        }
    }
}
