//! A job and its attempts, and what the indices hold of it.

use crate::books::Lock;
use crate::movement::Movement;
use crate::records::{Checking, ImageRecord, MiningJob, RoyaltyRecord, TermsRecord};
use crate::stored::{self, stored};
use candid::Principal;
use emc_protocol::{
    Assurance, ImageParameters, ModelRef, Parameters, Price, Timestamp, Tokens, Usage,
    job::{AttemptEnd, JobState, RefundReason, Visibility},
};
use minicbor::{Decode, Encode};

/// A job: everything but its input, preview and output, which lie in maps of their own.
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct JobRecord {
    /// Who asked for it.
    #[cbor(n(0), with = "stored::principal")]
    pub requester: Principal,
    /// The model's number here; its id, version and root follow.
    #[n(1)]
    pub model: u32,
    /// The model's id.
    #[n(2)]
    pub model_id: String,
    /// Its version.
    #[n(3)]
    pub model_version: u32,
    /// The root of its files.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub model_root: [u8; 32],
    /// Where it stands.
    #[n(5)]
    pub stage: Stage,
    /// When it was submitted.
    #[cbor(n(6), with = "stored::time")]
    pub created: Timestamp,
    /// When it is given up.
    #[cbor(n(7), with = "stored::time")]
    pub deadline: Timestamp,
    /// When the running lease ends.
    #[cbor(n(8), with = "stored::maybe_time")]
    pub lease_until: Option<Timestamp>,
    /// When it became final.
    #[cbor(n(9), with = "stored::maybe_time")]
    pub finished: Option<Timestamp>,
    /// The seed of sampling.
    #[n(10)]
    pub seed: u64,
    /// The salt of the hashes.
    #[cbor(n(11), with = "minicbor::bytes")]
    pub salt: [u8; 32],
    /// Salted hash of the input.
    #[cbor(n(12), with = "minicbor::bytes")]
    pub input_hash: [u8; 32],
    /// Hash of model and parameters.
    #[cbor(n(13), with = "minicbor::bytes")]
    pub parameters_hash: [u8; 32],
    /// What was locked at submission.
    #[cbor(n(14), with = "stored::tokens")]
    pub max_price: Tokens,
    /// What is locked now; only the books change it.
    #[n(15)]
    pub lock: Lock,
    /// What was paid for it.
    #[cbor(n(16), with = "stored::maybe_tokens")]
    pub charged: Option<Tokens>,
    /// What was used.
    #[n(17)]
    pub usage: Option<UsageRecord>,
    /// How the output is chosen.
    #[n(18)]
    pub parameters: ParametersRecord,
    /// The prompt's size as estimated, in tokens.
    #[n(19)]
    pub estimate: u64,
    /// The most prompt tokens that are accepted.
    #[n(20)]
    pub prompt_bound: u64,
    /// Length of the input's canonical bytes.
    #[n(21)]
    pub input_bytes: u64,
    /// Every attempt, the first first.
    #[n(22)]
    pub attempts: Vec<AttemptRecord>,
    /// Every movement of money for it.
    #[n(23)]
    pub movements: Vec<Movement>,
    /// True if everybody may read the result.
    #[n(24)]
    pub public: bool,
    /// The receipt's number in the log.
    #[n(25)]
    pub receipt: Option<u64>,
    /// How far the newest attempt has come.
    #[n(26)]
    pub progress: Option<Progress>,
    /// What the newest attempt has uploaded.
    #[n(27)]
    pub upload: Option<Upload>,
    /// How the result is checked; `None` where it is not.
    #[n(28)]
    pub checking: Option<Checking>,
    /// What the node charges for what it delivered, until the job is final.
    #[cbor(n(29), with = "stored::maybe_tokens")]
    pub charge: Option<Tokens>,
    /// Who submitted it on the requester's balance, where that was somebody else.
    #[n(30)]
    pub delegation: Option<DelegationUsed>,
    /// True if `emc_job_done` is to be called on whoever submitted it.
    #[n(31)]
    #[cbor(default)]
    pub notify: bool,
    /// The time that it was given, in seconds.
    #[n(32)]
    #[cbor(default)]
    pub allowed: u64,
    /// The outages that its times include already, in nanoseconds.
    #[n(33)]
    #[cbor(default)]
    pub away: u64,
    /// What makes it a job of the mining pool's own.
    #[n(34)]
    pub mining: Option<MiningJob>,
    /// How a picture is made; `None` for a text.
    #[n(35)]
    pub image: Option<ImageRecord>,
}

