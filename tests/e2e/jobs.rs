//! The ordinary life of a job: asked, claimed, shown in part, delivered, paid.

use anyhow::{Context, Result, ensure};
use emc_protocol::job::{AttemptEnd, IfUnserved, Visibility};
use emc_protocol::work::ExtendArgs;
use emc_protocol::{JobState, Tokens, canonical, error::code};
use emc_tests::{MAX_PRICE, Scene};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_paid_for_and_the_rest_goes_back() -> Result<()> {
    let scene = Scene::set(1).await?;
    let node = scene.market.hand_node("node", &scene.model).await?;
    let before = scene.available(&scene.alice).await?;

    let job = scene.ask("What is two and two?").await?;
    ensure!(job.locked == MAX_PRICE);
    ensure!(scene.available(&scene.alice).await?.0 == before.0 - MAX_PRICE.0);
    scene.expect_state(job.job_id, JobState::Open).await?;
    scene.check().await?;

    let lease = node.claim_one().await?;
    ensure!(lease.job_id == job.job_id && lease.attempt == 1 && lease.seed == job.seed);
    scene.expect_state(job.job_id, JobState::Leased).await?;
    scene.check().await?;

    let delivery = node.delivery(&lease, &[4, 2], "Four.");
    let charge = delivery.charge;
    let reply = node.deliver(delivery).await?;
    let settled = scene.expect_state(job.job_id, JobState::Settled).await?;
    scene.check().await?;

    // 5 prompt tokens at 1 EMC a million and 2 output tokens at 2 EMC a million.
    ensure!(charge == Tokens::e8s(900), "charged {charge:?}");
    ensure!(settled.charged == Some(charge));
    let treasury = Tokens::e8s(charge.0 * 200 / 10_000);
    ensure!(reply.paid.0 == charge.0 - treasury.0);
    ensure!(scene.available(&node.owner).await? == reply.paid);
    ensure!(scene.available(&scene.alice).await?.0 == before.0 - charge.0);
    let sum: i128 = settled.postings.iter().map(|posting| posting.amount).sum();
    ensure!(
        sum == 0 && !settled.postings.is_empty(),
        "the job's postings sum to {sum}"
    );

    let private = settled
        .private
        .context("the requester sees the private part")?;
    ensure!(private.input.is_none(), "the input is deleted at the end");
    ensure!(private.output.context("the result is there")?.text == "Four.");

    // Anyone can check the receipt.
    let record = scene
        .market
        .anonymous()
        .escrow(scene.market.ids.escrow)
        .receipt(job.job_id)
        .await?;
    record
        .receipt
        .verify(&record.public_key, &record.signature)?;
    ensure!(record.node == node.node.principal() && record.receipt.charge == charge);
    let input = scene.question("What is two and two?").input;
    ensure!(record.receipt.input_hash == canonical::input_hash(&job.salt, &input));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_text_is_shown_as_it_comes_and_renews_the_lease() -> Result<()> {
    let scene = Scene::set(2).await?;
    let control = emc_tests::control!(scene.market);
    let node = scene.market.hand_node("node", &scene.model).await?;
    let job = scene.ask("Count.").await?;
    let lease = node.claim_one().await?;
    let part = |from: u32, ids: &[u32], text: &str| ExtendArgs {
        job_id: job.job_id,
        attempt: 1,
        prompt_tokens: 5,
        from,
        ids: ids.to_vec(),
        text: text.to_owned(),
        image: None,
    };

    control.advance(std::time::Duration::from_secs(5)).await?;
    let first = node.escrow.extend(part(0, &[1, 2], "One two")).await?;
    ensure!(first.until > lease.until, "an extension renews the lease");
    let preview = scene
        .job(job.job_id)
        .await?
        .private
        .context("private part")?
        .preview
        .context("a preview")?;
    ensure!(preview.text == "One two" && preview.tokens == 2);
    scene.check().await?;

    scene
        .refused(code::BUSY, node.escrow.extend(part(2, &[3], " three")))
        .await?;
    control.advance(std::time::Duration::from_secs(3)).await?;
    scene
        .refused(
            code::NOT_A_CONTINUATION,
            node.escrow.extend(part(1, &[3], " three")),
        )
        .await?;
    node.escrow.extend(part(2, &[3], " three")).await?;

    // The final output must begin with what was shown.
    let other = node.delivery(&lease, &[1, 9, 3, 0], "One nine three");
    scene
        .refused(code::NOT_A_CONTINUATION, node.deliver(other))
        .await?;
    node.deliver(node.delivery(&lease, &[1, 2, 3, 0], "One two three"))
        .await?;
    scene.expect_state(job.job_id, JobState::Settled).await?;
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_key_names_the_same_job() -> Result<()> {
    let scene = Scene::set(3).await?;
    let escrow = scene.escrow(&scene.alice);
    let keyed = |text: &str| {
        let mut job = scene.question(text);
        job.request_key = Some(emc_devnet::node::HandNode::bytes(9));
        job
    };
    let first = escrow.submit_job(keyed("Once.")).await?;
    let second = escrow.submit_job(keyed("Once.")).await?;
    ensure!(second.job_id == first.job_id && second.repeated && !first.repeated);
    ensure!(second.capability == first.capability && second.salt == first.salt);
    ensure!(
        escrow.account(scene.alice.principal()).await?.locked == MAX_PRICE,
        "locked once"
    );
    scene
        .refused(
            code::KEY_REUSED,
            escrow.submit_job(keyed("Something else.")),
        )
        .await?;

    // Another caller's key is another key.
    let bob = scene.market.requester("bob", Tokens::emc(1)).await?;
    let other = scene.escrow(&bob).submit_job(keyed("Once.")).await?;
    ensure!(other.job_id != first.job_id && !other.repeated);
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_serves_the_model_and_the_job_is_refused_at_once_or_refunded_on_time() -> Result<()>
{
    let scene = Scene::set(4).await?;
    let control = emc_tests::control!(scene.market);
    let escrow = scene.escrow(&scene.alice);
    let mut job = scene.question("Anybody there?");
    job.if_unserved = Some(IfUnserved::Refuse);
    scene
        .refused(code::UNSERVED, escrow.submit_job(job.clone()))
        .await?;

    let before = scene.available(&scene.alice).await?;
    job.if_unserved = Some(IfUnserved::Queue);
    job.deadline = Some(emc_protocol::Seconds(120));
    let queued = escrow.submit_job(job).await?;
    control.advance(std::time::Duration::from_secs(110)).await?;
    scene.expect_state(queued.job_id, JobState::Open).await?;
    scene.check().await?;
    control.advance(std::time::Duration::from_secs(15)).await?;
    let ended = emc_devnet::market::until(
        std::time::Duration::from_secs(10),
        "the refund",
        async || {
            let job = scene.job(queued.job_id).await?;
            Ok((job.state == Some(JobState::Refunded)).then_some(job))
        },
    )
    .await?;
    ensure!(ended.refund_reason == Some(emc_protocol::job::RefundReason::Deadline));
    ensure!(ended.charged == Some(Tokens::ZERO));
    let late = ended.finished.context("final")?.since(ended.deadline);
    ensure!(late.0 <= 10, "refunded {} s after the deadline", late.0);
    ensure!(scene.available(&scene.alice).await? == before);
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_is_capped_at_what_was_locked() -> Result<()> {
    let scene = Scene::set(5).await?;
    let node = scene.market.hand_node("node", &scene.model).await?;
    let mut job = scene.question("A prompt that has many more tokens than the estimate says.");
    // Enough for the estimate and all output tokens, not for a long prompt.
    let quote = emc_protocol::escrow::QuoteArgs {
        model: job.model.clone(),
        input: job.input.clone(),
        parameters: job.parameters.clone(),
        assurance: None,
    };
    let quote = scene.escrow(&scene.alice).quote(quote).await?;
    ensure!(quote.nodes == 1 && quote.owners == 1, "{quote:?}");
    job.max_price = quote.lowest_max_price.context("a node serves it")?;
    let locked = job.max_price;
    let job = scene.escrow(&scene.alice).submit_job(job).await?;
    let lease = node.claim_one().await?;
    ensure!(lease.max_charge == locked);
    let output = emc_protocol::TextOutput {
        ids: (0..16).collect(),
        finish_reason: emc_protocol::FinishReason::Length,
        text: "text".into(),
    };
    let usage = emc_protocol::Usage {
        prompt_tokens: lease.max_prompt_tokens,
        output_tokens: 16,
        pixel_steps: 0,
    };
    let full = lease.price.charge(&usage).context("a price")?;
    ensure!(
        full > locked,
        "the test means to pass the cap: {full} against {locked}"
    );
    let mut greedy = node.sign(&lease, output.clone(), usage);
    greedy.charge = full;
    greedy.signature = node.signature(&lease, &greedy);
    scene.refused(code::INVALID, node.deliver(greedy)).await?;
    node.deliver(node.sign(&lease, output, usage)).await?;
    let settled = scene.expect_state(job.job_id, JobState::Settled).await?;
    ensure!(settled.charged == Some(locked));
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_sees_hashes_and_the_bearer_of_the_capability_sees_the_result() -> Result<()> {
    let scene = Scene::set(6).await?;
    let node = scene.market.hand_node("node", &scene.model).await?;
    let mallory = scene.market.person("mallory");
    let stranger = scene.escrow(&mallory);
    let job = scene.ask("A secret.").await?;
    let lease = node.claim_one().await?;
    for step in ["leased", "settled"] {
        if step == "settled" {
            node.deliver(node.delivery(&lease, &[1], "Kept.")).await?;
        }
        let seen = stranger.get_job(job.job_id, None).await?;
        ensure!(seen.private.is_none(), "a stranger sees a {step} job");
        let seen = stranger.get_job(job.job_id, Some(&[0; 16])).await?;
        ensure!(
            seen.private.is_none(),
            "a wrong capability opens a {step} job"
        );
        ensure!(
            stranger
                .get_job(job.job_id, Some(&job.capability))
                .await?
                .private
                .is_some()
        );
        let list = stranger.list_jobs(emc_protocol::job::JobFilter {
            requester: Some(scene.alice.principal()),
            ..Default::default()
        });
        ensure!(list.await?.jobs.iter().all(|job| job.private.is_none()));
    }
    let shown = stranger
        .get_job(job.job_id, Some(&job.capability))
        .await?
        .private
        .context("private")?;
    ensure!(shown.output.context("output")?.text == "Kept.");

    let mut public = scene.question("For everybody.");
    public.visibility = Some(Visibility::Public);
    let public = scene.escrow(&scene.alice).submit_job(public).await?;
    let lease = node.claim_one().await?;
    node.deliver(node.delivery(&lease, &[1], "Hello, world."))
        .await?;
    let seen = stranger
        .get_job(public.job_id, None)
        .await?
        .private
        .context("public jobs are shown")?;
    ensure!(seen.output.context("output")?.text == "Hello, world.");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_job_goes_to_another_owner() -> Result<()> {
    let scene = Scene::set(7).await?;
    let first = scene.market.hand_node("first", &scene.model).await?;
    let second = scene.market.hand_node("second", &scene.model).await?;
    let job = scene.ask("Who wants it?").await?;
    let lease = first.claim_one().await?;
    let decline = emc_protocol::work::DeclineArgs {
        job_id: job.job_id,
        attempt: lease.attempt,
        reason: "The prompt is too long for me.".into(),
    };
    first.escrow.decline(decline).await?;
    scene.expect_state(job.job_id, JobState::Open).await?;
    scene.check().await?;
    let lease = second.claim_one().await?;
    ensure!(lease.attempt == 2);
    second.deliver(second.delivery(&lease, &[1], "Me.")).await?;
    let settled = scene.expect_state(job.job_id, JobState::Settled).await?;
    ensure!(
        matches!(&settled.attempts[0].end, Some(AttemptEnd::Declined(reason)) if reason.contains("too long"))
    );
    ensure!(scene.available(&first.owner).await? == Tokens::ZERO);
    scene.check().await
}
