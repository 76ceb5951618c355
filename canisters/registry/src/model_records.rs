//! Models in stable memory, with numbered fields so that later versions can add some; and how they read on the wire.

use crate::keys::ModelKey;
use candid::Principal;
use emc_journal::cbor;
use emc_protocol::audit::GapLevel;
use emc_protocol::model::{ModelFile, ModelTerms, PendingTerms, PublishModel, Task};
use emc_protocol::{AuditTerms, ModelEntry, Timestamp};
use minicbor::{Decode, Encode};

/// A model version.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub struct ModelRecord {
    /// Code of its task.
    #[n(0)]
    pub task: u8,
    /// For people.
    #[n(1)]
    pub name: String,
    /// For people.
    #[n(2)]
    pub description: String,
    /// Root of its files.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub root: [u8; 32],
    /// Its files.
    #[n(4)]
    pub files: Vec<FileRecord>,
    /// Licence.
    #[n(5)]
    pub licence: String,
    /// Where the files can be had.
    #[n(6)]
    pub sources: Vec<String>,
    /// Longest context, tokens.
    #[n(7)]
    pub context: u32,
    /// Memory a node needs, bytes.
    #[n(8)]
    pub memory: u64,
    /// Who published it.
    #[cbor(n(9), with = "cbor::principal")]
    pub author: Principal,
    /// When, nanoseconds.
    #[n(10)]
    pub published: u64,
    /// Listed by the governor.
    #[n(11)]
    pub listed: bool,
    /// Withdrawn.
    #[n(12)]
    pub retired: bool,
    /// The terms that it was published with.
    #[n(13)]
    pub terms: Option<TermsRecord>,
    /// The terms that the governor has put in their place.
    #[n(14)]
    pub corrected: Option<TermsRecord>,
    /// Terms that the governor has announced.
    #[n(15)]
    pub pending: Option<PendingTermsRecord>,
}

/// What takes effect for a model once it is listed.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub struct TermsRecord {
    /// The levels of an audit; none: it cannot be audited.
    #[n(0)]
    pub levels: Vec<LevelRecord>,
    /// How far two honest validators lie apart, thousandths of a logit.
    #[n(1)]
    pub tolerance_milli: u32,
    /// The author's share, basis points.
    #[n(2)]
    pub royalty: u16,
    /// Computing power of a million units.
    #[n(3)]
    pub compute_units: u64,
}

/// A level of an audit.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelRecord {
    /// The gap, thousandths of a logit.
    #[n(0)]
    pub above_milli: u32,
    /// The share of positions that may lie above it, basis points.
    #[n(1)]
    pub share: u16,
    /// How many may besides.
    #[n(2)]
    pub besides: u16,
}

/// Announced terms.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub struct PendingTermsRecord {
    /// The terms.
    #[n(0)]
    pub terms: TermsRecord,
    /// When they take effect, nanoseconds.
    #[n(1)]
    pub effective: u64,
    /// Who announced them.
    #[cbor(n(2), with = "cbor::principal")]
    pub by: Principal,
}

impl From<ModelTerms> for TermsRecord {
    fn from(terms: ModelTerms) -> Self {
        let level = |level: &GapLevel| LevelRecord {
            above_milli: level.above_milli,
            share: level.share,
            besides: level.besides,
        };
        let audit = terms.audit.as_ref();
        Self {
            levels: audit.map_or_else(Vec::new, |audit| audit.levels.iter().map(level).collect()),
            tolerance_milli: audit.map_or(0, |audit| audit.tolerance_milli),
            royalty: terms.royalty,
            compute_units: terms.compute_units,
        }
    }
}

impl TermsRecord {
    /// As the interface shows them.
    pub fn view(&self) -> ModelTerms {
        let level = |level: &LevelRecord| GapLevel {
            above_milli: level.above_milli,
            share: level.share,
            besides: level.besides,
        };
        // Valid terms of an audit have a level at least.
        let audit = (!self.levels.is_empty()).then(|| AuditTerms {
            levels: self.levels.iter().map(level).collect(),
            tolerance_milli: self.tolerance_milli,
        });
        ModelTerms {
            audit,
            royalty: self.royalty,
            compute_units: self.compute_units,
        }
    }
}

/// A file of a model.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// Path.
    #[n(0)]
    pub path: String,
    /// Length, bytes.
    #[n(1)]
    pub length: u64,
    /// SHA-256.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub sha256: Vec<u8>,
}

impl ModelRecord {
    /// A new version, as published.
    pub fn new(model: PublishModel, author: Principal, now: u64) -> Self {
        let root = emc_protocol::model::model_root(&model.files);
        let file = |file: ModelFile| FileRecord {
            path: file.path,
            length: file.length,
            sha256: file.sha256,
        };
        Self {
            task: match model.task {
                Task::Chat => 0,
                Task::Image => 1,
                Task::Embedding => 2,
            },
            name: model.name,
            description: model.description,
            root,
            files: model.files.into_iter().map(file).collect(),
            licence: model.licence,
            sources: model.sources,
            context: model.context,
            memory: model.memory,
            author,
            published: now,
            listed: false,
            retired: false,
            terms: model.terms.map(TermsRecord::from),
            corrected: None,
            pending: None,
        }
    }

    /// What it does.
    pub fn task(&self) -> Option<Task> {
        match self.task {
            0 => Some(Task::Chat),
            1 => Some(Task::Image),
            2 => Some(Task::Embedding),
            _ => None,
        }
    }

    /// The terms that hold once it is listed.
    pub fn terms(&self) -> Option<ModelTerms> {
        let terms = self.corrected.as_ref().or(self.terms.as_ref());
        terms.map(TermsRecord::view)
    }

    /// As the interface shows it.
    pub fn entry(self, key: ModelKey) -> ModelEntry {
        let (task, terms) = (self.task(), self.terms());
        let pending_terms = self.pending.as_ref().map(|pending| PendingTerms {
            terms: pending.terms.view(),
            effective: Timestamp(pending.effective),
        });
        let file = |file: FileRecord| ModelFile {
            path: file.path,
            length: file.length,
            sha256: file.sha256,
        };
        ModelEntry {
            id: key.id,
            version: key.version,
            task,
            name: self.name,
            description: self.description,
            root: self.root.to_vec(),
            files: self.files.into_iter().map(file).collect(),
            licence: self.licence,
            sources: self.sources,
            context: self.context,
            memory: self.memory,
            author: self.author,
            published: Timestamp(self.published),
            listed: self.listed,
            retired: self.retired,
            terms,
            pending_terms,
        }
    }

    /// About how many bytes it takes on the wire.
    pub fn weight(&self) -> usize {
        let files: usize = self.files.iter().map(|f| f.path.len() + 48).sum();
        let sources: usize = self.sources.iter().map(|s| s.len() + 4).sum();
        600 + self.name.len() + self.description.len() + self.licence.len() + files + sources
    }
}

/// How much an author has published.
#[derive(Encode, Decode, Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorRecord {
    /// Versions in all.
    #[n(0)]
    pub versions: u64,
    /// The day of the newest, since 1970.
    #[n(1)]
    pub day: u64,
    /// Versions on that day.
    #[n(2)]
    pub today: u64,
}

emc_journal::storable_record!(ModelRecord, AuthorRecord);
