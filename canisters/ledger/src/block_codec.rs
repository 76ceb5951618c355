//! How a block lies in the log: a compact encoding of our own, from which the ICRC-3 value is made when asked for.
//!
//! ```text
//! | format: 1 | kind: 1 | flags: 2 | timestamp: 8 | [parent hash: 32] | [charged fee] | [from] [to] [spender]
//! | amount | [named fee] | [expected allowance] | [expires at: 8] | [created at: 8] | [memo: length 2, bytes] |
//! ```
//!
//! Integers are little-endian; an amount is a length byte and its bytes without leading zeros; an account is a byte
//! (the owner's length, plus 128 where a subaccount follows), the owner, and the subaccount. `flags` says which of the
//! optional parts are there. A later layout takes another format number; this one stays readable for ever.

use crate::{
    blocks::Block,
    tokens::Tokens,
    transaction::{Operation, Transaction},
};
use candid::Principal;
use icrc_ledger_types::icrc1::account::Account;

const FORMAT: u8 = 1;

const MINT: u8 = 0;
const BURN: u8 = 1;
const TRANSFER: u8 = 2;
const APPROVE: u8 = 3;

const HAS_PARENT: u16 = 1;
const HAS_CHARGED_FEE: u16 = 1 << 1;
const HAS_SPENDER: u16 = 1 << 2;
const HAS_FEE: u16 = 1 << 3;
const HAS_EXPECTED_ALLOWANCE: u16 = 1 << 4;
const HAS_EXPIRES_AT: u16 = 1 << 5;
const HAS_CREATED_AT: u16 = 1 << 6;
const HAS_MEMO: u16 = 1 << 7;

const HAS_SUBACCOUNT: u8 = 0x80;

/// Writes a block.
pub fn encode(block: &Block) -> Vec<u8> {
    let transaction = &block.transaction;
    let fields = transaction.operation.fields();
    let kind = match transaction.operation {
        Operation::Mint { .. } => MINT,
        Operation::Burn { .. } => BURN,
        Operation::Transfer { .. } => TRANSFER,
        Operation::Approve { .. } => APPROVE,
    };
    let flags = [
        (HAS_PARENT, block.parent.is_some()),
        (HAS_CHARGED_FEE, block.fee.is_some()),
        (HAS_SPENDER, fields.spender.is_some()),
        (HAS_FEE, fields.fee.is_some()),
        (HAS_EXPECTED_ALLOWANCE, fields.expected_allowance.is_some()),
        (HAS_EXPIRES_AT, fields.expires_at.is_some()),
        (HAS_CREATED_AT, transaction.created_at_time.is_some()),
        (HAS_MEMO, transaction.memo.is_some()),
    ]
    .into_iter()
    .fold(
        0,
        |flags, (flag, set)| if set { flags | flag } else { flags },
    );

    let mut out = Vec::with_capacity(320);
    out.push(FORMAT);
    out.push(kind);
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&block.timestamp.to_le_bytes());
    if let Some(parent) = &block.parent {
        out.extend_from_slice(parent);
    }
    if let Some(fee) = block.fee {
        put_tokens(&mut out, fee);
    }
    for account in [fields.from, fields.to, fields.spender]
        .into_iter()
        .flatten()
    {
        put_account(&mut out, account);
    }
    put_tokens(&mut out, fields.amount);
    for amount in [fields.fee, fields.expected_allowance]
        .into_iter()
        .flatten()
    {
        put_tokens(&mut out, amount);
    }
    for time in [fields.expires_at, transaction.created_at_time]
        .into_iter()
        .flatten()
    {
        out.extend_from_slice(&time.to_le_bytes());
    }
    if let Some(memo) = &transaction.memo {
        let length = u16::try_from(memo.len()).expect("the longest memo allowed is 65,535 bytes");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(memo);
    }
    out
}

/// Reads a block, or says nothing where the bytes are not one.
pub fn decode(bytes: &[u8]) -> Option<Block> {
    let input = &mut Input(bytes);
    if input.byte()? != FORMAT {
        return None;
    }
    let kind = input.byte()?;
    let flags = u16::from_le_bytes(input.array()?);
    let has = |flag: u16| flags & flag != 0;
    let timestamp = input.number()?;
    let parent = input.when(has(HAS_PARENT), Input::array)?;
    let charged_fee = input.when(has(HAS_CHARGED_FEE), Input::tokens)?;
    let from = input.when(kind != MINT, Input::account)?;
    let to = input.when(matches!(kind, MINT | TRANSFER), Input::account)?;
    let spender = input.when(has(HAS_SPENDER), Input::account)?;
    let amount = input.tokens()?;
    let fee = input.when(has(HAS_FEE), Input::tokens)?;
    let expected_allowance = input.when(has(HAS_EXPECTED_ALLOWANCE), Input::tokens)?;
    let expires_at = input.when(has(HAS_EXPIRES_AT), Input::number)?;
    let created_at_time = input.when(has(HAS_CREATED_AT), Input::number)?;
    let memo = input.when(has(HAS_MEMO), Input::memo)?;
    let operation = match kind {
        MINT => Operation::Mint { to: to?, amount },
        BURN => Operation::Burn {
            from: from?,
            spender,
            amount,
        },
        TRANSFER => Operation::Transfer {
            from: from?,
            to: to?,
            spender,
            amount,
            fee,
        },
        APPROVE => Operation::Approve {
            from: from?,
            spender: spender?,
            amount,
            expected_allowance,
            expires_at,
            fee,
        },
        _ => return None,
    };
    input.0.is_empty().then_some(Block {
        parent,
        timestamp,
        fee: charged_fee,
        transaction: Transaction {
            operation,
            memo,
            created_at_time,
        },
    })
}

