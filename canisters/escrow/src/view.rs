//! What callers may see. Everybody sees a job's terms, hashes and money; prompt, partial answer and result are for the
//! requester, for the bearer of the capability, and, the result of a public job, for all.

use crate::audit;
use crate::image;
use crate::mining_round;
use crate::outage;
use crate::parameters;
use crate::records::*;
use crate::state::{self, State};
use crate::submit;
use candid::Principal;
use emc_protocol::canonical;
use emc_protocol::escrow::{EscrowInfo, ReceiptProof, ReceiptRecord};
use emc_protocol::job::{Attempt, JobFilter, JobPage, MiningRole, Preview, PrivateView};
use emc_protocol::work::{ResultPart, ResultPartArgs, WorkSummary};
use emc_protocol::{
    ApiError, ByteBuf, ImageOutput, ImageProgress, Job, JobId, ModelRef, TextOutput, Timestamp,
    error::code, limits,
};

/// Bytes of prompts and results in one page of a list; the first job always fits.
const PAGE_BYTES: u64 = 1_000_000;
/// Jobs that a filtered list looks at.
const LOOK: usize = 10_000;

/// How much of a job a caller may see.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// Prompt, partial answer and result.
    All,
    /// The result.
    Result,
    /// Neither.
    Terms,
}

fn sight(
    state: &State,
    id: JobId,
    job: &JobRecord,
    caller: Principal,
    capability: Option<&[u8]>,
) -> Sight {
    let bearer = capability
        .zip(state.config().secret)
        .is_some_and(|(capability, secret)| capability == crate::secret::capability(&secret, id));
    let own = caller == job.requester || caller == job.submitter();
    if bearer || (own && caller != Principal::anonymous()) {
        Sight::All
    } else if job.public {
        Sight::Result
    } else {
        Sight::Terms
    }
}

/// A job that everybody may know of. One of a probe round is nobody's business before it is final: a validator could
/// tell by it what is a twin.
pub(crate) fn shown(state: &State, id: JobId) -> Result<JobRecord, ApiError> {
    shown_to(state, None, id)
}

/// The same for somebody: a node sees its own job of a round, but no twin of it.
fn shown_to(state: &State, caller: Option<Principal>, id: JobId) -> Result<JobRecord, ApiError> {
    let job = state.job(id)?;
    let hidden = job.mining.is_some() && !job.stage.is_final();
    let own = || !job.is_canary() && job.attempts.last().map(|attempt| attempt.node) == caller;
    match hidden && !(caller.is_some() && own()) {
        true => Err(state::no_job(id)),
        false => Ok(job),
    }
}

/// A job as a caller may see it.
///
/// # Errors
/// There is no such job.
pub fn get_job(
    state: &State,
    caller: Principal,
    id: JobId,
    capability: Option<&[u8]>,
) -> Result<Job, ApiError> {
    let mut job = shown_to(state, Some(caller), id)?;
    outage::move_times(state, &mut job);
    let sight = sight(state, id, &job, caller, capability);
    Ok(view(state, id, &job, sight))
}

/// A result.
pub enum Shown {
    /// Of a chat or a completion.
    Text(TextOutput),
    /// A picture.
    Image(ImageOutput),
}

/// The result of a job, for whom it may be shown.
///
/// # Errors
/// There is no such job or result, or it is not the caller's to see; the error does not say which.
pub fn result(state: &State, id: JobId, capability: Option<&[u8]>) -> Result<Shown, ApiError> {
    let job = state.jobs.get(&id).ok_or_else(|| hidden(id))?;
    if sight(state, id, &job, Principal::anonymous(), capability) == Sight::Terms {
        return Err(hidden(id));
    }
    let shown = match job.image {
        Some(_) => picture(state, id).map(Shown::Image),
        None => text(state, id).map(Shown::Text),
    };
    shown.ok_or_else(|| hidden(id))
}

