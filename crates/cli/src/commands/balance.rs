//! `emc balance`: what an account holds in the ledger.

use crate::{cli::Globals, output, session::Session};
use anyhow::Result;
use clap::Args;
use emc_client::Account;
use serde_json::json;

/// What an account holds in the ledger.
#[derive(Debug, Args)]
pub struct Balance {
    /// A principal or an ICRC-1 account [default: your own]
    account: Option<Account>,
}

impl Balance {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open(globals).await?;
        let account = match self.account {
            Some(account) => account,
            None => session.principal_or_own(None)?.into(),
        };
        let balance = session.ledger().balance(account).await?;
        if globals.json {
            return output::json(
                &json!({ "account": account.to_string(), "balance": balance.to_string() }),
            );
        }
        output::line(format_args!("{balance} EMC"))
    }
}
