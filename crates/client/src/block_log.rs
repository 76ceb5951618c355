//! Checks a ledger's whole block log from outside, believing nobody: neither the ledger nor the replica that answers.
//!
//! 1. Every block has the fields that ICRC-3 lays down for its kind.
//! 2. Every block holds the hash of the one before, and every hash is computed here.
//! 3. The last hash is in the tree that the ledger certifies, and the network's root key has signed that certificate.
//! 4. The blocks by themselves make sense: nobody spends what he does not have (see [`Books`]).
//!
//! It shares no code with the ledger: values and hashes come from `icrc-ledger-types`, certificates from ic-agent.

use crate::books::{Books, Entry};
use crate::{Error, Ledger};
use ic_certification::{Certificate, HashTree, LookupResult};
use icrc_ledger_types::icrc::generic_value::{ICRC3Value, Value};
use icrc_ledger_types::icrc3::schema;

/// How many blocks are asked for at once; the ledger may answer with fewer.
const BLOCKS_AT_ONCE: u64 = 1_000;
const LAST_BLOCK_INDEX: &str = "last_block_index";
const LAST_BLOCK_HASH: &str = "last_block_hash";

/// The hash of a block.
pub type Hash = [u8; 32];

/// A log as a ledger has handed it out; nothing of it is checked.
#[derive(Clone, Debug)]
pub struct BlockLog {
    /// The blocks, from the first one to the one that is certified.
    pub blocks: Vec<ICRC3Value>,
    /// The certificate, in CBOR.
    pub certificate: Vec<u8>,
    /// The tree with index and hash of the last block, in CBOR.
    pub hash_tree: Vec<u8>,
}

/// A log that was found to be right.
#[derive(Clone, Debug)]
pub struct CheckedLog {
    /// How many blocks it has.
    pub length: u64,
    /// The hash of the last one.
    pub tip: Hash,
    /// Who has what by it.
    pub books: Books,
}

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The ledger has no blocks yet, so there is nothing that it could certify.
    #[error("the ledger has no blocks yet")]
    Empty,
    /// The ledger cannot be asked.
    #[error("{0}")]
    Client(Box<Error>),
    /// The ledger does not hand out a block that it has.
    #[error("the ledger does not hand out block {0}")]
    Missing(u64),
    /// A block without the fields that it must have.
    #[error("block {index} does not have the fields that ICRC-3 asks for: {why}")]
    Schema {
        /// Which block.
        index: u64,
        /// What is wrong.
        why: String,
    },
    /// A block that does not continue the chain.
    #[error(
        "block {0} does not hold the hash of the block before: a block was changed, added or left out"
    )]
    Chain(u64),
    /// A block that says what cannot be.
    #[error("block {index} cannot be true: {why}")]
    Impossible {
        /// Which block.
        index: u64,
        /// Why not.
        why: String,
    },
    /// The tree does not hold index and hash of the last block.
    #[error("the tree beside the certificate is not one of ICRC-3: {0}")]
    Tree(String),
    /// Another last block is certified.
    #[error("the last block is not the certified one: {0}")]
    Tip(String),
    /// The certificate is not the network's, or not for this ledger's tree.
    #[error("the certificate does not hold: {0}")]
    Certificate(String),
}

impl From<Error> for LogError {
    fn from(error: Error) -> Self {
        Self::Client(Box::new(error))
    }
}

impl BlockLog {
    /// Fetches the certificate, then every block up to the certified one; what is added meanwhile is left out.
    ///
    /// # Errors
    /// Where the ledger cannot be asked, has no blocks, or keeps one back.
    pub async fn fetch(ledger: &Ledger) -> Result<Self, LogError> {
        let tip = ledger.icrc3_get_tip_certificate().await?;
        let tip = tip.ok_or(LogError::Empty)?;
        let (last, _) = tip_of(&parse_tree(&tip.hash_tree)?)?;
        let mut blocks = Vec::new();
        let mut next = 0;
        while next <= last {
            let wanted = (last - next).saturating_add(1).min(BLOCKS_AT_ONCE);
            let answer = ledger.icrc3_get_blocks(next, wanted).await?;
            if answer.blocks.is_empty() {
                return Err(LogError::Missing(next));
            }
            for block in answer.blocks {
                if block.id != next {
                    return Err(LogError::Missing(next));
                }
                blocks.push(block.block);
                next += 1;
            }
        }
        Ok(Self {
            blocks,
            certificate: tip.certificate.into_vec(),
            hash_tree: tip.hash_tree.into_vec(),
        })
    }

