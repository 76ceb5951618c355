//! The layout of stable memory: what the first landed version wrote, every later one must open and go on with.
//!
//! `layout_1.bin.gz` is the memory of a ledger that the first landed version made with [`the_past`]: how many pages of
//! 64 KiB it has, then every 4 KiB that are not zero, each after its number. Should a structure have to change, it takes
//! the next number in `state::LAYOUT` and a migration in `Ledger::open`; that file stays, and the tests here with it.

use crate::world::*;
use emc_ledger::{
    allowance::Allowance,
    config::{InitArgs, UpgradeArgs},
    rate_limit::RateLimit,
    state::{LAYOUT, Ledger},
    tokens::Tokens,
};
use flate2::read::GzDecoder;
use ic_stable_structures::{
    DefaultMemoryImpl, Memory,
    memory_manager::{MemoryId, MemoryManager},
};
use icrc_ledger_types::{
    icrc1::transfer::{Memo, TransferArg, TransferError},
    icrc2::approve::ApproveArgs,
};
use std::{fs, io::Read, path::Path};

const CHUNK: usize = 4_096;

/// A ledger's memory as the first landed version left it.
fn first_landed() -> DefaultMemoryImpl {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ledger/layout_1.bin.gz");
    let packed = fs::File::open(path).expect("the memory is there");
    let mut bytes = vec![];
    GzDecoder::new(packed)
        .read_to_end(&mut bytes)
        .expect("it is gzipped");
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let memory = DefaultMemoryImpl::default();
    memory.grow(number(&bytes[..4]).into());
    for chunk in bytes[4..].chunks(4 + CHUNK) {
        memory.write(u64::from(number(&chunk[..4])) * CHUNK as u64, &chunk[4..]);
    }
    memory
}

fn timed() -> TransferArg {
    TransferArg {
        from_subaccount: Some([0; 32]),
        fee: Some(10u8.into()),
        memo: Some(Memo::from(vec![1, 2, 3])),
        created_at_time: Some(START),
        ..send(BOB.subaccount(3), 20u8)
    }
}

/// Something of everything that a ledger keeps.
fn the_past() -> World {
    let mut world = World::with(InitArgs {
        initial_balances: vec![
            (ALICE.account(), Tokens(100_000)),
            (BOB.account(), Tokens(500)),
        ],
        logo: Some("data:image/svg+xml;base64,PHN2Zy8+".into()),
        max_memo_length: Some(80),
        rate_limit: Some(RateLimit {
            burst: 0,
            per_minute: 7,
        }),
        exempt_principals: Some(vec![CAROL.principal()]),
        ..settings()
    });
    world.transfer(ALICE, timed()).expect("Alice has enough");
    let burn = world.transfer(ALICE, send(MINTER, 20u8));
    burn.expect("Alice has enough");
    let approval = ApproveArgs {
        expected_allowance: Some(0u8.into()),
        expires_at: Some(START + HOUR),
        ..allow(BOB, 200u8)
    };
    world.approve(ALICE, approval).expect("Alice has enough");
    world
        .transfer_from(BOB, spend(ALICE, CAROL, 5u8))
        .expect("Bob may");
    world
        .approve(BOB, allow(CAROL, 7u8))
        .expect("Bob has enough");
    // Enough for trees of several nodes.
    for number in 1..=60 {
        world.now += SECOND;
        let arg = TransferArg {
            created_at_time: Some(world.now),
            ..send(CAROL.subaccount(number), 30u8)
        };
        world.transfer(ALICE, arg).expect("Alice has enough");
    }
    world
}

/// The content of the structure with this number.
fn structure(memory: &DefaultMemoryImpl, id: u8) -> Vec<u8> {
    let memory = MemoryManager::init(memory.clone()).get(MemoryId::new(id));
    let mut bytes = vec![0; memory.size() as usize * 65_536];
    memory.read(0, &mut bytes);
    bytes
}

/// The settings (1) describe themselves, so that optional ones can be added; everything else is the same to the byte.
#[test]
fn the_same_calls_write_the_same_memory_as_ever() {
    assert_eq!(LAYOUT, 1);
    let (first, now) = (first_landed(), the_past().memory);
    assert_eq!(first.size(), now.size());
    for id in [0, 2, 3, 4, 5, 6, 7] {
        let same = structure(&first, id) == structure(&now, id);
        assert!(same, "structure {id} is written differently");
    }
}

#[test]
fn what_the_first_landed_version_wrote_is_opened_and_gone_on_with() {
    let expected = the_past();
    let memory = first_landed();
    let mut world = World {
        ledger: Ledger::open(memory.clone()).expect("the layout is known"),
        memory,
        now: expected.now,
    };
    let (old, new) = (world.ledger.config(), expected.ledger.config());
    assert_eq!(old, new);
    assert_eq!(old.index_principal, None);
    assert_eq!(world.ledger.tip(), expected.ledger.tip());
    assert_eq!(world.blocks(), expected.blocks());
    assert_eq!(world.ledger.supply(), expected.ledger.supply());
    for caller in [ALICE, BOB, CAROL] {
        for account in (0..=60).map(|number| caller.subaccount(number)) {
            assert_eq!(world.balance(account), expected.balance(account));
        }
    }
    let allowed = Allowance {
        amount: Tokens(185),
        expires_at: Some(START + HOUR),
    };
    assert_eq!(world.allowance(ALICE.account(), BOB.account()), allowed);
    let again = world.transfer(ALICE, timed());
    let duplicate_of = 2u8.into();
    assert_eq!(again, Err(TransferError::Duplicate { duplicate_of }));

    let index = UpgradeArgs {
        index_principal: Some(BOB.principal()),
        ..UpgradeArgs::default()
    };
    world.ledger.reconfigure(index).expect("it is good");
    world
        .transfer(ALICE, send(BOB, 1u8))
        .expect("Alice has enough");
    world.upgrade();
    assert_eq!(world.ledger.config().index_principal, Some(BOB.principal()));
    assert_eq!(world.ledger.log_length(), expected.ledger.log_length() + 1);
    // Two minutes and a day later what was remembered and allowed goes away.
    world.now += 25 * HOUR;
    for _ in 0..70 {
        world
            .transfer(ALICE, send(BOB, 1u8))
            .expect("Alice has enough");
    }
    let metrics = emc_ledger::metrics::encode(&world.ledger, Default::default(), world.now);
    for gone in [
        "ledger_recent_transactions 0 ",
        "ledger_allowances_with_end 0 ",
    ] {
        assert!(metrics.contains(gone), "{metrics}");
    }
}
