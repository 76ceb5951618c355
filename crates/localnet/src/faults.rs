//! Failures on request: what a network may do to calls at any time, done at a moment that a test chooses.

use candid::Principal;
use serde::{Deserialize, Serialize};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The call is not delivered; the caller gets SYS_TRANSIENT.
    Reject,
    /// The method runs to its end, then traps: its effects are undone. Works on users' requests too.
    TrapCallee,
    /// The method runs and its effects stay; the caller gets SYS_UNKNOWN, `delay_s` later if given. On unbounded-wait
    /// calls a real network never does this; it is offered so that one test covers both.
    LoseReply,
    /// The caller's callback runs to its end, then traps; its cleanup runs.
    TrapCallback,
    /// The call is delivered `delay_s` later in network time; later calls of the same pair may overtake it.
    Delay,
    /// The answer arrives `delay_s` later in network time.
    DelayReply,
    /// The caller's queue is full: `call_perform` itself refuses with SYS_TRANSIENT, inside the caller's message.
    FullQueue,
    /// Where several users' requests or answers wait for the callee (the caller is not looked at), one that is not the
    /// first is taken. A real network promises an order only to requests from one canister to another.
    Overtake,
}

impl FaultKind {
    /// True for what strikes a call on its way; the others are asked for where they happen.
    fn is_on_the_way(self) -> bool {
        !matches!(self, Self::FullQueue | Self::Overtake)
    }
}

/// A failure asked for. Filters that are absent match everything.
#[derive(Clone, Debug, Deserialize)]
pub struct FaultRequest {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Only calls from this principal.
    #[serde(default)]
    pub caller: Option<Principal>,
    /// Only calls to this canister (`aaaaa-aa` for the management canister).
    #[serde(default)]
    pub callee: Option<Principal>,
    /// Only calls of this method.
    #[serde(default)]
    pub method: Option<String>,
    /// How many matching calls to leave alone first.
    #[serde(default)]
    pub skip: u64,
    /// How many matching calls to hit.
    #[serde(default = "once")]
    pub count: u64,
    /// See the kinds.
    #[serde(default)]
    pub delay_s: Option<f64>,
}

fn once() -> u64 {
    1
}

/// A failure asked for, and how often it has struck.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    /// Its number.
    pub id: u64,
    /// What goes wrong.
    pub kind: FaultKind,
    /// See [`FaultRequest`].
    pub caller: Option<String>,
    /// See [`FaultRequest`].
    pub callee: Option<String>,
    /// See [`FaultRequest`].
    pub method: Option<String>,
    /// Matching calls still to be left alone.
    pub skip: u64,
    /// Matching calls still to be hit.
    pub count: u64,
    /// See [`FaultRequest`].
    pub delay_s: Option<f64>,
    /// How often it struck.
    pub fired: u64,
}

/// All failures asked for.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    list: Vec<Fault>,
    last: u64,
}

/// A failure that strikes a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strike {
    /// The fault's number.
    pub id: u64,
    /// What goes wrong.
    pub kind: FaultKind,
    /// Its delay, in nanoseconds.
    pub delay_ns: Option<u64>,
}

impl Faults {
    /// Registers one and gives its number, or says what is wrong with it.
    pub fn add(&mut self, request: FaultRequest) -> Result<u64, String> {
        if let Some(s) = request.delay_s
            && !(s.is_finite() && (0.0..=1e9).contains(&s))
        {
            return Err("delay_s must be a number of seconds between 0 and 1e9".into());
        }
        let delays = matches!(request.kind, FaultKind::Delay | FaultKind::DelayReply);
        if delays && request.delay_s.is_none() {
            return Err("the kinds \"delay\" and \"delay_reply\" need delay_s".into());
        }
        self.last += 1;
        self.list.push(Fault {
            id: self.last,
            kind: request.kind,
            caller: request.caller.map(|p| p.to_text()),
            callee: request.callee.map(|p| p.to_text()),
            method: request.method,
            skip: request.skip,
            count: request.count,
            delay_s: request.delay_s,
            fired: 0,
        });
        Ok(self.last)
    }

    /// All of them.
    pub fn list(&self) -> &[Fault] {
        &self.list
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.list.clear();
    }

