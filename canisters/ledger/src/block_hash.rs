//! Hashes of transactions and blocks: the representation-independent hash of ICRC-3, computed straight from our own
//! structures without building a `Value` first.
//!
//! The hash of a map sorts its entries by the hash of their keys. The keys are few and fixed, so their hashes are
//! constants here (a test recomputes them).

use crate::{
    blocks::Block,
    tokens::Tokens,
    transaction::{Operation, Transaction},
};
use icrc_ledger_types::icrc1::account::Account;
use sha2::{Digest, Sha256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

macro_rules! hash_constants {
    ($($name:ident = $text:literal: $hex:literal;)*) => {
        $(const $name: Hash = unhex($hex);)*
        #[cfg(test)]
        const ALL: &[(&str, Hash)] = &[$(($text, $name)),*];
    };
}

hash_constants! {
    PHASH = "phash": "8864a831a29477212fd689197ef113969b9d63002b35f87fddfb8e13484f4372";
    TS = "ts": "44ad63f60af0f6db6fdde6d5186ef78176367df261fa06be3079b6c80c8adba4";
    FEE = "fee": "b80cdaae9b322bba2a38fd396299782a4cc6b4a0ccf67fccbbcc617c94a46026";
    TX = "tx": "1b5b9ccb3e8d006a5230de9bda23ff91edc794d4f56410560830b418528e446c";
    OP = "op": "037aeaeaf4bbf26ddabe7256a8294dc52da48d575a1247b5c2598c47de7aebab";
    AMT = "amt": "9ff675fc4e1caf817b16e40944fb7bbd875952d4b1db66e7a842882797303527";
    FROM = "from": "75857a45899985be4c4d941e90b6b396d6c92a4c7437aaf0bf102089fe21379d";
    TO = "to": "663ea1bfffe5038f3f0cf667f14c4257eff52d77ce7f2a218f72e9286616ea39";
    SPENDER = "spender": "8b971817e6fb39a45dc37894b97017bf62fc0d8c3d024e66a501a39e478b75e9";
    MEMO = "memo": "9c225a950b92172f8c2afe8b682b7b86ce8f835578b546f9b8070cba309ad314";
    EXPECTED_ALLOWANCE = "expected_allowance": "da7ab1a1902f758e278e236767a09c3ca7375b98507a2e2376f2263ed718040a";
    EXPIRES_AT = "expires_at": "a2d000e1977254b1f6671cf27654b07ff556c38c9f077ca7d6c768a5372acc47";
    OP_MINT = "mint": "dc6f17bbec824fff8f86587966b2047db6ab736785840151f13d1dab124e2a54";
    OP_BURN = "burn": "859facc5a4c9b80ac2eef78916c1953bcccaab6014bb11b9de8337430ea34f0c";
    OP_XFER = "xfer": "127880a76de95de38af7504cc35e53b0dc53d9c4b233c51cf9d213b403b91a3c";
    OP_APPROVE = "approve": "74e21680eac7385ca408cb01878465fd693b37e58eb0c0c32663a2d8f15d8136";
}

const fn unhex(hex: &str) -> Hash {
    const fn digit(byte: u8) -> u8 {
        match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => panic!("a hash constant is lower-case hex"),
        }
    }
    let hex = hex.as_bytes();
    assert!(hex.len() == 64);
    let mut hash = [0; 32];
    let mut i = 0;
    while i < 32 {
        hash[i] = digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]);
        i += 1;
    }
    hash
}

/// The hash of a block, which the next block carries as its `phash`; `transaction` is the hash of the block's `tx`.
pub fn hash_block(block: &Block, transaction: Hash) -> Hash {
    let mut map = MapHash::<4>::new();
    map.push(TX, transaction);
    map.push(TS, hash_nat(block.timestamp.into()));
    if let Some(parent) = &block.parent {
        map.push(PHASH, hash_bytes(parent));
    }
    if let Some(fee) = block.fee {
        map.push(FEE, hash_nat(fee.0));
    }
    map.finish()
}

