//! Delivering: the output, inline or uploaded before, with the node's signed receipt. Everything is checked before
//! anything moves, in the order of `docs/protocol.md`; then the job is settled in the same message, or, where its result
//! is to be checked, waits for the draw.

use crate::bond;
use crate::due;
use crate::image;
use crate::lease;
use crate::mining_job;
use crate::movement::Charge;
use crate::pace;
use crate::records::*;
use crate::report;
use crate::settle;
use crate::state::State;
use crate::submit::Explain;
use candid::Principal;
use emc_protocol::canonical;
use emc_protocol::escrow::ReceiptRecord;
use emc_protocol::work::{ChunkArgs, DeliverArgs, DeliverReply};
use emc_protocol::{
    ApiError, ErrorDetail, FinishReason, ImageOutput, JobId, Receipt, TextOutput, Timestamp,
    Tokens, error::code, limits,
};

/// What was delivered.
enum Output {
    Text(TextOutput),
    Image(ImageOutput),
}

impl Output {
    /// What an audit looks at, one by one: tokens, or samples of the latent.
    fn positions(&self) -> u32 {
        match self {
            Self::Text(text) => text.ids.len() as u32,
            Self::Image(image) => image.latent.len() as u32,
        }
    }

    /// What the receipt says of its end; a picture has only one.
    fn finish_reason(&self) -> FinishReason {
        match self {
            Self::Text(text) => text.finish_reason,
            Self::Image(_) => FinishReason::Stop,
        }
    }
}

/// Takes a part of an output; how many bytes there are now.
///
/// # Errors
/// Where the attempt is not the caller's any more, or the bytes do not belong there.
pub fn upload_chunk(
    state: &mut State,
    now: Timestamp,
    caller: Principal,
    args: ChunkArgs,
) -> Result<u64, ApiError> {
    let id = args.job_id;
    if args.bytes.is_empty() {
        return Err(ApiError::invalid("bytes", "at least one byte"));
    }
    let length = args.bytes.len() as u64;
    if length > limits::CHUNK_BYTES as u64 {
        return Err(ApiError::limit("bytes", length, limits::CHUNK_BYTES as u64));
    }
    let mut job = due::catch_up(state, now, id)?;
    deliverable(id, &job, caller, args.attempt)?;
    let upload = job.upload.unwrap_or(Upload {
        bytes: 0,
        chunks: 0,
    });
    if args.offset < upload.bytes
        && state.uploads.get(&(id, args.offset)).as_ref() == Some(&args.bytes)
    {
        return Ok(upload.bytes);
    }
    if args.offset != upload.bytes {
        let message = format!("{} bytes are here: go on from there.", upload.bytes);
        return Err(ApiError::new(code::NOT_A_CONTINUATION, message));
    }
    let bound = job.output_bound().min(limits::OUTPUT_BYTES as u64);
    if upload.bytes + length > bound {
        return Err(ApiError::limit("offset", upload.bytes + length, bound));
    }
    let most = limits::UPLOAD_CHUNKS as u64;
    if u64::from(upload.chunks) >= most {
        return Err(ApiError::limit("chunks", most + 1, most));
    }
    state.uploads.insert((id, args.offset), args.bytes);
    let upload = Upload {
        bytes: upload.bytes + length,
        chunks: upload.chunks + 1,
    };
    job.upload = Some(upload);
    state.jobs.insert(id, job);
    Ok(upload.bytes)
}

