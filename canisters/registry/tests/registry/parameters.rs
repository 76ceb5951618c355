//! The governor's parameters: public for the delay, then in effect, and logged for ever.

use crate::world::*;
use emc_protocol::node::RegistryUpgrade;
use emc_protocol::parameters::{ParameterChange, RegistryParameters};
use emc_protocol::{Seconds, Tokens};
use emc_registry::config::{
    Config, DELAY as DEFAULT_DELAY, JAIL as DEFAULT_JAIL, SILENCE as DEFAULT_SILENCE,
};
use emc_registry::parameters::{cancel, set, settle};
use emc_registry::state::State;
use emc_registry::{lifecycle, listing, parameter_log};

fn least(e8s: u128) -> RegistryParameters {
    RegistryParameters {
        minimum_stake: Some(Tokens(e8s)),
        ..RegistryParameters::default()
    }
}

fn log(state: &State) -> Vec<ParameterChange> {
    let events = parameter_log::page(state, 0, 100).events.into_iter();
    events
        .map(|event| event.what.expect("all are known"))
        .collect()
}

const EFFECTIVE: u64 = START + DELAY * SECOND;

#[test]
fn a_change_is_public_for_the_delay_and_then_holds() {
    let (mut state, _) = registry();
    set(&mut state, START, governor(), &least(7)).expect("the governor");
    settle(&mut state, EFFECTIVE - 1);
    let info = listing::info(&state);
    assert_eq!(info.minimum_stake, Tokens(100));
    let pending = info.pending.expect("it is public");
    assert_eq!((pending.change, pending.effective.0), (least(7), EFFECTIVE));
    settle(&mut state, EFFECTIVE);
    let info = listing::info(&state);
    assert_eq!((info.minimum_stake, info.pending), (Tokens(7), None));
    let parameters = info.parameters.expect("shown");
    assert_eq!(parameters.minimum_stake, Some(Tokens(7)));
    assert_eq!(parameters.unbonding, Some(Seconds(UNBONDING)));
    assert!(
        state.totals.get().announce_after.is_some(),
        "every node is announced anew"
    );
    settle(&mut state, EFFECTIVE + 1);
    let announced = ParameterChange::Announced {
        change: least(7),
        effective: emc_protocol::Timestamp(EFFECTIVE),
    };
    let applied = ParameterChange::Applied { change: least(7) };
    assert_eq!(log(&state), [announced, applied]);
}

#[test]
fn a_cancelled_change_never_holds() {
    let (mut state, _) = registry();
    assert_eq!(code(cancel(&mut state, START, governor())), "wrong_state");
    set(&mut state, START, governor(), &least(7)).expect("the governor");
    cancel(&mut state, START + 1, governor()).expect("it was pending");
    settle(&mut state, EFFECTIVE);
    assert_eq!(listing::info(&state).minimum_stake, Tokens(100));
    assert_eq!(
        log(&state)[1],
        ParameterChange::Cancelled { change: least(7) }
    );
}

#[test]
fn a_new_announcement_replaces_the_old_one_and_its_delay_begins_anew() {
    let (mut state, _) = registry();
    set(&mut state, START, governor(), &least(7)).expect("the governor");
    set(&mut state, START + 5, governor(), &least(7)).expect("the same again");
    assert_eq!(log(&state).len(), 1, "which changes nothing");
    set(&mut state, START + 5, governor(), &least(8)).expect("another one");
    settle(&mut state, EFFECTIVE);
    assert_eq!(listing::info(&state).minimum_stake, Tokens(100));
    settle(&mut state, EFFECTIVE + 5);
    assert_eq!(listing::info(&state).minimum_stake, Tokens(8));
}

#[test]
fn the_delay_is_a_parameter_that_obeys_itself() {
    let (mut state, _) = registry();
    let none = RegistryParameters {
        delay: Some(Seconds(0)),
        ..RegistryParameters::default()
    };
    set(&mut state, START, governor(), &none).expect("the governor");
    settle(&mut state, EFFECTIVE);
    set(&mut state, EFFECTIVE, governor(), &least(7)).expect("the governor");
    assert_eq!(listing::info(&state).minimum_stake, Tokens(7), "at once");
}

