//! The parts of tiny models, each alone.

use tch::{Device, Kind, Tensor};

use super::{Expected, assert_close, json, path};
use crate::diffusion::checkpoint::Checkpoint;
use crate::diffusion::clip_tokenizer::ClipTokenizer;
use crate::diffusion::text_encoder::TextEncoder;
use crate::diffusion::tiny_vae::{TinyVae, TinyVaeConfig};
use crate::diffusion::unet::{Conditions, Unet};
use crate::diffusion::vae::Vae;
use crate::safetensors_files::read_json;

const TOLERANCE: f64 = 1e-4;

fn text_encoder(folder: &str) -> TextEncoder {
    let folder = path(folder);
    let config = read_json(&folder.join("config.json")).unwrap();
    let checkpoint = Checkpoint::open_folder(&folder, "model").unwrap();
    TextEncoder::load(config, &checkpoint, Device::Cpu, Kind::Float).unwrap()
}

#[test]
fn prompts_become_the_same_tokens() {
    for (model, tokenizer, text) in [
        ("sd15", "tokenizer", "text"),
        ("sd21", "tokenizer", "text"),
        ("sdxl", "tokenizer", "text1"),
        ("sdxl", "tokenizer_2", "text2"),
    ] {
        let expected = Expected::of(model);
        let tokenizer = ClipTokenizer::load(&path(model).join(tokenizer)).unwrap();
        let cases = json(&format!("{model}/cases.json"));
        let prompts = cases["cases"].as_array().unwrap();
        let mut checked = 0;
        for case in prompts {
            let (Some(name), Some(prompt)) = (case["name"].as_str(), case["prompt"].as_str())
            else {
                continue;
            };
            let short = name.trim_start_matches("text.");
            let ids = tokenizer.framed(&tokenizer.ids(prompt).unwrap(), 77);
            assert_eq!(
                ids,
                expected.ids(&format!("{text}.{short}.ids"))[0],
                "{model} {name}"
            );
            checked += 1;
        }
        assert!(checked >= 4);
    }
}

#[test]
fn varied_strings_become_the_ids_that_transformers_gives() {
    let cases = json("tokenizer/tiny.json");
    let cases = cases["cases"].as_array().unwrap();
    assert!(cases.len() > 300);
    for (folder, key) in [
        ("sd15/tokenizer", "ids_pad_end"),
        ("sd21/tokenizer", "ids_pad_exclamation"),
    ] {
        let tokenizer = ClipTokenizer::load(&path(folder)).unwrap();
        for case in cases {
            let text = case["text"].as_str().unwrap();
            let wanted = case.get(key).unwrap_or(&case["ids_pad_end"]);
            let wanted: Vec<u32> = serde_json::from_value(wanted.clone()).unwrap();
            assert_eq!(tokenizer.ids(text).unwrap(), wanted, "{folder}: {text:?}");
        }
    }
}

#[test]
fn text_encoders_give_the_same_states() {
    for (folder, fixture, text, cases) in [
        (
            "sd15/text_encoder",
            "sd15",
            "text",
            ["plain", "empty", "marks", "long"],
        ),
        (
            "sd21/text_encoder",
            "sd21",
            "text",
            ["plain", "empty", "marks", "long"],
        ),
        (
            "sdxl/text_encoder",
            "sdxl",
            "text1",
            ["plain", "empty", "marks", "long"],
        ),
        (
            "sdxl/text_encoder_2",
            "sdxl",
            "text2",
            ["plain", "empty", "marks", "long"],
        ),
    ] {
        let (encoder, expected) = (text_encoder(folder), Expected::of(fixture));
        for case in cases {
            let name = |what: &str| format!("{text}.{case}.{what}");
            let encoded = encoder.encode(&expected.ids(&name("ids"))).unwrap();
            let close = |what: &str, found: &Tensor| {
                assert_close(
                    &format!("{folder} {case} {what}"),
                    found,
                    &expected.get(&name(what)),
                    TOLERANCE,
                )
            };
            close("last", &encoded.last);
            let pooled = if text == "text2" {
                "projected"
            } else {
                "pooled"
            };
            close(pooled, &encoded.pooled);
            if case == "plain" {
                for (n, hidden) in encoded.hidden.iter().enumerate() {
                    let what = format!("hidden.{n}");
                    close(&what, hidden);
                }
            }
            if text == "text" {
                let skipped = [1, 2].map(|skip| encoder.skipping(&encoded, skip).unwrap());
                close("skip1", &skipped[0]);
                close("skip2", &skipped[1]);
            }
        }
    }
}

/// A part's configuration and weights.
fn part<C: serde::de::DeserializeOwned>(folder: &str) -> (C, Checkpoint) {
    let folder = path(folder);
    let config = read_json(&folder.join("config.json")).unwrap();
    let checkpoint = Checkpoint::open_folder(&folder, "diffusion_pytorch_model").unwrap();
    (config, checkpoint)
}

#[test]
fn unets_find_the_same_noise() {
    for model in ["sd15", "sd21", "sdxl", "inpaint", "lcm"] {
        let (config, checkpoint) = part(&format!("{model}/unet"));
        let unet = Unet::load(config, &checkpoint, Device::Cpu, Kind::Float).unwrap();
        let expected = Expected::of(model);
        for case in ["batch", "odd"] {
            let get = |what: &str| expected.get(&format!("unet.{case}.{what}"));
            let conditions = Conditions {
                context: get("context"),
                sizes: (model == "sdxl").then(|| (get("pooled"), get("time_ids"))),
                guidance: (model == "lcm").then(|| get("timestep_cond")),
            };
            let output = unet
                .forward(&get("sample"), &get("timestep"), &conditions)
                .unwrap();
            assert_close(
                &format!("{model} {case}"),
                &output,
                &get("output"),
                TOLERANCE,
            );
        }
    }
}

#[test]
fn vaes_encode_and_decode_the_same() {
    for model in ["sd15", "sd21", "sdxl"] {
        let (config, checkpoint) = part(&format!("{model}/vae"));
        let vae = Vae::load(config, &checkpoint, Device::Cpu, Kind::Float).unwrap();
        let expected = Expected::of(model);
        let (mean, log_variance) = vae.moments(&expected.get("vae.image")).unwrap();
        assert_close(
            &format!("{model} mean"),
            &mean,
            &expected.get("vae.mean"),
            TOLERANCE,
        );
        assert_close(
            &format!("{model} logvar"),
            &log_variance,
            &expected.get("vae.logvar"),
            TOLERANCE,
        );
        let latent = expected.get("vae.latent") * vae.config.scaling_factor;
        let decoded = vae.decode(&latent).unwrap();
        assert_close(
            &format!("{model} decoded"),
            &decoded,
            &expected.get("vae.decoded"),
            TOLERANCE,
        );
    }
}

#[test]
fn the_tiny_vae_decodes_the_same() {
    let (config, checkpoint) = part::<TinyVaeConfig>("taesd");
    let vae = TinyVae::load(&config, &checkpoint, Device::Cpu, Kind::Float).unwrap();
    let expected = Expected::of("taesd");
    let decoded = vae.decode(&expected.get("latent")).unwrap();
    assert_close("decoded", &decoded, &expected.get("decoded"), TOLERANCE);
}
