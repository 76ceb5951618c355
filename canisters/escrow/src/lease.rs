//! Leases: who may try a job, how long a lease is, and what its node can do with it: renew it with a partial answer,
//! give it back, or let it lapse.

use crate::due;
use crate::image;
use crate::mining_job;
use crate::movement::Movement;
use crate::records::*;
use crate::report;
use crate::settle;
use crate::state::State;
use crate::submit::{add_open, busy, remove_open};
use candid::Principal;
use emc_protocol::work::{DeclineArgs, ExtendArgs, ExtendReply};
use emc_protocol::{
    ApiError, ErrorDetail, ImageParameters, JobId, Seconds, Timestamp, Tokens, error::code, limits,
};

/// Leases of one job that one owner may hold.
const LEASES_PER_OWNER: usize = 2;

/// True if an owner's node may try the job.
pub fn may_try(job: &JobRecord, owner: &Principal, max_attempts: u32) -> bool {
    let held = job.attempts.iter().filter(|a| a.owner == *owner).count();
    held < LEASES_PER_OWNER && (held > 0 || owners(job).len() < max_attempts as usize)
}

/// True if no owner may try the job any more.
pub fn nobody_may_try(job: &JobRecord, max_attempts: u32) -> bool {
    let owners = owners(job);
    owners.len() >= max_attempts as usize
        && owners
            .iter()
            .all(|owner| !may_try(job, owner, max_attempts))
}

fn owners(job: &JobRecord) -> Vec<Principal> {
    let mut owners: Vec<Principal> = job.attempts.iter().map(|a| a.owner).collect();
    owners.sort();
    owners.dedup();
    owners
}

/// When a lease that begins or is renewed now ends.
pub fn until(settings: &SettingsRecord, job: &JobRecord, now: Timestamp) -> Timestamp {
    let tokens = u64::from(job.parameters.max_tokens);
    let more = settings.lease_per_1000_tokens.0.saturating_mul(tokens) / 1_000;
    let length = Seconds(settings.lease_base.0.saturating_add(more));
    let length = Seconds(
        length
            .0
            .saturating_add(image::more_time(settings, job.pixel_steps()).0),
    );
    now.after(length).min(job.deadline)
}

/// Gives an open job to a node. The claim has checked that it may have it.
pub(crate) fn begin(
    state: &mut State,
    now: Timestamp,
    id: JobId,
    job: &mut JobRecord,
    attempt: AttemptRecord,
) {
    remove_open(state, id, job);
    drop_partial(state, id, job);
    state.unqueue_due(id, job.deadline);
    job.stage = Stage::Leased;
    let until = until(&state.config().settings, job, now);
    job.lease_until = Some(until);
    job.attempts.push(attempt);
    state.queue_due(id, until);
}

/// Renews a lease and takes a partial answer.
///
/// # Errors
/// Where the lease is not the caller's any more, or the answer is no continuation.
pub fn extend(
    state: &mut State,
    now: Timestamp,
    caller: Principal,
    args: ExtendArgs,
) -> Result<ExtendReply, ApiError> {
    let id = args.job_id;
    let mut job = due::catch_up(state, now, id)?;
    running(id, &job, caller, args.attempt)?;
    let progress = match &job.image {
        Some(record) => image::take_progress(state, now, &job, record, args)?,
        None => take_text(state, now, &job, args)?,
    };
    job.progress = Some(progress);
    let until = until(&state.config().settings, &job, now);
    if job.lease_until != Some(until) {
        state.unqueue_due(id, job.lease_until.unwrap_or(job.deadline));
        job.lease_until = Some(until);
        state.queue_due(id, until);
    }
    state.jobs.insert(id, job);
    Ok(ExtendReply { until })
}

/// Checks that a partial answer is far enough from the one before.
///
/// # Errors
/// `busy`, with the time to wait.
pub(crate) fn check_interval(job: &JobRecord, now: Timestamp) -> Result<(), ApiError> {
    let before = job.progress.map_or(Timestamp(0), |progress| progress.time);
    let earliest = before.after(limits::PREVIEW_INTERVAL);
    if now < earliest {
        let wait = Seconds((earliest.0 - now.0).div_ceil(1_000_000_000));
        return Err(busy(format!(
            "Partial answers are at least {} seconds apart: wait.",
            limits::PREVIEW_INTERVAL.0
        ))
        .with(ErrorDetail::RetryAfter { seconds: wait }));
    }
    Ok(())
}

