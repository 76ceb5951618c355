//! What users asked: admission, and the statuses that they can read.

use crate::call_context::CallContext;
use crate::canister::RunStatus;
use crate::certify::RequestStatus;
use crate::clock::wall_ns;
use crate::execute::Entry;
use crate::faults::FaultKind;
use crate::limits::INSPECT_INSTRUCTIONS;
use crate::message::{Message, Origin, Request, RequestId, Source};
use crate::reject::{Reject, Response};
use crate::subnet::Subnet;
use crate::system_api::Mode;
use candid::Principal;
use serde::Serialize;
use std::collections::HashMap;
use tokio::sync::oneshot;

/// How long an answer can be read, after which only "done" is remembered, and how long that.
const ANSWER_KEPT_NS: u64 = 5 * 60 * 1_000_000_000;
const DONE_KEPT_NS: u64 = 15 * 60 * 1_000_000_000;

/// A user's call, its signature checked.
#[derive(Clone, Debug)]
pub struct UserCall {
    /// Hash of its content.
    pub id: RequestId,
    /// Who signed it.
    pub sender: Principal,
    /// Whom it calls.
    pub canister: Principal,
    /// Which method.
    pub method: String,
    /// Candid argument.
    pub argument: Vec<u8>,
}

struct Record {
    /// Its place in the order of arrival.
    number: u64,
    sender: Principal,
    canister: Principal,
    method: String,
    status: RequestStatus,
    /// Wall clock at the last change.
    changed_ns: u64,
    waiting: Vec<oneshot::Sender<RequestStatus>>,
}

/// A request that is not answered yet.
#[derive(Clone, Debug, Serialize)]
pub struct Waiting {
    /// Who signed it.
    pub sender: String,
    /// Whom it calls.
    pub canister: String,
    /// Which method.
    pub method: String,
}

/// The requests of the last minutes.
#[derive(Default)]
pub struct IngressHistory {
    records: HashMap<RequestId, Record>,
    arrived: u64,
    cleaned_ns: u64,
}

impl IngressHistory {
    /// Sender and status of a request.
    pub fn get(&self, id: &RequestId) -> Option<(Principal, &RequestStatus)> {
        self.records.get(id).map(|r| (r.sender, &r.status))
    }

    /// Sets the answer and wakes those who wait for it.
    pub fn complete(&mut self, id: RequestId, response: Response) {
        if let Some(record) = self.records.get_mut(&id) {
            record.status = RequestStatus::Done(response);
            record.changed_ns = wall_ns();
            for waiting in record.waiting.drain(..) {
                // The client may have gone away.
                let _ = waiting.send(record.status.clone());
            }
        }
    }

    /// The status as soon as there is an answer.
    pub fn wait(&mut self, id: &RequestId) -> oneshot::Receiver<RequestStatus> {
        let (tell, told) = oneshot::channel();
        if let Some(record) = self.records.get_mut(id) {
            match record.status {
                RequestStatus::Processing => record.waiting.push(tell),
                _ => drop(tell.send(record.status.clone())),
            }
        }
        told
    }

    /// How many requests were taken, ever.
    pub fn arrived(&self) -> u64 {
        self.arrived
    }

    /// The requests that are not answered yet, in the order in which they came.
    pub fn waiting(&self) -> Vec<Waiting> {
        let open = |r: &&Record| r.status == RequestStatus::Processing;
        let mut records: Vec<&Record> = self.records.values().filter(open).collect();
        records.sort_by_key(|record| record.number);
        let waiting = records.into_iter().map(|record| Waiting {
            sender: record.sender.to_text(),
            canister: record.canister.to_text(),
            method: record.method.clone(),
        });
        waiting.collect()
    }

    fn open(&mut self, call: &UserCall) {
        self.clean();
        self.arrived += 1;
        let record = Record {
            number: self.arrived,
            sender: call.sender,
            canister: call.canister,
            method: call.method.clone(),
            status: RequestStatus::Processing,
            changed_ns: wall_ns(),
            waiting: Vec::new(),
        };
        self.records.insert(call.id, record);
    }

