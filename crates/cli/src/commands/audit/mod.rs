//! `emc audit`: how results were checked.

mod show;

use crate::cli::Globals;
use anyhow::Result;
use clap::Subcommand;

/// How results were checked.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// The draw and the votes of a job, recomputed here
    Show(show::Show),
}

impl Audit {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        match self {
            Self::Show(command) => command.run(globals).await,
        }
    }
}