/// Takes a result, pays for it, and logs its receipt.
///
/// # Errors
/// What is wrong with it; nothing has moved then.
pub fn deliver(
    state: &mut State,
    now: Timestamp,
    caller: Principal,
    args: &DeliverArgs,
) -> Result<DeliverReply, ApiError> {
    // 1. Check.
    let id = args.job_id;
    let mut job = due::catch_up(state, now, id)?;
    let attempt = deliverable(id, &job, caller, args.attempt)?;
    let (output, bytes) = output(state, id, &job, args)?;
    match (&output, &job.image) {
        (Output::Image(output), Some(record)) => image::check_output(record, output, args)?,
        (Output::Text(output), None) => check_bounds(&job, output, args)?,
        _ => return Err(wrong_kind(&job)),
    }
    if args.output_hash != canonical::output_hash(&job.salt, &bytes) {
        return Err(ApiError::new(
            code::BAD_OUTPUT_HASH,
            "output_hash is not the hash of this output with the lease's salt: hash the canonical bytes of docs/spec/receipt.md.",
        ));
    }
    if let Output::Text(output) = &output {
        check_continues_preview(state, id, &job, output)?;
    }
    let charge = Charge::of(attempt, check_charge(&job, attempt, args)?);
    let record = check_receipt(state, now, id, &job, attempt, output.finish_reason(), args)?;
    let (bond, claimed) = (reserve_again(state, &job, attempt)?, attempt.claimed);

    // 2. Apply; nothing fails any more.
    pace::note(state, job.model, claimed, now, &args.usage);
    if let Some(attempt) = job.attempts.last_mut() {
        attempt.bond = bond;
    }
    // A receipt is for what was paid; and a twin, which has none, must not be told by it.
    if job.mining.is_none() {
        state.receipts.append(&record);
        job.receipt = Some(record.index);
    }
    let paid = if job.checking.is_some() {
        settle::await_draw(state, id, &mut job, charge.charge, output.positions());
        Tokens::ZERO
    } else {
        settle::settle(state, now, id, &mut job, &charge);
        report::note(state, caller, |outcome| outcome.settled += 1);
        charge.paid()
    };
    lease::end_attempt(state, &mut job, End::Delivered);
    job.usage = Some(UsageRecord(args.usage));
    let positions = output.positions();
    match output {
        Output::Image(output) => image::keep(state, id, output, &bytes),
        Output::Text(_) => {
            state.outputs.insert(id, bytes);
        }
    }
    mining_job::make_twin(state, id, &job, positions);
    let state_now = job.stage.state();
    state.jobs.insert(id, job);
    Ok(DeliverReply {
        state: Some(state_now),
        paid,
        receipt: record.index,
    })
}

/// The bond of a delivery. One that comes after its lease lapsed has lost it and needs it again.
fn reserve_again(
    state: &mut State,
    job: &JobRecord,
    attempt: &AttemptRecord,
) -> Result<Option<Tokens>, ApiError> {
    match (attempt.bond, job.checking) {
        (None, Some(checking)) => {
            let stake = state
                .nodes
                .get(&attempt.node)
                .map_or(Tokens::ZERO, |node| node.stake);
            bond::reserve(state, attempt.node, stake, checking.bond)?;
            Ok(Some(checking.bond))
        }
        (bond, _) => Ok(bond),
    }
}

/// Checks that the caller may deliver for this attempt: it holds the lease, or its lease lapsed and nobody else has the
/// job.
fn deliverable(
    id: JobId,
    job: &JobRecord,
    caller: Principal,
    attempt: u32,
) -> Result<&AttemptRecord, ApiError> {
    let record = lease::held(id, job, caller, attempt)?;
    let newest = attempt as usize == job.attempts.len();
    match job.stage {
        Stage::Settled | Stage::Delivered | Stage::Auditing | Stage::Undecided => {
            let message = format!("Job {id} was delivered already.");
            let state = Some(job.stage.state());
            Err(ApiError::new(code::ALREADY_DELIVERED, message).with(ErrorDetail::State { state }))
        }
        Stage::Refunded(_) => Err(lease::wrong_state(id, job)),
        Stage::Leased if newest => Ok(record),
        Stage::Open if newest && record.end == Some(End::Lapsed) => Ok(record),
        Stage::Leased | Stage::Open => Err(lease::lost(id)),
    }
}

/// The output, inline or as uploaded, with its canonical bytes.
fn output(
    state: &State,
    id: JobId,
    job: &JobRecord,
    args: &DeliverArgs,
) -> Result<(Output, Vec<u8>), ApiError> {
    let inline = match (&args.output, &args.image) {
        (Some(text), None) => Some((Output::Text(text.clone()), canonical::output_bytes(text))),
        (None, Some(image)) => Some((
            Output::Image(image.clone()),
            canonical::image_output_bytes(image),
        )),
        (Some(_), Some(_)) => return Err(wrong_kind(job)),
        (None, None) => None,
    };
    if let Some((output, bytes)) = inline {
        if bytes.len() > limits::OUTPUT_INLINE_BYTES {
            let (got, max) = (bytes.len() as u64, limits::OUTPUT_INLINE_BYTES as u64);
            return Err(ApiError::limit("output", got, max)
                .explain("Upload it in chunks with `upload_chunk` first."));
        }
        return Ok((output, bytes));
    }
    let mut bytes = Vec::with_capacity(job.upload.map_or(0, |upload| upload.bytes as usize));
    for chunk in state.uploads.range((id, 0)..=(id, u64::MAX)) {
        bytes.extend_from_slice(&chunk.value());
    }
    let output = match job.image {
        Some(_) => canonical::read_image_output(&bytes).map(Output::Image),
        None => canonical::read_output(&bytes).map(Output::Text),
    };
    let output = output.ok_or_else(|| {
        ApiError::invalid(
            "output",
            "given, or uploaded before as the canonical bytes of one output",
        )
    })?;
    Ok((output, bytes))
}

