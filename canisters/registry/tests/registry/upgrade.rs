//! An upgrade keeps everything, and refuses what is not its own.

use crate::world::*;
use emc_registry::config::LAYOUT;
use emc_registry::listing;
use emc_registry::state::State;
use ic_stable_structures::DefaultMemoryImpl;

#[test]
fn everything_is_there_after_an_upgrade() {
    let (mut state, memory) = registry();
    publish(&mut state, 1, "m");
    join(&mut state, 1, 1, vec![offer(version("m", 1))]);
    staked(&mut state, 1, 1, 1, 500);
    let (info, node_before) = (listing::info(&state), listing::node(&state, node(1)));
    drop(state);
    let state = State::load(memory).expect("it is a registry's memory");
    assert_eq!(listing::info(&state), info);
    assert_eq!(listing::node(&state, node(1)), node_before);
}

#[test]
fn memory_without_a_registry_or_of_another_layout_is_refused() {
    let refusal = |memory| State::load(memory).err().expect("it must be refused");
    assert!(refusal(DefaultMemoryImpl::default()).contains("install it"));
    let (mut state, memory) = registry();
    let mut config = state.config.get().clone();
    config.layout = LAYOUT + 1;
    state.config.set(config);
    drop(state);
    assert!(refusal(memory).contains("layout"));
}
