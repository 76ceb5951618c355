//! Tests of verification: what the same model made has no gaps, whatever is altered has.

use proptest::prelude::*;

use super::*;
use crate::adjust::Adjustments;
use crate::model::tests::load;
use crate::sequence::Answer;
use crate::test_model;

fn model() -> Model {
    load(test_model::gguf()).expect("the test model loads")
}

fn params(seed: u64) -> SamplingParams {
    SamplingParams {
        temperature: 1.5,
        seed,
        max_tokens: 24,
        ..SamplingParams::default()
    }
}

fn each_kind() -> Vec<SamplingParams> {
    let sampled = params(5);
    vec![
        SamplingParams {
            temperature: 0.0,
            ..sampled.clone()
        },
        SamplingParams {
            top_k: 9,
            ..sampled.clone()
        },
        SamplingParams {
            top_p: 0.8,
            ..sampled.clone()
        },
        SamplingParams {
            min_p: 0.1,
            ..sampled.clone()
        },
        SamplingParams {
            top_k: 40,
            top_p: 0.9,
            min_p: 0.02,
            ..sampled.clone()
        },
        SamplingParams {
            adjustments: Adjustments {
                repetition_penalty: 1.3,
                frequency_penalty: 0.4,
                presence_penalty: -0.2,
                logit_bias: vec![(65, 2.5), (70, -100.0)],
            },
            stop_tokens: vec![200],
            ..sampled.clone()
        },
        sampled,
    ]
}

const PROMPT: [u32; 5] = [9, 3, 40, 7, 100];

fn answer(model: &Model, params: &SamplingParams) -> Answer {
    model
        .generate(PROMPT.to_vec(), params.clone(), |_, _| {})
        .expect("generates")
}

/// As the worker delivers it: with the text cut at a stop string.
fn claim<'a>(answer: &'a Answer, params: &'a SamplingParams) -> Claim<'a> {
    Claim {
        prompt: &PROMPT,
        ids: &answer.ids,
        reason: answer.reason,
        text: &answer.text,
        params,
        context: 64,
    }
}

/// An answer of all 24 tokens that `params` allow.
fn long_answer(model: &Model) -> (SamplingParams, Answer) {
    let all = (0..50).map(|seed| (params(seed), answer(model, &params(seed))));
    let mut all = all.filter(|(_, answer)| answer.ids.len() == 24);
    all.next().expect("one of fifty is long")
}

#[test]
fn an_honest_answer_has_no_gap_under_any_filter() {
    let model = model();
    for params in each_kind() {
        let answer = answer(&model, &params);
        let probes = [Probe {
            position: 0,
            decoy: 3,
        }];
        let stats = model
            .verify(&claim(&answer, &params), &probes, &[0, 100])
            .expect("verifies");
        let count = answer.ids.len() as u32;
        assert_eq!(
            (stats.positions, stats.matches, stats.prompt_tokens),
            (count, count, 5)
        );
        assert_eq!((stats.largest_gap_milli, stats.mean_gap_milli), (0, 0));
        assert_eq!(stats.above, [0, 0]);
        assert!(stats.ends_right && stats.text_right);
    }
}

#[test]
fn a_difference_is_that_of_the_two_logits() {
    let model = model();
    let (params, answer) = long_answer(&model);
    let probes: Vec<Probe> = [7u32, 0, 23, 7]
        .into_iter()
        .zip([u64::MAX, 258, 11, 259 * 5 + 4])
        .map(|(position, decoy)| Probe { position, decoy })
        .collect();
    let stats = model
        .verify(&claim(&answer, &params), &probes, &[])
        .expect("verifies");
    for (probe, difference) in probes.iter().zip(stats.differences) {
        let position = probe.position as usize;
        let before = [&PROMPT, &answer.ids[..position]].concat();
        let logits = model.logits(&before).expect("computes");
        let decoy = (probe.decoy % 259) as usize;
        let chosen = answer.ids[position] as usize;
        assert_ne!(decoy, chosen, "choose another decoy for this test");
        let wanted = f64::from(logits[chosen] - logits[decoy]) * 1000.0;
        assert!(
            (f64::from(difference) - wanted).abs() <= 1.0,
            "{difference} {wanted}"
        );
    }
}

#[test]
fn a_decoy_that_is_the_chosen_token_gives_way_to_the_next_and_the_last_to_the_first() {
    let logits = [1.0, 2.5, -4.0];
    assert_eq!(difference(&logits, 1, 1), 6500);
    assert_eq!(difference(&logits, 2, 2), -5000);
    assert_eq!(difference(&logits, 2, 2 + 3 * 1_000_000), -5000);
    // 2^64 - 1 is 0 modulo 3.
    assert_eq!(difference(&logits, 0, u64::MAX), -1500);
}

