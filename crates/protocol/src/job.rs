//! Jobs as requesters see them: what is asked for, on what terms, where it stands, what it cost.

use crate::image::{ImageInput, ImageProgress, ImageView};
use crate::model::Task;
use crate::{ModelRef, Posting, Price, Seconds, TextOutput, Timestamp, Tokens, Usage};
use candid::{CandidType, Principal};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// A job's number in its escrow.
pub type JobId = u64;

/// Who speaks in a conversation.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatRole {
    /// Instructions to the model.
    #[serde(rename = "system")]
    System,
    /// The person.
    #[serde(rename = "user")]
    User,
    /// The model.
    #[serde(rename = "assistant")]
    Assistant,
}

/// One message of a conversation.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: ChatRole,
    /// What is said.
    pub content: String,
}

/// What a job works on.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum JobInput {
    /// A conversation, to be answered; rendered by the model's own chat template.
    #[serde(rename = "chat")]
    Chat {
        /// The messages, oldest first.
        messages: Vec<ChatMessage>,
    },
    /// A text, to be continued as it is.
    #[serde(rename = "completion")]
    Completion {
        /// The text.
        prompt: String,
    },
    /// A picture, to be made.
    #[serde(rename = "image")]
    Image(ImageInput),
}

impl JobInput {
    /// The task of the models that can do it.
    pub fn task(&self) -> Task {
        match self {
            Self::Chat { .. } | Self::Completion { .. } => Task::Chat,
            Self::Image(_) => Task::Image,
        }
    }

    /// What a picture is made from, where it is one.
    pub fn image(&self) -> Option<&ImageInput> {
        match self {
            Self::Chat { .. } | Self::Completion { .. } => None,
            Self::Image(input) => Some(input),
        }
    }
}

/// How the output is chosen. Decimals are thousandths, so that every machine reads the same number. For pictures all of
/// it is zero ([`Parameters::unused`]): theirs are in the input.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Most output tokens.
    pub max_tokens: u32,
    /// Temperature in thousandths; 0 is greedy.
    pub temperature_milli: u32,
    /// Keep only this many most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Keep the most likely tokens up to this probability, in thousandths; 1000 keeps all.
    pub top_p_milli: u32,
    /// Keep tokens at least this likely relative to the likeliest, in thousandths; 0 keeps all.
    pub min_p_milli: u32,
    /// Texts that end the output.
    pub stop: Vec<String>,
}

impl Parameters {
    /// Greedy decoding up to a number of tokens.
    pub fn greedy(max_tokens: u32) -> Self {
        Self {
            max_tokens,
            temperature_milli: 0,
            top_k: 0,
            top_p_milli: 1000,
            min_p_milli: 0,
            stop: vec![],
        }
    }

    /// Those of a job that chooses no tokens: all zero.
    pub fn unused() -> Self {
        Self {
            top_p_milli: 0,
            ..Self::greedy(0)
        }
    }
}

/// What to do where no live node serves the model within the price.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfUnserved {
    /// Refuse the job at once.
    #[default]
    #[serde(rename = "refuse")]
    Refuse,
    /// Wait for a node until the deadline.
    #[serde(rename = "queue")]
    Queue,
}

/// Who may read the result.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// The requester, and whoever holds the job's capability.
    #[default]
    #[serde(rename = "private")]
    Private,
    /// Everybody.
    #[serde(rename = "public")]
    Public,
}

/// A job to be done.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SubmitJob {
    /// The model; without a version, the newest at this moment.
    pub model: ModelRef,
    /// What it works on.
    pub input: JobInput,
    /// How the output is chosen.
    pub parameters: Parameters,
    /// The most the job may cost in all; locked until it is final, what is left goes back.
    pub max_price: Tokens,
    /// How long it may take in all; ten minutes where absent.
    pub deadline: Option<Seconds>,
    /// What to do where nobody serves it; refuse where absent.
    pub if_unserved: Option<IfUnserved>,
    /// The same key from the same caller within 24 hours names the same job, so that a repeated call is harmless.
    pub request_key: Option<ByteBuf>,
    /// The seed of sampling; derived from the escrow and the job's number where absent.
    pub seed: Option<u64>,
    /// 32 random bytes that salt the hashes of input and output; derived by the escrow where absent.
    pub salt: Option<ByteBuf>,
    /// Who may read the result; private where absent.
    pub visibility: Option<Visibility>,
    /// How strongly the result is to be checked; not at all where absent. What that costs is inside `max_price`.
    pub assurance: Option<crate::Assurance>,
    /// Whose balance pays, and whose job it is: the caller's where absent. Somebody else must have named the caller as a
    /// delegate (`set_delegate`).
    pub payer: Option<Principal>,
    /// For canisters: call `emc_job_done` on the caller once the job is final.
    pub notify: Option<bool>,
}

/// What a canister that asked for it is told once a job is final, by a call of its method `emc_job_done`. Nothing in it
/// was chosen by a requester. It may come twice, and it may never come: `get_job` has the truth.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct JobDone {
    /// The job's number.
    pub job_id: JobId,
    /// How it ended.
    pub state: Option<JobState>,
    /// What was paid for it.
    pub charged: Tokens,
}

/// What `submit_job` answers.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SubmitReply {
    /// The job's number.
    pub job_id: JobId,
    /// Random bytes that let their bearer read the result.
    #[serde(with = "serde_bytes")]
    pub capability: Vec<u8>,
    /// The version of the model that was fixed.
    pub model: ModelRef,
    /// What was locked.
    pub locked: Tokens,
    /// When the job is given up.
    pub deadline: Timestamp,
    /// The seed that was fixed.
    pub seed: u64,
    /// The salt that was fixed, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub salt: Vec<u8>,
    /// True where the request key named a job that exists already: nothing was done.
    pub repeated: bool,
}

