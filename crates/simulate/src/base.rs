//! The base case: one market over a million jobs, mostly honest, with the default settings. What its state grows by,
//! what auditing costs, and how long a cheat goes on before it is found.

use crate::frontier::BATCH;
use crate::market::{Market, Order, Setup};
use crate::people::{ValidatorHabit, WorkerHabit};
use crate::tally::Tally;
use anyhow::Result;
use emc_escrow::native;
use emc_protocol::audit::Assurance;
use rand::Rng;

/// Workers that are honest; the first ones.
pub const HONEST: usize = 36;
/// Then so many that cheat on every job, and as many that cheat on every tenth.
pub const CHEATS: usize = 2;

/// The state at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// Jobs so far.
    pub jobs: u64,
    /// Bytes of each structure that grows.
    pub parts: Vec<(&'static str, u64)>,
}

impl Size {
    /// Bytes of all.
    pub fn total(&self) -> u64 {
        self.parts.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// What the base case has shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    /// Its jobs.
    pub tally: Tally,
    /// How the state grew.
    pub sizes: Vec<Size>,
    /// What workers' owners were paid, e8s.
    pub workers: u128,
    /// What validators' owners were paid.
    pub validators: u128,
    /// The treasury.
    pub treasury: u128,
    /// What sampled jobs have paid for audits and nobody was paid yet.
    pub audit_pool: u128,
    /// Stake burned, of workers that cheat.
    pub burned_cheats: u128,
    /// Stake burned, of everybody else.
    pub burned_others: u128,
    /// Days that passed in the market.
    pub days: f64,
}

/// Plays so many jobs; `done` is told how many more are done.
///
/// # Errors
/// As [`Market::play`].
pub fn run(seed: u64, jobs: usize, done: impl Fn(u64)) -> Result<Base> {
    let mut workers = vec![WorkerHabit::HONEST; HONEST];
    workers.extend([WorkerHabit::CHEAT; CHEATS]);
    workers.extend([WorkerHabit { cheats: 0.1 }; CHEATS]);
    let mut market = Market::new(Setup {
        workers,
        validators: vec![ValidatorHabit::Honest; 30],
        ..Setup::new(seed)
    })?;
    let begin = market.now;
    let mut sizes = vec![];
    let mut next = 1_000;
    while market.tally.jobs() < jobs as u64 {
        let left = jobs - market.tally.jobs() as usize;
        let orders: Vec<Order> = (0..left.min(BATCH)).map(|_| order(&mut market)).collect();
        market.play(&orders)?;
        done(orders.len() as u64);
        let count = market.tally.jobs();
        if count >= next || count == jobs as u64 {
            let parts = market.sizes();
            sizes.push(Size { jobs: count, parts });
            // Every tenth of the whole, and every power of ten before.
            next = if next * 10 <= jobs as u64 / 10 {
                next * 10
            } else {
                (count / (jobs as u64 / 10).max(1) + 1) * (jobs as u64 / 10).max(1)
            };
        }
    }
    market.check_conservation()?;
    let totals = native::totals(&market.state);
    let earned = |nodes: &mut dyn Iterator<Item = &crate::people::Node>| -> u128 {
        nodes.map(|node| market.earned(node)).sum()
    };
    let cheating = market.workers[HONEST..].iter();
    let honest = market.workers[..HONEST].iter().map(|(node, _)| node);
    let validators = market.validators.iter().map(|(node, _)| node);
    Ok(Base {
        workers: earned(&mut market.workers.iter().map(|(node, _)| node)),
        validators: earned(&mut market.validators.iter().map(|(node, _)| node)),
        treasury: totals.treasury.0,
        audit_pool: totals.audits.unwrap_or_default().0,
        burned_cheats: cheating.map(|(node, _)| node.burned).sum(),
        burned_others: honest.chain(validators).map(|node| node.burned).sum(),
        days: (market.now.0 - begin.0) as f64 / 86_400e9,
        tally: market.tally,
        sizes,
    })
}

/// Nine of ten jobs are sampled, one of twenty is audited for certain, one of twenty not at all.
fn order(market: &mut Market) -> Order {
    let assurance = match market.rng.gen_range(0..20) {
        0 => Assurance::Always,
        1 => Assurance::None,
        _ => Assurance::Sampled,
    };
    market.order(assurance)
}