/// Takes in a partial answer: its ids and text go on from those before.
fn take_text(
    state: &mut State,
    now: Timestamp,
    job: &JobRecord,
    args: ExtendArgs,
) -> Result<Progress, ApiError> {
    let id = args.job_id;
    if args.image.is_some() {
        return Err(ApiError::invalid(
            "image",
            "absent: this job asks for a text",
        ));
    }
    if args.prompt_tokens == 0 || args.prompt_tokens > job.prompt_bound {
        return Err(bad_prompt_tokens(job));
    }
    let before = job.progress.unwrap_or(Progress {
        prompt_tokens: args.prompt_tokens,
        ids: 0,
        time: Timestamp(0),
        steps: 0,
    });
    if args.from != before.ids {
        let message = format!(
            "The escrow has {} tokens of this attempt: go on from there.",
            before.ids
        );
        return Err(ApiError::new(code::NOT_A_CONTINUATION, message));
    }
    check_interval(job, now)?;
    let ids = before.ids as usize + args.ids.len();
    if ids > job.parameters.max_tokens as usize {
        return Err(ApiError::limit(
            "ids",
            ids as u64,
            job.parameters.max_tokens.into(),
        ));
    }
    let mut preview = match job.progress {
        Some(_) => state.previews.get(&id).unwrap_or_default(),
        None => PreviewRecord::default(),
    };
    let (length, bound) = (
        preview.text.len() + args.text.len(),
        JobRecord::text_bound(ids),
    );
    if length > bound {
        return Err(ApiError::limit("text", length as u64, bound as u64));
    }

    if !args.ids.is_empty() || !args.text.is_empty() {
        for token in &args.ids {
            preview.ids.extend_from_slice(&token.to_le_bytes());
        }
        preview.text.push_str(&args.text);
        state.previews.insert(id, preview);
    }
    Ok(Progress {
        prompt_tokens: args.prompt_tokens,
        ids: ids as u32,
        time: now,
        steps: 0,
    })
}

/// Gives a lease back, at no cost.
///
/// # Errors
/// Where the lease is not the caller's.
pub fn decline(
    state: &mut State,
    now: Timestamp,
    caller: Principal,
    args: DeclineArgs,
) -> Result<(), ApiError> {
    if args.reason.len() > limits::TEXT_BYTES {
        let (got, max) = (args.reason.len() as u64, limits::TEXT_BYTES as u64);
        return Err(ApiError::limit("reason", got, max));
    }
    let mut job = due::catch_up(state, now, args.job_id)?;
    if job.stage == Stage::Open {
        return Err(not_yours(args.job_id));
    }
    running(args.job_id, &job, caller, args.attempt)?;
    end_attempt(state, &mut job, End::Declined(args.reason));
    if job.mining.is_some() {
        mining_job::lapse(state, now, args.job_id, &mut job);
    } else {
        report::note(state, caller, |outcome| outcome.declined += 1);
        give_back(state, now, args.job_id, &mut job);
    }
    state.jobs.insert(args.job_id, job);
    Ok(())
}

/// A lease has ended without a delivery: the owner pays the fee as far as it has it, and the job goes on.
pub(crate) fn lapse(state: &mut State, now: Timestamp, id: JobId, job: &mut JobRecord) {
    if job.mining.is_some() {
        return mining_job::lapse(state, now, id, job);
    }
    if let Some(attempt) = job.attempts.last() {
        let node = attempt.node;
        let fee = attempt
            .lapse_fee
            .min(state.books.account(&attempt.owner).available());
        let movement = Movement::lapse_fee(now, attempt.owner, job.requester, fee);
        let booked = state.books.apply_for(movement, id, job);
        booked.expect("the fee is at most what the owner has available");
        report::note(state, node, |outcome| outcome.lapsed += 1);
    }
    end_attempt(state, job, End::Lapsed);
    state.count(|counts| counts.lapsed += 1);
    give_back(state, now, id, job);
}

/// What becomes of a leased job without its lease: open again, or refunded where its time or its attempts are used up.
fn give_back(state: &mut State, now: Timestamp, id: JobId, job: &mut JobRecord) {
    let max_attempts = state.config().settings.max_attempts;
    if job.deadline <= now {
        return settle::refund(state, now, id, job, Refund::Deadline);
    }
    if nobody_may_try(job, max_attempts) {
        return settle::refund(state, now, id, job, Refund::Attempts);
    }
    state.unqueue_due(id, job.lease_until.unwrap_or(job.deadline));
    release(state, job);
    state.count(|counts| {
        counts.leased = counts.leased.saturating_sub(1);
        counts.open += 1;
    });
    job.stage = Stage::Open;
    job.lease_until = None;
    state.queue_due(id, job.deadline);
    add_open(state, id, job);
}

