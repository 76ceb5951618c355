//! The layout of stable memory, pinned: what one version wrote, every later one must read.
//!
//! When the hash differs, either the change of layout was not meant, or it takes the next number in `state::LAYOUT`, a
//! migration in `Ledger::open`, and a test that opens memory of the layout before.

use crate::world::*;
use emc_ledger::state::LAYOUT;
use ic_stable_structures::Memory;
use icrc_ledger_types::{
    icrc1::transfer::{Memo, TransferArg},
    icrc2::approve::ApproveArgs,
};
use sha2::{Digest, Sha256};

#[test]
fn the_same_calls_write_the_same_memory() {
    let mut world = World::new();
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
        ..allow(BOB, 200u8)
    };
    world.approve(ALICE, approval).expect("Alice has enough");
    world
        .transfer_from(BOB, spend(ALICE, CAROL, 5u8))
        .expect("Bob may");

    let mut bytes = vec![0; world.memory.size() as usize * 65_536];
    world.memory.read(0, &mut bytes);
    let hash: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let pinned = (
        1,
        "f4721cec2d951bdc898c2a40b7cbf0269ccc4d55a40ba6dae91ed21ffdbff0c2",
    );
    assert_eq!((LAYOUT, hash.as_str()), pinned);
}
