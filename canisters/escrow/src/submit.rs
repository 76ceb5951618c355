//! Submitting a job: check every field, find the model and somebody to serve it, lock the most it may cost, and put the
//! job among the open ones. One message, no call to anybody.

use crate::bond;
use crate::callback;
use crate::delegate;
use crate::draw;
use crate::image;
use crate::movement::Movement;
use crate::quote;
use crate::records::*;
use crate::request_key;
use crate::secret;
use crate::state::State;
use candid::Principal;
use emc_protocol::audit::{Assurance, AuditSettings, FIRST_COMMITTEE, SECOND_COMMITTEE};
use emc_protocol::canonical::{self, Writer};
use emc_protocol::image::ImageSettings;
use emc_protocol::job::IfUnserved;
use emc_protocol::model::Task;
use emc_protocol::price::PRICE_UNIT;
use emc_protocol::{
    ApiError, JobId, JobInput, ModelRef, Parameters, Seconds, SubmitJob, SubmitReply, Timestamp,
    Tokens, Usage, error::code, limits,
};

/// Most bytes of inputs that one requester's unfinished jobs may hold.
pub const OPEN_BYTES: u64 = 64 * 1024 * 1024;

/// What follows from an input: its canonical bytes and its size in tokens.
pub struct Measured {
    /// Canonical bytes.
    pub bytes: Vec<u8>,
    /// The size as estimated.
    pub estimate: u64,
    /// The most prompt tokens that are accepted.
    pub bound: u64,
    /// Pixel-steps of a picture.
    pub pixel_steps: u64,
}

impl Measured {
    /// The most that a job of this input is expected to use.
    pub fn demand(&self, parameters: &Parameters) -> Usage {
        Usage {
            prompt_tokens: self.estimate,
            output_tokens: parameters.max_tokens.into(),
            pixel_steps: self.pixel_steps,
        }
    }
}

/// Tokens of prompt and output together: what a context must hold.
pub(crate) fn tokens(demand: &Usage) -> u64 {
    demand.prompt_tokens.saturating_add(demand.output_tokens)
}

