//! What checking a result takes: the terms fixed at submission, the rounds of an audit, and stake that is at risk.

use crate::records::ReportedPower;
use crate::stored::{self, stored};
use candid::Principal;
use emc_protocol::audit::{
    AuditSettings, AuditTerms, Candidate, GapLevel, Probe, Seat, Verdict, Vote,
};
use emc_protocol::report::NodeOutcome;
use emc_protocol::{JobId, Seconds, Timestamp, Tokens};
use minicbor::{Decode, Encode};

/// How a job's result is to be checked, as fixed at submission.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq)]
pub struct Checking {
    /// True for `always`, false for `sampled`.
    #[n(0)]
    pub always: bool,
    /// The chance that it is audited, in basis points.
    #[n(1)]
    pub chance: u16,
    /// What an accepted vote is paid.
    #[cbor(n(2), with = "stored::tokens")]
    pub vote_fee: Tokens,
    /// What of the lock is for checking.
    #[cbor(n(3), with = "stored::tokens")]
    pub audit_fee: Tokens,
    /// The bond that a node needs.
    #[cbor(n(4), with = "stored::tokens")]
    pub bond: Tokens,
}

/// Stored form of [`AuditTerms`].
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct TermsRecord {
    /// Above, share, besides.
    #[n(0)]
    pub levels: Vec<(u32, u16, u16)>,
    /// Thousandths of a logit.
    #[n(1)]
    pub tolerance_milli: u32,
}

impl From<&AuditTerms> for TermsRecord {
    fn from(terms: &AuditTerms) -> Self {
        let levels = terms.levels.iter();
        Self {
            levels: levels
                .map(|level| (level.above_milli, level.share, level.besides))
                .collect(),
            tolerance_milli: terms.tolerance_milli,
        }
    }
}

impl From<&TermsRecord> for AuditTerms {
    fn from(terms: &TermsRecord) -> Self {
        let level = |&(above_milli, share, besides): &(u32, u16, u16)| GapLevel {
            above_milli,
            share,
            besides,
        };
        Self {
            levels: terms.levels.iter().map(level).collect(),
            tolerance_milli: terms.tolerance_milli,
        }
    }
}

/// What a model's author gets.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq)]
pub struct RoyaltyRecord {
    /// The author.
    #[cbor(n(0), with = "stored::principal")]
    pub author: Principal,
    /// In basis points of the charge.
    #[n(1)]
    pub share: u16,
}

/// Stored form of [`AuditSettings`].
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct AuditSettingsRecord {
    /// Of the `sampled` jobs, in basis points.
    #[n(0)]
    pub sample_rate: u16,
    /// Of the upheld ones, in basis points.
    #[n(1)]
    pub second_look: u16,
    /// In basis points.
    #[n(2)]
    pub detection: u16,
    /// Per million tokens.
    #[cbor(n(3), with = "stored::tokens")]
    pub vote_price: Tokens,
    /// At least.
    #[cbor(n(4), with = "stored::tokens")]
    pub vote_minimum: Tokens,
    /// Of validators.
    #[n(5)]
    pub least_owners: u32,
    /// To compute.
    #[cbor(n(6), with = "stored::seconds")]
    pub commit_window: Seconds,
    /// To reveal.
    #[cbor(n(7), with = "stored::seconds")]
    pub reveal_window: Seconds,
    /// Of a validator, each vote.
    #[cbor(n(8), with = "stored::tokens")]
    pub validator_bond: Tokens,
    /// Of a worker, at least.
    #[cbor(n(9), with = "stored::tokens")]
    pub least_bond: Tokens,
    /// In basis points.
    #[n(10)]
    pub royalty_cap: u16,
}

impl From<&AuditSettings> for AuditSettingsRecord {
    fn from(s: &AuditSettings) -> Self {
        Self {
            sample_rate: s.sample_rate,
            second_look: s.second_look,
            detection: s.detection,
            vote_price: s.vote_price,
            vote_minimum: s.vote_minimum,
            least_owners: s.least_owners,
            commit_window: s.commit_window,
            reveal_window: s.reveal_window,
            validator_bond: s.validator_bond,
            least_bond: s.least_bond,
            royalty_cap: s.royalty_cap,
        }
    }
}

impl From<&AuditSettingsRecord> for AuditSettings {
    fn from(s: &AuditSettingsRecord) -> Self {
        Self {
            sample_rate: s.sample_rate,
            second_look: s.second_look,
            detection: s.detection,
            vote_price: s.vote_price,
            vote_minimum: s.vote_minimum,
            least_owners: s.least_owners,
            commit_window: s.commit_window,
            reveal_window: s.reveal_window,
            validator_bond: s.validator_bond,
            least_bond: s.least_bond,
            royalty_cap: s.royalty_cap,
        }
    }
}

/// What a job in the draw queue waits for.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawRequest {
    /// The job.
    #[n(0)]
    pub job: JobId,
    /// What is to be drawn.
    #[n(1)]
    pub what: Draw,
}

