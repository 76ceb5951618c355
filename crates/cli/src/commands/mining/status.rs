//! `emc mining status`: the pool, the schedule, and what the caller's nodes have earned.

use super::{day, node_epoch_json, reward};
use crate::{cli::Globals, output, session::Session, words};
use anyhow::Result;
use candid::Principal;
use clap::Args;
use emc_client::protocol::Tokens;
use emc_client::protocol::mining::{MiningStatus, NodeEpoch};
use emc_client::protocol::node::NodeFilter;
use serde_json::json;

/// The pool, the schedule, and what your nodes have earned.
#[derive(Debug, Args)]
pub struct Status {
    /// Somebody else's nodes and earnings [default: your own]
    #[arg(long, value_name = "PRINCIPAL")]
    owner: Option<Principal>,
}

/// What an owner has, and the newest days of the owner's nodes.
struct Owner {
    principal: Principal,
    earnings: Tokens,
    nodes: Vec<(Principal, Vec<NodeEpoch>)>,
}

/// Days that are shown of each node.
const DAYS: u32 = 3;

impl Status {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open(globals).await?;
        let registry = session.registry();
        let status = registry.mining_status().await?;
        let holds = session.ledger().balance(registry.mining_pool()).await?;
        let principal = self.owner.unwrap_or_else(|| session.client.principal());
        let mut owner = Owner {
            principal,
            earnings: registry.mining_earnings(principal).await?,
            nodes: vec![],
        };
        if principal != Principal::anonymous() {
            let filter = NodeFilter {
                owner: Some(principal),
                ..NodeFilter::default()
            };
            for node in registry.all_nodes(filter).await? {
                let days = registry.mining_of(node.id, None, DAYS).await?;
                owner.nodes.push((node.id, days));
            }
        }
        if globals.json {
            return print_json(&session, &status, holds, &owner);
        }
        print(&session, &status, holds, &owner)
    }
}

fn print(session: &Session, status: &MiningStatus, holds: Tokens, owner: &Owner) -> Result<()> {
    let began = status.first_epoch.map_or_else(
        || "not yet: it begins when the pool holds a day's reward".to_owned(),
        |first| format!("{} (day {} today)", day(first), status.epoch - first + 1),
    );
    let mut fields = vec![
        ("pool", format!("{holds} EMC")),
        (
            "pool's account",
            session.registry().mining_pool().to_string(),
        ),
        ("began", began),
        ("today's reward", format!("{} EMC", status.scheduled)),
        ("rolled over", format!("{} EMC", status.rolled_over)),
        ("given so far", format!("{} EMC", status.distributed)),
        ("not withdrawn", format!("{} EMC", status.owed)),
    ];
    if let Some(next) = &status.next_stage {
        let text = format!("{} EMC a day from {} on", next.scheduled, day(next.epoch));
        fields.push(("next stage", text));
    }
    if let Some(closed) = status.closed {
        fields.push(("newest day computed", day(closed)));
    }
    for escrow in &status.escrows {
        fields.push(("measured by", escrow.to_text()));
    }
    output::fields(&fields)?;
    if owner.nodes.is_empty() && owner.earnings.is_zero() {
        return Ok(());
    }
    output::line(format_args!(
        "\n{} EMC can be withdrawn by {} (`emc mining withdraw`)",
        owner.earnings, owner.principal
    ))?;
    let mut rows = vec![];
    for (node, days) in &owner.nodes {
        rows.extend(days.iter().map(|line| {
            let (power, votes) = (line.power.to_string(), line.votes.to_string());
            vec![node.to_text(), day(line.epoch), power, votes, reward(line)]
        }));
    }
    if rows.is_empty() {
        return Ok(());
    }
    output::table(&["node", "day", "power", "votes", "reward"], &rows)
}

fn print_json(
    session: &Session,
    status: &MiningStatus,
    holds: Tokens,
    owner: &Owner,
) -> Result<()> {
    let nodes = owner.nodes.iter().map(|(node, days)| {
        json!({
            "node": node.to_text(),
            "days": days.iter().map(node_epoch_json).collect::<Vec<_>>(),
        })
    });
    output::json(&json!({
        "pool": words::emc(holds),
        "pool_account": session.registry().mining_pool().to_string(),
        "first_day": status.first_epoch.map(day),
        "today": day(status.epoch),
        "epoch": status.epoch,
        "closed": status.closed.map(day),
        "scheduled": words::emc(status.scheduled),
        "next_stage": status.next_stage.as_ref().map(|next| json!({
            "day": day(next.epoch),
            "scheduled": words::emc(next.scheduled),
        })),
        "rolled_over": words::emc(status.rolled_over),
        "distributed": words::emc(status.distributed),
        "owed": words::emc(status.owed),
        "paid": words::emc(status.paid),
        "escrows": status.escrows.iter().map(Principal::to_text).collect::<Vec<_>>(),
        "owner": owner.principal.to_text(),
        "earnings": words::emc(owner.earnings),
        "nodes": nodes.collect::<Vec<_>>(),
    }))
}
