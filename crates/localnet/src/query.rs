//! Queries: run on the last committed state, change nothing. Composite queries may call queries of other canisters.

use crate::execute::{Entry, Ran};
use crate::limits::{MAX_QUERY_DEPTH, QUERY_INSTRUCTIONS};
use crate::message_log::Executed;
use crate::reject::{Reject, Response};
use crate::subnet::Subnet;
use crate::system_api::{Execution, Mode, OutgoingCall};
use candid::Principal;
use std::collections::VecDeque;

/// A query, whoever makes it.
#[derive(Clone, Debug)]
pub struct Query {
    /// Who asks.
    pub caller: Principal,
    /// Who is asked.
    pub canister: Principal,
    /// Which method.
    pub method: String,
    /// Candid argument.
    pub argument: Vec<u8>,
}

impl Subnet {
    /// Answers a user's query.
    pub fn query(&mut self, query: Query) -> Response {
        if self.is_built_in(query.canister) {
            return self.query_built_in(query);
        }
        self.query_canister(query, &mut Vec::new())
    }

    /// `above` holds the canisters whose composite queries wait for this one.
    fn query_canister(&mut self, query: Query, above: &mut Vec<Principal>) -> Response {
        let id = query.canister;
        if above.contains(&id) {
            return Err(Reject::from_canister(
                517,
                id,
                "Canister cannot be called by a query that waits for it",
            ));
        }
        if above.len() >= MAX_QUERY_DEPTH {
            return Err(Reject::error(525, "Composite query call graph too deep"));
        }
        let now = self.clock.now();
        let (facts, keys) = (self.facts.clone(), self.keys.clone());
        let canister = self
            .canisters
            .get_mut(&id)
            .ok_or_else(|| Reject::canister_not_found(id))?;
        if matches!(canister.status, crate::canister::RunStatus::Stopped) {
            return Err(Reject::stopped(id));
        }
        if canister.code.is_none() {
            return Err(Reject::no_wasm_module(id));
        }
        let plain = format!("canister_query {}", query.method);
        let composite = format!("canister_composite_query {}", query.method);
        let (export, mode) = if canister.exports(&plain) {
            (plain, Mode::Query)
        } else if canister.exports(&composite) {
            (composite, Mode::CompositeQuery)
        } else {
            return Err(Reject::no_method(id, "query", &query.method));
        };
        let mut execution = canister.execution(&facts, mode, now, QUERY_INSTRUCTIONS);
        execution.caller = query.caller;
        execution.method = query.method;
        execution.argument = query.argument;
        execution.can_respond = true;
        // Nested queries get no certificate, as on a subnet.
        execution.certificate = above.is_empty().then(|| canister.data_certificate(&keys));
        let ran = canister.run(&Entry::Export(export), execution);
        self.log.push(Executed {
            n: 0,
            canister_time_ns: ran.execution.time,
            canister: id.to_text(),
            caller: ran.execution.caller.to_text(),
            kind: "query",
            method: ran.execution.method.clone(),
            instructions: ran.instructions,
            dirty_pages: 0,
            outcome: ran
                .outcome
                .as_ref()
                .map_or_else(ToString::to_string, |()| "ok".to_string()),
        });
        above.push(id);
        let response = self.finish_query(id, ran, above);
        above.pop();
        if let Some(canister) = self.canisters.get_mut(&id) {
            canister.undo();
        }
        response
    }

    /// Makes the calls of a composite query one after the other and runs their callbacks until there is an answer.
    fn finish_query(
        &mut self,
        id: Principal,
        mut ran: Ran,
        above: &mut Vec<Principal>,
    ) -> Response {
        let mut open: VecDeque<OutgoingCall> = VecDeque::new();
        loop {
            if let Err(trap) = ran.outcome {
                return Err(trap.reject(id));
            }
            if let Some(response) = ran.execution.response.take() {
                return response;
            }
            open.extend(std::mem::take(&mut ran.execution.calls));
            let Some(call) = open.pop_front() else {
                return Err(Reject::did_not_reply(id));
            };
            let nested = Query {
                caller: id,
                canister: call.callee,
                method: call.method,
                argument: call.argument,
            };
            let answer = if self.is_built_in(nested.canister) {
                self.query_built_in(nested)
            } else {
                self.query_canister(nested, above)
            };
            let mut execution = Execution {
                earlier_instructions: ran.instructions,
                ..ran.execution
            };
            let closure = match answer {
                Ok(reply) => {
                    execution.mode = Mode::CompositeReply;
                    execution.argument = reply;
                    call.on_reply
                }
                Err(reject) => {
                    execution.mode = Mode::CompositeReject;
                    execution.rejection = Some(reject);
                    call.on_reject
                }
            };
            let Some(canister) = self.canisters.get_mut(&id) else {
                return Err(Reject::canister_not_found(id));
            };
            ran = canister.run(&Entry::Closure(closure), execution);
        }
    }
}
