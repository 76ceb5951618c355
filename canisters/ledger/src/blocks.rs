//! The block log: append-only, each block holding the hash of the one before.

use crate::{
    block_codec, block_hash::Hash, block_value, replies, state::Ledger, tokens::Tokens,
    transaction::Transaction,
};
use candid::Nat;
use ic_stable_structures::{Storable, storable::Bound};
use icrc_ledger_types::icrc3::blocks::{BlockWithId, GetBlocksRequest, GetBlocksResult};
use std::borrow::Cow;

/// The most blocks that one answer holds; who wants more asks again from where the answer ended.
pub const MAX_BLOCKS_PER_ANSWER: u64 = 1_000;

/// The place of a block in the log, counted from zero.
pub type BlockIndex = u64;

/// A block as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The hash of the block before; the first block has none.
    pub parent: Option<Hash>,
    /// When the ledger made the block, in nanoseconds since 1970.
    pub timestamp: u64,
    /// The fee that was charged, where the caller named none.
    pub fee: Option<Tokens>,
    /// What was asked for and done.
    pub transaction: Transaction,
}

impl Storable for Block {
    const BOUND: Bound = Bound::Unbounded;

    fn to_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Owned(block_codec::encode(self))
    }

    fn into_bytes(self) -> Vec<u8> {
        block_codec::encode(&self)
    }

    fn from_bytes(bytes: Cow<[u8]>) -> Self {
        block_codec::decode(&bytes).expect("the log holds only blocks that this code wrote")
    }
}

/// `icrc3_get_blocks`: the blocks of the ranges asked for, in order, at most [`MAX_BLOCKS_PER_ANSWER`] in all.
///
/// What does not exist is left out. With no ranges it tells the log's length at next to no cost.
pub fn get_blocks(ledger: &Ledger, ranges: &[GetBlocksRequest]) -> GetBlocksResult {
    let mut blocks = vec![];
    for_each(ledger, ranges, |index, block| {
        blocks.push(BlockWithId {
            id: Nat::from(index),
            block: block_value::of_block(&block),
        });
    });
    GetBlocksResult {
        log_length: Nat::from(ledger.blocks.len()),
        blocks,
        archived_blocks: vec![],
    }
}

/// The same as the bytes of a reply.
pub fn reply_with_blocks(ledger: &Ledger, ranges: &[GetBlocksRequest]) -> Vec<u8> {
    let mut reply = replies::Blocks::new(ledger.blocks.len());
    for_each(ledger, ranges, |index, block| reply.add(index, &block));
    reply.finish()
}

fn for_each(ledger: &Ledger, ranges: &[GetBlocksRequest], mut show: impl FnMut(BlockIndex, Block)) {
    let log_length = ledger.blocks.len();
    let mut room = MAX_BLOCKS_PER_ANSWER;
    for range in ranges {
        if room == 0 {
            break;
        }
        let start = clamp(&range.start);
        let end = start
            .saturating_add(clamp(&range.length).min(room))
            .min(log_length);
        for index in start..end {
            let block = ledger.blocks.get(index);
            show(
                index,
                block.expect("every index below the length has a block"),
            );
        }
        room -= end.saturating_sub(start);
    }
}

/// A number from outside; what does not fit is past every log's end.
fn clamp(nat: &Nat) -> u64 {
    u64::try_from(&nat.0).unwrap_or(u64::MAX)
}
