//! `emc node unjail`: frees a node whose time in jail is over.

use crate::{cli::Globals, output, session::Session, words};
use anyhow::Result;
use candid::Principal;
use clap::Args;

/// Free a node of yours whose time in jail is over. It needs the least stake; `emc node show` says until when it is
/// jailed.
#[derive(Debug, Args)]
pub struct Unjail {
    /// The node
    node: Principal,
}

impl Unjail {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open_signed(globals).await?;
        let node = session.registry().unjail(self.node).await?;
        if globals.json {
            return output::json(&words::node_json(&node));
        }
        output::line(format_args!(
            "{} is {}",
            node.id,
            words::status(node.status)
        ))
    }
}
