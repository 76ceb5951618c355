//! Results that are checked: drawn after the delivery, voted on by commit and reveal, paid, refunded, burned.

use anyhow::{Context, Result, ensure};
use emc_devnet::control::{Fault, FaultKind};
use emc_devnet::market::{MINIMUM_STAKE, until};
use emc_devnet::votes::Opinion;
use emc_devnet::{HandNode, Market};
use emc_protocol::audit::Verdict;
use emc_protocol::{JobState, NodeStatus, Tokens, error::code};
use emc_tests::Scene;
use emc_tests::auditing::{always, delivered, vote, with_validators};
use std::time::Duration;

/// Eight validators of eight owners, and a worker.
async fn scene(seed: u64) -> Result<(Scene, HandNode, Vec<HandNode>)> {
    with_validators(Market::start(seed).await?, 8, 0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_answer_is_upheld_and_everybody_is_paid() -> Result<()> {
    let (scene, worker, validators) = scene(61).await?;
    let before = scene.available(&scene.alice).await?;
    let job = delivered(&scene, &worker).await?;
    vote(&scene, &validators, job, |_| Opinion::Within).await?;
    let settled = scene.expect_state(job, JobState::Settled).await?;
    let audit = scene.escrow(&scene.alice).audit(job).await?;
    ensure!(audit.verdict == Some(Verdict::Upheld) && audit.drawn);
    let paid = |reason: &str| -> i128 {
        let lines = settled
            .postings
            .iter()
            .filter(|line| line.reason == reason && line.amount > 0);
        lines.map(|line| line.amount).sum()
    };
    let votes: usize = audit.rounds.iter().map(|round| round.seats.len()).sum();
    ensure!(
        paid("vote") == votes as i128 * audit.fee.0 as i128,
        "every vote is paid"
    );
    ensure!(paid("price") > 0 && paid("royalty") > 0 && paid("treasury share") > 0);
    ensure!(
        settled
            .postings
            .iter()
            .map(|line| line.amount)
            .sum::<i128>()
            == 0
    );
    let spent = before.0 - scene.available(&scene.alice).await?.0;
    let charged = settled.charged.context("it is final")?.0;
    ensure!(
        spent == charged + votes as u128 * audit.fee.0,
        "the rest came back"
    );
    ensure!(!scene.available(&validators[0].owner).await?.is_zero() || votes < 8);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cheat_is_overturned_refunded_burned_and_jailed() -> Result<()> {
    let (scene, worker, validators) = scene(62).await?;
    let before = scene.available(&scene.alice).await?;
    let job = delivered(&scene, &worker).await?;
    // One validator says yes unread: it is found out by its numbers.
    vote(&scene, &validators, job, |number| match number {
        0 => Opinion::Unread,
        _ => Opinion::Outside,
    })
    .await?;
    let refunded = scene.expect_state(job, JobState::Refunded).await?;
    ensure!(refunded.refund_reason == Some(emc_protocol::job::RefundReason::Overturned));
    let audit = scene.escrow(&scene.alice).audit(job).await?;
    ensure!(audit.verdict == Some(Verdict::Overturned) && audit.rounds.len() == 2);
    let seats = || audit.rounds.iter().flat_map(|round| &round.seats);
    let unread = validators[0].node.principal();
    ensure!(seats().all(|seat| (seat.node == unread) == (seat.accepted == Some(false))));
    ensure!(seats().all(|seat| seat.lost.is_zero() == (seat.node != unread)));
    let accepted = seats().filter(|seat| seat.accepted == Some(true)).count() as u128;
    let spent = before.0 - scene.available(&scene.alice).await?.0;
    ensure!(
        spent == accepted * audit.fee.0,
        "only the accepted votes are paid"
    );
    ensure!(
        scene.available(&worker.owner).await?.is_zero(),
        "a cheat earns nothing"
    );

    // The registry is told: the bond is gone from the stake, and from the supply; the node is jailed.
    let registry = scene
        .market
        .client(&scene.market.governor)
        .registry(scene.market.ids.registry);
    let node = until(
        Duration::from_secs(60),
        "the bond to be burned",
        async || {
            let node = registry.node(worker.node.principal()).await?;
            Ok((node.status == Some(NodeStatus::Jailed)).then_some(node))
        },
    )
    .await?;
    let stake: u128 = node
        .allotments
        .iter()
        .map(|allotment| allotment.amount.0)
        .sum();
    ensure!(
        stake == MINIMUM_STAKE.0 - audit.bond.0,
        "exactly the bond is burned"
    );
    scene.check().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draw_whose_callback_or_timer_traps_is_made_again() -> Result<()> {
    const TIMER: &str = "<ic-cdk internal> timer_executor";
    let faults = [
        (65, FaultKind::TrapCallback, "raw_rand", 1),
        // All timers of the next seconds, that of the draw among them.
        (66, FaultKind::TrapCallee, TIMER, 3),
    ];
    for (seed, kind, method, count) in faults {
        let (scene, worker, _) = scene(seed).await?;
        let control = emc_tests::control!(scene.market);
        let fault = Fault {
            count,
            ..Fault::next(kind, scene.market.ids.escrow, method)
        };
        let reply = scene
            .escrow(&scene.alice)
            .submit_job(always(&scene))
            .await?;
        let lease = worker.claim_one().await?;
        let fault = control.fault(&fault).await?;
        let ids: Vec<u32> = (0..16).collect();
        worker
            .deliver(worker.delivery(&lease, &ids, "Perhaps."))
            .await?;
        until(Duration::from_secs(60), "the draw", async || {
            control.advance(Duration::from_secs(20)).await?;
            Ok((scene.job(reply.job_id).await?.state != Some(JobState::Delivered)).then_some(()))
        })
        .await?;
        ensure!(
            control.fired(fault).await? == count,
            "the fault never applied"
        );
        scene.check().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_validators_lose_and_the_job_ends_undecided() -> Result<()> {
    let (scene, worker, validators) = scene(63).await?;
    let control = emc_tests::control!(scene.market);
    let before = scene.available(&scene.alice).await?;
    let job = delivered(&scene, &worker).await?;
    for _ in 0..2 {
        until(Duration::from_secs(30), "a round", async || {
            let audit = scene.escrow(&scene.alice).audit(job).await?;
            let running = audit
                .rounds
                .last()
                .is_some_and(|round| round.seats.iter().any(|seat| seat.accepted.is_none()));
            Ok((running && scene.job(job).await?.lease_until.is_some()).then_some(()))
        })
        .await?;
        control.advance(Duration::from_secs(200)).await?;
        scene.check().await?;
    }
    until(Duration::from_secs(30), "the end", async || {
        Ok((scene.job(job).await?.state == Some(JobState::Undecided)).then_some(()))
    })
    .await?;
    let ended = scene.job(job).await?;
    let spent = before.0 - scene.available(&scene.alice).await?.0;
    ensure!(
        Some(Tokens(spent)) == ended.charged,
        "half of the price, and no auditor was paid"
    );
    let audit = scene.escrow(&scene.alice).audit(job).await?;
    ensure!(
        audit
            .rounds
            .iter()
            .flat_map(|round| &round.seats)
            .all(|seat| !seat.lost.is_zero())
    );
    ensure!(validators.len() == 8);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_that_cannot_be_held_is_refused_at_once() -> Result<()> {
    let scene = Scene::set(64).await?;
    let worker = scene.market.hand_node("worker", &scene.model).await?;
    scene
        .refused(
            code::NOT_AUDITABLE,
            scene.escrow(&scene.alice).submit_job(always(&scene)),
        )
        .await?;
    ensure!(worker.escrow.audits().await?.is_empty());
    scene
        .refused(code::NOT_FOUND, worker.escrow.audit_task(1))
        .await?;
    let job = scene.ask("A job that is not checked.").await?;
    scene
        .refused(code::NOT_YOUR_AUDIT, worker.escrow.audit_task(job.job_id))
        .await
}
