//! Audits: how a job's result is checked by validators who recompute it, and what everybody may see of that.
//!
//! The rules are in `docs/protocol.md`, the bytes that are hashed in `docs/spec/audit.md`.

use crate::canonical::Writer;
use crate::{JobId, JobInput, ModelRef, Parameters, Seconds, TextOutput, Timestamp, Tokens, Usage};
use candid::{CandidType, Principal};
use serde::{Deserialize, Serialize};

/// Probes that one round asks for.
pub const PROBES: usize = 16;
/// Validators of the first round; all of them must find the result right to uphold it.
pub const FIRST_COMMITTEE: usize = 3;
/// Validators of the second round.
pub const SECOND_COMMITTEE: usize = 5;
/// How many of the second round must find the result wrong to overturn it.
pub const OVERTURNING: usize = 4;
/// Most levels of a model's terms.
pub const LEVELS: usize = 8;

/// How strongly a job's result is to be checked.
#[derive(
    CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord,
)]
pub enum Assurance {
    /// Not at all: the receipt alone says who computed it.
    #[default]
    #[serde(rename = "none")]
    None,
    /// With the escrow's sampling rate, and a bond that makes cheating a loss on average.
    #[serde(rename = "sampled")]
    Sampled,
    /// For certain.
    #[serde(rename = "always")]
    Always,
}

/// How many positions of an output may lie above a gap.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapLevel {
    /// The gap, in thousandths of a logit.
    pub above_milli: u32,
    /// The share of all positions that may lie above it, in basis points.
    pub share: u16,
    /// So many positions may lie above it besides, so that short outputs are not judged by one token.
    pub besides: u16,
}

impl GapLevel {
    /// How many of so many positions may lie above this level.
    pub fn allowed(&self, positions: u32) -> u64 {
        u64::from(positions) * u64::from(self.share) / 10_000 + u64::from(self.besides)
    }
}

/// When an output counts as a model's own: measured by calibration, published with the model, in effect once the
/// governor has listed it.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct AuditTerms {
    /// The gaps and how many positions may lie above each; at least one, ascending.
    pub levels: Vec<GapLevel>,
    /// How far the logit differences of two honest validators may lie apart, in thousandths of a logit.
    pub tolerance_milli: u32,
}

impl AuditTerms {
    /// True if the terms can be applied: levels ascending, not too many, a tolerance above zero.
    pub fn is_valid(&self) -> bool {
        let ascending = self
            .levels
            .windows(2)
            .all(|two| two[0].above_milli < two[1].above_milli);
        (1..=LEVELS).contains(&self.levels.len())
            && ascending
            && self.tolerance_milli > 0
            && self.levels.iter().all(|level| level.share <= 10_000)
    }
}

/// Settings of audits that the governor may change.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// How many of the `sampled` jobs are audited, in basis points.
    pub sample_rate: u16,
    /// How many of the upheld ones go on to a second round all the same, in basis points.
    pub second_look: u16,
    /// How many of the cheats that are drawn are thought to be overturned, in basis points; sizes the bonds. The default
    /// is what was found where a fifth of the validators' stake colludes (`docs/simulation.md`).
    pub detection: u16,
    /// What one vote is paid, e8s per million tokens of prompt and output.
    pub vote_price: Tokens,
    /// What one vote is paid at least.
    pub vote_minimum: Tokens,
    /// How many distinct owners' validators must serve a model for its jobs to be audited.
    pub least_owners: u32,
    /// How long validators have to compute and commit.
    pub commit_window: Seconds,
    /// How long they then have to reveal.
    pub reveal_window: Seconds,
    /// What a validator stakes on each vote.
    pub validator_bond: Tokens,
    /// What a worker's bond is at least.
    pub least_bond: Tokens,
    /// The most that a model's author gets of a charge, in basis points.
    pub royalty_cap: u16,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            sample_rate: 1_000,
            second_look: 500,
            detection: 7_500,
            vote_price: Tokens(20_000_000),
            vote_minimum: Tokens(2_000),
            least_owners: 8,
            commit_window: Seconds(180),
            reveal_window: Seconds(60),
            validator_bond: Tokens(10_000_000),
            least_bond: Tokens(1_000_000),
            royalty_cap: 2_000,
        }
    }
}

