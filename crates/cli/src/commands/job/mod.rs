//! `emc job`: jobs and their results.

mod cancel;
mod list;
mod result;
mod show;

use crate::cli::Globals;
use anyhow::Result;
use clap::Subcommand;

/// Your jobs.
#[derive(Debug, Subcommand)]
pub enum Job {
    /// Everything about a job: its attempts, its money, its answer
    Show(show::Show),
    /// Your jobs, newest first
    List(list::List),
    /// Give a job up and get back what it has not used
    Cancel(cancel::Cancel),
    /// A finished job's answer
    Result(result::JobOutput),
}

impl Job {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        match self {
            Self::Show(command) => command.run(globals).await,
            Self::List(command) => command.run(globals).await,
            Self::Cancel(command) => command.run(globals).await,
            Self::Result(command) => command.run(globals).await,
        }
    }
}
