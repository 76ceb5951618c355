//! The figures of the escrow, on an embedded network: `cargo xtask bench escrow` builds everything and runs this.
//! Instructions of every call in a small and in a large state, what a whole audited job costs, jobs a second, bytes kept.
//! Prints a line a figure, `name value unit`.

mod calls;
mod throughput;

use anyhow::{Result, ensure};
use calls::{Counts, Scene};
use clap::Parser;
use emc_devnet::figures::Figures;
use emc_protocol::Assurance;
use emc_simulate::image::Image;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;

/// Measures the escrow's calls on an embedded network, in a small and in a large state.
#[derive(Parser)]
#[command(
    name = "cargo xtask bench escrow",
    bin_name = "cargo xtask bench escrow"
)]
struct Arguments {
    /// Print one JSON object instead of lines
    #[arg(long)]
    json: bool,
    /// Jobs that the escrow has done before: the small state, then the large one
    #[arg(long, value_delimiter = ',', default_value = "1000,1000000")]
    jobs: Vec<usize>,
    /// Rounds of every call; the median counts
    #[arg(long, default_value_t = 12)]
    rounds: usize,
    /// Jobs to put through at once; 0 leaves it out
    #[arg(long, default_value_t = 300)]
    throughput_jobs: usize,
}

/// What was found in one state.
struct Found {
    jobs: usize,
    image: Image,
    medians: BTreeMap<String, f64>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(!arguments.jobs.is_empty(), "--jobs needs a number");
    let mut figures = Figures::new(arguments.json);
    let mut all = vec![];
    for &jobs in &arguments.jobs {
        all.push(measure(jobs, &arguments, &mut figures).await?);
    }
    if let [small, .., large] = all.as_slice() {
        compare(small, large, &mut figures);
    }
    figures.finish();
    Ok(())
}

async fn measure(jobs: usize, arguments: &Arguments, figures: &mut Figures) -> Result<Found> {
    let folder = tempfile::tempdir()?;
    let bar = ProgressBar::new(jobs as u64);
    bar.set_style(ProgressStyle::with_template(
        "making {human_len} jobs {bar:30} {per_sec}, {eta} left",
    )?);
    let progress = bar.clone();
    let (scene, image) = Scene::with_past(jobs, folder.path(), move |n| progress.inc(n)).await?;
    bar.finish_and_clear();
    let mut counts = Counts::default();
    for round in 0..arguments.rounds {
        // The first rounds fill caches and grow maps.
        scene.round(&mut counts, image.old_job, round >= 3).await?;
    }
    let upgrade = scene.upgrade_instructions().await?;
    let mut medians = counts.medians();
    medians.insert("post_upgrade".into(), upgrade as f64);
    for (name, value) in &medians {
        figures.add(
            &format!("instructions.{name}.at_{jobs}"),
            *value,
            "instructions",
        );
    }
    let get = |name: &str| medians.get(name).copied().unwrap_or(f64::NAN);
    let beside = get("submit_job.audited") + get("claim") + get("deliver.audited")
        - get("signature_check")
        + get("draw")
        + 3.0 * (get("commit_vote") + get("reveal_vote"))
        + get("settle");
    figures.add(
        &format!("instructions.audited_job.at_{jobs}"),
        beside,
        "instructions",
    );
    let final_jobs = jobs as f64;
    figures.add(&format!("stable_memory.at_{jobs}"), image.bytes as f64, "B");
    let parts = |names: &[&str]| -> f64 {
        let mine = image.parts.iter().filter(|(name, _)| names.contains(name));
        mine.map(|(_, bytes)| *bytes as f64).sum()
    };
    let receipts = parts(&["receipt_index", "receipt_data", "receipt_nodes"]);
    figures.add(
        &format!("bytes.per_receipt.at_{jobs}"),
        receipts / final_jobs,
        "B",
    );
    let kept = [
        "jobs",
        "audits",
        "by_requester",
        "receipt_index",
        "receipt_data",
        "receipt_nodes",
    ];
    figures.add(
        &format!("bytes.per_settled_job.at_{jobs}"),
        parts(&kept) / final_jobs,
        "B",
    );
    for (name, assurance) in [("plain", Assurance::None), ("audited", Assurance::Always)] {
        let count = match assurance {
            Assurance::None => arguments.throughput_jobs,
            _ => arguments.throughput_jobs / 5,
        };
        if count > 0 {
            let rate = throughput::run(&scene, count, assurance).await?;
            figures.add(&format!("throughput.{name}.at_{jobs}"), rate, "jobs/s");
        }
    }
    scene.market.check_conservation().await?;
    Ok(Found {
        jobs,
        image,
        medians,
    })
}

/// How much more every call takes in the large state.
fn compare(small: &Found, large: &Found, figures: &mut Figures) {
    for (name, value) in &large.medians {
        if let Some(before) = small.medians.get(name) {
            figures.add(&format!("ratio.{name}"), value / before, "times");
        }
    }
    let grown = large.image.parts.iter().zip(&small.image.parts);
    let jobs = (large.jobs - small.jobs).max(1) as f64;
    for ((name, after), (_, before)) in grown {
        let growth = (*after as f64 - *before as f64) / jobs;
        if growth >= 1.0 {
            figures.add(&format!("growth.{name}"), growth, "B/job");
        }
    }
}