/// A position that a round asks about.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The position of the output, 0 for its first token; without meaning for a picture.
    pub position: u32,
    /// Picks the token that the chosen one is compared with: this number modulo the size of the vocabulary, and the
    /// next one (modulo the size) where that is the chosen token itself. For a picture, the element of the final latent
    /// that is asked for: this number modulo how many there are.
    pub decoy: u64,
}

/// What a validator has found. Not an opinion: numbers that the escrow judges and compares. Of a picture the positions are
/// the samples of its final latent, and gaps and differences are thousandths of the latent's own unit.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Positions of the output that were checked: all of them.
    pub positions: u32,
    /// At how many the chosen token is the validator's first choice too.
    pub matches: u32,
    /// The largest gap, in thousandths of a logit.
    pub largest_gap_milli: u32,
    /// The mean gap, in thousandths of a logit.
    pub mean_gap_milli: u32,
    /// How many positions lie above each level of the model's terms.
    pub above: Vec<u32>,
    /// The prompt's tokens, recounted.
    pub prompt_tokens: u64,
    /// True if the output ends as its finish reason says, and nowhere before; for a picture, if it decodes to its size.
    pub ends_right: bool,
    /// True if the text is that of the ids; for a picture, if its pixels are those of the latent.
    pub text_right: bool,
    /// At each probe of the task, in order: logit of the chosen token minus logit of the decoy, in thousandths; for a
    /// picture, the validator's own latent at the element that the decoy names.
    pub differences: Vec<i32>,
}

impl Vote {
    /// The hash that is committed: over the escrow, job, round and validator, 32 bytes of salt that nobody else knows,
    /// and the vote (`docs/spec/audit.md`).
    pub fn commitment(
        &self,
        escrow: Principal,
        job: JobId,
        round: u32,
        validator: Principal,
        salt: &[u8; 32],
    ) -> [u8; 32] {
        let mut out = Writer::new("emc-vote-v1");
        for principal in [escrow, validator] {
            out.u8(principal.as_slice().len() as u8);
            out.raw(principal.as_slice());
        }
        out.u64(job);
        out.u32(round);
        out.raw(salt);
        out.u32(self.positions);
        out.u32(self.matches);
        out.u32(self.largest_gap_milli);
        out.u32(self.mean_gap_milli);
        out.u32(self.above.len() as u32);
        self.above.iter().for_each(|count| out.u32(*count));
        out.u64(self.prompt_tokens);
        out.u8(self.ends_right.into());
        out.u8(self.text_right.into());
        out.u32(self.differences.len() as u32);
        self.differences
            .iter()
            .for_each(|difference| out.raw(&difference.to_le_bytes()));
        out.sha256()
    }
}

/// An audit that waits for a validator.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct AuditSummary {
    /// The job.
    pub job_id: JobId,
    /// The round: 1 or 2.
    pub round: u32,
    /// The model, with its version.
    pub model: ModelRef,
    /// What is to be done now.
    pub phase: Option<AuditPhase>,
    /// When it must be done.
    pub until: Timestamp,
    /// What an accepted vote is paid.
    pub fee: Tokens,
}

/// What a round waits for.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditPhase {
    /// Commitments.
    #[serde(rename = "commit")]
    Commit,
    /// The votes behind them.
    #[serde(rename = "reveal")]
    Reveal,
}

