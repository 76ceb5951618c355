//! `emc receipt`: receipts of jobs.

mod get;
mod show;

use crate::cli::Globals;
use anyhow::Result;
use clap::Subcommand;

/// Receipts of jobs.
#[derive(Debug, Subcommand)]
pub enum Receipt {
    /// Save a job's receipt as a file that anyone can check
    Get(get::Get),
    /// Show what a receipt says
    Show(show::Show),
}

impl Receipt {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        match self {
            Self::Get(command) => command.run(globals).await,
            Self::Show(command) => command.run(globals).await,
        }
    }
}