/// A part of a result's canonical bytes, for whom it may be shown, and for the validators that check it.
///
/// # Errors
/// There is no such job or result, or it is not the caller's to see; the error does not say which.
pub fn result_part(
    state: &State,
    caller: Principal,
    args: &ResultPartArgs,
) -> Result<ResultPart, ApiError> {
    let id = args.job_id;
    let job = state.jobs.get(&id).ok_or_else(|| hidden(id))?;
    let capability = args.capability.as_deref().map(|c| &c[..]);
    let seen = sight(state, id, &job, caller, capability) != Sight::Terms;
    if !seen && !audit::has_seat(state, caller, id) {
        return Err(hidden(id));
    }
    let part = match job.image {
        Some(_) => picture_part(state, args),
        None => text_part(state, args),
    };
    part.ok_or_else(|| hidden(id))
}

fn picture_part(state: &State, args: &ResultPartArgs) -> Option<ResultPart> {
    let pictures = &state.pictures;
    Some(ResultPart {
        bytes: pictures.read(args.job_id, args.offset, limits::RESULT_PART_BYTES)?,
        length: pictures.length(args.job_id)?,
    })
}

fn text_part(state: &State, args: &ResultPartArgs) -> Option<ResultPart> {
    let bytes = state.outputs.get(&args.job_id)?;
    let length = bytes.len();
    let from = usize::try_from(args.offset).map_or(length, |from| from.min(length));
    let to = from.saturating_add(limits::RESULT_PART_BYTES).min(length);
    Some(ResultPart {
        bytes: bytes[from..to].to_vec(),
        length: length as u64,
    })
}

fn text(state: &State, id: JobId) -> Option<TextOutput> {
    canonical::read_output(&state.outputs.get(&id)?)
}

fn picture(state: &State, id: JobId) -> Option<ImageOutput> {
    canonical::read_image_output(&state.pictures.read(id, 0, usize::MAX)?)
}

fn hidden(id: JobId) -> ApiError {
    let message = format!(
        "Job {id} has no result that can be shown: it is not settled, its result's time is over, or the capability is missing."
    );
    ApiError::new(code::NOT_FOUND, message)
}

/// The bytes of answers that a job takes up at most, but for its input.
fn shown_bytes(state: &State, id: JobId, job: &JobRecord) -> u64 {
    match job.image {
        // The picture itself is not shown with its job.
        Some(_) => (limits::IMAGE_THUMBNAIL_BYTES + limits::IMAGE_PREVIEW_BYTES) as u64,
        None => state.outputs.get(&id).map_or(0, |o| o.len() as u64),
    }
}

/// A page of a requester's jobs, newest first.
///
/// # Errors
/// The limit is too large.
pub fn list_jobs(
    state: &State,
    caller: Principal,
    filter: &JobFilter,
) -> Result<JobPage, ApiError> {
    let limit = page(filter.limit)?;
    let requester = filter.requester.unwrap_or(caller);
    let before = filter.before.unwrap_or(u64::MAX);
    let mut jobs = Vec::new();
    let mut bytes = 0;
    let mine = state
        .by_requester
        .range((requester, 0)..(requester, before));
    for entry in mine.rev().take(LOOK) {
        let id = entry.key().1;
        let Some(mut job) = state.jobs.get(&id) else {
            continue;
        };
        outage::move_times(state, &mut job);
        if filter
            .state
            .is_some_and(|wanted| wanted != job.stage.state())
        {
            continue;
        }
        let sight = sight(state, id, &job, caller, None);
        if sight != Sight::Terms {
            bytes += 1_024 + job.input_bytes + shown_bytes(state, id, &job);
        }
        if jobs.len() == limit || (bytes > PAGE_BYTES && !jobs.is_empty()) {
            return Ok(JobPage { jobs, more: true });
        }
        jobs.push(view(state, id, &job, sight));
    }
    Ok(JobPage { jobs, more: false })
}