/// Submits a job.
///
/// # Errors
/// What is wrong with it; nothing has changed then.
pub fn submit(
    state: &mut State,
    now: Timestamp,
    caller: Principal,
    job: SubmitJob,
) -> Result<SubmitReply, ApiError> {
    // 1. Check.
    let secret = secret::secret(state)?;
    let measured = measure(&job.input)?;
    check_parameters(&job.input, &job.parameters)?;
    let demand = measured.demand(&job.parameters);
    let key = job
        .request_key
        .as_deref()
        .map(|key| request_key::read(caller, key));
    let key = key.transpose()?;
    if let Some(repeated) = request_key::find(state, now, key.as_ref(), &job, &measured.bytes)? {
        return Ok(reply(
            &repeated.1,
            repeated.0,
            secret::capability(&secret, repeated.0),
            true,
        ));
    }
    let deadline = check_deadline(job.deadline)?;
    let salt = check_salt(job.salt.as_deref().map(|s| &s[..]))?;
    if job.max_price.is_zero() {
        return Err(ApiError::invalid("max_price", "at least one e8s"));
    }
    let (number, version, entry) = find_model(state, &job.model, job.input.task())?;
    if entry.context > 0 {
        let needed = tokens(&demand);
        if needed > u64::from(entry.context) {
            return Err(ApiError::limit("max_tokens", needed, entry.context.into()).explain(
                "Prompt and output together pass the model's context: shorten the prompt or ask for fewer tokens.",
            ));
        }
    }
    let payer = job.payer.unwrap_or(caller);
    let delegation = match payer == caller {
        true => None,
        false => Some(delegate::check(state, now, payer, caller, job.max_price)?),
    };
    let notify = job.notify.unwrap_or_default();
    if notify {
        callback::check(caller)?;
    }
    let checking = checking(state, payer, number, &entry, &demand, &job)?;
    if job.if_unserved.unwrap_or_default() == IfUnserved::Refuse {
        quote::check_served(state, now, number, &demand, &job, checking.as_ref())?;
    }
    let account = state.books.account(&payer);
    let settings = &state.config().settings;
    if account.open_jobs() >= u64::from(settings.max_open_jobs) {
        return Err(busy(format!(
            "You have {} unfinished jobs, the limit is {}: wait until some are final, or cancel some.",
            account.open_jobs(),
            settings.max_open_jobs
        )));
    }
    if account.open_bytes() + measured.bytes.len() as u64 > OPEN_BYTES {
        return Err(busy(format!(
            "The inputs of your unfinished jobs may hold {OPEN_BYTES} bytes in all: wait until some jobs are final."
        )));
    }

    // 2. Build.
    let id = state.counts.get().jobs + 1;
    let salt = salt.unwrap_or_else(|| secret::salt(&secret, id));
    let mut input_hash = Writer::new(canonical::INPUT_DOMAIN);
    input_hash.raw(&salt);
    input_hash.raw(&measured.bytes);
    let model = ModelRef {
        id: job.model.id,
        version: Some(version),
    };
    let mut record = JobRecord {
        requester: payer,
        model: number,
        model_id: model.id.clone(),
        model_version: version,
        model_root: entry.root,
        stage: Stage::Open,
        created: now,
        deadline: now.after(deadline),
        lease_until: None,
        finished: None,
        seed: job.seed.unwrap_or_else(|| secret::seed(state, id)),
        salt,
        input_hash: input_hash.sha256(),
        parameters_hash: canonical::job_parameters_hash(&model, &job.input, &job.parameters),
        max_price: job.max_price,
        lock: Default::default(),
        charged: None,
        usage: None,
        parameters: (&job.parameters).into(),
        estimate: measured.estimate,
        prompt_bound: measured.bound,
        input_bytes: measured.bytes.len() as u64,
        attempts: vec![],
        movements: vec![],
        public: job.visibility.unwrap_or_default() == emc_protocol::job::Visibility::Public,
        receipt: None,
        progress: None,
        upload: None,
        checking,
        charge: None,
        delegation,
        notify,
        allowed: deadline.0,
        away: state.clock.get().away,
        mining: None,
        image: job.input.image().map(|input| (&input.parameters).into()),
    };

    // 3. Apply: the books refuse before anything has changed, or nothing fails any more.
    let movement = Movement::submit(now, payer, id, job.max_price);
    state.books.apply_for(movement, id, &mut record)?;
    if let Some(used) = delegation {
        delegate::spend(state, payer, used, job.max_price);
    }
    state.count(|counts| {
        counts.jobs = id;
        counts.open += 1;
    });
    add_open(state, id, &record);
    state.queue_due(id, record.deadline);
    state.inputs.insert(id, measured.bytes);
    state.by_requester.insert((payer, id), ());
    if let Some(key) = key {
        request_key::remember(state, now, key, id);
    }
    let reply = reply(&record, id, secret::capability(&secret, id), false);
    state.jobs.insert(id, record);
    Ok(reply)
}

/// Puts a job among the open ones of its model. The counts of jobs are the caller's to change.
pub(crate) fn add_open(state: &mut State, id: JobId, job: &JobRecord) {
    let record = OpenRecord {
        estimate: job.estimate,
        max_tokens: job.parameters.max_tokens,
        locked: job.chargeable(),
        input_bytes: job.input_bytes,
        tried: !job.attempts.is_empty(),
        bond: job.checking.map(|checking| checking.bond),
        pixel_steps: job.pixel_steps(),
    };
    state.open.insert((job.model, id), record);
    let mut waiting = state.waiting.get(&job.model).unwrap_or_default();
    waiting.jobs += 1;
    waiting.output_tokens += u64::from(job.parameters.max_tokens);
    waiting.pixel_steps = waiting.pixel_steps.saturating_add(job.pixel_steps());
    state.waiting.insert(job.model, waiting);
}

/// Takes a job out of the open ones of its model.
pub(crate) fn remove_open(state: &mut State, id: JobId, job: &JobRecord) {
    if state.open.remove(&(job.model, id)).is_none() {
        return;
    }
    let mut waiting = state.waiting.get(&job.model).unwrap_or_default();
    waiting.jobs = waiting.jobs.saturating_sub(1);
    let tokens = u64::from(job.parameters.max_tokens);
    waiting.output_tokens = waiting.output_tokens.saturating_sub(tokens);
    waiting.pixel_steps = waiting.pixel_steps.saturating_sub(job.pixel_steps());
    if waiting.jobs == 0 {
        state.waiting.remove(&job.model);
    } else {
        state.waiting.insert(job.model, waiting);
    }
}

fn reply(job: &JobRecord, id: JobId, capability: [u8; 16], repeated: bool) -> SubmitReply {
    SubmitReply {
        job_id: id,
        capability: capability.to_vec(),
        model: job.model_ref(),
        locked: job.max_price,
        deadline: job.deadline,
        seed: job.seed,
        salt: job.salt.to_vec(),
        repeated,
    }
}

