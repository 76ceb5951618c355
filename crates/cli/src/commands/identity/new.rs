//! `emc identity new`: makes a key.

use crate::{cli::Globals, keystore::Keystore, output};
use anyhow::Result;
use clap::Args;
use serde_json::json;

/// Make a new key (Ed25519).
#[derive(Debug, Args)]
pub struct New {
    /// Its name: letters, digits, '-', '_' and '.'
    name: String,
}

impl New {
    pub fn run(self, globals: &Globals, keystore: &Keystore) -> Result<()> {
        let identity = keystore.create(&self.name)?;
        stored(globals, keystore, &self.name, &identity)
    }
}

/// Says what was stored where.
pub fn stored(
    globals: &Globals,
    keystore: &Keystore,
    name: &str,
    identity: &emc_client::Identity,
) -> Result<()> {
    let path = keystore.path(name);
    let is_default = keystore.default_name()?.as_deref() == Some(name);
    if globals.json {
        return output::json(&json!({
            "name": name,
            "principal": identity.principal().to_text(),
            "file": path.display().to_string(),
            "default": is_default,
        }));
    }
    output::line(identity.principal())?;
    output::note(format_args!(
        "stored in {}; keep a copy: whoever loses it loses its EMC{}",
        path.display(),
        if is_default { "; used by default" } else { "" }
    ));
    Ok(())
}
