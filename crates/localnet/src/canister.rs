//! A canister: its settings, code and state, and the calls it takes part in.

use crate::call_context::{CallContext, Callback, ContextId};
use crate::certify::{DataCertificate, Keys};
use crate::dirty_pages::DirtyTracking;
use crate::execute::Instance;
use crate::limits::MAX_LOG_BYTES;
use crate::memory::Heap;
use crate::message::{CallbackId, Origin};
use crate::stable::StableMemory;
use crate::system_api::Trap;
use crate::wasm_module::CanisterModule;
use candid::Principal;
use ic_management_canister_types::{Change, LogVisibility, SnapshotVisibility, StatusVisibility};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use wasmtime::Val;

/// What controllers can set. Allocations, limits and thresholds are kept and reported back; only `wasm_memory_limit`,
/// the visibilities and the environment variables have an effect.
#[derive(Clone, Debug)]
#[allow(
    missing_docs,
    reason = "the names and meanings are the interface specification's"
)]
pub struct Settings {
    pub controllers: Vec<Principal>,
    pub compute_allocation: u128,
    pub memory_allocation: u128,
    pub freezing_threshold: u128,
    pub reserved_cycles_limit: u128,
    pub minimum_incoming_canister_call_cycles: u128,
    pub log_visibility: LogVisibility,
    pub log_memory_limit: u128,
    pub snapshot_visibility: SnapshotVisibility,
    pub status_visibility: StatusVisibility,
    pub wasm_memory_limit: u128,
    pub wasm_memory_threshold: u128,
    pub environment: Vec<(String, String)>,
}

impl Settings {
    /// The defaults of a new canister.
    pub fn new(controller: Principal) -> Self {
        Self {
            controllers: vec![controller],
            compute_allocation: 0,
            memory_allocation: 0,
            freezing_threshold: 2_592_000,
            reserved_cycles_limit: 5_000_000_000_000,
            minimum_incoming_canister_call_cycles: 0,
            log_visibility: LogVisibility::Controllers,
            log_memory_limit: MAX_LOG_BYTES as u128,
            snapshot_visibility: SnapshotVisibility::Controllers,
            status_visibility: StatusVisibility::Controllers,
            wasm_memory_limit: 3 << 30,
            wasm_memory_threshold: 0,
            environment: Vec::new(),
        }
    }
}

/// Installed code with its heap.
pub struct Code {
    /// The module.
    pub module: Arc<CanisterModule>,
    /// Linear memory.
    pub heap: Arc<Heap>,
    /// Committed values of the mutable globals.
    pub globals: Vec<Val>,
    /// Made when first needed, dropped after a trap.
    pub instance: Option<Instance>,
}

impl Code {
    /// A module with a fresh heap, before its start function.
    pub fn new(module: Arc<CanisterModule>, tracking: DirtyTracking) -> Result<Self, Trap> {
        let heap =
            Heap::new(tracking).map_err(|e| Trap::Wasm(format!("no memory for the heap: {e}")))?;
        let instance = Instance::new(&module, &heap, &[])?;
        Ok(Self {
            module,
            heap,
            globals: Vec::new(),
            instance: Some(instance),
        })
    }
}

/// Whether a canister takes calls.
#[derive(Debug)]
pub enum RunStatus {
    /// Takes calls.
    Running,
    /// Takes answers only; those who asked wait until no call is open.
    Stopping(Vec<Origin>),
    /// Takes nothing.
    Stopped,
}

/// A line that a canister printed.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// Counts all lines of the canister.
    pub index: u64,
    /// Network time, in nanoseconds.
    pub time: u64,
    /// What was printed.
    pub content: Vec<u8>,
}