/// Checks and measures an input.
///
/// # Errors
/// Where it is empty or over a limit.
pub fn measure(input: &JobInput) -> Result<Measured, ApiError> {
    let messages = match input {
        JobInput::Image(input) => return image::measure(input),
        JobInput::Chat { messages } if messages.is_empty() => {
            return Err(ApiError::invalid(
                "input",
                "a conversation with at least one message",
            ));
        }
        JobInput::Chat { messages } if messages.len() > limits::MESSAGES => {
            return Err(ApiError::limit(
                "messages",
                messages.len() as u64,
                limits::MESSAGES as u64,
            ));
        }
        JobInput::Chat { messages } => messages.len() as u64,
        JobInput::Completion { prompt } if prompt.is_empty() => {
            return Err(ApiError::invalid(
                "input",
                "a prompt with at least one character",
            ));
        }
        JobInput::Completion { .. } => 0,
    };
    let bytes = canonical::input_bytes(input);
    let length = bytes.len() as u64;
    if length > limits::INPUT_BYTES as u64 {
        return Err(ApiError::limit("input", length, limits::INPUT_BYTES as u64));
    }
    let template = limits::TEMPLATE_TOKENS_PER_MESSAGE * messages;
    Ok(Measured {
        bytes,
        estimate: length.div_ceil(4) + template + 16,
        bound: length + template + limits::TEMPLATE_TOKENS,
        pixel_steps: 0,
    })
}

/// Checks how the output is to be chosen.
///
/// # Errors
/// The field that is over its limit.
pub fn check_parameters(input: &JobInput, p: &Parameters) -> Result<(), ApiError> {
    if input.image().is_some() {
        return image::check_unused(p);
    }
    let at_most = |field, got: u32, max: u32| {
        if got > max {
            return Err(ApiError::limit(field, got.into(), max.into()));
        }
        Ok(())
    };
    if p.max_tokens == 0 {
        return Err(ApiError::invalid("max_tokens", "at least 1"));
    }
    at_most("max_tokens", p.max_tokens, limits::OUTPUT_TOKENS)?;
    at_most(
        "temperature_milli",
        p.temperature_milli,
        limits::TEMPERATURE_MILLI,
    )?;
    at_most("top_p_milli", p.top_p_milli, 1_000)?;
    at_most("min_p_milli", p.min_p_milli, 1_000)?;
    at_most(
        "stop",
        p.stop.len().min(u32::MAX as usize) as u32,
        limits::STOP_STRINGS as u32,
    )?;
    for stop in &p.stop {
        if stop.is_empty() {
            return Err(ApiError::invalid(
                "stop",
                "a list of texts that are not empty",
            ));
        }
        if stop.len() > limits::STOP_STRING_BYTES {
            return Err(ApiError::limit(
                "stop",
                stop.len() as u64,
                limits::STOP_STRING_BYTES as u64,
            ));
        }
    }
    Ok(())
}

/// How a job's result is to be checked, and what that costs; `None` without assurance.
///
/// # Errors
/// The model's results cannot be audited, or the price does not even cover the auditors.
fn checking(
    state: &State,
    caller: Principal,
    model: u32,
    entry: &CatalogueRecord,
    demand: &Usage,
    job: &SubmitJob,
) -> Result<Option<Checking>, ApiError> {
    let assurance = job.assurance.unwrap_or_default();
    if assurance == Assurance::None {
        return Ok(None);
    }
    let settings = state.config().settings.audit();
    let images = state.config().settings.images();
    if !entry.listed || entry.audit.is_none() {
        let message = format!(
            "{} is not listed with audit terms, so that its results cannot be audited: submit without assurance, or choose a listed model.",
            job.model.id
        );
        return Err(ApiError::new(code::NOT_AUDITABLE, message));
    }
    let owners = draw::validator_owners(state, model, tokens(demand), Some(caller));
    if owners < settings.least_owners as usize {
        let message = format!(
            "Validators of {owners} owners serve this model, {} are needed for an audit: submit without assurance, or later.",
            settings.least_owners
        );
        return Err(ApiError::new(code::NOT_AUDITABLE, message));
    }
    let (vote_fee, audit_fee) = fees(&settings, &images, assurance, demand);
    if job.max_price <= audit_fee {
        let least = format!("more than the {audit_fee} EMC that the audit is paid from it");
        return Err(ApiError::invalid("max_price", least));
    }
    let gain = Tokens(job.max_price.0 - audit_fee.0);
    let chance = chance(&settings, assurance);
    Ok(Some(Checking {
        always: assurance == Assurance::Always,
        chance,
        vote_fee,
        audit_fee,
        bond: bond::size(&settings, chance, gain),
    }))
}