fn put_tokens(out: &mut Vec<u8>, Tokens(amount): Tokens) {
    let length = 16 - amount.leading_zeros() as usize / 8;
    out.push(length as u8);
    out.extend_from_slice(&amount.to_le_bytes()[..length]);
}

fn put_account(out: &mut Vec<u8>, account: &Account) {
    let owner = account.owner.as_slice();
    let mark = account.subaccount.map_or(0, |_| HAS_SUBACCOUNT);
    out.push(owner.len() as u8 | mark);
    out.extend_from_slice(owner);
    if let Some(subaccount) = &account.subaccount {
        out.extend_from_slice(subaccount);
    }
}

/// The bytes that are still to be read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn tokens(&mut self) -> Option<Tokens> {
        let length = usize::from(self.byte()?);
        let mut amount = [0; 16];
        amount
            .get_mut(..length)?
            .copy_from_slice(self.bytes(length)?);
        Some(Tokens(u128::from_le_bytes(amount)))
    }

    fn account(&mut self) -> Option<Account> {
        let head = self.byte()?;
        let owner = self.bytes(usize::from(head & !HAS_SUBACCOUNT))?;
        Some(Account {
            owner: Principal::try_from_slice(owner).ok()?,
            subaccount: self.when(head & HAS_SUBACCOUNT != 0, Input::array)?,
        })
    }

    fn memo(&mut self) -> Option<Vec<u8>> {
        let length = u16::from_le_bytes(self.array()?);
        self.bytes(length.into()).map(<[u8]>::to_vec)
    }

    /// Reads a part where it is there: `None` is a part that should be there and is not.
    fn when<T>(
        &mut self,
        there: bool,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        if there {
            read(self).map(Some)
        } else {
            Some(None)
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn account() -> impl Strategy<Value = Account> {
        (
            prop::collection::vec(any::<u8>(), 0..=29),
            any::<Option<[u8; 32]>>(),
        )
            .prop_map(|(owner, subaccount)| Account {
                owner: Principal::from_slice(&owner),
                subaccount,
            })
    }

    fn tokens() -> impl Strategy<Value = Tokens> {
        prop_oneof![
            any::<u64>().prop_map(|n| Tokens(n.into())),
            any::<u128>().prop_map(Tokens),
            Just(Tokens::ZERO),
        ]
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let optional = || prop::option::of(tokens());
        prop_oneof![
            (account(), tokens()).prop_map(|(to, amount)| Operation::Mint { to, amount }),
            (account(), prop::option::of(account()), tokens()).prop_map(
                |(from, spender, amount)| Operation::Burn {
                    from,
                    spender,
                    amount
                }
            ),
            (
                account(),
                account(),
                prop::option::of(account()),
                tokens(),
                optional()
            )
                .prop_map(|(from, to, spender, amount, fee)| Operation::Transfer {
                    from,
                    to,
                    spender,
                    amount,
                    fee
                }),
            (
                account(),
                account(),
                tokens(),
                optional(),
                any::<Option<u64>>(),
                optional()
            )
                .prop_map(
                    |(from, spender, amount, expected_allowance, expires_at, fee)| {
                        Operation::Approve {
                            from,
                            spender,
                            amount,
                            expected_allowance,
                            expires_at,
                            fee,
                        }
                    }
                ),
        ]
    }

    /// Any block that could ever be written.
    pub(crate) fn block() -> impl Strategy<Value = Block> {
        (
            any::<Option<[u8; 32]>>(),
            any::<u64>(),
            prop::option::of(tokens()),
            operation(),
            prop::option::of(prop::collection::vec(any::<u8>(), 0..80)),
            any::<Option<u64>>(),
        )
            .prop_map(
                |(parent, timestamp, fee, operation, memo, created_at_time)| Block {
                    parent,
                    timestamp,
                    fee,
                    transaction: Transaction {
                        operation,
                        memo,
                        created_at_time,
                    },
                },
            )
    }

    proptest! {
        #[test]
        fn a_block_is_read_back_as_it_was_written(block in block()) {
            let back = decode(&encode(&block)).expect("what was encoded decodes");
            // Accounts compare without regard to how the subaccount was given; the text does not.
            prop_assert_eq!(format!("{back:?}"), format!("{block:?}"));
        }

        #[test]
        fn a_block_cut_short_or_followed_by_more_is_not_a_block(block in block(), cut in any::<prop::sample::Index>()) {
            let mut bytes = encode(&block);
            prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_none());
            bytes.push(0);
            prop_assert!(decode(&bytes).is_none());
        }

        #[test]
        fn the_hash_is_that_of_the_value_as_icrc_ledger_types_computes_it(block in block()) {
            use crate::{block_hash::{hash_block, hash_transaction}, block_value};
            let ours = hash_block(&block, hash_transaction(&block.transaction));
            prop_assert_eq!(ours, block_value::of_block(&block).hash());
        }
    }
}
