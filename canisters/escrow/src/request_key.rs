//! Request keys: the same key from the same caller within 24 hours names the same job, so that a repeated submission is
//! harmless. Forgotten keys leave by a queue, a bounded number at a time.

use crate::records::JobRecord;
use crate::state::{RequestKey, State};
use candid::Principal;
use emc_protocol::canonical::{self, Writer};
use emc_protocol::{
    ApiError, ErrorDetail, JobId, ModelRef, Seconds, SubmitJob, Timestamp, error::code, limits,
};
use ic_stable_structures::Storable;
use ic_stable_structures::storable::Blob;

/// Reads a key.
///
/// # Errors
/// Where it is empty or too long.
pub fn read(caller: Principal, key: &[u8]) -> Result<RequestKey, ApiError> {
    if key.is_empty() {
        return Err(ApiError::invalid("request_key", "1 to 32 bytes"));
    }
    let blob = Blob::try_from(key).map_err(|_| {
        ApiError::limit(
            "request_key",
            key.len() as u64,
            limits::REQUEST_KEY_BYTES as u64,
        )
    })?;
    Ok((caller, blob))
}

/// The job that a key names already.
///
/// # Errors
/// Where the key was used for a different job.
pub fn find(
    state: &State,
    now: Timestamp,
    key: Option<&RequestKey>,
    job: &SubmitJob,
    input: &[u8],
) -> Result<Option<(JobId, JobRecord)>, ApiError> {
    let Some(id) = key.and_then(|key| state.request_keys.get(key)) else {
        return Ok(None);
    };
    let record = state.job(id)?;
    if record.created.after(limits::REQUEST_KEY_WINDOW) <= now {
        return Ok(None);
    }
    if is_same(&record, job, input) {
        return Ok(Some((id, record)));
    }
    Err(ApiError::new(
        code::KEY_REUSED,
        format!("This request key names job {id}, which is a different one: use a new key for a new job."),
    )
    .with(ErrorDetail::Job { job_id: id }))
}

/// True if a submission's key names a job already.
pub fn is_known(state: &State, caller: Principal, job: &SubmitJob) -> bool {
    let key = job.request_key.as_deref();
    key.and_then(|key| read(caller, key).ok())
        .is_some_and(|key| state.request_keys.contains_key(&key))
}

/// True if a submission asks for what the job is. Salt, seed and version count only where they are given.
fn is_same(record: &JobRecord, job: &SubmitJob, input: &[u8]) -> bool {
    let mut hash = Writer::new(canonical::INPUT_DOMAIN);
    hash.raw(&record.salt);
    hash.raw(input);
    let model = ModelRef {
        id: job.model.id.clone(),
        version: Some(record.model_version),
    };
    let deadline = job.deadline.unwrap_or(limits::DEADLINE_DEFAULT);
    let allowed = match record.allowed {
        // Written before the time was: there was no outage then either.
        0 => record.deadline.since(record.created),
        seconds => Seconds(seconds),
    };
    let payer = job.payer.unwrap_or(record.submitter());
    record.requester == payer
        && record.notify == job.notify.unwrap_or_default()
        && record.input_hash == hash.sha256()
        && record.parameters_hash
            == canonical::job_parameters_hash(&model, &job.input, &job.parameters)
        && record.max_price == job.max_price
        && record.assurance() == job.assurance.unwrap_or_default()
        && allowed == deadline
        && record.visibility() == job.visibility.unwrap_or_default()
        && job.model.version.is_none_or(|v| v == record.model_version)
        && job.seed.is_none_or(|seed| seed == record.seed)
        && job.salt.as_ref().is_none_or(|salt| salt[..] == record.salt)
}

/// Remembers a key for 24 hours.
pub(crate) fn remember(state: &mut State, now: Timestamp, key: RequestKey, id: JobId) {
    let expires = now.after(limits::REQUEST_KEY_WINDOW);
    state
        .key_expiry
        .insert((expires.0, id), key.to_bytes().into_owned());
    state.request_keys.insert(key, id);
}

/// Forgets keys whose time is over, at most `limit`; how many.
pub fn forget(state: &mut State, now: Timestamp, limit: usize) -> usize {
    for done in 0..limit {
        match state.key_expiry.first_key_value() {
            Some(((expires, id), bytes)) if expires <= now.0 => {
                let key = RequestKey::from_bytes(bytes.into());
                // A key that was used again after its time names a newer job.
                if state.request_keys.get(&key) == Some(id) {
                    state.request_keys.remove(&key);
                }
                state.key_expiry.remove(&(expires, id));
            }
            _ => return done,
        }
    }
    limit
}
