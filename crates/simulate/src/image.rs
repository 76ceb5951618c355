//! The stable memory of an escrow that has done so many jobs, made natively through the rules: what a canister is given
//! by a development network so that its calls can be measured in a large state. There is no way to fill a canister.

use crate::frontier::BATCH;
use crate::market::{Market, Names, Order, Setup};
use crate::people::person;
use anyhow::{Context, Result};
use candid::Principal;
use emc_escrow::native;
use emc_escrow::state::BUCKET_PAGES;
use emc_protocol::audit::Assurance;
use emc_protocol::{JobId, Seconds, Timestamp, Tokens, limits};
use rand::Rng;
use std::path::Path;

/// One job in so many is the given requester's.
const REGULAR: u64 = 20;
/// One job in so many is still open.
const OPEN: usize = 50;

/// Whose memory it is, and when.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Everything random follows from it.
    pub seed: u64,
    /// Jobs that are final.
    pub jobs: usize,
    /// When the last one is; one came every nine seconds.
    pub end: Timestamp,
    /// The canisters that the escrow knows.
    pub names: Names,
    /// A requester with an account and a history.
    pub requester: Principal,
}

/// What is in a memory.
#[derive(Clone, Debug)]
pub struct Image {
    /// Bytes of the memory.
    pub bytes: u64,
    /// Bytes of each structure that grows.
    pub parts: Vec<(&'static str, u64)>,
    /// What the escrow owes: its account in the ledger must hold as much.
    pub owed: Tokens,
    /// A final job of the requester, from the middle of the history.
    pub old_job: JobId,
    /// Jobs that are open.
    pub open: usize,
}

/// Plays the market and writes its memory to a file; `done` is told how many more jobs are done.
///
/// # Errors
/// The rules refuse what an honest participant does, or the file cannot be written.
pub fn write(path: &Path, wanted: &Wanted, done: impl Fn(u64)) -> Result<Image> {
    let others = (wanted.jobs / 100).clamp(10, 10_000) as u64;
    let requesters = (0..others).map(|n| person(wanted.seed, b"requester", n));
    let setup = Setup::new(wanted.seed);
    let length = setup.between_jobs.0 * wanted.jobs as u64 * 1_000_000_000;
    let mut market = Market::new(Setup {
        // Some minutes for the last jobs' audits.
        begin: Timestamp(wanted.end.0.saturating_sub(length + 3_600_000_000_000)),
        names: wanted.names,
        requesters: [wanted.requester].into_iter().chain(requesters).collect(),
        workers: vec![crate::people::WorkerHabit::HONEST; 40],
        bucket_pages: BUCKET_PAGES,
        ..setup
    })?;
    let mut left = wanted.jobs;
    while left > 0 {
        let batch = left.min(BATCH);
        let orders: Vec<Order> = (0..batch).map(|_| order(&mut market)).collect();
        market.play(&orders)?;
        left -= batch;
        done(batch as u64);
    }
    let open = wanted.jobs / OPEN;
    for _ in 0..open {
        let order = order(&mut market);
        market.ask(&order, Some(limits::DEADLINE_MAX))?;
    }
    market.check_conservation()?;
    let totals = native::totals(&market.state);
    let image = Image {
        bytes: market.memory.borrow().len() as u64,
        parts: market.sizes(),
        owed: Tokens(totals.deposited.0 - totals.withdrawn.0),
        old_job: middle(&market, wanted).context("the requester has asked for jobs")?,
        open,
    };
    std::fs::write(path, &*market.memory.borrow())
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(image)
}

/// Every assurance, mostly sampled; one job in twenty is the regular requester's.
fn order(market: &mut Market) -> Order {
    let assurance = match market.rng.gen_range(0..20) {
        0 => Assurance::Always,
        1 => Assurance::None,
        _ => Assurance::Sampled,
    };
    let order = market.order(assurance);
    let regular = market.rng.gen_range(0..REGULAR) == 0;
    Order {
        requester: if regular { 0 } else { order.requester.max(1) },
        ..order
    }
}

fn middle(market: &Market, wanted: &Wanted) -> Option<JobId> {
    let first = wanted.jobs as JobId / 2;
    (first..=wanted.jobs as JobId).find(|&id| {
        native::job(&market.state, id).is_some_and(|job| job.requester == wanted.requester)
    })
}

/// How long before its end the market of such an image begins.
pub fn length(jobs: usize) -> Seconds {
    Seconds(Setup::new(0).between_jobs.0 * jobs as u64)
}