/// Where a job stands (`docs/protocol.md` has the table of states and events).
#[derive(
    CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum JobState {
    /// Waits for a node.
    #[serde(rename = "open")]
    Open,
    /// A node works on it.
    #[serde(rename = "leased")]
    Leased,
    /// Delivered; it is not drawn yet whether it is audited.
    #[serde(rename = "delivered")]
    Delivered,
    /// Delivered, and validators recompute it.
    #[serde(rename = "auditing")]
    Auditing,
    /// Paid for; final.
    #[serde(rename = "settled")]
    Settled,
    /// Ended without a result; what was not used went back; final.
    #[serde(rename = "refunded")]
    Refunded,
    /// The validators did not decide: the price was split in half; final.
    #[serde(rename = "undecided")]
    Undecided,
}

/// Why a job ended without a result.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundReason {
    /// Its time was up.
    #[serde(rename = "deadline")]
    Deadline,
    /// The requester cancelled it.
    #[serde(rename = "cancelled")]
    Cancelled,
    /// Too many owners' nodes tried and failed.
    #[serde(rename = "attempts")]
    Attempts,
    /// An audit found that the result is not the model's.
    #[serde(rename = "overturned")]
    Overturned,
}

/// How one attempt at a job went.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// The node that held the lease.
    pub node: Principal,
    /// Its owner then.
    pub owner: Principal,
    /// What it asked.
    pub price: Price,
    /// When it claimed.
    pub claimed: Timestamp,
    /// How it ended; null while it runs.
    pub end: Option<AttemptEnd>,
}

/// How an attempt ended.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The result was delivered.
    #[serde(rename = "delivered")]
    Delivered,
    /// The lease lapsed.
    #[serde(rename = "lapsed")]
    Lapsed,
    /// The node gave it back, and why.
    #[serde(rename = "declined")]
    Declined(String),
    /// The requester cancelled.
    #[serde(rename = "cancelled")]
    Cancelled,
}

/// A partial answer.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// Tokens so far.
    pub tokens: u32,
    /// Their text.
    pub text: String,
    /// When it came.
    pub time: Timestamp,
    /// For a picture: the steps that are done, and how it looks.
    pub image: Option<ImageProgress>,
}

/// What only the requester and the bearer of the capability see.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct PrivateView {
    /// The salt of the hashes, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub salt: Vec<u8>,
    /// The input; null once the job is final.
    pub input: Option<JobInput>,
    /// The parameters.
    pub parameters: Parameters,
    /// The partial answer of the running attempt.
    pub preview: Option<Preview>,
    /// The result; null before it is there and after its retention, and for pictures.
    pub output: Option<TextOutput>,
    /// For a picture: how it is made, and the result's thumbnail.
    pub image: Option<ImageView>,
}

/// A job as a caller may see it.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// Who asked for it.
    pub requester: Principal,
    /// The model, with its version.
    pub model: ModelRef,
    /// Where it stands.
    pub state: Option<JobState>,
    /// Why it was refunded, where it was.
    pub refund_reason: Option<RefundReason>,
    /// When it was submitted.
    pub created: Timestamp,
    /// When it is given up.
    pub deadline: Timestamp,
    /// When the running lease ends.
    pub lease_until: Option<Timestamp>,
    /// When it became final.
    pub finished: Option<Timestamp>,
    /// The seed of sampling.
    pub seed: u64,
    /// Salted hash of the input, 32 bytes (`docs/spec/receipt.md`).
    #[serde(with = "serde_bytes")]
    pub input_hash: Vec<u8>,
    /// Hash of the parameters, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub parameters_hash: Vec<u8>,
    /// What was locked for it.
    pub locked: Tokens,
    /// What was paid for it, once it is final.
    pub charged: Option<Tokens>,
    /// What was used, once it is delivered.
    pub usage: Option<Usage>,
    /// Every attempt.
    pub attempts: Vec<Attempt>,
    /// Every movement of money for it.
    pub postings: Vec<Posting>,
    /// Who may read the result.
    pub visibility: Option<Visibility>,
    /// How strongly the result is checked.
    pub assurance: Option<crate::Assurance>,
    /// What of `locked` is for checking it.
    pub audit_fee: Option<Tokens>,
    /// What the running or delivering node has at stake for it.
    pub bond: Option<Tokens>,
    /// Who submitted it on the requester's balance, where that was somebody else.
    pub delegate: Option<Principal>,
    /// For a job of a probe round: what it was for.
    pub mining: Option<MiningRole>,
    /// What only the requester and the bearer of the capability see.
    pub private: Option<PrivateView>,
}

/// What a job of a probe round was for (`docs/mining.md`).
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum MiningRole {
    /// To measure a node's computing power.
    #[serde(rename = "probe")]
    Probe,
    /// To see whether validators look: its answer was known to be wrong.
    #[serde(rename = "canary")]
    Canary,
}

/// Which jobs a listing should hold.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only jobs of this requester; the caller's own where absent.
    pub requester: Option<Principal>,
    /// Only jobs in this state.
    pub state: Option<JobState>,
    /// Only jobs with smaller numbers (the last one of the page before).
    pub before: Option<JobId>,
    /// At most this many; at most [`crate::limits::PAGE`].
    pub limit: Option<u32>,
}

/// A page of jobs, newest first.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct JobPage {
    /// The jobs; private parts only where the caller may see them.
    pub jobs: Vec<Job>,
    /// True if there are more after the last one.
    pub more: bool,
}
