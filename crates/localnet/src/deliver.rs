//! Executes one message on a canister. Where it ends well is a commit point: state is kept, calls go out, the answer
//! goes back. Where it traps, it is as if it had never run.

use crate::call_context::{CallContext, Callback, ContextId};
use crate::canister::RunStatus;
use crate::execute::{Entry, Ran};
use crate::faults::FaultKind;
use crate::limits::UPDATE_INSTRUCTIONS;
use crate::message::{Answer, Message, Origin, Request, Source, Task};
use crate::message_log::Executed;
use crate::reject::{Reject, SYS_TRANSIENT};
use crate::subnet::Subnet;
use crate::system_api::{Execution, Mode, OutgoingCall, Trap};
use candid::Principal;

impl Subnet {
    /// Gives a message to whom it is for.
    pub fn deliver(&mut self, to: Principal, message: Message) {
        match message {
            Message::Request(request) if self.is_built_in(to) => self.call_built_in(to, *request),
            Message::Request(request) => self.run_request(to, *request),
            Message::Answer(answer) => self.run_answer(to, answer),
            Message::Task(task) => self.run_task(to, task),
        }
        self.finish_stopping(to);
    }

    fn run_request(&mut self, to: Principal, request: Request) {
        let now = self.clock.now();
        if request.deadline.is_some_and(|d| d <= now) {
            // The caller has been or will be told at its deadline.
            let late = Reject::new(crate::reject::SYS_UNKNOWN, "Call deadline has expired.");
            return self.refuse(to, request, late);
        }
        let method = &request.method;
        let found = match self.canisters.get(&to) {
            None => Err(Reject::canister_not_found(to)),
            Some(c) => match c.status {
                RunStatus::Stopping(_) => Err(Reject::stopping(to)),
                RunStatus::Stopped => Err(Reject::stopped(to)),
                RunStatus::Running if c.code.is_none() => Err(Reject::no_wasm_module(to)),
                RunStatus::Running => {
                    let (update, query) = (
                        format!("canister_update {method}"),
                        format!("canister_query {method}"),
                    );
                    if c.exports(&update) {
                        Ok((update, Mode::Update))
                    } else if c.exports(&query) {
                        Ok((query, Mode::ReplicatedQuery))
                    } else {
                        Err(Reject::no_method(to, "update", method))
                    }
                }
            },
        };
        let (export, mode) = match found {
            Ok(found) => found,
            Err(reject) => return self.refuse(to, request, reject),
        };
        let context = self.open_context(to, CallContext::of(&request));
        let mut execution = self.view(to, mode);
        execution.caller = request.caller;
        execution.argument = request.argument;
        execution.method = request.method;
        execution.available = request.cycles;
        execution.deadline = request.deadline.unwrap_or(0);
        execution.can_respond = true;
        let kind = if mode == Mode::Update {
            "update"
        } else {
            "query"
        };
        let (execution, outcome) =
            self.execute(to, &Entry::Export(export), execution, kind, request.trap);
        self.conclude(to, context, execution, outcome);
    }

    fn run_task(&mut self, to: Principal, task: Task) {
        let Some(canister) = self.canisters.get(&to) else {
            return;
        };
        if !matches!(canister.status, RunStatus::Running) || !canister.exports(task.export()) {
            return;
        }
        let context = self.open_context(
            to,
            CallContext {
                origin: Origin::System,
                caller: Principal::management_canister(),
                available: 0,
                answered: true,
                open_calls: 0,
                instructions: 0,
                deadline: None,
            },
        );
        let execution = self.view(to, Mode::Task);
        let kind = match task {
            Task::Timer => "timer",
            Task::Heartbeat => "heartbeat",
        };
        let (execution, outcome) = self.execute(
            to,
            &Entry::Export(task.export().into()),
            execution,
            kind,
            None,
        );
        self.conclude(to, context, execution, outcome);
    }

