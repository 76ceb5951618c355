//! The state: every structure in stable memory, from the first byte. Only this file names memory ids; an id keeps its
//! meaning for ever, and a later feature takes the next free one of its range.
//!
//! | ids | for |
//! |---|---|
//! | 0-9 | layout, config, counts, feed, clock, log of parameters |
//! | 10-19 | books |
//! | 20-39 | jobs: records, inputs, outputs, previews, uploads, indices, queues; draws, audits, delegations, callbacks |
//! | 40-59 | nodes and models, from the feed; bonds, reports to the registry; mining; candidates of audits |
//! | 60-69 | receipts and the nodes of their Merkle range (62 held a running hash before the first release) |
//! | 70-79 | the journal of ledger calls |
//! | 80-89 | pictures: slots, places, free slots; thumbnails |

use crate::books::Books;
use crate::pictures::Pictures;
use crate::receipts::ReceiptLog;
use crate::records::*;
use candid::Principal;
use emc_journal::{Journal, Memories};
use emc_protocol::{ApiError, JobId, Timestamp, error::code};
use ic_stable_structures::memory_manager::{MemoryId, MemoryManager, VirtualMemory};
use ic_stable_structures::storable::Blob;
use ic_stable_structures::{DefaultMemoryImpl, Memory, StableBTreeMap, StableCell};

/// The memory of one structure.
pub type Mem = VirtualMemory<DefaultMemoryImpl>;
/// A map in stable memory.
pub type Map<K, V> = StableBTreeMap<K, V, Mem>;
/// A request key, padded.
pub type RequestKey = (Principal, Blob<32>);

/// The version of the layout; a canister refuses to start on a newer one than it knows.
pub const LAYOUT: u32 = 1;
/// Pages of 64 KiB by which a structure's memory grows: 8 MiB, so that 256 GiB can be addressed in all.
pub const BUCKET_PAGES: u16 = 128;

const LAYOUT_ID: MemoryId = MemoryId::new(0);
const CONFIG: MemoryId = MemoryId::new(1);
const COUNTS: MemoryId = MemoryId::new(2);
const FEED: MemoryId = MemoryId::new(3);
const CLOCK: MemoryId = MemoryId::new(4);
const PARAMETER_LOG: MemoryId = MemoryId::new(5);
const ACCOUNTS: MemoryId = MemoryId::new(10);
const LEAVING: MemoryId = MemoryId::new(11);
const TOTALS: MemoryId = MemoryId::new(12);
const IN_FLIGHT: MemoryId = MemoryId::new(13);
const JOBS: MemoryId = MemoryId::new(20);
const INPUTS: MemoryId = MemoryId::new(21);
const OUTPUTS: MemoryId = MemoryId::new(22);
const PREVIEWS: MemoryId = MemoryId::new(23);
const UPLOADS: MemoryId = MemoryId::new(24);
const OPEN: MemoryId = MemoryId::new(25);
const WAITING: MemoryId = MemoryId::new(26);
const DUE: MemoryId = MemoryId::new(27);
const RETENTION: MemoryId = MemoryId::new(28);
const BY_REQUESTER: MemoryId = MemoryId::new(29);
const REQUEST_KEYS: MemoryId = MemoryId::new(30);
const KEY_EXPIRY: MemoryId = MemoryId::new(31);
const DRAWS: MemoryId = MemoryId::new(32);
const AUDITS: MemoryId = MemoryId::new(33);
const ASSIGNED: MemoryId = MemoryId::new(34);
const DELEGATIONS: MemoryId = MemoryId::new(35);
const CALLBACKS: MemoryId = MemoryId::new(36);
const CALLEES: MemoryId = MemoryId::new(37);
const CALLEES_DUE: MemoryId = MemoryId::new(38);
const DELEGATES: MemoryId = MemoryId::new(39);
const NODES: MemoryId = MemoryId::new(40);
const SERVERS: MemoryId = MemoryId::new(41);
const RUNNING: MemoryId = MemoryId::new(42);
const MODELS: MemoryId = MemoryId::new(43);
const MODEL_NUMBERS: MemoryId = MemoryId::new(44);
const BONDS: MemoryId = MemoryId::new(45);
const VALIDATORS: MemoryId = MemoryId::new(46);
const OUTCOMES: MemoryId = MemoryId::new(47);
const REPORT: MemoryId = MemoryId::new(48);
const UNSTAKING: MemoryId = MemoryId::new(49);
const ROUND: MemoryId = MemoryId::new(50);
const PROBES: MemoryId = MemoryId::new(51);
const POWER: MemoryId = MemoryId::new(52);
const EPOCHS: MemoryId = MemoryId::new(53);
const MINING_REPORTED: MemoryId = MemoryId::new(54);
const PACE: MemoryId = MemoryId::new(55);
const CANDIDATES: MemoryId = MemoryId::new(56);
const RECEIPT_INDEX: MemoryId = MemoryId::new(60);
const RECEIPT_DATA: MemoryId = MemoryId::new(61);
const RECEIPT_NODES: MemoryId = MemoryId::new(63);
const JOURNAL_HEADER: MemoryId = MemoryId::new(70);
const JOURNAL_ENTRIES: MemoryId = MemoryId::new(71);
const JOURNAL_DUE: MemoryId = MemoryId::new(72);
const PICTURE_SLOTS: MemoryId = MemoryId::new(80);
const PICTURE_PLACES: MemoryId = MemoryId::new(81);
const PICTURES_FREE: MemoryId = MemoryId::new(82);
const THUMBNAILS: MemoryId = MemoryId::new(83);

