//! The one place where a transaction takes effect, after every check has passed: all of it or, by a trap, nothing.

use crate::{
    allowance,
    block_hash::{self, Hash},
    blocks::{Block, BlockIndex},
    dedup, postings,
    state::Ledger,
    tokens::Tokens,
    transaction::Transaction,
};

/// A transaction that has passed every check.
pub(crate) struct Checked {
    /// What is to be done.
    pub transaction: Transaction,
    /// The transaction's hash.
    pub hash: Hash,
    /// What it costs.
    pub fee: Tokens,
    /// What the paying account holds, as the checks found it; nothing for a mint.
    pub held: Tokens,
}

/// Applies a checked transaction and returns its block.
///
/// 1. the postings; 2. the block, chained to the tip; 3. the memory of the transaction; 4. tip and supply; 5. a bounded
///    amount of clearing up.
pub(crate) fn commit(ledger: &mut Ledger, checked: Checked, now: u64) -> BlockIndex {
    let Checked {
        transaction,
        hash,
        fee,
        held,
    } = checked;
    let mut header = *ledger.header.get();
    let entry = postings::entry(&transaction.operation, held, fee);
    postings::apply(ledger, &mut header, &entry);

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
