//! The figures of the main job, on an embedded network: `cargo xtask bench main` builds everything and runs this.
//! Prints a line a figure, `name value unit`.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use emc_devnet::control::LogLine;
use emc_devnet::figures::Figures;
use emc_devnet::market::{MINIMUM_STAKE, until};
use emc_devnet::worker::{ModelSource, Worker};
use emc_devnet::{DevNetwork, Market, Person};
use emc_protocol::job::{ChatMessage, ChatRole};
use emc_protocol::{JobInput, JobState, ModelRef, Parameters, SubmitJob, Tokens};
use std::path::Path;
use std::time::{Duration, Instant};

/// Measures the main job on an embedded network.
#[derive(Parser)]
#[command(name = "cargo xtask bench main", bin_name = "cargo xtask bench main")]
struct Arguments {
    /// Print one JSON object instead of lines
    #[arg(long)]
    json: bool,
    /// Jobs to time one after the other
    #[arg(long, default_value_t = 30)]
    latency_jobs: usize,
    /// Jobs to put through at once
    #[arg(long, default_value_t = 500)]
    throughput_jobs: usize,
    /// Leave out the real model
    #[arg(long)]
    no_model: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut figures = Figures::new(arguments.json);
    let folder = tempfile::tempdir()?;
    let network = DevNetwork::embedded(1, "127.0.0.1:0").await?;
    let market = Market::on(network, 1, emc_protocol::escrow::Settings::default()).await?;
    instructions(&market, &mut figures).await?;
    echo(&market, folder.path(), &arguments, &mut figures).await?;
    if !arguments.no_model {
        model(&market, folder.path(), &mut figures).await?;
    }
    market.check_conservation().await?;
    figures.finish();
    Ok(())
}

fn question(model: &ModelRef, text: &str, max_tokens: u32) -> SubmitJob {
    let messages = vec![ChatMessage {
        role: ChatRole::User,
        content: text.to_owned(),
    }];
    SubmitJob {
        model: model.clone(),
        input: JobInput::Chat { messages },
        parameters: Parameters::greedy(max_tokens),
        max_price: Tokens::e8s(1_000_000),
        deadline: None,
        if_unserved: None,
        request_key: None,
        seed: None,
        salt: None,
        visibility: None,
        assurance: None,
        payer: None,
        notify: None,
    }
}

/// Instructions of each call, as the canister's performance counter sees the whole message, Candid included.
async fn instructions(market: &Market, figures: &mut Figures) -> Result<()> {
    let control = market.control()?;
    let mut paper = ModelSource::smollm2()?.publication();
    paper.id = "bench/paper".into();
    let entry = market.publish(paper).await?;
    let model = ModelRef {
        id: entry.id,
        version: Some(entry.version),
    };
    let alice = market.requester("counter", Tokens::emc(10)).await?;
    let node = market.hand_node("counted", &model).await?;
    let escrow = market.client(&alice).escrow(market.ids.escrow);
    let mut counts: [Vec<u64>; 4] = Default::default();
    for round in 0..20 {
        let mark = control.log(0).await?.last().map_or(0, |line| line.n);
        escrow
            .submit_job(question(&model, "What is the capital of France?", 64))
            .await?;
        let lease = node.claim_one().await?;
        let good = node.delivery(&lease, &[7; 48], "The capital of France is Paris.");
        // The charge is the last thing checked before the signature: the difference is the signature check.
        let mut charge = good.clone();
        charge.charge.0 += 1;
        ensure!(node.deliver(charge).await.is_err());
        let mut signature = good.clone();
        // A well-formed signature over another receipt: the check runs to its end before it says no.
        let mut other = good.clone();
        other.charge.0 += 1;
        signature.signature = node.signature(&lease, &other);
        ensure!(node.deliver(signature).await.is_err());
        node.deliver(good).await?;
        let log = control.log(mark).await?;
        let of = |method: &str| -> Vec<u64> {
            let ours = |line: &&LogLine| {
                line.method == method && line.canister == market.ids.escrow.to_text()
            };
            log.iter()
                .filter(ours)
                .map(|line| line.instructions)
                .collect()
        };
        let delivers = of("deliver");
        ensure!(
            delivers.len() == 3,
            "three deliveries were made, {} are in the log",
            delivers.len()
        );
        // The first rounds fill caches and grow maps.
        if round >= 5 {
            counts[0].push(
                *of("submit_job")
                    .last()
                    .context("submit_job is in the log")?,
            );
            counts[1].push(*of("claim").last().context("claim is in the log")?);
            counts[2].push(delivers[2]);
            counts[3].push(delivers[1].saturating_sub(delivers[0]));
        }
    }
    let [submit, claim, deliver, verify] = counts.map(|mut list| median(&mut list));
    figures.add("instructions.submit_job", submit as f64, "instructions");
    figures.add("instructions.claim", claim as f64, "instructions");
    figures.add(
        "instructions.deliver_and_settle",
        deliver as f64,
        "instructions",
    );
    figures.add(
        "instructions.signature_check",
        verify as f64,
        "instructions",
    );
    let beside = submit + claim + deliver.saturating_sub(verify);
    figures.add(
        "instructions.all_but_signature",
        beside as f64,
        "instructions",
    );
    Ok(())
}

