//! ICRC-103: allowances are listed page by page.

use crate::world::*;
use candid::Nat;
use emc_ledger::{
    allowance_list::{MAX_TAKE, page},
    config::InitArgs,
    tokens::Tokens,
};
use icrc_ledger_types::{
    icrc1::account::Account,
    icrc2::approve::ApproveArgs,
    icrc103::get_allowances::{Allowance, GetAllowancesArgs},
};
use proptest::prelude::*;

fn list(world: &World, caller: Caller, args: GetAllowancesArgs) -> Vec<Allowance> {
    page(&world.ledger, caller.principal(), &args, world.now).expect("few are over")
}

fn all(from: impl Into<Account>) -> GetAllowancesArgs {
    GetAllowancesArgs {
        from_account: Some(from.into()),
        prev_spender: None,
        take: None,
    }
}

fn rich() -> World {
    World::with(InitArgs {
        initial_balances: vec![
            (ALICE.account(), Tokens(1_000_000)),
            (BOB.account(), Tokens(1_000_000)),
        ],
        transfer_fee: None,
        ..settings()
    })
}

/// An approval from a subaccount of the caller.
fn from_subaccount(number: u8, spender: Account, amount: u64, end: Option<u64>) -> ApproveArgs {
    ApproveArgs {
        from_subaccount: Some([number; 32]),
        expires_at: end,
        ..allow(spender, amount)
    }
}

/// The standard's example: A1 to A3 are of one owner, A4 and A5 of another.
fn example() -> World {
    let mut world = rich();
    for (owner, subaccount, spender, amount) in [
        (ALICE, 0, CAROL.subaccount(1), 1),
        (ALICE, 0, CAROL.subaccount(2), 2),
        (ALICE, 1, CAROL.subaccount(3), 3),
        (BOB, 1, CAROL.subaccount(4), 4),
        (BOB, 2, CAROL.subaccount(5), 5),
    ] {
        let args = from_subaccount(subaccount, spender, amount, None);
        world.approve(owner, args).expect("there is no fee");
    }
    world
}

fn amounts(list: &[Allowance]) -> Vec<u64> {
    let amount = |one: &Allowance| u64::try_from(&one.allowance.0).expect("it is small");
    list.iter().map(amount).collect()
}

#[test]
fn the_standards_example() {
    let world = example();
    let ask = |args| amounts(&list(&world, ALICE, args));
    let take = |take: u8, args: GetAllowancesArgs| GetAllowancesArgs {
        take: Some(take.into()),
        ..args
    };
    let after = |spender, args: GetAllowancesArgs| GetAllowancesArgs {
        prev_spender: Some(spender),
        ..args
    };
    assert_eq!(ask(take(4, all(ALICE))), [1, 2, 3]);
    let first = CAROL.subaccount(1);
    assert_eq!(ask(take(3, after(first, all(ALICE)))), [2, 3]);
    let between = Account {
        subaccount: Some([[1; 16], [9; 16]].concat().try_into().expect("32 bytes")),
        ..CAROL.account()
    };
    assert_eq!(ask(take(2, after(between, all(ALICE)))), [2, 3]);
    // Allowances are public here.
    assert_eq!(ask(take(9, all(BOB))), [4, 5]);
    assert!(ask(take(0, all(BOB))).is_empty());
    assert_eq!(ask(all(BOB.subaccount(2))), [5]);
    let own = GetAllowancesArgs {
        from_account: None,
        ..all(BOB)
    };
    assert_eq!(ask(own), [1, 2, 3]);
}

#[test]
fn what_is_over_is_not_listed() {
    let mut world = rich();
    for (number, end) in [(1, None), (2, Some(HOUR)), (3, Some(2 * HOUR))] {
        let end = end.map(|end| START + end);
        let args = from_subaccount(0, CAROL.subaccount(number), number.into(), end);
        world.approve(ALICE, args).expect("there is no fee");
    }
    let listed = |world: &World| amounts(&list(world, ALICE, all(ALICE)));
    assert_eq!(listed(&world), [1, 2, 3]);
    world.now = START + HOUR;
    assert_eq!(listed(&world), [1, 3]);
    let ends: Vec<_> = list(&world, ALICE, all(ALICE))
        .iter()
        .map(|one| one.expires_at)
        .collect();
    assert_eq!(ends, [None, Some(START + 2 * HOUR)]);
}

#[test]
fn a_page_has_at_most_what_the_metadata_says() {
    let mut world = rich();
    for n in 0..MAX_TAKE + 7 {
        let mut subaccount = [0; 32];
        subaccount[..8].copy_from_slice(&n.to_be_bytes());
        let spender = Account {
            owner: CAROL.principal(),
            subaccount: Some(subaccount),
        };
        world
            .approve(ALICE, allow(spender, n + 1))
            .expect("there is no fee");
    }
    let greedy = GetAllowancesArgs {
        take: Some(beyond_u128()),
        ..all(ALICE)
    };
    let page = list(&world, ALICE, greedy);
    assert_eq!(page.len() as u64, MAX_TAKE);
    let last = page.last().expect("it is full");
    let rest = GetAllowancesArgs {
        from_account: Some(last.from_account),
        prev_spender: Some(last.to_spender),
        take: Some(Nat::from(MAX_TAKE)),
    };
    assert_eq!(list(&world, ALICE, rest).len(), 7);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pages_of_any_size_give_every_living_allowance_once(
        given in prop::collection::vec((0u8..3, 1u8..6, 0u8..4, 1u64..9, any::<bool>()), 0..40),
        take in 1u8..7,
    ) {
        let mut world = rich();
        let mut expected = std::collections::BTreeMap::new();
        for (from, spender, subaccount, amount, ends) in given {
            let spender = Caller(10 + spender).subaccount(subaccount);
            let end = ends.then_some(START + HOUR);
            world.approve(ALICE, from_subaccount(from, spender, amount, end)).expect("there is no fee");
            let kept = if ends { None } else { Some(amount) };
            expected.insert((ALICE.subaccount(from), spender), kept);
        }
        world.now = START + HOUR;
        let mut found = vec![];
        let mut args = GetAllowancesArgs { take: Some(take.into()), ..all(ALICE) };
        loop {
            let page = list(&world, BOB, args.clone());
            let full = page.len() == usize::from(take);
            found.extend(page);
            let Some(last) = found.last().filter(|_| full) else { break };
            args.from_account = Some(last.from_account);
            args.prev_spender = Some(last.to_spender);
        }
        let found: Vec<_> =
            found.iter().map(|one| ((one.from_account, one.to_spender), one.allowance.clone())).collect();
        let expected: Vec<_> = expected
            .into_iter()
            .filter_map(|(pair, kept)| Some((pair, Nat::from(kept?))))
            .collect();
        prop_assert_eq!(found, expected);
    }
}
