//! Prompts with weights and of any length.

use tch::{Device, Kind, Tensor};

use super::{Expected, assert_close, json, path};
use crate::diffusion::checkpoint::Checkpoint;
use crate::diffusion::clip_tokenizer::ClipTokenizer;
use crate::diffusion::prompt::{Piece, chunks, parse, weighted};
use crate::diffusion::text_encoder::TextEncoder;
use crate::safetensors_files::read_json;

#[test]
fn brackets_are_read_as_the_rule_says() {
    let cases = json("prompts/cases.json");
    let mut checked = 0;
    for case in cases["cases"].as_array().unwrap() {
        let Some(wanted) = case["parsed"].as_array() else {
            continue;
        };
        let prompt = case["prompt"].as_str().unwrap();
        let found = parse(prompt);
        assert_eq!(found.len(), wanted.len(), "{prompt:?}: {found:?}");
        for (piece, wanted) in found.iter().zip(wanted) {
            match piece {
                Piece::Break => assert!(wanted[0].is_null(), "{prompt:?}: {found:?}"),
                Piece::Text(text, weight) => {
                    assert_eq!(Some(text.as_str()), wanted[0].as_str(), "{prompt:?}");
                    let wanted = wanted[1].as_f64().unwrap();
                    assert!((weight - wanted).abs() < 1e-12, "{prompt:?}: {weight}");
                }
            }
        }
        checked += 1;
    }
    assert!(checked >= 70, "{checked}");
}

#[test]
fn weighted_and_long_prompts_become_the_same_embeddings() {
    let cases = json("prompts/cases.json");
    let expected = Expected::of("prompts");
    let mut checked = 0;
    for case in cases["cases"].as_array().unwrap() {
        let (Some(name), Some(model)) = (case["name"].as_str(), case["model"].as_str()) else {
            continue;
        };
        // The pair's is the empty prompt lengthened, and XL's two encoders are looked at with its pipelines.
        if model == "sdxl" || name == "sd15.pair.negative" {
            continue;
        }
        let folder = path(model);
        let tokenizer = ClipTokenizer::load(&folder.join("tokenizer")).unwrap();
        let config = read_json(&folder.join("text_encoder/config.json")).unwrap();
        let checkpoint = Checkpoint::open_folder(&folder.join("text_encoder"), "model").unwrap();
        let encoder = TextEncoder::load(config, &checkpoint, Device::Cpu, Kind::Float).unwrap();
        let found = chunks(case["prompt"].as_str().unwrap(), &tokenizer).unwrap();
        let ids: Vec<Vec<u32>> = found.iter().map(|chunk| chunk.ids.clone()).collect();
        assert_eq!(ids, expected.ids(&format!("{name}.ids")), "{name}");
        let weights: Vec<f64> = found
            .iter()
            .flat_map(|chunk| chunk.weights.clone())
            .collect();
        for (found, wanted) in weights
            .iter()
            .zip(expected.numbers(&format!("{name}.weights")))
        {
            assert!((found - wanted).abs() < 1e-6, "{name}");
        }
        let embed = |skip| {
            let parts = found.iter().map(|chunk| {
                let encoded = encoder.encode(std::slice::from_ref(&chunk.ids)).unwrap();
                weighted(&encoder.skipping(&encoded, skip).unwrap(), chunk).unwrap()
            });
            Tensor::cat(&parts.collect::<Vec<_>>(), 1)
        };
        assert_close(
            name,
            &embed(0),
            &expected.get(&format!("{name}.last")),
            1e-4,
        );
        if name.ends_with("weighted") {
            assert_close(
                name,
                &embed(1),
                &expected.get(&format!("{name}.skip1")),
                1e-4,
            );
            assert_close(
                name,
                &embed(2),
                &expected.get(&format!("{name}.skip2")),
                1e-4,
            );
        }
        checked += 1;
    }
    assert!(checked >= 12, "{checked}");
}