fn median(list: &mut [u64]) -> u64 {
    list.sort_unstable();
    list.get(list.len() / 2).copied().unwrap_or_default()
}

async fn staffed(
    market: &Market,
    folder: &Path,
    owner: &str,
    source: &ModelSource,
) -> Result<(Worker, ModelRef, Person)> {
    let entry = market.publish(source.publication()).await?;
    let model = ModelRef {
        id: entry.id,
        version: Some(entry.version),
    };
    let owner = market.person_with(owner, MINIMUM_STAKE).await?;
    let mut worker = Worker::start(market, &folder.join(&owner.name), &owner, source, &model)?;
    worker.until_registered(market).await?;
    market.stake(&owner, worker.node(), MINIMUM_STAKE).await?;
    market.feed_arrived().await?;
    until(
        Duration::from_secs(120),
        "the worker to be ready",
        async || {
            worker.check_alive()?;
            Ok(worker.is_ready().await.then_some(()))
        },
    )
    .await?;
    Ok((worker, model, owner))
}

/// Latency and throughput with an engine that answers at once: everything but inference.
async fn echo(
    market: &Market,
    folder: &Path,
    arguments: &Arguments,
    figures: &mut Figures,
) -> Result<()> {
    let source = ModelSource::echo(Duration::ZERO)?;
    let (worker, model, _) = staffed(market, folder, "echo", &source).await?;
    let alice = market.requester("hasty", Tokens::emc(100)).await?;
    let escrow = market.client(&alice).escrow(market.ids.escrow);
    let mut times = vec![];
    for number in 0..arguments.latency_jobs {
        let begun = Instant::now();
        let result = escrow
            .run(question(&model, &format!("job {number}"), 64), |_| {})
            .await?;
        ensure!(result.job.state == Some(JobState::Settled));
        times.push(begun.elapsed().as_micros() as u64);
    }
    let mut sorted = times.clone();
    figures.add(
        "latency.submit_to_settled.median",
        median(&mut sorted) as f64 / 1e6,
        "s",
    );
    figures.add(
        "latency.submit_to_settled.worst",
        sorted.last().copied().unwrap_or(0) as f64 / 1e6,
        "s",
    );

    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    const CLIENTS: usize = 8;
    for client in 0..CLIENTS {
        let (escrow, model) = (escrow.clone(), model.clone());
        let share = arguments.throughput_jobs / CLIENTS;
        tasks.spawn(async move {
            for number in 0..share {
                escrow
                    .submit_job(question(&model, &format!("job {client} {number}"), 64))
                    .await?;
            }
            anyhow::Ok(share)
        });
    }
    let mut submitted = 0;
    while let Some(share) = tasks.join_next().await {
        submitted += share??;
    }
    let posted = begun.elapsed();
    until(Duration::from_secs(300), "all jobs to settle", async || {
        let open = escrow.account(alice.principal()).await?.open_jobs;
        Ok((open == 0).then_some(()))
    })
    .await?;
    let all = begun.elapsed();
    figures.add(
        "throughput.submitted",
        submitted as f64 / posted.as_secs_f64(),
        "jobs/s",
    );
    figures.add(
        "throughput.settled",
        submitted as f64 / all.as_secs_f64(),
        "jobs/s",
    );
    worker.stop().await
}

/// The real model: how fast it writes, how much memory it takes, and what the market adds to it.
async fn model(market: &Market, folder: &Path, figures: &mut Figures) -> Result<()> {
    let source = ModelSource::smollm2()?;
    let (worker, model, _) = staffed(market, folder, "model", &source).await?;
    let alice = market.requester("patient", Tokens::emc(10)).await?;
    let escrow = market.client(&alice).escrow(market.ids.escrow);
    let mut best = 0f64;
    for _ in 0..3 {
        let begun = Instant::now();
        let job = question(
            &model,
            "Tell me a long story about a lighthouse keeper and the sea.",
            128,
        );
        let result = escrow.run(job, |_| {}).await?;
        let usage = result.job.usage.context("settled")?;
        best = best.max(usage.output_tokens as f64 / begun.elapsed().as_secs_f64());
    }
    figures.add("model.tokens_from_submit_to_settled", best, "tokens/s");
    figures.add(
        "model.decode",
        worker.metric("emc_worker_tokens_per_second").await?,
        "tokens/s",
    );
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.pid()?))?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("VmHWM")?;
    let kib: f64 = peak
        .trim()
        .trim_end_matches(" kB")
        .trim()
        .parse()
        .context("VmHWM is a number")?;
    figures.add("model.worker_peak_memory", kib / 1024.0, "MiB");
    worker.stop().await
}
