//! `emc identity use`: chooses the default identity.

use crate::{keystore::Keystore, output};
use anyhow::Result;
use clap::Args;

/// Choose the identity that is used where none is named.
#[derive(Debug, Args)]
pub struct Use {
    /// Its name, or anonymous
    name: String,
}

impl Use {
    pub fn run(self, keystore: &Keystore) -> Result<()> {
        keystore.set_default(&self.name)?;
        output::note(format_args!("{} is used from now on", self.name));
        Ok(())
    }
}