/// What is to be drawn.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
#[cbor(index_only)]
pub enum Draw {
    /// Whether it is audited, and the first committee.
    #[n(0)]
    First,
    /// Whether the first round's verdict is looked at again, and by whom.
    #[n(1)]
    SecondLook,
    /// The second committee: the first round did not uphold the result.
    #[n(2)]
    Second,
}

/// A job's draw and audit.
#[derive(Encode, Decode, Clone, Debug, Default, PartialEq)]
pub struct AuditRecord {
    /// The seed that decided whether it is audited.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub seed: Option<[u8; 32]>,
    /// True if it was drawn.
    #[n(1)]
    pub drawn: bool,
    /// At most two.
    #[n(2)]
    pub rounds: Vec<RoundRecord>,
    /// How it ended.
    #[n(3)]
    pub verdict: Option<VerdictRecord>,
    /// The tokens of the output that was delivered, or the samples of its latent.
    #[n(4)]
    pub positions: u32,
    /// How many counts a vote on it has: the model's levels.
    #[n(5)]
    #[cbor(default)]
    pub levels: u32,
}

/// A round.
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct RoundRecord {
    /// What committee and probes follow from.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub seed: [u8; 32],
    /// When it was drawn.
    #[cbor(n(1), with = "stored::time")]
    pub drawn: Timestamp,
    // 2 held the candidates before the first release; they have a map of their own.
    /// Who was.
    #[n(3)]
    pub seats: Vec<SeatRecord>,
    /// True once commitments are over.
    #[n(4)]
    pub revealing: bool,
    /// When the phase ends.
    #[cbor(n(5), with = "stored::time")]
    pub until: Timestamp,
    /// How it ended.
    #[n(6)]
    pub verdict: Option<VerdictRecord>,
    /// True once it waits for nobody any more.
    #[n(7)]
    pub over: bool,
}

