//! `emc node`: the machines that do the work, and the stake behind them.

mod list;
mod show;
mod stake;
mod unjail;
mod unstake;
mod withdraw;

use crate::cli::Globals;
use anyhow::Result;
use clap::Subcommand;

/// The machines that do the work.
#[derive(Debug, Subcommand)]
pub enum Node {
    /// The nodes, what they serve and what they ask
    List(list::List),
    /// Everything about a node
    Show(show::Show),
    /// Put EMC behind a node of yours, so that it gets work
    Stake(stake::Stake),
    /// Take stake out of a node of yours
    Unstake(unstake::Unstake),
    /// Get back what was unstaked, once its time is over
    Withdraw(withdraw::Withdraw),
    /// Free a node of yours whose time in jail is over
    Unjail(unjail::Unjail),
}

impl Node {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        match self {
            Self::List(command) => command.run(globals).await,
            Self::Show(command) => command.run(globals).await,
            Self::Stake(command) => command.run(globals).await,
            Self::Unstake(command) => command.run(globals).await,
            Self::Withdraw(command) => command.run(globals).await,
            Self::Unjail(command) => command.run(globals).await,
        }
    }
}
