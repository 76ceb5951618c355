//! Tests of the gap: edges against the filters themselves, and what honest machines can differ by.

use proptest::prelude::*;

use super::*;

const SAMPLED: Choice = Choice {
    temperature: 0.8,
    top_k: 0,
    top_p: 1.0,
    min_p: 0.0,
    seed: 42,
};

fn keeps(choice: &Choice, logits: &[f32], id: u32) -> bool {
    let highest = logits.iter().copied().fold(f32::MIN, f32::max);
    choice
        .filter(logits, highest)
        .ids(logits.len())
        .any(|kept| kept == id)
}

#[test]
fn a_greedy_gap_is_the_distance_to_the_highest_logit() {
    let gap = |id| {
        Choice::GREEDY
            .gap(&[1.0, 3.0, 3.0, -1.5], 0, id)
            .expect("finite")
    };
    let is = |is_match, gap| Gap { is_match, gap };
    assert_eq!(
        [0, 1, 2, 3].map(gap),
        [
            is(false, 2.0),
            is(true, 0.0),
            is(false, 0.0),
            is(false, 4.5)
        ]
    );
}

#[test]
fn bad_logits_and_unknown_tokens_are_errors() {
    assert!(SAMPLED.gap(&[0.0, f32::NAN], 0, 0).is_err());
    assert!(SAMPLED.gap(&[], 0, 0).is_err());
    assert!(Choice::GREEDY.gap(&[0.0, 1.0], 0, 2).is_err());
}

#[test]
fn without_filters_the_gap_is_the_distance_to_the_best_score() {
    let logits = [0.3, 1.0, -2.0, 0.9, 0.0];
    let score = |id: u32| {
        f64::from(logits[id as usize]) + SAMPLED.temperature * token_gumbel(SAMPLED.seed, 3, id)
    };
    let best = (0..5).map(score).fold(f64::MIN, f64::max);
    for id in 0..5 {
        let gap = SAMPLED.gap(&logits, 3, id).expect("finite").gap;
        assert!((gap - (best - score(id))).abs() < 1e-12);
    }
}

#[test]
fn a_token_outside_of_a_filter_is_as_far_off_as_the_edge_at_least() {
    let logits = [5.0, 4.0, 3.0, 1.0, 0.0];
    let gap = |choice: Choice, id| choice.gap(&logits, 0, id).expect("finite").gap;
    assert!(
        gap(
            Choice {
                top_k: 2,
                ..SAMPLED
            },
            3
        ) >= 3.0 - 1e-9
    );
    let min_p = Choice {
        min_p: 0.5,
        ..SAMPLED
    };
    assert!(gap(min_p, 3) >= 4.0 + 0.8 * 0.5f64.ln() - 1e-9);
    assert!(
        gap(
            Choice {
                top_k: 1,
                ..SAMPLED
            },
            1
        ) == 1.0
    );
}

#[test]
fn a_winner_that_is_itself_at_the_edge_weighs_no_more_than_its_depth() {
    // Tokens 1 and 2 lie on both sides of a top_k edge, a thousandth apart. Wherever token 1 wins by its noise, a
    // machine that drops it chooses token 0, and is not to blame.
    let choice = Choice {
        top_k: 2,
        temperature: 2.0,
        ..SAMPLED
    };
    let logits = [2.0, 1.0, 0.999];
    let mut seen = 0;
    for position in 0..50 {
        if choice.choose(&logits, position).expect("finite") == 1 {
            let gap = choice.gap(&logits, position, 0).expect("finite").gap;
            assert!(gap <= 0.0011, "{gap}");
            seen += 1;
        }
    }
    assert!(seen > 5);
}

fn choices() -> impl Strategy<Value = Choice> {
    let top_k = prop_oneof![Just(0u32), 1u32..50];
    let top_p = prop_oneof![Just(1.0), 0.05f64..1.0];
    let min_p = prop_oneof![Just(0.0), 0.001f64..0.9];
    (0.3f64..2.0, top_k, top_p, min_p, any::<u64>()).prop_map(
        |(temperature, top_k, top_p, min_p, seed)| Choice {
            temperature,
            top_k,
            top_p,
            min_p,
            seed,
        },
    )
}

