//! Runs one message on a canister's instance, leaving its effects open; then keeps all of them or undoes all of them.

use crate::canister::{Canister, Code, RunStatus};
use crate::memory::{self, Heap};
use crate::stable::StableMemory;
use crate::system_api::{Closure, Execution, Host, Mode, NetworkFacts, Trap, classify};
use crate::wasm_module::{CanisterModule, MEMORY, TABLE, engine};
use candid::Principal;
use std::sync::Arc;
use wasmtime::{Global, Instance as WasmInstance, Store, Table, Val};

/// Where a message enters the code.
#[derive(Clone, Debug)]
pub enum Entry {
    /// An exported function.
    Export(String),
    /// A callback.
    Closure(Closure),
}

/// A module set up to run on a heap.
pub struct Instance {
    store: Store<Host>,
    instance: WasmInstance,
    table: Option<Table>,
    globals: Vec<Global>,
    /// A trap may leave the instance in the middle of anything; it is then replaced.
    trapped: bool,
}

impl Instance {
    /// Instantiates a module. A heap that was ever committed wins over the module's data segments.
    pub fn new(module: &CanisterModule, heap: &Arc<Heap>, globals: &[Val]) -> Result<Self, Trap> {
        let host = Host {
            memory: None,
            execution: None,
            stable: StableMemory::default(),
        };
        let mut store = Store::new(engine(), host);
        let failed =
            |e: wasmtime::Error| Trap::Wasm(format!("instantiation failed: {}", e.root_cause()));
        store.set_fuel(u64::MAX).map_err(failed)?;
        let instance =
            memory::with_heap(heap, || module.ready.instantiate(&mut store)).map_err(failed)?;
        store.data_mut().memory = instance.get_memory(&mut store, MEMORY);
        let table = instance.get_table(&mut store, TABLE);
        let found = module
            .globals
            .iter()
            .filter_map(|g| instance.get_global(&mut store, g))
            .collect();
        let mut made = Self {
            store,
            instance,
            table,
            globals: found,
            trapped: false,
        };
        if heap.ever_committed() {
            heap.rollback();
            made.set_globals(globals);
        }
        Ok(made)
    }

    fn set_globals(&mut self, values: &[Val]) {
        for (global, value) in self.globals.iter().zip(values) {
            global
                .set(&mut self.store, *value)
                .expect("a global takes back a value that it had");
        }
    }

    /// Values of the mutable globals.
    pub fn globals(&mut self) -> Vec<Val> {
        self.globals
            .iter()
            .map(|g| g.get(&mut self.store))
            .collect()
    }

    fn call(&mut self, entry: &Entry) -> wasmtime::Result<()> {
        match entry {
            Entry::Export(name) => self
                .instance
                .get_typed_func::<(), ()>(&mut self.store, name)?
                .call(&mut self.store, ()),
            Entry::Closure(closure) => {
                let found = self
                    .table
                    .and_then(|t| t.get(&mut self.store, u64::from(closure.function)))
                    .and_then(|r| r.as_func().flatten().copied());
                let Some(function) = found else {
                    return Err(Trap::NoFunction(closure.function).into());
                };
                let Ok(function) = function.typed::<u32, ()>(&self.store) else {
                    return Err(Trap::contract(
                        "function invoked as a callback has the wrong type",
                    )
                    .into());
                };
                function.call(&mut self.store, closure.environment)
            }
        }
    }
}

/// How a message went. Its effects are still open.
#[derive(Debug)]
pub struct Ran {
    /// What it saw and what it wants done.
    pub execution: Execution,
    /// Whether it ended well.
    pub outcome: Result<(), Trap>,
    /// What it took.
    pub instructions: u64,
}

