//! `emc identity show`: a principal.

use crate::{cli::Globals, keystore::Keystore, output};
use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

/// Show a principal.
#[derive(Debug, Args)]
pub struct Show {
    /// An identity's name, or a PEM file [default: the one that is used]
    name: Option<String>,
}

impl Show {
    pub fn run(self, globals: &Globals, keystore: &Keystore) -> Result<()> {
        let wanted = self.name.as_deref().or(globals.identity.as_deref());
        let identity = keystore
            .choose(wanted)?
            .context("there is no identity yet; make one with `emc identity new NAME`")?;
        if globals.json {
            return output::json(&json!({ "principal": identity.principal().to_text() }));
        }
        output::line(identity.principal())
    }
}
