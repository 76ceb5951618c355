//! `emc delegate`: whom you let submit jobs that your account in the escrow pays.

use crate::{cli::Globals, decimals, output, session::Session, words};
use anyhow::Result;
use candid::Principal;
use clap::{Args, Subcommand};
use emc_client::protocol::account::SetDelegate;
use emc_client::protocol::{Seconds, Tokens};
use serde_json::json;

/// Who may submit jobs that your account in the escrow pays: a canister of yours, say.
#[derive(Debug, Subcommand)]
pub enum Delegate {
    /// Let somebody spend up to an amount in all
    Set(Set),
    /// Take the permission away
    Remove(Remove),
    /// Who may, and what is left of each limit
    List(List),
}

/// Let somebody spend up to an amount in all. A job counts with what it locks, and once it is final with what it cost.
/// Setting it again begins anew with the new amount.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  emc delegate set ryjl3-tyaaa-aaaaa-aaaba-cai 2.5 --for 30d")]
pub struct Set {
    /// Who may
    delegate: Principal,
    /// For how much in all, in EMC
    #[arg(value_parser = decimals::amount)]
    limit: Tokens,
    /// For how long [default: without an end]
    #[arg(long = "for", value_name = "TIME", value_parser = decimals::seconds)]
    time: Option<Seconds>,
}

/// Take the permission away. Jobs that were submitted go on.
#[derive(Debug, Args)]
pub struct Remove {
    /// Whose
    delegate: Principal,
}

/// Who may, and what is left of each limit.
#[derive(Debug, Args)]
pub struct List {
    /// Of whose account [default: your own]
    owner: Option<Principal>,
}

impl Delegate {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        match self {
            Self::Set(command) => {
                let session = Session::open_signed(globals).await?;
                let now = session.now().await;
                let args = SetDelegate {
                    delegate: command.delegate,
                    limit: command.limit,
                    expires: command.time.map(|time| now.after(time)),
                };
                session.escrow().set_delegate(args).await?;
                list(globals, &session, session.client.principal()).await
            }
            Self::Remove(command) => {
                let session = Session::open_signed(globals).await?;
                let args = SetDelegate {
                    delegate: command.delegate,
                    limit: Tokens::ZERO,
                    expires: None,
                };
                session.escrow().set_delegate(args).await?;
                list(globals, &session, session.client.principal()).await
            }
            Self::List(command) => {
                let session = Session::open(globals).await?;
                let owner = session.principal_or_own(command.owner)?;
                list(globals, &session, owner).await
            }
        }
    }
}

async fn list(globals: &Globals, session: &Session, owner: Principal) -> Result<()> {
    let delegates = session.escrow().delegates(owner).await?;
    if globals.json {
        let delegates = delegates.iter().map(|delegate| {
            json!({
                "delegate": delegate.delegate.to_text(),
                "limit": words::emc(delegate.limit),
                "left": words::emc(delegate.left),
                "expires": delegate.expires.map(words::time),
            })
        });
        return output::json(&delegates.collect());
    }
    if delegates.is_empty() {
        return output::line(format_args!("nobody but {owner} spends this account"));
    }
    let rows: Vec<_> = delegates
        .iter()
        .map(|delegate| {
            vec![
                delegate.delegate.to_text(),
                format!("{} EMC", delegate.limit),
                format!("{} EMC", delegate.left),
                delegate.expires.map_or_else(|| "-".into(), words::time),
            ]
        })
        .collect();
    output::table(&["delegate", "limit", "left", "until"], &rows)
}