/// The chance that a job is audited, in basis points.
pub(crate) fn chance(settings: &AuditSettings, assurance: Assurance) -> u16 {
    match assurance {
        Assurance::None => 0,
        Assurance::Sampled => settings.sample_rate,
        Assurance::Always => 10_000,
    }
}

/// What one vote is paid, and what a job locks for all: every vote of both rounds, times the chance; rounded up.
pub fn fees(
    settings: &AuditSettings,
    images: &ImageSettings,
    assurance: Assurance,
    demand: &Usage,
) -> (Tokens, Tokens) {
    let part = |price: Tokens, units: u64| price.0.saturating_mul(units.into());
    let tokens = part(settings.vote_price, tokens(demand));
    let pixel_steps = part(images.vote_price, demand.pixel_steps);
    let vote = tokens.saturating_add(pixel_steps).div_ceil(PRICE_UNIT);
    let vote = vote.max(settings.vote_minimum.0);
    let all = vote.saturating_mul((FIRST_COMMITTEE + SECOND_COMMITTEE) as u128);
    let chance = u128::from(chance(settings, assurance));
    (
        Tokens(vote),
        Tokens(all.saturating_mul(chance).div_ceil(10_000)),
    )
}

fn check_deadline(deadline: Option<Seconds>) -> Result<Seconds, ApiError> {
    let deadline = deadline.unwrap_or(limits::DEADLINE_DEFAULT);
    if deadline > limits::DEADLINE_MAX {
        return Err(ApiError::limit(
            "deadline",
            deadline.0,
            limits::DEADLINE_MAX.0,
        ));
    }
    if deadline < limits::DEADLINE_MIN {
        let least = format!("at least {} seconds", limits::DEADLINE_MIN.0);
        return Err(ApiError::invalid("deadline", least));
    }
    Ok(deadline)
}

fn check_salt(salt: Option<&[u8]>) -> Result<Option<[u8; 32]>, ApiError> {
    salt.map(|salt| {
        salt.try_into()
            .map_err(|_| ApiError::invalid("salt", "32 random bytes"))
    })
    .transpose()
}

/// The number, version and catalogue entry of the model that is meant: its newest version that does such jobs.
pub(crate) fn find_model(
    state: &State,
    model: &ModelRef,
    task: Task,
) -> Result<(u32, u32, CatalogueRecord), ApiError> {
    if model.id.len() > limits::MODEL_ID_BYTES {
        let (got, max) = (model.id.len() as u64, limits::MODEL_ID_BYTES as u64);
        return Err(ApiError::limit("model", got, max));
    }
    let (low, high) = match model.version {
        Some(version) => (version, version),
        None => (0, u32::MAX),
    };
    let keys = model_key(&model.id, low)..=model_key(&model.id, high);
    let mut found = (code::UNKNOWN_MODEL, "is not in the catalogue");
    for entry in state.model_numbers.range(keys).rev().take(16) {
        let number = entry.value();
        let Some(record) = state.models.get(&number) else {
            continue;
        };
        match record.entry {
            Some(entry) if !entry.does(task) => {
                let other = match task {
                    Task::Image => "makes no pictures",
                    Task::Chat | Task::Embedding => "does not answer texts",
                };
                found = (code::WRONG_TASK, other);
            }
            Some(entry) if entry.retired => {
                found = (code::UNKNOWN_MODEL, "is retired and takes no new jobs");
            }
            Some(entry) => return Ok((number, record.version, entry)),
            None => {}
        }
    }
    let (code, what) = found;
    let message = format!("{} {what}; `emc model list` shows what there is.", model.id);
    Err(ApiError::new(code, message))
}

/// The key of a model version among the numbers.
pub(crate) fn model_key(id: &str, version: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(id.len() + 5);
    key.extend_from_slice(id.as_bytes());
    key.push(0);
    key.extend_from_slice(&version.to_be_bytes());
    key
}

pub(crate) fn busy(message: String) -> ApiError {
    ApiError::new(code::BUSY, message)
}

/// Adds a sentence to an error's message.
pub(crate) trait Explain {
    /// The same error with a further sentence.
    fn explain(self, sentence: &str) -> Self;
}

impl Explain for ApiError {
    fn explain(mut self, sentence: &str) -> Self {
        self.message.push(' ');
        self.message.push_str(sentence);
        self
    }
}
