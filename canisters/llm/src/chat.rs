//! A request from its arrival to its answer: the only file with awaits.
//!
//! 1. Before the first await: everything is checked, and a place taken. The place is given back on drop, so also where a
//!    callback traps.
//! 2. `quote`, a query: nothing is committed by it.
//! 3. `submit_job`, with a request key that no other request has: asked again after a lost answer, it names the same job.
//!    From here on the job ends by itself, at its deadline, whatever becomes of this canister.
//! 4. `get_job`, again and again, ever more slowly, until there is an answer or the time is up.
//! 5. `cancel_job`, where the time is up or the canister is being stopped; then one last look, since the answer may have
//!    come meanwhile.
//!
//! A call cannot sleep on the Internet Computer, and cannot be answered from a timer. Between two questions it therefore
//! asks for random bytes, which a subnet gives in its next block, and throws them away.

use crate::choice::{self, Choice};
use crate::places::Place;
use crate::progress::{self, Progress};
use crate::refusal::{Help, Refusal};
use crate::state;
use candid::utils::ArgumentEncoder;
use candid::{CandidType, Principal};
use emc_protocol::escrow::{Quote, QuoteArgs};
use emc_protocol::job::IfUnserved;
use emc_protocol::llm::LlmSettings;
use emc_protocol::{
    ApiError, ByteBuf, Job, JobId, JobInput, Parameters, Seconds, SubmitJob, SubmitReply,
    error::code,
};
use ic_cdk::api::{CanisterStatusCode, canister_self, canister_status, time};
use ic_cdk::call::Call;
use serde::de::DeserializeOwned;

const SECOND: u64 = 1_000_000_000;
/// How long one call to the escrow may take, seconds.
const CALL_SECONDS: u32 = 20;
/// How often a call is made before it counts as failed.
const TRIES: usize = 3;
/// Calls in a row that may fail while a request waits.
const FAILURES: usize = 20;

/// A place that is given back when the request ends, however it ends.
struct Held(Place);

impl Drop for Held {
    fn drop(&mut self) {
        state::with(|state| state.places.give_back(&self.0));
    }
}

/// Answers a request of `caller`, whose own call ends at `call_ends`.
///
/// # Errors
/// Why there is no answer.
pub async fn answer(
    caller: Principal,
    call_ends: Option<u64>,
    model: &str,
    input: Result<JobInput, Refusal>,
) -> Result<String, Refusal> {
    state::with(|state| state.counts.requests += 1);
    let answer = answer_counted(caller, call_ends, model, input).await;
    state::with(|state| match &answer {
        Ok(_) => state.counts.answered += 1,
        Err(_) => state.counts.refused += 1,
    });
    answer
}

async fn answer_counted(
    caller: Principal,
    call_ends: Option<u64>,
    model: &str,
    input: Result<JobInput, Refusal>,
) -> Result<String, Refusal> {
    if caller == Principal::anonymous() {
        return Err(Refusal::Anonymous);
    }
    let input = input?;
    let (escrow, settings, choice) = state::with(|state| {
        let config = state.config.get();
        let choice = choice::choose(&config.models(), model)?;
        Ok((config.escrow, config.settings(), choice))
    })?;
    let wait = progress::wait(settings.max_wait, time(), call_ends)?;
    let place = state::with(|state| state.places.take(&settings, caller))?;
    let request = Request {
        place: Held(place),
        escrow: Escrow { escrow, caller },
        settings,
        wait,
    };
    request.run(model, choice, input).await
}

struct Request {
    place: Held,
    escrow: Escrow,
    settings: LlmSettings,
    wait: Seconds,
}

impl Request {
    async fn run(mut self, name: &str, choice: Choice, input: JobInput) -> Result<String, Refusal> {
        let started = time();
        let until = started.saturating_add(self.wait.0 * SECOND);
        let job = self.submit(name, choice, input).await?;
        state::with(|state| state.places.served(&mut self.place.0));

        let mut poll_at = progress::next_poll(started, time());
        let mut failures = 0;
        while time() < until && failures < FAILURES && !stopping() {
            let done = match time() < poll_at {
                true => hop().await,
                false => {
                    poll_at = progress::next_poll(started, time());
                    match self.escrow.once::<_, Job>("get_job", &job.look()).await {
                        Ok(Ok(job)) => match progress::of(&job) {
                            Progress::Waiting => true,
                            Progress::Answer(text) => return Ok(text),
                            Progress::Failed(refusal) => return Err(refusal),
                        },
                        Ok(Err(_)) | Err(_) => false,
                    }
                }
            };
            failures = if done { 0 } else { failures + 1 };
        }
        self.give_up(&job, stopping()).await
    }

