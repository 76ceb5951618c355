//! Loads a model from a folder of diffusers' layout: `model_index.json` and a folder for each part.

use std::path::Path;

use serde::Deserialize;
use tch::Kind;

use super::checkpoint::Checkpoint;
use super::clip_tokenizer::ClipTokenizer;
use super::lora::Loras;
use super::pipeline::Parts;
use super::scheduler::SchedulerConfig;
use super::text_encoder::TextEncoder;
use super::tiny_vae::TinyVae;
use super::unet::{Unet, UnetConfig};
use super::vae::Vae;
use crate::error::{Error, Result};
use crate::safetensors_files::read_json;

/// The part of `model_index.json` that matters.
#[derive(Deserialize)]
struct Index {
    #[serde(rename = "_class_name")]
    class: String,
    #[serde(default)]
    force_zeros_for_empty_prompt: Option<bool>,
}

/// The pipelines whose parts are built.
const PIPELINES: [&str; 9] = [
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionInpaintPipelineLegacy",
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusionXLInpaintPipeline",
    "LatentConsistencyModelPipeline",
    "LatentConsistencyModelImg2ImgPipeline",
];

/// The parts of the model in a folder; with `random` weights, only its descriptions are read.
pub(super) fn load(
    path: &Path,
    device: tch::Device,
    kind: Kind,
    loras: &Loras,
    random: bool,
) -> Result<Parts> {
    let open = |folder: &Path, name: &str| match random {
        true => Ok(Checkpoint::random()),
        false => Checkpoint::open_folder(folder, name),
    };
    let index: Index = read_json(&path.join("model_index.json"))?;
    if !PIPELINES.contains(&index.class.as_str()) {
        return Err(Error::Unsupported(format!("the pipeline {}", index.class)));
    }
    let xl = index.class.contains("XL");
    let mut encoders = Vec::new();
    for suffix in ["", "_2"].into_iter().take(if xl { 2 } else { 1 }) {
        let tokenizer = ClipTokenizer::load(&path.join(format!("tokenizer{suffix}")))?;
        let folder = path.join(format!("text_encoder{suffix}"));
        let config = read_json(&folder.join("config.json"))?;
        let mut checkpoint = open(&folder, "model")?;
        let part = format!("text_encoder{suffix}");
        checkpoint.add(loras.for_part(&part, checkpoint.names(), |_| None)?);
        encoders.push((
            tokenizer,
            TextEncoder::load(config, &checkpoint, device, kind)?,
        ));
    }
    const WEIGHTS: &str = "diffusion_pytorch_model";
    let folder = path.join("unet");
    let config: UnetConfig = read_json(&folder.join("config.json"))?;
    config.check()?;
    let mut checkpoint = open(&folder, WEIGHTS)?;
    checkpoint.add(loras.for_unet(checkpoint.names(), &config.shape())?);
    let unet = Unet::load(config, &checkpoint, device, kind)?;
    loras.finish()?;
    let folder = path.join("vae");
    let config = read_json(&folder.join("config.json"))?;
    let vae = Vae::load(config, &open(&folder, WEIGHTS)?, device, kind)?;
    let folder = path.join("preview");
    let preview = match folder.is_dir() {
        false => None,
        true => {
            let config = read_json(&folder.join("config.json"))?;
            let checkpoint = open(&folder, WEIGHTS)?;
            Some(TinyVae::load(&config, &checkpoint, device, kind)?)
        }
    };
    let scheduler: SchedulerConfig = read_json(&path.join("scheduler/scheduler_config.json"))?;
    Ok(Parts {
        encoders,
        unet,
        vae,
        preview,
        scheduler: scheduler.for_latents(),
        nothing_is_zero: index.force_zeros_for_empty_prompt.unwrap_or(xl),
        device,
    })
}
