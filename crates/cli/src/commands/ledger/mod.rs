//! `emc ledger`: the token's ledger as a whole.

mod verify;

use crate::cli::Globals;
use anyhow::Result;
use clap::Subcommand;

/// The token's ledger as a whole.
#[derive(Debug, Subcommand)]
pub enum Ledger {
    /// Check every block of the ledger and its certificate, believing nobody
    Verify(verify::Verify),
}

impl Ledger {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        match self {
            Self::Verify(command) => command.run(globals).await,
        }
    }
}