    async fn submit(
        &self,
        name: &str,
        choice: Choice,
        input: JobInput,
    ) -> Result<Submitted, Refusal> {
        let parameters = Parameters {
            temperature_milli: self.settings.temperature_milli,
            ..Parameters::greedy(self.settings.max_tokens)
        };
        let asked = QuoteArgs {
            model: choice.model,
            input,
            parameters,
            assurance: None,
        };
        let quote: Quote = self
            .escrow
            .call("quote", &(&asked,))
            .await
            .map_err(|refusal| unknown_model(refusal, name))?;
        let job = SubmitJob {
            max_price: choice::max_price(&quote, choice.max_price)?,
            model: asked.model,
            input: asked.input,
            parameters: asked.parameters,
            // Whatever becomes of this canister, the job ends soon after its wait.
            deadline: Some(Seconds(self.wait.0 + progress::MARGIN.0)),
            if_unserved: Some(IfUnserved::Refuse),
            request_key: Some(request_key()),
            seed: None,
            salt: None,
            visibility: None,
            assurance: None,
            payer: Some(self.escrow.caller),
            notify: None,
        };
        let reply: SubmitReply = self.escrow.call("submit_job", &(&job,)).await?;
        Ok(Submitted {
            id: reply.job_id,
            capability: ByteBuf::from(reply.capability),
        })
    }

    /// Cancels the job, and answers all the same if the answer has come meanwhile.
    async fn give_up(self, job: &Submitted, stopping: bool) -> Result<String, Refusal> {
        let lost = Refusal::Lost {
            job: job.id,
            waited: self.wait,
        };
        match self.escrow.call::<_, ()>("cancel_job", &(job.id,)).await {
            Ok(()) if stopping => Err(Refusal::Stopping { job: job.id }),
            Ok(()) => Err(Refusal::TookTooLong {
                job: job.id,
                waited: self.wait,
            }),
            Err(_) => match self.escrow.call::<_, Job>("get_job", &job.look()).await {
                Ok(job) => match progress::of(&job) {
                    Progress::Answer(text) => Ok(text),
                    Progress::Failed(refusal) => Err(refusal),
                    Progress::Waiting => Err(lost),
                },
                Err(_) => Err(lost),
            },
        }
    }
}

struct Submitted {
    id: JobId,
    capability: ByteBuf,
}

impl Submitted {
    /// The argument of `get_job`.
    fn look(&self) -> (JobId, Option<&ByteBuf>) {
        (self.id, Some(&self.capability))
    }
}

/// The escrow, for one payer.
struct Escrow {
    escrow: Principal,
    caller: Principal,
}

impl Escrow {
    /// One call; the outer error is that no answer came.
    async fn once<A: ArgumentEncoder, T: CandidType + DeserializeOwned>(
        &self,
        method: &str,
        args: &A,
    ) -> Result<Result<T, ApiError>, String> {
        let reply = Call::bounded_wait(self.escrow, method)
            .with_args(args)
            .change_timeout(CALL_SECONDS)
            .await
            .map_err(|error| error.to_string())?;
        reply.candid().map_err(|error| error.to_string())
    }

    /// A call that may be repeated harmlessly, repeated until an answer comes.
    async fn call<A: ArgumentEncoder, T: CandidType + DeserializeOwned>(
        &self,
        method: &str,
        args: &A,
    ) -> Result<T, Refusal> {
        let mut why = String::new();
        for _ in 0..TRIES {
            match self.once(method, args).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => return Err(Refusal::Escrow(Box::new(error), self.help())),
                Err(error) => why = error,
            }
            hop().await;
        }
        Err(Refusal::Unreachable {
            escrow: self.escrow,
            why,
        })
    }

    fn help(&self) -> Help {
        Help {
            payer: self.caller,
            escrow: self.escrow,
            adapter: canister_self(),
        }
    }
}

/// The escrow's word that there is no such model, in terms of this canister's names.
fn unknown_model(refusal: Refusal, name: &str) -> Refusal {
    match refusal {
        Refusal::Escrow(error, _) if error.code == code::UNKNOWN_MODEL => {
            state::with(|state| choice::unknown(&state.config.get().models(), name))
        }
        other => other,
    }
}

/// Lets a block pass; false where even that was refused.
async fn hop() -> bool {
    Call::bounded_wait(Principal::management_canister(), "raw_rand")
        .await
        .is_ok()
}

/// True while the canister's controller waits for it to stop.
fn stopping() -> bool {
    canister_status() != CanisterStatusCode::Running
}

/// A key that no other job of this canister has: time grows over upgrades, the count within one moment.
fn request_key() -> ByteBuf {
    let number = state::with(|state| {
        state.counts.jobs += 1;
        state.counts.jobs
    });
    let mut key = b"llm".to_vec();
    key.extend_from_slice(&time().to_be_bytes());
    key.extend_from_slice(&number.to_be_bytes());
    ByteBuf::from(key)
}
