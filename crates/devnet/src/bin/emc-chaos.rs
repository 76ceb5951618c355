//! The whole market under faults, many seeds one after the other. `cargo xtask chaos` builds everything and runs this.
//!
//! Exits with an error if a seed failed, or if too little happened over all of them.

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use emc_devnet::chaos::{self, Tally};
use std::collections::VecDeque;
use std::time::Instant;
use tokio::task::JoinSet;

/// Runs the whole market under faults that a seed chooses, and checks that nothing is lost.
#[derive(Parser)]
#[command(name = "cargo xtask chaos", bin_name = "cargo xtask chaos")]
struct Arguments {
    /// How many seeds
    #[arg(long, default_value_t = 50)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Run this one alone, and tell each call and fault (more with RUST_LOG)
    #[arg(long, conflicts_with_all = ["seeds", "first", "kept"])]
    seed: Option<u64>,
    /// Before them, the seeds that once failed
    #[arg(long)]
    kept: bool,
    /// Run each seed twice, and check that both runs are the same, message by message
    #[arg(long)]
    twice: bool,
    /// How many run at a time; as many as there are processors where absent
    #[arg(long)]
    parallel: Option<usize>,
}

/// Fewer seeds than this prove nothing about what happens over many.
const MANY: u64 = 20;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let told = match arguments.seed {
        Some(_) => "warn,emc_devnet::chaos=debug",
        None => "error",
    };
    let told =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| told.into());
    tracing_subscriber::fmt()
        .with_env_filter(told)
        .with_writer(std::io::stderr)
        .without_time()
        .init();

    // 1. Which seeds.
    let mut seeds: VecDeque<u64> = VecDeque::new();
    if arguments.kept {
        seeds.extend(chaos::kept());
    }
    match arguments.seed {
        Some(seed) => seeds.push_back(seed),
        None => {
            let end = arguments.first.checked_add(arguments.seeds);
            seeds.extend(arguments.first..end.context("these seeds are too large")?);
        }
    }
    let asked = seeds.len() as u64;

    // 2. Some at a time, each on a network of its own.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let parallel = arguments.parallel.unwrap_or(processors).max(1);
    let begun = Instant::now();
    let (mut sum, mut failed, mut running) = (Tally::default(), vec![], JoinSet::new());
    loop {
        while running.len() < parallel
            && let Some(seed) = seeds.pop_front()
        {
            running.spawn(one(seed, arguments.twice));
        }
        let Some(ended) = running.join_next().await else {
            break;
        };
        let (seed, seconds, ran) = ended.context("a run ended by a panic")?;
        match ran {
            Ok(tally) => {
                println!("seed {seed:4}  {seconds:5.1} s  {tally}");
                sum.add(&tally);
            }
            Err(error) => {
                println!("seed {seed:4}  {seconds:5.1} s  FAILED: {error:#}");
                failed.push(seed);
            }
        }
    }

    // 3. What it came to.
    println!(
        "\n{asked} seeds in {:.0} s: {sum}",
        begun.elapsed().as_secs_f64()
    );
    for (kind, times) in &sum.struck {
        println!("  {times:6}  {kind}");
    }
    if !failed.is_empty() {
        println!("\nRun them again, one by one:");
        failed.sort_unstable();
        for seed in &failed {
            println!("  cargo xtask chaos --seed {seed}");
        }
        bail!("{} of {asked} seeds failed", failed.len());
    }
    if asked >= MANY {
        sum.check()?;
    }
    Ok(())
}

/// A seed, how long it took, and what it came to.
async fn one(seed: u64, twice: bool) -> (u64, f64, Result<Tally>) {
    let begun = Instant::now();
    let both = async {
        let first = chaos::run(seed).await?;
        if twice {
            let second = chaos::run(seed).await?;
            ensure!(
                first == second,
                "two runs of one seed differ:\n{first}\n{second}"
            );
        }
        Ok(first)
    };
    let ran = both.await;
    (seed, begun.elapsed().as_secs_f64(), ran)
}
