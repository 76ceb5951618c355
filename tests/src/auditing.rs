//! What tests of checked results begin with: a model with terms of audits, validators that vote by hand, and ways to
//! deliver and to vote.

use crate::{Scene, paper_model};
use anyhow::{Result, ensure};
use emc_devnet::market::until;
use emc_devnet::votes::{Ballots, Opinion};
use emc_devnet::{HandNode, Market};
use emc_protocol::audit::{AuditTerms, GapLevel};
use emc_protocol::model::ModelTerms;
use emc_protocol::{Assurance, JobId, JobState, Lease, SubmitJob};
use std::time::Duration;

/// Terms of a model that exists on paper only.
pub fn paper_terms(compute_units: u64) -> ModelTerms {
    ModelTerms {
        audit: Some(AuditTerms {
            levels: vec![GapLevel {
                above_milli: 300,
                share: 200,
                besides: 1,
            }],
            tolerance_milli: 500,
        }),
        royalty: 500,
        compute_units,
    }
}

/// A listed model that can be audited, so many validators of as many owners, and a worker.
///
/// # Errors
/// If the market cannot be deployed, or a registration is refused.
pub async fn with_validators(
    market: Market,
    validators: usize,
    compute_units: u64,
) -> Result<(Scene, HandNode, Vec<HandNode>)> {
    let mut model = paper_model();
    model.terms = Some(paper_terms(compute_units));
    let scene = Scene::with_model(market, model).await?;
    scene.market.list(&scene.model).await?;
    let validators = scene
        .market
        .hand_validators(validators, &scene.model)
        .await?;
    let worker = scene.market.hand_node("worker", &scene.model).await?;
    Ok((scene, worker, validators))
}

/// A question whose result is always checked.
pub fn always(scene: &Scene) -> SubmitJob {
    SubmitJob {
        assurance: Some(Assurance::Always),
        ..scene.question("Is this the model's own answer?")
    }
}

/// Delivers an answer of 16 tokens for a checked job.
///
/// # Errors
/// The escrow's refusals; or that it was paid before the draw.
pub async fn deliver(scene: &Scene, worker: &HandNode, lease: &Lease) -> Result<()> {
    let ids: Vec<u32> = (0..16).collect();
    let answer = worker.delivery(lease, &ids, "Perhaps.");
    let answer = worker.deliver(answer).await?;
    ensure!(
        answer.state == Some(JobState::Delivered) && answer.paid.is_zero(),
        "nothing is paid before the draw"
    );
    scene.check().await
}

/// A delivered answer to an `always` job.
///
/// # Errors
/// As [`deliver`].
pub async fn delivered(scene: &Scene, worker: &HandNode) -> Result<JobId> {
    let reply = scene.escrow(&scene.alice).submit_job(always(scene)).await?;
    scene.check().await?;
    let lease = worker.claim_one().await?;
    deliver(scene, worker, &lease).await?;
    Ok(reply.job_id)
}

/// Everybody votes until the job is final; conservation is checked all the while.
///
/// # Errors
/// If it does not end within a minute.
pub async fn vote(
    scene: &Scene,
    validators: &[HandNode],
    job: JobId,
    opinion: impl Fn(usize) -> Opinion,
) -> Result<()> {
    let mut ballots: Vec<Ballots> = validators.iter().map(|_| Ballots::default()).collect();
    until(Duration::from_secs(60), "the audit to end", async || {
        for (number, (validator, ballots)) in validators.iter().zip(&mut ballots).enumerate() {
            validator.cast(ballots, opinion(number)).await?;
        }
        scene.check().await?;
        let state = scene.job(job).await?.state;
        Ok((!matches!(state, Some(JobState::Delivered | JobState::Auditing))).then_some(()))
    })
    .await
}
