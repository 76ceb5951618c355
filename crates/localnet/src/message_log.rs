//! What ran, for people and tests: a bounded list of executed messages.

use serde::Serialize;
use std::collections::VecDeque;

/// One executed message.
#[derive(Clone, Debug, Serialize)]
pub struct Executed {
    /// Counts all executed messages, from 1.
    pub n: u64,
    /// Network time, in nanoseconds.
    pub canister_time_ns: u64,
    /// Which canister ran.
    pub canister: String,
    /// Who caused it.
    pub caller: String,
    /// The kind of message: update, query, reply, reject, cleanup, timer, heartbeat, init, ...
    pub kind: &'static str,
    /// The method, where there is one.
    pub method: String,
    /// Wasm instructions.
    pub instructions: u64,
    /// Heap pages of 4 KiB that it wrote and kept.
    pub dirty_pages: usize,
    /// `ok`, or why it was undone.
    pub outcome: String,
}

/// The last executed messages.
#[derive(Debug, Default)]
pub struct MessageLog {
    kept: VecDeque<Executed>,
    last: u64,
}

impl MessageLog {
    /// How many are kept.
    pub const CAPACITY: usize = 100_000;

    /// Adds one; its number is filled in.
    pub fn push(&mut self, mut executed: Executed) {
        self.last += 1;
        executed.n = self.last;
        tracing::debug!(
            canister = executed.canister,
            kind = executed.kind,
            method = executed.method,
            instructions = executed.instructions,
            outcome = executed.outcome,
            "executed"
        );
        if self.kept.len() == Self::CAPACITY {
            self.kept.pop_front();
        }
        self.kept.push_back(executed);
    }

    /// The number of the last one.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Those with a number above `after`.
    pub fn after(&self, after: u64) -> Vec<Executed> {
        let from = self.kept.partition_point(|e| e.n <= after);
        self.kept.range(from..).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_counts_and_answers_from_a_number_on() {
        let mut log = MessageLog::default();
        for i in 0..5 {
            log.push(Executed {
                n: 0,
                canister_time_ns: i,
                canister: "c".into(),
                caller: "u".into(),
                kind: "update",
                method: "m".into(),
                instructions: 1,
                dirty_pages: 0,
                outcome: "ok".into(),
            });
        }
        assert_eq!(log.after(3).iter().map(|e| e.n).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(log.after(0).len(), 5);
    }
}