/// Everything that a validator needs to compute its vote. Only a member of the round's committee can read it.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct AuditTask {
    /// The job.
    pub job_id: JobId,
    /// The round.
    pub round: u32,
    /// The model, with its version.
    pub model: ModelRef,
    /// The root of the model's files, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub model_root: Vec<u8>,
    /// What the job works on; null for a kind that this client does not know.
    pub input: Option<JobInput>,
    /// How the output was to be chosen.
    pub parameters: Parameters,
    /// The seed of sampling.
    pub seed: u64,
    /// What was delivered.
    pub output: TextOutput,
    /// What was claimed to be used.
    pub usage: Usage,
    /// The longest prompt and output together that the node offered, in tokens: where an output may end by length.
    pub context: u32,
    /// The positions to report on: those of the first round first, then, in the second round, its own.
    pub probes: Vec<Probe>,
    /// The model's terms.
    pub terms: AuditTerms,
    /// For a picture: what was delivered; `output` is empty then.
    pub image: Option<crate::image::ImageTask>,
}

/// Commits to a vote.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct CommitArgs {
    /// The job.
    pub job_id: JobId,
    /// The round.
    pub round: u32,
    /// [`Vote::commitment`], 32 bytes.
    #[serde(with = "serde_bytes")]
    pub commitment: Vec<u8>,
}

/// Reveals a vote that was committed to.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct RevealArgs {
    /// The job.
    pub job_id: JobId,
    /// The round.
    pub round: u32,
    /// The salt of the commitment, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub salt: Vec<u8>,
    /// The vote.
    pub vote: Vote,
}

/// How an audit, or a round of it, ended.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The result is the model's, within its terms.
    #[serde(rename = "upheld")]
    Upheld,
    /// It is not: the job is refunded and the worker's bond burned.
    #[serde(rename = "overturned")]
    Overturned,
    /// The validators did not decide.
    #[serde(rename = "undecided")]
    Undecided,
}

/// A validator that could be drawn, with its weight.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The validator.
    pub node: Principal,
    /// Its owner.
    pub owner: Principal,
    /// Its free stake in the escrow, e8s: what it is drawn by.
    pub weight: Tokens,
}

/// A drawn validator and what became of its vote.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The validator.
    pub node: Principal,
    /// Its owner.
    pub owner: Principal,
    /// True once it has committed.
    pub committed: bool,
    /// What it revealed.
    pub vote: Option<Vote>,
    /// Whether the vote was accepted; null while the round runs.
    pub accepted: Option<bool>,
    /// What it was paid.
    pub paid: Tokens,
    /// What it lost of its stake.
    pub lost: Tokens,
}

/// A round of an audit.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct AuditRound {
    /// 1 or 2.
    pub number: u32,
    /// The random bytes that the committee and the probes follow from, 32 of them; drawn after the result, or the
    /// first round's votes, were there.
    #[serde(with = "serde_bytes")]
    pub seed: Vec<u8>,
    /// When.
    pub drawn: Timestamp,
    /// Everybody who could be drawn, by principal.
    pub candidates: Vec<Candidate>,
    /// Who was.
    pub seats: Vec<Seat>,
    /// What they were asked.
    pub probes: Vec<Probe>,
    /// How it ended; null while it runs, or where the round decided nothing.
    pub verdict: Option<Verdict>,
}

/// Everything about the draw and the audit of a job, so that anyone can recompute it.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The job.
    pub job_id: JobId,
    /// What the requester asked for.
    pub assurance: Option<Assurance>,
    /// The chance with which it was drawn, in basis points.
    pub chance: u16,
    /// The random bytes that decided whether it is audited, 32 of them; null while it waits for them.
    pub seed: Option<serde_bytes::ByteBuf>,
    /// True if it was drawn.
    pub drawn: bool,
    /// The worker's bond for it.
    pub bond: Tokens,
    /// What one accepted vote is paid.
    pub fee: Tokens,
    /// The rounds.
    pub rounds: Vec<AuditRound>,
    /// How it ended.
    pub verdict: Option<Verdict>,
}
