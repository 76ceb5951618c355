//! The life of a call at the callee: from its first message until it is answered and none of its own calls is open.

use crate::message::{CallbackId, Origin};
use crate::system_api::Closure;
use candid::Principal;

/// Number of a call at a canister.
pub type ContextId = u64;

/// A call being worked on.
#[derive(Debug)]
pub struct CallContext {
    /// Who gets the answer.
    pub origin: Origin,
    /// Who called.
    pub caller: Principal,
    /// Cycles not accepted yet; they go back with the answer.
    pub available: u128,
    /// Whether it was answered.
    pub answered: bool,
    /// Its own calls that wait for an answer.
    pub open_calls: usize,
    /// Instructions of its messages so far.
    pub instructions: u64,
    /// Network time at which the caller stops waiting.
    pub deadline: Option<u64>,
}

impl CallContext {
    /// Whether nothing can happen in it any more.
    pub fn is_over(&self) -> bool {
        self.open_calls == 0
    }
}

/// What a canister left to be run with the answer to one of its calls.
#[derive(Clone, Debug)]
pub struct Callback {
    /// The call context that made the call.
    pub context: ContextId,
    /// Who was called.
    pub callee: Principal,
    /// Which method, for the log.
    pub method: String,
    /// Runs with a reply.
    pub on_reply: Closure,
    /// Runs with a rejection.
    pub on_reject: Closure,
    /// Runs after the callback trapped.
    pub on_cleanup: Option<Closure>,
    /// When to stop waiting.
    pub deadline: Option<u64>,
    /// The injected fault that loses the answer, and how much later the caller hears of it.
    pub lose: Option<(u64, Option<u64>)>,
    /// How much later the answer arrives by an injected fault, in nanoseconds.
    pub late_ns: u64,
    /// The injected fault that traps the callback.
    pub trap: Option<u64>,
}

/// A time at which an open call ends without an answer.
pub type Deadline = (u64, Principal, CallbackId);