impl Canister {
    /// A message's view of this canister, before the message's own details are filled in.
    pub fn execution(
        &self,
        network: &Arc<NetworkFacts>,
        mode: Mode,
        time: u64,
        limit: u64,
    ) -> Execution {
        Execution {
            mode,
            network: network.clone(),
            canister: self.id,
            caller: Principal::management_canister(),
            argument: Vec::new(),
            method: String::new(),
            rejection: None,
            deadline: 0,
            time,
            version: self.version,
            status: match self.status {
                RunStatus::Running => 1,
                RunStatus::Stopping(_) => 2,
                RunStatus::Stopped => 3,
            },
            controllers: self.settings.controllers.clone(),
            environment: self.settings.environment.clone(),
            certificate: None,
            refunded: 0,
            earlier_instructions: 0,
            limit,
            outstanding: self.outstanding.clone(),
            full_queues: crate::faults::Faults::default(),
            balance: self.cycles,
            available: 0,
            accepted: 0,
            reply: Vec::new(),
            response: None,
            can_respond: false,
            building: None,
            calls: Vec::new(),
            certified_data: None,
            timer: self.timer,
            accept_message: false,
            logs: Vec::new(),
        }
    }

    /// Runs a message. Follow with [`keep`](Self::keep) or [`undo`](Self::undo).
    pub fn run(&mut self, entry: &Entry, execution: Execution) -> Ran {
        let limit = execution.limit;
        let Some(code) = &mut self.code else {
            let outcome = Err(Trap::contract("the canister contains no Wasm module"));
            return Ran {
                execution,
                outcome,
                instructions: 0,
            };
        };
        if code.instance.is_none() {
            match Instance::new(&code.module, &code.heap, &code.globals) {
                Ok(made) => code.instance = Some(made),
                Err(trap) => {
                    return Ran {
                        execution,
                        outcome: Err(trap),
                        instructions: 0,
                    };
                }
            }
        }
        let instance = code.instance.as_mut().expect("made above");
        let host = instance.store.data_mut();
        host.execution = Some(execution);
        host.stable = std::mem::take(&mut self.stable);
        instance
            .store
            .set_fuel(limit)
            .expect("the engine counts fuel");
        let called = instance.call(entry);
        let left = instance.store.get_fuel().unwrap_or(0);
        let host = instance.store.data_mut();
        self.stable = std::mem::take(&mut host.stable);
        let execution = host.execution.take().expect("put there before the call");
        let mut outcome = called.map_err(|e| classify(&e, limit));
        instance.trapped |= outcome.is_err();
        let memory_limit = self.settings.wasm_memory_limit;
        if outcome.is_ok() && memory_limit > 0 && execution.mode.is_replicated() && code.heap.grew()
        {
            outcome = over_memory_limit(&code.heap, memory_limit);
        }
        Ran {
            execution,
            outcome,
            instructions: limit - left,
        }
    }

    /// Makes the open effects of a message permanent; the number of heap pages it touched. Calls and answers are left
    /// to the caller.
    pub fn keep(&mut self, execution: &mut Execution) -> usize {
        let mut pages = 0;
        if let Some(code) = &mut self.code {
            pages = code.heap.commit();
            if let Some(instance) = &mut code.instance {
                code.globals = instance.globals();
            }
        }
        self.stable.commit();
        if let Some(data) = execution.certified_data.take() {
            self.set_certified_data(data);
        }
        if let Some(call) = execution.building.take() {
            execution.balance += call.cycles;
        }
        self.timer = execution.timer;
        self.cycles = execution.balance;
        self.version += 1;
        pages
    }

    /// Undoes the open effects of messages since the last [`keep`](Self::keep).
    pub fn undo(&mut self) {
        self.stable.rollback();
        if let Some(code) = &mut self.code {
            code.undo();
        }
    }
}

impl Code {
    /// Back to the committed heap and globals.
    pub fn undo(&mut self) {
        self.heap.rollback();
        match &mut self.instance {
            Some(instance) if !instance.trapped && !self.heap.grew() => {
                instance.set_globals(&self.globals)
            }
            _ => self.instance = None,
        }
    }
}

fn over_memory_limit(heap: &Heap, limit: u128) -> Result<(), Trap> {
    let used = heap.live_size() as u128;
    if used <= limit {
        return Ok(());
    }
    Err(Trap::MemoryLimit { used, limit })
}
