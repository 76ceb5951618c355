//! Whole pipelines, from the seed to the latent after every step and the picture.

use serde_json::Value;
use tch::{Device, Kind, Tensor};

use super::{Expected, assert_close, difference, json, path};
use crate::diffusion::checkpoint::Checkpoint;
use crate::diffusion::folder;
use crate::diffusion::lora::Loras;
use crate::diffusion::picture::Picture;
use crate::diffusion::pipeline::{ImageModel, Parts};
use crate::diffusion::request::ImageRequest;
use crate::diffusion::scheduler::SchedulerConfig;
use crate::diffusion::tiny_vae::TinyVae;
use crate::diffusion::unet::Unet;
use crate::error::Error;
use crate::safetensors_files::read_json;

/// What EMC does not offer: a second prompt for XL's second encoder, and a sample instead of the posterior's mean.
const LEFT_OUT: [&str; 2] = ["sdxl.two_prompts", "sd15.from_image.posterior"];

fn parts(case: &Value) -> Parts {
    let model = path(case["model"].as_str().unwrap());
    let mut parts =
        folder::load(&model, Device::Cpu, Kind::Float, &Loras::default(), false).unwrap();
    if let Some(other) = case["unet"].as_str() {
        let folder = path(other).join("unet");
        let config = read_json(&folder.join("config.json")).unwrap();
        let checkpoint = Checkpoint::open_folder(&folder, "diffusion_pytorch_model").unwrap();
        parts.unet = Unet::load(config, &checkpoint, Device::Cpu, Kind::Float).unwrap();
    }
    let mut scheduler: SchedulerConfig =
        serde_json::from_value(case["scheduler"]["config"].clone()).unwrap();
    scheduler.class = Some(case["scheduler"]["class"].as_str().unwrap().into());
    parts.scheduler = scheduler.for_latents();
    parts
}

/// A recorded input as a picture.
fn picture(tensor: &Tensor) -> Picture {
    let (_, channels, height, width) = tensor.size4().unwrap();
    let rgb = tensor
        .expand([1, 3, height, width], false)
        .permute([0, 2, 3, 1])
        .contiguous()
        .reshape([-1]);
    let rgb: Vec<f32> = Vec::try_from(rgb).unwrap();
    assert!(channels == 3 || channels == 1);
    Picture {
        width: width as u32,
        height: height as u32,
        rgb: rgb
            .iter()
            .map(|value| (value * 255.0).round() as u8)
            .collect(),
    }
}

fn request(case: &Value, expected: &Expected) -> ImageRequest {
    let number = |name: &str| case[name].as_f64();
    let (width, height) = (
        number("width").unwrap() as u32,
        number("height").unwrap() as u32,
    );
    let mut request = ImageRequest::new(case["prompt"].as_str().unwrap(), width, height);
    request.negative = case["negative_prompt"].as_str().map(str::to_owned);
    request.steps = number("num_inference_steps").unwrap() as usize;
    request.guidance = number("guidance_scale").unwrap();
    request.guidance_rescale = number("guidance_rescale").unwrap_or(0.0);
    request.eta = number("eta").unwrap_or(0.0);
    request.seed = case["seed"].as_u64().unwrap();
    request.clip_skip = number("clip_skip").unwrap_or(0.0) as usize;
    request.images = number("num_images_per_prompt").unwrap_or(1.0) as usize;
    let kind = case["pipeline"].as_str().unwrap();
    if kind.contains("Img2Img") || kind.contains("Inpaint") {
        request.strength_milli = (number("strength").unwrap() * 1_000.0).round() as u32;
        request.init = Some(picture(
            &expected.get(&format!("input.image.{height}x{width}")),
        ));
    }
    if kind.contains("Inpaint") {
        request.mask = Some(picture(
            &expected.get(&format!("input.mask.{height}x{width}")),
        ));
    }
    let sizes = |prefix: &str| -> Option<[f64; 6]> {
        let pair = |name: &str| -> Option<Vec<f64>> {
            serde_json::from_value(case.get(format!("{prefix}{name}"))?.clone()).ok()
        };
        let all = [
            pair("original_size")?,
            pair("crops_coords_top_left")?,
            pair("target_size")?,
        ]
        .concat();
        all.try_into().ok()
    };
    (request.sizes, request.negative_sizes) = (sizes(""), sizes("negative_"));
    // diffusers tells XL's negative prompt the picture's own sizes, whatever the prompt is told.
    if request.sizes.is_some() && request.negative_sizes.is_none() {
        request.negative_sizes = request.sizes;
    }
    request
}

