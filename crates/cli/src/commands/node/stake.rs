//! `emc node stake`: puts EMC behind a node.

use crate::{cli::Globals, decimals, output, session::Session, words};
use anyhow::Result;
use candid::Principal;
use clap::Args;
use emc_client::protocol::Tokens;

/// Put EMC behind a node of yours, so that it gets work. `emc status` shows the least amount.
#[derive(Debug, Args)]
pub struct Stake {
    /// The node, as `emc-worker` shows it
    node: Principal,
    /// How much, in EMC
    #[arg(value_parser = decimals::amount)]
    amount: Tokens,
}

impl Stake {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open_signed(globals).await?;
        let ids = session.ids;
        let node = session
            .client
            .stake(ids.ledger, ids.registry, self.node, ids.escrow, self.amount)
            .await?;
        if globals.json {
            return output::json(&words::node_json(&node));
        }
        let stake = node.allotments.iter().find(|a| a.escrow == ids.escrow);
        let stake = stake.map_or(Tokens::ZERO, |a| a.amount);
        output::line(format_args!("{stake} EMC stand behind {}", node.id))
    }
}
