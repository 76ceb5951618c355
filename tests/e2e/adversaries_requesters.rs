//! Requesters who want something for nothing, or to harm others: each ends as the rules say, with the postings to show
//! it.

use anyhow::{Context, Result, ensure};
use emc_devnet::Market;
use emc_devnet::votes::Opinion;
use emc_protocol::job::RefundReason;
use emc_protocol::work::ExtendArgs;
use emc_protocol::{Assurance, JobState, SubmitJob, Tokens, WithdrawArgs, error::code};
use emc_tests::Scene;
use emc_tests::auditing::{deliver, vote, with_validators};
use std::time::Duration;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_the_preview_and_cancels_pays_for_what_was_shown() -> Result<()> {
    let scene = Scene::set(211).await?;
    let node = scene.market.hand_node("node", &scene.model).await?;
    let before = scene.available(&scene.alice).await?;
    let job = scene.ask("Tell me just the beginning.").await?;
    let lease = node.claim_one().await?;
    let extend = ExtendArgs {
        job_id: lease.job_id,
        attempt: lease.attempt,
        prompt_tokens: 5,
        from: 0,
        ids: (0..12).collect(),
        text: "Once upon a time".into(),
        image: None,
    };
    node.escrow.extend(extend).await?;
    let seen = scene
        .job(job.job_id)
        .await?
        .private
        .context("its requester's")?;
    ensure!(seen.preview.is_some_and(|preview| preview.tokens == 12));
    let alice = scene.escrow(&scene.alice);
    alice.cancel_job(job.job_id).await?;
    scene.check().await?;
    let usage = emc_protocol::Usage {
        prompt_tokens: 5,
        output_tokens: 12,
        pixel_steps: 0,
    };
    let price = lease.price.charge(&usage).context("a price")?;
    let ended = scene.expect_state(job.job_id, JobState::Refunded).await?;
    ensure!(ended.refund_reason == Some(RefundReason::Cancelled) && ended.charged == Some(price));
    ensure!(before.0 - scene.available(&scene.alice).await?.0 == price.0);
    let share = price.0 * 200 / 10_000;
    ensure!(
        scene.available(&node.owner).await?.0 == price.0 - share,
        "{ended:?}"
    );
    ensure!(ended.postings.iter().map(|line| line.amount).sum::<i128>() == 0);
    scene
        .refused(code::WRONG_STATE, alice.cancel_job(job.job_id))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requesters_own_validators_are_never_drawn_and_cannot_silence_an_audit() -> Result<()> {
    let (scene, worker, validators) = with_validators(Market::start(212).await?, 9, 0).await?;
    // The owner of two of the nine asks, and his validators would say nothing.
    let mallory = &validators[0].owner;
    let amount = Tokens::emc(5);
    let bank = scene
        .market
        .client(&scene.market.bank)
        .ledger(scene.market.ids.ledger);
    bank.transfer(mallory.principal(), amount).await?;
    let client = scene.market.client(mallory);
    client
        .fund(
            scene.market.ids.ledger,
            scene.market.ids.escrow,
            amount,
            None,
        )
        .await?;
    let escrow = client.escrow(scene.market.ids.escrow);
    for _ in 0..4 {
        let job = SubmitJob {
            assurance: Some(Assurance::Always),
            ..scene.question("Is this right?")
        };
        let id = escrow.submit_job(job).await?.job_id;
        let lease = worker.claim_one().await?;
        deliver(&scene, &worker, &lease).await?;
        vote(&scene, &validators, id, |number| match number {
            0 => Opinion::Silent,
            _ => Opinion::Within,
        })
        .await?;
        let audit = escrow.audit(id).await?;
        let mut seats = audit.rounds.iter().flat_map(|round| &round.seats);
        ensure!(
            seats.all(|seat| seat.owner != mallory.principal()),
            "{audit:?}"
        );
        let job = escrow.get_job(id, None).await?;
        ensure!(job.state == Some(JobState::Settled));
    }
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_posts_and_withdraws_at_once_gets_only_what_is_not_locked() -> Result<()> {
    let scene = Scene::set(213).await?;
    let node = scene.market.hand_node("node", &scene.model).await?;
    let alice = scene.escrow(&scene.alice);
    let all = scene.available(&scene.alice).await?;
    let withdraw = |amount| WithdrawArgs { amount, to: None };
    // Both at once, in either order of arrival.
    let job = alice.submit_job(scene.question("And my money?"));
    let (job, paid) = tokio::join!(job, alice.withdraw(withdraw(all)));
    ensure!(
        job.is_ok() != paid.is_ok(),
        "one of them has taken it: {job:?} {paid:?}"
    );
    scene.check().await?;
    let Ok(job) = job else {
        return Ok(());
    };
    scene
        .refused(code::INSUFFICIENT_FUNDS, alice.withdraw(withdraw(all)))
        .await?;
    let rest = scene.available(&scene.alice).await?;
    ensure!(rest.0 + job.locked.0 == all.0);
    alice.withdraw(withdraw(rest)).await?;
    scene.check().await?;
    let lease = node.claim_one().await?;
    node.deliver(node.delivery(&lease, &[1, 2], "It is safe."))
        .await?;
    scene.expect_state(job.job_id, JobState::Settled).await?;
    ensure!(
        !scene.available(&node.owner).await?.is_zero(),
        "the worker is paid"
    );
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn dust_jobs_by_the_thousand_are_bounded_and_harm_nobody() -> Result<()> {
    let scene = Scene::set(214).await?;
    let node = scene.market.hand_node("node", &scene.model).await?;
    let alice = scene.escrow(&scene.alice);
    let dust = SubmitJob {
        max_price: Tokens(1),
        ..scene.question("?")
    };
    let (mut accepted, mut refused) = (0u32, 0u32);
    for _ in 0..12 {
        let mut calls = JoinSet::new();
        for _ in 0..100 {
            let (alice, dust) = (alice.clone(), dust.clone());
            calls.spawn(async move { alice.submit_job(dust).await });
        }
        for reply in calls.join_all().await {
            match reply {
                Ok(_) => accepted += 1,
                Err(error) => {
                    ensure!(error.is_code(code::BUSY), "{error}");
                    refused += 1;
                }
            }
        }
    }
    ensure!(
        accepted == 1_000 && refused == 200,
        "{accepted} accepted, {refused} refused"
    );
    scene.check().await?;
    // Somebody else's job is served before and behind them, and the dust costs its owner only its locks.
    let bob = scene.market.requester("bob", Tokens::emc(1)).await?;
    let job = scene
        .escrow(&bob)
        .submit_job(scene.question("Am I heard?"))
        .await?;
    let lease = emc_devnet::market::until(Duration::from_secs(60), "bob's job", async || {
        Ok(node.claim(1).await?.pop())
    })
    .await?;
    ensure!(lease.job_id == job.job_id);
    node.deliver(node.delivery(&lease, &[1], "Yes.")).await?;
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_notify_deposit_is_slowed_and_moves_nothing() -> Result<()> {
    let scene = Scene::set(215).await?;
    let before = scene.escrow(&scene.alice).totals().await?;
    let stranger = scene.market.person("nobody in particular");
    let escrow = scene.escrow(&stranger);
    let mut busy = 0;
    for _ in 0..10 {
        let mut calls = JoinSet::new();
        for _ in 0..100 {
            let (escrow, who) = (escrow.clone(), stranger.principal());
            calls.spawn(async move { escrow.notify_deposit(who).await });
        }
        for reply in calls.join_all().await {
            let error = reply.err().context("there is nothing to credit")?;
            // Said by the method, or by the filter before it.
            if error.is_code(code::BUSY) || error.to_string().contains("[busy]") {
                busy += 1;
                continue;
            }
            let known = [code::INSUFFICIENT_FUNDS, code::IN_FLIGHT, code::INVALID];
            ensure!(known.iter().any(|code| error.is_code(code)), "{error}");
        }
    }
    ensure!(
        busy > 500,
        "a thousand calls of strangers, {busy} of them slowed"
    );
    ensure!(scene.escrow(&scene.alice).totals().await? == before);
    // Who has an account is not slowed by strangers.
    scene.ask("Do you still serve me?").await?;
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_cannot_be_aimed_at_anybody() -> Result<()> {
    let scene = Scene::set(216).await?;
    let alice = scene.escrow(&scene.alice);
    // Who is no canister cannot be called back, whoever pays.
    for payer in [None, Some(scene.market.ids.ledger)] {
        let job = SubmitJob {
            notify: Some(true),
            payer,
            ..scene.question("Call the ledger!")
        };
        let expected = match payer {
            None => code::INVALID,
            Some(_) => code::NOT_DELEGATED,
        };
        scene.refused(expected, alice.submit_job(job)).await?;
    }
    // A job of hers that ends calls nobody: the ledger has no message from the escrow by it.
    let job = scene.ask("And now?").await?;
    alice.cancel_job(job.job_id).await?;
    if let Some(control) = scene.market.network.control() {
        control.pass(Duration::from_secs(60)).await?;
        let log = control.log(0).await?;
        ensure!(log.iter().all(|line| line.method != "emc_job_done"));
    }
    scene.check().await
}
