//! Validators as processes of their own: they recompute what a worker, or somebody who plays one, has delivered, and
//! their votes end the job.

use anyhow::{Context, Result, ensure};
use emc_devnet::market::{MINIMUM_STAKE, until};
use emc_devnet::worker::{ModelSource, Worker};
use emc_devnet::{DevNetwork, HandNode, Market};
use emc_protocol::audit::{Audit, AuditSettings, AuditTerms, GapLevel, Verdict};
use emc_protocol::escrow::Settings;
use emc_protocol::mining::MiningSettings;
use emc_protocol::model::ModelTerms;
use emc_protocol::{
    Assurance, FinishReason, Job, JobId, JobState, ModelRef, Parameters, Role, Seconds, SubmitJob,
    TextOutput, Tokens, Usage,
};
use emc_tests::Scene;
use std::path::Path;
use std::time::Duration;

/// Distinct owners of validators.
const VALIDATORS: usize = 3;

/// A market in which three validators are enough, with a listed model.
pub async fn market_of(seed: u64, source: &ModelSource, terms: ModelTerms) -> Result<Scene> {
    let settings = Settings {
        audit: Some(AuditSettings {
            least_owners: VALIDATORS as u32,
            // Real models on a busy machine take their time.
            commit_window: Seconds(900),
            ..AuditSettings::default()
        }),
        // No probe round comes in between.
        mining: Some(MiningSettings {
            rounds_per_day: 0,
            ..MiningSettings::default()
        }),
        ..Settings::default()
    };
    let market = Market::on(DevNetwork::from_environment(seed).await?, seed, settings).await?;
    let mut publication = source.publication();
    publication.terms = Some(terms);
    let entry = market.publish(publication).await?;
    let model = ModelRef {
        id: entry.id,
        version: Some(entry.version),
    };
    market.list(&model).await?;
    let alice = market.requester("alice", Tokens::emc(10)).await?;
    Ok(Scene {
        market,
        model,
        alice,
    })
}

/// Nodes that run, registered and staked; all of them are started before any is waited for.
pub async fn nodes(
    scene: &Scene,
    source: &ModelSource,
    folder: &Path,
    roles: &[(&str, Role)],
) -> Result<Vec<Worker>> {
    let mut nodes = vec![];
    for (name, role) in roles {
        let owner = scene.market.person_with(name, MINIMUM_STAKE).await?;
        let (market, folder) = (&scene.market, folder.join(name));
        let node = Worker::start_as(market, &folder, &owner, source, &scene.model, &[*role])?;
        nodes.push((node, owner));
    }
    let mut ready = vec![];
    for (mut node, owner) in nodes {
        node.until_registered(&scene.market).await?;
        let stake = scene.market.stake(&owner, node.node(), MINIMUM_STAKE);
        stake.await?;
        ready.push(node);
    }
    scene.market.feed_arrived().await?;
    Ok(ready)
}

/// A question whose answer is checked for certain.
fn checked(scene: &Scene, text: &str, parameters: Parameters) -> SubmitJob {
    SubmitJob {
        parameters,
        assurance: Some(Assurance::Always),
        ..scene.question(text)
    }
}

pub async fn submit(scene: &Scene, job: SubmitJob) -> Result<JobId> {
    let reply = scene.escrow(&scene.alice).submit_job(job).await?;
    Ok(reply.job_id)
}

/// Waits until a job is final, checking conservation all the while; with its audit.
pub async fn ended(scene: &Scene, id: JobId) -> Result<(Job, Audit)> {
    let escrow = scene.escrow(&scene.alice);
    until(Duration::from_secs(240), "the job to end", async || {
        let job = scene.job(id).await?;
        scene.check().await?;
        let last = [JobState::Settled, JobState::Refunded, JobState::Undecided];
        let is_last = job.state.is_some_and(|state| last.contains(&state));
        Ok(match is_last {
            true => Some((job, escrow.audit(id).await?)),
            false => None,
        })
    })
    .await
}