/// The memories that grow with the number of jobs, by name.
const GROWING: [(&str, MemoryId); 29] = [
    ("accounts", ACCOUNTS),
    ("jobs", JOBS),
    ("inputs", INPUTS),
    ("outputs", OUTPUTS),
    ("picture_slots", PICTURE_SLOTS),
    ("picture_places", PICTURE_PLACES),
    ("pictures_free", PICTURES_FREE),
    ("thumbnails", THUMBNAILS),
    ("previews", PREVIEWS),
    ("uploads", UPLOADS),
    ("open", OPEN),
    ("due", DUE),
    ("retention", RETENTION),
    ("by_requester", BY_REQUESTER),
    ("request_keys", REQUEST_KEYS),
    ("key_expiry", KEY_EXPIRY),
    ("draws", DRAWS),
    ("audits", AUDITS),
    ("candidates", CANDIDATES),
    ("assigned", ASSIGNED),
    ("nodes", NODES),
    ("bonds", BONDS),
    ("outcomes", OUTCOMES),
    ("receipt_index", RECEIPT_INDEX),
    ("receipt_data", RECEIPT_DATA),
    ("receipt_nodes", RECEIPT_NODES),
    ("journal_header", JOURNAL_HEADER),
    ("journal_entries", JOURNAL_ENTRIES),
    ("journal_due", JOURNAL_DUE),
];

/// The bytes that each growing structure of a state in this memory takes, in whole pages.
pub fn sizes(memory: DefaultMemoryImpl, bucket_pages: u16) -> Vec<(&'static str, u64)> {
    let manager = MemoryManager::init_with_bucket_size(memory, bucket_pages);
    let size = |(name, id)| (name, manager.get(id).size() * 65_536);
    GROWING.map(size).to_vec()
}

/// Marks the journal's memos as an escrow's.
const JOURNAL_TAG: [u8; 8] = *b"emc-escr";

/// Why a state cannot be opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OpenError {
    /// The memory was written by a newer version.
    #[error(
        "the stable memory has layout {found}, this version knows layout {LAYOUT}: install a newer version"
    )]
    TooNew {
        /// The layout in the memory.
        found: u32,
    },
    /// The memory is empty.
    #[error(
        "the canister was never installed: install it with (variant {{ Init = record {{ ... }} }})"
    )]
    Empty,
}