    fn run_answer(&mut self, to: Principal, answer: Answer) {
        self.expired.remove(&answer.callback);
        let Some(canister) = self.canisters.get_mut(&to) else {
            return;
        };
        canister.cycles += answer.refund;
        let Some(callback) = canister.take_callback(answer.callback) else {
            return;
        };
        if let Some(at) = callback.deadline {
            self.deadlines.remove(&(at, to, answer.callback));
        }
        let Some(context) = canister.contexts.get_mut(&callback.context) else {
            return;
        };
        context.open_calls -= 1;
        let (caller, available, answered) = (context.caller, context.available, context.answered);
        let (earlier, deadline) = (context.instructions, context.deadline);
        if canister.code.is_none() {
            // Uninstalled meanwhile: nothing can run.
            if canister
                .contexts
                .get(&callback.context)
                .is_some_and(CallContext::is_over)
            {
                canister.contexts.remove(&callback.context);
            }
            return;
        }
        let mode = if answer.response.is_ok() {
            Mode::Reply
        } else {
            Mode::Reject
        };
        let mut execution = self.view(to, mode);
        execution.caller = caller;
        execution.available = available;
        execution.can_respond = !answered;
        execution.refunded = answer.refund;
        execution.earlier_instructions = earlier;
        execution.deadline = deadline.unwrap_or(0);
        execution.method = callback.method.clone();
        let (closure, kind) = match answer.response {
            Ok(reply) => {
                execution.argument = reply;
                (callback.on_reply, "reply")
            }
            Err(reject) => {
                execution.rejection = Some(reject);
                (callback.on_reject, "reject")
            }
        };
        let rejection = execution.rejection.clone();
        let (execution, mut outcome) =
            self.execute(to, &Entry::Closure(closure), execution, kind, callback.trap);
        if let (Err(trap), Some(cleanup)) = (&outcome, callback.on_cleanup) {
            let mut view = self.view(to, Mode::Cleanup);
            view.caller = caller;
            view.method = callback.method.clone();
            view.rejection = rejection;
            let (_, cleaned) = self.execute(to, &Entry::Closure(cleanup), view, "cleanup", None);
            if let Err(second) = cleaned {
                outcome = Err(Trap::Cleanup(Box::new(trap.clone()), Box::new(second)));
            }
        }
        self.conclude(to, callback.context, execution, outcome);
    }

    /// What a message on this canister sees.
    fn view(&mut self, id: Principal, mode: Mode) -> Execution {
        let now = self.clock.now();
        let facts = self.facts.clone();
        let mut execution = self
            .canisters
            .get(&id)
            .expect("looked up by the caller just before")
            .execution(&facts, mode, now, UPDATE_INSTRUCTIONS);
        execution.full_queues = self.faults.full_queues();
        execution
    }

    /// Runs a message to its end and keeps or undoes it.
    fn execute(
        &mut self,
        id: Principal,
        entry: &Entry,
        execution: Execution,
        kind: &'static str,
        fault: Option<u64>,
    ) -> (Execution, Result<(), Trap>) {
        let canister = self
            .canisters
            .get_mut(&id)
            .expect("looked up by the caller just before");
        let Ran {
            mut execution,
            mut outcome,
            instructions,
        } = canister.run(entry, execution);
        if let (Ok(()), Some(number)) = (&outcome, fault) {
            outcome = Err(Trap::Injected(number));
        }
        let full_queues = std::mem::take(&mut execution.full_queues);
        self.faults.return_full_queues(full_queues);
        let mut dirty_pages = 0;
        if outcome.is_err() {
            canister.undo();
        } else if execution.mode == Mode::ReplicatedQuery {
            // A query's changes are never kept, but the cycles that it took are.
            canister.undo();
            canister.cycles = execution.balance;
        } else {
            dirty_pages = canister.keep(&mut execution);
        }
        canister.log(execution.time, std::mem::take(&mut execution.logs));
        execution.earlier_instructions += instructions;
        self.log.push(Executed {
            n: 0,
            canister_time_ns: execution.time,
            canister: id.to_text(),
            caller: execution.caller.to_text(),
            kind,
            method: execution.method.clone(),
            instructions,
            dirty_pages,
            outcome: outcome
                .as_ref()
                .map_or_else(ToString::to_string, |()| "ok".to_string()),
        });
        (execution, outcome)
    }

