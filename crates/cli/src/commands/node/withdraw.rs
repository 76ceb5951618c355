//! `emc node withdraw`: pays out what was unstaked.

use crate::{cli::Globals, output, session::Session};
use anyhow::Result;
use candid::Principal;
use clap::Args;
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
        let paid = session
            .registry()
            .withdraw_unbonded(self.node, self.entry)
            .await?;
        if globals.json {
            return output::json(&json!({ "paid": paid.to_string() }));
        }
        output::line(format_args!("paid {paid} EMC"))
    }
}
