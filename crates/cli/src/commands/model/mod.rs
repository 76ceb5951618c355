//! `emc model`: the catalogue.

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
}

impl Model {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        match self {
            Self::List(command) => command.run(globals).await,
            Self::Show(command) => command.run(globals).await,
            Self::Publish(command) => command.run(globals).await,
        }
    }
}
