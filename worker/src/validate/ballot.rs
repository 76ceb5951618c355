//! One vote: computed, sealed in the journal, committed to; and revealed.

use std::sync::atomic::Ordering::Relaxed;

use emc_protocol::audit::{AuditSummary, AuditTask, CommitArgs, RevealArgs};
use emc_protocol::error::code;
use emc_protocol::image::ImageOutput;
use emc_protocol::work::ResultPartArgs;
use emc_protocol::{ByteBuf, canonical};
use rand::RngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};

use super::{Outcome, Validator};
use crate::engine::{EngineError, Server};
use crate::escrow::Escrow;
use crate::journal::{SealedVote, SeatKey};
use crate::work::{Served, store};

impl<E: Escrow> Validator<E> {
    /// Computes the vote where the journal does not hold it, and commits to it.
    pub(super) async fn commit(&self, audit: &AuditSummary) -> Outcome {
        let key = SeatKey::of(audit);
        let Some(served) = self.served.get() else {
            return Outcome::Later;
        };
        let Some(served) = served.iter().find(|served| served.model == audit.model) else {
            return self.cannot(key, "this node does not serve the model").await;
        };
        let task = match self.escrow.audit_task(key.job_id).await {
            Ok(task) if task.round == key.round => task,
            Ok(_) => return Outcome::Later,
            Err(error) => {
                tracing::warn!(%error, "the audit's task cannot be fetched; trying on");
                self.metrics.call_failures.fetch_add(1, Relaxed);
                return Outcome::Later;
            }
        };
        if task.model_root != served.root {
            let why = format!(
                "its model has the root {}, the files here have {}",
                hex::encode(&task.model_root),
                hex::encode(served.root)
            );
            return self.cannot(key, &why).await;
        }
        let digest = digest(&task);
        let vote = match self.journal.sealed_vote(key) {
            // An earlier try may have arrived without our knowing: only the very same vote can be revealed then.
            Ok(Some(vote)) if vote.task.as_slice() == digest => vote,
            Ok(_) => match self.compute(served, task, key, digest).await {
                Ok(vote) => vote,
                Err(outcome) => return outcome,
            },
            Err(error) => {
                tracing::error!(%error, "the vote cannot be read");
                return Outcome::Later;
            }
        };
        self.send_commitment(&vote).await
    }

    /// Computes a vote and seals it in the journal.
    async fn compute(
        &self,
        served: &Served,
        task: AuditTask,
        key: SeatKey,
        digest: [u8; 32],
    ) -> Result<SealedVote, Outcome> {
        let checked = match &served.server {
            Server::Text(engine) => engine.verify(task).await,
            Server::Pictures(painter) => match self.delivered_picture(key, &task).await? {
                Some(delivered) => painter.verify(task, delivered).await,
                None => {
                    let why = "what was delivered is not a picture";
                    return Err(self.cannot(key, why).await);
                }
            },
        };
        let checked = match checked {
            Ok(checked) => checked,
            Err(EngineError::Unsuitable(why)) => return Err(self.cannot(key, &why).await),
            Err(error) => {
                tracing::warn!(%error, "the answer could not be checked; trying on");
                return Err(Outcome::Later);
            }
        };
        self.metrics.audited(checked.took);
        let mut salt = [0; 32];
        if let Err(error) = OsRng.try_fill_bytes(&mut salt) {
            tracing::error!(%error, "the operating system gives no random bytes for the salt");
            return Err(Outcome::Later);
        }
        let vote = SealedVote {
            job_id: key.job_id,
            round: key.round,
            task: ByteBuf::from(digest.to_vec()),
            salt: ByteBuf::from(salt.to_vec()),
            vote: checked.vote,
            committed: false,
        };
        let stored = vote.clone();
        if let Err(error) = store(&self.journal, move |journal| journal.sealed(&stored)).await {
            tracing::error!(%error, "not committed to, since the journal cannot hold the vote");
            return Err(Outcome::Later);
        }
        tracing::info!(
            positions = vote.vote.positions,
            matches = vote.vote.matches,
            largest_gap_milli = vote.vote.largest_gap_milli,
            above = ?vote.vote.above,
            ends_right = vote.vote.ends_right,
            text_right = vote.vote.text_right,
            milliseconds = checked.took.as_millis() as u64,
            "checked"
        );
        Ok(vote)
    }

