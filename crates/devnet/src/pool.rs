//! The check of a market's mining pool: it has what it had, less what it has paid, and covers what it owes.

use crate::Market;
use crate::market::POOL;
use anyhow::{Result, ensure};

impl Market {
    pub(crate) async fn check_pool(&self) -> Result<()> {
        let client = self.anonymous();
        let ledger = client.ledger(self.ids.ledger);
        let registry = client.registry(self.ids.registry);
        for _ in 0..50 {
            let before = registry.mining_status().await?;
            let open_before = registry.info().await?.journal_open;
            let held = ledger.balance(registry.mining_pool()).await?;
            let open_after = registry.info().await?.journal_open;
            let after = registry.mining_status().await?;
            ensure!(
                before.owed.checked_add(before.paid) == Some(before.distributed),
                "mining gave away what its flows do not explain: {before:?}"
            );
            if (before.owed, before.paid, open_before) != (after.owed, after.paid, open_after) {
                continue;
            }
            // Anybody may add to it.
            ensure!(
                open_before > 0 || (held >= before.owed && held.0 + before.paid.0 >= POOL.0),
                "the mining pool holds {held}: {before:?}"
            );
            return Ok(());
        }
        anyhow::bail!("mining's sums never stood still")
    }
}