#[test]
fn differences_and_gaps_are_rounded_to_thousandths_and_stay_in_range() {
    assert_eq!(
        [0.0004, 0.0005, 1.2345, -0.0005, -2.0].map(thousandths),
        [0, 1, 1235, -1, -2000]
    );
    assert_eq!(thousandths(1e30), i64::from(u32::MAX));
    assert_eq!(difference(&[3e38, -3e38], 0, 1), i32::MAX);
    assert_eq!(difference(&[3e38, -3e38], 1, 0), i32::MIN);
}

#[test]
fn an_altered_token_shows_where_it_is() {
    let model = model();
    let (params, answer) = long_answer(&model);
    let mut ids = answer.ids.clone();
    ids[11] = if ids[11] == 77 { 78 } else { 77 };
    let text = model.decode(&ids);
    let altered = Claim {
        ids: &ids,
        text: &text,
        ..claim(&answer, &params)
    };
    let found = model.compare(&altered, &[], 512, 64).expect("compares");
    assert!(found.gaps[..11].iter().all(|&gap| gap == 0));
    assert!(found.gaps[11] > 0, "{:?}", found.gaps);
}

#[test]
fn another_seed_temperature_or_prompt_gives_large_gaps() {
    let model = model();
    let (params, answer) = long_answer(&model);
    let largest = |claim: Claim<'_>| {
        model
            .verify(&claim, &[], &[])
            .expect("verifies")
            .largest_gap_milli
    };
    let seed = SamplingParams {
        seed: 99,
        ..params.clone()
    };
    let cold = SamplingParams {
        temperature: 0.2,
        ..params.clone()
    };
    let greedy = SamplingParams {
        temperature: 0.0,
        ..params.clone()
    };
    for params in [&seed, &cold, &greedy] {
        assert!(largest(claim(&answer, params)) > 1000);
    }
    // The random weights of the test model heed the prompt little.
    let prompt = [200, 31, 77, 150, 4];
    let other = largest(Claim {
        prompt: &prompt,
        ..claim(&answer, &params)
    });
    assert!(other > 100, "{other}");
}

#[test]
fn what_no_honest_machine_can_have_chosen_has_the_largest_gap() {
    let model = model();
    let (params, answer) = long_answer(&model);
    let mut ids = answer.ids.clone();
    ids[20] = 259;
    let probes = [19, 20, 23].map(|position| Probe { position, decoy: 1 });
    let unknown = Claim {
        ids: &ids,
        ..claim(&answer, &params)
    };
    let stats = model
        .verify(&unknown, &probes, &[u32::MAX - 1])
        .expect("verifies");
    assert_eq!(
        (stats.matches, stats.above[0], stats.largest_gap_milli),
        (20, 4, u32::MAX)
    );
    assert_ne!(stats.differences[0], i32::MIN);
    assert_eq!(stats.differences[1..], [i32::MIN; 2]);

    let short = Claim {
        context: 5 + 22,
        ..claim(&answer, &params)
    };
    let stats = model
        .verify(&short, &[], &[u32::MAX - 1])
        .expect("verifies");
    assert_eq!(
        (stats.matches, stats.above[0], stats.ends_right),
        (22, 2, false)
    );
    let none = Claim {
        context: 3,
        ..claim(&answer, &params)
    };
    assert_eq!(
        model.verify(&none, &[], &[0]).expect("verifies").above,
        [24]
    );
    let empty = Claim {
        ids: &[],
        text: "",
        ..claim(&answer, &params)
    };
    let stats = model.verify(&empty, &[], &[0]).expect("verifies");
    assert_eq!(
        (stats.positions, stats.above[0], stats.ends_right),
        (0, 0, false)
    );
}

#[test]
fn an_answer_that_ends_otherwise_than_it_says_is_seen() {
    let model = model();
    let (params, answer) = long_answer(&model);
    let ends = |claim: Claim<'_>| {
        let stats = model.verify(&claim, &[], &[]).expect("verifies");
        (stats.ends_right, stats.text_right)
    };
    let right = claim(&answer, &params);
    assert_eq!(ends(right), (true, true));
    assert_eq!(
        ends(Claim {
            reason: FinishReason::Stop,
            ..right
        }),
        (false, true)
    );
    assert_eq!(
        ends(Claim {
            text: "something else",
            ..right
        }),
        (true, false)
    );
    let cut = model.decode(&answer.ids[..20]);
    assert_eq!(
        ends(Claim {
            ids: &answer.ids[..20],
            text: &cut,
            ..right
        }),
        (false, true)
    );
    let longer = SamplingParams {
        max_tokens: 25,
        ..params.clone()
    };
    assert_eq!(
        ends(Claim {
            params: &longer,
            ..right
        }),
        (false, true)
    );
    // The same answer is complete where the context ends with it.
    assert_eq!(
        ends(Claim {
            params: &longer,
            context: 29,
            ..right
        }),
        (true, true)
    );
}