/// The hash of a transaction: of the block's `tx`, and its identity for deduplication.
pub fn hash_transaction(transaction: &Transaction) -> Hash {
    let fields = transaction.operation.fields();
    let mut map = MapHash::<10>::new();
    map.push(
        OP,
        match transaction.operation {
            Operation::Mint { .. } => OP_MINT,
            Operation::Burn { .. } => OP_BURN,
            Operation::Transfer { .. } => OP_XFER,
            Operation::Approve { .. } => OP_APPROVE,
        },
    );
    map.push(AMT, hash_nat(fields.amount.0));
    for (key, account) in [
        (FROM, fields.from),
        (TO, fields.to),
        (SPENDER, fields.spender),
    ] {
        if let Some(account) = account {
            map.push(key, hash_account(account));
        }
    }
    for (key, amount) in [
        (FEE, fields.fee),
        (EXPECTED_ALLOWANCE, fields.expected_allowance),
    ] {
        if let Some(Tokens(amount)) = amount {
            map.push(key, hash_nat(amount));
        }
    }
    for (key, time) in [
        (EXPIRES_AT, fields.expires_at),
        (TS, transaction.created_at_time),
    ] {
        if let Some(time) = time {
            map.push(key, hash_nat(time.into()));
        }
    }
    if let Some(memo) = &transaction.memo {
        map.push(MEMO, hash_bytes(memo));
    }
    map.finish()
}

/// An account is an array of one or two blobs.
fn hash_account(account: &Account) -> Hash {
    let mut array = Sha256::new();
    array.update(hash_bytes(account.owner.as_slice()));
    if let Some(subaccount) = &account.subaccount {
        array.update(hash_bytes(subaccount));
    }
    array.finalize().into()
}

fn hash_bytes(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

fn hash_nat(nat: u128) -> Hash {
    let (bytes, length) = leb128(nat);
    hash_bytes(&bytes[..length])
}

/// The unsigned LEB128 encoding of a number: a buffer, and how much of it is used.
pub fn leb128(mut nat: u128) -> ([u8; 19], usize) {
    let mut bytes = [0; 19];
    let mut length = 0;
    // Nearly all numbers fit 64 bits, whose arithmetic is cheaper.
    while nat > u128::from(u64::MAX) {
        bytes[length] = nat as u8 | 0x80;
        nat >>= 7;
        length += 1;
    }
    let mut nat = nat as u64;
    loop {
        bytes[length] = nat as u8 & 0x7f;
        nat >>= 7;
        length += 1;
        if nat == 0 {
            return (bytes, length);
        }
        bytes[length - 1] |= 0x80;
    }
}

/// A map of at most `N` entries, being hashed.
struct MapHash<const N: usize> {
    entries: [(Hash, Hash); N],
    length: usize,
}

impl<const N: usize> MapHash<N> {
    fn new() -> Self {
        Self {
            entries: [([0; 32], [0; 32]); N],
            length: 0,
        }
    }

    fn push(&mut self, key: Hash, value: Hash) {
        self.entries[self.length] = (key, value);
        self.length += 1;
    }

    fn finish(mut self) -> Hash {
        let entries = &mut self.entries[..self.length];
        entries.sort_unstable_by_key(|(key, _)| *key);
        let mut hasher = Sha256::new();
        for (key, value) in entries {
            hasher.update(key);
            hasher.update(value);
        }
        hasher.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_the_hashes_of_their_texts() {
        for (text, hash) in ALL {
            assert_eq!(hash_bytes(text.as_bytes()), *hash, "{text}");
        }
    }

    #[test]
    fn numbers_are_encoded_as_leb128() {
        for (nat, expected) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0x80, 1]),
            (624_485, &[0xe5, 0x8e, 0x26]),
        ] {
            let (bytes, length) = leb128(nat);
            assert_eq!(&bytes[..length], expected);
        }
        assert_eq!(leb128(u128::MAX).1, 19);
    }
}
