//! The model catalogue: what a model is, who published it, which files it consists of.

use crate::Timestamp;
use candid::{CandidType, Principal};
use serde::{Deserialize, Serialize};

/// Names a model, and a version of it where one is meant.
#[derive(
    CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub struct ModelRef {
    /// Lower-case letters, digits, `.`, `-`, `_` and `/`, for example `smollm2-135m-instruct`.
    pub id: String,
    /// The version; `None` is the newest.
    pub version: Option<u32>,
}

/// What a model does.
#[derive(
    CandidType, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum Task {
    /// Answers a conversation or continues a text.
    #[serde(rename = "chat")]
    Chat,
    /// Draws a picture.
    #[serde(rename = "image")]
    Image,
    /// Turns a text into a vector.
    #[serde(rename = "embedding")]
    Embedding,
}

/// One file of a model.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ModelFile {
    /// Path inside the model's folder, `/` between parts.
    pub path: String,
    /// Length in bytes.
    pub length: u64,
    /// SHA-256 of the content, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub sha256: Vec<u8>,
}

/// What a model's author gets of every charge for it.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Royalty {
    /// The author.
    pub author: Principal,
    /// The share of the charge, in basis points; the escrow has a cap of its own.
    pub share: u16,
}

/// What takes effect for a model once the governor has listed it.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelTerms {
    /// When an output counts as the model's own; without it its jobs cannot be audited.
    pub audit: Option<crate::AuditTerms>,
    /// The author's share of a charge, in basis points.
    pub royalty: u16,
    /// What a million output tokens or pixel-steps count in computing power; 0: the model does not take part in mining.
    pub compute_units: u64,
}

/// The largest share of a charge, in basis points: all of it.
pub const WHOLE: u16 = 10_000;

impl ModelTerms {
    /// Checks that the terms can be applied.
    ///
    /// # Errors
    /// The field that is wrong, and what it must be.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if self.audit.as_ref().is_some_and(|audit| !audit.is_valid()) {
            return Err((
                "terms.audit",
                "1 to 8 levels with ascending gaps and shares of at most 10,000 basis points, and a tolerance above zero",
            ));
        }
        if self.royalty > WHOLE {
            return Err(("terms.royalty", "at most 10,000 basis points"));
        }
        Ok(())
    }
}

/// What an author sends to publish a model or a new version of it.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct PublishModel {
    /// The model's id; the first to publish it is its author.
    pub id: String,
    /// What it does.
    pub task: Task,
    /// A name for people.
    pub name: String,
    /// A sentence or two.
    pub description: String,
    /// Its files; the registry computes the root from them (`docs/spec/model-root.md`).
    pub files: Vec<ModelFile>,
    /// The licence, as an SPDX identifier where there is one.
    pub licence: String,
    /// Where the files can be had: URLs, or `pypi:name==version`.
    pub sources: Vec<String>,
    /// Longest context in tokens (0 where it has none).
    pub context: u32,
    /// Memory a node needs to run it, in bytes.
    pub memory: u64,
    /// What takes effect once it is listed.
    pub terms: Option<ModelTerms>,
}

/// A version of a model in the catalogue.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ModelEntry {
    /// The model's id.
    pub id: String,
    /// 1 for the first version, one more for each.
    pub version: u32,
    /// What it does.
    pub task: Option<Task>,
    /// A name for people.
    pub name: String,
    /// A sentence or two.
    pub description: String,
    /// SHA-256 over the sorted list of files, 32 bytes (`docs/spec/model-root.md`).
    #[serde(with = "serde_bytes")]
    pub root: Vec<u8>,
    /// Its files.
    pub files: Vec<ModelFile>,
    /// The licence.
    pub licence: String,
    /// Where the files can be had.
    pub sources: Vec<String>,
    /// Longest context in tokens.
    pub context: u32,
    /// Memory a node needs to run it, in bytes.
    pub memory: u64,
    /// Who published it.
    pub author: Principal,
    /// When.
    pub published: Timestamp,
    /// True once the governor has listed it: thresholds, units and royalty have effect.
    pub listed: bool,
    /// True when the author or the governor has withdrawn it: no new jobs.
    pub retired: bool,
    /// What takes effect, or is in effect, once it is listed.
    pub terms: Option<ModelTerms>,
    /// Other terms that the governor has announced.
    pub pending_terms: Option<PendingTerms>,
}

/// Terms that the governor has announced for a model.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct PendingTerms {
    /// The terms.
    pub terms: ModelTerms,
    /// When they replace those that the model has.
    pub effective: Timestamp,
}

/// Which models a listing should hold; empty fields do not filter.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFilter {
    /// Only models for this task.
    pub task: Option<Task>,
    /// Only models whose id, name or description holds this text.
    pub text: Option<String>,
    /// Only listed models.
    pub listed_only: Option<bool>,
    /// Start after this model (id and version of the last one of the page before).
    pub after: Option<ModelRef>,
    /// At most this many; at most [`crate::limits::PAGE`].
    pub limit: Option<u32>,
}

/// A page of models.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ModelPage {
    /// The models, by id and version.
    pub models: Vec<ModelEntry>,
    /// True if there may be more. A page may be short, or empty, before the end: a call looks at a bounded number.
    pub more: bool,
    /// Where to go on: `after` of the next page's filter.
    pub next: Option<ModelRef>,
}

/// True for a well-formed model id.
pub fn is_model_id(id: &str) -> bool {
    let allowed = |b: u8| {
        b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_' | b'/')
    };
    !id.is_empty() && id.len() <= crate::limits::MODEL_ID_BYTES && id.bytes().all(allowed)
}

/// The root of a model: SHA-256 over `emc-model-root-v1`, the number of files, and for each file in the order of its
/// path's bytes: path (u32 length, UTF-8), length (u64), SHA-256. Little-endian; see `docs/spec/model-root.md`.
pub fn model_root(files: &[ModelFile]) -> [u8; 32] {
    let mut sorted: Vec<&ModelFile> = files.iter().collect();
    sorted.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    let mut bytes = crate::canonical::Writer::new("emc-model-root-v1");
    bytes.u32(sorted.len() as u32);
    for file in sorted {
        bytes.text(&file.path);
        bytes.u64(file.length);
        bytes.raw(&file.sha256);
    }
    bytes.sha256()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of `docs/spec/model-root.md`; the worker's own implementation is held to the same one.
    #[test]
    fn the_specification_s_example_has_its_root() {
        let file = |path: &str, content: &[u8]| ModelFile {
            path: path.into(),
            length: content.len() as u64,
            sha256: <sha2::Sha256 as sha2::Digest>::digest(content).to_vec(),
        };
        let files = [
            file("weights/a.gguf", b"GGUF"),
            file("config.json", b"{}\n"),
        ];
        assert_eq!(
            hex::encode(model_root(&files)),
            "edf988eed5bccea89bfb89582f5f938b6d5e65e07a7edd119a71bf65f86557cd"
        );
    }

    #[test]
    fn model_ids_are_plain_and_bounded() {
        assert!(is_model_id("smollm2-135m-instruct") && is_model_id("meta/llama_3.1"));
        for wrong in ["", "Upper", "two words", &"x".repeat(97)] {
            assert!(!is_model_id(wrong), "{wrong}");
        }
    }
}