/// By whose permission a job was submitted.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelegationUsed {
    /// Who submitted it.
    #[cbor(n(0), with = "stored::principal")]
    pub delegate: Principal,
    /// The delegation's number.
    #[n(1)]
    pub number: u64,
}

/// Where a job stands.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waits for a node.
    #[n(0)]
    Open,
    /// A node has it.
    #[n(1)]
    Leased,
    /// Paid for.
    #[n(2)]
    Settled,
    /// Ended without a result.
    #[n(3)]
    Refunded(#[n(0)] Refund),
    /// Delivered; waits for the draw.
    #[n(4)]
    Delivered,
    /// Validators recompute it.
    #[n(5)]
    Auditing,
    /// Validators did not decide: the price was split.
    #[n(6)]
    Undecided,
}

/// Why a job ended without a result.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
#[cbor(index_only)]
pub enum Refund {
    /// Its time was up.
    #[n(0)]
    Deadline,
    /// The requester cancelled it.
    #[n(1)]
    Cancelled,
    /// Nobody may try it any more.
    #[n(2)]
    Attempts,
    /// An audit found that the result is not the model's.
    #[n(3)]
    Overturned,
}

impl Stage {
    /// The state as callers see it.
    pub fn state(self) -> JobState {
        match self {
            Self::Open => JobState::Open,
            Self::Leased => JobState::Leased,
            Self::Settled => JobState::Settled,
            Self::Refunded(_) => JobState::Refunded,
            Self::Delivered => JobState::Delivered,
            Self::Auditing => JobState::Auditing,
            Self::Undecided => JobState::Undecided,
        }
    }

    /// Why it was refunded, where it was.
    pub fn refund_reason(self) -> Option<RefundReason> {
        match self {
            Self::Refunded(Refund::Deadline) => Some(RefundReason::Deadline),
            Self::Refunded(Refund::Cancelled) => Some(RefundReason::Cancelled),
            Self::Refunded(Refund::Attempts) => Some(RefundReason::Attempts),
            Self::Refunded(Refund::Overturned) => Some(RefundReason::Overturned),
            _ => None,
        }
    }

    /// True where nothing can happen to the job any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Settled | Self::Refunded(_) | Self::Undecided)
    }
}

impl JobRecord {
    /// The model as callers name it.
    pub fn model_ref(&self) -> ModelRef {
        ModelRef {
            id: self.model_id.clone(),
            version: Some(self.model_version),
        }
    }

