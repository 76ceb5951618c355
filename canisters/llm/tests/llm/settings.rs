//! Installation, upgrade and the governor's changes.

use candid::Principal;
use emc_llm::config::{ArgumentError, Config};
use emc_llm::state::State;
use emc_protocol::llm::{LlmArgs, LlmChange, LlmInit, LlmModel, LlmSettings, LlmUpgrade};
use emc_protocol::{ModelRef, Seconds, Tokens, error::code};
use ic_stable_structures::DefaultMemoryImpl;

fn person(number: u8) -> Principal {
    Principal::from_slice(&[number, 1])
}

fn model(name: &str) -> LlmModel {
    LlmModel {
        name: name.into(),
        model: ModelRef {
            id: "test/paper".into(),
            version: None,
        },
        max_price: None,
    }
}

fn init() -> LlmInit {
    LlmInit {
        escrow: Some(person(1)),
        governor: None,
        models: vec![model("llama3.1:8b")],
        settings: None,
    }
}

fn installed() -> Config {
    Config::install(LlmArgs::Init(init()), None, person(2)).unwrap()
}

#[test]
fn who_installs_governs_and_the_defaults_hold() {
    let config = installed();
    assert_eq!((config.escrow, config.governor), (person(1), person(2)));
    assert_eq!(config.settings(), LlmSettings::default());
    assert_eq!(config.models(), vec![model("llama3.1:8b")]);
}

#[test]
fn the_escrow_of_the_deployment_is_found_where_none_is_named() {
    let unnamed = || {
        LlmArgs::Init(LlmInit {
            escrow: None,
            ..init()
        })
    };
    let found = Config::install(unnamed(), Some(person(9)), person(2));
    assert_eq!(found.unwrap().escrow, person(9));
    assert_eq!(
        Config::install(unnamed(), None, person(2)),
        Err(ArgumentError::NoEscrow)
    );
}

#[test]
fn the_argument_for_the_other_occasion_is_refused() {
    let upgrade = LlmArgs::Upgrade(LlmUpgrade::default());
    assert_eq!(
        Config::install(upgrade, None, person(2)),
        Err(ArgumentError::NeedsInit)
    );
    assert_eq!(
        installed().upgrade(Some(LlmArgs::Init(init()))),
        Err(ArgumentError::NeedsUpgrade)
    );
}

#[test]
fn an_upgrade_keeps_what_it_does_not_name() {
    let memory = DefaultMemoryImpl::default();
    let priced = LlmModel {
        max_price: Some(Tokens(7)),
        ..model("qwen3:32b")
    };
    let change = LlmChange {
        models: Some(vec![priced.clone()]),
        settings: None,
    };
    let config = installed().configure(person(2), change).unwrap();
    drop(State::create(memory.clone(), config.clone()));
    let read = State::load(memory).map_err(|why| panic!("{why}")).unwrap();
    let kept = read.config.get().clone().upgrade(None).unwrap();
    assert_eq!(kept, config);
    assert_eq!(kept.models(), vec![priced]);
    let upgrade = LlmUpgrade {
        governor: Some(person(3)),
        ..LlmUpgrade::default()
    };
    let changed = kept.upgrade(Some(LlmArgs::Upgrade(upgrade))).unwrap();
    assert_eq!(changed.governor, person(3));
    assert_eq!(changed.models(), config.models());
}

#[test]
fn empty_memory_is_no_adapter() {
    let nothing = State::load(DefaultMemoryImpl::default()).map(|_| ());
    assert!(nothing.unwrap_err().contains("install"));
}

#[test]
fn nobody_but_the_governor_changes_anything() {
    let error = installed()
        .configure(person(1), LlmChange::default())
        .unwrap_err();
    assert_eq!(error.code, code::FORBIDDEN);
}

#[test]
fn values_out_of_their_bounds_are_refused_by_name() {
    let refused = |change: LlmChange| installed().configure(person(2), change).unwrap_err();
    let settings = |settings: LlmSettings| LlmChange {
        models: None,
        settings: Some(settings),
    };
    let defaults = LlmSettings::default;
    let wrong: [(&str, LlmSettings); 6] = [
        (
            "max_open",
            LlmSettings {
                max_open: 0,
                ..defaults()
            },
        ),
        (
            "max_open",
            LlmSettings {
                max_open: 401,
                ..defaults()
            },
        ),
        (
            "max_open_per_caller",
            LlmSettings {
                max_open_per_caller: 0,
                ..defaults()
            },
        ),
        (
            "max_wait",
            LlmSettings {
                max_wait: Seconds(9),
                ..defaults()
            },
        ),
        (
            "max_tokens",
            LlmSettings {
                max_tokens: 0,
                ..defaults()
            },
        ),
        (
            "temperature_milli",
            LlmSettings {
                temperature_milli: 5_001,
                ..defaults()
            },
        ),
    ];
    for (field, wrong) in wrong {
        let error = refused(settings(wrong));
        assert!(error.message.starts_with(field), "{error}");
    }
    let models = |models: Vec<LlmModel>| LlmChange {
        models: Some(models),
        settings: None,
    };
    let twice = refused(models(vec![model("a"), model("a")]));
    assert!(twice.message.contains("twice"), "{twice}");
    assert_eq!(refused(models(vec![model("")])).code, code::INVALID);
    let free = LlmModel {
        max_price: Some(Tokens(0)),
        ..model("a")
    };
    assert_eq!(refused(models(vec![free])).code, code::INVALID);
    let many = (0..257).map(|number| model(&number.to_string())).collect();
    assert_eq!(refused(models(many)).code, code::LIMIT);
}
