//! The registry's state: everything lies in stable memory from the first byte, and this file alone names the memories.
//!
//! Only the rate limits and the sweep's place are in the heap: an upgrade fills every bucket and begins the sweep anew,
//! which harms nobody.

use crate::config::{Config, LAYOUT};
use crate::guard::Limits;
use crate::keys::{ModelKey, Subject};
use crate::mining::records::{EpochRecord, MinedRecord, MiningRecord, PowerRecord};
use crate::model_records::{AuthorRecord, ModelRecord};
use crate::parameter_log::EventRecord;
use crate::records::{EscrowRecord, NodeRecord, OutcomeRecord, Totals, UnbondingRecord};
use crate::unbonding::Sweep;
use candid::Principal;
use emc_journal::{Journal, Memories};
use ic_stable_structures::memory_manager::{MemoryId, MemoryManager, VirtualMemory};
use ic_stable_structures::{DefaultMemoryImpl, StableBTreeMap, StableCell};
use std::cell::RefCell;

/// A part of stable memory.
pub type Memory = VirtualMemory<DefaultMemoryImpl>;
type Map<K, V> = StableBTreeMap<K, V, Memory>;

// Numbers are never used for anything else.
const CONFIG: MemoryId = MemoryId::new(0);
const TOTALS: MemoryId = MemoryId::new(1);
const JOURNAL_HEADER: MemoryId = MemoryId::new(2);
const JOURNAL_ENTRIES: MemoryId = MemoryId::new(3);
const JOURNAL_DUE: MemoryId = MemoryId::new(4);
const NODES: MemoryId = MemoryId::new(5);
const SEEN: MemoryId = MemoryId::new(6);
const OWNERS: MemoryId = MemoryId::new(7);
const OFFERS: MemoryId = MemoryId::new(8);
const ALLOTMENTS: MemoryId = MemoryId::new(9);
const UNBONDING: MemoryId = MemoryId::new(10);
const LEAVING: MemoryId = MemoryId::new(11);
const STAKING: MemoryId = MemoryId::new(12);
const MODELS: MemoryId = MemoryId::new(13);
const AUTHORS: MemoryId = MemoryId::new(14);
const FEED: MemoryId = MemoryId::new(15);
const PLACES: MemoryId = MemoryId::new(16);
const ESCROWS: MemoryId = MemoryId::new(17);
const OUTCOMES: MemoryId = MemoryId::new(18);
const TERMS_DUE: MemoryId = MemoryId::new(19);
const EVENTS: MemoryId = MemoryId::new(20);
const MINING: MemoryId = MemoryId::new(21);
const POWERS: MemoryId = MemoryId::new(22);
const MINED: MemoryId = MemoryId::new(23);
const EPOCHS: MemoryId = MemoryId::new(24);
const EARNINGS: MemoryId = MemoryId::new(25);
const DRAWING: MemoryId = MemoryId::new(26);
const DRAWERS: MemoryId = MemoryId::new(27);

/// Pages of 64 KiB that a part of memory grows by: 1 MiB, so that some twenty small parts stay small, and all of them
/// together may still hold 32 GiB.
const GROWTH: u16 = 16;

/// Marks the memos of this canister's ledger calls.
const JOURNAL_TAG: [u8; 8] = *b"emc-regy";

/// All of it.
pub struct State {
    /// Settings.
    pub config: StableCell<Config, Memory>,
    /// Sums and counters.
    pub totals: StableCell<Totals, Memory>,
    /// Ledger calls.
    pub journal: Journal<Memory>,
    /// Nodes.
    pub nodes: Map<Principal, NodeRecord>,
    /// When a node was last heard of, to the nearest few minutes; apart, so that a heartbeat writes little.
    pub seen: Map<Principal, u64>,
    /// Nodes by owner.
    pub owners: Map<(Principal, Principal), ()>,
    /// Nodes by the model versions they serve.
    pub offers: Map<(ModelKey, Principal), ()>,
    /// Stake by node and escrow, e8s; what is zero is not there.
    pub allotments: Map<(Principal, Principal), u128>,
    /// Stake on its way out, by node and number.
    pub unbonding: Map<(Principal, u64), UnbondingRecord>,
    /// What the ledger is asked to pay out, by journal entry, e8s.
    pub leaving: Map<u64, u128>,
    /// The journal entry of an owner's `stake` whose outcome is not known: one at a time.
    pub staking: Map<Principal, u64>,
    /// The catalogue.
    pub models: Map<ModelKey, ModelRecord>,
    /// What authors have published.
    pub authors: Map<Principal, AuthorRecord>,
    /// The feed: what changed, by number.
    pub feed: Map<u64, Subject>,
    /// The number at which each subject stands in the feed.
    pub places: Map<Subject, u64>,
    /// Escrows in which there ever was stake, and their reports.
    pub escrows: Map<Principal, EscrowRecord>,
    /// How nodes' jobs and votes ended.
    pub outcomes: Map<Principal, OutcomeRecord>,
    /// When announced terms of models take effect.
    pub terms_due: Map<(u64, ModelKey), ()>,
    /// The log of parameters, by number.
    pub events: Map<u64, EventRecord>,
    /// Where mining stands.
    pub mining: StableCell<MiningRecord, Memory>,
    /// What nodes have shown in epochs that are not closed, by epoch.
    pub powers: Map<(u64, Principal), PowerRecord>,
    /// What nodes got for epochs that are closed, by node; kept for ever.
    pub mined: Map<(Principal, u64), MinedRecord>,
    /// How epochs were divided; kept for ever.
    pub epochs: Map<u64, EpochRecord>,
    /// What owners have earned by mining and not withdrawn, e8s; what is zero is not there.
    pub earnings: Map<Principal, u128>,
    /// Earnings that the ledger is asked to pay out, by journal entry, e8s.
    pub drawing: Map<u64, u128>,
    /// The journal entry of an owner's withdrawal of earnings whose outcome is not known: one at a time.
    pub drawers: Map<Principal, u64>,
    /// Rate limits.
    pub limits: Limits,
    /// The timer's way through the unbondings.
    pub sweep: Sweep,
}

