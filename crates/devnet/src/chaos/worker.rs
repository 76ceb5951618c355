//! Workers: they claim, show what they have so far, deliver; liars deliver something else, silent ones nothing.

use super::calls::{Answer, Call, is_refusal};
use super::plan::{Conduct, Dice};
use super::stage::Moment;
use crate::HandNode;
use anyhow::Result;
use emc_client::Error;
use emc_protocol::work::{ClaimArgs, DeclineArgs, ExtendArgs, Lease};
use emc_protocol::{JobId, Seconds, Timestamp};
use sha2::{Digest, Sha256};

/// How long a node may be without saying that it is there; a quarter of an hour makes it count as gone.
const HEARTBEAT: Seconds = Seconds(240);
/// Leases that one claim asks for at most.
const MOST: u64 = 3;

/// The answer that the model gives to a job: recorded, so to speak, before anybody has asked.
pub fn recorded(job: JobId) -> Vec<u32> {
    let digest = Sha256::digest(format!("the model's answer to job {job}"));
    digest
        .iter()
        .take(16)
        .map(|byte| u32::from(*byte))
        .collect()
}

/// True when a node should say that it is there.
pub fn is_silent(now: Timestamp, seen: Timestamp) -> bool {
    seen.after(HEARTBEAT) <= now
}

/// A worker.
pub struct Worker {
    /// Its node.
    pub hand: HandNode,
    /// How it works.
    pub conduct: Conduct,
    /// What it has claimed and not delivered; with the number of tokens that it has shown.
    leases: Vec<(Lease, u32)>,
    seen: Timestamp,
    /// Jobs that it delivered.
    pub delivered: Vec<JobId>,
}

impl Worker {
    /// A worker that was just registered.
    pub fn new(hand: HandNode, conduct: Conduct, now: Timestamp) -> Self {
        Self {
            hand,
            conduct,
            leases: vec![],
            seen: now,
            delivered: vec![],
        }
    }

    /// What it does now.
    ///
    /// # Errors
    /// None of its own.
    pub async fn turn(&mut self, moment: &Moment, dice: &mut Dice) -> Result<Option<Call>> {
        if is_silent(moment.now, self.seen) {
            return Ok(Some(Call::Heartbeat));
        }
        let Some((lease, shown)) = self.leases.first_mut() else {
            let models = vec![self.hand.model.clone()];
            let max = dice.between(1, MOST) as u32;
            return Ok(Some(Call::Claim(ClaimArgs { models, max })));
        };
        let (job_id, attempt) = (lease.job_id, lease.attempt);
        if *shown == 0 && dice.percent(20) {
            let ids = recorded(job_id)[..4].to_vec();
            *shown = 4;
            return Ok(Some(Call::Extend(ExtendArgs {
                job_id,
                attempt,
                prompt_tokens: 5,
                from: 0,
                ids,
                text: "Per".into(),
                image: None,
            })));
        }
        if *shown == 0 && dice.percent(3) {
            let reason = "The machine is needed elsewhere.".into();
            return Ok(Some(Call::Decline(DeclineArgs {
                job_id,
                attempt,
                reason,
            })));
        }
        let mut ids = recorded(job_id);
        if self.conduct == Conduct::Lying {
            ids.reverse();
        }
        let delivery = self.hand.delivery(lease, &ids, "Perhaps.");
        Ok(Some(Call::Deliver(Box::new(delivery))))
    }

    /// Learns what became of its call.
    pub fn heard(&mut self, call: Call, answer: &Result<Answer, Error>, now: Timestamp) {
        let over = match answer {
            Ok(_) => true,
            Err(error) => is_refusal(error),
        };
        match (call, answer) {
            (Call::Heartbeat, Ok(_)) => self.seen = now,
            (Call::Claim(_), Ok(Answer::Leases(leases))) if self.conduct != Conduct::Silent => {
                let new = leases.iter().map(|lease| (lease.clone(), 0));
                self.leases.extend(new);
            }
            (Call::Deliver(args), answer) if over => {
                if answer.is_ok() {
                    self.delivered.push(args.job_id);
                }
                self.drop_lease(args.job_id);
            }
            (Call::Decline(args), _) if over => self.drop_lease(args.job_id),
            (Call::Extend(args), Err(_)) if over => self.drop_lease(args.job_id),
            _ => {}
        }
    }

    fn drop_lease(&mut self, job: JobId) {
        self.leases.retain(|(lease, _)| lease.job_id != job);
    }
}
