//! Jobs as workers see them: what is there to do, a lease, a partial result, a delivery.

use crate::image::{ImageOutput, ImageProgress};
use crate::{JobId, JobInput, ModelRef, Parameters, Price, Timestamp, Tokens};
use candid::CandidType;
use serde::{Deserialize, Serialize};

/// What a job used, in the units it is paid by.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, template included.
    pub prompt_tokens: u64,
    /// Tokens of the output, the end token included.
    pub output_tokens: u64,
    /// Width x height x steps of pictures.
    pub pixel_steps: u64,
}

/// Why an output ended.
#[derive(
    CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum FinishReason {
    /// The model's end token.
    #[serde(rename = "stop")]
    Stop,
    /// The most tokens that were asked for, or the end of the context.
    #[serde(rename = "length")]
    Length,
    /// One of the stop strings.
    #[serde(rename = "stop_string")]
    StopString,
}

impl FinishReason {
    /// Its byte in canonical encodings.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Stop => 0,
            Self::Length => 1,
            Self::StopString => 2,
        }
    }

    /// The reason of a byte, where there is one.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Stop),
            1 => Some(Self::Length),
            2 => Some(Self::StopString),
            _ => None,
        }
    }
}

/// The output of a chat or a completion.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct TextOutput {
    /// The tokens that were chosen, the end token included.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Their detokenisation, without the end token and without the stop string.
    pub text: String,
}

/// How much work of a model there is; no prompt is shown.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct WorkSummary {
    /// The model, with its version.
    pub model: ModelRef,
    /// Jobs that wait.
    pub open: u64,
    /// The most output tokens that they ask for, in all.
    pub output_tokens: u64,
    /// When the oldest was submitted.
    pub oldest: Timestamp,
    /// For pictures: their pixel-steps, in all.
    pub pixel_steps: Option<u64>,
}

/// Asks for jobs. The escrow chooses which.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ClaimArgs {
    /// The models the node is ready to run now, with versions.
    pub models: Vec<ModelRef>,
    /// At most this many jobs; at most [`crate::limits::CLAIM_JOBS`].
    pub max: u32,
}

/// A job that is the caller's to do until the lease ends.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The job's number.
    pub job_id: JobId,
    /// The attempt's number, part of the receipt.
    pub attempt: u32,
    /// The installation's nonce, 16 bytes, part of the receipt.
    #[serde(with = "serde_bytes")]
    pub nonce: Vec<u8>,
    /// The model, with its version.
    pub model: ModelRef,
    /// The root of the model's files, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub model_root: Vec<u8>,
    /// What to work on; null for a kind that this client does not know: decline it.
    pub input: Option<JobInput>,
    /// How to choose the output.
    pub parameters: Parameters,
    /// The seed of sampling.
    pub seed: u64,
    /// The salt of the hashes, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub salt: Vec<u8>,
    /// The node's own price at the moment of the claim; zero for a job of a probe round (`docs/mining.md`).
    pub price: Price,
    /// The most that can be charged.
    pub max_charge: Tokens,
    /// The most prompt tokens that can be charged.
    pub max_prompt_tokens: u64,
    /// When the lease ends unless it is extended.
    pub until: Timestamp,
    /// When the job is given up; no lease passes it.
    pub deadline: Timestamp,
}

/// Renews a lease and shows a partial answer.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ExtendArgs {
    /// The job.
    pub job_id: JobId,
    /// The attempt.
    pub attempt: u32,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// How many output tokens were sent before; must be what the escrow has.
    pub from: u32,
    /// The tokens since then.
    pub ids: Vec<u32>,
    /// The text since then.
    pub text: String,
    /// For a picture: the steps that are done, and how it looks. All of the above is zero or empty then.
    pub image: Option<ImageProgress>,
}

/// What `extend` answers.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ExtendReply {
    /// When the lease ends now.
    pub until: Timestamp,
}

/// Gives a lease back.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct DeclineArgs {
    /// The job.
    pub job_id: JobId,
    /// The attempt.
    pub attempt: u32,
    /// Why, for the requester to read.
    pub reason: String,
}

/// Uploads a part of a large output before `deliver`: the bytes of its canonical encoding, in order.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ChunkArgs {
    /// The job.
    pub job_id: JobId,
    /// The attempt.
    pub attempt: u32,
    /// Where the bytes belong; must be what was uploaded so far, or a repetition of an uploaded chunk.
    pub offset: u64,
    /// The bytes, at most [`crate::limits::CHUNK_BYTES`].
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// Asks for a part of a result: of its canonical bytes, as they were hashed (`docs/spec/receipt.md`).
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ResultPartArgs {
    /// The job.
    pub job_id: JobId,
    /// Where the part begins.
    pub offset: u64,
    /// The job's capability, where the caller has no other right to read it.
    pub capability: Option<serde_bytes::ByteBuf>,
}

/// A part of a result.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ResultPart {
    /// The bytes, at most [`crate::limits::RESULT_PART_BYTES`]; none at the end.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    /// How many there are in all.
    pub length: u64,
}

/// Delivers a result with its receipt's signature.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct DeliverArgs {
    /// The job.
    pub job_id: JobId,
    /// The attempt.
    pub attempt: u32,
    /// The output; null where it was uploaded in chunks, and for a picture.
    pub output: Option<TextOutput>,
    /// Salted hash of the output, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub output_hash: Vec<u8>,
    /// What was used.
    pub usage: Usage,
    /// What the node charges for it: its price for the usage, at most `max_charge` of the lease.
    pub charge: Tokens,
    /// Ed25519 signature over the receipt, 64 bytes.
    #[serde(with = "serde_bytes")]
    pub signature: Vec<u8>,
    /// The picture; null where it was uploaded in chunks, and for a text.
    pub image: Option<ImageOutput>,
}

/// What `deliver` answers.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct DeliverReply {
    /// Where the job stands now.
    pub state: Option<crate::JobState>,
    /// What the node's owner was paid.
    pub paid: Tokens,
    /// The receipt's number in the log. A job of a probe round has no receipt: then the number that the next one gets.
    pub receipt: u64,
}
