//! `emc node list`: the nodes.

use crate::{cli::Globals, output, session::Session, words};
use anyhow::Result;
use candid::Principal;
use clap::Args;
use emc_client::protocol::ModelRef;
use emc_client::protocol::node::NodeFilter;

/// The nodes, what they serve and what they ask.
#[derive(Debug, Args)]
pub struct List {
    /// Only nodes that serve this model
    #[arg(long, value_parser = words::model_ref)]
    model: Option<ModelRef>,
    /// Only nodes of this owner
    #[arg(long, value_name = "PRINCIPAL")]
    owner: Option<Principal>,
}

impl List {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open(globals).await?;
        let filter = NodeFilter {
            owner: self.owner,
            model: self.model,
            ..NodeFilter::default()
        };
        let nodes = session.registry().all_nodes(filter).await?;
        if globals.json {
            return output::json(&nodes.iter().map(words::node_json).collect());
        }
        let now = session.now().await;
        let rows: Vec<_> = nodes
            .iter()
            .map(|node| {
                let stake = node
                    .allotments
                    .iter()
                    .filter(|a| a.escrow == session.ids.escrow);
                let stake: u128 = stake.map(|a| a.amount.0).sum();
                let models: Vec<_> = node.offers.iter().map(|o| words::model(&o.model)).collect();
                vec![
                    node.id.to_text(),
                    words::status(node.status).to_owned(),
                    format!("{} ago", words::duration(now.since(node.last_seen))),
                    emc_client::protocol::Tokens(stake).to_string(),
                    output::harmless(&node.hardware.device),
                    models.join(" "),
                ]
            })
            .collect();
        output::table(
            &["node", "status", "seen", "stake", "device", "models"],
            &rows,
        )
    }
}
