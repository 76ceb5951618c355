//! The model catalogue: anybody publishes, only the first publisher of an id adds versions to it, the governor lists.

use crate::feed;
use crate::guard::{self, newest, resolve};
use crate::keys::{ModelKey, Subject};
use crate::model_records::{AuthorRecord, ModelRecord};
use crate::parameters::only_governor;
use crate::state::State;
use crate::terms;
use candid::Principal;
use emc_protocol::model::{ModelFile, PublishModel, is_model_id};
use emc_protocol::{ApiError, ErrorDetail, ModelEntry, ModelRef, Seconds, error::code, limits};

/// Longest path of a file, bytes.
const PATH_BYTES: usize = 256;
/// Largest entry in all, bytes about.
const ENTRY_BYTES: usize = 64 * 1024;
/// Versions that one author publishes in a day, and ever.
const VERSIONS_A_DAY: u64 = 100;
const VERSIONS: u64 = 10_000;
const DAY: u64 = 24 * 3600 * 1_000_000_000;

/// Publishes a model or a new version of it; what equals the newest version already is left as it is.
///
/// # Errors
/// `forbidden` where the id is another author's, `invalid`, `limit`, `busy`.
pub fn publish(
    state: &mut State,
    now: u64,
    caller: Principal,
    model: PublishModel,
) -> Result<ModelEntry, ApiError> {
    check(&model)?;
    let id = model.id.clone();
    let mut record = ModelRecord::new(model, caller, now);
    guard::count("files", record.weight(), ENTRY_BYTES)?;
    let mut version = 1;
    if let Some(key) = newest(state, &id) {
        let before = stored(state, &key);
        if before.author != caller {
            return Err(ApiError::new(
                code::FORBIDDEN,
                format!(
                    "The model {id:?} is {}'s: publish under another id.",
                    before.author
                ),
            ));
        }
        // The same again, as after an answer that was lost.
        record.published = before.published;
        let same = ModelRecord {
            listed: before.listed,
            retired: before.retired,
            corrected: before.corrected.clone(),
            pending: before.pending.clone(),
            ..record.clone()
        };
        if same == before && !before.retired {
            return Ok(before.entry(key));
        }
        record.published = now;
        version = key
            .version
            .checked_add(1)
            .ok_or_else(|| ApiError::invalid("id", "one with fewer versions"))?;
    }
    count_publication(state, now, caller)?;
    let key = ModelKey { id, version };
    state.models.insert(key.clone(), record.clone());
    feed::announce(state, Subject::Model(key.clone()));
    Ok(record.entry(key))
}

/// Lists a version: the governor says that it is what it claims to be. Its terms have effect from now on.
///
/// # Errors
/// `forbidden`, `unknown_model`.
pub fn list(
    state: &mut State,
    caller: Principal,
    model: &ModelRef,
) -> Result<ModelEntry, ApiError> {
    only_governor(state, caller, "lists models")?;
    let key = resolve(state, model)?;
    change(state, key, |record| record.listed = true)
}

/// Withdraws a version: it takes no new jobs. Its author may, and the governor.
///
/// # Errors
/// `forbidden`, `unknown_model`.
pub fn retire(
    state: &mut State,
    caller: Principal,
    model: &ModelRef,
) -> Result<ModelEntry, ApiError> {
    let key = resolve(state, model)?;
    if caller != state.config.get().governor && caller != stored(state, &key).author {
        return Err(ApiError::new(
            code::FORBIDDEN,
            "Only the model's author and the governor withdraw it.",
        ));
    }
    change(state, key, |record| record.retired = true)
}

/// One version.
///
/// # Errors
/// `unknown_model`, `limit`.
pub fn model(state: &State, model: &ModelRef) -> Result<ModelEntry, ApiError> {
    let key = resolve(state, model)?;
    Ok(stored(state, &key).entry(key))
}

/// The record of a version that is known to exist.
pub fn stored(state: &State, key: &ModelKey) -> ModelRecord {
    let record = state.models.get(key);
    record.expect("the key was just found in the catalogue, and nothing is ever removed from it")
}

fn change(
    state: &mut State,
    key: ModelKey,
    change: impl FnOnce(&mut ModelRecord),
) -> Result<ModelEntry, ApiError> {
    let before = stored(state, &key);
    let mut record = before.clone();
    change(&mut record);
    if record != before {
        state.models.insert(key.clone(), record.clone());
        feed::announce(state, Subject::Model(key.clone()));
    }
    Ok(record.entry(key))
}

fn count_publication(state: &mut State, now: u64, author: Principal) -> Result<(), ApiError> {
    let day = now / DAY;
    let before = state.authors.get(&author).unwrap_or_default();
    let today = if before.day == day { before.today } else { 0 };
    guard::count("versions", before.versions as usize + 1, VERSIONS as usize)?;
    if today >= VERSIONS_A_DAY {
        let seconds = Seconds(((day + 1) * DAY - now).div_ceil(1_000_000_000));
        return Err(ApiError::new(
            code::BUSY,
            format!("You have published {today} versions today: go on tomorrow."),
        )
        .with(ErrorDetail::RetryAfter { seconds }));
    }
    let after = AuthorRecord {
        versions: before.versions + 1,
        day,
        today: today + 1,
    };
    state.authors.insert(author, after);
    Ok(())
}

fn check(model: &PublishModel) -> Result<(), ApiError> {
    if !is_model_id(&model.id) {
        let shape = format!(
            "1 to {} lower-case letters, digits, '.', '-', '_' and '/'",
            limits::MODEL_ID_BYTES
        );
        return Err(ApiError::invalid("id", shape));
    }
    guard::text("name", &model.name, limits::TEXT_BYTES)?;
    guard::text("description", &model.description, limits::TEXT_BYTES)?;
    guard::text("licence", &model.licence, limits::TEXT_BYTES)?;
    guard::count("sources", model.sources.len(), limits::MODEL_SOURCES)?;
    for source in &model.sources {
        guard::text("sources", source, limits::TEXT_BYTES)?;
    }
    if let Some(terms) = &model.terms {
        terms::check(terms)?;
    }
    check_files(&model.files)
}

fn check_files(files: &[ModelFile]) -> Result<(), ApiError> {
    if files.is_empty() {
        return Err(ApiError::invalid("files", "a list of the model's files"));
    }
    guard::count("files", files.len(), limits::MODEL_FILES)?;
    for file in files {
        guard::text("files.path", &file.path, PATH_BYTES)?;
        let part_is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        let plain = file.path.split('/').all(part_is_plain);
        if !plain || file.path.contains(|c: char| c == '\\' || c.is_control()) {
            return Err(ApiError::invalid(
                "files.path",
                "a path inside the model's folder, '/' between its parts",
            ));
        }
        if file.sha256.len() != 32 {
            return Err(ApiError::invalid("files.sha256", "a SHA-256 of 32 bytes"));
        }
    }
    let mut paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    paths.sort_unstable();
    if paths.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(ApiError::invalid("files.path", "there only once"));
    }
    Ok(())
}
