//! `emc account`: what an account holds in the escrow.

use crate::{cli::Globals, output, session::Session};
use anyhow::Result;
use candid::Principal;
use clap::Args;
use serde_json::json;

/// What an account holds in the escrow: for jobs, and from work.
#[derive(Debug, Args)]
pub struct Account {
    /// Whose [default: your own]
    owner: Option<Principal>,
}

impl Account {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open(globals).await?;
        let owner = session.principal_or_own(self.owner)?;
        let account = session.escrow().account(owner).await?;
        if globals.json {
            return output::json(&json!({
                "owner": owner.to_text(),
                "available": account.available.to_string(),
                "locked": account.locked.to_string(),
                "leaving": account.leaving.to_string(),
                "open_jobs": account.open_jobs,
            }));
        }
        output::fields(&[
            ("available", format!("{} EMC", account.available)),
            (
                "locked",
                format!("{} EMC by {} jobs", account.locked, account.open_jobs),
            ),
            ("leaving", format!("{} EMC", account.leaving)),
        ])
    }
}
