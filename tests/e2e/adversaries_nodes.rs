//! Nodes and authors that want to be paid for nothing: each ends as the rules say, with the postings to show it.

use anyhow::{Context, Result, ensure};
use emc_devnet::Market;
use emc_devnet::market::MINIMUM_STAKE;
use emc_devnet::votes::Opinion;
use emc_protocol::audit::{AuditTerms, GapLevel};
use emc_protocol::job::RefundReason;
use emc_protocol::model::ModelTerms;
use emc_protocol::node::UnstakeArgs;
use emc_protocol::{Assurance, JobState, ModelRef, SubmitJob, Tokens, error::code};
use emc_tests::Scene;
use emc_tests::auditing::{always, deliver, paper_terms, vote, with_validators};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_paid_once_and_for_its_own_job_only() -> Result<()> {
    let scene = Scene::set(221).await?;
    let node = scene.market.hand_node("node", &scene.model).await?;
    for question in ["One.", "Two."] {
        scene.ask(question).await?;
    }
    let leases = [node.claim_one().await?, node.claim_one().await?];
    let first = node.delivery(&leases[0], &[1, 2, 3], "Right.");
    node.deliver(first.clone()).await?;
    let paid = scene.available(&node.owner).await?;
    scene
        .refused(code::ALREADY_DELIVERED, node.deliver(first.clone()))
        .await?;
    // The same signature for another job: over other salts, another number.
    let mut replayed = node.delivery(&leases[1], &[1, 2, 3], "Right.");
    replayed.signature = first.signature;
    scene
        .refused(code::BAD_SIGNATURE, node.deliver(replayed))
        .await?;
    ensure!(scene.available(&node.owner).await? == paid);
    scene
        .expect_state(leases[1].job_id, JobState::Leased)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_are_never_delivered_cost_the_node_and_pay_the_requester() -> Result<()> {
    let scene = Scene::set(222).await?;
    let control = emc_tests::control!(scene.market);
    let idle = scene.market.hand_node("idle", &scene.model).await?;
    // It earns a little first, so that there is something to lose.
    scene.ask("Something to begin with.").await?;
    let lease = idle.claim_one().await?;
    let ids: Vec<u32> = (0..16).collect();
    idle.deliver(idle.delivery(&lease, &ids, "Here.")).await?;
    let earned = scene.available(&idle.owner).await?;
    let before = scene.available(&scene.alice).await?;
    let job = scene.ask("Will you ever answer?").await?;
    idle.claim_one().await?;
    control.advance(Duration::from_secs(90)).await?;
    scene.check().await?;
    let lapsed = scene.expect_state(job.job_id, JobState::Open).await?;
    let fee = lapsed
        .postings
        .iter()
        .find(|line| line.reason == "lapse fee" && line.amount > 0)
        .context("a lapse fee")?
        .amount;
    ensure!(scene.available(&idle.owner).await?.0 as i128 == earned.0 as i128 - fee);
    // A second lease of the same owner, and no third.
    idle.claim_one().await?;
    control.advance(Duration::from_secs(90)).await?;
    ensure!(idle.claim(1).await?.is_empty(), "an owner has two attempts");
    control.pass(Duration::from_secs(700)).await?;
    let ended = scene.expect_state(job.job_id, JobState::Refunded).await?;
    ensure!(ended.refund_reason == Some(RefundReason::Deadline));
    ensure!(scene.available(&scene.alice).await?.0 >= before.0 + fee as u128);
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stake_covers_as_many_leases_as_it_has_bonds_for() -> Result<()> {
    let (scene, worker, _) = with_validators(Market::start(223).await?, 8, 0).await?;
    let rich = scene.market.requester("rich", Tokens::emc(100)).await?;
    let escrow = scene.escrow(&rich);
    let job = SubmitJob {
        assurance: Some(Assurance::Sampled),
        max_price: Tokens(50_000_000),
        ..scene.question("How much do you stand for?")
    };
    let mut bond = Tokens::ZERO;
    for _ in 0..50 {
        let id = escrow.submit_job(job.clone()).await?.job_id;
        bond = escrow.audit(id).await?.bond;
    }
    scene.check().await?;
    let fits = (MINIMUM_STAKE.0 / bond.0) as usize;
    ensure!(
        (1..50).contains(&fits),
        "a bond of {bond} EMC would not show it"
    );
    let mut leases = vec![];
    loop {
        match worker.claim(32).await {
            Ok(more) if !more.is_empty() => leases.extend(more),
            Ok(_) => break,
            Err(error) => {
                ensure!(error.is_code(code::NO_BOND), "{error}");
                break;
            }
        }
    }
    ensure!(
        leases.len() == fits,
        "{} leases on {fits} bonds",
        leases.len()
    );
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn stake_that_is_taken_out_with_a_lease_open_still_answers_for_it() -> Result<()> {
    let (scene, worker, validators) = with_validators(Market::start(224).await?, 8, 0).await?;
    let escrow = scene.escrow(&scene.alice);
    let job = escrow.submit_job(always(&scene)).await?.job_id;
    let lease = worker.claim_one().await?;
    let owner = scene.market.client(&worker.owner);
    let registry = owner.registry(scene.market.ids.registry);
    let node = worker.node.principal();
    let unstake = UnstakeArgs {
        node,
        escrow: scene.market.ids.escrow,
        amount: MINIMUM_STAKE,
    };
    registry.unstake(unstake).await?;
    // The escrow has heard of it, and does not let go while the lease is open.
    for _ in 0..3 {
        scene.market.feed_arrived().await?;
        let waiting = registry.node(node).await?.unbonding;
        ensure!(
            waiting.iter().all(|one| one.waiting == Some(true)),
            "{waiting:?}"
        );
    }
    let early = registry.withdraw_unbonded(node, None).await;
    ensure!(early.is_err_and(|error| error.is_code(code::WRONG_STATE)));
    scene.check().await?;
    deliver(&scene, &worker, &lease).await?;
    vote(&scene, &validators, job, |_| Opinion::Outside).await?;
    scene.expect_state(job, JobState::Refunded).await?;
    let bond = escrow.audit(job).await?.bond;
    scene.market.unstaking_acknowledged(node).await?;
    let left = registry.node(node).await?.unbonding;
    let left: u128 = left.iter().map(|one| one.amount.0).sum();
    ensure!(
        left == MINIMUM_STAKE.0 - bond.0,
        "exactly the bond is gone: {left}"
    );
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authors_loose_thresholds_hold_for_nobody_until_the_governor_lists_them() -> Result<()> {
    let (scene, worker, validators) = with_validators(Market::start(225).await?, 8, 0).await?;
    let market = &scene.market;
    let author = market.person("author");
    let registry = market.client(&author).registry(market.ids.registry);
    let mut loose = emc_tests::paper_model();
    loose.id = "test/loose".into();
    loose.terms = Some(ModelTerms {
        audit: Some(AuditTerms {
            levels: vec![GapLevel {
                above_milli: 300,
                share: 10_000,
                besides: 60_000,
            }],
            tolerance_milli: 500,
        }),
        royalty: 10_000,
        compute_units: u64::MAX,
    });
    let entry = registry.publish_model(loose).await?;
    market.feed_arrived().await?;
    let model = ModelRef {
        id: entry.id.clone(),
        version: Some(entry.version),
    };
    // Nobody has listed it: no assurance, so no bond, no royalty and no mining by it.
    let job = SubmitJob {
        model: model.clone(),
        ..always(&scene)
    };
    let alice = scene.escrow(&scene.alice);
    scene
        .refused(code::NOT_AUDITABLE, alice.submit_job(job))
        .await?;
    let listed = registry.list_model(model).await;
    ensure!(listed.is_err_and(|error| error.is_code(code::FORBIDDEN)));
    let terms = registry
        .set_model_terms(scene.model.clone(), paper_terms(5))
        .await;
    ensure!(terms.is_err_and(|error| error.is_code(code::FORBIDDEN)));
    // The listed model's jobs are judged by what was in effect when they were claimed, as before.
    let id = alice.submit_job(always(&scene)).await?.job_id;
    let lease = worker.claim_one().await?;
    deliver(&scene, &worker, &lease).await?;
    vote(&scene, &validators, id, |_| Opinion::Outside).await?;
    scene.expect_state(id, JobState::Refunded).await?;
    scene.check().await
}