    /// When the due queue must look at it; `None` for a final job, and for one that waits in the draw queue.
    pub fn due(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::Open => Some(self.deadline),
            Stage::Leased => Some(self.lease_until.unwrap_or(self.deadline)),
            // The end of the validators' phase; `None` between two rounds.
            Stage::Auditing => self.lease_until,
            Stage::Delivered | Stage::Settled | Stage::Refunded(_) | Stage::Undecided => None,
        }
    }

    /// True for a twin with a wrong answer.
    pub fn is_canary(&self) -> bool {
        self.mining.is_some_and(|mining| mining.canary)
    }

    /// Who submitted it.
    pub fn submitter(&self) -> Principal {
        self.delegation.map_or(self.requester, |used| used.delegate)
    }

    /// What of the lock may be charged for the result: all but what is for checking it.
    pub fn chargeable(&self) -> Tokens {
        let fee = self.checking.map_or(0, |checking| checking.audit_fee.0);
        Tokens(self.lock.amount().0.saturating_sub(fee))
    }

    /// What the requester asked for.
    pub fn assurance(&self) -> Assurance {
        match self.checking {
            None => Assurance::None,
            Some(checking) if checking.always => Assurance::Always,
            Some(_) => Assurance::Sampled,
        }
    }

    /// Longest output text that is accepted with this many ids, in bytes.
    pub fn text_bound(ids: usize) -> usize {
        ids.saturating_mul(64).saturating_add(1_024)
    }

    /// Longest output in its canonical encoding.
    pub fn output_bound(&self) -> u64 {
        if let Some(image) = &self.image {
            return ImageParameters::from(image).output_bound();
        }
        let ids = self.parameters.max_tokens as usize;
        (11 + 4 * ids + Self::text_bound(ids)) as u64
    }

    /// The most that it is expected to use: what it is claimed, quoted and locked by.
    pub fn demand(&self) -> Usage {
        Usage {
            prompt_tokens: self.estimate,
            output_tokens: self.parameters.max_tokens.into(),
            pixel_steps: self.pixel_steps(),
        }
    }

    /// Pixel-steps of a picture; 0 for a text.
    pub fn pixel_steps(&self) -> u64 {
        let image = self.image.as_ref().map(ImageParameters::from);
        image.map_or(0, |image| image.pixel_steps())
    }

    /// Who may see it.
    pub fn visibility(&self) -> Visibility {
        if self.public {
            Visibility::Public
        } else {
            Visibility::Private
        }
    }
}

