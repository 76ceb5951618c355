//! Every family against Hugging Face transformers, on tiny models with random weights
//! (`tools/parity/text/README.md` says how they are made): the same logits and the same tokens.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::attention::BY_LIBTORCH;
use super::*;
use crate::engine::{Engine, EngineOptions, Event};
use crate::model::{LoadOptions, Model};
use crate::safetensors_files::{read_json, tensors};
use crate::sequence::SamplingParams;

#[derive(serde::Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    /// The number format of its GGUF file; none where there is no such file.
    gguf: Option<String>,
}

/// What transformers computed for a model in one of its forms.
struct Expected {
    what: String,
    path: PathBuf,
    values: BTreeMap<String, Tensor>,
}

impl Expected {
    fn all() -> Vec<Self> {
        let models = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/text/models");
        let cases: Cases = read_json(&models.join("cases.json")).unwrap();
        let mut all = Vec::new();
        for case in cases.cases {
            let folder = models.join(&case.name);
            let values = || tensors(&folder.join("expected.safetensors"));
            all.push(Self {
                what: case.name.clone(),
                path: folder.clone(),
                values: values(),
            });
            if case.gguf.is_none() {
                continue;
            }
            let mut values = values();
            // The file may be unable to say all that the folder does.
            let own = folder.join("expected_gguf.safetensors");
            if own.is_file() {
                values.extend(tensors(&own));
            }
            all.push(Self {
                what: format!("{} in GGUF", case.name),
                path: folder.join("model.gguf"),
                values,
            });
        }
        assert!(all.len() >= 25, "{} models", all.len());
        all
    }

    fn tensor(&self, name: &str) -> &Tensor {
        let found = self.values.get(name);
        found.unwrap_or_else(|| panic!("{} has no {name}", self.what))
    }

    fn ids(&self, name: &str) -> Vec<u32> {
        let wide = Vec::<i64>::try_from(self.tensor(name)).unwrap();
        wide.into_iter().map(|id| id as u32).collect()
    }

    fn logits(&self, name: &str) -> Vec<f32> {
        Vec::try_from(self.tensor(name).reshape([-1])).unwrap()
    }

    fn model(&self) -> Model {
        let model = Model::load(&self.path, LoadOptions::default());
        model.unwrap_or_else(|error| panic!("{}: {error}", self.what))
    }
}

/// The logits of all positions, the ids computed in blocks.
fn logits(model: &Model, ids: &[u32], block: usize) -> Vec<f32> {
    let mut reading = model.reading(ids.len(), ids.len()).unwrap();
    let mut all = Vec::new();
    for block in ids.chunks(block) {
        let each = |_, row: &[f32]| {
            all.extend_from_slice(row);
            Ok(())
        };
        model.read_each(&mut reading, block, 0, 1000, each).unwrap();
    }
    all
}

fn assert_near(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let largest = apart.fold(0f32, f32::max);
    assert!(largest < 1e-4, "{what}: {largest} apart");
    let spread = expected
        .iter()
        .fold(0f32, |most, value| most.max(value.abs()));
    assert!(spread > 1.0, "{what}: logits of {spread} show nothing");
}

#[test]
fn logits_are_those_of_transformers() {
    check_logits();
}

#[test]
fn logits_are_those_of_transformers_where_libtorch_attends_to_prompts() {
    BY_LIBTORCH.set(true);
    check_logits();
}

fn check_logits() {
    for expected in Expected::all() {
        let (what, model) = (&expected.what, expected.model());
        let prompt = expected.ids("prompt");
        for block in [prompt.len(), 7, 1] {
            let found = logits(&model, &prompt, block);
            assert_near(
                &found,
                &expected.logits("logits"),
                &format!("{what} by {block}"),
            );
        }
        let long = expected.ids("long_prompt");
        let last = expected.logits("long_logits_last");
        let found = logits(&model, &long, 50);
        assert_near(
            &found[found.len() - last.len()..],
            &last,
            &format!("{what}, long"),
        );
    }
}

#[test]
fn greedy_answers_are_those_of_transformers_alone_and_together() {
    for expected in Expected::all() {
        let (what, mut model) = (&expected.what, expected.model());
        model.forget_stops();
        let (prompt, greedy) = (expected.ids("prompt"), expected.ids("greedy"));
        let mut alone = prompt.clone();
        for &id in &greedy {
            let logits = model.logits(&alone).unwrap();
            let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
            assert_eq!(
                best,
                Some(id as usize),
                "{what} without a cache, after {}",
                alone.len()
            );
            alone.push(id);
        }
        // Three sequences, of which the others begin otherwise and in mid-answer.
        let params = |max_tokens| SamplingParams {
            max_tokens,
            ..SamplingParams::default()
        };
        let mut engine = Engine::new(model, EngineOptions::default()).unwrap();
        let count = greedy.len() as u32;
        let mut started = vec![engine.start(prompt.clone(), params(count)).unwrap()];
        engine.step();
        engine.start(prompt[3..].to_vec(), params(20)).unwrap();
        engine.step();
        started.push(engine.start(prompt, params(count)).unwrap());
        let mut ended = 0;
        while engine.in_flight() > 0 {
            for event in engine.step() {
                match event {
                    Event::Finished { sequence, answer } if started.contains(&sequence) => {
                        assert_eq!(answer.ids, greedy, "{what}");
                        ended += 1;
                    }
                    Event::Failed { error, .. } => panic!("{what}: {error}"),
                    _ => {}
                }
            }
        }
        assert_eq!(ended, 2);
    }
}

#[test]
fn sequences_that_stay_short_are_turned_by_the_factors_for_short_ones() {
    let both = Expected::all();
    let long = both
        .iter()
        .filter(|one| one.values.contains_key("short_prompt"));
    let mut count = 0;
    for expected in long {
        count += 1;
        let (what, mut model) = (&expected.what, expected.model());
        model.forget_stops();
        let prompt = expected.ids("short_prompt");
        assert_near(
            &logits(&model, &prompt, 5),
            &expected.logits("short_logits"),
            what,
        );
        let greedy = expected.ids("short_greedy");
        let params = |max_tokens| SamplingParams {
            max_tokens,
            ..SamplingParams::default()
        };
        let answer = model.generate(prompt.clone(), params(greedy.len() as u32), |_, _| {});
        assert_eq!(answer.unwrap().ids, greedy, "{what}");
        // One that may become longer has the others from its first token on, and so no key has to be changed later.
        let answer = model
            .generate(prompt.clone(), params(24), |_, _| {})
            .unwrap();
        let whole = [prompt.as_slice(), &answer.ids].concat();
        let mut reading = model.reading(whole.len(), prompt.len() + 24).unwrap();
        for (&id, next) in whole.iter().zip(&whole[1..]).take(whole.len() - 1) {
            let logits = model.read(&mut reading, &[id]).unwrap();
            if reading.used() >= prompt.len() {
                let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
                assert_eq!(best, Some(*next as usize), "{what} at {}", reading.used());
            }
        }
    }
    assert_eq!(count, 2);
}
