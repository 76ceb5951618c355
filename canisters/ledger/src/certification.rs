//! What the canister certifies: index and hash of the last block, in the tree that ICRC-3 lays down.
//!
//! ```text
//!            fork
//!           /    \
//! last_block_hash  last_block_index (LEB128)
//! ```
//!
//! From a certificate of this tree's root a client trusts the last block, and by the parent hashes every one before.

use crate::{
    block_hash::{Hash, leb128},
    state::Ledger,
};
use ic_certification::{fork, labeled, leaf};
use minicbor::{Encoder, encode::Error};
use std::convert::Infallible;

const LAST_BLOCK_HASH: &str = "last_block_hash";
const LAST_BLOCK_INDEX: &str = "last_block_index";

/// The tip as the values of the two leaves.
fn leaves(ledger: &Ledger) -> Option<(Hash, Vec<u8>)> {
    let (index, hash) = ledger.tip()?;
    let (bytes, length) = leb128(index.into());
    Some((hash, bytes[..length].to_vec()))
}

/// The hash to certify; `None` while there is no block.
pub fn root_hash(ledger: &Ledger) -> Option<Hash> {
    let (hash, index) = leaves(ledger)?;
    let tree = fork(
        labeled(LAST_BLOCK_HASH, leaf(hash.to_vec())),
        labeled(LAST_BLOCK_INDEX, leaf(index)),
    );
    Some(tree.digest())
}

/// The tree in CBOR, as clients expect it beside the certificate; `None` while there is no block.
pub fn hash_tree(ledger: &Ledger) -> Option<Vec<u8>> {
    let (hash, index) = leaves(ledger)?;
    let mut encoder = Encoder::new(Vec::with_capacity(96));
    write_tree(&mut encoder, &hash, &index).expect("writing to memory cannot fail");
    Some(encoder.into_writer())
}

/// The interface specification's encoding: a fork is 1, a label 2, a leaf 3; the tag says that this is CBOR.
fn write_tree(
    encoder: &mut Encoder<Vec<u8>>,
    hash: &[u8],
    index: &[u8],
) -> Result<(), Error<Infallible>> {
    const FORK: u8 = 1;
    const LABELED: u8 = 2;
    const LEAF: u8 = 3;
    const SELF_DESCRIBED: u64 = 55_799;
    encoder
        .tag(minicbor::data::Tag::new(SELF_DESCRIBED))?
        .array(3)?
        .u8(FORK)?;
    for (name, value) in [(LAST_BLOCK_HASH, hash), (LAST_BLOCK_INDEX, index)] {
        encoder.array(3)?.u8(LABELED)?.bytes(name.as_bytes())?;
        encoder.array(2)?.u8(LEAF)?.bytes(value)?;
    }
    Ok(())
}
