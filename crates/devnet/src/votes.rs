//! Votes cast by hand: what a validator that runs a model would find, without a model, and other habits.

use crate::HandNode;
use emc_client::Error;
use emc_protocol::audit::{AuditPhase, AuditTask, CommitArgs, Probe, RevealArgs, Vote};
use emc_protocol::canonical::{self, Writer};
use emc_protocol::{JobId, JobInput};
use std::collections::BTreeMap;

/// What a hand validator says of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// Ran the model: the result is its own.
    Within,
    /// Ran the model: the result is not.
    Outside,
    /// Ran nothing, says yes.
    Unread,
    /// Says nothing.
    Silent,
}

/// Votes that were committed to and not revealed yet.
#[derive(Default)]
pub struct Ballots(BTreeMap<(JobId, u32), Vote>);

/// The same for whoever runs the model, but for rounding.
fn difference(job: JobId, probe: &Probe) -> i32 {
    let mixed =
        probe.decoy.rotate_left(17) ^ u64::from(probe.position).wrapping_mul(0x9e37_79b9) ^ job;
    (mixed % 30_000) as i32 - 10_000
}

/// The paper model: what it answers follows from the input and the seed, as a real model's answer does, and from nothing
/// else.
pub fn paper_answer(input: &JobInput, seed: u64, tokens: usize) -> Vec<u32> {
    let mut writer = Writer::new("emc-devnet-paper-model");
    writer.raw(&canonical::input_bytes(input));
    writer.u64(seed);
    let hash = writer.sha256();
    (0..tokens)
        .map(|at| u32::from(hash[at % 32]) + (at / 32) as u32)
        .collect()
}

/// What whoever runs the paper model finds.
pub fn runs_the_paper_model(task: &AuditTask) -> Opinion {
    let right = task.input.as_ref().is_some_and(|input| {
        paper_answer(input, task.seed, task.output.ids.len()) == task.output.ids
    });
    if right {
        Opinion::Within
    } else {
        Opinion::Outside
    }
}

/// A vote on a task; `noise` is the validator's own rounding, thousandths of a logit.
pub fn vote(task: &AuditTask, opinion: Opinion, noise: i32) -> Vote {
    let positions = task.output.ids.len() as u32;
    let outside = opinion == Opinion::Outside;
    let differences = task.probes.iter().map(|probe| match opinion {
        Opinion::Unread => 0,
        _ => difference(task.job_id, probe) + noise,
    });
    Vote {
        positions,
        matches: if outside { 0 } else { positions },
        largest_gap_milli: if outside { 9_000 } else { 40 },
        mean_gap_milli: if outside { 5_000 } else { 1 },
        above: vec![if outside { positions } else { 0 }; task.terms.levels.len()],
        prompt_tokens: task.usage.prompt_tokens,
        ends_right: true,
        text_right: true,
        differences: differences.collect(),
    }
}

impl HandNode {
    /// Does what this validator's audits wait for now; how many votes were committed to or revealed.
    ///
    /// # Errors
    /// The escrow's refusals.
    pub async fn cast(&self, ballots: &mut Ballots, opinion: Opinion) -> Result<usize, Error> {
        if opinion == Opinion::Silent {
            return Ok(0);
        }
        self.cast_as(ballots, |_| opinion).await
    }

    /// The same, where the opinion follows from the task: [`runs_the_paper_model`], say.
    ///
    /// # Errors
    /// The escrow's refusals.
    pub async fn cast_as(
        &self,
        ballots: &mut Ballots,
        opinion: impl Fn(&AuditTask) -> Opinion,
    ) -> Result<usize, Error> {
        let mut done = 0;
        let me = self.node.principal();
        let key = me.as_slice();
        let (noise, salt) = (i32::from(key[0] % 90), [key[1]; 32]);
        for audit in self.escrow.audits().await? {
            let at = (audit.job_id, audit.round);
            match audit.phase {
                Some(AuditPhase::Commit) => {
                    let task = self.escrow.audit_task(audit.job_id).await?;
                    let vote = vote(&task, opinion(&task), noise);
                    let commitment = vote
                        .commitment(self.escrow.id(), at.0, at.1, me, &salt)
                        .to_vec();
                    ballots.0.insert(at, vote);
                    let args = CommitArgs {
                        job_id: at.0,
                        round: at.1,
                        commitment,
                    };
                    self.escrow.commit_vote(args).await?;
                    done += 1;
                }
                Some(AuditPhase::Reveal) => {
                    let Some(vote) = ballots.0.get(&at).cloned() else {
                        continue;
                    };
                    let args = RevealArgs {
                        job_id: at.0,
                        round: at.1,
                        salt: salt.to_vec(),
                        vote,
                    };
                    self.escrow.reveal_vote(args).await?;
                    done += 1;
                }
                None => {}
            }
        }
        Ok(done)
    }
}
