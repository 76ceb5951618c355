//! `emc mining`: what the pool pays for computing power, and getting it.

mod fund;
mod history;
mod status;
mod withdraw;

use crate::cli::Globals;
use crate::words;
use anyhow::Result;
use clap::Subcommand;
use emc_client::protocol::mining::{NodeEpoch, begins};
use serde_json::{Value, json};

/// What the pool pays for computing power.
#[derive(Debug, Subcommand)]
pub enum Mining {
    /// The pool, the schedule, and what your nodes have earned
    Status(status::Status),
    /// How days were divided, or what a node got
    History(history::History),
    /// Get paid what your nodes have earned by mining
    Withdraw(withdraw::Withdraw),
    /// Send EMC into the pool
    Fund(fund::Fund),
}

impl Mining {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        match self {
            Self::Status(command) => command.run(globals).await,
            Self::History(command) => command.run(globals).await,
            Self::Withdraw(command) => command.run(globals).await,
            Self::Fund(command) => command.run(globals).await,
        }
    }
}

/// An epoch as its day: `2026-11-22`.
fn day(epoch: u64) -> String {
    let mut text = words::time(begins(epoch));
    text.truncate("2026-11-22".len());
    text
}

fn node_epoch_json(line: &NodeEpoch) -> Value {
    json!({
        "day": day(line.epoch),
        "epoch": line.epoch,
        "power": line.power.to_string(),
        "votes": line.votes,
        "forfeited": line.forfeited,
        "reward": line.reward.map(words::emc),
    })
}

/// A node's reward for a day in words.
fn reward(line: &NodeEpoch) -> String {
    match line.reward {
        _ if line.forfeited => "forfeited".into(),
        Some(reward) => format!("{reward} EMC"),
        None => "not computed yet".into(),
    }
}
