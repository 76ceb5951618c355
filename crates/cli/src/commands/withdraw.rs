//! `emc withdraw`: moves EMC from an account in the escrow to the ledger.

use crate::{cli::Globals, decimals, output, session::Session};
use anyhow::{Result, bail};
use clap::Args;
use emc_client::protocol::ByteBuf;
use emc_client::protocol::Tokens;
use emc_client::protocol::account::{Ledgered, WithdrawArgs};
use serde_json::json;

/// Move EMC from your account in the escrow to the ledger: what you did not spend, or what your nodes earned.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  emc withdraw 2.5\n  emc withdraw all")]
pub struct Withdraw {
    /// How much, in EMC, or `all`
    #[arg(value_parser = how_much)]
    amount: HowMuch,
    /// A principal or an ICRC-1 account [default: your own]
    #[arg(long, value_name = "ACCOUNT")]
    to: Option<emc_client::Account>,
    /// From the treasury; its principal's
    #[arg(long)]
    treasury: bool,
}

#[derive(Clone, Debug)]
enum HowMuch {
    All,
    Amount(Tokens),
}

fn how_much(text: &str) -> Result<HowMuch, String> {
    match text {
        "all" => Ok(HowMuch::All),
        amount => decimals::amount(amount).map(HowMuch::Amount),
    }
}

impl Withdraw {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open_signed(globals).await?;
        let escrow = session.escrow();
        let amount = match self.amount {
            HowMuch::Amount(amount) => amount,
            HowMuch::All if self.treasury => escrow.totals().await?.treasury,
            HowMuch::All => escrow.account(session.client.principal()).await?.available,
        };
        if amount.is_zero() {
            bail!("there is nothing to withdraw; `emc account` shows what you have");
        }
        let args = WithdrawArgs {
            amount,
            to: self.to.map(|account| Ledgered {
                owner: account.owner,
                subaccount: account
                    .subaccount
                    .map(|bytes| ByteBuf::from(bytes.to_vec())),
            }),
        };
        let reply = if self.treasury {
            escrow.withdraw_treasury(args).await?
        } else {
            escrow.withdraw(args).await?
        };
        if globals.json {
            return output::json(&json!({
                "paid": reply.paid.to_string(),
                "available": reply.available.to_string(),
                "block": reply.block_index,
            }));
        }
        output::line(format_args!(
            "paid {} EMC (block {}), {} EMC still available in the escrow",
            reply.paid, reply.block_index, reply.available
        ))
    }
}
