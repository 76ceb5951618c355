//! Mining from a probe round to the pool's payment: rounds that open by themselves, power that validators looked at,
//! the day's report, and what it earns; buying from oneself earns nothing.

use anyhow::{Context, Result, ensure};
use emc_devnet::market::{MINIMUM_STAKE, until};
use emc_devnet::votes::{Ballots, Opinion, paper_answer, runs_the_paper_model};
use emc_devnet::worker::{ModelSource, Worker};
use emc_devnet::{Control, DevNetwork, HandNode, Market};
use emc_protocol::audit::AuditSettings;
use emc_protocol::escrow::Settings;
use emc_protocol::job::MiningRole;
use emc_protocol::mining::{self, MiningSettings};
use emc_protocol::{JobState, Lease, Role, Seconds, error::code};
use emc_tests::Scene;
use emc_tests::auditing::{paper_terms, with_validators};
use std::time::Duration;

/// A market with twelve rounds a day, in which half of the probes have twins with wrong answers.
async fn market(seed: u64, sample_rate: u16) -> Result<Market> {
    let settings = Settings {
        audit: Some(AuditSettings {
            sample_rate,
            ..AuditSettings::default()
        }),
        mining: Some(MiningSettings {
            rounds_per_day: 12,
            window: Seconds(600),
            probe_tokens: 32,
            canary_share: 5_000,
            ..MiningSettings::default()
        }),
        ..Settings::default()
    };
    Market::on(DevNetwork::from_environment(seed).await?, seed, settings).await
}

/// Lets time pass until a node gets a job of a round.
async fn first_probe(scene: &Scene, control: &Control, node: &HandNode) -> Result<Lease> {
    until(Duration::from_secs(60), "a round", async || {
        node.heartbeat(&scene.market).await?;
        let lease = node.claim(1).await?.pop();
        if lease.is_none() {
            control.pass(Duration::from_secs(60)).await?;
        }
        Ok(lease)
    })
    .await
}

