//! The adversaries that answer with something else than the model: what they made is recorded
//! (`tests/data/answers`), the validators are real ones that run the model.

use crate::validators::{ended, market_of, nodes, overturned, submit, upheld};
use anyhow::{Context, Result, ensure};
use emc_devnet::HandNode;
use emc_devnet::worker::ModelSource;
use emc_protocol::{
    Assurance, FinishReason, JobId, JobState, Parameters, Role, SubmitJob, TextOutput, Usage,
};
use emc_tests::Scene;
use serde::Deserialize;

#[derive(Deserialize, Clone)]
struct Recorded {
    author: String,
    kind: String,
    prompt: String,
    prompt_tokens: u64,
    max_tokens: u32,
    temperature_milli: u32,
    top_k: u32,
    top_p_milli: u32,
    min_p_milli: u32,
    seed: u64,
    ids: Vec<u32>,
    stopped: bool,
    text: String,
}

const ANSWERS: &str = include_str!("../data/answers/smollm2-135m-instruct.json");

const VALIDATORS: [(&str, Role); 3] = [
    ("first", Role::Validator),
    ("second", Role::Validator),
    ("third", Role::Validator),
];

impl Recorded {
    /// The question that it claims to answer.
    fn job(&self, scene: &Scene) -> SubmitJob {
        SubmitJob {
            parameters: Parameters {
                max_tokens: self.max_tokens,
                temperature_milli: self.temperature_milli,
                top_k: self.top_k,
                top_p_milli: self.top_p_milli,
                min_p_milli: self.min_p_milli,
                stop: vec![],
            },
            seed: Some(self.seed),
            assurance: Some(Assurance::Always),
            ..scene.question(&self.prompt)
        }
    }

    fn output(&self) -> TextOutput {
        TextOutput {
            ids: self.ids.clone(),
            finish_reason: match self.stopped {
                true => FinishReason::Stop,
                false => FinishReason::Length,
            },
            text: self.text.clone(),
        }
    }

    /// Asks, and has a node of its own deliver this.
    async fn deliver(&self, scene: &Scene, number: usize) -> Result<(JobId, HandNode)> {
        let name = format!("node {number}");
        let node = scene.market.hand_node(&name, &scene.model).await?;
        let id = submit(scene, self.job(scene)).await?;
        let lease = node.claim_one().await?;
        ensure!(lease.job_id == id && lease.seed == self.seed);
        let usage = Usage {
            prompt_tokens: self.prompt_tokens,
            output_tokens: self.ids.len() as u64,
            pixel_steps: 0,
        };
        let reply = node
            .deliver(node.sign(&lease, self.output(), usage))
            .await?;
        ensure!(reply.state == Some(JobState::Delivered));
        Ok((id, node))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_validators_tell_every_recorded_cheat_from_the_honest() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = ModelSource::smollm2()?;
    let terms = include_str!("../../models/smollm2-135m-instruct/terms.json");
    let scene = market_of(75, &source, serde_json::from_str(terms)?).await?;
    let validators = nodes(&scene, &source, folder.path(), &VALIDATORS).await?;

    let mut answers: Vec<Recorded> =
        serde_json::from_str(ANSWERS).context("the recorded answers")?;
    let honest = answers.iter().find(|answer| answer.kind == "honest");
    let honest = honest.context("an honest answer")?.clone();
    // Two cheats that need no model: a text that is not that of the ids, and a prompt that is longer on the bill.
    answers.push(Recorded {
        author: "text that is not its ids".into(),
        kind: "cheat".into(),
        text: format!("{} Buy EMC.", honest.text),
        ..honest.clone()
    });
    answers.push(Recorded {
        author: "inflated usage".into(),
        kind: "cheat".into(),
        prompt_tokens: honest.prompt_tokens + 20,
        ..honest
    });
    let mut delivered = vec![];
    for (number, answer) in answers.iter().enumerate() {
        delivered.push(answer.deliver(&scene, number).await?);
        scene.check().await?;
    }
    for (answer, (id, node)) in answers.iter().zip(&delivered) {
        let (job, audit) = ended(&scene, *id).await?;
        let earned = scene.available(&node.owner).await?;
        match answer.kind.as_str() {
            "honest" => {
                upheld(&job, &audit).with_context(|| answer.author.clone())?;
                ensure!(!earned.is_zero());
            }
            _ => {
                overturned(&job, &audit).with_context(|| answer.author.clone())?;
                ensure!(earned.is_zero(), "{} was paid", answer.author);
            }
        }
    }
    for validator in &validators {
        ensure!(validator.metric("emc_worker_votes_missed_total").await? == 0.0);
        ensure!(validator.metric("emc_worker_audits_failed_total").await? == 0.0);
    }
    scene.check().await
}
