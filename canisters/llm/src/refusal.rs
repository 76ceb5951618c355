//! Why a request gets no answer. The interface has no error case, so each of these is the text of a reject, and says
//! what to do.

use candid::Principal;
use emc_protocol::job::RefundReason;
use emc_protocol::{ApiError, JobId, Seconds, Tokens, error::code};

/// A reason, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Somebody without a balance.
    #[error("Sign the call: an anonymous caller has no balance in the escrow that could pay.")]
    Anonymous,
    /// Tools were offered.
    #[error(
        "No model here can call tools: send the request without `tools`, and put what the model should know into the messages."
    )]
    Tools,
    /// The conversation has a tool call, or a tool's answer.
    #[error(
        "No model here can call tools: message {0} is about a tool call; say what it says in a user or assistant message."
    )]
    ToolMessage(usize),
    /// An assistant's message says nothing.
    #[error("Message {0}, an assistant's, has no content: give it a text, or leave it out.")]
    EmptyAssistant(usize),
    /// Nobody has said anything.
    #[error("There is no message: send at least one.")]
    NoMessages,
    /// More than a job may hold.
    #[error("{what} is {got}, the limit is {max}: shorten the conversation.")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// How long it is.
        got: usize,
        /// How long it may be.
        max: usize,
    },
    /// No model has this name.
    #[error(
        "There is no model {name:?} here. Names that this canister knows: {known}; or name a model of EMC's catalogue by its id."
    )]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// All places are taken.
    #[error("{open} requests wait for their answers already, that is the limit: try again later.")]
    Full {
        /// How many there are.
        open: u32,
    },
    /// The caller's places are taken.
    #[error(
        "{open} of your requests wait for their answers already, that is your limit: wait for some of them."
    )]
    FullForCaller {
        /// How many there are.
        open: u32,
    },
    /// The places for callers who have not had an answer yet are taken.
    #[error(
        "{open} requests of callers who have no answer here yet are being looked at, that is the limit for them: try again in some seconds."
    )]
    FullForStrangers {
        /// How many there are.
        open: u32,
    },
    /// The call ends before an answer could come.
    #[error(
        "Your call gives up in {time} s, which is too short for an answer: make it with a timeout of at least {least} s.",
        time = .left.0,
        least = crate::progress::LEAST_TIMEOUT.0
    )]
    ShortCall {
        /// How long the caller still waits.
        left: Seconds,
    },
    /// No node serves the model.
    #[error("No node serves {model} now: try again later, or ask for another model.")]
    Unserved {
        /// The model's id.
        model: String,
    },
    /// The cheapest node asks more than a request may cost.
    #[error(
        "A request like this needs {least} EMC for {model} and may lock {most} EMC at most: shorten it, or ask for another model."
    )]
    TooDear {
        /// The model's id.
        model: String,
        /// What the cheapest node needs.
        least: Tokens,
        /// What a request may lock.
        most: Tokens,
    },
    /// The escrow said no.
    #[error("{}", escrow_says(.0, .1))]
    Escrow(Box<ApiError>, Help),
    /// The escrow does not answer.
    #[error("The escrow {escrow} does not answer ({why}): try again later.")]
    Unreachable {
        /// Which.
        escrow: Principal,
        /// What the network said.
        why: String,
    },
    /// The job ended without a result.
    #[error("Job {0} ended without an answer, {reason}; what was not used is back in your balance.", reason = because(*.1))]
    Refunded(JobId, Option<RefundReason>),
    /// The result is there no more.
    #[error("The answer of job {0} is no longer kept.")]
    Gone(JobId),
    /// The time is up.
    #[error(
        "No answer came within {time} s, and job {job} was cancelled: ask for less, or submit to the escrow yourself and be called back.",
        time = .waited.0
    )]
    TookTooLong {
        /// Which job.
        job: JobId,
        /// How long it was waited for.
        waited: Seconds,
    },
    /// The canister is about to be upgraded.
    #[error("This canister is being upgraded, and job {job} was cancelled: try again in a minute.")]
    Stopping {
        /// Which job.
        job: JobId,
    },
    /// Neither the answer nor the cancellation came through.
    #[error(
        "The escrow has not answered for {time} s: job {job} ends by its own deadline if no answer comes. Ask the escrow's get_job({job}) later.",
        time = .waited.0
    )]
    Lost {
        /// Which job.
        job: JobId,
        /// How long it was waited for.
        waited: Seconds,
    },
}

/// Whom the help that goes with the escrow's errors speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Help {
    /// Who pays.
    pub payer: Principal,
    /// The escrow.
    pub escrow: Principal,
    /// This canister.
    pub adapter: Principal,
}

/// The escrow's own words, and what somebody who does not know the escrow has to do.
fn escrow_says(error: &ApiError, help: &Help) -> String {
    let Help {
        payer,
        escrow,
        adapter,
    } = help;
    let advice = match error.code.as_str() {
        code::INSUFFICIENT_FUNDS => format!(
            " {payer} pays from its balance in the escrow {escrow}: transfer EMC to the account that the escrow's deposit_account({payer}) names, then call notify_deposit({payer})."
        ),
        code::NOT_DELEGATED => format!(
            " The call goes to the escrow {escrow}, made by {payer}: set_delegate(record {{ delegate = principal \"{adapter}\"; limit = ... }})."
        ),
        _ => String::new(),
    };
    format!("{error}{advice}")
}

fn because(reason: Option<RefundReason>) -> &'static str {
    match reason {
        Some(RefundReason::Deadline) => "because no node took it in time",
        Some(RefundReason::Cancelled) => "because it was cancelled",
        Some(RefundReason::Attempts) => "because the nodes that tried all failed",
        Some(RefundReason::Overturned) => {
            "because an audit found that the answer was not the model's"
        }
        None => "for a reason that this version does not know",
    }
}
