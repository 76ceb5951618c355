//! `emc mining history`: how days were divided, or what a node got.

use super::{day, node_epoch_json, reward};
use crate::{cli::Globals, output, session::Session, words};
use anyhow::Result;
use candid::Principal;
use clap::Args;
use emc_client::Registry;
use emc_client::protocol::limits::PAGE;
use emc_client::protocol::mining::{EpochSummary, NodeEpoch};
use serde_json::{Value, json};

/// How the newest days were divided, or what a node got for them, newest first.
#[derive(Debug, Args)]
pub struct History {
    /// What this node got
    #[arg(long)]
    node: Option<Principal>,
    /// How many days
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

impl History {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open(globals).await?;
        let registry = session.registry();
        match self.node {
            Some(node) => of_node(globals, &registry, node, self.limit).await,
            None => of_all(globals, &registry, self.limit).await,
        }
    }
}

async fn of_node(
    globals: &Globals,
    registry: &Registry,
    node: Principal,
    limit: u32,
) -> Result<()> {
    let mut lines: Vec<NodeEpoch> = vec![];
    loop {
        let left = limit - lines.len() as u32;
        let before = lines.last().map(|line| line.epoch);
        let page = registry.mining_of(node, before, left.min(PAGE)).await?;
        let over = page.len() < left.min(PAGE) as usize;
        lines.extend(page);
        if over || lines.len() as u32 >= limit {
            break;
        }
    }
    if globals.json {
        return output::json(&lines.iter().map(node_epoch_json).collect());
    }
    let rows: Vec<_> = lines
        .iter()
        .map(|line| {
            let (power, votes) = (line.power.to_string(), line.votes.to_string());
            vec![day(line.epoch), power, votes, reward(line)]
        })
        .collect();
    output::table(&["day", "power", "votes", "reward"], &rows)
}

async fn of_all(globals: &Globals, registry: &Registry, limit: u32) -> Result<()> {
    let mut days: Vec<EpochSummary> = vec![];
    if let Some(closed) = registry.mining_status().await?.closed {
        let mut start = closed.saturating_sub(u64::from(limit) - 1);
        // Days close one after the other, so that none between two pages is missing.
        while start <= closed {
            let page = registry.mining_history(start, PAGE).await?;
            let Some(last) = page.last() else { break };
            start = last.epoch + 1;
            days.extend(page);
        }
    }
    days.reverse();
    days.truncate(limit as usize);
    if globals.json {
        return output::json(&days.iter().map(summary_json).collect());
    }
    let rows: Vec<_> = days
        .iter()
        .map(|of| {
            vec![
                day(of.epoch),
                of.available.to_string(),
                of.to_miners.to_string(),
                of.to_validators.to_string(),
                of.rolled_over.to_string(),
                of.miners.to_string(),
                of.power.to_string(),
                of.votes.to_string(),
                of.forfeited.to_string(),
            ]
        })
        .collect();
    let heading = [
        "day",
        "available",
        "to miners",
        "to validators",
        "rolled over",
        "miners",
        "power",
        "votes",
        "forfeited",
    ];
    output::table(&heading, &rows)
}

fn summary_json(of: &EpochSummary) -> Value {
    json!({
        "day": day(of.epoch),
        "epoch": of.epoch,
        "scheduled": words::emc(of.scheduled),
        "available": words::emc(of.available),
        "to_miners": words::emc(of.to_miners),
        "to_validators": words::emc(of.to_validators),
        "rolled_over": words::emc(of.rolled_over),
        "power": of.power.to_string(),
        "votes": of.votes,
        "miners": of.miners,
        "forfeited": of.forfeited,
    })
}