async fn answer(node: &HandNode, lease: &Lease) -> Result<()> {
    let input = lease.input.as_ref().context("a kind that we know")?;
    let ids = paper_answer(input, lease.seed, 20);
    let answer = node.delivery(lease, &ids, "Once upon a time there was a lantern.");
    let reply = node.deliver(answer).await?;
    ensure!(reply.state == Some(JobState::Delivered) && reply.paid.is_zero());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn power_shown_in_a_round_is_paid_by_the_pool_and_trade_is_not() -> Result<()> {
    let (scene, worker, validators) =
        with_validators(market(231, 5_000).await?, 8, 1_000_000).await?;
    let control = emc_tests::control!(scene.market);
    let registry = scene.market.anonymous().registry(scene.market.ids.registry);
    // Somebody buys from himself all day long.
    let trader = scene.market.hand_node("trader", &scene.model).await?;

    // 1. A round opens by itself; every miner gets jobs at no charge that only he can see.
    let probe = first_probe(&scene, &control, &worker).await?;
    let round_day = mining::epoch(control.time().await?);
    ensure!(probe.max_charge.is_zero());
    let id = probe.job_id;
    let alice = scene.escrow(&scene.alice);
    scene
        .refused(code::NOT_FOUND, alice.get_job(id, None))
        .await?;
    ensure!(worker.escrow.get_job(id, None).await?.mining == Some(MiningRole::Probe));
    answer(&worker, &probe).await?;
    let mut delivered = 1u128;
    // 2. As many more as it can do before the round is over; the trader sells to himself instead.
    for _ in 0..9 {
        let leases = worker.claim(1).await?;
        for lease in &leases {
            answer(&worker, lease).await?;
            delivered += 1;
        }
        scene.check().await?;
    }
    for _ in 0..3 {
        scene.ask("I buy from myself.").await?;
    }
    let bought = trader.claim(8).await?;
    for lease in &bought {
        // What comes first is the pool's, which he leaves alone.
        if !lease.max_charge.is_zero() {
            let args = trader.delivery(lease, &[1, 2, 3], "Thanks.");
            trader.deliver(args).await?;
        }
    }

    // 3. Validators look at what was drawn; one of them always says yes.
    let mut ballots: Vec<Ballots> = validators.iter().map(|_| Ballots::default()).collect();
    until(
        Duration::from_secs(120),
        "all of it to be final",
        async || {
            for (number, (validator, ballots)) in validators.iter().zip(&mut ballots).enumerate() {
                validator.heartbeat(&scene.market).await?;
                match number {
                    0 => validator.cast(ballots, Opinion::Unread).await?,
                    _ => validator.cast_as(ballots, runs_the_paper_model).await?,
                };
            }
            control.pass(Duration::from_secs(20)).await?;
            let info = alice.info().await?;
            let open = info.leased + info.delivered.unwrap_or(1) + info.auditing.unwrap_or(1);
            Ok((open == 0).then_some(()))
        },
    )
    .await?;
    scene.check().await?;
    let unread = registry.node(validators[0].node.principal()).await?;
    let canaries = canaries(&scene, id).await?;
    ensure!(
        canaries > 0,
        "with a chance of a half, ten probes have a twin"
    );
    ensure!(
        unread.outcomes.as_ref().is_some_and(|o| o.votes_lost > 0),
        "{unread:?}"
    );

    // 4. The day ends, the escrow reports it, the registry divides it.
    let tomorrow = mining::begins(round_day + 1);
    let rest = tomorrow.0.saturating_sub(control.time().await?.0);
    control.advance(Duration::from_nanos(rest)).await?;
    let summary = until(
        Duration::from_secs(60),
        "the day to be divided",
        async || {
            control.pass(Duration::from_secs(60)).await?;
            let history = registry.mining_history(round_day, 1).await?;
            Ok(history.into_iter().find(|day| day.epoch == round_day))
        },
    )
    .await?;
    // Half of the probes are drawn, with the same chance each, so that each of those stands for two.
    let upheld = upheld_probes(&scene, id).await?;
    ensure!((1..=delivered).contains(&upheld), "{upheld} of {delivered}");
    let power = upheld * 2 * 20 * 1_000_000;
    ensure!(
        summary.power == power && summary.miners == 1,
        "{summary:?} is not {power}"
    );
    let earned = registry.mining_earnings(worker.owner.principal()).await?;
    ensure!(
        earned == summary.to_miners && !earned.is_zero(),
        "{summary:?}"
    );
    let trade = registry.mining_earnings(trader.owner.principal()).await?;
    ensure!(trade.is_zero(), "buying from oneself earns nothing");
    let honest: u128 = {
        let mut sum = 0;
        for validator in &validators[1..] {
            sum += registry
                .mining_earnings(validator.owner.principal())
                .await?
                .0;
        }
        sum
    };
    ensure!(
        honest > 0 && honest <= summary.to_validators.0,
        "{summary:?}"
    );
    scene.check().await?;
    let owner = scene
        .market
        .client(&worker.owner)
        .registry(scene.market.ids.registry);
    owner.withdraw_mining(None).await?;
    ensure!(scene.in_ledger(&worker.owner).await? >= earned);
    scene.check().await
}

/// How many of the probes from a number on an audit has upheld.
async fn upheld_probes(scene: &Scene, from: u64) -> Result<u128> {
    let escrow = scene.escrow(&scene.alice);
    let last = escrow.info().await?.jobs;
    let mut found = 0;
    for id in from..=last {
        let Ok(job) = escrow.get_job(id, None).await else {
            continue;
        };
        if job.mining == Some(MiningRole::Probe) && job.state == Some(JobState::Settled) {
            found += u128::from(escrow.audit(id).await?.drawn);
        }
    }
    Ok(found)
}

/// How many twins there were among the jobs from a number on.
async fn canaries(scene: &Scene, from: u64) -> Result<usize> {
    let escrow = scene.escrow(&scene.alice);
    let last = escrow.info().await?.jobs;
    let mut found = 0;
    for id in from..=last {
        let job = escrow.get_job(id, None).await;
        found += usize::from(job.is_ok_and(|job| job.mining == Some(MiningRole::Canary)));
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_mines_without_being_told_to() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = ModelSource::echo(Duration::ZERO)?;
    let mut model = source.publication();
    model.terms = Some(paper_terms(1_000_000));
    // Hardly anything is drawn: no validator here runs this model.
    let scene = Scene::with_model(market(232, 1).await?, model).await?;
    let control = emc_tests::control!(scene.market);
    scene.market.list(&scene.model).await?;
    scene.market.hand_validators(8, &scene.model).await?;
    let owner = scene.market.person_with("owner", MINIMUM_STAKE).await?;
    let (market, folder) = (&scene.market, folder.path());
    let roles = [Role::Compute];
    let mut worker = Worker::start_as(market, folder, &owner, &source, &scene.model, &roles)?;
    worker.until_registered(market).await?;
    market.stake(&owner, worker.node(), MINIMUM_STAKE).await?;
    market.feed_arrived().await?;

    let escrow = scene.escrow(&scene.alice);
    let probe = until(
        Duration::from_secs(120),
        "a probe to be answered",
        async || {
            control.pass(Duration::from_secs(20)).await?;
            for id in 1..=escrow.info().await?.jobs {
                // Before it is final nobody but the node sees it; a twin is drawn and waits for validators.
                if let Ok(job) = escrow.get_job(id, None).await
                    && job.mining == Some(MiningRole::Probe)
                    && job.state == Some(JobState::Settled)
                {
                    return Ok(Some(job));
                }
            }
            Ok(None)
        },
    )
    .await?;
    ensure!(
        probe.usage.is_some_and(|usage| usage.output_tokens > 0),
        "{probe:?}"
    );
    ensure!(probe.charged.is_some_and(|charged| charged.is_zero()) && probe.postings.is_empty());
    worker.stop().await?;
    scene.check().await
}
