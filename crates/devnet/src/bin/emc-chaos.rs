//! The whole market under faults, many seeds one after the other. `cargo xtask chaos` builds everything and runs this.
//!
//! Exits with an error if a seed failed, or if too little happened over all of them.

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use emc_devnet::chaos::{self, Tally};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Instant;

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

fn main() -> Result<()> {
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
        .with_ansi(false)
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
    let (mut sum, mut failed, mut ended) = (Tally::default(), vec![], 0);
    let seeds = Mutex::new(seeds);
    let next = || {
        seeds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        for _ in 0..parallel {
            let (tell, next) = (tell.clone(), &next);
            scope.spawn(move || {
                while let Some(seed) = next() {
                    let begun = Instant::now();
                    let ran = one(seed, arguments.twice);
                    // Who listens does so to the end.
                    let _ = tell.send((seed, begun.elapsed().as_secs_f64(), ran));
                }
            });
        }
        drop(tell);
        for (seed, seconds, ran) in told {
            ended += 1;
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
    });
    ensure!(
        ended == asked,
        "only {ended} of {asked} seeds came to an end"
    );

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

/// Runs a seed on this thread.
fn one(seed: u64, twice: bool) -> Result<Tally> {
    let run = || -> Result<Tally> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting a runtime")?;
        runtime.block_on(chaos::run(seed))
    };
    let first = run()?;
    if twice {
        let second = run()?;
        ensure!(
            first == second,
            "two runs of one seed differ:\n{first}\n{second}"
        );
    }
    Ok(first)
}
