//! The command line: the flags that every command takes, and the list of commands.

use crate::commands::{
    account, audit, balance, chat, delegate, deposit, identity, image, job, ledger, mining, model,
    node, parameters, quote, receipt, status, transfer, verify, withdraw,
};
use candid::Principal;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Ask AI models on the EMC network, pay in EMC, and check what you got.
#[derive(Debug, Parser)]
#[command(
    name = "emc",
    version,
    max_term_width = 100,
    after_help = "Begin:\n  \
        emc identity new alice          make a key\n  \
        emc balance                     what it has in the ledger\n  \
        emc deposit 10                  put 10 EMC into its account for jobs\n  \
        emc chat Why is the sky blue?   ask\n\n\
        Canister ids come from .emc/network.json, .icp/ or canister_ids.json in this folder or above it, or from \
        --ledger, --registry and --escrow."
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Default, Args)]
pub struct Globals {
    /// The network: local, ic, or a URL [default: what the demo keeps running, else local]
    #[arg(
        long,
        short = 'n',
        global = true,
        env = "EMC_NETWORK",
        value_name = "NETWORK",
        help_heading = "Where and who"
    )]
    pub network: Option<String>,
    /// Who calls: the name of a stored identity, a PEM file, or anonymous
    #[arg(
        long,
        short = 'i',
        global = true,
        env = "EMC_IDENTITY",
        value_name = "NAME|FILE",
        help_heading = "Where and who"
    )]
    pub identity: Option<String>,
    /// The folder of stored identities
    #[arg(
        long,
        global = true,
        env = "EMC_IDENTITY_DIR",
        value_name = "FOLDER",
        help_heading = "Where and who"
    )]
    pub identity_dir: Option<PathBuf>,
    /// The ledger's canister id
    #[arg(
        long,
        global = true,
        env = "EMC_LEDGER",
        value_name = "ID",
        help_heading = "Where and who"
    )]
    pub ledger: Option<Principal>,
    /// The registry's canister id
    #[arg(
        long,
        global = true,
        env = "EMC_REGISTRY",
        value_name = "ID",
        help_heading = "Where and who"
    )]
    pub registry: Option<Principal>,
    /// The escrow's canister id
    #[arg(
        long,
        global = true,
        env = "EMC_ESCROW",
        value_name = "ID",
        help_heading = "Where and who"
    )]
    pub escrow: Option<Principal>,
    /// Print JSON, for programs (amounts are texts in EMC, bytes are hexadecimal)
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// Say what is tried and tried again
    #[arg(long, short = 'v', global = true, help_heading = "Output")]
    pub verbose: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask a model and pay for the answer
    Chat(chat::Chat),
    /// Ask a model for a picture and pay for it
    Image(image::Image),
    /// What a job would cost, and who could do it
    Quote(quote::Quote),
    /// Your jobs
    #[command(subcommand)]
    Job(job::Job),
    /// Check a receipt: a file (offline) or a job's number
    Verify(verify::Verify),
    /// Receipts of jobs
    #[command(subcommand)]
    Receipt(receipt::Receipt),
    /// How results were checked by validators
    #[command(subcommand)]
    Audit(audit::Audit),
    /// What an account holds in the ledger
    Balance(balance::Balance),
    /// Send EMC in the ledger
    Transfer(transfer::Transfer),
    /// The token's ledger as a whole
    #[command(subcommand)]
    Ledger(ledger::Ledger),
    /// What an account holds in the escrow
    Account(account::Account),
    /// Move EMC from the ledger into an account of the escrow
    Deposit(deposit::Deposit),
    /// Move EMC from your account in the escrow to the ledger
    Withdraw(withdraw::Withdraw),
    /// Who else may spend your account in the escrow on jobs
    #[command(subcommand)]
    Delegate(delegate::Delegate),
    /// Keys
    #[command(subcommand)]
    Identity(identity::Identity),
    /// The machines that do the work
    #[command(subcommand)]
    Node(node::Node),
    /// The models that can be asked
    #[command(subcommand)]
    Model(model::Model),
    /// What the pool pays for computing power
    #[command(subcommand)]
    Mining(mining::Mining),
    /// What the governors of the registry and of the escrow set
    #[command(subcommand)]
    Parameters(parameters::Parameters),
    /// The network and its canisters
    Status(status::Status),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_line_of_help() {
        fn check(command: &clap::Command) {
            for sub in command.get_subcommands() {
                assert!(sub.get_about().is_some(), "{}", sub.get_name());
                for arg in sub.get_arguments() {
                    let name = format!("{} {}", sub.get_name(), arg.get_id());
                    assert!(arg.get_help().is_some(), "{name}");
                }
                check(sub);
            }
        }
        check(&Cli::command());
    }

    #[test]
    fn common_lines_are_understood() {
        for line in [
            "emc identity new alice",
            "emc identity import bob key.pem",
            "emc balance",
            "emc balance 2vxsx-fae --json",
            "emc transfer 1.5 2vxsx-fae",
            "emc ledger verify --json",
            "emc deposit 10",
            "emc deposit --address",
            "emc withdraw all",
            "emc chat Why is the sky blue?",
            "emc chat --model m --max-tokens 100 --temperature 0.7 --top-p 0.9 --top-k 40 --seed 7 --system S --max-price 0.5 --deadline 60 --queue --public --json hello",
            "emc -n ic -i alice chat -c and then?",
            "emc job list --state leased",
            "emc job show 12",
            "emc job cancel 12",
            "emc job result 12 --capability 00112233445566778899aabbccddeeff",
            "emc node list --model m",
            "emc node stake 2vxsx-fae 100",
            "emc node unjail 2vxsx-fae",
            "emc model correct m@1 --terms terms.toml",
            "emc mining status --json",
            "emc mining history --node 2vxsx-fae --limit 400",
            "emc mining withdraw",
            "emc mining withdraw 2.5",
            "emc mining fund 3000000",
            "emc parameters set --mining-escrow 2vxsx-fae --mining-escrow aaaaa-aa",
            "emc parameters set --no-mining-escrow",
            "emc parameters show",
            "emc parameters set --minimum-stake 50 --unbonding 14d --jail 90s --silence 15m --delay 24h",
            "emc parameters cancel",
            "emc parameters log --json",
            "emc model publish folder --id m --task chat --licence Apache-2.0 --context 2048 --memory 500000000 --terms terms.toml",
            "emc quote --model m hello",
            "emc receipt get 12 --full -o r.json",
            "emc verify r.json",
            "emc status --network http://127.0.0.1:8000",
        ] {
            let result = Cli::try_parse_from(line.split(' '));
            assert!(result.is_ok(), "{line}: {}", result.unwrap_err());
        }
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in [
            "emc",
            "emc transfer 1.123456789 2vxsx-fae",
            "emc transfer -1 2vxsx-fae",
            "emc transfer 1 nobody",
            "emc transfer 0 2vxsx-fae",
            "emc chat --temperature warm hello",
            "emc chat --temperature 5.001 hello",
            "emc chat --top-p 1.1 hello",
            "emc chat --max-tokens 0 hello",
            "emc job show twelve",
            "emc job result 12 --capability 0011",
            "emc chat --history f -c hello",
            "emc parameters set",
            "emc parameters set --no-mining-escrow --mining-escrow aaaaa-aa",
            "emc mining withdraw 0",
            "emc mining fund",
            "emc mining history --limit 0",
            "emc parameters set --jail soon",
            "emc parameters set --jail 1w",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
