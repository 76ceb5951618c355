//! `emc identity export`: prints a key.

use crate::{keystore::Keystore, output};
use anyhow::Result;
use clap::Args;

/// Print a key as PEM: whoever has it has your EMC.
#[derive(Debug, Args)]
pub struct Export {
    /// Its name
    name: String,
}

impl Export {
    pub fn run(self, keystore: &Keystore) -> Result<()> {
        output::text(&keystore.pem(&self.name)?)
    }
}