#[test]
fn what_there_is_of_a_picture_is_shown_by_the_vae_or_the_tiny_one() {
    let case = &json("pipelines/sd15/cases.json")["cases"][0];
    let with_tiny = |tiny: bool| {
        let mut parts = parts(case);
        if tiny {
            let folder = path("taesd");
            let config = read_json(&folder.join("config.json")).unwrap();
            let checkpoint = Checkpoint::open_folder(&folder, "diffusion_pytorch_model").unwrap();
            let loaded = TinyVae::load(&config, &checkpoint, Device::Cpu, Kind::Float);
            parts.preview = Some(loaded.unwrap());
        }
        let model = ImageModel::of(parts).unwrap();
        let mut request = ImageRequest::new("a fox", 64, 48);
        request.steps = 3;
        let mut shown = Vec::new();
        let finished = model.generate(&request, |progress| {
            shown.extend(progress.preview().unwrap());
            true
        });
        assert_eq!(shown.len(), 3);
        assert!(
            shown
                .iter()
                .all(|picture| (picture.width, picture.height) == (64, 48))
        );
        assert!(shown.windows(2).all(|pair| pair[0] != pair[1]));
        (shown, finished.unwrap())
    };
    let (by_vae, images) = with_tiny(false);
    assert_eq!(by_vae.last(), images.pictures.first());
    let (by_tiny, same) = with_tiny(true);
    assert!(by_tiny != by_vae && same == images);
}

#[test]
fn a_run_that_nobody_wants_any_more_ends_at_once() {
    let model = ImageModel::of(parts(&json("pipelines/sd15/cases.json")["cases"][0])).unwrap();
    let mut steps = 0;
    let ended = model.generate(&ImageRequest::new("a fox", 64, 48), |progress| {
        steps = progress.step;
        progress.step < 2
    });
    assert!(matches!(ended, Err(Error::Cancelled)) && steps == 2);
}

#[test]
fn pipelines_end_in_the_same_latents_and_pictures() {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for fixture in ["sd15", "sd21", "sdxl", "small"] {
        let cases = json(&format!("pipelines/{fixture}/cases.json"));
        let expected = Expected::of(&format!("pipelines/{fixture}"));
        for case in cases["cases"].as_array().unwrap() {
            let name = case["name"].as_str().unwrap();
            if LEFT_OUT.contains(&name) {
                continue;
            }
            checked += 1;
            let run =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(case, &expected)));
            if run.is_err() {
                wrong.push(name.to_owned());
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {checked} differ: {wrong:?}",
        wrong.len()
    );
    assert!(checked >= 40, "{checked}");
}

fn check(case: &Value, expected: &Expected) {
    let name = case["name"].as_str().unwrap();
    let model = ImageModel::of(parts(case)).unwrap();
    let request = request(case, expected);
    let mut steps = 0;
    let images = model
        .generate(&request, |progress| {
            steps = progress.step;
            true
        })
        .unwrap();
    let latents = expected.get(&format!("{name}.latents"));
    assert_eq!(steps as i64, latents.size()[0], "{name}: steps");
    let last = latents.get(latents.size()[0] - 1);
    let found = Tensor::from_slice(&images.latents).reshape(last.size());
    assert_close(&format!("{name}: final latents"), &found, &last, 1e-3);
    if expected.0.entry(&format!("{name}.image")).is_some() {
        let wanted = expected.get(&format!("{name}.image"));
        for (n, picture) in images.pictures.iter().enumerate() {
            let found = (picture.to_tensor().unwrap() / 2.0 + 0.5).get(0);
            // A pixel may round to the other side.
            assert!(
                difference(&found, &wanted.get(n as i64)) < 1.5 / 255.0,
                "{name}: picture"
            );
        }
    }
}
