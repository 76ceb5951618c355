//! Jobs that end without a result: cancelled, lapsed, given up.

use anyhow::{Context, Result, ensure};
use emc_protocol::job::RefundReason;
use emc_protocol::work::ExtendArgs;
use emc_protocol::{JobState, Tokens, error::code};
use emc_tests::{MAX_PRICE, Scene};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_an_open_job_is_free() -> Result<()> {
    let scene = Scene::set(21).await?;
    let before = scene.available(&scene.alice).await?;
    let job = scene.ask("Never mind.").await?;
    let bob = scene.market.person("bob");
    let result = scene.escrow(&bob).cancel_job(job.job_id).await;
    ensure!(result.is_err(), "only the requester cancels");
    scene.escrow(&scene.alice).cancel_job(job.job_id).await?;
    let ended = scene.expect_state(job.job_id, JobState::Refunded).await?;
    ensure!(
        ended.refund_reason == Some(RefundReason::Cancelled) && ended.charged == Some(Tokens::ZERO)
    );
    ensure!(scene.available(&scene.alice).await? == before);
    scene
        .refused(
            code::WRONG_STATE,
            scene.escrow(&scene.alice).cancel_job(job.job_id),
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_leased_job_pays_for_the_progress() -> Result<()> {
    let scene = Scene::set(22).await?;
    let control = emc_tests::control!(scene.market);
    let node = scene.market.hand_node("node", &scene.model).await?;
    let before = scene.available(&scene.alice).await?;
    let job = scene.ask("Start, then stop.").await?;
    let lease = node.claim_one().await?;
    control.advance(Duration::from_secs(5)).await?;
    let part = ExtendArgs {
        job_id: job.job_id,
        attempt: 1,
        prompt_tokens: 10,
        from: 0,
        ids: vec![1, 2, 3],
        text: "One two three".into(),
        image: None,
    };
    node.escrow.extend(part).await?;
    scene.escrow(&scene.alice).cancel_job(job.job_id).await?;
    let ended = scene.expect_state(job.job_id, JobState::Refunded).await?;
    scene.check().await?;
    // 10 prompt tokens at 1 EMC a million, 3 output tokens at 2 EMC a million.
    ensure!(
        ended.charged == Some(Tokens::e8s(1_600)),
        "{:?}",
        ended.charged
    );
    ensure!(scene.available(&scene.alice).await?.0 == before.0 - 1_600);
    ensure!(scene.available(&node.owner).await? == Tokens::e8s(1_600 - 32));
    let late = node.delivery(&lease, &[1, 2, 3], "One two three");
    scene.refused(code::WRONG_STATE, node.deliver(late)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lapsed_lease_reopens_the_job_and_costs_its_owner_a_fee() -> Result<()> {
    let scene = Scene::set(23).await?;
    let control = emc_tests::control!(scene.market);
    let node = scene.market.hand_node("node", &scene.model).await?;
    // The owner earns something first: the fee is taken from that.
    let mut dear = scene.question("Pay me first.");
    dear.parameters.max_tokens = 1000;
    dear.max_price = Tokens::emc(1);
    let paid = scene.escrow(&scene.alice).submit_job(dear).await?;
    let lease = node.claim_one().await?;
    ensure!(lease.job_id == paid.job_id);
    let ids: Vec<u32> = (0..1000).collect();
    node.deliver(node.delivery(&lease, &ids, "A long answer."))
        .await?;
    let earned = scene.available(&node.owner).await?;
    ensure!(earned > Tokens::e8s(100_000), "{earned}");

    let before = scene.available(&scene.alice).await?;
    let job = scene.ask("Will you?").await?;
    node.claim_one().await?;
    control.advance(Duration::from_secs(90)).await?;
    let reopened = scene.expect_state(job.job_id, JobState::Open).await?;
    ensure!(reopened.attempts.len() == 1);
    ensure!(scene.available(&node.owner).await?.0 == earned.0 - 100_000);
    ensure!(scene.available(&scene.alice).await?.0 == before.0 - MAX_PRICE.0 + 100_000);
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_three_owners_failed_is_refunded() -> Result<()> {
    let scene = Scene::set(24).await?;
    let control = emc_tests::control!(scene.market);
    let before = scene.available(&scene.alice).await?;
    let mut question = scene.question("Anyone?");
    question.deadline = Some(emc_protocol::Seconds(3600));
    let job = scene.escrow(&scene.alice).submit_job(question).await?;
    for name in ["first", "second", "third"] {
        let node = scene.market.hand_node(name, &scene.model).await?;
        // An owner may try twice; both times count as one attempt of his.
        for _ in 0..2 {
            let lease = node.claim_one().await?;
            ensure!(lease.job_id == job.job_id);
            control.advance(Duration::from_secs(90)).await?;
            scene.check().await?;
        }
        ensure!(node.claim(1).await?.is_empty(), "{name} has had two leases");
    }
    let ended = emc_devnet::market::until(Duration::from_secs(10), "the refund", async || {
        let job = scene.job(job.job_id).await?;
        Ok((job.state == Some(JobState::Refunded)).then_some(job))
    })
    .await?;
    ensure!(
        ended.refund_reason == Some(RefundReason::Attempts),
        "{:?}",
        ended.refund_reason
    );
    ensure!(scene.available(&scene.alice).await? == before);
    ended.finished.context("final")?;
    scene.check().await
}