fn page(limit: Option<u32>) -> Result<usize, ApiError> {
    let limit = limit.unwrap_or(limits::PAGE);
    if limit > limits::PAGE {
        return Err(ApiError::limit("limit", limit.into(), limits::PAGE.into()));
    }
    Ok(limit as usize)
}

fn view(state: &State, id: JobId, job: &JobRecord, sight: Sight) -> Job {
    let attempts = job.attempts.iter().zip(1..);
    Job {
        id,
        requester: job.requester,
        model: job.model_ref(),
        state: Some(job.stage.state()),
        refund_reason: job.stage.refund_reason(),
        created: job.created,
        deadline: job.deadline,
        lease_until: job.lease_until,
        finished: job.finished,
        seed: job.seed,
        input_hash: job.input_hash.to_vec(),
        parameters_hash: job.parameters_hash.to_vec(),
        locked: job.max_price,
        charged: job.charged,
        usage: job.usage.map(|usage| usage.0),
        attempts: attempts
            .map(|(a, number)| attempt(a, number, sight))
            .collect(),
        postings: job.movements.iter().flat_map(|m| m.postings()).collect(),
        visibility: Some(job.visibility()),
        assurance: Some(job.assurance()),
        audit_fee: job.checking.map(|checking| checking.audit_fee),
        bond: job.attempts.last().and_then(|attempt| attempt.bond),
        delegate: job.delegation.map(|used| used.delegate),
        mining: job.mining.map(|mining| match mining.canary {
            true => MiningRole::Canary,
            false => MiningRole::Probe,
        }),
        private: (sight != Sight::Terms).then(|| private(state, id, job, sight)),
    }
}

/// The reason of a decline is the node's free text, meant for the requester.
fn attempt(a: &AttemptRecord, number: u32, sight: Sight) -> Attempt {
    let end = a.end.as_ref().map(|end| match end {
        End::Declined(_) if sight != Sight::All => (&End::Declined(String::new())).into(),
        end => end.into(),
    });
    Attempt {
        number,
        node: a.node,
        owner: a.owner,
        price: a.price,
        claimed: a.claimed,
        end,
    }
}

/// The salt would let anyone guess a short prompt from its hash, so only those who may see the prompt get it.
fn private(state: &State, id: JobId, job: &JobRecord, sight: Sight) -> PrivateView {
    let all = sight == Sight::All;
    let preview = job.progress.filter(|_| all).map(|progress| {
        let shown = state.previews.get(&id).unwrap_or_default();
        Preview {
            tokens: progress.ids,
            text: shown.text,
            time: progress.time,
            image: job.image.as_ref().map(|_| ImageProgress {
                steps_done: progress.steps,
                preview: shown.png.map(ByteBuf::from),
            }),
        }
    });
    PrivateView {
        salt: if all { job.salt.to_vec() } else { vec![] },
        input: match all {
            true => state
                .inputs
                .get(&id)
                .and_then(|bytes| canonical::read_input(&bytes)),
            false => None,
        },
        parameters: (&job.parameters).into(),
        preview,
        output: text(state, id),
        image: job
            .image
            .as_ref()
            .map(|record| image::view(state, id, record)),
    }
}

/// The receipt of a settled job.
///
/// # Errors
/// There is no such job, or it has no receipt.
pub fn receipt(state: &State, id: JobId) -> Result<ReceiptRecord, ApiError> {
    let index = state.job(id)?.receipt;
    let config = state.config();
    index
        .and_then(|index| state.receipts.get(index, config.escrow, config.nonce))
        .ok_or_else(|| {
            ApiError::new(
                code::NOT_FOUND,
                format!("Job {id} has no receipt: it was not delivered."),
            )
        })
}

/// The receipt of a job with the proof that it is in the certified log.
///
/// # Errors
/// As [`receipt`].
pub fn receipt_proof(
    state: &State,
    id: JobId,
    certificate: Option<Vec<u8>>,
) -> Result<ReceiptProof, ApiError> {
    let record = receipt(state, id)?;
    let proof = state.receipts.prove(record.index).ok_or_else(|| {
        ApiError::new(
            code::NOT_FOUND,
            format!("Job {id} has no receipt: it was not delivered."),
        )
    })?;
    Ok(ReceiptProof {
        record,
        proof,
        certificate: certificate.map(ByteBuf::from),
        tree: state.receipts.certified_bytes(),
    })
}