    /// What was delivered of a picture; `None` where it is none.
    async fn delivered_picture(
        &self,
        key: SeatKey,
        task: &AuditTask,
    ) -> Result<Option<ImageOutput>, Outcome> {
        let length = task.image.as_ref().map_or(0, |image| image.result_bytes);
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < length {
            let args = ResultPartArgs {
                job_id: key.job_id,
                offset: bytes.len() as u64,
                capability: None,
            };
            match self.escrow.result_part(args).await {
                Ok(part) if part.bytes.is_empty() => break,
                Ok(part) => bytes.extend(part.bytes),
                Err(error) => {
                    tracing::warn!(%error, "the picture cannot be fetched; trying on");
                    self.metrics.call_failures.fetch_add(1, Relaxed);
                    return Err(Outcome::Later);
                }
            }
        }
        Ok(canonical::read_image_output(&bytes))
    }

    async fn send_commitment(&self, sealed: &SealedVote) -> Outcome {
        let key = sealed.key();
        let Ok(salt) = <[u8; 32]>::try_from(sealed.salt.as_slice()) else {
            return self.lost(key, "the journal's record is damaged").await;
        };
        let vote = &sealed.vote;
        let commitment = vote.commitment(self.escrow_id, key.job_id, key.round, self.node, &salt);
        let args = CommitArgs {
            job_id: key.job_id,
            round: key.round,
            commitment: commitment.to_vec(),
        };
        let error = match self.escrow.commit_vote(args).await {
            Ok(()) => {
                self.note(move |journal| journal.committed(key)).await;
                let more = u64::from(!sealed.committed);
                self.metrics.votes_committed.fetch_add(more, Relaxed);
                return Outcome::Done;
            }
            Err(error) => error,
        };
        match error.code() {
            Some(code::NOT_YOUR_AUDIT | code::BAD_VOTE | code::NOT_FOUND | code::INVALID) => {
                self.lost(key, &error.to_string()).await
            }
            _ => {
                tracing::warn!(%error, "not committed to yet; trying on");
                self.metrics.call_failures.fetch_add(1, Relaxed);
                Outcome::Later
            }
        }
    }

    /// Reveals the vote that the journal holds.
    pub(super) async fn reveal(&self, key: SeatKey) -> Outcome {
        let sealed = match self.journal.sealed_vote(key) {
            Ok(Some(sealed)) => sealed,
            Ok(None) => {
                let why = "the vote that was committed to is not in the journal";
                return self.lost(key, why).await;
            }
            Err(error) => return self.lost(key, &error.to_string()).await,
        };
        let args = RevealArgs {
            job_id: key.job_id,
            round: key.round,
            salt: sealed.salt.to_vec(),
            vote: sealed.vote,
        };
        let error = match self.escrow.reveal_vote(args).await {
            Ok(()) => {
                self.revealed(key, sealed.committed).await;
                tracing::info!("voted");
                return Outcome::Over;
            }
            Err(error) => error,
        };
        match error.code() {
            Some(code::BAD_VOTE | code::INVALID | code::NOT_FOUND) => {
                self.lost(key, &error.to_string()).await
            }
            // That the round is over may be the work of an earlier try of ours: `look_after` finds out.
            _ => {
                tracing::warn!(%error, "not revealed yet; trying on");
                self.metrics.call_failures.fetch_add(1, Relaxed);
                Outcome::Later
            }
        }
    }

    /// This node cannot do the audit, now or later.
    async fn cannot(&self, key: SeatKey, why: &str) -> Outcome {
        self.metrics.audits_failed.fetch_add(1, Relaxed);
        self.lost(key, why).await
    }

    async fn lost(&self, key: SeatKey, why: &str) -> Outcome {
        self.missed(key, why).await;
        Outcome::Over
    }
}

/// Tells tasks apart: a job and round of an earlier installation of the escrow may have the same numbers.
fn digest(task: &AuditTask) -> [u8; 32] {
    let bytes = candid::encode_one(task).expect("our own types have a Candid form");
    Sha256::digest(bytes).into()
}