/// Everybody who could be drawn for a round. Apart from it, since the round changes with every vote and these never.
#[derive(Encode, Decode, Clone, Debug, Default, PartialEq)]
#[cbor(transparent)]
pub struct CandidatesRecord(#[n(0)] pub Vec<CandidateRecord>);

/// A candidate.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq)]
pub struct CandidateRecord {
    /// The validator.
    #[cbor(n(0), with = "stored::principal")]
    pub node: Principal,
    /// Its owner.
    #[cbor(n(1), with = "stored::principal")]
    pub owner: Principal,
    /// Its stake.
    #[cbor(n(2), with = "stored::tokens")]
    pub weight: Tokens,
}

impl From<&CandidateRecord> for Candidate {
    fn from(c: &CandidateRecord) -> Self {
        Self {
            node: c.node,
            owner: c.owner,
            weight: c.weight,
        }
    }
}

/// A seat in a committee.
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct SeatRecord {
    /// The validator.
    #[cbor(n(0), with = "stored::principal")]
    pub node: Principal,
    /// Its owner.
    #[cbor(n(1), with = "stored::principal")]
    pub owner: Principal,
    /// What it has at stake for the vote.
    #[cbor(n(2), with = "stored::tokens")]
    pub bond: Tokens,
    /// What it has committed to.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub commitment: Option<[u8; 32]>,
    /// What it has revealed.
    #[n(4)]
    pub vote: Option<VoteRecord>,
    /// Whether the vote was accepted.
    #[n(5)]
    pub accepted: Option<bool>,
    /// What it was paid.
    #[cbor(n(6), with = "stored::tokens")]
    pub paid: Tokens,
    /// What it lost.
    #[cbor(n(7), with = "stored::tokens")]
    pub lost: Tokens,
}

impl From<&SeatRecord> for Seat {
    fn from(seat: &SeatRecord) -> Self {
        Self {
            node: seat.node,
            owner: seat.owner,
            committed: seat.commitment.is_some(),
            vote: seat.vote.as_ref().map(Vote::from),
            accepted: seat.accepted,
            paid: seat.paid,
            lost: seat.lost,
        }
    }
}

/// Stored form of [`Vote`].
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct VoteRecord {
    /// Positions checked.
    #[n(0)]
    pub positions: u32,
    /// First choices.
    #[n(1)]
    pub matches: u32,
    /// In thousandths.
    #[n(2)]
    pub largest_gap_milli: u32,
    /// In thousandths.
    #[n(3)]
    pub mean_gap_milli: u32,
    /// Above each level.
    #[n(4)]
    pub above: Vec<u32>,
    /// Recounted.
    #[n(5)]
    pub prompt_tokens: u64,
    /// Ends as it says.
    #[n(6)]
    pub ends_right: bool,
    /// Reads as its ids.
    #[n(7)]
    pub text_right: bool,
    /// At the probes.
    #[n(8)]
    pub differences: Vec<i32>,
}

impl From<Vote> for VoteRecord {
    fn from(v: Vote) -> Self {
        Self {
            positions: v.positions,
            matches: v.matches,
            largest_gap_milli: v.largest_gap_milli,
            mean_gap_milli: v.mean_gap_milli,
            above: v.above,
            prompt_tokens: v.prompt_tokens,
            ends_right: v.ends_right,
            text_right: v.text_right,
            differences: v.differences,
        }
    }
}

impl From<&VoteRecord> for Vote {
    fn from(v: &VoteRecord) -> Self {
        Self {
            positions: v.positions,
            matches: v.matches,
            largest_gap_milli: v.largest_gap_milli,
            mean_gap_milli: v.mean_gap_milli,
            above: v.above.clone(),
            prompt_tokens: v.prompt_tokens,
            ends_right: v.ends_right,
            text_right: v.text_right,
            differences: v.differences.clone(),
        }
    }
}

/// Stored form of [`Verdict`].
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
#[cbor(index_only)]
pub enum VerdictRecord {
    /// The model's.
    #[n(0)]
    Upheld,
    /// Not the model's.
    #[n(1)]
    Overturned,
    /// Not decided.
    #[n(2)]
    Undecided,
}

impl From<VerdictRecord> for Verdict {
    fn from(verdict: VerdictRecord) -> Self {
        match verdict {
            VerdictRecord::Upheld => Self::Upheld,
            VerdictRecord::Overturned => Self::Overturned,
            VerdictRecord::Undecided => Self::Undecided,
        }
    }
}

/// A validator of a model: the index behind draws and quotes.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq)]
pub struct ValidatorRecord {
    /// Its owner.
    #[cbor(n(0), with = "stored::principal")]
    pub owner: Principal,
    /// Its stake here.
    #[cbor(n(1), with = "stored::tokens")]
    pub stake: Tokens,
    /// Longest prompt and output together that it can recompute.
    #[n(2)]
    pub context: u32,
}

/// What of a node's stake is spoken for.
#[derive(Encode, Decode, Clone, Copy, Debug, Default, PartialEq)]
pub struct BondRecord {
    /// Bonds of jobs and votes that are not final.
    #[cbor(n(0), with = "stored::tokens")]
    pub reserved: Tokens,
    /// Lost, and not yet taken off by the registry.
    #[cbor(n(1), with = "stored::tokens")]
    pub burning: Tokens,
}

/// What has happened to a node since the last report.
#[derive(Encode, Decode, Clone, Copy, Debug, Default, PartialEq)]
pub struct OutcomeRecord {
    /// Jobs.
    #[n(0)]
    pub settled: u32,
    /// Leases.
    #[n(1)]
    pub lapsed: u32,
    /// Leases.
    #[n(2)]
    pub declined: u32,
    /// Results.
    #[n(3)]
    pub upheld: u32,
    /// Results.
    #[n(4)]
    pub overturned: u32,
    /// Accepted.
    #[n(5)]
    pub votes: u32,
    /// Missing or contradicted.
    #[n(6)]
    pub votes_lost: u32,
    /// To be burned.
    #[cbor(n(7), with = "stored::tokens")]
    pub slashed: Tokens,
}

impl OutcomeRecord {
    /// As it is reported.
    pub fn of(&self, node: Principal) -> NodeOutcome {
        NodeOutcome {
            node,
            settled: self.settled,
            lapsed: self.lapsed,
            declined: self.declined,
            upheld: self.upheld,
            overturned: self.overturned,
            votes: self.votes,
            votes_lost: self.votes_lost,
            slashed: self.slashed,
        }
    }
}

/// The report that is under way.
#[derive(Encode, Decode, Clone, Debug, Default, PartialEq)]
pub struct ReportRecord {
    /// The newest number that was given.
    #[n(0)]
    pub number: u64,
    /// True until the registry has said that it has applied that number.
    #[n(1)]
    pub open: bool,
    /// What it says of nodes.
    #[n(2)]
    pub outcomes: Vec<ReportedRecord>,
    /// Whose stake may be unbonded, up to which change of the feed.
    #[n(3)]
    pub acknowledgements: Vec<AcknowledgedRecord>,
    /// When it was made.
    #[cbor(n(4), with = "stored::maybe_time")]
    pub made: Option<Timestamp>,
    /// What nodes have shown in probe rounds.
    #[n(5)]
    #[cbor(default)]
    pub powers: Vec<ReportedPower>,
    /// Up to which epoch everything is said with them.
    #[n(6)]
    pub complete: Option<u64>,
}

/// A line of a report.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq)]
pub struct ReportedRecord {
    /// The node.
    #[cbor(n(0), with = "stored::principal")]
    pub node: Principal,
    /// What has happened.
    #[n(1)]
    pub outcome: OutcomeRecord,
}

/// An acknowledgement.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq)]
pub struct AcknowledgedRecord {
    /// The node.
    #[cbor(n(0), with = "stored::principal")]
    pub node: Principal,
    /// The feed's number.
    #[n(1)]
    pub sequence: u64,
}

stored!(
    DrawRequest,
    AuditRecord,
    ValidatorRecord,
    BondRecord,
    OutcomeRecord,
    ReportRecord,
    CandidatesRecord
);

/// The probes of a round, which follow from its seed.
pub fn probes_of(round: &RoundRecord, number: u32, job: JobId, positions: u32) -> Vec<Probe> {
    emc_protocol::draw::probes(&round.seed, job, number, positions)
}
