//! `emc ledger verify`: fetches the whole block log and checks it here.

use crate::{cli::Globals, output, session::Session};
use anyhow::Result;
use clap::Args;
use emc_client::BlockLog;
use emc_client::block_log::LogError;
use serde_json::json;

/// Check every block of the ledger: its fields, the chain of hashes, what was spent, and the network's signature on the
/// last one.
#[derive(Debug, Args)]
#[command(
    after_help = "Nothing is believed but the network's root key, which is built in for ic and asked of any \
    other network."
)]
pub struct Verify {}

impl Verify {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open(globals).await?;
        let ledger = session.ledger();
        let log = BlockLog::fetch(&ledger).await.map_err(|why| match why {
            // By itself, so that it is said what to type next.
            LogError::Client(error) => anyhow::Error::from(*error),
            why => why.into(),
        })?;
        let checked = log.check(&ledger)?;
        let accounts = checked.books.balances().count();
        let supply = checked.books.supply();
        let tip = hex::encode(checked.tip);
        if globals.json {
            return output::json(&json!({
                "ledger": ledger.id().to_text(),
                "blocks": checked.length,
                "tip": tip,
                "accounts": accounts,
                "supply": supply.to_string(),
            }));
        }
        output::fields(&[
            ("ledger", ledger.id().to_text()),
            (
                "blocks",
                format!("{}, each with the hash of the one before", checked.length),
            ),
            ("tip", format!("{tip}, signed by the network")),
            (
                "supply",
                format!("{supply} EMC in {accounts} accounts, by the blocks alone"),
            ),
        ])
    }
}
