//! A Merkle mountain range: an append-only list of leaves under one root, with proofs that stay small for ever.
//!
//! As in the Open Timestamps design (P. Todd, 2012, "Merkle Mountain Ranges"): the leaves stand under perfect binary
//! trees, the mountains, one for each bit of their number, the highest first. Nodes are stored in the order in which they
//! become known (a leaf, then every parent that it completes), so that appending never changes one. The root hashes the
//! number of leaves and all peaks. A proof is the path from a leaf to its peak, and the peaks: at most twice the
//! logarithm of the number of leaves. The bytes are in `docs/spec/receipt.md`.

use crate::canonical::Writer;
use candid::CandidType;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// A node's hash.
pub type Hash = [u8; 32];

/// Where a leaf stands among all nodes.
pub fn leaf_place(index: u64) -> u64 {
    2 * index - u64::from(index.count_ones())
}

/// How many nodes a range of so many leaves has.
pub fn nodes(leaves: u64) -> u64 {
    leaf_place(leaves)
}

/// The hash of two neighbouring nodes.
pub fn parent(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = Writer::new("emc-receipt-node-v1");
    bytes.raw(left);
    bytes.raw(right);
    bytes.sha256()
}

/// The nodes that a new leaf adds, in order, to a range of `leaves` leaves: itself, then every parent that it completes.
/// `read` gives the hash at a place.
pub fn added(leaves: u64, leaf: Hash, mut read: impl FnMut(u64) -> Hash) -> Vec<Hash> {
    let mut new = vec![leaf];
    for (place, height) in (leaf_place(leaves)..).zip(0..leaves.trailing_ones()) {
        // The left neighbour's whole mountain lies between it and this one.
        let left = read(place - ((2u64 << height) - 1));
        let right = new[new.len() - 1];
        new.push(parent(&left, &right));
    }
    new
}

/// The places of the peaks of a range of so many leaves, the highest mountain first.
pub fn peaks(leaves: u64) -> Vec<u64> {
    let mut places = vec![];
    let mut before = 0;
    for height in (0..u64::BITS)
        .rev()
        .filter(|height| leaves >> height & 1 == 1)
    {
        let size = (2u64 << height) - 1;
        places.push(before + size - 1);
        before += size;
    }
    places
}

/// The root of a range.
pub fn root(leaves: u64, peaks: &[Hash]) -> Hash {
    let mut bytes = Writer::new("emc-receipt-root-v1");
    bytes.u64(leaves);
    peaks.iter().for_each(|peak| bytes.raw(peak));
    bytes.sha256()
}

/// Proof that a leaf stands at a place of a range with a root.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The leaf's number.
    pub index: u64,
    /// How many leaves the range has.
    pub leaves: u64,
    /// The neighbours from the leaf up to its peak, 32 bytes each.
    pub path: Vec<ByteBuf>,
    /// All peaks, the highest mountain first, 32 bytes each.
    pub peaks: Vec<ByteBuf>,
}

/// The mountain of a leaf: which peak it is, its height, and the leaf's number inside it.
fn mountain(index: u64, leaves: u64) -> Option<(usize, u32, u64)> {
    let mut before = 0;
    let heights = (0..u64::BITS)
        .rev()
        .filter(|height| leaves >> height & 1 == 1);
    for (peak, height) in heights.enumerate() {
        if index < before + (1 << height) {
            return Some((peak, height, index - before));
        }
        before += 1 << height;
    }
    None
}

/// The proof for a leaf of a range of so many leaves; `None` where it has no such leaf.
pub fn prove(index: u64, leaves: u64, mut read: impl FnMut(u64) -> Hash) -> Option<Proof> {
    let (_, height, inside) = mountain(index, leaves)?;
    let mut bytes = |place| ByteBuf::from(read(place).to_vec());
    let mut place = leaf_place(index);
    let mut path = vec![];
    for level in 0..height {
        let span = (2u64 << level) - 1;
        if inside >> level & 1 == 1 {
            path.push(bytes(place - span));
            place += 1;
        } else {
            path.push(bytes(place + span));
            place += span + 1;
        }
    }
    let peaks = peaks(leaves).into_iter().map(&mut bytes).collect();
    Some(Proof {
        index,
        leaves,
        path,
        peaks,
    })
}

