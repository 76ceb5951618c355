//! `emc node unstake`: takes stake out of a node.

use crate::{cli::Globals, decimals, output, session::Session, words};
use anyhow::Result;
use candid::Principal;
use clap::Args;
use emc_client::protocol::Tokens;
use emc_client::protocol::node::UnstakeArgs;

/// Take stake out of a node of yours. It can be withdrawn after the unbonding time, which begins when the escrow has
/// nothing reserved of it any more.
#[derive(Debug, Args)]
pub struct Unstake {
    /// The node
    node: Principal,
    /// How much, in EMC
    #[arg(value_parser = decimals::amount)]
    amount: Tokens,
}

impl Unstake {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open_signed(globals).await?;
        let args = UnstakeArgs {
            node: self.node,
            escrow: session.ids.escrow,
            amount: self.amount,
        };
        let node = session.registry().unstake(args).await?;
        if globals.json {
            return output::json(&words::node_json(&node));
        }
        let newest = node.unbonding.iter().max_by_key(|u| u.id);
        let waits = newest.map_or_else(String::new, words::unbonding);
        output::line(format_args!(
            "{} EMC leave {} ({waits}); then `emc node withdraw {}` pays them out",
            self.amount, node.id, node.id
        ))
    }
}