/// A text for a picture, or the other way round.
fn wrong_kind(job: &JobRecord) -> ApiError {
    match job.image {
        Some(_) => ApiError::invalid("output", "absent: this job asks for a picture, in `image`"),
        None => ApiError::invalid("image", "absent: this job asks for a text, in `output`"),
    }
}

fn check_bounds(job: &JobRecord, output: &TextOutput, args: &DeliverArgs) -> Result<(), ApiError> {
    let ids = output.ids.len();
    if ids > job.parameters.max_tokens as usize {
        return Err(ApiError::limit(
            "ids",
            ids as u64,
            job.parameters.max_tokens.into(),
        ));
    }
    let bound = JobRecord::text_bound(ids);
    if output.text.len() > bound {
        return Err(ApiError::limit(
            "text",
            output.text.len() as u64,
            bound as u64,
        ));
    }
    let usage = &args.usage;
    if usage.prompt_tokens == 0 || usage.prompt_tokens > job.prompt_bound {
        return Err(lease::bad_prompt_tokens(job));
    }
    if usage.output_tokens != ids as u64 || usage.pixel_steps != 0 {
        let message = format!(
            "The output has {ids} tokens: usage.output_tokens must say so, pixel_steps must be 0."
        );
        return Err(ApiError::new(code::BAD_USAGE, message));
    }
    Ok(())
}

/// What was shown to the requester must be how the output begins.
fn check_continues_preview(
    state: &State,
    id: JobId,
    job: &JobRecord,
    output: &TextOutput,
) -> Result<(), ApiError> {
    if job.progress.is_none() {
        return Ok(());
    }
    let preview = state.previews.get(&id).unwrap_or_default();
    let shown = preview
        .ids
        .as_chunks()
        .0
        .iter()
        .map(|id| u32::from_le_bytes(*id));
    let begins = preview.ids.len() / 4 <= output.ids.len()
        && shown.zip(&output.ids).all(|(shown, id)| shown == *id)
        && output.text.starts_with(&preview.text);
    if begins {
        return Ok(());
    }
    Err(ApiError::new(
        code::NOT_A_CONTINUATION,
        "The output does not begin with the partial answer that this attempt has shown.",
    ))
}

fn check_charge(
    job: &JobRecord,
    attempt: &AttemptRecord,
    args: &DeliverArgs,
) -> Result<Tokens, ApiError> {
    let locked = job.chargeable();
    let charge = attempt.price.charge(&args.usage);
    let charge = charge.map_or(locked, |charge| charge.min(locked));
    if args.charge != charge {
        let expected = format!(
            "{} e8s: the lease's price for this usage, at most its max_charge",
            charge.0
        );
        return Err(ApiError::invalid("charge", expected));
    }
    Ok(charge)
}

/// Builds the receipt from the escrow's own values and what the node sent, and checks the signature over it.
fn check_receipt(
    state: &State,
    now: Timestamp,
    id: JobId,
    job: &JobRecord,
    attempt: &AttemptRecord,
    finish_reason: FinishReason,
    args: &DeliverArgs,
) -> Result<ReceiptRecord, ApiError> {
    let receipt = Receipt {
        escrow: state.config().escrow,
        nonce: state.config().nonce.to_vec(),
        job_id: id,
        attempt: args.attempt,
        model_root: job.model_root.to_vec(),
        parameters_hash: job.parameters_hash.to_vec(),
        input_hash: job.input_hash.to_vec(),
        output_hash: args.output_hash.clone(),
        seed: job.seed,
        usage: args.usage,
        finish_reason,
        charge: args.charge,
        evidence_root: vec![0; 32],
    };
    receipt
        .verify(&attempt.public_key, &args.signature)
        .map_err(|error| {
            let message = format!(
                "{error}: sign the receipt that docs/spec/receipt.md describes with the node's key."
            );
            ApiError::new(code::BAD_SIGNATURE, message)
        })?;
    Ok(ReceiptRecord {
        index: state.receipts.len(),
        receipt,
        node: attempt.node,
        public_key: attempt.public_key.to_vec(),
        signature: args.signature.clone(),
        time: now,
    })
}
