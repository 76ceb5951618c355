//! How a message can fail, and the replica's error code and text for each failure.

use crate::reject::Reject;
use candid::Principal;

/// Why a message was undone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trap {
    /// `ic0.trap` was called.
    #[error("Canister called `ic0.trap` with message: '{0}'")]
    Called(String),
    /// The System API was used against its rules.
    #[error("Canister violated contract: {0}")]
    Contract(String),
    /// Access outside of the heap.
    #[error("Canister trapped: heap out of bounds")]
    HeapOutOfBounds,
    /// Access outside of stable memory.
    #[error("Canister trapped: stable memory out of bounds")]
    StableOutOfBounds,
    /// The 32-bit stable memory functions on more than 4 GiB.
    #[error("Canister trapped: 32 bit stable memory api used on a memory larger than 4GB")]
    StableTooBigFor32Bit,
    /// A 64-bit cycles function met an amount above 64 bits.
    #[error("Canister trapped: cycles amount exceeds 64-bit representation")]
    CyclesTooBigFor64Bit,
    /// More cycles than the canister has.
    #[error("Canister {0} is out of cycles")]
    OutOfCycles(Principal),
    /// The message took more instructions than it may.
    #[error("Canister exceeded the limit of {0} instructions for single message execution.")]
    InstructionLimit(u64),
    /// The heap grew past the limit in the settings.
    #[error(
        "Canister exceeded its current Wasm memory limit of {limit} bytes. The peak Wasm memory usage was {used} bytes."
    )]
    MemoryLimit {
        /// Bytes it wanted.
        used: u128,
        /// Bytes it may have.
        limit: u128,
    },
    /// A trap of WebAssembly itself.
    #[error("Canister trapped: {0}")]
    Wasm(String),
    /// A callback is not in the table.
    #[error("Canister requested to invoke a non-existent Wasm function {0} from table 0")]
    NoFunction(u32),
    /// A callback failed, and then its cleanup.
    #[error("{0}\n\ncall_on_cleanup also failed:\n\n{1}")]
    Cleanup(Box<Trap>, Box<Trap>),
    /// A test asked for this failure.
    #[error("Canister trapped: injected fault {0}")]
    Injected(u64),
}

impl Trap {
    /// A violation of the System API's contract.
    pub fn contract(message: impl Into<String>) -> Self {
        Self::Contract(message.into())
    }

    /// The rejection that callers get.
    pub fn reject(&self, canister: Principal) -> Reject {
        let code = match self {
            Self::Called(_) => 503,
            Self::Contract(_) => 504,
            Self::OutOfCycles(_) => 504,
            Self::InstructionLimit(_) => 522,
            Self::NoFunction(_) => 513,
            Self::MemoryLimit { .. } => 539,
            Self::HeapOutOfBounds
            | Self::StableOutOfBounds
            | Self::StableTooBigFor32Bit
            | Self::CyclesTooBigFor64Bit
            | Self::Wasm(_)
            | Self::Cleanup(..)
            | Self::Injected(_) => 502,
        };
        let code = match self {
            Self::Cleanup(first, _) => first.reject(canister).error.unwrap_or(code),
            _ => code,
        };
        let advice = match self {
            Self::Called(_) => {
                ".\nConsider gracefully handling failures from this canister or altering the canister to handle \
                 exceptions. See documentation: \
                 https://internetcomputer.org/docs/current/references/execution-errors#trapped-explicitly"
            }
            _ => "",
        };
        Reject::from_canister(code, canister, format!("{self}{advice}"))
    }
}

/// Reads wasmtime's error.
pub fn classify(error: &wasmtime::Error, limit: u64) -> Trap {
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return trap.clone();
    }
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::OutOfFuel) => Trap::InstructionLimit(limit),
        Some(wasmtime::Trap::MemoryOutOfBounds) => Trap::HeapOutOfBounds,
        Some(wasmtime::Trap::StackOverflow) => Trap::Wasm("stack overflow".into()),
        Some(wasmtime::Trap::IntegerDivisionByZero) => Trap::Wasm("integer division by 0".into()),
        Some(wasmtime::Trap::UnreachableCodeReached) => Trap::Wasm("unreachable".into()),
        Some(wasmtime::Trap::TableOutOfBounds) => Trap::Wasm("table out of bounds".into()),
        Some(other) => Trap::Wasm(other.to_string()),
        None => Trap::Wasm(error.root_cause().to_string()),
    }
}
