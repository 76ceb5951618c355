//! The real model against Hugging Face transformers: the same prompt ids, the same greedy tokens, the same logits.
//!
//! The fixture is made by `tools/parity/smollm2_greedy.py`. Without the model these tests pass with a printed remark,
//! unless `CI` or `EMC_REQUIRE_MODEL` is set: `cargo xtask setup` fetches it.

mod common;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock};

use emc_inference::{
    Activations, Answer, ChatMessage, Claim, Engine, EngineOptions, Event, FinishReason,
    LoadOptions, Model, Probe, SamplingParams,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    made_with: MadeWith,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct MadeWith {
    model_sha256: String,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    messages: Vec<ChatMessage>,
    rendered: String,
    prompt_ids: Vec<u32>,
    greedy_ids: Vec<u32>,
    text: String,
    first_top_logits: Vec<(u32, f32)>,
}

fn fixture() -> Fixture {
    let fixture: Fixture = common::fixture("smollm2_greedy.json");
    assert!(fixture.cases.len() >= 5, "the fixture has lost its cases");
    fixture
}

fn model_folder() -> Option<PathBuf> {
    common::model_folder("SmolLM2-135M-Instruct", "cargo xtask setup")
}

/// The model is loaded once, and used by one test at a time.
fn model() -> Option<MutexGuard<'static, Engine>> {
    static ENGINE: OnceLock<Option<Mutex<Engine>>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| {
        let model = Model::load(&model_folder()?, LoadOptions::default()).expect("the model loads");
        let options = EngineOptions {
            prompt_block: 128,
            ..EngineOptions::default()
        };
        Some(Mutex::new(
            Engine::new(model, options).expect("memory for its cache"),
        ))
    });
    engine.as_ref().map(|engine| {
        engine
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    })
}

fn greedy(max_tokens: u32) -> SamplingParams {
    SamplingParams {
        max_tokens,
        ..SamplingParams::default()
    }
}

/// The answer to a case must be the reference's, up to as many tokens as were asked for.
fn check(case: &Case, answer: &Answer, max_tokens: usize) {
    let wanted = &case.greedy_ids[..case.greedy_ids.len().min(max_tokens)];
    assert_eq!(answer.ids, wanted, "{}", case.name);
    assert!(
        case.text.starts_with(&answer.text),
        "{}: {}",
        case.name,
        answer.text
    );
    let whole = case.greedy_ids.len() < max_tokens;
    assert_eq!(
        answer.reason,
        if whole {
            FinishReason::Stop
        } else {
            FinishReason::Length
        },
        "{}",
        case.name
    );
    assert_eq!(answer.usage.prompt_tokens as usize, case.prompt_ids.len());
    assert_eq!(answer.usage.output_tokens as usize, wanted.len());
}

#[test]
fn the_fixture_was_made_with_the_model_that_is_here() {
    let Some(engine) = model() else { return };
    let info = engine.model().info();
    assert_eq!(
        hex::encode(info.root.files[0].sha256),
        fixture().made_with.model_sha256
    );
    assert_eq!(
        (info.quantisation.as_str(), info.context, info.vocabulary),
        ("Q4_1", 8192, 49152)
    );
    assert_eq!(info.parameters, 134_515_008);
}

#[test]
fn chats_are_rendered_and_encoded_as_the_reference_does() {
    let Some(engine) = model() else { return };
    for case in fixture().cases {
        let text = engine.model().render_chat(&case.messages).expect("renders");
        assert_eq!(text, case.rendered, "{}", case.name);
        assert_eq!(
            engine.model().encode(&text).expect("encodes"),
            case.prompt_ids,
            "{}",
            case.name
        );
    }
}

#[test]
fn greedy_answers_are_the_reference_s_token_for_token() {
    let Some(engine) = model() else { return };
    for case in fixture().cases {
        let mut text = String::new();
        let answer = engine
            .model()
            .generate(case.prompt_ids.clone(), greedy(128), |_, piece| {
                text.push_str(piece)
            });
        let answer = answer.expect("generates");
        check(&case, &answer, 128);
        assert_eq!(
            (&answer.text, &text),
            (&case.text, &case.text),
            "{}",
            case.name
        );
    }
}

