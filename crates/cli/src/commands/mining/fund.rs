//! `emc mining fund`: sends EMC into the pool.

use crate::{cli::Globals, decimals, output, session::Session};
use anyhow::Result;
use clap::Args;
use emc_client::protocol::Tokens;
use serde_json::json;

/// Send EMC from your account in the ledger into the mining pool. Nobody can take them out again, but as rewards.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  emc mining fund 3000000")]
pub struct Fund {
    /// How much, in EMC
    #[arg(value_parser = decimals::amount)]
    amount: Tokens,
}

impl Fund {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open_signed(globals).await?;
        let (ledger, pool) = (session.ledger(), session.registry().mining_pool());
        let block = ledger.transfer(pool, self.amount).await?;
        let holds = ledger.balance(pool).await?;
        if globals.json {
            return output::json(&json!({
                "block": block,
                "amount": self.amount.to_string(),
                "pool": holds.to_string(),
            }));
        }
        output::line(format_args!(
            "sent {} EMC into the mining pool (block {block}), which holds {holds} EMC now",
            self.amount
        ))
    }
}
