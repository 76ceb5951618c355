//! `emc transfer`: sends EMC in the ledger.

use crate::{cli::Globals, decimals, output, session::Session};
use anyhow::Result;
use clap::Args;
use emc_client::Account;
use emc_client::ledger::nat;
use emc_client::protocol::Tokens;
use icrc_ledger_types::icrc1::transfer::{Memo, TransferArg};
use serde_json::json;

/// Send EMC in the ledger.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  emc transfer 1.5 qkohe-cutmm-4hx5y-yqgn6-knv4n-xlhlj-ryzaa-cx3dx-eysh5-pylum-iqe"
)]
pub struct Transfer {
    /// How much, in EMC
    #[arg(value_parser = decimals::amount)]
    amount: Tokens,
    /// A principal or an ICRC-1 account
    to: Account,
    /// Up to 32 bytes of text that go with it, for everyone to read
    #[arg(long)]
    memo: Option<String>,
}

impl Transfer {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open_signed(globals).await?;
        let ledger = session.ledger();
        let block = ledger
            .icrc1_transfer(TransferArg {
                from_subaccount: None,
                to: self.to,
                fee: None,
                created_at_time: None,
                memo: self.memo.map(|memo| Memo::from(memo.into_bytes())),
                amount: nat(self.amount),
            })
            .await?;
        if globals.json {
            return output::json(
                &json!({ "block": block, "amount": self.amount.to_string(), "to": self.to.to_string() }),
            );
        }
        output::line(format_args!(
            "sent {} EMC to {} (block {block})",
            self.amount, self.to
        ))
    }
}
