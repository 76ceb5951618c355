//! Deliveries that must not be taken: each has its own error, and nothing moves.

use anyhow::{Result, ensure};
use emc_protocol::{FinishReason, JobState, TextOutput, Usage, error::code};
use emc_tests::Scene;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_delivery_has_its_own_error_and_moves_nothing() -> Result<()> {
    let scene = Scene::set(11).await?;
    let node = scene.market.hand_node("node", &scene.model).await?;
    let other = scene.market.hand_node("other", &scene.model).await?;
    let job = scene.ask("Only the right answer.").await?;
    let lease = node.claim_one().await?;
    let good = node.delivery(&lease, &[1, 2, 3], "Right.");

    let mut wrong = good.clone();
    wrong.signature[10] ^= 1;
    scene
        .refused(code::BAD_SIGNATURE, node.deliver(wrong))
        .await?;

    let mut wrong = good.clone();
    wrong.signature = other.signature(&lease, &wrong);
    scene
        .refused(code::BAD_SIGNATURE, node.deliver(wrong))
        .await?;

    let mut wrong = good.clone();
    wrong.output_hash[0] ^= 1;
    wrong.signature = node.signature(&lease, &wrong);
    scene
        .refused(code::BAD_OUTPUT_HASH, node.deliver(wrong))
        .await?;

    let output = TextOutput {
        ids: vec![1, 2, 3],
        finish_reason: FinishReason::Stop,
        text: "Right.".into(),
    };
    let inflated = Usage {
        prompt_tokens: 5,
        output_tokens: 4,
        pixel_steps: 0,
    };
    scene
        .refused(
            code::BAD_USAGE,
            node.deliver(node.sign(&lease, output.clone(), inflated)),
        )
        .await?;
    let inflated = Usage {
        prompt_tokens: lease.max_prompt_tokens + 1,
        output_tokens: 3,
        pixel_steps: 0,
    };
    scene
        .refused(
            code::BAD_USAGE,
            node.deliver(node.sign(&lease, output, inflated)),
        )
        .await?;

    let long = TextOutput {
        ids: vec![1; 17],
        finish_reason: FinishReason::Length,
        text: "x".into(),
    };
    let usage = Usage {
        prompt_tokens: 5,
        output_tokens: 17,
        pixel_steps: 0,
    };
    let result = node.deliver(node.sign(&lease, long, usage)).await;
    ensure!(result.is_err(), "more tokens than were asked for");

    let mut wrong = good.clone();
    wrong.charge.0 += 1;
    wrong.signature = node.signature(&lease, &wrong);
    scene.refused(code::INVALID, node.deliver(wrong)).await?;

    // Another node, with its own correct signature.
    let theirs = other.delivery(&lease, &[1, 2, 3], "Right.");
    scene
        .refused(code::NOT_YOUR_LEASE, other.deliver(theirs))
        .await?;

    scene.expect_state(job.job_id, JobState::Leased).await?;
    node.deliver(good.clone()).await?;
    scene.check().await?;
    scene
        .refused(code::ALREADY_DELIVERED, node.deliver(good))
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_after_another_node_has_the_job_is_refused() -> Result<()> {
    let scene = Scene::set(12).await?;
    let control = emc_tests::control!(scene.market);
    let slow = scene.market.hand_node("slow", &scene.model).await?;
    let quick = scene.market.hand_node("quick", &scene.model).await?;
    let job = scene.ask("Take your time.").await?;
    let first = slow.claim_one().await?;
    control.advance(std::time::Duration::from_secs(90)).await?;
    let second = quick.claim_one().await?;
    ensure!(second.job_id == job.job_id && second.attempt == 2);
    scene.check().await?;

    let late = slow.delivery(&first, &[1], "Late.");
    scene
        .refused(code::LEASE_LOST, slow.deliver(late.clone()))
        .await?;
    quick
        .deliver(quick.delivery(&second, &[2], "Quick."))
        .await?;
    scene.check().await?;
    ensure!(slow.deliver(late).await.is_err());
    ensure!(
        scene.available(&slow.owner).await?.is_zero(),
        "only the second is paid"
    );
    ensure!(!scene.available(&quick.owner).await?.is_zero());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_delivery_is_taken_while_nobody_else_holds_the_job() -> Result<()> {
    let scene = Scene::set(13).await?;
    let control = emc_tests::control!(scene.market);
    let slow = scene.market.hand_node("slow", &scene.model).await?;
    let job = scene.ask("Take your time.").await?;
    let lease = slow.claim_one().await?;
    control.advance(std::time::Duration::from_secs(90)).await?;
    scene.expect_state(job.job_id, JobState::Open).await?;
    slow.deliver(slow.delivery(&lease, &[1], "Late, but here."))
        .await?;
    scene.expect_state(job.job_id, JobState::Settled).await?;
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_output_is_uploaded_in_chunks() -> Result<()> {
    let scene = Scene::set(14).await?;
    let node = scene.market.hand_node("node", &scene.model).await?;
    let mut question = scene.question("Tell me everything.");
    question.parameters.max_tokens = 30_000;
    question.max_price = emc_protocol::Tokens::emc(1);
    question.deadline = Some(emc_protocol::Seconds(3600));
    // The offer's context is 8192: this node cannot take so long an answer.
    let job = scene
        .escrow(&scene.alice)
        .submit_job(question.clone())
        .await?;
    ensure!(
        node.claim(1).await?.is_empty(),
        "the job does not fit the node's context"
    );
    scene.escrow(&scene.alice).cancel_job(job.job_id).await?;

    question.parameters.max_tokens = 8_000;
    question.request_key = None;
    let job = scene.escrow(&scene.alice).submit_job(question).await?;
    let lease = node.claim_one().await?;
    let text = "many words ".repeat(30_000);
    let output = TextOutput {
        ids: (0..8_000).collect(),
        finish_reason: FinishReason::Length,
        text: text.clone(),
    };
    let usage = Usage {
        prompt_tokens: 5,
        output_tokens: 8_000,
        pixel_steps: 0,
    };
    let bytes = emc_protocol::canonical::output_bytes(&output);
    let mut delivery = node.sign(&lease, output, usage);
    delivery.output = None;
    scene
        .refused(code::INVALID, node.deliver(delivery.clone()))
        .await?;
    for (index, chunk) in bytes.chunks(100_000).enumerate() {
        let chunk = emc_protocol::work::ChunkArgs {
            job_id: job.job_id,
            attempt: lease.attempt,
            offset: index as u64 * 100_000,
            bytes: chunk.to_vec(),
        };
        node.escrow.upload_chunk(chunk.clone()).await?;
        node.escrow.upload_chunk(chunk).await?;
    }
    node.escrow
        .upload_chunk(emc_protocol::work::ChunkArgs {
            job_id: job.job_id,
            attempt: lease.attempt,
            offset: 100_000_000,
            bytes: vec![1],
        })
        .await
        .expect_err("a gap");
    // The finish reason is in the uploaded bytes; the signature was made over it.
    delivery.signature = {
        let mut full = delivery.clone();
        full.output = emc_protocol::canonical::read_output(&bytes);
        node.signature(&lease, &full)
    };
    node.deliver(delivery).await?;
    let settled = scene.expect_state(job.job_id, JobState::Settled).await?;
    ensure!(
        settled
            .private
            .and_then(|private| private.output)
            .is_some_and(|output| output.text == text)
    );
    scene.check().await
}
