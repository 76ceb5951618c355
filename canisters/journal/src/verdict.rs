//! The rules by which an entry is sent, looked for, and ended: plain functions of what is known.
//!
//! ```text
//!   Tip --log's length--> Send --begun--> Scan --log read to its end, nothing found--+
//!    |                     ^               |   \                                     |
//!    | no answer           |               |    block found, Ok, Duplicate: DONE     |
//!    v                     |               |                                         |
//!   NOT DONE               +---------------|-----------------------------------------+
//!                                          |  still in time: the same call again     |
//!                                          v                                         v
//!                       every send was refused or not delivered: NOT DONE     past the window: NOT DONE
//! ```
//!
//! - A send counts as *unknown* from the moment it is begun until its own answer says that it had no effect. A trap, an
//!   upgrade or a lost answer therefore leaves it unknown by itself, with nothing to clean up.
//! - A refusal settles only the send that it answers: while another one is unknown it proves nothing (a ledger may answer
//!   `BadFee` before it looks for duplicates), and the log decides.
//! - "Not in the log" is final only if the page was *asked for* when no send could be executed any more: after the
//!   ledger answered `TooOld`, or when our own clock is [`WINDOW`] + [`DRIFT`] + [`CLOCK_MARGIN`] past the call's time.
//!   Subnets' clocks follow real time within seconds, so ten minutes of margin stand in for reading the ledger's clock,
//!   which no standard call offers.

use crate::entry::{Entry, Stage};
use crate::refusal::Refusal;

const SECOND: u64 = 1_000_000_000;
/// How long a ledger remembers transactions to recognise a repeated one (ICRC-1), nanoseconds.
pub const WINDOW: u64 = 24 * 3600 * SECOND;
/// How far a ledger lets `created_at_time` be off (ICRC-1), nanoseconds.
pub const DRIFT: u64 = 120 * SECOND;
/// How far we take the ledger's clock to be behind ours at most, nanoseconds.
pub const CLOCK_MARGIN: u64 = 600 * SECOND;
/// The first rest after an unknown outcome, nanoseconds; each further one is twice as long.
pub const FIRST_REST: u64 = 5 * SECOND;
/// The longest rest, nanoseconds.
pub const LONGEST_REST: u64 = 600 * SECOND;

/// What to do next for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask for the length of the ledger's log.
    LookAtTip,
    /// Make the call.
    Send,
    /// Read blocks.
    Scan {
        /// From this one on.
        from: u64,
        /// No send can be executed any more: if the log does not hold the call now, it never will.
        last: bool,
    },
    /// Rest.
    Wait {
        /// Until then, nanoseconds.
        until: u64,
    },
}

/// What came of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The log's length.
    Tip {
        /// Blocks in the log.
        log_length: u64,
    },
    /// The ledger made the call, or says that it had made it before (`Duplicate`).
    Done {
        /// In this block.
        block_index: u64,
    },
    /// The ledger answered with an error: this send had no effect.
    Refused(Refusal),
    /// The message certainly did not reach the ledger.
    NotDelivered {
        /// The system's words.
        text: String,
    },
    /// Nobody knows whether the ledger got it; for a reading call, just no answer.
    Lost {
        /// The system's words.
        text: String,
    },
    /// Blocks were read.
    Looked {
        /// All blocks before this one, from the one asked for on.
        up_to: u64,
        /// Blocks in the log.
        log_length: u64,
        /// The call's block, if it was among them.
        found: Option<u64>,
    },
}

/// How an entry ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The tokens moved, once.
    Done {
        /// In this block.
        block_index: u64,
    },
    /// They did not and will not.
    NotDone {
        /// Why.
        refusal: Refusal,
    },
}

/// What an answer means for the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do at once.
    Going,
    /// Nothing to do before `next_try`.
    Resting,
    /// It is over.
    Ended(Outcome),
}

impl Entry {
    /// True if no send of this entry can be executed any more.
    fn out_of_time(&self, now: u64) -> bool {
        self.too_old
            || now
                >= self
                    .created_at_time
                    .saturating_add(WINDOW + DRIFT + CLOCK_MARGIN)
    }