impl State {
    /// A new registry in empty memory.
    pub fn create(memory: DefaultMemoryImpl, config: Config) -> Self {
        let manager = MemoryManager::init_with_bucket_size(memory, GROWTH);
        let config = StableCell::new(manager.get(CONFIG), config);
        Self::with(&manager, config)
    }

    /// The registry that lies in this memory.
    ///
    /// # Errors
    /// It is not one of this layout; what to do is in the text.
    pub fn load(memory: DefaultMemoryImpl) -> Result<Self, String> {
        let manager = MemoryManager::init_with_bucket_size(memory, GROWTH);
        let config = StableCell::init(manager.get(CONFIG), Config::nothing());
        match config.get().layout {
            LAYOUT => Ok(Self::with(&manager, config)),
            0 => Err(
                "There is no registry in this canister: install it instead of upgrading.".into(),
            ),
            other => Err(format!(
                "The state has layout {other}, this Wasm knows {LAYOUT}: upgrade with a Wasm that knows both."
            )),
        }
    }

    fn with(
        manager: &MemoryManager<DefaultMemoryImpl>,
        config: StableCell<Config, Memory>,
    ) -> Self {
        let memories = Memories {
            header: manager.get(JOURNAL_HEADER),
            entries: manager.get(JOURNAL_ENTRIES),
            due: manager.get(JOURNAL_DUE),
        };
        let salt = config.get().installed.to_be_bytes();
        Self {
            totals: StableCell::init(manager.get(TOTALS), Totals::default()),
            journal: Journal::init(memories, JOURNAL_TAG, salt),
            nodes: StableBTreeMap::init(manager.get(NODES)),
            seen: StableBTreeMap::init(manager.get(SEEN)),
            owners: StableBTreeMap::init(manager.get(OWNERS)),
            offers: StableBTreeMap::init(manager.get(OFFERS)),
            allotments: StableBTreeMap::init(manager.get(ALLOTMENTS)),
            unbonding: StableBTreeMap::init(manager.get(UNBONDING)),
            leaving: StableBTreeMap::init(manager.get(LEAVING)),
            staking: StableBTreeMap::init(manager.get(STAKING)),
            models: StableBTreeMap::init(manager.get(MODELS)),
            authors: StableBTreeMap::init(manager.get(AUTHORS)),
            feed: StableBTreeMap::init(manager.get(FEED)),
            places: StableBTreeMap::init(manager.get(PLACES)),
            escrows: StableBTreeMap::init(manager.get(ESCROWS)),
            outcomes: StableBTreeMap::init(manager.get(OUTCOMES)),
            terms_due: StableBTreeMap::init(manager.get(TERMS_DUE)),
            events: StableBTreeMap::init(manager.get(EVENTS)),
            mining: StableCell::init(manager.get(MINING), MiningRecord::default()),
            powers: StableBTreeMap::init(manager.get(POWERS)),
            mined: StableBTreeMap::init(manager.get(MINED)),
            epochs: StableBTreeMap::init(manager.get(EPOCHS)),
            earnings: StableBTreeMap::init(manager.get(EARNINGS)),
            drawing: StableBTreeMap::init(manager.get(DRAWING)),
            drawers: StableBTreeMap::init(manager.get(DRAWERS)),
            limits: Limits::default(),
            sweep: Sweep::default(),
            config,
        }
    }

    /// Changes the sums and counters.
    pub fn change_totals(&mut self, change: impl FnOnce(&mut Totals)) {
        let mut totals = self.totals.get().clone();
        change(&mut totals);
        self.totals.set(totals);
    }
}

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// Makes this the canister's state.
pub fn set(state: State) {
    STATE.set(Some(state));
}

/// Lends the canister's state.
pub fn with<R>(use_it: impl FnOnce(&mut State) -> R) -> R {
    STATE.with_borrow_mut(|state| {
        use_it(
            state
                .as_mut()
                .expect("init and post_upgrade set the state before any call"),
        )
    })
}
