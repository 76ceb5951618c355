//! Workers as processes of their own: killed, restarted, drained, two at once.

use anyhow::{Context, Result, ensure};
use emc_devnet::market::{MINIMUM_STAKE, until};
use emc_devnet::worker::{ModelSource, Worker};
use emc_devnet::{Market, Person};
use emc_protocol::escrow::Settings;
use emc_protocol::job::{AttemptEnd, JobFilter};
use emc_protocol::{JobId, JobState, ModelRef, Seconds, Tokens};
use emc_tests::Scene;
use std::time::Duration;

/// A market whose model is the echo engine, with short leases.
pub async fn market_of_echoes(seed: u64, delay: Duration) -> Result<(Scene, ModelSource)> {
    let settings = Settings {
        lease_base: Seconds(10),
        lease_per_1000_tokens: Seconds(0),
        ..Settings::default()
    };
    market_with(seed, ModelSource::echo(delay)?, settings, Tokens::emc(10)).await
}

/// A market with a model and a requester who has deposited so much.
pub async fn market_with(
    seed: u64,
    source: ModelSource,
    settings: Settings,
    deposit: Tokens,
) -> Result<(Scene, ModelSource)> {
    let network = emc_devnet::DevNetwork::from_environment(seed).await?;
    let market = Market::on(network, seed, settings).await?;
    let entry = market.publish(source.publication()).await?;
    let alice = market.requester("alice", deposit).await?;
    let model = ModelRef {
        id: entry.id,
        version: Some(entry.version),
    };
    let scene = Scene {
        market,
        model,
        alice,
    };
    Ok((scene, source))
}

/// A worker that runs, registered and staked.
pub async fn worker(
    scene: &Scene,
    source: &ModelSource,
    name: &str,
    folder: &std::path::Path,
) -> Result<(Worker, Person)> {
    let owner = scene.market.person_with(name, MINIMUM_STAKE).await?;
    let mut worker = Worker::start(
        &scene.market,
        &folder.join(name),
        &owner,
        source,
        &scene.model,
    )?;
    worker.until_registered(&scene.market).await?;
    scene
        .market
        .stake(&owner, worker.node(), MINIMUM_STAKE)
        .await?;
    scene.market.feed_arrived().await?;
    Ok((worker, owner))
}

