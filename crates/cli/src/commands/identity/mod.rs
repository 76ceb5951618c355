//! `emc identity`: keys.

mod export;
mod import;
mod list;
mod new;
mod show;
mod use_;

use crate::cli::Globals;
use crate::keystore::Keystore;
use anyhow::Result;
use clap::Subcommand;

/// Keys.
#[derive(Debug, Subcommand)]
pub enum Identity {
    /// Make a new key (Ed25519)
    New(new::New),
    /// Store a key from a PEM file
    Import(import::Import),
    /// Print a key as PEM: whoever has it has your EMC
    Export(export::Export),
    /// Show a principal
    Show(show::Show),
    /// Show the stored identities
    List(list::List),
    /// Choose the identity that is used where none is named
    Use(use_::Use),
}

impl Identity {
    pub fn run(self, globals: &Globals) -> Result<()> {
        let keystore = Keystore::open(globals.identity_dir.as_deref())?;
        match self {
            Self::New(command) => command.run(globals, &keystore),
            Self::Import(command) => command.run(globals, &keystore),
            Self::Export(command) => command.run(&keystore),
            Self::Show(command) => command.run(globals, &keystore),
            Self::List(command) => command.run(globals, &keystore),
            Self::Use(command) => command.run(&keystore),
        }
    }
}
