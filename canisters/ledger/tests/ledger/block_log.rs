//! The block log as clients read and verify it: ranges, schema, hash chain, certified tip.

use crate::world::*;
use candid::Nat;
use emc_ledger::{blocks::get_blocks, certification};
use ic_certification::{HashTree, LookupResult};
use icrc_ledger_types::{
    icrc::generic_value::{ICRC3Value, Value},
    icrc1::transfer::{Memo, TransferArg},
    icrc2::approve::ApproveArgs,
    icrc3::{blocks::GetBlocksRequest, schema},
};

/// One block of every kind, with and without each optional field.
fn eventful() -> World {
    let mut world = World::new();
    world
        .transfer(ALICE, send(BOB, 1u8))
        .expect("Alice has enough");
    let full = TransferArg {
        from_subaccount: Some([0; 32]),
        fee: Some(10u8.into()),
        memo: Some(Memo::from(vec![1, 2, 3])),
        created_at_time: Some(START),
        ..send(BOB.subaccount(3), 20u8)
    };
    world.transfer(ALICE, full).expect("Alice has enough");
    world
        .transfer(ALICE, send(MINTER, 20u8))
        .expect("Alice has enough");
    let approval = ApproveArgs {
        expected_allowance: Some(0u8.into()),
        expires_at: Some(START + HOUR),
        fee: Some(10u8.into()),
        memo: Some(Memo::from(vec![])),
        ..allow(BOB, 200u8)
    };
    world.approve(ALICE, approval).expect("Alice has enough");
    world
        .transfer_from(BOB, spend(ALICE, CAROL, 5u8))
        .expect("Bob may");
    world
        .transfer_from(BOB, spend(ALICE, MINTER, 15u8))
        .expect("Bob may");
    world.now += 1;
    world
        .approve(BOB, allow(CAROL, 1u8))
        .expect("Bob pays the fee");
    world
}

fn field<'a>(value: &'a ICRC3Value, path: &[&str]) -> Option<&'a ICRC3Value> {
    path.iter().try_fold(value, |value, key| match value {
        ICRC3Value::Map(map) => map.get(*key),
        _ => None,
    })
}

#[test]
fn every_block_holds_the_hash_of_the_one_before() {
    let world = eventful();
    let blocks = world.blocks();
    assert_eq!(blocks.len(), 9);
    assert_eq!(field(&blocks[0], &["phash"]), None);
    for pair in blocks.windows(2) {
        let Some(ICRC3Value::Blob(parent)) = field(&pair[1], &["phash"]) else {
            panic!("no parent hash in {}", pair[1]);
        };
        assert_eq!(parent.as_slice(), pair[0].clone().hash());
    }
    let last = blocks.last().expect("there are blocks").clone().hash();
    assert_eq!(world.ledger.tip(), Some((8, last)));
}

#[test]
fn every_block_has_the_fields_of_its_standard_and_no_type_of_its_own() {
    for block in eventful().blocks() {
        schema::validate(&Value::from(block.clone())).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(field(&block, &["btype"]), None);
    }
}

#[test]
fn the_fee_stands_at_the_top_only_where_the_caller_did_not_name_it() {
    let blocks = eventful().blocks();
    let fee = |block: usize, path: &[&str]| field(&blocks[block], path).cloned();
    let ten = Some(ICRC3Value::Nat(10u8.into()));
    for (block, top, named) in [
        (0, &None, &None), // mint
        (2, &ten, &None),  // transfer
        (3, &None, &ten),  // transfer that names the fee
        (4, &None, &None), // burn
        (5, &None, &ten),  // approval that names the fee
        (6, &ten, &None),  // transfer by a spender
        (7, &None, &None), // burn by a spender
        (8, &ten, &None),  // approval
    ] {
        assert_eq!(&fee(block, &["fee"]), top, "block {block}");
        assert_eq!(&fee(block, &["tx", "fee"]), named, "block {block}");
    }
}

