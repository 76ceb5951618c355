//! Rounds. In each round everyone who has something to run gets one turn, in a shuffled order; between two turns the
//! executor looks at what arrived from outside. So messages interleave wherever a canister waits, as on a subnet.

use crate::canister::RunStatus;
use crate::message::{Answer, Message, Origin, Source, Taken, Task};
use crate::reject::{Reject, SYS_UNKNOWN};
use crate::subnet::Subnet;
use candid::Principal;
use rand::seq::SliceRandom;

const SECOND_NS: u64 = 1_000_000_000;

impl Subnet {
    /// Runs one message, starting a new round where the last is over. False when nothing is ready.
    pub fn step(&mut self) -> bool {
        loop {
            if let Some(canister) = self.round.pop_front() {
                let may_overtake = self.faults.may_overtake(canister);
                let taken = self.pool.take(canister, &mut self.order, may_overtake);
                if let Some(Taken { message, overtook }) = taken {
                    if overtook {
                        self.faults.overtook(canister);
                    }
                    self.deliver(canister, message);
                    return true;
                }
            } else {
                self.make_due_ready();
                if self.pool.is_empty() {
                    return false;
                }
                let mut receivers = self.pool.receivers();
                receivers.shuffle(&mut self.order);
                self.round = receivers.into();
            }
        }
    }

    /// Network time of the next thing that becomes due by itself.
    pub fn next_due(&self) -> Option<u64> {
        let timers = self
            .canisters
            .values()
            .filter(|c| takes_tasks(c))
            .flat_map(|c| {
                let timer = (c.timer > 0 && c.exports(Task::Timer.export())).then_some(c.timer);
                let heartbeat = c
                    .exports(Task::Heartbeat.export())
                    .then_some(c.next_heartbeat);
                timer.into_iter().chain(heartbeat)
            });
        let delayed = self.delayed.keys().next().map(|k| k.0);
        let deadline = self.deadlines.first().map(|d| d.0);
        timers.chain(delayed).chain(deadline).min()
    }

    /// Moves what is due into the pool: timers, heartbeats, delayed messages, ended waits.
    fn make_due_ready(&mut self) {
        let now = self.clock.now();
        let mut tasks: Vec<(Principal, Task)> = Vec::new();
        for (id, c) in &mut self.canisters {
            if !takes_tasks(c) {
                continue;
            }
            if c.timer > 0 && c.timer <= now && c.exports(Task::Timer.export()) {
                c.timer = 0;
                tasks.push((*id, Task::Timer));
            }
            if c.next_heartbeat <= now && c.exports(Task::Heartbeat.export()) {
                c.next_heartbeat = now + SECOND_NS;
                tasks.push((*id, Task::Heartbeat));
            }
        }
        for (id, task) in tasks {
            self.pool.push(id, Source::System, Message::Task(task));
        }
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let (to, from, message) = entry.remove();
            self.pool.push(to, from, message);
        }
        while let Some((at, caller, callback)) = self.deadlines.first().copied() {
            if at > now {
                break;
            }
            self.deadlines.pop_first();
            let Some(open) = self
                .canisters
                .get_mut(&caller)
                .and_then(|c| c.callbacks.get_mut(&callback))
            else {
                continue;
            };
            // The wait ends here: what still comes for it is dropped, because only this answer finds the callback.
            let callee = open.callee;
            open.deadline = None;
            let response = Err(Reject::new(SYS_UNKNOWN, "Call deadline has expired."));
            self.expired.insert(callback);
            self.pool.push(
                caller,
                Source::Canister(callee),
                Message::Answer(Answer {
                    callback,
                    response,
                    refund: 0,
                }),
            );
        }
    }

    /// Ends the waiting of those who asked a canister to stop, once no call is open.
    pub fn finish_stopping(&mut self, id: Principal) {
        let Some(c) = self.canisters.get_mut(&id) else {
            return;
        };
        if !c.contexts.is_empty() || !c.callbacks.is_empty() {
            return;
        }
        let RunStatus::Stopping(waiting) = &mut c.status else {
            return;
        };
        let waiting: Vec<Origin> = std::mem::take(waiting);
        c.status = RunStatus::Stopped;
        c.version += 1;
        for origin in waiting {
            let done = candid::encode_args(()).expect("nothing encodes");
            self.respond(Principal::management_canister(), origin, Ok(done), 0);
        }
    }
}

fn takes_tasks(c: &crate::canister::Canister) -> bool {
    matches!(c.status, RunStatus::Running)
}
