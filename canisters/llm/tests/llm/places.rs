//! Places are bounded, and all come back.

use candid::Principal;
use emc_llm::places::{Place, Places};
use emc_llm::refusal::Refusal;
use emc_protocol::llm::LlmSettings;
use proptest::prelude::*;

fn caller(number: u8) -> Principal {
    Principal::from_slice(&[number, 1])
}

fn settings(max_open: u32, max_open_per_caller: u32) -> LlmSettings {
    LlmSettings {
        max_open,
        max_open_per_caller,
        ..LlmSettings::default()
    }
}

fn take_served(places: &mut Places, settings: &LlmSettings, who: u8) -> Place {
    let mut place = places.take(settings, caller(who)).unwrap();
    places.served(&mut place);
    place
}

#[test]
fn beyond_the_limit_there_is_no_place_until_one_comes_back() {
    let settings = settings(2, 2);
    let mut places = Places::default();
    let first = take_served(&mut places, &settings, 1);
    take_served(&mut places, &settings, 2);
    assert_eq!(
        places.take(&settings, caller(1)),
        Err(Refusal::Full { open: 2 })
    );
    places.give_back(&first);
    assert!(places.take(&settings, caller(1)).is_ok());
}

#[test]
fn one_caller_cannot_take_all_places() {
    let settings = settings(100, 2);
    let mut places = Places::default();
    take_served(&mut places, &settings, 1);
    take_served(&mut places, &settings, 1);
    assert_eq!(
        places.take(&settings, caller(1)),
        Err(Refusal::FullForCaller { open: 2 })
    );
    assert!(places.take(&settings, caller(2)).is_ok());
}

#[test]
fn strangers_cannot_keep_those_out_who_were_served() {
    let settings = settings(8, 8);
    let mut places = Places::default();
    let served = take_served(&mut places, &settings, 1);
    for stranger in [2, 3] {
        places.take(&settings, caller(stranger)).unwrap();
    }
    assert_eq!(
        places.take(&settings, caller(4)),
        Err(Refusal::FullForStrangers { open: 2 })
    );
    places.give_back(&served);
    assert!(places.take(&settings, caller(1)).is_ok());
}

proptest! {
    #[test]
    fn every_place_comes_back(
        steps in proptest::collection::vec((0u8..4, 0u8..3, any::<prop::sample::Index>()), 1..200),
    ) {
        let settings = settings(10, 4);
        let mut places = Places::default();
        let mut held: Vec<Place> = vec![];
        for (who, what, which) in steps {
            match what {
                0 => held.extend(places.take(&settings, caller(who))),
                1 if !held.is_empty() => {
                    let place = which.index(held.len());
                    places.served(&mut held[place]);
                }
                _ if !held.is_empty() => places.give_back(&held.remove(which.index(held.len()))),
                _ => {}
            }
            prop_assert_eq!(places.open() as usize, held.len());
            prop_assert!(held.len() <= 10);
            let most = (0..4).map(|who| held.iter().filter(|p| p.caller == caller(who)).count());
            prop_assert!(most.max().unwrap_or_default() <= 4);
        }
        for place in &held {
            places.give_back(place);
        }
        // Nothing is left behind: a new stranger gets a place, as in the beginning.
        prop_assert_eq!(places.open(), 0);
        for number in 0..3 {
            prop_assert!(places.take(&settings, caller(100 + number)).is_ok());
        }
    }
}