impl Proof {
    /// The root under which the proof puts this leaf; `None` where it is malformed or does not fit the leaf.
    pub fn root_of(&self, leaf: Hash) -> Option<Hash> {
        let hash = |bytes: &ByteBuf| Hash::try_from(bytes.as_slice()).ok();
        let (peak, height, inside) = mountain(self.index, self.leaves)?;
        let peaks = self.peaks.iter().map(hash).collect::<Option<Vec<_>>>()?;
        if self.path.len() != height as usize || peaks.len() != self.leaves.count_ones() as usize {
            return None;
        }
        let mut node = leaf;
        for (level, neighbour) in self.path.iter().enumerate() {
            let neighbour = hash(neighbour)?;
            node = match inside >> level & 1 {
                1 => parent(&neighbour, &node),
                _ => parent(&node, &neighbour),
            };
        }
        (peaks[peak] == node).then(|| root(self.leaves, &peaks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaf(n: u64) -> Hash {
        let mut bytes = Writer::new("test");
        bytes.u64(n);
        bytes.sha256()
    }

    /// The nodes of a range of so many leaves.
    fn range(leaves: u64) -> Vec<Hash> {
        let mut all: Vec<Hash> = vec![];
        for n in 0..leaves {
            let new = added(n, leaf(n), |place| all[place as usize]);
            all.extend(new);
        }
        all
    }

    fn root_of(all: &[Hash], leaves: u64) -> Hash {
        let peaks: Vec<Hash> = peaks(leaves)
            .into_iter()
            .map(|place| all[place as usize])
            .collect();
        root(leaves, &peaks)
    }

    /// A perfect tree over leaves `from..from + 2^height`, by its definition.
    fn tree(from: u64, height: u32) -> Hash {
        match height {
            0 => leaf(from),
            _ => parent(
                &tree(from, height - 1),
                &tree(from + (1 << (height - 1)), height - 1),
            ),
        }
    }

    #[test]
    fn peaks_are_perfect_trees_over_their_leaves() {
        for leaves in 0..70u64 {
            let all = range(leaves);
            assert_eq!(all.len() as u64, nodes(leaves));
            let mut from = 0;
            for (place, height) in peaks(leaves)
                .into_iter()
                .zip((0..7).rev().filter(|h| leaves >> h & 1 == 1))
            {
                assert_eq!(all[place as usize], tree(from, height), "{leaves} leaves");
                from += 1 << height;
            }
        }
    }

    proptest! {
        #[test]
        fn every_leaf_has_a_proof_that_holds_for_it_alone(leaves in 1u64..300, at: prop::sample::Index, other in 0u64..300) {
            let all = range(leaves);
            let index = at.index(leaves as usize) as u64;
            let proof = prove(index, leaves, |place| all[place as usize]).expect("it has this leaf");
            prop_assert_eq!(proof.root_of(leaf(index)), Some(root_of(&all, leaves)));
            prop_assert!(proof.path.len() + proof.peaks.len() <= 2 * 9);
            if other != index {
                prop_assert_eq!(proof.root_of(leaf(other)), None);
            }
            // A proof says which leaf it is for, too.
            let moved = Proof { index: other, ..proof.clone() };
            if other != index {
                prop_assert_ne!(moved.root_of(leaf(index)), Some(root_of(&all, leaves)));
            }
            let mut cut = proof;
            cut.peaks.pop();
            prop_assert_eq!(cut.root_of(leaf(index)), None);
        }

        #[test]
        fn a_proof_with_any_bytes_does_not_panic(index: u64, leaves: u64, path in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..70)) {
            let hashes: Vec<ByteBuf> = path.into_iter().map(ByteBuf::from).collect();
            let proof = Proof { index, leaves, path: hashes.clone(), peaks: hashes };
            let _ = proof.root_of([0; 32]);
        }

        #[test]
        fn there_is_no_proof_for_a_leaf_that_is_not_there(leaves in 0u64..100, beyond in 0u64..100) {
            let all = range(leaves);
            prop_assert_eq!(prove(leaves + beyond, leaves, |place| all[place as usize]), None);
        }
    }
}
