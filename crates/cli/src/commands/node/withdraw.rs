//! `emc node withdraw`: pays out what was unstaked.

use crate::{cli::Globals, output, session::Session};
use anyhow::Result;
use candid::Principal;
use clap::Args;
use emc_client::protocol::{Tokens, error::code};
use serde_json::json;

/// Get back what was unstaked, once its time is over. (What nodes earn is in `emc account`.)
#[derive(Debug, Args)]
pub struct Withdraw {
    /// The node
    node: Principal,
    /// One entry of `emc node show` [default: all that are ready]
    #[arg(long, value_name = "NUMBER")]
    entry: Option<u64>,
}

impl Withdraw {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open_signed(globals).await?;
        let registry = session.registry();
        let mut paid = registry.withdraw_unbonded(self.node, self.entry).await?;
        let mut rest = None;
        // By the registry's own clock: it pays the oldest that is ready, until it says that none is.
        while self.entry.is_none() && rest.is_none() {
            match registry.withdraw_unbonded(self.node, None).await {
                Ok(more) => paid = Tokens(paid.0.saturating_add(more.0)),
                Err(error) => rest = Some(error),
            }
        }
        if globals.json {
            output::json(&json!({ "paid": paid.to_string() }))?;
        } else {
            output::line(format_args!("paid {paid} EMC"))?;
        }
        match rest {
            Some(error) if !error.is_code(code::NOT_FOUND) && !error.is_code(code::WRONG_STATE) => {
                Err(anyhow::Error::from(error).context("the rest was not paid"))
            }
            _ => Ok(()),
        }
    }
}
