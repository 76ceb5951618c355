//! A ledger as bad as the network allows: it deduplicates as ICRC-1 says, answers `BadFee` before that, its clock is off,
//! and its messages meet every fate.

use candid::{Nat, Principal};
use emc_journal::ledger::{CallArgs, call_args, transfer_answer, transfer_from_answer};
use emc_journal::{Account, Answer, Entry};
use icrc_ledger_types::icrc::generic_value::ICRC3Value as Value;
use icrc_ledger_types::icrc1::transfer::TransferError;
use icrc_ledger_types::icrc2::transfer_from::TransferFromError;
use icrc_ledger_types::icrc3::blocks::{BlockWithId, GetBlocksResult};
use proptest::prelude::*;
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;

pub const SECOND: u64 = 1_000_000_000;
const WINDOW: u64 = 24 * 3600 * SECOND;
const DRIFT: u64 = 120 * SECOND;

/// What becomes of a message and its answer.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// Executed and answered.
    Answered,
    /// Executed; the answer is lost.
    AnswerLost,
    /// Lost on the way; the caller does not know.
    NeverArrives,
    /// The caller is told that it is unknown; it is executed much later.
    Late { seconds: u64 },
    /// The caller is told that it was not delivered.
    NotDelivered,
    /// Executed and answered, but the caller traps on the answer.
    CallerTraps,
}

impl Fate {
    /// For calls that only read: whether an answer arrives; `None` where the caller traps.
    pub fn of_reading(self) -> Option<bool> {
        match self {
            Self::Answered => Some(true),
            Self::CallerTraps => None,
            _ => Some(false),
        }
    }
}

pub fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Answered),
        2 => Just(Fate::AnswerLost),
        2 => Just(Fate::NeverArrives),
        1 => (1u64..400).prop_map(|seconds| Fate::Late { seconds }),
        1 => (400u64..200_000).prop_map(|seconds| Fate::Late { seconds }),
        1 => Just(Fate::NotDelivered),
        2 => Just(Fate::CallerTraps),
    ]
}

pub struct Ledger {
    caller: Principal,
    skew: i64,
    now: u64,
    pub fee: u128,
    pub funded: bool,
    blocks: Vec<(Value, Option<u64>)>,
    seen: BTreeMap<[u8; 24], (u64, u64)>,
    under_way: Vec<(u64, Entry)>,
}

impl Ledger {
    pub fn new(caller: Principal, skew: i64) -> Self {
        Self {
            caller,
            skew,
            now: 0,
            fee: 0,
            funded: true,
            blocks: vec![],
            seen: BTreeMap::new(),
            under_way: vec![],
        }
    }

