//! Outages, and an escrow that runs out of cycles: what was begun goes on, and nobody loses by it.

use anyhow::{Result, ensure};
use emc_devnet::HandNode;
use emc_protocol::error::code;
use emc_protocol::escrow::Settings;
use emc_protocol::{JobState, SubmitJob};
use emc_tests::Scene;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_without_the_network_costs_nobody_a_lease() -> Result<()> {
    let scene = Scene::set(61).await?;
    let control = emc_tests::control!(scene.market);
    let node = scene.market.hand_node("node", &scene.model).await?;
    let job = scene.ask("Will you still be there?").await?;
    let lease = node.claim_one().await?;
    let before = scene.job(job.job_id).await?;
    control.advance(Duration::from_secs(3_600)).await?;
    let after = scene.expect_state(job.job_id, JobState::Leased).await?;
    ensure!(
        after.deadline.since(before.deadline).0 >= 3_600,
        "the deadline has moved with the lease"
    );
    ensure!(after.lease_until > before.lease_until);
    node.deliver(node.delivery(&lease, &[1, 2], "Still here."))
        .await?;
    scene.expect_state(job.job_id, JobState::Settled).await?;
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_nobody_keeps_ends_all_the_same_after_an_outage() -> Result<()> {
    let scene = Scene::set(62).await?;
    let control = emc_tests::control!(scene.market);
    let node = scene.market.hand_node("node", &scene.model).await?;
    let job = scene.ask("Will you answer?").await?;
    node.claim_one().await?;
    control.advance(Duration::from_secs(3_600)).await?;
    scene.check().await?;
    control.pass(Duration::from_secs(700)).await?;
    scene.expect_state(job.job_id, JobState::Refunded).await?;
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_few_cycles_no_job_begins_and_what_was_begun_ends() -> Result<()> {
    let scene = Scene::set(63).await?;
    let node = scene.market.hand_node("node", &scene.model).await?;
    let alice = scene.escrow(&scene.alice);
    let begun = SubmitJob {
        request_key: Some(HandNode::bytes(1)),
        ..scene.question("Quick, before it is too late!")
    };
    let job = alice.submit_job(begun.clone()).await?;
    let lease = node.claim_one().await?;
    let much = Settings {
        cycles_reserve: Some(u64::MAX),
        ..Settings::default()
    };
    let governor = scene.escrow(&scene.market.governor);
    governor.set_parameters(Some(much), None).await?;
    let repeated = alice.submit_job(begun).await?;
    ensure!(
        repeated.repeated && repeated.job_id == job.job_id,
        "a repetition begins nothing"
    );
    let late = scene.question("And now?");
    scene
        .refused(code::LOW_CYCLES, alice.submit_job(late))
        .await?;
    node.deliver(node.delivery(&lease, &[1, 2], "In time."))
        .await?;
    scene.expect_state(job.job_id, JobState::Settled).await?;
    scene.check().await?;
    let left = scene.available(&scene.alice).await?;
    let withdraw = emc_protocol::WithdrawArgs {
        amount: left,
        to: None,
    };
    ensure!(alice.withdraw(withdraw).await?.paid == left);
    scene.check().await
}