/// Takes one of a node's places for a lease that begins.
pub(crate) fn take_place(state: &mut State, node: Principal, model: u32) {
    let mut running = state.running.get(&(node, model)).unwrap_or_default();
    running.leases += 1;
    state.running.insert((node, model), running);
}

/// Frees the node's place that the running attempt takes.
pub(crate) fn release(state: &mut State, job: &JobRecord) {
    let Some(attempt) = job.attempts.last() else {
        return;
    };
    let key = (attempt.node, job.model);
    let mut running = state.running.get(&key).unwrap_or_default();
    running.leases = running.leases.saturating_sub(1);
    if running == RunningRecord::default() {
        state.running.remove(&key);
    } else {
        state.running.insert(key, running);
    }
}

/// Deletes what an attempt has shown and uploaded.
pub(crate) fn drop_partial(state: &mut State, id: JobId, job: &mut JobRecord) {
    if job.progress.take().is_some() {
        state.previews.remove(&id);
    }
    if job.upload.take().is_some() {
        let offsets: Vec<_> = state.uploads.keys_range((id, 0)..=(id, u64::MAX)).collect();
        for key in offsets {
            state.uploads.remove(&key);
        }
    }
}

/// Ends the running attempt. Its bond stays reserved where the result was delivered, else it is given free.
pub(crate) fn end_attempt(state: &mut State, job: &mut JobRecord, end: End) {
    if end != End::Delivered {
        settle::release_bond(state, job);
    }
    if let Some(attempt) = job.attempts.last_mut() {
        attempt.end = Some(end);
    }
}

/// Checks that an attempt is the caller's; its record.
pub(crate) fn held(
    id: JobId,
    job: &JobRecord,
    caller: Principal,
    attempt: u32,
) -> Result<&AttemptRecord, ApiError> {
    let at = (attempt as usize).checked_sub(1);
    at.and_then(|at| job.attempts.get(at))
        .filter(|a| a.node == caller)
        .ok_or_else(|| not_yours(id))
}

/// Checks that the caller's attempt is the one that runs.
fn running(id: JobId, job: &JobRecord, caller: Principal, attempt: u32) -> Result<(), ApiError> {
    held(id, job, caller, attempt)?;
    if !matches!(job.stage, Stage::Open | Stage::Leased) {
        return Err(wrong_state(id, job));
    }
    if job.stage == Stage::Open || attempt as usize != job.attempts.len() {
        return Err(lost(id));
    }
    Ok(())
}

fn not_yours(id: JobId) -> ApiError {
    let message = format!(
        "This lease of job {id} is not yours: use the job and attempt that `claim` gave you."
    );
    ApiError::new(code::NOT_YOUR_LEASE, message)
}

pub(crate) fn lost(id: JobId) -> ApiError {
    let message = format!(
        "Your lease of job {id} has ended and the job has gone on: drop it and claim another."
    );
    ApiError::new(code::LEASE_LOST, message)
}

pub(crate) fn wrong_state(id: JobId, job: &JobRecord) -> ApiError {
    let state = job.stage.state();
    let what = match job.stage {
        Stage::Open => "open",
        Stage::Leased => "leased",
        Stage::Settled => "settled",
        Stage::Refunded(_) => "refunded",
        Stage::Delivered => "delivered",
        Stage::Auditing => "being audited",
        Stage::Undecided => "over without a decision",
    };
    let message = format!("Job {id} is {what}: this cannot be done any more.");
    ApiError::new(code::WRONG_STATE, message).with(ErrorDetail::State { state: Some(state) })
}

pub(crate) fn bad_prompt_tokens(job: &JobRecord) -> ApiError {
    let message = format!(
        "prompt_tokens must be between 1 and {} for this input.",
        job.prompt_bound
    );
    ApiError::new(code::BAD_USAGE, message)
}

/// What the progress of an attempt costs so far: prompt tokens and ids, or steps, as extended; at most what is locked.
pub(crate) fn progress_charge(job: &JobRecord) -> Tokens {
    let (Some(attempt), Some(progress)) = (job.attempts.last(), job.progress) else {
        return Tokens::ZERO;
    };
    let usage = emc_protocol::Usage {
        prompt_tokens: progress.prompt_tokens,
        output_tokens: progress.ids.into(),
        pixel_steps: job.image.as_ref().map_or(0, |image| {
            ImageParameters::from(image).pixel_steps_of(progress.steps)
        }),
    };
    let locked = job.chargeable();
    attempt
        .price
        .charge(&usage)
        .map_or(locked, |charge| charge.min(locked))
}
