//! An escrow in memory that fails on command, for tests: leases, previews and receipts are checked as the real one does.

pub mod audits;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use candid::Principal;
use ed25519_dalek::SigningKey;
use emc_protocol::audit::{Audit, AuditSummary, AuditTask, CommitArgs, RevealArgs};
use emc_protocol::error::code;
use emc_protocol::job::{Attempt, AttemptEnd, Visibility};
use emc_protocol::work::{
    ChunkArgs, ClaimArgs, DeclineArgs, DeliverArgs, DeliverReply, ExtendArgs, ExtendReply,
    ResultPart, ResultPartArgs, WorkSummary,
};
use emc_protocol::{
    ApiError, Job, JobId, JobInput, JobState, Lease, ModelRef, Parameters, Posting, PostingAccount,
    Price, Receipt, TextOutput, Timestamp, Tokens, canonical,
};

use crate::escrow::{CallError, Escrow};

/// The principal of the escrow.
pub const ESCROW: Principal = Principal::from_slice(&[1, 2, 3]);
const OWNER: Principal = Principal::from_slice(&[7, 7]);
const REQUESTER: Principal = Principal::from_slice(&[8, 8]);

/// The node's key.
pub fn key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

/// The node.
pub fn node() -> Principal {
    crate::identity::principal(&key())
}

/// The model that all jobs are for.
pub fn model() -> ModelRef {
    ModelRef {
        id: "echo".into(),
        version: Some(1),
    }
}

/// A lease of a job that says "hello <id>".
pub fn lease(job_id: JobId) -> Lease {
    lease_for(
        job_id,
        1,
        JobInput::Completion {
            prompt: format!("hello {job_id}"),
        },
        Parameters::greedy(100),
    )
}

fn lease_for(job_id: JobId, attempt: u32, input: JobInput, parameters: Parameters) -> Lease {
    let price = Price {
        prompt: Tokens(1_000_000),
        output: Tokens(2_000_000),
        ..Price::default()
    };
    Lease {
        job_id,
        attempt,
        nonce: vec![3; 16],
        model: model(),
        model_root: crate::engine::echo::root().to_vec(),
        input: Some(input),
        parameters,
        seed: job_id,
        salt: vec![job_id as u8; 32],
        price,
        max_charge: Tokens(10_000_000),
        max_prompt_tokens: 1_000,
        until: Timestamp(u64::MAX / 2),
        deadline: Timestamp(u64::MAX / 2),
    }
}