    /// Forgets what is old, at most every ten seconds.
    fn clean(&mut self) {
        let now = wall_ns();
        if now < self.cleaned_ns + 10_000_000_000 {
            return;
        }
        self.cleaned_ns = now;
        self.records.retain(|_, r| {
            let age = now.saturating_sub(r.changed_ns);
            if matches!(r.status, RequestStatus::Done(_)) && age > ANSWER_KEPT_NS {
                r.status = RequestStatus::Forgotten;
            }
            r.status == RequestStatus::Processing || age <= DONE_KEPT_NS
        });
    }
}

impl Subnet {
    /// Takes a user's call, or refuses it before it costs anything. A call that is known already is not taken twice.
    pub fn submit(&mut self, call: UserCall) -> Result<oneshot::Receiver<RequestStatus>, Reject> {
        if self.ingress.get(&call.id).is_some() {
            return Ok(self.ingress.wait(&call.id));
        }
        self.admit(&call)?;
        Ok(self.accept(call))
    }

    /// Takes a call without a look at what it is.
    pub fn accept(&mut self, call: UserCall) -> oneshot::Receiver<RequestStatus> {
        let id = call.id;
        self.ingress.open(&call);
        let strike = self
            .faults
            .strike(call.sender, call.canister, &call.method, true);
        let request = Request {
            caller: call.sender,
            method: call.method,
            argument: call.argument,
            cycles: 0,
            deadline: None,
            origin: Origin::Ingress(id),
            trap: strike
                .filter(|s| s.kind == FaultKind::TrapCallee)
                .map(|s| s.id),
        };
        self.pool.push(
            call.canister,
            Source::Ingress,
            Message::Request(Box::new(request)),
        );
        self.ingress.wait(&id)
    }

    fn admit(&mut self, call: &UserCall) -> Result<(), Reject> {
        let id = call.canister;
        if self.is_built_in(id) {
            return self.admit_built_in(call);
        }
        let now = self.clock.now();
        let facts = self.facts.clone();
        let canister = self
            .canisters
            .get_mut(&id)
            .ok_or_else(|| Reject::canister_not_found(id))?;
        match canister.status {
            RunStatus::Running => {}
            RunStatus::Stopping(_) => return Err(Reject::stopping(id)),
            RunStatus::Stopped => return Err(Reject::stopped(id)),
        }
        if canister.code.is_none() {
            return Err(Reject::no_wasm_module(id));
        }
        let method = &call.method;
        if canister.exports(&format!("canister_composite_query {method}")) {
            return Err(Reject::from_canister(
                527,
                id,
                format!("Composite query method '{method}' cannot be called in replicated mode"),
            ));
        }
        if !["update", "query"]
            .iter()
            .any(|kind| canister.exports(&format!("canister_{kind} {method}")))
        {
            return Err(Reject::no_method(id, "update", method));
        }
        if !canister.exports("canister_inspect_message") {
            return Ok(());
        }
        let mut execution = canister.execution(&facts, Mode::Inspect, now, INSPECT_INSTRUCTIONS);
        execution.caller = call.sender;
        execution.method = method.clone();
        execution.argument = call.argument.clone();
        let ran = canister.run(&Entry::Export("canister_inspect_message".into()), execution);
        canister.undo();
        match ran.outcome {
            Err(trap) => Err(trap.reject(id)),
            Ok(()) if ran.execution.accept_message => Ok(()),
            Ok(()) => Err(Reject::error(
                406,
                format!("Canister {id} rejected the message"),
            )),
        }
    }
}

impl CallContext {
    /// The context of a call that just arrived.
    pub fn of(request: &Request) -> Self {
        Self {
            origin: request.origin,
            caller: request.caller,
            available: request.cycles,
            answered: false,
            open_calls: 0,
            instructions: 0,
            deadline: request.deadline,
        }
    }
}
