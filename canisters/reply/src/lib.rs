//! Candid replies without the cost of describing their types in every message.
//!
//! A Candid message begins with a table of the types in it. `candid` makes that table anew for every message, which for
//! a reply of `Result<(), ApiError>` takes 280,000 instructions, as much as everything else that such a call does. The
//! table depends on the Rust type alone; so it is made once and kept in the heap until the next upgrade. (A query's heap
//! is thrown away with it: queries gain where an update has replied with the same type before.)
//!
//! ```text
//! #[update(encode_with = "emc_reply::encode", hidden = true)]
//! #[candid_method(update)]
//! fn commit_vote(args: CommitArgs) -> Result<(), ApiError> { .. }
//! ```
//!
//! `hidden` and the second attribute are there because `ic-cdk` describes a method with its own encoding as one that
//! returns a blob.

use candid::CandidType;
use candid::ser::{IDLBuilder, TypeSerialize, ValueSerializer};
use std::any::TypeId;
use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    /// By type: the bytes of a reply before its value.
    static TABLES: RefCell<BTreeMap<TypeId, Vec<u8>>> = const { RefCell::new(BTreeMap::new()) };
}

/// The reply of one value, byte for byte what `candid::encode_one` gives.
///
/// # Panics
/// If a type's own serialisation fails, as `ic-cdk` does; Candid's built-in and derived ones do not.
pub fn encode<T: CandidType + 'static>(value: T) -> Vec<u8> {
    let mut bytes = TABLES.with_borrow_mut(|tables| {
        tables
            .entry(TypeId::of::<T>())
            .or_insert_with(table::<T>)
            .clone()
    });
    let mut values = ValueSerializer::new();
    value
        .idl_serialize(&mut values)
        .expect("a reply's value can be written");
    bytes.extend_from_slice(values.get_result());
    bytes
}

fn table<T: CandidType>() -> Vec<u8> {
    // It forgets which types the thread has named before, which a table must start from.
    let _ = IDLBuilder::new();
    let mut types = TypeSerialize::new();
    types
        .push_type(&T::ty())
        .and_then(|()| types.serialize())
        .expect("a reply's type can be written");
    [b"DIDL", types.get_result()].concat()
}

#[cfg(test)]
mod tests {
    use super::encode;
    use candid::{CandidType, Nat, Principal};

    #[derive(CandidType, Clone, Debug)]
    struct Tree {
        name: String,
        children: Vec<Tree>,
        amount: Option<Nat>,
    }

    #[derive(CandidType, Clone, Debug)]
    enum Detail {
        Owner(Principal),
        Retry { after: u64 },
        Nothing,
    }

    fn same<T: CandidType + Clone + 'static>(value: T) {
        let wanted = candid::encode_one(value.clone()).unwrap();
        // The first time makes the table, the second one finds it.
        assert_eq!(encode(value.clone()), wanted);
        assert_eq!(encode(value), wanted);
    }

    #[test]
    fn replies_are_those_of_candid_whatever_was_encoded_before() {
        let tree = |n: u64| Tree {
            name: format!("tree {n}"),
            children: vec![Tree {
                name: String::new(),
                children: vec![],
                amount: None,
            }],
            amount: Some(Nat::from(n)),
        };
        for n in 0..3 {
            same(Ok::<(), Detail>(()));
            same(Err::<(), Detail>(Detail::Retry { after: n }));
            same(Err::<Tree, Detail>(Detail::Nothing));
            same(Ok::<Tree, Detail>(tree(n)));
            same(vec![tree(n), tree(n + 1)]);
            same(Detail::Owner(Principal::anonymous()));
            same(());
            same(n);
            same(Some("text".to_owned()));
        }
    }
}