    pub fn length(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// Blocks that moved this entry's tokens.
    pub fn blocks_of(&self, id: u64) -> Vec<u64> {
        let numbered = self.blocks.iter().zip(0..);
        let ours = numbered.filter(|((_, entry), _)| *entry == Some(id));
        ours.map(|(_, index)| index).collect()
    }

    pub fn page(&self, from: u64, length: u64) -> GetBlocksResult {
        let blocks = self.blocks.iter().zip(0u64..);
        GetBlocksResult {
            log_length: Nat::from(self.length()),
            blocks: blocks
                .skip(from as usize)
                .take(length as usize)
                .map(|((block, _), id)| BlockWithId {
                    id: Nat::from(id),
                    block: block.clone(),
                })
                .collect(),
            archived_blocks: vec![],
        }
    }

    pub fn time_is(&mut self, callers_time: u64) {
        let due: Vec<_> = self
            .under_way
            .extract_if(.., |(at, _)| *at <= callers_time)
            .collect();
        for (at, entry) in due {
            self.now = self
                .now
                .max(at.saturating_add_signed(self.skew * SECOND as i64));
            self.execute(&entry);
        }
        self.now = callers_time.saturating_add_signed(self.skew * SECOND as i64);
    }

    pub fn deliver_everything(&mut self) {
        for (_, entry) in std::mem::take(&mut self.under_way) {
            self.execute(&entry);
        }
    }

    pub fn receive(&mut self, entry: &Entry, fate: Fate) -> Option<Answer> {
        if self.now == 0 {
            self.time_is(entry.created_at_time);
        }
        let lost = Some(Answer::Lost {
            text: "lost".into(),
        });
        match fate {
            Fate::Answered => Some(self.execute(entry)),
            Fate::AnswerLost => {
                self.execute(entry);
                lost
            }
            Fate::NeverArrives => lost,
            Fate::Late { seconds } => {
                let callers_time = self.now.saturating_add_signed(-self.skew * SECOND as i64);
                self.under_way
                    .push((callers_time + seconds * SECOND, entry.clone()));
                lost
            }
            Fate::NotDelivered => Some(Answer::NotDelivered {
                text: "full".into(),
            }),
            Fate::CallerTraps => {
                self.execute(entry);
                None
            }
        }
    }

    fn execute(&mut self, entry: &Entry) -> Answer {
        match call_args(entry) {
            CallArgs::Transfer(args) => transfer_answer(
                self.check(entry)
                    .map_err(|e| match e {
                        Refused::Duplicate(block) => TransferError::Duplicate {
                            duplicate_of: block,
                        },
                        Refused::BadFee(fee) => TransferError::BadFee { expected_fee: fee },
                        Refused::TooOld => TransferError::TooOld,
                        Refused::Future => TransferError::CreatedInFuture {
                            ledger_time: self.now,
                        },
                        Refused::NoFunds => TransferError::InsufficientFunds {
                            balance: 0u8.into(),
                        },
                    })
                    .map(|()| {
                        let mine = Account {
                            owner: self.caller,
                            subaccount: args.from_subaccount,
                        };
                        let memo = args.memo.expect("entries have memos").0;
                        self.append(
                            entry.id,
                            block(
                                "xfer",
                                None,
                                &mine,
                                &args.to,
                                &args.amount,
                                memo,
                                entry.created_at_time,
                            ),
                        )
                    }),
            ),
            CallArgs::TransferFrom(args) => transfer_from_answer(
                self.check(entry)
                    .map_err(|e| match e {
                        Refused::Duplicate(block) => TransferFromError::Duplicate {
                            duplicate_of: block,
                        },
                        Refused::BadFee(fee) => TransferFromError::BadFee { expected_fee: fee },
                        Refused::TooOld => TransferFromError::TooOld,
                        Refused::Future => TransferFromError::CreatedInFuture {
                            ledger_time: self.now,
                        },
                        Refused::NoFunds => TransferFromError::InsufficientAllowance {
                            allowance: 0u8.into(),
                        },
                    })
                    .map(|()| {
                        let spender = Account {
                            owner: self.caller,
                            subaccount: args.spender_subaccount,
                        };
                        let memo = args.memo.expect("entries have memos").0;
                        self.append(
                            entry.id,
                            block(
                                "xfer",
                                Some(&spender),
                                &args.from,
                                &args.to,
                                &args.amount,
                                memo,
                                entry.created_at_time,
                            ),
                        )
                    }),
            ),
        }
    }

    /// The checks in the order that is worst for the caller: the fee before duplicates.
    fn check(&self, entry: &Entry) -> Result<(), Refused> {
        let created = entry.created_at_time;
        if entry.operation.fee() != self.fee {
            return Err(Refused::BadFee(Nat::from(self.fee)));
        }
        if self.now > created + WINDOW + DRIFT {
            return Err(Refused::TooOld);
        }
        if created > self.now + DRIFT + 400 * SECOND {
            return Err(Refused::Future);
        }
        // It forgets as soon as it may.
        if let Some((index, time)) = self.seen.get(&entry.memo)
            && *time + WINDOW + 2 * DRIFT >= self.now
        {
            return Err(Refused::Duplicate(Nat::from(*index)));
        }
        if self.funded {
            Ok(())
        } else {
            Err(Refused::NoFunds)
        }
    }

    fn append(&mut self, id: u64, block: Value) -> Nat {
        let index = self.length();
        let Some(Value::Blob(memo)) = tx(&block).and_then(|tx| tx.get("memo")) else {
            panic!("our blocks have memos");
        };
        let memo = memo.as_slice().try_into().expect("our memos have 24 bytes");
        self.seen.insert(memo, (index, self.now));
        self.blocks.push((block, Some(id)));
        Nat::from(index)
    }

    /// A stranger's transfer; with the memo, time and amount of an entry of ours if he has seen one.
    pub fn somebody_else_transfers(&mut self, copied: Option<&Entry>) {
        let stranger = Account {
            owner: Principal::from_slice(&[66]),
            subaccount: None,
        };
        let (memo, time, amount) = copied.map_or((vec![1], 1, 1), |entry| {
            (
                entry.memo.to_vec(),
                entry.created_at_time,
                entry.operation.amount(),
            )
        });
        let memo = ByteBuf::from(memo);
        let spender = self.length().is_multiple_of(2).then_some(&stranger);
        let amount = Nat::from(amount);
        self.blocks.push((
            block("xfer", spender, &stranger, &stranger, &amount, memo, time),
            None,
        ));
    }
}

enum Refused {
    Duplicate(Nat),
    BadFee(Nat),
    TooOld,
    Future,
    NoFunds,
}

fn tx(block: &Value) -> Option<&BTreeMap<String, Value>> {
    match block {
        Value::Map(map) => match map.get("tx") {
            Some(Value::Map(tx)) => Some(tx),
            _ => None,
        },
        _ => None,
    }
}

fn block(
    op: &str,
    spender: Option<&Account>,
    from: &Account,
    to: &Account,
    amount: &Nat,
    memo: ByteBuf,
    time: u64,
) -> Value {
    let account = |account: &Account| {
        let owner = Value::Blob(ByteBuf::from(account.owner.as_slice()));
        let subaccount = account
            .subaccount
            .map(|bytes| Value::Blob(ByteBuf::from(bytes)));
        Value::Array(std::iter::once(owner).chain(subaccount).collect())
    };
    let mut tx = BTreeMap::from([
        ("op".to_owned(), Value::Text(op.to_owned())),
        ("from".to_owned(), account(from)),
        ("to".to_owned(), account(to)),
        ("amt".to_owned(), Value::Nat(amount.clone())),
        ("memo".to_owned(), Value::Blob(memo)),
        ("ts".to_owned(), Value::Nat(Nat::from(time))),
    ]);
    if let Some(spender) = spender {
        tx.insert("spender".to_owned(), account(spender));
    }
    Value::Map(BTreeMap::from([("tx".to_owned(), Value::Map(tx))]))
}