proptest! {
    #[test]
    fn a_token_just_above_its_edge_is_kept_and_just_below_it_is_not(
        mut logits in prop::collection::vec(-8f32..8.0, 2..60),
        choice in choices(),
        which: prop::sample::Index,
    ) {
        let id = which.index(logits.len());
        let edge = Edges::new(&choice, &logits).edge(id as u32);
        for (offset, kept) in [(2e-3, true), (-2e-3, false)] {
            if edge > -30.0 {
                logits[id] = (edge + offset) as f32;
                prop_assert_eq!(keeps(&choice, &logits, id as u32), kept, "edge {}", edge);
            }
        }
        if edge <= -30.0 {
            prop_assert!(keeps(&choice, &logits, id as u32));
        }
    }

    #[test]
    fn the_rule_s_own_choice_has_no_gap_and_every_other_has_one_of_at_least_zero(
        logits in prop::collection::vec(-8f32..8.0, 1..200),
        choice in choices(),
        position in 0u32..9,
    ) {
        let chosen = choice.choose(&logits, position).expect("finite");
        for id in 0..logits.len() as u32 {
            let gap = choice.gap(&logits, position, id).expect("finite");
            prop_assert_eq!(gap.is_match, id == chosen);
            prop_assert!(gap.gap >= 0.0 && (id != chosen || gap.gap == 0.0));
        }
    }

    #[test]
    fn a_machine_whose_logits_are_off_by_little_sees_a_gap_of_twice_that_at_most(
        logits in prop::collection::vec((-8f32..8.0, -0.05f32..0.05), 2..200),
        mut choice in choices(),
        greedy: bool,
        position in 0u32..9,
    ) {
        // At an edge of top_p the sums of many weights move it, so that there is no such bound for it.
        choice.top_p = 1.0;
        if greedy {
            choice = Choice::GREEDY;
        }
        let theirs: Vec<f32> = logits.iter().map(|(logit, _)| *logit).collect();
        let ours: Vec<f32> = logits.iter().map(|(logit, error)| logit + error).collect();
        let chosen = choice.choose(&theirs, position).expect("finite");
        let gap = choice.gap(&ours, position, chosen).expect("finite").gap;
        prop_assert!(gap <= 0.1 + 1e-5, "{}", gap);
    }
}

#[test]
fn the_gaps_are_those_of_the_specification() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../docs/spec/audit-vectors.json"))
            .expect("the vectors are JSON");
    let vectors = vectors["gaps"].as_array().expect("there are gaps");
    assert!(vectors.len() >= 16, "vectors were lost");
    for vector in vectors {
        let number = |name: &str| vector["parameters"][name].as_f64().expect("a number");
        let seed = vector["parameters"]["seed"].as_str().expect("a text");
        let choice = Choice {
            temperature: number("temperature"),
            top_k: number("top_k") as u32,
            top_p: number("top_p"),
            min_p: number("min_p"),
            seed: seed.parse().expect("a u64"),
        };
        let numbers = |name: &str| {
            let list = vector[name].as_array().expect("a list").iter();
            list.map(|value| value.as_f64().expect("a number"))
                .collect::<Vec<f64>>()
        };
        let logits: Vec<f32> = numbers("logits")
            .into_iter()
            .map(|logit| logit as f32)
            .collect();
        let position = vector["position"].as_u64().expect("an integer") as u32;
        for (id, wanted) in numbers("gaps_milli").into_iter().enumerate() {
            let gap = choice
                .gap(&logits, position, id as u32)
                .expect("finite")
                .gap;
            let name = &vector["name"];
            assert_eq!((gap * 1000.0).round(), wanted, "{name}, token {id}");
        }
    }
}
