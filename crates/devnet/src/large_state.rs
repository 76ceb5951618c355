//! An escrow with a past: a market whose escrow has done so many jobs, made natively through its rules and given to the
//! canister as its stable memory. For measuring; only a development network can do it.

use crate::Market;
use crate::market::{until, wasm};
use crate::people::Person;
use anyhow::{Context, Result};
use candid::Encode;
use emc_protocol::Timestamp;
use emc_protocol::escrow::{EscrowArgs, EscrowUpgrade};
use emc_simulate::image::{self, Image, Wanted};
use emc_simulate::market::{FIRST_SEQUENCE, Names};
use std::path::Path;
use std::time::Duration;

/// The market's time is at least so far ahead when the image ends, and a millisecond more for each job: making it takes
/// time, and it must not end in the past.
const AHEAD: Duration = Duration::from_secs(600);

impl Market {
    /// Gives the escrow a past of so many jobs, of which one in twenty are the requester's; `folder` takes the image for
    /// a while. What the escrow has done before is lost, and what its ledger account holds is made to fit.
    ///
    /// # Errors
    /// If the network has no control interface, the image cannot be made, or the canister does not open it.
    pub async fn give_past(
        &self,
        jobs: usize,
        requester: &Person,
        folder: &Path,
        done: impl Fn(u64) + Send + 'static,
    ) -> Result<Image> {
        let control = self.control()?;
        let ahead = AHEAD + Duration::from_millis(jobs as u64);
        let end = control.time().await?.0 + ahead.as_nanos() as u64;
        let wanted = Wanted {
            seed: self.seed,
            jobs,
            end: Timestamp(end),
            names: Names {
                escrow: self.ids.escrow,
                ledger: self.ids.ledger,
                registry: self.ids.registry,
                governor: self.governor.principal(),
            },
            requester: requester.principal(),
        };
        let path = folder.join(format!("escrow-{jobs}"));
        let file = path.clone();
        let made = tokio::task::spawn_blocking(move || image::write(&file, &wanted, done));
        let image = made.await.context("the image's maker panicked")??;

        // The escrow must not see its past in the future.
        let late = end.saturating_sub(control.time().await?.0);
        control.advance(Duration::from_nanos(late)).await?;
        let held = self.anonymous().ledger(self.ids.ledger);
        let held = held.balance(self.ids.escrow).await?;
        let ledger = self.client(&self.bank).ledger(self.ids.ledger);
        let missing = image
            .owed
            .0
            .checked_sub(held.0)
            .context("a past with more than now")?;
        ledger
            .transfer(self.ids.escrow, emc_protocol::Tokens(missing))
            .await
            .context("backing the escrow's past")?;
        let deployer = self.deployer();
        deployer.stop(self.ids.escrow).await?;
        control.load_stable_memory(self.ids.escrow, &path).await?;
        std::fs::remove_file(&path).context("removing the image")?;
        let argument = EscrowArgs::Upgrade(EscrowUpgrade::default());
        deployer
            .upgrade(self.ids.escrow, &wasm("escrow")?, Encode!(&argument)?)
            .await?;
        self.feed_restarted().await?;
        Ok(image)
    }

    /// The image's feed counts far above the registry's: the escrow begins anew with it.
    async fn feed_restarted(&self) -> Result<()> {
        let escrow = self.anonymous().escrow(self.ids.escrow);
        let control = self.control()?;
        until(
            Duration::from_secs(60),
            "the escrow to pull its feed anew",
            async || {
                control.advance(Duration::from_secs(6)).await?;
                Ok((escrow.info().await?.feed_sequence < FIRST_SEQUENCE).then_some(()))
            },
        )
        .await?;
        self.feed_arrived().await
    }
}
