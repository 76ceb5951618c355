//! The other files that models come in: LoRAs, and single files with the original names.

use tch::{Device, Kind};

use super::{Expected, assert_close, json, path};
use crate::diffusion::clip_tokenizer::ClipTokenizer;
use crate::diffusion::lora::{Lora, Loras};
use crate::diffusion::pipeline::{ImageModel, Parts};
use crate::diffusion::request::ImageRequest;
use crate::diffusion::schedule::Prediction;
use crate::diffusion::single_file::{self, Hints};
use crate::diffusion::text_encoder::hidden;
use crate::diffusion::unet::Conditions;
use crate::diffusion::{Sampler, folder};

fn loras(model: &str, case: &serde_json::Value) -> Loras {
    let files = case["files"].as_array().unwrap().iter().map(|file| Lora {
        path: path(&format!(
            "lora/{model}/{}.safetensors",
            file["file"].as_str().unwrap()
        )),
        strength: file["weight"].as_f64().unwrap(),
    });
    Loras::open(&files.collect::<Vec<_>>()).unwrap()
}

/// UNet and text encoders give what diffusers and peft give with the same LoRAs.
fn check(model: &str, name: &str, parts: &Parts) {
    let (inputs, expected) = (Expected::of(model), Expected::of(&format!("lora/{model}")));
    let get = |what: &str| inputs.get(&format!("unet.batch.{what}"));
    let conditions = Conditions {
        context: get("context"),
        sizes: (model == "sdxl").then(|| (get("pooled"), get("time_ids"))),
        guidance: None,
    };
    let output = parts
        .unet
        .forward(&get("sample"), &get("timestep"), &conditions)
        .unwrap();
    assert_close(
        &format!("{name} unet"),
        &output,
        &expected.get(&format!("{name}.unet")),
        1e-4,
    );
    let prompt = json(&format!("lora/{model}/cases.json"))["prompt"]
        .as_str()
        .unwrap()
        .to_owned();
    for (place, (tokenizer, encoder)) in parts.encoders.iter().enumerate() {
        let ids = tokenizer.framed(&tokenizer.ids(&prompt).unwrap(), 77);
        let encoded = encoder.encode(&[ids]).unwrap();
        let suffix = if place == 0 { "" } else { "_2" };
        let wanted = expected.get(&format!("{name}.text_encoder{suffix}"));
        let found = match model {
            "sdxl" => hidden(&encoded, 1).unwrap().shallow_clone(),
            _ => encoded.last.shallow_clone(),
        };
        assert_close(&format!("{name} text {place}"), &found, &wanted, 1e-4);
        if place == 1 {
            assert_close(
                name,
                &encoded.pooled,
                &expected.get(&format!("{name}.pooled")),
                1e-4,
            );
        }
    }
}

#[test]
fn loras_of_every_format_change_a_model_as_peft_does() {
    for model in ["sd15", "sdxl"] {
        let cases = json(&format!("lora/{model}/cases.json"));
        let cases = cases["cases"].as_array().unwrap();
        assert!(cases.len() >= 4);
        for case in cases {
            let parts = folder::load(
                &path(model),
                Device::Cpu,
                Kind::Float,
                &loras(model, case),
                false,
            )
            .unwrap();
            check(model, case["name"].as_str().unwrap(), &parts);
        }
    }
}

#[test]
fn a_lora_for_another_model_is_refused() {
    let xl = loras(
        "sdxl",
        &serde_json::json!({"files": [{"file": "kohya", "weight": 1.0}]}),
    );
    let error = folder::load(&path("sd15"), Device::Cpu, Kind::Float, &xl, false)
        .err()
        .unwrap();
    assert!(error.to_string().contains("another model"), "{error}");
    let whole = Lora {
        path: path("sd15/unet/diffusion_pytorch_model.safetensors"),
        strength: 1.0,
    };
    assert!(Loras::open(&[whole]).is_err());
}

#[test]
fn single_files_are_the_same_models_as_folders() {
    let cases = json("single/cases.json");
    for case in cases["cases"].as_array().unwrap() {
        let model = case["model"].as_str().unwrap();
        let hints = Hints {
            prediction_type: match case["prediction_type"].as_str() {
                Some("v_prediction") => Some(Prediction::Velocity),
                _ => None,
            },
            head_dim: Some(8),
            unet_norm_groups: Some(8),
            vae_norm_groups: Some(4),
        };
        let tiny = |pad: &str| {
            let folder = if pad == "!" {
                "sd21/tokenizer"
            } else {
                "sd15/tokenizer"
            };
            ClipTokenizer::load(&path(folder))
        };
        let file = path("single").join(case["file"].as_str().unwrap());
        let kohya = serde_json::json!({"files": [{"file": "kohya", "weight": 0.7}]});
        let loras = |on: bool| match on {
            true => loras(model, &kohya),
            false => Loras::default(),
        };
        // 2.x has no LoRA among the fixtures.
        for with in [false, model != "sd21"] {
            let load = |loras: &Loras| {
                single_file::load_with(&file, Device::Cpu, Kind::Float, loras, &hints, tiny)
            };
            let single = ImageModel::of(load(&loras(with)).unwrap()).unwrap();
            let whole =
                folder::load(&path(model), Device::Cpu, Kind::Float, &loras(with), false).unwrap();
            let mut whole = ImageModel::of(whole).unwrap();
            whole.take_scheduler_of(&single);
            let side = single.scale() * 4;
            let mut request =
                ImageRequest::new("a photo of a (red fox:1.2)", side, side + single.scale());
            (request.steps, request.sampler) = (3, Some(Sampler::EulerAncestral));
            request.negative = Some("blurry".into());
            let [single, whole] =
                [&single, &whole].map(|model| model.generate(&request, |_| true).unwrap());
            assert_eq!(single, whole, "{model}, LoRA {with}");
        }
    }
}

#[test]
fn the_built_in_vocabulary_is_clips() {
    let tokenizer = ClipTokenizer::built_in("<|endoftext|>").unwrap();
    let cases = json("tokenizer/real.json");
    let cases = cases["cases"].as_array().unwrap();
    assert!(cases.len() > 300);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let wanted: Vec<u32> = serde_json::from_value(case["ids_pad_end"].clone()).unwrap();
        assert_eq!(tokenizer.ids(text).unwrap(), wanted, "{text:?}");
    }
}