    /// The first registered failure that strikes this call, if any. Users' requests are struck by `trap_callee` only.
    pub fn strike(
        &mut self,
        caller: Principal,
        callee: Principal,
        method: &str,
        by_user: bool,
    ) -> Option<Strike> {
        self.strike_one(
            |kind| kind.is_on_the_way() && (!by_user || kind == FaultKind::TrapCallee),
            caller,
            callee,
            method,
        )
    }

    /// The first registered failure of a kind that strikes, if any.
    fn strike_one(
        &mut self,
        kind: impl Fn(FaultKind) -> bool,
        caller: Principal,
        callee: Principal,
        method: &str,
    ) -> Option<Strike> {
        if self.list.is_empty() {
            return None;
        }
        let (caller, callee) = (caller.to_text(), callee.to_text());
        for fault in &mut self.list {
            let matches = fault.count > 0
                && kind(fault.kind)
                && fault.caller.as_ref().is_none_or(|c| *c == caller)
                && fault.callee.as_ref().is_none_or(|c| *c == callee)
                && fault.method.as_ref().is_none_or(|m| m == method);
            if !matches {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            fault.count -= 1;
            fault.fired += 1;
            return Some(Strike {
                id: fault.id,
                kind: fault.kind,
                delay_ns: fault.delay_s.map(|s| (s * 1e9) as u64),
            });
        }
        None
    }

    /// The failures of full queues: a message takes them along, because they strike inside it.
    pub fn full_queues(&self) -> Self {
        let full = |fault: &&Fault| fault.kind == FaultKind::FullQueue && fault.count > 0;
        Self {
            list: self.list.iter().filter(full).cloned().collect(),
            last: 0,
        }
    }

    /// True if a queue is full for this call.
    pub fn is_full(&mut self, caller: Principal, callee: Principal, method: &str) -> bool {
        let full = |kind| kind == FaultKind::FullQueue;
        self.strike_one(full, caller, callee, method).is_some()
    }

    /// Takes over what became of the failures that a message took along.
    pub fn return_full_queues(&mut self, from: Self) {
        for used in from.list {
            if let Some(fault) = self.list.iter_mut().find(|fault| fault.id == used.id) {
                *fault = used;
            }
        }
    }

    /// True if a message for this canister may overtake another one now.
    pub fn may_overtake(&self, to: Principal) -> bool {
        if self.list.is_empty() {
            return false;
        }
        let to = to.to_text();
        self.list.iter().any(|fault| overtakes(fault, &to))
    }

    /// A message for this canister has overtaken another one.
    pub fn overtook(&mut self, to: Principal) {
        let to = to.to_text();
        if let Some(fault) = self.list.iter_mut().find(|fault| overtakes(fault, &to)) {
            fault.count -= 1;
            fault.fired += 1;
        }
    }
}

fn overtakes(fault: &Fault, to: &str) -> bool {
    fault.kind == FaultKind::Overtake
        && fault.count > 0
        && fault.callee.as_ref().is_none_or(|callee| callee == to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_skips_then_strikes_then_is_spent_and_filters_by_method() {
        let mut faults = Faults::default();
        let request: FaultRequest =
            serde_json::from_str(r#"{"kind":"lose_reply","method":"pay","skip":1,"count":2}"#)
                .expect("valid");
        let id = faults.add(request).expect("valid");
        let (a, b) = (Principal::from_slice(&[1]), Principal::from_slice(&[2]));
        let mut hit = |m: &str, by_user| faults.strike(a, b, m, by_user).map(|s| s.id);
        assert_eq!(hit("other", false), None);
        assert_eq!(hit("pay", true), None);
        assert_eq!(
            [
                hit("pay", false),
                hit("pay", false),
                hit("pay", false),
                hit("pay", false)
            ],
            [None, Some(id), Some(id), None]
        );
        assert_eq!(faults.list()[0].fired, 2);
    }

    #[test]
    fn a_delay_without_its_length_is_refused() {
        let request = serde_json::from_str(r#"{"kind":"delay"}"#).expect("valid");
        assert!(Faults::default().add(request).is_err());
    }
}