/// Waits until a job is settled, checking conservation all the while.
pub async fn settled(scene: &Scene, id: JobId, limit: u64) -> Result<emc_protocol::Job> {
    until(
        Duration::from_secs(limit),
        "the job to settle",
        async || {
            let job = scene.job(id).await?;
            scene.check().await?;
            Ok((job.state == Some(JobState::Settled)).then_some(job))
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_loses_its_lease_and_another_is_paid() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (scene, source) = market_of_echoes(61, Duration::from_millis(200)).await?;
    let (mut first, first_owner) = worker(&scene, &source, "first", folder.path()).await?;
    let mut question = scene.question("a long enough answer to be killed in the middle of");
    question.parameters.max_tokens = 200;
    let job = scene.escrow(&scene.alice).submit_job(question).await?;
    until(
        Duration::from_secs(30),
        "the first worker to begin",
        async || {
            let preview = scene
                .job(job.job_id)
                .await?
                .private
                .and_then(|private| private.preview);
            Ok(preview
                .filter(|preview| !preview.text.is_empty())
                .map(|_| ()))
        },
    )
    .await?;
    first.kill()?;
    scene.check().await?;
    let (second, second_owner) = worker(&scene, &source, "second", folder.path()).await?;
    let done = settled(&scene, job.job_id, 90).await?;
    ensure!(done.attempts.len() == 2, "{:?}", done.attempts);
    ensure!(matches!(done.attempts[0].end, Some(AttemptEnd::Lapsed)));
    ensure!(done.attempts[1].node == second.node());
    ensure!(
        scene.available(&first_owner).await?.is_zero(),
        "the killed worker's owner is not paid"
    );
    ensure!(!scene.available(&second_owner).await?.is_zero());
    let text = done
        .private
        .and_then(|private| private.output)
        .context("output")?
        .text;
    ensure!(
        text == "a long enough answer to be killed in the middle of",
        "{text}"
    );
    second.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_restarted_with_an_undelivered_result_delivers_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (scene, source) = market_of_echoes(62, Duration::ZERO).await?;
    let (mut worker, owner) = worker(&scene, &source, "owner", folder.path()).await?;
    let mut question = scene.question("finished but not delivered");
    question.deadline = Some(Seconds(600));
    question.parameters.max_tokens = 64;
    // Every delivery traps in the escrow, so that the finished result stays with the worker.
    let deliveries = match scene.market.network.control() {
        Some(control) => {
            let mut fault = emc_devnet::control::Fault::next(
                emc_devnet::control::FaultKind::TrapCallee,
                scene.market.ids.escrow,
                "deliver",
            );
            fault.caller = None;
            fault.callee = Some(scene.market.ids.escrow);
            fault.count = 1_000_000;
            control.fault(&fault).await?
        }
        None => {
            println!("skipped: this network has no faults");
            return Ok(());
        }
    };
    let control = scene.market.control()?.clone();
    let job = scene.escrow(&scene.alice).submit_job(question).await?;
    until(Duration::from_secs(30), "a delivery to fail", async || {
        Ok((control.fired(deliveries).await? > 0).then_some(()))
    })
    .await?;
    scene.expect_state(job.job_id, JobState::Leased).await?;
    worker.kill()?;
    control.clear_faults().await?;
    scene.check().await?;
    worker.run()?;
    let done = settled(&scene, job.job_id, 60).await?;
    ensure!(
        done.attempts.len() == 1,
        "it is the first attempt's result: {:?}",
        done.attempts
    );
    ensure!(!scene.available(&owner).await?.is_zero());
    worker.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_settle_fifty_jobs_each_exactly_once() -> Result<()> {
    const JOBS: usize = 100;
    let folder = tempfile::tempdir()?;
    let (scene, source) = market_of_echoes(63, Duration::ZERO).await?;
    let (first, first_owner) = worker(&scene, &source, "first", folder.path()).await?;
    let (second, second_owner) = worker(&scene, &source, "second", folder.path()).await?;
    let before = scene.available(&scene.alice).await?;
    let mut jobs = vec![];
    for number in 0..JOBS {
        jobs.push(scene.ask(&format!("job {number}")).await?.job_id);
    }
    let escrow = scene.escrow(&scene.alice);
    until(Duration::from_secs(120), "all jobs to settle", async || {
        scene.check().await?;
        let open = escrow.account(scene.alice.principal()).await?.open_jobs;
        Ok((open == 0).then_some(()))
    })
    .await?;
    let mut charged = 0;
    for (number, id) in jobs.iter().enumerate() {
        let job = scene.expect_state(*id, JobState::Settled).await?;
        ensure!(
            job.attempts.len() == 1,
            "job {id} was claimed {} times",
            job.attempts.len()
        );
        charged += job.charged.context("a charge")?.0;
        let text = job
            .private
            .and_then(|private| private.output)
            .context("output")?
            .text;
        ensure!(text == format!("job {number}"), "{text}");
    }
    let earned = scene.available(&first_owner).await?.0 + scene.available(&second_owner).await?.0;
    let treasury = escrow.totals().await?.treasury.0;
    ensure!(before.0 - scene.available(&scene.alice).await?.0 == charged);
    ensure!(
        earned + treasury == charged,
        "{earned} + {treasury} != {charged}"
    );
    ensure!(escrow.info().await?.receipts == JOBS as u64);
    let page = escrow
        .list_jobs(JobFilter {
            limit: Some(200),
            ..JobFilter::default()
        })
        .await?;
    ensure!(page.jobs.len() == JOBS && !page.more);
    first.stop().await?;
    second.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_worker_finishes_what_it_has_and_takes_no_more() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (scene, source) = market_of_echoes(64, Duration::from_millis(100)).await?;
    let (mut worker, _) = worker(&scene, &source, "owner", folder.path()).await?;
    let mut question = scene.question("some words that take a while to say");
    question.parameters.max_tokens = 100;
    let job = scene.escrow(&scene.alice).submit_job(question).await?;
    until(Duration::from_secs(30), "the worker to begin", async || {
        Ok((scene.job(job.job_id).await?.state == Some(JobState::Leased)).then_some(()))
    })
    .await?;
    worker.drain().await?;
    scene.expect_state(job.job_id, JobState::Settled).await?;
    let next = scene.ask("too late").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.expect_state(next.job_id, JobState::Open).await?;
    scene.check().await
}
