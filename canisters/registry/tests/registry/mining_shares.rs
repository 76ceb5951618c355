//! Mining's shares over random days: never more than the pool, the same however often the registry is upgraded, and no
//! more for whoever splits himself up.

use crate::ledger::{How, Ledger};
use crate::mining::*;
use crate::world::*;
use candid::Principal;
use emc_protocol::mining::POWER_MAX;
use emc_registry::mining::records::{MinedRecord, PowerRecord};
use emc_registry::mining::schedule::{self, FIRST};
use emc_registry::mining::{closing, earnings};
use emc_registry::state::State;
use ic_stable_structures::Memory;
use proptest::prelude::*;

/// What everybody has after a day with these lines; the registry is upgraded after each of these steps of the closing.
fn divided(lines: &[(u8, u128, u32, bool)], pool: u128, upgrades: &[usize]) -> (Vec<u128>, u128) {
    let (mut state, memory) = begun(0, FIRST);
    // More nodes than one step deals with; the same few owners.
    for n in 0..250u8 {
        join(&mut state, n, n % 7, vec![]);
    }
    for (n, power, votes, forfeited) in lines {
        let shown = PowerRecord {
            power: *power,
            votes: *votes,
            forfeited: *forfeited,
        };
        state.powers.insert((E, node(*n)), shown);
    }
    measured_by_nobody(&mut state);
    let look = closing::look(&state, OVER).expect("the day is due");
    closing::found(&mut state, OVER, look, pool);
    for step in 0.. {
        if upgrades.contains(&step) {
            drop(state);
            state = State::load(memory.clone()).expect("it is a registry's memory");
        }
        if state.mining.get().closing.is_none() {
            break;
        }
        closing::step(&mut state);
    }
    let day = crate::mining::newest(&state);
    assert!(day.available.0 <= pool);
    let given = day.to_miners.0 + day.to_validators.0;
    assert!(given <= day.available.0, "never more than there is");
    assert_eq!(given + day.rolled_over.0, day.scheduled.0);
    let all: Vec<u128> = (0..7).map(|n| earned(&state, n)).collect();
    assert_eq!(all.iter().sum::<u128>(), given);
    assert_eq!(state.totals.get().mined, given);
    assert_eq!(state.powers.len(), 0);
    (all, day.rolled_over.0)
}

/// No escrow is waited for.
fn measured_by_nobody(state: &mut State) {
    name(state, &[]);
}

fn line() -> impl Strategy<Value = (u8, u128, u32, bool)> {
    let powers = prop_oneof![
        4 => 0u128..1_000_000_000,
        1 => Just(POWER_MAX),
        1 => Just(0u128),
    ];
    (0u8..250, powers, 0u32..50, prop::bool::weighted(0.1))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_restart_in_mid_computation_changes_nothing(
        lines in prop::collection::vec(line(), 0..400),
        pool in prop_oneof![0..2 * FIRST, Just(POOL)],
        upgrades in prop::collection::vec(0usize..6, 0..6),
    ) {
        let undisturbed = divided(&lines, pool, &[]);
        prop_assert_eq!(divided(&lines, pool, &upgrades), undisturbed);
    }

    #[test]
    fn one_gpu_behind_ten_nodes_earns_what_one_node_earns(
        own in 0u128..1_000_000_000_000,
        cuts in prop::collection::vec(0u128..1_000_000_000_000, 9),
        others in 0u128..1_000_000_000_000,
    ) {
        // Nodes 0 to 9 are the one owner's, node 10 is everybody else.
        let day = |parts: &[u128]| {
            let (mut state, _) = begun(11, POOL);
            let mut lines: Vec<_> = parts.iter().zip(0..).map(|(part, n)| power(n, E, *part, 0)).collect();
            lines.push(power(10, E, others, 0));
            measured(&mut state, START, 1, lines, Some(E)).expect("the next report");
            close(&mut state, OVER, POOL);
            (0..10).map(|n| earned(&state, n)).sum::<u128>()
        };
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(own)).collect();
        cuts.extend([0, own]);
        cuts.sort_unstable();
        let parts: Vec<u128> = cuts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let (whole, split) = (day(&[own]), day(&parts));
        prop_assert!(split <= whole && split + 10 >= whole, "{} for {}", split, whole);
    }

    #[test]
    fn the_sums_never_pass_the_pool(
        pool in prop_oneof![FIRST..4 * FIRST, FIRST..FIRST + 1000],
        days in prop::collection::vec((prop::collection::vec((0u8..4, 1u128..1000, 0u32..3), 0..4), prop::option::of((0u8..4, 0u8..3))), 1..12),
    ) {
        let (mut state, _) = begun(4, pool);
        // `begun` has staked for four nodes.
        let mut ledger = Ledger::holding(400, pool);
        for ((lines, withdrawal), day) in days.into_iter().zip(0..) {
            let now = OVER + day * DAY;
            let lines = lines.into_iter().map(|(n, own, votes)| power(n, E + day, own, votes)).collect();
            measured(&mut state, now, 1, lines, Some(E + day)).expect("the next report");
            prop_assert!(close(&mut state, now, ledger.pool));
            if let Some((n, fee)) = withdrawal
                && let Ok(entry) = earnings::begin_withdrawal(&mut state, now, owner(n), None, fee.into())
            {
                ledger.work(&mut state, now, entry, How::Does);
            }
            let totals = state.totals.get();
            prop_assert_eq!(totals.mined, totals.earned + totals.drawing + totals.drawn);
            prop_assert!(totals.mined <= pool);
            prop_assert_eq!(ledger.pool + totals.drawn, pool);
            prop_assert!(ledger.pool >= totals.earned);
            let scheduled: u128 = (0..=day).map(schedule::of).sum();
            prop_assert_eq!(totals.mined + state.mining.get().rolled, scheduled);
        }
    }
}

#[test]
fn history_that_is_kept_for_ever_stays_small() {
    let (mut state, memory) = registry();
    let before = memory.size();
    const LINES: u64 = 40_000;
    for n in 0..LINES {
        let mut id = [7; 29];
        id[..8].copy_from_slice(&(n % 400).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        let shown = PowerRecord {
            power: 1_000_000_000_000 + u128::from(n),
            votes: 900,
            forfeited: false,
        };
        let reward = 12_345_678_901;
        let key = (Principal::from_slice(&id), E + n / 400);
        state.mined.insert(key, MinedRecord { shown, reward });
    }
    let bytes = (memory.size() - before) * 65_536 / LINES;
    println!("{bytes} bytes for a line");
    assert!(bytes < 200, "{bytes} bytes for a line");
}
