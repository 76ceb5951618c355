//! The command line, one file per command.

pub mod check;
pub mod echo_model;
pub mod init;
pub mod models;
pub mod run;
pub mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Sells this machine's inference for EMC, or checks what others sell.
///
/// `init` writes the settings and the node's key, `check` says what is missing, `run` serves, `status` shows how it
/// does. Everything that a worker needs is in one settings file.
#[derive(Debug, Parser)]
#[command(name = "emc-worker", version, max_term_width = 100)]
pub struct Cli {
    /// The settings file.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "worker.toml",
        env = "EMC_WORKER_CONFIG"
    )]
    pub config: PathBuf,
    /// Logs as JSON lines. What is logged: RUST_LOG, for example RUST_LOG=debug.
    #[arg(long, global = true)]
    pub log_json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Writes the settings file and a new key; never overwrites.
    Init(Box<init::Init>),
    /// Says what is there, what is missing, and what to do about it. Fails if anything is missing.
    Check,
    /// Serves until it is told to end.
    ///
    /// SIGTERM or Ctrl-C drains: no new jobs, what runs is finished and delivered. A second one ends it at once; the
    /// journal holds what is owed, and the next start delivers it. Exit status: 0 after a complete drain, 3 where
    /// results, or votes that are to be revealed, are still owed, 1 for an error.
    Run(run::Run),
    /// Shows how the running worker does; without one, what its journal says.
    Status,
    /// Lists models, downloads them, offers them.
    #[command(subcommand)]
    Models(models::Models),
    /// Shows the echo model, for publishing it in a catalogue: an engine without a model, to try out a network.
    EchoModel(echo_model::EchoModel),
}

impl Cli {
    /// Does it.
    ///
    /// # Errors
    /// What goes wrong, for the person at the terminal.
    pub async fn execute(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Init(init) => init.execute(&self.config),
            Command::Check => check::execute(&self.config).await,
            Command::Run(run) => run.execute(&self.config).await,
            Command::Status => status::execute(&self.config).await,
            Command::Models(models) => models.execute(&self.config).await,
            Command::EchoModel(echo) => echo.execute(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