/// Receipts from a number on.
///
/// # Errors
/// The limit is too large.
pub fn receipts(state: &State, start: u64, limit: u32) -> Result<Vec<ReceiptRecord>, ApiError> {
    let limit = page(Some(limit))? as u64;
    let config = state.config();
    let end = start.saturating_add(limit).min(state.receipts.len());
    Ok((start..end)
        .filter_map(|index| state.receipts.get(index, config.escrow, config.nonce))
        .collect())
}

/// How much work of these models waits; of all where none is named.
///
/// # Errors
/// Too many models.
pub fn work_available(
    state: &State,
    now: Timestamp,
    models: &[ModelRef],
) -> Result<Vec<WorkSummary>, ApiError> {
    if models.len() > limits::OFFERS {
        let (got, max) = (models.len() as u64, limits::OFFERS as u64);
        return Err(ApiError::limit("models", got, max));
    }
    let mut numbers: Vec<u32> = Vec::new();
    if models.is_empty() {
        numbers.extend(state.waiting.keys().take(limits::PAGE as usize));
    }
    for model in models {
        let (low, high) = (
            model.version.unwrap_or(0),
            model.version.unwrap_or(u32::MAX),
        );
        let keys = submit::model_key(&model.id, low)..=submit::model_key(&model.id, high);
        numbers.extend(
            state
                .model_numbers
                .range(keys)
                .rev()
                .take(16)
                .map(|e| e.value()),
        );
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers
        .into_iter()
        .filter_map(|number| summary(state, now, number))
        .collect())
}

/// What waits of a model. While a probe round is open, one job more: every node can have some.
fn summary(state: &State, now: Timestamp, number: u32) -> Option<WorkSummary> {
    let settings = state.config().settings.mining();
    let tokens = u64::from(settings.probe_tokens);
    let round = mining_round::open(state, now)
        .filter(|_| mining_round::units(state, number, tokens).is_some());
    let waiting = state.waiting.get(&number);
    if round.is_none() && waiting.is_none() {
        return None;
    }
    let model = state.models.get(&number)?;
    let waiting = waiting.unwrap_or_default();
    let open = state.open.range((number, 0)..=(number, u64::MAX)).next();
    let oldest = open.and_then(|entry| state.jobs.get(&entry.key().1));
    let times = oldest.map(|job| job.created).into_iter();
    Some(WorkSummary {
        model: ModelRef {
            id: model.id,
            version: Some(model.version),
        },
        open: waiting.jobs + u64::from(round.is_some()),
        output_tokens: waiting.output_tokens + round.map_or(0, |_| tokens),
        pixel_steps: (waiting.pixel_steps > 0).then_some(waiting.pixel_steps),
        oldest: times
            .chain(round.map(|round| round.begun))
            .min()
            .unwrap_or(Timestamp(0)),
    })
}

/// The escrow's settings and state.
pub fn info(state: &State) -> EscrowInfo {
    let (config, counts, feed) = (state.config(), state.counts.get(), state.feed.get());
    EscrowInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ledger: config.ledger,
        registry: config.registry,
        governor: config.governor,
        treasury: config.treasury,
        settings: (&config.settings).into(),
        nonce: config.secret.map(|_| ByteBuf::from(config.nonce.to_vec())),
        feed_sequence: feed.sequence,
        feed_time: feed.time,
        jobs: counts.jobs,
        open: counts.open,
        leased: counts.leased,
        receipts: state.receipts.len(),
        delivered: Some(counts.delivered),
        auditing: Some(counts.auditing),
        delay: Some(parameters::delay(config)),
        pending: config.pending.as_ref().map(Into::into),
    }
}
