//! `emc deposit`: moves EMC from the ledger into an account of the escrow.

use crate::{cli::Globals, decimals, output, session::Session};
use anyhow::{Context, Result, anyhow};
use candid::Principal;
use clap::Args;
use emc_client::protocol::Tokens;
use serde_json::json;

/// Move EMC from the ledger into an account of the escrow, where it pays for jobs.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  emc deposit 10\n  emc deposit --address     where others can send EMC to for you\n  emc deposit --credit      take in what has come there"
)]
pub struct Deposit {
    /// How much, in EMC
    #[arg(value_parser = decimals::amount, required_unless_present_any = ["address", "credit"])]
    amount: Option<Tokens>,
    /// Whose account [default: your own]
    #[arg(long, value_name = "PRINCIPAL")]
    to: Option<Principal>,
    /// Show the ledger account from which plain transfers are credited
    #[arg(long, conflicts_with_all = ["amount", "credit"])]
    address: bool,
    /// Credit what has been sent to that account
    #[arg(long, conflicts_with = "amount")]
    credit: bool,
}

impl Deposit {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        if self.address {
            return self.show_address(globals).await;
        }
        let session = Session::open_signed(globals).await?;
        let reply = if self.credit {
            let beneficiary = session.principal_or_own(self.to)?;
            session.escrow().notify_deposit(beneficiary).await.context(
                "cannot take in what was sent to the account that `emc deposit --address` shows",
            )?
        } else {
            let amount = self.amount.context("an amount is needed")?;
            session
                .client
                .fund(session.ids.ledger, session.ids.escrow, amount, self.to)
                .await?
        };
        if globals.json {
            return output::json(&json!({
                "credited": reply.credited.to_string(),
                "available": reply.available.to_string(),
                "block": reply.block_index,
            }));
        }
        output::line(format_args!(
            "credited {} EMC, {} EMC available for jobs",
            reply.credited, reply.available
        ))
    }

    async fn show_address(&self, globals: &Globals) -> Result<()> {
        let session = Session::open(globals).await?;
        let beneficiary = session.principal_or_own(self.to)?;
        let account = session.escrow().deposit_account(beneficiary).await?;
        let subaccount = account
            .subaccount
            .map(|bytes| <[u8; 32]>::try_from(bytes.into_vec()))
            .transpose()
            .map_err(|_| anyhow!("the escrow answered a subaccount that has not 32 bytes"))?;
        let account = emc_client::Account {
            owner: account.owner,
            subaccount,
        };
        if globals.json {
            return output::json(&json!({ "account": account.to_string() }));
        }
        output::line(account)?;
        output::note("Send EMC there, then type `emc deposit --credit`.");
        Ok(())
    }
}