/// Checks a delivery's hash, usage, charge and signature as the escrow does, from its own values.
pub fn check_receipt(lease: &Lease, args: &DeliverArgs) -> Result<(), String> {
    let output = args.output.as_ref().ok_or("no output")?;
    let hash = canonical::output_hash(&lease.salt, &canonical::output_bytes(output));
    if hash.as_slice() != args.output_hash || args.usage.output_tokens != output.ids.len() as u64 {
        return Err("hash or usage".into());
    }
    let charge = lease.price.charge(&args.usage).ok_or("charge")?;
    if args.charge.0 != charge.0.min(lease.max_charge.0) {
        return Err("charge".into());
    }
    let input = lease.input.as_ref().ok_or("no input")?;
    let receipt = Receipt {
        escrow: ESCROW,
        nonce: lease.nonce.clone(),
        job_id: lease.job_id,
        attempt: lease.attempt,
        model_root: lease.model_root.clone(),
        parameters_hash: canonical::job_parameters_hash(&lease.model, input, &lease.parameters)
            .to_vec(),
        input_hash: canonical::input_hash(&lease.salt, input).to_vec(),
        output_hash: args.output_hash.clone(),
        seed: lease.seed,
        usage: args.usage,
        finish_reason: output.finish_reason,
        charge: args.charge,
        evidence_root: vec![0; 32],
    };
    receipt
        .verify(key().verifying_key().as_bytes(), &args.signature)
        .map_err(|error| error.to_string())
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// It never arrives.
    Lost,
    /// It is executed, its answer is lost.
    AnswerLost,
    /// It is refused with a code.
    Refused(&'static str),
}

/// A job in the fake escrow.
#[derive(Debug, Clone)]
pub struct FakeJob {
    /// What it asks.
    pub lease: Lease,
    /// Where it stands.
    pub state: JobState,
    /// The node of the last attempt.
    pub holder: Option<Principal>,
    /// Ids shown so far.
    pub ids: Vec<u32>,
    /// Text shown so far.
    pub text: String,
    /// How often it was extended.
    pub extended: u32,
    /// Reasons for which it was declined.
    pub declined: Vec<String>,
    /// Its result.
    pub output: Option<TextOutput>,
    /// How often it was settled.
    pub settled: u32,
}

#[derive(Default)]
struct State {
    jobs: BTreeMap<JobId, FakeJob>,
    audits: BTreeMap<JobId, audits::FakeAudit>,
    /// Results are drawn for audits: nothing is paid at once.
    drawing: bool,
    faults: BTreeMap<&'static str, VecDeque<Fault>>,
    calls: BTreeMap<&'static str, u32>,
    down_until: Option<Instant>,
}

/// The fake escrow.
#[derive(Default)]
pub struct FakeEscrow(Mutex<State>);

impl FakeEscrow {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while holding it")
    }

    /// Submits a job that asks to echo a text.
    pub fn submit(&self, text: &str) -> JobId {
        self.submit_with(
            JobInput::Completion {
                prompt: text.into(),
            },
            Parameters::greedy(200),
        )
    }

    /// Submits a job.
    pub fn submit_with(&self, input: JobInput, parameters: Parameters) -> JobId {
        let mut state = self.state();
        let id = state.jobs.len() as u64 + 1;
        state.jobs.insert(
            id,
            FakeJob {
                lease: lease_for(id, 0, input, parameters),
                state: JobState::Open,
                holder: None,
                ids: vec![],
                text: String::new(),
                extended: 0,
                declined: vec![],
                output: None,
                settled: 0,
            },
        );
        id
    }

    /// Lets the next calls of a method go wrong.
    pub fn fail(&self, method: &'static str, faults: &[Fault]) {
        self.state()
            .faults
            .entry(method)
            .or_default()
            .extend(faults);
    }

    /// The calls of a method go right again.
    pub fn heal(&self, method: &'static str) {
        self.state().faults.remove(method);
    }

    /// Results wait for a draw from now on.
    pub fn draw(&self) {
        self.state().drawing = true;
    }

    /// No call arrives for a time.
    pub fn down_for(&self, time: Duration) {
        self.state().down_until = Some(Instant::now() + time);
    }

    /// Changes a job behind the node's back.
    pub fn change(&self, id: JobId, change: impl FnOnce(&mut FakeJob)) {
        change(self.state().jobs.get_mut(&id).expect("there is such a job"));
    }

    /// A job.
    pub fn job_now(&self, id: JobId) -> FakeJob {
        self.state().jobs[&id].clone()
    }

    /// How often a method was called.
    pub fn calls(&self, method: &'static str) -> u32 {
        self.state().calls.get(method).copied().unwrap_or(0)
    }

    /// Waits until a condition holds.
    pub async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let begin = Instant::now();
        while !holds(self) {
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "waited in vain until {what}"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until a job is settled.
    pub async fn until_settled(&self, id: JobId) -> FakeJob {
        self.until("the job is settled", |e| {
            e.job_now(id).state == JobState::Settled
        })
        .await;
        self.job_now(id)
    }

    async fn call<T>(
        &self,
        method: &'static str,
        work: impl FnOnce(&mut State) -> Result<T, ApiError>,
    ) -> Result<T, CallError> {
        // A real call takes a while, and lets others in between.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut state = self.state();
        *state.calls.entry(method).or_default() += 1;
        let lost = |text: &str| Err(CallError::Unanswered(text.into()));
        if state.down_until.is_some_and(|until| until > Instant::now()) {
            return lost("down");
        }
        match state.faults.get_mut(method).and_then(VecDeque::pop_front) {
            Some(Fault::Lost) => lost("lost"),
            Some(Fault::Refused(code)) => {
                Err(CallError::Refused(ApiError::new(code, "As the test says.")))
            }
            Some(Fault::AnswerLost) => {
                let _ = work(&mut state);
                lost("answer lost")
            }
            None => work(&mut state).map_err(CallError::Refused),
        }
    }
}

fn paid(amount: i128, reason: &str) -> Posting {
    Posting {
        account: Some(PostingAccount::Available(OWNER)),
        amount,
        reason: reason.into(),
        time: Timestamp(0),
    }
}

fn refuse<T>(code: &str) -> Result<T, ApiError> {
    Err(ApiError::new(code, "No."))
}

/// The job, where this attempt holds its lease.
fn held(state: &mut State, id: JobId, attempt: u32) -> Result<&mut FakeJob, ApiError> {
    let Some(job) = state.jobs.get_mut(&id) else {
        return refuse(code::NOT_FOUND);
    };
    match job.state {
        JobState::Leased if job.lease.attempt == attempt && job.holder == Some(node()) => Ok(job),
        JobState::Leased => refuse(code::LEASE_LOST),
        JobState::Open => refuse(code::NOT_YOUR_LEASE),
        _ => refuse(code::WRONG_STATE),
    }
}

impl Escrow for FakeEscrow {
    async fn work_available(&self, models: Vec<ModelRef>) -> Result<Vec<WorkSummary>, CallError> {
        self.call("work_available", |state| {
            let open = state
                .jobs
                .values()
                .filter(|job| job.state == JobState::Open)
                .count() as u64;
            let summary = |model| WorkSummary {
                model,
                open,
                output_tokens: open * 100,
                oldest: Timestamp(0),
                pixel_steps: None,
            };
            Ok(models
                .into_iter()
                .filter(|_| open > 0)
                .map(summary)
                .collect())
        })
        .await
    }

    async fn claim(&self, args: ClaimArgs) -> Result<Vec<Lease>, CallError> {
        self.call("claim", |state| {
            let open = state
                .jobs
                .values_mut()
                .filter(|job| job.state == JobState::Open);
            let mut leases = vec![];
            for job in open.take(args.max as usize) {
                job.state = JobState::Leased;
                job.holder = Some(node());
                job.lease.attempt += 1;
                job.ids.clear();
                job.text.clear();
                leases.push(job.lease.clone());
            }
            Ok(leases)
        })
        .await
    }

    async fn extend(&self, args: ExtendArgs) -> Result<ExtendReply, CallError> {
        self.call("extend", |state| {
            let job = held(state, args.job_id, args.attempt)?;
            if args.from as usize != job.ids.len() {
                return refuse(code::NOT_A_CONTINUATION);
            }
            job.ids.extend(args.ids);
            job.text.push_str(&args.text);
            job.extended += 1;
            Ok(ExtendReply {
                until: job.lease.until,
            })
        })
        .await
    }

    async fn decline(&self, args: DeclineArgs) -> Result<(), CallError> {
        self.call("decline", |state| {
            let job = held(state, args.job_id, args.attempt)?;
            job.declined.push(args.reason);
            job.state = JobState::Refunded;
            Ok(())
        })
        .await
    }

    async fn upload_chunk(&self, _: ChunkArgs) -> Result<(), CallError> {
        self.call("upload_chunk", |_| Ok(())).await
    }

    async fn deliver(&self, args: DeliverArgs) -> Result<DeliverReply, CallError> {
        self.call("deliver", |state| {
            let drawing = state.drawing;
            let Some(job) = state.jobs.get_mut(&args.job_id) else {
                return refuse(code::NOT_FOUND);
            };
            match job.state {
                JobState::Settled | JobState::Delivered => {
                    return refuse(code::ALREADY_DELIVERED);
                }
                JobState::Refunded => return refuse(code::WRONG_STATE),
                JobState::Leased if job.holder != Some(node()) => return refuse(code::LEASE_LOST),
                _ => {}
            }
            if check_receipt(&job.lease, &args).is_err() {
                return refuse(code::BAD_SIGNATURE);
            }
            let output = args.output.expect("checked");
            if !output.ids.starts_with(&job.ids) || !output.text.starts_with(&job.text) {
                return refuse(code::NOT_A_CONTINUATION);
            }
            job.output = Some(output);
            job.state = JobState::Settled;
            job.settled += 1;
            if drawing {
                job.state = JobState::Delivered;
                return Ok(DeliverReply {
                    state: Some(JobState::Delivered),
                    paid: Tokens::ZERO,
                    receipt: 0,
                });
            }
            Ok(DeliverReply {
                state: Some(JobState::Settled),
                paid: Tokens(98),
                receipt: 0,
            })
        })
        .await
    }

    async fn job(&self, id: JobId) -> Result<Job, CallError> {
        self.call("get_job", |state| {
            let Some(job) = state.jobs.get(&id) else {
                return refuse(code::NOT_FOUND);
            };
            let holder = job.holder.unwrap_or(REQUESTER);
            Ok(Job {
                id,
                requester: REQUESTER,
                model: model(),
                state: Some(job.state),
                refund_reason: None,
                created: Timestamp(0),
                deadline: job.lease.deadline,
                lease_until: None,
                finished: None,
                seed: job.lease.seed,
                input_hash: vec![],
                parameters_hash: vec![],
                locked: Tokens(100),
                charged: Some(Tokens(100)),
                usage: None,
                attempts: vec![Attempt {
                    number: job.lease.attempt,
                    node: holder,
                    owner: OWNER,
                    price: job.lease.price,
                    claimed: Timestamp(0),
                    end: job.output.is_some().then_some(AttemptEnd::Delivered),
                }],
                postings: match job.state {
                    JobState::Settled => vec![paid(98, "price")],
                    JobState::Undecided => vec![paid(50, "half of the price")],
                    _ => vec![],
                },
                visibility: Some(Visibility::Private),
                assurance: None,
                audit_fee: None,
                bond: None,
                delegate: None,
                mining: None,
                private: None,
            })
        })
        .await
    }

    async fn audits(&self) -> Result<Vec<AuditSummary>, CallError> {
        self.call("audits", |state| Ok(audits::list(state))).await
    }

    async fn result_part(&self, _: ResultPartArgs) -> Result<ResultPart, CallError> {
        self.call("result_part", |_| refuse(code::NOT_FOUND)).await
    }

    async fn audit_task(&self, id: JobId) -> Result<AuditTask, CallError> {
        self.call("audit_task", |state| audits::task_of(state, id))
            .await
    }

    async fn commit_vote(&self, args: CommitArgs) -> Result<(), CallError> {
        self.call("commit_vote", |state| audits::commit(state, &args))
            .await
    }

    async fn reveal_vote(&self, args: RevealArgs) -> Result<(), CallError> {
        self.call("reveal_vote", |state| audits::reveal(state, args))
            .await
    }

    async fn audit(&self, id: JobId) -> Result<Audit, CallError> {
        self.call("audit", |state| audits::show(state, id)).await
    }
}
