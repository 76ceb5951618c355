//! `emc identity import`: stores a key from a PEM file.

use super::new::stored;
use crate::{cli::Globals, keystore::Keystore};
use anyhow::{Context, Result};
use clap::Args;
use std::io::Read;

/// Store a key from a PEM file: PKCS#8 or SEC1; Ed25519, secp256k1 or P-256.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  emc identity import bob bob.pem\n  icp identity export bob | emc identity import bob -"
)]
pub struct Import {
    /// Its name here
    name: String,
    /// The file; - is standard input
    file: String,
}

impl Import {
    pub fn run(self, globals: &Globals, keystore: &Keystore) -> Result<()> {
        let pem = if self.file == "-" {
            let mut pem = String::new();
            std::io::stdin()
                .read_to_string(&mut pem)
                .context("cannot read standard input")?;
            pem
        } else {
            std::fs::read_to_string(&self.file)
                .with_context(|| format!("cannot read {}", self.file))?
        };
        let identity = keystore.store(&self.name, &pem)?;
        stored(globals, keystore, &self.name, &identity)
    }
}
