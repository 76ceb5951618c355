//! The tree of certified state. It is built for each answer and holds what that answer may show, so that every lookup
//! ends at a value or at a proof of absence.

use ic_certification::{HashTree, empty, fork, label, leaf, pruned};
use std::collections::BTreeMap;

/// A node with children or a value.
#[derive(Debug, Default, Clone)]
pub struct Tree {
    children: BTreeMap<Vec<u8>, Tree>,
    value: Option<Vec<u8>>,
}

impl Tree {
    /// Sets the value at a path.
    pub fn put(&mut self, path: &[&[u8]], value: impl Into<Vec<u8>>) {
        let mut at = self;
        for step in path {
            at = at.children.entry(step.to_vec()).or_default();
        }
        at.value = Some(value.into());
    }

    /// Hangs a whole tree at a path.
    pub fn graft(&mut self, path: &[&[u8]], tree: Tree) {
        let mut at = self;
        for step in path {
            at = at.children.entry(step.to_vec()).or_default();
        }
        *at = tree;
    }

    /// The whole tree in the form that is signed and sent.
    pub fn hash_tree(&self) -> HashTree {
        if let Some(value) = &self.value {
            return leaf(value.clone());
        }
        let nodes: Vec<HashTree> = self
            .children
            .iter()
            .map(|(k, t)| label(k.clone(), t.hash_tree()))
            .collect();
        balanced(&nodes)
    }
}

fn balanced(nodes: &[HashTree]) -> HashTree {
    match nodes {
        [] => empty(),
        [one] => one.clone(),
        _ => {
            let (left, right) = nodes.split_at(nodes.len() / 2);
            fork(balanced(left), balanced(right))
        }
    }
}

/// The same shape as [`balanced`], in which only node `keep` can be read.
fn balanced_except(nodes: &[HashTree], keep: usize) -> HashTree {
    if nodes.len() == 1 {
        return nodes[0].clone();
    }
    let middle = nodes.len() / 2;
    let (left, right) = nodes.split_at(middle);
    if keep < middle {
        fork(
            balanced_except(left, keep),
            pruned(balanced(right).digest()),
        )
    } else {
        fork(
            pruned(balanced(left).digest()),
            balanced_except(right, keep - middle),
        )
    }
}

/// Several answers under one root, so that one signature serves them all: the statuses of some requests and the time.
/// Each answer shows its own request and hides the others.
pub struct StatusBatch {
    ids: Vec<[u8; 32]>,
    nodes: Vec<HashTree>,
    time: HashTree,
}

impl StatusBatch {
    /// A batch of request ids with the tree below each.
    pub fn new(statuses: BTreeMap<[u8; 32], Tree>, time: u64) -> Self {
        let (ids, nodes) = statuses
            .into_iter()
            .map(|(id, t)| (id, label(id.to_vec(), t.hash_tree())))
            .unzip();
        Self {
            ids,
            nodes,
            time: label("time", leaf(leb128(time))),
        }
    }

    /// What is signed.
    pub fn digest(&self) -> [u8; 32] {
        fork(
            label("request_status", balanced(&self.nodes)),
            self.time.clone(),
        )
        .digest()
    }

    /// The tree that shows one request; none if it is not in the batch.
    pub fn witness(&self, id: &[u8; 32]) -> Option<HashTree> {
        let at = self.ids.binary_search(id).ok()?;
        Some(fork(
            label("request_status", balanced_except(&self.nodes, at)),
            self.time.clone(),
        ))
    }
}

/// Unsigned LEB128, the encoding of numbers in the tree.
pub fn leb128(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = (n & 0x7f) as u8;
        n >>= 7;
        if n == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_certification::LookupResult;

    #[test]
    fn a_witness_has_the_batchs_digest_and_hides_the_other_requests() {
        let statuses: BTreeMap<[u8; 32], Tree> = (0..7u8)
            .map(|i| {
                let mut t = Tree::default();
                t.put(&[b"status"], vec![i]);
                ([i; 32], t)
            })
            .collect();
        let batch = StatusBatch::new(statuses, 5);
        for i in 0..7u8 {
            let tree = batch.witness(&[i; 32]).expect("in the batch");
            assert_eq!(tree.digest(), batch.digest());
            let path = |j: u8| [b"request_status".to_vec(), vec![j; 32], b"status".to_vec()];
            assert!(matches!(tree.lookup_path(path(i)), LookupResult::Found(v) if v == [i]));
            assert!(!matches!(
                tree.lookup_path(path((i + 1) % 7)),
                LookupResult::Found(_)
            ));
            assert!(matches!(
                tree.lookup_path([b"time".to_vec()]),
                LookupResult::Found(_)
            ));
        }
        assert!(batch.witness(&[9; 32]).is_none());
    }

    #[test]
    fn numbers_encode_as_leb128() {
        assert_eq!(leb128(0), [0]);
        assert_eq!(leb128(624_485), [0xE5, 0x8E, 0x26]);
    }
}
