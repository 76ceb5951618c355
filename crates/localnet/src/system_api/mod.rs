//! The System API (`ic0`): what a canister's code can ask of the network while a message runs. The functions change
//! only the [`Execution`] and the stable memory in the instance's store; nothing reaches the network before the
//! message has ended well.

mod calls;
mod cycles;
mod environment;
mod message;
mod stable_memory;
mod trap;

use crate::certify::DataCertificate;
use crate::reject::{Reject, Response};
use crate::stable::StableMemory;
use candid::Principal;
use std::collections::BTreeMap;
use std::sync::Arc;
use wasmtime::{Caller, Linker, Memory};

pub use trap::{Trap, classify};

/// What kind of message runs; it decides which functions may be called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The module's start function.
    Start,
    /// `canister_init` or `canister_post_upgrade`.
    Init,
    /// `canister_pre_upgrade`.
    PreUpgrade,
    /// An update method.
    Update,
    /// A query method called as an update.
    ReplicatedQuery,
    /// A query method called as a query.
    Query,
    /// A composite query method.
    CompositeQuery,
    /// The callback for a reply.
    Reply,
    /// The callback for a rejection.
    Reject,
    /// The callback for a reply within a composite query.
    CompositeReply,
    /// The callback for a rejection within a composite query.
    CompositeReject,
    /// The cleanup callback, after the other callback trapped.
    Cleanup,
    /// `canister_inspect_message`.
    Inspect,
    /// `canister_global_timer` or `canister_heartbeat`.
    Task,
}

impl Mode {
    /// Whether the outcome is part of the replicated state.
    pub fn is_replicated(self) -> bool {
        use Mode::{CompositeQuery, CompositeReject, CompositeReply, Inspect, Query};
        !matches!(
            self,
            Query | CompositeQuery | CompositeReply | CompositeReject | Inspect
        )
    }

    fn name(self) -> &'static str {
        match self {
            Mode::Start => "start",
            Mode::Init => "init",
            Mode::PreUpgrade => "pre upgrade",
            Mode::Update => "update",
            Mode::ReplicatedQuery => "replicated query",
            Mode::Query => "non replicated query",
            Mode::CompositeQuery => "composite query",
            Mode::Reply => "reply callback",
            Mode::Reject => "reject callback",
            Mode::CompositeReply => "composite reply callback",
            Mode::CompositeReject => "composite reject callback",
            Mode::Cleanup => "cleanup",
            Mode::Inspect => "inspect message",
            Mode::Task => "system task",
        }
    }
}

/// A function of the table and the value it is called with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closure {
    /// Index in table 0.
    pub function: u32,
    /// Its argument.
    pub environment: u32,
}

/// A call that a message makes to another canister.
#[derive(Clone, Debug)]
pub struct OutgoingCall {
    /// Who is called.
    pub callee: Principal,
    /// Which method.
    pub method: String,
    /// Candid argument.
    pub argument: Vec<u8>,
    /// Cycles that go with it.
    pub cycles: u128,
    /// Seconds to wait for the answer; none means for ever.
    pub timeout_s: Option<u32>,
    /// Runs with the reply.
    pub on_reply: Closure,
    /// Runs with a rejection.
    pub on_reject: Closure,
    /// Runs when the callback traps.
    pub on_cleanup: Option<Closure>,
}

/// What stays the same for all messages of a network.
#[derive(Debug)]
pub struct NetworkFacts {
    /// The subnet's id.
    pub subnet: Principal,
    /// DER form of the root key.
    pub root_key: Vec<u8>,
}

/// One message while it runs: what it may look at, and what it wants done.
#[derive(Clone, Debug)]
pub struct Execution {
    // What it sees.
    pub mode: Mode,
    pub network: Arc<NetworkFacts>,
    pub canister: Principal,
    pub caller: Principal,
    pub argument: Vec<u8>,
    pub method: String,
    pub rejection: Option<Reject>,
    /// Network time at which the caller stops waiting, 0 for never.
    pub deadline: u64,
    pub time: u64,
    pub version: u64,
    /// 1 running, 2 stopping, 3 stopped.
    pub status: u32,
    pub controllers: Vec<Principal>,
    pub environment: Vec<(String, String)>,
    pub certificate: Option<Arc<DataCertificate>>,
    pub refunded: u128,
    /// Instructions that the call's earlier messages took.
    pub earlier_instructions: u64,
    /// Instructions this message may take.
    pub limit: u64,
    /// Open calls per callee.
    pub outstanding: BTreeMap<Principal, usize>,
    /// Injected faults that make queues full.
    pub full_queues: crate::faults::Faults,
    // What it changes.
    pub balance: u128,
    pub available: u128,
    pub accepted: u128,
    pub reply: Vec<u8>,
    pub response: Option<Response>,
    pub can_respond: bool,
    pub building: Option<OutgoingCall>,
    pub calls: Vec<OutgoingCall>,
    pub certified_data: Option<Vec<u8>>,
    /// The global timer, in nanoseconds; 0 is off.
    pub timer: u64,
    pub accept_message: bool,
    pub logs: Vec<Vec<u8>>,
}