/// Checks that a job was upheld by votes that were all accepted and paid.
pub fn upheld(job: &Job, audit: &Audit) -> Result<()> {
    ensure!(job.state == Some(JobState::Settled), "{job:?}\n{audit:?}");
    ensure!(audit.verdict == Some(Verdict::Upheld) && audit.drawn);
    let seats = || audit.rounds.iter().flat_map(|round| &round.seats);
    ensure!(seats().count() >= VALIDATORS, "{audit:?}");
    ensure!(seats().all(|seat| seat.accepted == Some(true) && seat.paid == audit.fee));
    Ok(())
}

/// Checks that a job was overturned by everybody, in two rounds.
pub fn overturned(job: &Job, audit: &Audit) -> Result<()> {
    ensure!(job.state == Some(JobState::Refunded), "{job:?}\n{audit:?}");
    ensure!(audit.verdict == Some(Verdict::Overturned) && audit.rounds.len() == 2);
    let seats = || audit.rounds.iter().flat_map(|round| &round.seats);
    ensure!(seats().all(|seat| seat.accepted == Some(true) && seat.lost.is_zero()));
    Ok(())
}

/// The sum of a figure over all nodes.
async fn sum(nodes: &[Worker], name: &str) -> Result<f64> {
    let mut sum = 0.0;
    for node in nodes {
        sum += node.metric(name).await?;
    }
    Ok(sum)
}

fn output_of(job: &Job) -> Result<TextOutput> {
    let private = job.private.as_ref().context("its requester's own")?;
    private.output.clone().context("an output")
}

fn echo_terms() -> ModelTerms {
    ModelTerms {
        audit: Some(AuditTerms {
            levels: vec![GapLevel {
                above_milli: 300,
                share: 0,
                besides: 0,
            }],
            tolerance_milli: 1,
        }),
        royalty: 0,
        compute_units: 0,
    }
}

const FOUR: [(&str, Role); 4] = [
    ("worker", Role::Compute),
    ("first", Role::Validator),
    ("second", Role::Validator),
    ("third", Role::Validator),
];

#[tokio::test(flavor = "multi_thread")]
async fn validators_uphold_a_worker_s_answer_and_everybody_is_paid() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = ModelSource::echo(Duration::ZERO)?;
    let scene = market_of(71, &source, echo_terms()).await?;
    let all = nodes(&scene, &source, folder.path(), &FOUR).await?;
    let (worker, validators) = all.split_first().context("four nodes")?;
    let text = "an answer that is long enough to be checked";
    let job = checked(&scene, text, Parameters::greedy(100));
    let (job, audit) = ended(&scene, submit(&scene, job).await?).await?;
    upheld(&job, &audit)?;
    ensure!(output_of(&job)?.text == text);
    let votes = audit
        .rounds
        .iter()
        .map(|round| round.seats.len())
        .sum::<usize>();
    until(Duration::from_secs(20), "all to be counted", async || {
        let revealed = sum(validators, "emc_worker_votes_revealed_total").await?;
        let earned = worker.metric("emc_worker_earned_e8s_total").await?;
        Ok((revealed == votes as f64 && earned > 0.0).then_some(()))
    })
    .await?;
    ensure!(sum(validators, "emc_worker_votes_committed_total").await? == votes as f64);
    ensure!(sum(validators, "emc_worker_votes_missed_total").await? == 0.0);
    ensure!(sum(validators, "emc_worker_jobs_claimed_total").await? == 0.0);
    for node in all {
        node.stop().await?;
    }
    scene.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn validators_that_are_killed_reveal_what_they_had_committed_to() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = ModelSource::echo(Duration::ZERO)?;
    let scene = market_of(72, &source, echo_terms()).await?;
    let mut all = nodes(&scene, &source, folder.path(), &FOUR).await?;
    // Two of three commit; the third one is not there.
    all[3].kill()?;
    let job = checked(&scene, "interrupted in the middle", Parameters::greedy(100));
    let id = submit(&scene, job).await?;
    let committed = async || -> Result<usize> {
        let audit = scene.escrow(&scene.alice).audit(id).await?;
        let seats = audit.rounds.iter().flat_map(|round| &round.seats);
        Ok(seats.filter(|seat| seat.committed).count())
    };
    until(Duration::from_secs(60), "two to commit", async || {
        Ok((committed().await? == 2).then_some(()))
    })
    .await?;
    // These two go as well; then all three come back.
    all[1].kill()?;
    all[2].kill()?;
    for validator in &mut all[1..] {
        validator.run()?;
    }
    let (job, audit) = ended(&scene, id).await?;
    upheld(&job, &audit)
}

