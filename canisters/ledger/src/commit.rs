//! The one place where a transaction takes effect, after every check has passed: all of it or, by a trap, nothing.

use crate::{
    allowance, block_hash,
    block_hash::Hash,
    blocks::{Block, BlockIndex},
    dedup,
    postings::{self, Posting},
    state::Ledger,
    tokens::Tokens,
    transaction::Transaction,
};

/// Applies a checked transaction and returns its block.
///
/// 1. the postings; 2. the block, chained to the tip; 3. the memory of the transaction; 4. tip and supply; 5. a bounded
///    amount of clearing up.
///
/// `hash` is the transaction's, `fee` is what was charged.
pub(crate) fn commit(
    ledger: &mut Ledger,
    transaction: Transaction,
    hash: Hash,
    fee: Tokens,
    postings: &[Posting<'_>],
    now: u64,
) -> BlockIndex {
    let mut header = *ledger.header.get();
    postings::apply(ledger, &mut header, postings);

    let created_at_time = transaction.created_at_time;
    let show_fee = transaction.operation.has_fee() && transaction.operation.named_fee().is_none();
    let block = Block {
        parent: ledger.tip().map(|(_, tip)| tip),
        timestamp: now,
        fee: show_fee.then_some(fee),
        transaction,
    };
    let index = ledger
        .blocks
        .append(&block)
        .expect("stable memory can grow; if not, the call is undone");
    header.tip = block_hash::hash_block(&block, hash);

    dedup::remember(ledger, created_at_time, &hash, index);
    ledger.header.set(header);

    dedup::prune(ledger, now);
    allowance::prune(ledger, now);
    index
}
