//! A run: steps under trouble, then none, until everything has ended; then what must hold.

use super::checks;
use super::plan::Plan;
use super::stage::Stage;
use super::tally::Tally;
use super::trouble::Trouble;
use anyhow::{Context, Result, bail};
use std::time::Duration;
use tracing::debug;

/// Steps after the trouble within which every job must end: more than a job's deadline and its audit take.
const CLOSING: u32 = 240;
/// Network time that such a step takes.
const CLOSING_STEP: Duration = Duration::from_secs(10);
/// Hours within which the ledger calls must end: more than a ledger remembers what was asked of it.
const SETTLING: u32 = 40;
/// Time in which the escrow's last report reaches the registry.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// Runs a seed; what it came to.
///
/// # Errors
/// What did not hold, and in which step.
pub async fn run(seed: u64) -> Result<Tally> {
    let (plan, mut dice) = Plan::of(seed);
    let mut tally = Tally {
        seeds: 1,
        ..Tally::default()
    };
    let mut stage = Stage::set(&plan).await.context("setting the stage")?;
    let mut trouble = Trouble::default();

    // 1. Under trouble.
    for step in 1..=plan.steps {
        debug!(step, "begins");
        let at = || format!("in step {step} of {}", plan.steps);
        let made = trouble.make(&mut stage, &mut dice, &mut tally).await;
        made.with_context(at)?;
        let advance = Duration::from_secs(dice.between(0, 10));
        let done = stage.step(&mut dice, &mut tally, false, advance).await;
        done.with_context(at)?;
    }
    trouble.end(&mut stage, &mut tally).await?;

    // 2. Without, until every job has ended; then until every ledger call has.
    let mut quiet = false;
    for step in 1..=CLOSING {
        let done = stage.step(&mut dice, &mut tally, true, CLOSING_STEP).await;
        done.with_context(|| format!("in step {step} after the trouble"))?;
        quiet = stage.is_quiet() && no_job_is_open(&stage).await?;
        if quiet {
            break;
        }
    }
    if !quiet {
        let open = checks::what_is_open(&stage).await?;
        bail!("without any trouble not everything ended:\n{open}");
    }
    // What the escrow still has to tell of these jobs, it tells within some pulls of the feed. What is slashed by that is
    // burned; not at once, where the ledger could not be reached before.
    for _ in 0..6 {
        stage.held.control().advance(LAST_WORDS / 6).await?;
    }
    let mut hours = 0;
    while !checks::all_ended(&stage).await? {
        if hours == SETTLING {
            let open = checks::what_is_open(&stage).await?;
            bail!("after {hours} hours not everything ended:\n{open}");
        }
        hours += 1;
        let hour = Duration::from_secs(3600);
        stage.held.control().advance(hour).await?;
        checks::log(&mut stage, &mut tally).await?;
        stage.market.check_conservation().await?;
    }

    // 3. What must hold.
    checks::at_the_end(&stage, &mut tally).await?;
    if !plan.has_adversary() {
        tally.honest = (tally.jobs - tally.cancelled, tally.settled);
    }
    Ok(tally)
}

async fn no_job_is_open(stage: &Stage) -> Result<bool> {
    let info = stage.escrow().info().await?;
    Ok(info.open == 0 && stage.in_hand().await? == 0)
}
