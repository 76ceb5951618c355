//! A dapp that submits jobs to the escrow itself and is told when they are done: no call waits while a model thinks, so
//! answers may take as long as they need, and may be checked by validators.
//!
//! What it needs once: EMC in its escrow account (anyone can deposit for it). `docs/dapps.md` tells the whole way.
//!
//! 1. `ask` submits a job with `notify`, and remembers its number.
//! 2. `emc_job_done` is called by the escrow, and by nobody else, once the job is final. It may be called twice, or never:
//!    so it does nothing that could not be done again, and `fetch` does the same for whoever is tired of waiting.
//! 3. `answer` shows what was kept.

mod answers;

use std::cell::RefCell;

use candid::{CandidType, Principal};
use emc_protocol::job::{ChatMessage, ChatRole, JobDone};
use emc_protocol::{
    ApiError, ByteBuf, Job, JobId, JobInput, JobState, ModelRef, Parameters, SubmitJob,
    SubmitReply, Tokens,
};
use ic_cdk::api::{env_var_name_exists, env_var_value, msg_caller, trap};
use ic_cdk::call::Call;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Whom this dapp talks to, and how. The same argument is given at an upgrade.
#[derive(CandidType, Deserialize, Clone)]
pub struct Settings {
    /// The escrow; the environment variable `PUBLIC_CANISTER_ID:escrow`, which `icp deploy` sets, where absent.
    escrow: Option<Principal>,
    /// The model's id in the catalogue.
    model: String,
    /// The most that one answer may cost, e8s.
    max_price: Tokens,
}

/// What became of a question.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No answer yet.
    Waiting,
    /// The model's answer, and what it cost, e8s.
    Done {
        /// The text.
        text: String,
        /// The cost.
        charged: Tokens,
    },
    /// There will be none, and why.
    Failed(String),
}

thread_local! {
    static SETTINGS: RefCell<Option<Settings>> = const { RefCell::new(None) };
    /// Makes the request keys of one moment different.
    static ASKED: RefCell<u64> = const { RefCell::new(0) };
}

#[ic_cdk::init]
fn init(settings: Settings) {
    let escrow = settings.escrow.or_else(|| deployed("escrow"));
    if escrow.is_none() {
        trap("name the escrow in the argument, or set PUBLIC_CANISTER_ID:escrow");
    }
    SETTINGS.set(Some(Settings { escrow, ..settings }));
}

#[ic_cdk::post_upgrade]
fn post_upgrade(settings: Settings) {
    init(settings);
}

/// The id that `icp deploy` has put into the environment.
fn deployed(name: &str) -> Option<Principal> {
    let variable = format!("PUBLIC_CANISTER_ID:{name}");
    let set = env_var_name_exists(&variable);
    Principal::from_text(set.then(|| env_var_value(&variable))?).ok()
}

fn settings() -> Settings {
    SETTINGS
        .with_borrow(Clone::clone)
        .expect("init and post_upgrade set them")
}

fn escrow() -> Principal {
    settings()
        .escrow
        .expect("init refuses to go on without one")
}

/// Asks a question; the number under which `answer` has the answer. Whoever may call this spends this dapp's EMC: a real
/// dapp would ask who it is.
#[ic_cdk::update]
async fn ask(question: String) -> Result<JobId, String> {
    let messages = vec![ChatMessage {
        role: ChatRole::User,
        content: question,
    }];
    let job = SubmitJob {
        model: ModelRef {
            id: settings().model,
            version: None,
        },
        input: JobInput::Chat { messages },
        parameters: Parameters::greedy(256),
        max_price: settings().max_price,
        deadline: None,
        if_unserved: None,
        // The call may be lost on the way back: asked again with the same key, it names the same job.
        request_key: Some(request_key()),
        seed: None,
        salt: None,
        visibility: None,
        assurance: None,
        payer: None,
        notify: Some(true),
    };
    let mut reply = call_escrow("submit_job", &(&job,)).await;
    if reply.is_err() {
        reply = call_escrow("submit_job", &(&job,)).await;
    }
    let reply: SubmitReply = reply?.map_err(|error| error.to_string())?;
    // The job may be final, and its callback here, before this answer is.
    answers::expect(reply.job_id);
    Ok(reply.job_id)
}

/// Called by the escrow once a job is final.
#[ic_cdk::update(guard = "only_the_escrow")]
async fn emc_job_done(done: JobDone) {
    // A refusal makes the escrow call again later, up to five times.
    if let Err(why) = fetch_from_escrow(done.job_id).await {
        trap(why);
    }
}

fn only_the_escrow() -> Result<(), String> {
    match msg_caller() == escrow() {
        true => Ok(()),
        false => Err("Only the escrow tells when a job is done.".into()),
    }
}

/// Asks the escrow for a job, without waiting for its call.
#[ic_cdk::update]
async fn fetch(job: JobId) -> Result<Answer, String> {
    match answers::of(job) {
        None => Err(format!("Job {job} is not this dapp's.")),
        Some(Answer::Waiting) => fetch_from_escrow(job).await,
        Some(answer) => Ok(answer),
    }
}

/// What became of a question; null where `ask` has given no such number.
#[ic_cdk::query]
fn answer(job: JobId) -> Option<Answer> {
    answers::of(job)
}

async fn fetch_from_escrow(id: JobId) -> Result<Answer, String> {
    let job: Result<Job, ApiError> = call_escrow("get_job", &(id, None::<ByteBuf>)).await?;
    let job = job.map_err(|error| error.to_string())?;
    let answer = answer_of(job);
    if answer != Answer::Waiting {
        answers::keep(id, &answer);
    }
    Ok(answer)
}

fn answer_of(job: Job) -> Answer {
    let charged = job.charged.unwrap_or_default();
    let output = job.private.and_then(|private| private.output);
    match (job.state, output) {
        (Some(JobState::Settled | JobState::Undecided), Some(output)) => Answer::Done {
            text: output.text,
            charged,
        },
        (Some(JobState::Settled | JobState::Undecided), None) => {
            Answer::Failed("The answer is no longer kept.".into())
        }
        (Some(JobState::Refunded), _) => {
            Answer::Failed(format!("There was no answer: {:?}.", job.refund_reason))
        }
        _ => Answer::Waiting,
    }
}

/// One call to the escrow; the outer error is that no answer came.
async fn call_escrow<T: CandidType + DeserializeOwned>(
    method: &str,
    arguments: &impl candid::utils::ArgumentEncoder,
) -> Result<Result<T, ApiError>, String> {
    let reply = Call::bounded_wait(escrow(), method)
        .with_args(arguments)
        .await;
    let reply = reply.map_err(|error| format!("The escrow does not answer: {error}"))?;
    reply.candid().map_err(|error| error.to_string())
}

/// Up to 32 bytes that this dapp uses for one job only.
fn request_key() -> ByteBuf {
    let number = ASKED.with_borrow_mut(|asked| {
        *asked += 1;
        *asked
    });
    let mut key = ic_cdk::api::time().to_be_bytes().to_vec();
    key.extend_from_slice(&number.to_be_bytes());
    ByteBuf::from(key)
}

/// What the SDK's macro makes of the endpoints above.
#[allow(missing_docs, reason = "the macro's function has no documentation")]
mod exported {
    use super::*;
    ic_cdk::export_candid!();

    /// The interface as the code has it, in Candid.
    pub fn interface() -> String {
        __export_service()
    }
}

pub use exported::interface;