/// Everything the escrow knows.
pub struct State {
    pub(crate) config: Config,
    config_cell: StableCell<ConfigCell, Mem>,
    pub(crate) counts: StableCell<Counts, Mem>,
    pub(crate) feed: StableCell<FeedRecord, Mem>,
    pub(crate) clock: StableCell<ClockRecord, Mem>,
    /// When the escrow was last awake; the cell follows some seconds later.
    pub(crate) awake: u64,
    /// Everything that was announced of parameters and put into effect.
    pub(crate) parameter_log: Map<u64, ParameterEventRecord>,
    /// Balances.
    pub(crate) books: Books<Mem>,
    /// The journal entry of a ledger call under way, by account and direction.
    pub(crate) in_flight: Map<(Principal, u8), u64>,
    pub(crate) jobs: Map<JobId, JobRecord>,
    /// Canonical bytes of the inputs of unfinished jobs.
    pub(crate) inputs: Map<JobId, Vec<u8>>,
    /// Canonical bytes of texts that were delivered, until their retention ends.
    pub(crate) outputs: Map<JobId, Vec<u8>>,
    /// The same of pictures.
    pub(crate) pictures: Pictures,
    /// Their thumbnails.
    pub(crate) thumbnails: Map<JobId, Vec<u8>>,
    pub(crate) previews: Map<JobId, PreviewRecord>,
    /// Chunks of outputs, by job and offset.
    pub(crate) uploads: Map<(JobId, u64), Vec<u8>>,
    /// Open jobs by model and age.
    pub(crate) open: Map<(u32, JobId), OpenRecord>,
    /// Open jobs of each model, counted.
    pub(crate) waiting: Map<u32, WaitingRecord>,
    /// Unfinished jobs by the time at which something happens to them.
    pub(crate) due: Map<(u64, JobId), ()>,
    /// Settled jobs by the time at which their output goes.
    pub(crate) retention: Map<(u64, JobId), ()>,
    pub(crate) by_requester: Map<(Principal, JobId), ()>,
    pub(crate) request_keys: Map<RequestKey, JobId>,
    /// Request keys by the time at which they are forgotten.
    pub(crate) key_expiry: Map<(u64, JobId), Vec<u8>>,
    /// What waits for random bytes, by number.
    pub(crate) draws: Map<u64, DrawRequest>,
    pub(crate) audits: Map<JobId, AuditRecord>,
    /// Who could be drawn, by job and round.
    pub(crate) candidates: Map<(JobId, u32), CandidatesRecord>,
    /// Seats in running rounds: the round, by validator and job.
    pub(crate) assigned: Map<(Principal, JobId), u32>,
    /// Who may spend what of whose balance, by account and delegate.
    pub(crate) delegations: Map<(Principal, Principal), DelegationRecord>,
    /// How many permissions each delegate has.
    pub(crate) delegates: Map<Principal, u32>,
    /// Jobs whose end a canister is to be told of, and how often it was tried.
    pub(crate) callbacks: Map<(Principal, JobId), u32>,
    pub(crate) callees: Map<Principal, CalleeRecord>,
    /// Canisters with something to be told, by the time of their next call.
    pub(crate) callees_due: Map<(u64, Principal), ()>,
    pub(crate) nodes: Map<Principal, NodeRecord>,
    /// Nodes that can be given work, by model.
    pub(crate) servers: Map<(u32, Principal), ServerRecord>,
    /// What nodes do, by node and model.
    pub(crate) running: Map<(Principal, u32), RunningRecord>,
    pub(crate) models: Map<u32, ModelRecord>,
    /// Model numbers by id, a zero byte, and the version, big-endian.
    pub(crate) model_numbers: Map<Vec<u8>, u32>,
    /// What of nodes' stake is spoken for.
    pub(crate) bonds: Map<Principal, BondRecord>,
    /// Nodes that can be drawn as validators, by model.
    pub(crate) validators: Map<(u32, Principal), ValidatorRecord>,
    /// What has happened to nodes since the last report.
    pub(crate) outcomes: Map<Principal, OutcomeRecord>,
    pub(crate) report: StableCell<ReportRecord, Mem>,
    /// Nodes whose owner takes stake out, by the feed's change that told of it.
    pub(crate) unstaking: Map<Principal, u64>,
    /// The newest probe round.
    pub(crate) round: StableCell<RoundOfMining, Mem>,
    /// How many jobs each node has got in the running round.
    pub(crate) probes: Map<(u64, Principal), u32>,
    /// What nodes have shown, by epoch, until it is reported.
    pub(crate) power: Map<(u64, Principal), PowerRecord>,
    /// Jobs of probe rounds that are not final, by epoch.
    pub(crate) epochs: Map<u64, u64>,
    pub(crate) mining_reported: StableCell<MiningReported, Mem>,
    /// How fast nodes answer, by model.
    pub(crate) pace: Map<u32, PaceRecord>,
    pub(crate) receipts: ReceiptLog,
    pub(crate) journal: Journal<Mem>,
    /// The earliest time in the due queue as far as is known; never later than the truth.
    pub(crate) next_due: u64,
}

impl State {
    /// A new state in a memory, for installation and reinstallation.
    pub fn create(
        memory: DefaultMemoryImpl,
        bucket_pages: u16,
        config: Config,
        now: Timestamp,
    ) -> Self {
        let manager = MemoryManager::init_with_bucket_size(memory, bucket_pages);
        let mut layout = StableCell::init(manager.get(LAYOUT_ID), 0u32);
        layout.set(LAYOUT);
        let mut cell = StableCell::init(manager.get(CONFIG), ConfigCell::default());
        cell.set(ConfigCell(Some(config.clone())));
        Self::attach(&manager, cell, config, now)
    }

    /// The state that lies in a memory, for upgrades.
    ///
    /// # Errors
    /// Where there is none, or one of a newer layout.
    pub fn open(
        memory: DefaultMemoryImpl,
        bucket_pages: u16,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        let manager = MemoryManager::init_with_bucket_size(memory, bucket_pages);
        let layout = StableCell::init(manager.get(LAYOUT_ID), 0u32);
        if *layout.get() > LAYOUT {
            return Err(OpenError::TooNew {
                found: *layout.get(),
            });
        }
        let cell = StableCell::init(manager.get(CONFIG), ConfigCell::default());
        let config = cell.get().0.clone().ok_or(OpenError::Empty)?;
        Ok(Self::attach(&manager, cell, config, now))
    }