#[test]
fn answers_made_side_by_side_with_prompts_in_blocks_are_the_same() {
    let Some(mut engine) = model() else { return };
    let cases = fixture().cases;
    let starts = cases.iter().map(|case| {
        engine
            .start(case.prompt_ids.clone(), greedy(24))
            .expect("starts")
    });
    let started: Vec<_> = starts.collect();
    let mut finished = 0;
    while engine.in_flight() > 0 {
        for event in engine.step() {
            match event {
                Event::Finished { sequence, answer } => {
                    let index = started
                        .iter()
                        .position(|&id| id == sequence)
                        .expect("one of ours");
                    check(&cases[index], &answer, 24);
                    finished += 1;
                }
                Event::Failed { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
    }
    assert_eq!(finished, cases.len());
}

#[test]
fn the_first_logits_are_the_reference_s() {
    let Some(folder) = model_folder() else {
        return;
    };
    let options = LoadOptions {
        activations: Activations::Exact,
        ..LoadOptions::default()
    };
    let exact = Model::load(&folder, options).expect("the model loads");
    let engine = model().expect("the model is there");
    for case in fixture().cases {
        let logits = exact.logits(&case.prompt_ids).expect("computes");
        let usual = engine.model().logits(&case.prompt_ids).expect("computes");
        let apart = logits.iter().zip(&usual).map(|(a, b)| (a - b).abs());
        let largest = apart.fold(0f32, f32::max);
        assert!(
            largest < 0.02,
            "{}: {largest} by 16-bit activations",
            case.name
        );
        for &(id, wanted) in &case.first_top_logits {
            let seen = logits[id as usize];
            // Both sides are f32; they sum in different orders.
            assert!(
                (seen - wanted).abs() < 2e-3,
                "{}: token {id}: {seen} where {wanted} is wanted",
                case.name
            );
        }
    }
}

#[test]
fn a_sampled_answer_repeats_with_its_seed_and_changes_with_another() {
    let Some(engine) = model() else { return };
    let case = &fixture().cases[0];
    let sampled = |seed| {
        let params = SamplingParams {
            temperature: 0.8,
            top_p: 0.95,
            seed,
            max_tokens: 12,
            ..SamplingParams::default()
        };
        engine
            .model()
            .generate(case.prompt_ids.clone(), params, |_, _| {})
            .expect("generates")
            .ids
    };
    let first = sampled(1);
    assert_eq!(first, sampled(1));
    assert_ne!(first, sampled(2));
}

#[test]
fn the_reference_s_answers_are_found_right_and_altered_ones_are_not() {
    let Some(engine) = model() else { return };
    let model = engine.model();
    for case in fixture().cases {
        let ends = model
            .text()
            .stop_tokens()
            .contains(&case.greedy_ids[case.greedy_ids.len() - 1]);
        let params = greedy(case.greedy_ids.len() as u32);
        let claim = Claim {
            prompt: &case.prompt_ids,
            ids: &case.greedy_ids,
            reason: if ends {
                FinishReason::Stop
            } else {
                FinishReason::Length
            },
            text: &case.text,
            params: &params,
            context: model.info().context,
        };
        let probes = [Probe {
            position: 0,
            decoy: 5,
        }];
        let found = model.verify(&claim, &probes, &[5]).expect("verifies");
        assert!(found.ends_right && found.text_right, "{}", case.name);
        assert_eq!(found.prompt_tokens as usize, case.prompt_ids.len());
        // Both sides are f32; they sum in different orders.
        assert_eq!(found.above, [0], "{}: {found:?}", case.name);

        let mut ids = case.greedy_ids.clone();
        let middle = ids.len() / 2;
        ids[middle] = (ids[middle] + 1000) % 49152;
        let altered = Claim { ids: &ids, ..claim };
        let found = model.verify(&altered, &[], &[2000]).expect("verifies");
        assert!(
            found.above[0] > 0 && !found.text_right,
            "{}: {found:?}",
            case.name
        );
    }
}