#[test]
fn a_block_keeps_accounts_memo_and_times_as_the_caller_gave_them() {
    let blocks = eventful().blocks();
    let parts = |block: usize, key| match field(&blocks[block], &["tx", key]) {
        Some(ICRC3Value::Array(parts)) => parts.len(),
        other => panic!("expected an account, got {other:?}"),
    };
    assert_eq!((parts(2, "from"), parts(2, "to")), (1, 1));
    assert_eq!((parts(3, "from"), parts(3, "to")), (2, 2));
    assert_eq!((parts(6, "from"), parts(6, "spender")), (1, 1));
    let memo = |block: usize| field(&blocks[block], &["tx", "memo"]);
    assert_eq!(memo(2), None);
    assert_eq!(memo(3), Some(&ICRC3Value::Blob(vec![1, 2, 3].into())));
    assert_eq!(memo(5), Some(&ICRC3Value::Blob(vec![].into())));
    assert_eq!(
        field(&blocks[3], &["tx", "ts"]),
        Some(&ICRC3Value::Nat(START.into()))
    );
    assert_eq!(field(&blocks[2], &["tx", "ts"]), None);
    assert_eq!(
        field(&blocks[8], &["ts"]),
        Some(&ICRC3Value::Nat((START + 1).into()))
    );
}

#[test]
fn ranges_are_answered_in_order_and_what_does_not_exist_is_left_out() {
    let world = eventful();
    let ask = |ranges: &[(u64, u64)]| {
        let ranges: Vec<_> = ranges
            .iter()
            .map(|(start, length)| GetBlocksRequest {
                start: Nat::from(*start),
                length: Nat::from(*length),
            })
            .collect();
        let answer = get_blocks(&world.ledger, &ranges);
        assert_eq!(answer.log_length, 9u8);
        assert!(answer.archived_blocks.is_empty());
        let ids = answer.blocks.into_iter().map(|block| block.id.to_string());
        ids.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ask(&[]), "");
    assert_eq!(ask(&[(0, 3)]), "0 1 2");
    assert_eq!(ask(&[(7, 100)]), "7 8");
    assert_eq!(ask(&[(9, 1), (u64::MAX, u64::MAX), (4, 0)]), "");
    assert_eq!(ask(&[(5, 2), (1, 1)]), "5 6 1");
    let beyond = GetBlocksRequest {
        start: beyond_u128(),
        length: beyond_u128(),
    };
    assert!(get_blocks(&world.ledger, &[beyond]).blocks.is_empty());
}

#[test]
fn one_answer_holds_at_most_a_thousand_blocks() {
    let mut world = World::new();
    for _ in 0..1_200 {
        world
            .transfer(MINTER, send(ALICE, 1u8))
            .expect("the cap is far");
    }
    let range = |start: u64, length: u64| GetBlocksRequest {
        start: start.into(),
        length: length.into(),
    };
    let answer = get_blocks(
        &world.ledger,
        &[range(0, 900), range(900, 900), range(0, 1)],
    );
    assert_eq!(answer.blocks.len(), 1_000);
    assert_eq!(answer.blocks[999].id, 999u16);
    assert_eq!(world.blocks().len(), 1_202);
}

#[test]
fn the_certified_tree_holds_index_and_hash_of_the_last_block() {
    let mut world = eventful();
    for _ in 0..200 {
        world
            .transfer(MINTER, send(ALICE, 1u8))
            .expect("the cap is far");
    }
    let (index, hash) = world.ledger.tip().expect("there are blocks");
    assert_eq!(index, 208);
    let bytes = certification::hash_tree(&world.ledger).expect("there are blocks");
    let tree: HashTree = serde_cbor::from_slice(&bytes).expect("it is a hash tree in CBOR");
    assert_eq!(Some(tree.digest()), certification::root_hash(&world.ledger));
    let leb128 = [0xd0, 0x01];
    for (label, expected) in [
        ("last_block_index", &leb128[..]),
        ("last_block_hash", &hash[..]),
    ] {
        let LookupResult::Found(value) = tree.lookup_path([label]) else {
            panic!("{label} is missing");
        };
        assert_eq!(value, expected);
    }
}

#[test]
fn an_empty_ledger_has_no_tip_to_certify() {
    let world = World::with(settings());
    assert_eq!(world.ledger.tip(), None);
    assert_eq!(certification::root_hash(&world.ledger), None);
    assert_eq!(certification::hash_tree(&world.ledger), None);
}