    /// What to do now.
    pub fn next(&self, now: u64) -> Action {
        let scan = Action::Scan {
            from: self.scanned,
            last: self.out_of_time(now),
        };
        match self.stage {
            Stage::Tip => Action::LookAtTip,
            Stage::Send if self.unknown > 0 && self.out_of_time(now) => scan,
            Stage::Send => Action::Send,
            Stage::Scan if now < self.next_try => Action::Wait {
                until: self.next_try,
            },
            Stage::Scan => scan,
        }
    }

    /// Notes that an action is begun. To be committed before the call leaves: from here on, silence means "unknown".
    pub fn begin(&mut self, action: Action, now: u64) {
        if let Action::Wait { .. } = action {
            return;
        }
        self.next_try = now.saturating_add(self.rest());
        if action == Action::Send {
            self.stage = Stage::Scan;
            self.sends += 1;
            self.unknown += 1;
        }
    }

    /// What an action's answer means.
    pub fn answered(&mut self, action: Action, answer: Answer, now: u64) -> Step {
        match (action, answer) {
            (Action::LookAtTip, Answer::Tip { log_length }) if self.stage == Stage::Tip => {
                self.tip_is(log_length);
                Step::Going
            }
            // Nothing was ever sent.
            (Action::LookAtTip, Answer::NotDelivered { text } | Answer::Lost { text })
                if self.stage == Stage::Tip =>
            {
                Step::Ended(Outcome::NotDone {
                    refusal: Refusal::NotDelivered { text },
                })
            }
            (Action::Send, Answer::Done { block_index }) => {
                Step::Ended(Outcome::Done { block_index })
            }
            (Action::Send, Answer::Refused(refusal)) => {
                self.too_old |= refusal == Refusal::TooOld;
                self.without_effect(refusal, now)
            }
            (Action::Send, Answer::NotDelivered { text }) => {
                self.without_effect(Refusal::NotDelivered { text }, now)
            }
            (
                Action::Scan { from, last },
                Answer::Looked {
                    up_to,
                    log_length,
                    found,
                },
            ) => self.looked(from, last, up_to, log_length, found, now),
            // Unknown outcomes, and answers to an action that somebody else has completed meanwhile.
            _ => self.take_rest(now),
        }
    }

    /// Fixes where the log has to be searched from.
    pub(crate) fn tip_is(&mut self, log_length: u64) {
        self.stage = Stage::Send;
        self.tip = log_length;
        self.scanned = log_length;
    }

    /// One send is settled as without effect; the entry is, if there is no other.
    fn without_effect(&mut self, refusal: Refusal, now: u64) -> Step {
        self.unknown = self.unknown.saturating_sub(1);
        self.refusal = Some(refusal.clone());
        if self.unknown == 0 {
            return Step::Ended(Outcome::NotDone { refusal });
        }
        self.take_rest(now)
    }

    fn looked(
        &mut self,
        from: u64,
        last: bool,
        up_to: u64,
        log_length: u64,
        found: Option<u64>,
        now: u64,
    ) -> Step {
        if let Some(block_index) = found {
            return Step::Ended(Outcome::Done { block_index });
        }
        // A log that is shorter than it was is not the log we knew, and proves nothing.
        if log_length < from {
            return self.take_rest(now);
        }
        self.scanned = self.scanned.max(up_to);
        if up_to < log_length {
            if up_to == from {
                return self.take_rest(now);
            }
            self.next_try = now;
            return Step::Going;
        }
        if last {
            let refusal = self.refusal.clone().unwrap_or(Refusal::NeverExecuted);
            return Step::Ended(Outcome::NotDone { refusal });
        }
        self.stage = Stage::Send;
        self.next_try = now;
        Step::Going
    }

    fn take_rest(&mut self, now: u64) -> Step {
        self.tries = self.tries.saturating_add(1);
        self.next_try = now.saturating_add(self.rest());
        Step::Resting
    }

    fn rest(&self) -> u64 {
        (FIRST_REST << self.tries.min(10)).min(LONGEST_REST)
    }
}