    /// Checks everything. The root key is the one of the ledger's connection; the certificate must be some minutes old
    /// at most, as every answer's is.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, ledger: &Ledger) -> Result<CheckedLog, LogError> {
        let tree = parse_tree(&self.hash_tree)?;
        self.check_certificate(&tree, ledger)?;
        let (certified_index, certified_hash) = tip_of(&tree)?;

        let mut books = Books::default();
        let mut parent: Option<Hash> = None;
        for (index, block) in (0u64..).zip(&self.blocks) {
            schema::validate(&Value::from(block.clone())).map_err(|why| LogError::Schema {
                index,
                why: format!("{why:?}"),
            })?;
            if parent_of(block) != parent.as_ref().map(<[u8; 32]>::as_slice) {
                return Err(LogError::Chain(index));
            }
            Entry::of(block)
                .and_then(|entry| books.record(&entry))
                .map_err(|why| LogError::Impossible { index, why })?;
            parent = Some(block.clone().hash());
        }
        let length = self.blocks.len() as u64;
        if length != certified_index.saturating_add(1) {
            let why = format!("there are {length} blocks, number {certified_index} is certified");
            return Err(LogError::Tip(why));
        }
        match parent {
            Some(tip) if tip == certified_hash => Ok(CheckedLog { length, tip, books }),
            _ => Err(LogError::Tip(format!(
                "block {certified_index} has another hash"
            ))),
        }
    }

    fn check_certificate(&self, tree: &HashTree, ledger: &Ledger) -> Result<(), LogError> {
        let wrong = |why: String| LogError::Certificate(why);
        let certificate: Certificate =
            serde_cbor::from_slice(&self.certificate).map_err(|why| wrong(why.to_string()))?;
        let agent = ledger.client().agent();
        agent
            .verify(&certificate, ledger.id())
            .map_err(|why| wrong(why.to_string()))?;
        let id = ledger.id();
        let path: [&[u8]; 3] = [b"canister", id.as_slice(), b"certified_data"];
        match certificate.tree.lookup_path(path) {
            LookupResult::Found(data) if data == tree.digest() => Ok(()),
            LookupResult::Found(_) => Err(wrong("it certifies another tree".into())),
            _ => Err(wrong(format!("it certifies nothing of {id}"))),
        }
    }
}

fn parent_of(block: &ICRC3Value) -> Option<&[u8]> {
    match block {
        ICRC3Value::Map(map) => match map.get("phash")? {
            ICRC3Value::Blob(hash) => Some(hash),
            _ => None,
        },
        _ => None,
    }
}

fn parse_tree(bytes: &[u8]) -> Result<HashTree, LogError> {
    serde_cbor::from_slice(bytes).map_err(|why| LogError::Tree(why.to_string()))
}

/// Index and hash of the last block.
fn tip_of(tree: &HashTree) -> Result<(u64, Hash), LogError> {
    let wrong = |why: &str| LogError::Tree(why.to_owned());
    let LookupResult::Found(index) = tree.lookup_path([LAST_BLOCK_INDEX]) else {
        return Err(wrong("it holds no last_block_index"));
    };
    let LookupResult::Found(hash) = tree.lookup_path([LAST_BLOCK_HASH]) else {
        return Err(wrong("it holds no last_block_hash"));
    };
    let index = leb128(index).ok_or_else(|| wrong("last_block_index is no LEB128 number"))?;
    let hash = hash.try_into();
    Ok((
        index,
        hash.map_err(|_| wrong("last_block_hash has not 32 bytes"))?,
    ))
}

/// The number that bytes stand for in LEB128: seven bits a byte, the lowest first, the top bit on all but the last.
fn leb128(bytes: &[u8]) -> Option<u64> {
    let (last, others) = bytes.split_last()?;
    let ends_well = last & 0x80 == 0 && others.iter().all(|byte| byte & 0x80 != 0);
    let number = bytes.iter().rev().try_fold(0u64, |number, byte| {
        let shifted = number.checked_mul(128)?;
        Some(shifted + u64::from(byte & 0x7f))
    });
    number.filter(|_| ends_well)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leb128_numbers_are_read_and_others_are_not() {
        assert_eq!(leb128(&[0]), Some(0));
        assert_eq!(leb128(&[0x7f]), Some(127));
        assert_eq!(leb128(&[0xd0, 0x01]), Some(208));
        let largest = [&[0xff; 9][..], &[1]].concat();
        assert_eq!(leb128(&largest), Some(u64::MAX));
        let too_large = [&[0xff; 9][..], &[2]].concat();
        for bad in [&[][..], &[0x80], &[0x01, 0x01], &too_large] {
            assert_eq!(leb128(bad), None, "{bad:?}");
        }
    }
}
