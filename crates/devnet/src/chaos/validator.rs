//! Validators: honest ones commit and reveal what the model says; some say yes unread, some say nothing.

use super::calls::{Answer, Call, is_refusal};
use super::stage::Moment;
use super::worker::{is_silent, recorded};
use crate::HandNode;
use crate::votes::{self, Opinion};
use anyhow::Result;
use emc_client::Error;
use emc_protocol::audit::{AuditPhase, CommitArgs, RevealArgs, Vote};
use emc_protocol::{JobId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// An audit of a job, by its round.
type Round = (JobId, u32);

/// A validator.
pub struct Validator {
    /// Its node.
    pub hand: HandNode,
    /// How it votes.
    pub opinion: Opinion,
    ballots: BTreeMap<Round, Vote>,
    committed: BTreeSet<Round>,
    revealed: BTreeSet<Round>,
    seen: Timestamp,
}

impl Validator {
    /// A validator that was just registered.
    pub fn new(hand: HandNode, opinion: Opinion, now: Timestamp) -> Self {
        Self {
            hand,
            opinion,
            ballots: BTreeMap::new(),
            committed: BTreeSet::new(),
            revealed: BTreeSet::new(),
            seen: now,
        }
    }

    /// What it does now, if anything waits for it.
    ///
    /// # Errors
    /// If the escrow does not tell it of its audits though it runs.
    pub async fn turn(&mut self, moment: &Moment) -> Result<Option<Call>> {
        if is_silent(moment.now, self.seen) {
            return Ok(Some(Call::Heartbeat));
        }
        if self.opinion == Opinion::Silent || moment.escrow_is_stopped {
            return Ok(None);
        }
        let me = self.hand.node.principal();
        let salt = [me.as_slice()[1]; 32];
        let noise = i32::from(me.as_slice()[0] % 90);
        for audit in self.hand.escrow.audits().await? {
            let at = (audit.job_id, audit.round);
            match audit.phase {
                Some(AuditPhase::Commit) if !self.committed.contains(&at) => {
                    let task = self.hand.escrow.audit_task(at.0).await?;
                    let opinion = match self.opinion {
                        Opinion::Within if task.output.ids != recorded(at.0) => Opinion::Outside,
                        other => other,
                    };
                    let vote = votes::vote(&task, opinion, noise);
                    let escrow = self.hand.escrow.id();
                    let commitment = vote.commitment(escrow, at.0, at.1, me, &salt).to_vec();
                    self.ballots.insert(at, vote);
                    return Ok(Some(Call::Commit(CommitArgs {
                        job_id: at.0,
                        round: at.1,
                        commitment,
                    })));
                }
                Some(AuditPhase::Reveal) if !self.revealed.contains(&at) => {
                    let Some(vote) = self.ballots.get(&at).cloned() else {
                        continue;
                    };
                    return Ok(Some(Call::Reveal(RevealArgs {
                        job_id: at.0,
                        round: at.1,
                        salt: salt.to_vec(),
                        vote,
                    })));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Learns what became of its call.
    pub fn heard(&mut self, call: Call, answer: &Result<Answer, Error>, now: Timestamp) {
        if answer.as_ref().is_err_and(|error| !is_refusal(error)) {
            return;
        }
        match call {
            Call::Heartbeat => self.seen = now,
            Call::Commit(args) => {
                self.committed.insert((args.job_id, args.round));
            }
            Call::Reveal(args) => {
                self.revealed.insert((args.job_id, args.round));
            }
            _ => {}
        }
    }
}
