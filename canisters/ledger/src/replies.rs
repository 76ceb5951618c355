//! Replies of queries that are made all the time, written straight into bytes.
//!
//! A query's heap is thrown away with it, so a table of types that is kept there (`emc-reply`) helps updates alone. Here
//! the tables are constants. Tests hold every reply against what `candid` writes.

use crate::{
    block_hash::leb128,
    block_value::{self, Part, Parts},
    blocks::{Block, BlockIndex},
    tokens::Tokens,
};
use candid::Nat;

/// One argument, a `nat`.
const NAT: &[u8] = b"DIDL\x00\x01\x7d";

/// One argument, the result of `icrc3_get_blocks`.
const BLOCKS: &[u8] =
    b"DIDL\
      \x0e\x6c\x03\x81\xd5\x86\xb7\x0a\x7d\x86\xdd\xa8\xbf\x0a\x01\x83\xf4\xf4\xc4\x0f\x08\x6d\x02\x6c\
      \x02\xdb\xb7\x01\x7d\xcd\xea\xf1\xa7\x0b\x03\x6b\x06\xcf\x89\xdf\x01\x7c\xfc\x84\xeb\x01\x04\xc1\
      \x89\xee\x01\x7d\xfd\xd2\xc9\xdf\x02\x06\xcd\xf1\xcb\xbe\x03\x71\xf9\xba\xf3\xc5\x0b\x07\x6d\x05\
      \x6c\x02\x00\x71\x01\x03\x6d\x7b\x6d\x03\x6d\x09\x6c\x02\xdd\x9a\xd2\x83\x04\x0a\xc5\xb3\x9a\xf8\
      \x07\x0c\x6d\x0b\x6c\x02\xe2\xe8\xad\xa0\x08\x7d\xe6\xa9\x9e\xf8\x09\x7d\x6a\x01\x0a\x01\x0d\x01\
      \x01\x6c\x03\x81\xd5\x86\xb7\x0a\x7d\x86\xdd\xa8\xbf\x0a\x01\x83\xf4\xf4\xc4\x0f\x08\x01\x00";

// The places of `Value`'s cases, which Candid orders by the hashes of their names.
const MAP: u8 = 1;
const NUMBER: u8 = 2;
const BLOB: u8 = 3;
const TEXT: u8 = 4;
const ARRAY: u8 = 5;

/// A number.
pub fn nat(number: Nat) -> Vec<u8> {
    let Some(Tokens(number)) = Tokens::from_nat(&number) else {
        return candid::encode_one(number).expect("a number can be written");
    };
    let mut out = NAT.to_vec();
    put_nat(&mut out, number);
    out
}

/// The reply of `icrc3_get_blocks`, as it grows.
pub struct Blocks {
    log_length: u64,
    count: u64,
    blocks: Vec<u8>,
}

impl Blocks {
    /// No blocks yet, of a log of this length.
    pub fn new(log_length: u64) -> Self {
        Self {
            log_length,
            count: 0,
            blocks: Vec::with_capacity(32 * 1024),
        }
    }

    /// Adds a block.
    pub fn add(&mut self, index: BlockIndex, block: &Block) {
        self.count += 1;
        put_nat(&mut self.blocks, index.into());
        put_map(&mut self.blocks, block_value::parts(block));
    }

    /// The whole reply; there are no archives.
    pub fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BLOCKS.len() + self.blocks.len() + 32);
        out.extend_from_slice(BLOCKS);
        put_nat(&mut out, self.log_length.into());
        put_nat(&mut out, self.count.into());
        out.extend_from_slice(&self.blocks);
        put_nat(&mut out, 0);
        out
    }
}

fn put_map<const N: usize>(out: &mut Vec<u8>, parts: Parts<'_, N>) {
    out.push(MAP);
    out.push(parts.iter().flatten().count() as u8);
    for (key, part) in parts.into_iter().flatten() {
        put_bytes(out, key.as_bytes());
        put_part(out, part);
    }
}

fn put_part(out: &mut Vec<u8>, part: Part<'_>) {
    match part {
        Part::Blob(bytes) => put_blob(out, bytes),
        Part::Text(text) => {
            out.push(TEXT);
            put_bytes(out, text.as_bytes());
        }
        Part::Nat(number) => {
            out.push(NUMBER);
            put_nat(out, number);
        }
        Part::Account(account) => {
            out.push(ARRAY);
            out.push(1 + u8::from(account.subaccount.is_some()));
            put_blob(out, account.owner.as_slice());
            if let Some(subaccount) = &account.subaccount {
                put_blob(out, subaccount);
            }
        }
        Part::Transaction(transaction) => put_map(out, block_value::transaction_parts(transaction)),
    }
}

fn put_blob(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(BLOB);
    put_bytes(out, bytes);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_nat(out, bytes.len() as u128);
    out.extend_from_slice(bytes);
}

fn put_nat(out: &mut Vec<u8>, number: u128) {
    if number < 0x80 {
        out.push(number as u8);
        return;
    }
    let (bytes, length) = leb128(number);
    out.extend_from_slice(&bytes[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_codec::tests::block;
    use candid::encode_one;
    use icrc_ledger_types::icrc3::blocks::{BlockWithId, GetBlocksResult};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_written_as_candid_writes_them(number: u128, bits in 0u32..128) {
            let number = Nat::from(number >> bits);
            prop_assert_eq!(nat(number.clone()), encode_one(&number).unwrap());
            let large = number.clone() * Nat::from(u128::MAX);
            prop_assert_eq!(nat(large.clone()), encode_one(&large).unwrap());
        }

        #[test]
        fn blocks_are_written_as_candid_writes_them(
            blocks in prop::collection::vec((any::<u64>(), block()), 0..4), log_length: u64
        ) {
            let mut reply = Blocks::new(log_length);
            blocks.iter().for_each(|(index, block)| reply.add(*index, block));
            let value = |(index, block): &(u64, Block)| BlockWithId {
                id: Nat::from(*index),
                block: block_value::of_block(block),
            };
            let result = GetBlocksResult {
                log_length: Nat::from(log_length),
                blocks: blocks.iter().map(value).collect(),
                archived_blocks: vec![],
            };
            prop_assert_eq!(reply.finish(), encode_one(&result).unwrap());
        }
    }
}