    /// The end of a message of a call: its calls go out, its answer goes back, the context closes if nothing is open.
    fn conclude(
        &mut self,
        id: Principal,
        context: ContextId,
        execution: Execution,
        outcome: Result<(), Trap>,
    ) {
        let Some(open) = self
            .canisters
            .get_mut(&id)
            .and_then(|c| c.contexts.get_mut(&context))
        else {
            return;
        };
        open.instructions = execution.earlier_instructions;
        let mut answer = None;
        let mut calls = Vec::new();
        match outcome {
            Ok(()) => {
                open.available = open.available.saturating_sub(execution.accepted);
                open.open_calls += execution.calls.len();
                calls = execution.calls;
                answer = execution.response;
            }
            Err(trap) if open.open_calls == 0 => answer = Some(Err(trap.reject(id))),
            Err(_) => {}
        }
        if answer.is_none() && open.open_calls == 0 {
            answer = Some(Err(Reject::did_not_reply(id)));
        }
        let mut send = None;
        if let Some(response) = answer
            && !open.answered
        {
            open.answered = true;
            send = Some((open.origin, response, std::mem::take(&mut open.available)));
        }
        if open.is_over()
            && let Some(canister) = self.canisters.get_mut(&id)
        {
            canister.contexts.remove(&context);
        }
        for call in calls {
            self.send_call(id, context, call);
        }
        if let Some((origin, response, refund)) = send {
            self.respond(id, origin, response, refund);
        }
    }

    /// Sends a call of a canister, or lets an injected fault have it.
    fn send_call(&mut self, caller: Principal, context: ContextId, call: OutgoingCall) {
        let now = self.clock.now();
        let callback = self.next_callback();
        let deadline = call.timeout_s.map(|s| now + u64::from(s) * 1_000_000_000);
        let strike = self.faults.strike(caller, call.callee, &call.method, false);
        let is = |kind| strike.filter(|s| s.kind == kind);
        if let Some(at) = deadline {
            self.deadlines.insert((at, caller, callback));
        }
        if let Some(canister) = self.canisters.get_mut(&caller) {
            canister.add_callback(
                callback,
                Callback {
                    context,
                    callee: call.callee,
                    method: call.method.clone(),
                    on_reply: call.on_reply,
                    on_reject: call.on_reject,
                    on_cleanup: call.on_cleanup,
                    deadline,
                    lose: is(FaultKind::LoseReply).map(|s| (s.id, s.delay_ns)),
                    late_ns: is(FaultKind::DelayReply)
                        .and_then(|s| s.delay_ns)
                        .unwrap_or(0),
                    trap: is(FaultKind::TrapCallback).map(|s| s.id),
                },
            );
        }
        let origin = Origin::Call {
            canister: caller,
            callback,
        };
        if let Some(strike) = is(FaultKind::Reject) {
            let reject = Reject::new(
                SYS_TRANSIENT,
                format!("Not delivered: injected fault {}", strike.id),
            );
            return self.respond(call.callee, origin, Err(reject), call.cycles);
        }
        let request = Request {
            caller,
            method: call.method,
            argument: call.argument,
            cycles: call.cycles,
            deadline,
            origin,
            trap: is(FaultKind::TrapCallee).map(|s| s.id),
        };
        let delay_ns = is(FaultKind::Delay).and_then(|s| s.delay_ns).unwrap_or(0);
        self.send(
            call.callee,
            Source::Canister(caller),
            Message::Request(Box::new(request)),
            delay_ns,
        );
    }
}
