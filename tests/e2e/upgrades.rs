//! Upgrades of all canisters while jobs are in every state.

use anyhow::{Context, Result, ensure};
use emc_protocol::JobState;
use emc_tests::Scene;

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_of_all_canisters_loses_nothing() -> Result<()> {
    let scene = Scene::set(51).await?;
    let node = scene.market.hand_node("node", &scene.model).await?;
    let settled = scene.ask("Settled before.").await?;
    let lease = node.claim_one().await?;
    node.deliver(node.delivery(&lease, &[1], "Done.")).await?;
    let leased = scene.ask("Leased meanwhile.").await?;
    let lease = node.claim_one().await?;
    let open = scene.ask("Open meanwhile.").await?;
    let totals = scene.escrow(&scene.alice).totals().await?;
    let nodes = scene
        .alice()
        .registry(scene.market.ids.registry)
        .all_nodes(Default::default())
        .await?;
    let blocks = scene
        .alice()
        .ledger(scene.market.ids.ledger)
        .icrc3_get_blocks(0, 1)
        .await?
        .log_length;

    scene.market.upgrade_all().await?;

    scene.check().await?;
    ensure!(scene.escrow(&scene.alice).totals().await? == totals);
    ensure!(
        scene
            .alice()
            .registry(scene.market.ids.registry)
            .all_nodes(Default::default())
            .await?
            == nodes
    );
    ensure!(
        scene
            .alice()
            .ledger(scene.market.ids.ledger)
            .icrc3_get_blocks(0, 1)
            .await?
            .log_length
            == blocks
    );
    let done = scene
        .expect_state(settled.job_id, JobState::Settled)
        .await?;
    ensure!(
        done.private
            .and_then(|private| private.output)
            .context("kept")?
            .text
            == "Done."
    );
    let record = scene.escrow(&scene.alice).receipt(settled.job_id).await?;
    record
        .receipt
        .verify(&record.public_key, &record.signature)?;

    // Everything goes on: the lease is delivered, the open job claimed, new ones asked.
    scene.expect_state(leased.job_id, JobState::Leased).await?;
    node.deliver(node.delivery(&lease, &[1], "After.")).await?;
    let next = node.claim_one().await?;
    ensure!(next.job_id == open.job_id);
    node.deliver(node.delivery(&next, &[2], "After, too."))
        .await?;
    scene.check().await?;
    let new = scene.ask("New.").await?;
    ensure!(new.job_id == open.job_id + 1);
    let lease = node.claim_one().await?;
    node.deliver(node.delivery(&lease, &[3], "New, too."))
        .await?;
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn timers_run_again_after_an_upgrade() -> Result<()> {
    let scene = Scene::set(52).await?;
    let control = emc_tests::control!(scene.market);
    let job = scene.ask("Give me up in time.").await?;
    scene.market.upgrade_all().await?;
    control.pass(std::time::Duration::from_secs(700)).await?;
    emc_devnet::market::until(
        std::time::Duration::from_secs(10),
        "the refund",
        async || Ok((scene.job(job.job_id).await?.state == Some(JobState::Refunded)).then_some(())),
    )
    .await?;
    scene.check().await
}
