//! `emc identity list`: the stored identities.

use crate::{cli::Globals, keystore::Keystore, output};
use anyhow::Result;
use clap::Args;
use serde_json::json;

/// Show the stored identities; a star marks the default.
#[derive(Debug, Args)]
pub struct List {}

impl List {
    pub fn run(self, globals: &Globals, keystore: &Keystore) -> Result<()> {
        let default = keystore.default_name()?;
        let mut rows = vec![];
        for name in keystore.names()? {
            let is_default = default.as_ref() == Some(&name);
            // One broken file must not hide the others.
            let principal = match keystore.load(&name) {
                Ok(identity) => identity.principal().to_text(),
                Err(error) => format!("({error:#})"),
            };
            rows.push((name, principal, is_default));
        }
        if globals.json {
            let rows = rows
                .iter()
                .map(|(name, principal, is_default)| json!({ "name": name, "principal": principal, "default": is_default }));
            return output::json(&rows.collect());
        }
        if rows.is_empty() {
            output::note("There is no identity yet; make one with `emc identity new NAME`.");
        }
        for (name, principal, is_default) in rows {
            let star = if is_default { '*' } else { ' ' };
            output::line(format_args!("{star} {name:<16} {principal}"))?;
        }
        Ok(())
    }
}