/// A canister.
pub struct Canister {
    /// Its id.
    pub id: Principal,
    /// What controllers set.
    pub settings: Settings,
    /// None while it is empty.
    pub code: Option<Code>,
    /// Stable memory.
    pub stable: StableMemory,
    /// At most 32 bytes that queries can prove.
    pub certified_data: Vec<u8>,
    certificate: Option<Arc<DataCertificate>>,
    /// Network time of the global timer; 0 is off.
    pub timer: u64,
    /// Network time of the next heartbeat.
    pub next_heartbeat: u64,
    /// Grows with each change.
    pub version: u64,
    /// Balance.
    pub cycles: u128,
    /// Whether it takes calls.
    pub status: RunStatus,
    /// Calls it works on.
    pub contexts: BTreeMap<ContextId, CallContext>,
    /// Calls it waits for.
    pub callbacks: BTreeMap<CallbackId, Callback>,
    /// Number of those per callee.
    pub outstanding: BTreeMap<Principal, usize>,
    /// Uploaded chunks by SHA-256.
    pub chunks: BTreeMap<[u8; 32], Vec<u8>>,
    /// The last lines it printed.
    pub logs: VecDeque<LogLine>,
    log_bytes: usize,
    log_index: u64,
    /// Changes of code and controllers, latest last.
    pub history: Vec<Change>,
    /// How many changes there ever were.
    pub changes: u64,
}

impl Canister {
    /// An empty canister.
    pub fn new(id: Principal, settings: Settings, cycles: u128) -> Self {
        Self {
            id,
            settings,
            code: None,
            stable: StableMemory::default(),
            certified_data: Vec::new(),
            certificate: None,
            timer: 0,
            next_heartbeat: 0,
            version: 0,
            cycles,
            status: RunStatus::Running,
            contexts: BTreeMap::new(),
            callbacks: BTreeMap::new(),
            outstanding: BTreeMap::new(),
            chunks: BTreeMap::new(),
            logs: VecDeque::new(),
            log_bytes: 0,
            log_index: 0,
            history: Vec::new(),
            changes: 0,
        }
    }

    /// Whether the code exports a function.
    pub fn exports(&self, name: &str) -> bool {
        self.code
            .as_ref()
            .is_some_and(|c| c.module.exports.contains(name))
    }

    /// Whether somebody controls it.
    pub fn is_controller(&self, who: Principal) -> bool {
        self.settings.controllers.contains(&who)
    }

    /// Sets the certified data; its certificate is made anew.
    pub fn set_certified_data(&mut self, data: Vec<u8>) {
        self.certified_data = data;
        self.certificate = None;
    }

    /// The certificate of the certified data.
    pub fn data_certificate(&mut self, keys: &Arc<Keys>) -> Arc<DataCertificate> {
        let (id, data) = (self.id, &self.certified_data);
        self.certificate
            .get_or_insert_with(|| Arc::new(DataCertificate::new(keys.clone(), id, data.clone())))
            .clone()
    }

    /// Keeps what was printed, dropping the oldest lines beyond the limit.
    pub fn log(&mut self, time: u64, lines: Vec<Vec<u8>>) {
        for mut content in lines {
            content.truncate(MAX_LOG_BYTES);
            self.log_bytes += content.len();
            self.logs.push_back(LogLine {
                index: self.log_index,
                time,
                content,
            });
            self.log_index += 1;
            while self.log_bytes > MAX_LOG_BYTES {
                let Some(oldest) = self.logs.pop_front() else {
                    break;
                };
                self.log_bytes -= oldest.content.len();
            }
        }
    }

    /// Takes a callback out, and its place in the count of open calls.
    pub fn take_callback(&mut self, id: CallbackId) -> Option<Callback> {
        let callback = self.callbacks.remove(&id)?;
        if let Some(n) = self.outstanding.get_mut(&callback.callee) {
            *n -= 1;
            if *n == 0 {
                self.outstanding.remove(&callback.callee);
            }
        }
        Some(callback)
    }

    /// Leaves a callback to be run with an answer.
    pub fn add_callback(&mut self, id: CallbackId, callback: Callback) {
        *self.outstanding.entry(callback.callee).or_default() += 1;
        self.callbacks.insert(id, callback);
    }
}
