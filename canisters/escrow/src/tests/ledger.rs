//! A model of the ledger: balances, the memos of its blocks, and messages that get lost.

use candid::Principal;
use emc_journal::{Account, Answer, Operation, Refusal};
use std::collections::BTreeMap;

/// What happens to a message to the ledger.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    /// Executed and answered.
    Answered,
    /// Executed, the answer lost.
    AnswerLost,
    /// Never arrived, but nobody knows.
    MessageLost,
    /// Certainly not sent.
    NotDelivered,
    /// The ledger does not answer reading calls either.
    Silent,
}

/// A ledger without history but with memos.
#[derive(Default)]
pub struct ModelLedger {
    pub balances: BTreeMap<(Principal, [u8; 32]), u128>,
    pub blocks: Vec<[u8; 24]>,
    pub fee: u128,
}

fn account_key(account: &Account) -> (Principal, [u8; 32]) {
    (account.owner, account.subaccount.unwrap_or_default())
}

impl ModelLedger {
    pub fn balance(&self, account: &Account) -> u128 {
        self.balances
            .get(&account_key(account))
            .copied()
            .unwrap_or(0)
    }

    pub fn credit(&mut self, account: &Account, amount: u128) {
        *self.balances.entry(account_key(account)).or_default() += amount;
    }

    pub fn block_of(&self, memo: &[u8; 24]) -> Option<u64> {
        self.blocks
            .iter()
            .position(|m| m == memo)
            .map(|at| at as u64)
    }

    pub fn execute(&mut self, escrow: Principal, operation: &Operation, memo: [u8; 24]) -> Answer {
        if operation.fee() != self.fee {
            return Answer::Refused(Refusal::BadFee { expected: self.fee });
        }
        if let Some(block_index) = self.block_of(&memo) {
            return Answer::Done { block_index };
        }
        let (from, to) = match operation {
            Operation::Transfer {
                from_subaccount,
                to,
                ..
            } => (
                Account {
                    owner: escrow,
                    subaccount: *from_subaccount,
                },
                *to,
            ),
            Operation::TransferFrom { from, to, .. } => (*from, *to),
        };
        let total = operation.amount() + self.fee;
        let balance = self.balance(&from);
        if balance < total {
            return Answer::Refused(Refusal::InsufficientFunds { balance });
        }
        self.balances.insert(account_key(&from), balance - total);
        self.credit(&to, operation.amount());
        self.blocks.push(memo);
        Answer::Done {
            block_index: self.blocks.len() as u64 - 1,
        }
    }
}