/// Stored form of a usage.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq)]
#[cbor(transparent)]
pub struct UsageRecord(#[cbor(n(0), with = "stored::usage")] pub Usage);

/// Stored form of [`Parameters`].
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct ParametersRecord {
    /// Most output tokens.
    #[n(0)]
    pub max_tokens: u32,
    /// Temperature in thousandths.
    #[n(1)]
    pub temperature_milli: u32,
    /// Keep this many; 0 for all.
    #[n(2)]
    pub top_k: u32,
    /// Keep up to this probability, in thousandths.
    #[n(3)]
    pub top_p_milli: u32,
    /// Keep what is this likely relative to the likeliest, in thousandths.
    #[n(4)]
    pub min_p_milli: u32,
    /// Texts that end the output.
    #[n(5)]
    pub stop: Vec<String>,
}

impl From<&Parameters> for ParametersRecord {
    fn from(p: &Parameters) -> Self {
        Self {
            max_tokens: p.max_tokens,
            temperature_milli: p.temperature_milli,
            top_k: p.top_k,
            top_p_milli: p.top_p_milli,
            min_p_milli: p.min_p_milli,
            stop: p.stop.clone(),
        }
    }
}

impl From<&ParametersRecord> for Parameters {
    fn from(p: &ParametersRecord) -> Self {
        Self {
            max_tokens: p.max_tokens,
            temperature_milli: p.temperature_milli,
            top_k: p.top_k,
            top_p_milli: p.top_p_milli,
            min_p_milli: p.min_p_milli,
            stop: p.stop.clone(),
        }
    }
}

/// One attempt: who holds or held the lease, and the terms as they were at the claim.
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub struct AttemptRecord {
    /// The node.
    #[cbor(n(0), with = "stored::principal")]
    pub node: Principal,
    /// Its owner then.
    #[cbor(n(1), with = "stored::principal")]
    pub owner: Principal,
    /// Its Ed25519 public key.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub public_key: [u8; 32],
    /// What it asks.
    #[cbor(n(3), with = "stored::price")]
    pub price: Price,
    /// When it claimed.
    #[cbor(n(4), with = "stored::time")]
    pub claimed: Timestamp,
    /// How it ended; `None` while it runs.
    #[n(5)]
    pub end: Option<End>,
    /// The treasury's share at the claim, in basis points.
    #[n(6)]
    pub treasury_share: u16,
    /// The fee for a lapse at the claim.
    #[cbor(n(7), with = "stored::tokens")]
    pub lapse_fee: Tokens,
    /// What the node has at stake for it now; `None` where the result is not checked, or nothing is at stake any more.
    #[cbor(n(8), with = "stored::maybe_tokens")]
    pub bond: Option<Tokens>,
    /// What the model's author gets, as it was at the claim.
    #[n(9)]
    pub royalty: Option<RoyaltyRecord>,
    /// When an output counts as the model's, as it was at the claim.
    #[n(10)]
    pub terms: Option<TermsRecord>,
    /// The longest prompt and output together that the node offered.
    #[n(11)]
    pub context: Option<u32>,
}

/// How an attempt ended.
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
pub enum End {
    /// The result was delivered.
    #[n(0)]
    Delivered,
    /// The lease lapsed.
    #[n(1)]
    Lapsed,
    /// The node gave it back, and why.
    #[n(2)]
    Declined(#[n(0)] String),
    /// The requester cancelled.
    #[n(3)]
    Cancelled,
}

impl From<&End> for AttemptEnd {
    fn from(end: &End) -> Self {
        match end {
            End::Delivered => Self::Delivered,
            End::Lapsed => Self::Lapsed,
            End::Declined(why) => Self::Declined(why.clone()),
            End::Cancelled => Self::Cancelled,
        }
    }
}

/// How far an attempt has come, as its `extend` calls said.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Tokens of the prompt.
    #[n(0)]
    pub prompt_tokens: u64,
    /// Output tokens so far.
    #[n(1)]
    pub ids: u32,
    /// When the last `extend` came.
    #[cbor(n(2), with = "stored::time")]
    pub time: Timestamp,
    /// Steps of a picture so far.
    #[n(3)]
    #[cbor(default)]
    pub steps: u32,
}

/// What an attempt has uploaded.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq)]
pub struct Upload {
    /// Bytes, all from the beginning.
    #[n(0)]
    pub bytes: u64,
    /// Chunks.
    #[n(1)]
    pub chunks: u32,
}

/// The partial answer of the newest attempt.
#[derive(Encode, Decode, Clone, Debug, Default, PartialEq)]
pub struct PreviewRecord {
    /// The ids, four bytes each, little-endian.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub ids: Vec<u8>,
    /// The text.
    #[n(1)]
    pub text: String,
    /// How a picture looks so far.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub png: Option<Vec<u8>>,
}

/// What `claim` must know of an open job before it loads it.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq)]
pub struct OpenRecord {
    /// The prompt's size as estimated, in tokens.
    #[n(0)]
    pub estimate: u64,
    /// Most output tokens.
    #[n(1)]
    pub max_tokens: u32,
    /// What may be charged for it.
    #[cbor(n(2), with = "stored::tokens")]
    pub locked: Tokens,
    /// Length of the input's canonical bytes.
    #[n(3)]
    pub input_bytes: u64,
    /// True if somebody tried it before.
    #[n(4)]
    pub tried: bool,
    /// The bond that a node needs; `None` where the result is not checked.
    #[cbor(n(5), with = "stored::maybe_tokens")]
    pub bond: Option<Tokens>,
    /// Pixel-steps of a picture; 0 for a text.
    #[n(6)]
    #[cbor(default)]
    pub pixel_steps: u64,
}

impl OpenRecord {
    /// The most that it is expected to use.
    pub fn demand(&self) -> Usage {
        Usage {
            prompt_tokens: self.estimate,
            output_tokens: self.max_tokens.into(),
            pixel_steps: self.pixel_steps,
        }
    }
}

/// Open jobs of a model, counted.
#[derive(Encode, Decode, Clone, Copy, Debug, Default, PartialEq)]
pub struct WaitingRecord {
    /// How many.
    #[n(0)]
    pub jobs: u64,
    /// The most output tokens they ask for, in all.
    #[n(1)]
    pub output_tokens: u64,
    /// Pixel-steps of pictures, in all.
    #[n(2)]
    #[cbor(default)]
    pub pixel_steps: u64,
}

stored!(JobRecord, PreviewRecord, OpenRecord, WaitingRecord);