#[tokio::test(flavor = "multi_thread")]
async fn validators_overturn_what_is_not_the_model_s_answer() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = ModelSource::echo(Duration::ZERO)?;
    let scene = market_of(73, &source, echo_terms()).await?;
    let validators = nodes(&scene, &source, folder.path(), &FOUR[1..]).await?;
    let cheat = scene.market.hand_node("cheat", &scene.model).await?;
    let text = "the words that should be said";
    let id = submit(&scene, checked(&scene, text, Parameters::greedy(100))).await?;
    let lease = cheat.claim_one().await?;
    let said = "the words that should be SAID";
    let mut ids: Vec<u32> = said.bytes().map(u32::from).collect();
    ids.push(256);
    let output = TextOutput {
        ids,
        finish_reason: FinishReason::Stop,
        text: said.into(),
    };
    let prompt_tokens = 1 + text.len().div_ceil(4) as u64;
    deliver(&cheat, &lease, output, prompt_tokens).await?;
    let (job, audit) = ended(&scene, id).await?;
    overturned(&job, &audit)?;
    ensure!(scene.available(&cheat.owner).await?.is_zero());
    ensure!(sum(&validators, "emc_worker_votes_missed_total").await? == 0.0);
    Ok(())
}

async fn deliver(
    node: &HandNode,
    lease: &emc_protocol::Lease,
    output: TextOutput,
    prompt_tokens: u64,
) -> Result<()> {
    let usage = Usage {
        prompt_tokens,
        output_tokens: output.ids.len() as u64,
        pixel_steps: 0,
    };
    let reply = node.deliver(node.sign(lease, output, usage)).await?;
    ensure!(reply.state == Some(JobState::Delivered));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn validators_of_a_real_model_uphold_the_honest_and_overturn_the_tampered() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = ModelSource::smollm2()?;
    let terms = include_str!("../../models/smollm2-135m-instruct/terms.json");
    let scene = market_of(74, &source, serde_json::from_str(terms)?).await?;
    let mut all = nodes(&scene, &source, folder.path(), &FOUR).await?;
    let cheat = scene.market.hand_node("cheat", &scene.model).await?;

    // 1. An honest answer, greedy, and one that is sampled.
    let sampled = Parameters {
        temperature_milli: 800,
        top_k: 40,
        top_p_milli: 950,
        ..Parameters::greedy(24)
    };
    let question = "Why is the sky blue?";
    let greedy = submit(&scene, checked(&scene, question, Parameters::greedy(24))).await?;
    let other = checked(&scene, "Tell me of a ship.", sampled);
    let other = submit(&scene, other).await?;
    let (greedy, audit) = ended(&scene, greedy).await?;
    upheld(&greedy, &audit)?;
    let (other, audit) = ended(&scene, other).await?;
    upheld(&other, &audit)?;

    // 2. The worker leaves, and somebody answers the same question: with the answer to another one, and with a text that
    // is not that of the ids.
    all.remove(0).stop().await?;
    let prompt_tokens = greedy.usage.context("a usage")?.prompt_tokens;
    let of_another_prompt = output_of(&other)?;
    let mut other_text = output_of(&greedy)?;
    other_text.text.push_str(" Buy EMC.");
    let mut jobs = vec![];
    for output in [of_another_prompt, other_text] {
        let job = checked(&scene, question, Parameters::greedy(24));
        jobs.push(submit(&scene, job).await?);
        let lease = cheat.claim_one().await?;
        deliver(&cheat, &lease, output, prompt_tokens).await?;
    }
    for job in jobs {
        let (job, audit) = ended(&scene, job).await?;
        overturned(&job, &audit)?;
    }
    ensure!(sum(&all, "emc_worker_votes_missed_total").await? == 0.0);
    ensure!(sum(&all, "emc_worker_audits_failed_total").await? == 0.0);
    Ok(())
}
