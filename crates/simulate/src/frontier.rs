//! Does cheating pay? One honest worker and three that cheat on every job work side by side, at each point of a grid:
//! how often jobs are audited, how large the bond is against what the rule asks, and what a cheat gains.
//!
//! **Gain** is what a cheat saves or gets besides, against honest work, as a multiple of the price; it keeps it even
//! where it is found. **Profit** is what the cheats' owners were paid, with that gain, less what was burned, less what
//! the honest worker's owner was paid, for a job, again as a multiple of the price.

use crate::market::{Market, Order, Setup};
use crate::people::WorkerHabit;
use anyhow::Result;
use emc_protocol::audit::{Assurance, AuditSettings};
use emc_protocol::{Seconds, Tokens};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Jobs that are worked on side by side.
pub const BATCH: usize = 40;

/// The grid.
#[derive(Clone, Debug)]
pub struct Grid {
    /// Of the jobs that are audited, basis points.
    pub rates: Vec<u16>,
    /// Of the bond, as multiples of what the rule asks.
    pub factors: Vec<f64>,
    /// Of a cheat, as multiples of the price.
    pub gains: Vec<f64>,
    /// Jobs of each point.
    pub jobs: usize,
}

impl Grid {
    /// The grid of the page.
    pub fn full() -> Self {
        Self {
            rates: vec![100, 200, 500, 1_000, 2_000, 5_000],
            factors: vec![0.25, 0.5, 1.0, 2.0],
            gains: vec![0.25, 0.5, 1.0, 2.0],
            jobs: 10_000,
        }
    }
}

/// What a point of the grid has shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Of the jobs that are audited, basis points.
    pub rate: u16,
    /// Of the bond.
    pub factor: f64,
    /// Of a cheat.
    pub gain: f64,
    /// Cheats.
    pub cheats: u64,
    /// Those that were found.
    pub found: u64,
    /// Mean bond of a cheat, as a multiple of the price.
    pub bond: f64,
    /// What a cheat brought less what honest work did, a job, without the gain; as a multiple of the price.
    pub loss: f64,
    /// With the gain.
    pub profit: f64,
    /// The standard error of the profit, from the number of cheats that were found.
    pub error: f64,
}

/// The settings under which the rule asks for so many times the bond that it would ask for. The rule sizes a bond by
/// the chance that a cheat is caught; it is told another one. A governor cannot set one above 100 %: that is what keeps
/// him from asking for too little.
pub fn settings(rate: u16, factor: f64) -> AuditSettings {
    let rule = AuditSettings::default();
    let audited = f64::from(rate) / 10_000.0;
    let caught = audited * f64::from(rule.detection) / 10_000.0;
    let bond = factor * (1.0 - caught) / caught;
    let told = 1.0 / (1.0 + bond) / audited;
    AuditSettings {
        sample_rate: rate,
        detection: (told * 10_000.0).round().clamp(1.0, 65_535.0) as u16,
        // The least bond would hide the rule: these jobs are small.
        least_bond: Tokens(1),
        ..rule
    }
}

/// Plays one point.
///
/// # Errors
/// The rules refuse what an honest participant does.
pub fn point(seed: u64, rate: u16, factor: f64, gain: f64, jobs: usize) -> Result<Point> {
    let mut workers = vec![WorkerHabit::CHEAT; 4];
    workers[0] = WorkerHabit::HONEST;
    let mut market = Market::new(Setup {
        audit: settings(rate, factor),
        workers,
        ..Setup::new(seed)
    })?;
    play(&mut market, jobs, |market| market.order(Assurance::Sampled))?;
    market.check_conservation()?;
    let (honest, cheats) = (market.tally.honest, market.tally.cheats);
    let price = (honest.asked + cheats.asked) as f64 / (honest.jobs + cheats.jobs) as f64;
    let kept = |nodes: &[(crate::people::Node, WorkerHabit)]| -> f64 {
        let kept = nodes
            .iter()
            .map(|(node, _)| market.earned(node) as f64 - node.burned as f64);
        kept.sum()
    };
    let honest_worker = kept(&market.workers[..1]) / honest.jobs as f64;
    let cheat = kept(&market.workers[1..]) / cheats.jobs as f64;
    let loss = (cheat - honest_worker) / price;
    let bond = cheats.bonds as f64 / cheats.jobs as f64 / price;
    let found = cheats.overturned as f64;
    Ok(Point {
        rate,
        factor,
        gain,
        cheats: cheats.jobs,
        found: cheats.overturned,
        bond,
        loss,
        profit: loss + gain,
        error: (bond + 1.0) * found.sqrt() / cheats.jobs as f64,
    })
}

/// Plays so many jobs.
///
/// # Errors
/// As [`Market::play`].
pub fn play(
    market: &mut Market,
    jobs: usize,
    mut order: impl FnMut(&mut Market) -> Order,
) -> Result<()> {
    let mut left = jobs;
    while left > 0 {
        let batch = left.min(BATCH);
        let orders: Vec<Order> = (0..batch).map(|_| order(market)).collect();
        market.play(&orders)?;
        left -= batch;
    }
    Ok(())
}

/// Plays the whole grid, on every processor; `done` is told of each point.
///
/// # Errors
/// As [`point`].
pub fn run(seed: u64, grid: &Grid, done: impl Fn() + Sync) -> Result<Vec<Point>> {
    let mut places = vec![];
    for &rate in &grid.rates {
        for &factor in &grid.factors {
            for &gain in &grid.gains {
                places.push((rate, factor, gain));
            }
        }
    }
    let points = each(&places, |number, &(rate, factor, gain)| {
        let point = point(seed + number as u64, rate, factor, gain, grid.jobs);
        done();
        point
    });
    points.into_iter().collect()
}

/// Works on every item, on every processor, and keeps their order.
pub fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(usize, &T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, SeqCst);
                    let Some(item) = items.get(at) else { return };
                    let result = work(at, item);
                    let mut results = results.lock().expect("nobody panics holding it");
                    results.push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("nobody panicked holding it");
    results.sort_unstable_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The gain above which cheating pays, for one rate and factor, over all points that share them, with its standard
/// error.
pub fn break_even(points: &[Point], rate: u16, factor: f64) -> (f64, f64) {
    let mine: Vec<&Point> = points
        .iter()
        .filter(|point| point.rate == rate && point.factor == factor)
        .collect();
    let count = mine.len().max(1) as f64;
    let gain = mine.iter().map(|point| -point.loss).sum::<f64>() / count;
    let error = mine.iter().map(|point| point.error.powi(2)).sum::<f64>();
    (gain, error.sqrt() / count)
}

/// The time between jobs of a market, for a page's words.
pub fn pace() -> Seconds {
    Setup::new(0).between_jobs
}
