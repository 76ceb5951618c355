//! The commands, one file each; a folder holds the commands below its name.

pub mod account;
pub mod audit;
pub mod balance;
pub mod chat;
pub mod delegate;
pub mod deposit;
pub mod identity;
pub mod image;
pub mod job;
pub mod ledger;
pub mod mining;
pub mod model;
pub mod node;
pub mod parameters;
pub mod quote;
pub mod receipt;
pub mod status;
pub mod transfer;
pub mod verify;
pub mod withdraw;

use crate::cli::{Cli, Command};
use anyhow::Result;

/// Runs what was asked for.
pub async fn run(Cli { globals, command }: Cli) -> Result<()> {
    match command {
        Command::Chat(command) => command.run(&globals).await,
        Command::Image(command) => command.run(&globals).await,
        Command::Quote(command) => command.run(&globals).await,
        Command::Job(command) => command.run(&globals).await,
        Command::Verify(command) => command.run(&globals).await,
        Command::Receipt(command) => command.run(&globals).await,
        Command::Audit(command) => command.run(&globals).await,
        Command::Balance(command) => command.run(&globals).await,
        Command::Transfer(command) => command.run(&globals).await,
        Command::Account(command) => command.run(&globals).await,
        Command::Delegate(command) => command.run(&globals).await,
        Command::Deposit(command) => command.run(&globals).await,
        Command::Withdraw(command) => command.run(&globals).await,
        Command::Identity(command) => command.run(&globals),
        Command::Node(command) => command.run(&globals).await,
        Command::Mining(command) => command.run(&globals).await,
        Command::Model(command) => command.run(&globals).await,
        Command::Parameters(command) => command.run(&globals).await,
        Command::Ledger(command) => command.run(&globals).await,
        Command::Status(command) => command.run(&globals).await,
    }
}
