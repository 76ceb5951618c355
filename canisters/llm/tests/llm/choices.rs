//! Which model answers, and what a request locks.

use emc_llm::choice::{choose, max_price, unknown};
use emc_llm::refusal::Refusal;
use emc_protocol::escrow::Quote;
use emc_protocol::llm::LlmModel;
use emc_protocol::{ModelRef, Tokens};
use proptest::prelude::*;

fn table() -> Vec<LlmModel> {
    vec![LlmModel {
        name: "llama3.1:8b".into(),
        model: ModelRef {
            id: "llama-3.1-8b-instruct".into(),
            version: Some(2),
        },
        max_price: Some(Tokens(500)),
    }]
}

fn quote(least: Option<u128>, dearest: Option<u128>) -> Quote {
    Quote {
        model: ModelRef {
            id: "test/paper".into(),
            version: Some(1),
        },
        nodes: 1,
        owners: 1,
        cheapest: None,
        dearest: None,
        prompt_tokens: 10,
        lowest_max_price: least.map(Tokens),
        highest_max_price: dearest.map(Tokens),
        waiting: 0,
        check: None,
        begins_in: None,
        takes: None,
        pixel_steps: None,
    }
}

#[test]
fn a_name_of_the_table_stands_for_its_model() {
    let choice = choose(&table(), "llama3.1:8b").unwrap();
    assert_eq!(choice.model, table()[0].model);
    assert_eq!(choice.max_price, Some(Tokens(500)));
}

#[test]
fn another_name_is_taken_for_an_id_of_the_catalogue() {
    let choice = choose(&table(), "test/paper").unwrap();
    assert_eq!(choice.model.id, "test/paper");
    assert_eq!((choice.model.version, choice.max_price), (None, None));
}

#[test]
fn a_name_that_nothing_can_have_is_refused_with_those_there_are() {
    for name in ["", "qwen3:32b", "GPT", &"a".repeat(97)] {
        let refusal = choose(&table(), name).unwrap_err();
        assert_eq!(refusal, unknown(&table(), name));
        assert!(refusal.to_string().contains("\"llama3.1:8b\""), "{refusal}");
    }
    let long = "x".repeat(1_000_000);
    assert!(unknown(&table(), &long).to_string().len() < 1_000);
}

#[test]
fn without_a_node_the_refusal_says_so() {
    let refusal = max_price(&quote(None, None), None).unwrap_err();
    assert!(matches!(&refusal, Refusal::Unserved { model } if model == "test/paper"));
}

#[test]
fn a_request_locks_room_for_nodes_up_to_twice_as_dear_as_the_cheapest() {
    assert_eq!(
        max_price(&quote(Some(100), Some(900)), None),
        Ok(Tokens(200))
    );
    assert_eq!(
        max_price(&quote(Some(100), Some(120)), None),
        Ok(Tokens(120))
    );
    assert_eq!(max_price(&quote(Some(100), None), None), Ok(Tokens(100)));
    let set = Some(Tokens(150));
    assert_eq!(
        max_price(&quote(Some(100), Some(900)), set),
        Ok(Tokens(150))
    );
    let refusal = max_price(&quote(Some(151), Some(900)), set).unwrap_err();
    assert!(matches!(refusal, Refusal::TooDear { .. }));
}

proptest! {
    #[test]
    fn what_is_locked_covers_the_cheapest_and_never_passes_what_is_set(
        least in 1u128.., more in 0u128.., set in proptest::option::of(1u128..),
    ) {
        let quote = quote(Some(least), Some(least.saturating_add(more)));
        match max_price(&quote, set.map(Tokens)) {
            Ok(Tokens(locked)) => {
                prop_assert!(locked >= least && locked <= least.saturating_mul(2));
                prop_assert!(set.is_none_or(|most| locked <= most));
            }
            Err(_) => prop_assert!(set.is_some_and(|most| most < least)),
        }
    }
}
