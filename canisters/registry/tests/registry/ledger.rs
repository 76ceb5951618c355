//! A ledger for the tests: it does, refuses, or does and says nothing; and remembers what it has done.

use emc_journal::{Action, Answer, Operation, Progress, Refusal};
use emc_protocol::mining::POOL_SUBACCOUNT;
use emc_registry::purpose;
use emc_registry::state::State;
use std::collections::BTreeSet;

/// What the ledger makes of the next call.
#[derive(Clone, Copy, Debug)]
pub enum How {
    Does,
    Refuses,
    /// Its answer is lost.
    Loses {
        executed: bool,
    },
}

/// What it has done, and what the registry's account holds.
#[derive(Default)]
pub struct Ledger {
    executed: BTreeSet<u64>,
    pub held: u128,
    pub burned: u128,
    /// What the mining pool holds.
    pub pool: u128,
}

impl Ledger {
    /// A ledger in which the registry has this already: stake, and in the mining pool.
    pub fn holding(held: u128, pool: u128) -> Self {
        Self {
            held,
            pool,
            ..Self::default()
        }
    }

    fn execute(&mut self, id: u64, operation: &Operation, burns: bool) {
        assert!(self.executed.insert(id), "a call is executed once");
        match operation {
            Operation::TransferFrom { amount, .. } => self.held += amount,
            Operation::Transfer {
                from_subaccount: Some(subaccount),
                amount,
                fee,
                ..
            } => {
                assert_eq!(*subaccount, POOL_SUBACCOUNT);
                self.pool -= amount + fee;
            }
            Operation::Transfer { amount, fee, .. } => {
                self.held -= amount + fee;
                self.burned += if burns { *amount } else { 0 };
            }
        }
    }

    /// Works on an entry as the driver does, until it ends or rests.
    pub fn work(&mut self, state: &mut State, now: u64, id: u64, how: How) {
        let burns = state.totals.get().burn == Some(id);
        for _ in 0..8 {
            let Some((action, entry)) = state.journal.prepare(id, now) else {
                return;
            };
            let length = 5 + self.executed.len() as u64;
            let answer = match (action, how) {
                (Action::Wait { .. }, _) => return,
                (Action::LookAtTip, _) => Answer::Tip { log_length: 5 },
                (Action::Scan { from, .. }, _) => Answer::Looked {
                    up_to: length.max(from),
                    log_length: length.max(from),
                    found: self.executed.contains(&id).then_some(from),
                },
                // As ICRC-1 has it: a repeated call is recognised.
                (Action::Send, _) if self.executed.contains(&id) => Answer::Done { block_index: 5 },
                (Action::Send, How::Does) => {
                    self.execute(id, &entry.operation, burns);
                    Answer::Done { block_index: 5 }
                }
                (Action::Send, How::Refuses) => {
                    Answer::Refused(Refusal::InsufficientAllowance { allowance: 0 })
                }
                (Action::Send, How::Loses { executed }) => {
                    if executed {
                        self.execute(id, &entry.operation, burns);
                    }
                    Answer::Lost {
                        text: "lost".into(),
                    }
                }
            };
            match state.journal.apply(id, action, answer, now) {
                Progress::Going => {}
                Progress::Resting | Progress::Gone => return,
                Progress::Ended(entry, outcome) => {
                    return purpose::ended(state, now, &entry, &outcome);
                }
            }
        }
    }
}