#[test]
fn what_this_machine_cannot_check_is_an_error() {
    let model = model();
    let (params, answer) = long_answer(&model);
    let right = claim(&answer, &params);
    let beyond = [Probe {
        position: 24,
        decoy: 0,
    }];
    assert!(model.verify(&right, &beyond, &[]).is_err());
    assert!(
        model
            .verify(
                &Claim {
                    prompt: &[],
                    ..right
                },
                &[],
                &[]
            )
            .is_err()
    );
    assert!(
        model
            .verify(
                &Claim {
                    prompt: &[259],
                    ..right
                },
                &[],
                &[]
            )
            .is_err()
    );
    let hot = SamplingParams {
        temperature: 101.0,
        ..params.clone()
    };
    assert!(
        model
            .verify(
                &Claim {
                    params: &hot,
                    ..right
                },
                &[],
                &[]
            )
            .is_err()
    );
    let prompt = [1; 50];
    let long = Claim {
        prompt: &prompt,
        context: 100,
        ..right
    };
    assert!(model.verify(&long, &[], &[]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_the_model_made_has_no_gap_in_blocks_of_any_size(
        prompt in prop::collection::vec(1u32..259, 1..30),
        kind in 0usize..6,
        seed: u64,
        block in 1usize..70,
        rows in 1usize..70,
    ) {
        let model = model();
        let params = SamplingParams { seed, ..each_kind()[kind].clone() };
        let answer = model.generate(prompt.clone(), params.clone(), |_, _| {}).expect("generates");
        let last = answer.ids.len() as u32 - 1;
        let probes = [last, 0].map(|position| Probe { position, decoy: seed });
        let claim = Claim { prompt: &prompt, ..claim(&answer, &params) };
        let found = model.compare(&claim, &probes, block, rows).expect("compares");
        prop_assert!(found.gaps.iter().all(|&gap| gap == 0), "{:?}", found.gaps);
        let whole = model.verify(&claim, &probes, &[]).expect("verifies");
        prop_assert!(whole.ends_right && whole.text_right);
        for (a, b) in found.differences.iter().zip(&whole.differences) {
            prop_assert!((a - b).abs() <= 1);
        }
    }
}

#[test]
fn the_differences_are_those_of_the_specification() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../docs/spec/audit-vectors.json"))
            .expect("the vectors are JSON");
    let vectors = &vectors["differences"];
    let logits = vectors["logits"].as_array().expect("a list").iter();
    let logits: Vec<f32> = logits
        .map(|logit| logit.as_f64().expect("a number") as f32)
        .collect();
    let cases = vectors["cases"].as_array().expect("a list");
    assert!(cases.len() >= 6, "vectors were lost");
    for case in cases {
        let chosen = case["chosen"].as_u64().expect("an id") as u32;
        let decoy = case["decoy"].as_str().expect("a text");
        let decoy = decoy.parse().expect("a u64");
        let wanted = case["difference_milli"].as_i64().expect("an integer");
        assert_eq!(i64::from(difference(&logits, chosen, decoy)), wanted);
    }
}

#[test]
fn answers_made_without_the_adjustments_that_were_asked_for_have_gaps() {
    let model = model();
    let asked = SamplingParams {
        adjustments: Adjustments {
            repetition_penalty: 1.8,
            frequency_penalty: 1.0,
            ..Adjustments::default()
        },
        ..params(3)
    };
    let plain = answer(&model, &params(3));
    let adjusted = answer(&model, &asked);
    assert_ne!(plain.ids, adjusted.ids);
    let check = |answer: &Answer| {
        let claim = Claim {
            prompt: &PROMPT,
            ids: &answer.ids,
            reason: answer.reason,
            text: &answer.text,
            params: &asked,
            context: model.info().context,
        };
        model.verify(&claim, &[], &[100]).expect("checks")
    };
    assert!(check(&plain).largest_gap_milli > 500);
    assert_eq!(check(&adjusted).largest_gap_milli, 0);
}
