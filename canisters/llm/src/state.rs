//! The adapter's state: its settings in stable memory, from the first byte; who waits, and some counters, in the heap,
//! since an upgrade ends every wait.

use crate::config::{Config, LAYOUT};
use crate::places::Places;
use ic_stable_structures::memory_manager::{MemoryId, MemoryManager, VirtualMemory};
use ic_stable_structures::{DefaultMemoryImpl, StableCell};
use std::cell::RefCell;

type Memory = VirtualMemory<DefaultMemoryImpl>;

// Numbers are never used for anything else.
const CONFIG: MemoryId = MemoryId::new(0);
/// Pages of 64 KiB that a part of memory grows by.
const GROWTH: u16 = 16;

/// All of it.
pub struct State {
    /// Settings.
    pub config: StableCell<Config, Memory>,
    /// Who waits.
    pub places: Places,
    /// What has happened since the last upgrade.
    pub counts: Counts,
}

/// What has happened since the last upgrade.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Requests that came.
    pub requests: u64,
    /// Jobs that were to be submitted.
    pub jobs: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that were refused, for any reason.
    pub refused: u64,
}

impl State {
    /// A new adapter in empty memory.
    pub fn create(memory: DefaultMemoryImpl, config: Config) -> Self {
        let manager = MemoryManager::init_with_bucket_size(memory, GROWTH);
        Self::with(StableCell::new(manager.get(CONFIG), config))
    }

    /// The adapter that lies in this memory.
    ///
    /// # Errors
    /// It is not one of this layout; what to do is in the text.
    pub fn load(memory: DefaultMemoryImpl) -> Result<Self, String> {
        let manager = MemoryManager::init_with_bucket_size(memory, GROWTH);
        let config = StableCell::init(manager.get(CONFIG), Config::nothing());
        match config.get().layout {
            LAYOUT => Ok(Self::with(config)),
            0 => {
                Err("There is no adapter in this canister: install it instead of upgrading.".into())
            }
            other => Err(format!(
                "The state has layout {other}, this Wasm knows {LAYOUT}: upgrade with a Wasm that knows both."
            )),
        }
    }

    fn with(config: StableCell<Config, Memory>) -> Self {
        Self {
            config,
            places: Places::default(),
            counts: Counts::default(),
        }
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
