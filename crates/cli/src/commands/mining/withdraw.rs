//! `emc mining withdraw`: pays out what an owner's nodes have earned by mining.

use crate::{cli::Globals, decimals, output, session::Session};
use anyhow::Result;
use clap::Args;
use emc_client::protocol::Tokens;
use serde_json::json;

/// Get paid what your nodes have earned by mining: from the pool into your account in the ledger.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  emc mining withdraw\n  emc mining withdraw 2.5")]
pub struct Withdraw {
    /// How much, in EMC [default: everything]
    #[arg(value_parser = decimals::amount)]
    amount: Option<Tokens>,
}

impl Withdraw {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open_signed(globals).await?;
        let registry = session.registry();
        let paid = registry.withdraw_mining(self.amount).await?;
        let left = registry.mining_earnings(session.client.principal()).await?;
        if globals.json {
            return output::json(
                &json!({ "paid": paid.to_string(), "earnings": left.to_string() }),
            );
        }
        output::line(format_args!(
            "paid {paid} EMC, {left} EMC of mining can still be withdrawn"
        ))
    }
}