    fn attach(
        manager: &MemoryManager<DefaultMemoryImpl>,
        config_cell: StableCell<ConfigCell, Mem>,
        config: Config,
        now: Timestamp,
    ) -> Self {
        let map = |id| manager.get(id);
        let journal = Journal::init(
            Memories {
                header: map(JOURNAL_HEADER),
                entries: map(JOURNAL_ENTRIES),
                due: map(JOURNAL_DUE),
            },
            JOURNAL_TAG,
            now.0.to_be_bytes(),
        );
        let clock = StableCell::init(map(CLOCK), ClockRecord::default());
        Self {
            awake: clock.get().awake,
            clock,
            config,
            config_cell,
            counts: StableCell::init(map(COUNTS), Counts::default()),
            feed: StableCell::init(map(FEED), FeedRecord::default()),
            parameter_log: Map::init(map(PARAMETER_LOG)),
            books: Books::init(map(ACCOUNTS), map(LEAVING), map(TOTALS)),
            in_flight: Map::init(map(IN_FLIGHT)),
            jobs: Map::init(map(JOBS)),
            inputs: Map::init(map(INPUTS)),
            outputs: Map::init(map(OUTPUTS)),
            pictures: Pictures::init(map(PICTURE_SLOTS), map(PICTURE_PLACES), map(PICTURES_FREE)),
            thumbnails: Map::init(map(THUMBNAILS)),
            previews: Map::init(map(PREVIEWS)),
            uploads: Map::init(map(UPLOADS)),
            open: Map::init(map(OPEN)),
            waiting: Map::init(map(WAITING)),
            due: Map::init(map(DUE)),
            retention: Map::init(map(RETENTION)),
            by_requester: Map::init(map(BY_REQUESTER)),
            request_keys: Map::init(map(REQUEST_KEYS)),
            key_expiry: Map::init(map(KEY_EXPIRY)),
            draws: Map::init(map(DRAWS)),
            audits: Map::init(map(AUDITS)),
            candidates: Map::init(map(CANDIDATES)),
            assigned: Map::init(map(ASSIGNED)),
            delegations: Map::init(map(DELEGATIONS)),
            delegates: Map::init(map(DELEGATES)),
            callbacks: Map::init(map(CALLBACKS)),
            callees: Map::init(map(CALLEES)),
            callees_due: Map::init(map(CALLEES_DUE)),
            nodes: Map::init(map(NODES)),
            servers: Map::init(map(SERVERS)),
            running: Map::init(map(RUNNING)),
            models: Map::init(map(MODELS)),
            model_numbers: Map::init(map(MODEL_NUMBERS)),
            bonds: Map::init(map(BONDS)),
            validators: Map::init(map(VALIDATORS)),
            outcomes: Map::init(map(OUTCOMES)),
            report: StableCell::init(map(REPORT), ReportRecord::default()),
            unstaking: Map::init(map(UNSTAKING)),
            round: StableCell::init(map(ROUND), RoundOfMining::default()),
            probes: Map::init(map(PROBES)),
            power: Map::init(map(POWER)),
            epochs: Map::init(map(EPOCHS)),
            mining_reported: StableCell::init(map(MINING_REPORTED), MiningReported::default()),
            pace: Map::init(map(PACE)),
            receipts: ReceiptLog::init(map(RECEIPT_INDEX), map(RECEIPT_DATA), map(RECEIPT_NODES)),
            journal,
            next_due: 0,
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Changes the configuration.
    pub fn configure(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
        self.config_cell.set(ConfigCell(Some(self.config.clone())));
    }

    pub(crate) fn count(&mut self, change: impl FnOnce(&mut Counts)) {
        let mut counts = *self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }

    /// A job's record.
    pub(crate) fn job(&self, id: JobId) -> Result<JobRecord, ApiError> {
        self.jobs.get(&id).ok_or_else(|| no_job(id))
    }

    /// Puts a job into the due queue.
    pub(crate) fn queue_due(&mut self, id: JobId, at: Timestamp) {
        self.next_due = self.next_due.min(at.0);
        self.due.insert((at.0, id), ());
    }

    /// Takes a job out of the due queue.
    pub(crate) fn unqueue_due(&mut self, id: JobId, at: Timestamp) {
        self.due.remove(&(at.0, id));
    }
}

/// The refusal where there is no such job, or none that may be shown.
pub(crate) fn no_job(id: JobId) -> ApiError {
    ApiError::new(
        code::NOT_FOUND,
        format!("There is no job {id} in this escrow."),
    )
}