/// What an instance's store holds.
pub struct Host {
    /// Memory 0; none while the instance is being made.
    pub memory: Option<Memory>,
    /// The message that runs.
    pub execution: Option<Execution>,
    /// The canister's stable memory while a message runs.
    pub stable: StableMemory,
}

type Context<'a> = Caller<'a, Host>;
type Result<T> = wasmtime::Result<T>;

/// Defines every function of the System API.
pub fn link(linker: &mut Linker<Host>) -> Result<()> {
    message::link(linker)?;
    calls::link(linker)?;
    cycles::link(linker)?;
    environment::link(linker)?;
    stable_memory::link(linker)
}

fn execution<'a>(c: &'a Context<'_>) -> Result<&'a Execution> {
    c.data()
        .execution
        .as_ref()
        .ok_or_else(|| Trap::contract("System API called outside of a message").into())
}

fn execution_mut<'a>(c: &'a mut Context<'_>) -> Result<&'a mut Execution> {
    c.data_mut()
        .execution
        .as_mut()
        .ok_or_else(|| Trap::contract("System API called outside of a message").into())
}

/// Refuses a function in a mode that the interface specification does not list for it.
fn allow(c: &Context<'_>, function: &str, modes: &[Mode]) -> Result<()> {
    let mode = execution(c)?.mode;
    if modes.contains(&mode) {
        return Ok(());
    }
    Err(Trap::contract(format!(
        "\"ic0_{function}\" cannot be executed in {} mode",
        mode.name()
    ))
    .into())
}

/// Takes instructions for work that the host does, one per byte as a replica does.
fn charge(c: &mut Context<'_>, instructions: u64) -> Result<()> {
    let fuel = c.get_fuel()?;
    match fuel.checked_sub(instructions) {
        Some(left) => c.set_fuel(left),
        None => {
            c.set_fuel(0)?;
            Err(wasmtime::Trap::OutOfFuel.into())
        }
    }
}

fn memory(c: &Context<'_>) -> Result<Memory> {
    c.data()
        .memory
        .ok_or_else(|| Trap::contract("WebAssembly module must define memory").into())
}

/// Checks a range against the heap's size before anything is allocated for it.
fn range(size: usize, at: u64, len: u64) -> Result<std::ops::Range<usize>> {
    match at.checked_add(len) {
        Some(end) if end <= size as u64 => Ok(at as usize..end as usize),
        _ => Err(Trap::HeapOutOfBounds.into()),
    }
}

fn read(c: &mut Context<'_>, at: u64, len: u64) -> Result<Vec<u8>> {
    charge(c, len)?;
    let bytes = memory(c)?.data(&*c);
    Ok(bytes[range(bytes.len(), at, len)?].to_vec())
}

fn read_text(c: &mut Context<'_>, at: u64, len: u64, what: &str) -> Result<String> {
    String::from_utf8(read(c, at, len)?)
        .map_err(|e| Trap::contract(format!("{what} is not valid UTF-8: {e}")).into())
}

fn write(c: &mut Context<'_>, at: u64, bytes: &[u8]) -> Result<()> {
    charge(c, bytes.len() as u64)?;
    let heap = memory(c)?.data_mut(c);
    let range = range(heap.len(), at, bytes.len() as u64)?;
    heap[range].copy_from_slice(bytes);
    Ok(())
}

/// The `_copy` half of a pair of functions: part of `bytes` into the heap.
fn copy(
    c: &mut Context<'_>,
    function: &str,
    bytes: &[u8],
    to: u32,
    offset: u32,
    len: u32,
) -> Result<()> {
    let (from, end) = (offset as usize, offset as usize + len as usize);
    match bytes.get(from..end) {
        Some(part) => write(c, u64::from(to), part),
        None => Err(Trap::contract(format!(
            "ic0.{function} payload: offset + size exceeds the slice length: {end} > {}",
            bytes.len()
        ))
        .into()),
    }
}
