//! The table of types at the head of a Candid message, as far as the hot arguments need it: every entry must be one of
//! the types here, or there is no table.

use super::Input;

/// Candid's id of a field.
const fn id(name: &str) -> u32 {
    let name = name.as_bytes();
    let (mut hash, mut i) = (0u32, 0);
    while i < name.len() {
        hash = hash.wrapping_mul(223).wrapping_add(name[i] as u32);
        i += 1;
    }
    hash
}

/// A type that the hot arguments are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nat,
    Nat64,
    Principal,
    Blob,
    OptNat,
    OptNat64,
    OptBlob,
    Account,
    Transfer,
    Approve,
    TransferFrom,
    Range,
    Ranges,
}

type Fields = &'static [(u32, Kind)];

// In the order of the ids, which is that of the values.
const ACCOUNT: Fields = &[
    (id("owner"), Kind::Principal),
    (id("subaccount"), Kind::OptBlob),
];
const TRANSFER: Fields = &[
    (id("to"), Kind::Account),
    (id("fee"), Kind::OptNat),
    (id("memo"), Kind::OptBlob),
    (id("from_subaccount"), Kind::OptBlob),
    (id("created_at_time"), Kind::OptNat64),
    (id("amount"), Kind::Nat),
];
const APPROVE: Fields = &[
    (id("fee"), Kind::OptNat),
    (id("memo"), Kind::OptBlob),
    (id("from_subaccount"), Kind::OptBlob),
    (id("created_at_time"), Kind::OptNat64),
    (id("amount"), Kind::Nat),
    (id("expected_allowance"), Kind::OptNat),
    (id("expires_at"), Kind::OptNat64),
    (id("spender"), Kind::Account),
];
const TRANSFER_FROM: Fields = &[
    (id("to"), Kind::Account),
    (id("fee"), Kind::OptNat),
    (id("spender_subaccount"), Kind::OptBlob),
    (id("from"), Kind::Account),
    (id("memo"), Kind::OptBlob),
    (id("created_at_time"), Kind::OptNat64),
    (id("amount"), Kind::Nat),
];
const RANGE: Fields = &[(id("start"), Kind::Nat), (id("length"), Kind::Nat)];

const RECORDS: [(Kind, Fields); 5] = [
    (Kind::Account, ACCOUNT),
    (Kind::Transfer, TRANSFER),
    (Kind::Approve, APPROVE),
    (Kind::TransferFrom, TRANSFER_FROM),
    (Kind::Range, RANGE),
];

const _: () = {
    let mut record = 0;
    while record < RECORDS.len() {
        let fields = RECORDS[record].1;
        let mut n = 1;
        while n < fields.len() {
            assert!(
                fields[n - 1].0 < fields[n].0,
                "fields come in the order of their ids"
            );
            n += 1;
        }
        record += 1;
    }
};

/// The most types that a table can have here; the largest argument needs seven.
const MAX_TYPES: usize = 16;

/// A type as the table has it: one byte each, so that they stand for types behind them as well.
#[derive(Clone, Copy)]
pub(super) enum Entry<'a> {
    Opt(u8),
    Vec(u8),
    /// The fields are read again when all types are known.
    Record(Input<'a>),
}

impl<'a> Entry<'a> {
    pub(super) fn read(input: &mut Input<'a>) -> Option<Self> {
        match input.byte()? {
            OPT => input.byte().map(Self::Opt),
            VEC => input.byte().map(Self::Vec),
            RECORD => {
                let fields = *input;
                for _ in 0..input.byte()? {
                    input.leb128()?;
                    input.byte()?;
                }
                Some(Self::Record(fields))
            }
            _ => None,
        }
    }
}

/// The types of a message, each of them one that is known.
pub(super) struct Table {
    kinds: [Option<Kind>; MAX_TYPES],
}

impl Table {
    pub(super) fn read(input: &mut Input<'_>) -> Option<Self> {
        let count = usize::from(input.byte()?);
        if count > MAX_TYPES {
            return None;
        }
        let mut entries = [Entry::Opt(0); MAX_TYPES];
        for entry in &mut entries[..count] {
            *entry = Entry::read(input)?;
        }
        let entries = &entries[..count];
        let mut table = Self {
            kinds: [None; MAX_TYPES],
        };
        // What an entry is made of may come after it. Four rounds reach the deepest: blobs, options, accounts, arguments.
        for _ in 0..4 {
            for (n, entry) in entries.iter().enumerate() {
                if table.kinds[n].is_none() {
                    table.kinds[n] = table.known(*entry);
                }
            }
        }
        let all = table.kinds[..count].iter().all(Option::is_some);
        all.then_some(table)
    }

    /// The type that a byte of the table stands for.
    pub(super) fn kind(&self, byte: u8) -> Option<Kind> {
        match byte {
            NAT => Some(Kind::Nat),
            NAT64 => Some(Kind::Nat64),
            PRINCIPAL => Some(Kind::Principal),
            index => *self.kinds.get(usize::from(index))?,
        }
    }

    fn known(&self, entry: Entry<'_>) -> Option<Kind> {
        match entry {
            Entry::Vec(NAT8) => Some(Kind::Blob),
            Entry::Vec(of) => (self.kind(of)? == Kind::Range).then_some(Kind::Ranges),
            Entry::Opt(of) => match self.kind(of)? {
                Kind::Nat => Some(Kind::OptNat),
                Kind::Nat64 => Some(Kind::OptNat64),
                Kind::Blob => Some(Kind::OptBlob),
                _ => None,
            },
            Entry::Record(fields) => {
                let is = |wanted: Fields| self.has_fields(fields, wanted);
                let found = RECORDS.iter().find(|(_, wanted)| is(wanted) == Some(true));
                found.map(|(kind, _)| *kind)
            }
        }
    }

    fn has_fields(&self, mut fields: Input<'_>, wanted: Fields) -> Option<bool> {
        if usize::from(fields.byte()?) != wanted.len() {
            return Some(false);
        }
        for &(id, kind) in wanted {
            if fields.leb128()? != u128::from(id) || self.kind(fields.byte()?)? != kind {
                return Some(false);
            }
        }
        Some(true)
    }
}

// Signed LEB128, as Candid writes types: primitive and composed ones are negative.
const NAT: u8 = 0x7d;
const NAT8: u8 = 0x7b;
const NAT64: u8 = 0x78;
const PRINCIPAL: u8 = 0x68;
pub(super) const OPT: u8 = 0x6e;
pub(super) const VEC: u8 = 0x6d;
pub(super) const RECORD: u8 = 0x6c;