#[test]
fn only_the_governor_sets_them_and_only_within_bounds() {
    let (mut state, _) = registry();
    assert_eq!(
        code(set(&mut state, START, owner(1), &least(7))),
        "forbidden"
    );
    assert_eq!(code(cancel(&mut state, START, owner(1))), "forbidden");
    let nothing = RegistryParameters::default();
    assert_eq!(
        code(set(&mut state, START, governor(), &nothing)),
        "invalid"
    );
    let year = |extra: u64| RegistryParameters {
        jail: Some(Seconds(365 * 24 * 3600 + extra)),
        ..RegistryParameters::default()
    };
    assert_eq!(
        code(set(&mut state, START, governor(), &year(1))),
        "invalid"
    );
    let supply = 100_000_000_000_000_000;
    assert_eq!(
        code(set(&mut state, START, governor(), &least(supply + 1))),
        "invalid"
    );
    assert!(log(&state).is_empty());
    set(&mut state, START, governor(), &year(0)).expect("a year is the most");
}

#[test]
fn an_upgrade_changes_them_at_once_and_is_logged() {
    let (mut state, _) = registry();
    let upgrade = RegistryUpgrade {
        silence: Some(Seconds(9)),
        governor: Some(owner(5)),
        ..RegistryUpgrade::default()
    };
    lifecycle::change_settings(&mut state, START, me(), upgrade).expect("good values");
    let info = listing::info(&state);
    let parameters = info.parameters.expect("shown");
    assert_eq!(
        (info.governor, parameters.silence),
        (owner(5), Some(Seconds(9)))
    );
    let page = parameter_log::page(&state, 0, 10);
    assert_eq!((page.length, page.events[0].by), (1, me()));
    assert!(matches!(
        &page.events[0].what,
        Some(ParameterChange::Upgraded { .. })
    ));
    lifecycle::change_settings(&mut state, START, me(), RegistryUpgrade::default())
        .expect("nothing to do");
    assert_eq!(parameter_log::page(&state, 0, 10).length, 1);
}

#[test]
fn the_log_is_read_page_by_page_and_survives_an_upgrade() {
    let (mut state, memory) = registry();
    for n in 0..5 {
        set(&mut state, START, governor(), &least(n)).expect("the governor");
    }
    drop(state);
    let state = State::load(memory).expect("it is a registry's memory");
    let numbers = |start, limit| {
        let page = parameter_log::page(&state, start, limit);
        assert_eq!(page.length, 5);
        page.events.iter().map(|e| e.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(0, 2), [0, 1]);
    assert_eq!(numbers(2, 200), [2, 3, 4]);
    assert!(numbers(5, 200).is_empty());
    assert!(listing::info(&state).pending.is_some());
}

#[test]
fn settings_of_before_get_the_defaults() {
    #[derive(minicbor::Encode)]
    struct Before {
        #[n(0)]
        layout: u32,
        #[cbor(n(1), with = "minicbor::bytes")]
        ledger: Vec<u8>,
        #[cbor(n(2), with = "minicbor::bytes")]
        governor: Vec<u8>,
        #[cbor(n(3), with = "minicbor::bytes")]
        minimum_stake: Vec<u8>,
        #[n(4)]
        unbonding: u64,
        #[n(5)]
        installed: u64,
    }
    let before = Before {
        layout: 1,
        ledger: me().as_slice().to_vec(),
        governor: governor().as_slice().to_vec(),
        minimum_stake: vec![100],
        unbonding: 60,
        installed: START,
    };
    let bytes = minicbor::to_vec(&before).expect("it is written to memory");
    let config: Config = minicbor::decode(&bytes).expect("it is still read");
    assert_eq!((config.minimum_stake, config.unbonding), (100, 60));
    assert_eq!(
        (config.jail(), config.silence(), config.delay()),
        (DEFAULT_JAIL, DEFAULT_SILENCE, DEFAULT_DELAY)
    );
    assert_eq!(config.pending(), None);
}
