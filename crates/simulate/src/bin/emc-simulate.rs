//! `cargo xtask simulate`: what cheating pays, how verdicts go wrong, what the state grows by, what mining pays. Prints the tables and
//! writes them with their charts into a folder.

use anyhow::Result;
use clap::Parser;
use emc_simulate::collusion::{self, Case};
use emc_simulate::frontier::{self, Grid};
use emc_simulate::page::Results;
use emc_simulate::{base, mining};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;

/// About as many probes are delivered in a day of mining, for the progress bar.
const PROBES_A_DAY: u64 = 5_000;

/// Runs the escrow's rules natively, without a network: what cheating pays, how verdicts go wrong, what state grows by.
#[derive(Parser)]
#[command(name = "cargo xtask simulate", bin_name = "cargo xtask simulate")]
struct Arguments {
    /// Jobs of the base case
    #[arg(long, default_value_t = 1_000_000)]
    jobs: usize,
    /// Jobs of each point of the grid, and of each case of validators
    #[arg(long, default_value_t = 10_000)]
    point_jobs: usize,
    /// Days of each case of mining
    #[arg(long, default_value_t = 4)]
    mining_days: u64,
    /// Everything random follows from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where tables and charts are written
    #[arg(long, default_value = "docs/simulation")]
    folder: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let grid = Grid {
        jobs: arguments.point_jobs,
        ..Grid::full()
    };
    let cases: Vec<Case> = collusion::cases();
    let miners = mining::cases();
    let points = grid.rates.len() * grid.factors.len() * grid.gains.len();
    let days = arguments.mining_days;
    let work = arguments.jobs + (points + cases.len()) * arguments.point_jobs;
    let bar = ProgressBar::new(work as u64 + miners.len() as u64 * days * PROBES_A_DAY);
    bar.set_style(ProgressStyle::with_template(
        "{bar:40} {human_pos} of {human_len} jobs, {per_sec}, {eta} left",
    )?);
    let (seed, point) = (arguments.seed, arguments.point_jobs as u64);
    // The base case is one market and keeps one processor busy; points and cases share the others.
    let (base, rest) = std::thread::scope(|scope| {
        let base = scope.spawn(|| base::run(seed, arguments.jobs, |done| bar.inc(done)));
        let rest = frontier::run(seed + 1_000, &grid, || bar.inc(point)).and_then(|points| {
            let verdicts = collusion::run(seed + 2_000, &cases, arguments.point_jobs, || {
                bar.inc(point);
            })?;
            let mining = mining::run(seed + 3_000, &miners, days, || {
                bar.inc(days * PROBES_A_DAY);
            })?;
            Ok((points, verdicts, mining))
        });
        (base.join(), rest)
    });
    bar.finish_and_clear();
    let base = base.expect("the base case does not panic")?;
    let (points, verdicts, mining) = rest?;
    let results = Results {
        command: format!(
            "cargo xtask simulate --jobs {} --point-jobs {} --mining-days {days} --seed {seed}",
            arguments.jobs, arguments.point_jobs
        ),
        base,
        grid,
        points,
        verdicts,
        mining,
    };
    print!("{}", results.tables());
    results.write(&arguments.folder)?;
    eprintln!("written to {}", arguments.folder.display());
    Ok(())
}
