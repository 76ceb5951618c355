//! Loads a model from one file with the names of Stable Diffusion's original code, as most are passed around.
//!
//! Such a file has no configuration: sizes are read off the tensors' shapes, the rest is what the family is known for.
//! A file of the same name that ends in `.json` beside it may say what neither tells ([`Hints`]).

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use tch::Kind;

use super::checkpoint::{Checkpoint, Entry, View};
use super::clip_tokenizer::ClipTokenizer;
use super::ldm::{UnetShape, open_clip_name, unet_name, unet_prefixes, vae_name};
use super::lora::Loras;
use super::pipeline::Parts;
use super::schedule::Prediction;
use super::scheduler::SchedulerConfig;
use super::text_encoder::{Activation, TextEncoder, TextEncoderConfig};
use super::unet::{PerLevel, Unet, UnetConfig};
use super::vae::{Vae, VaeConfig};
use crate::error::{Error, Result};
use crate::safetensors_files::read_json;

/// What cannot be read off a file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Hints {
    /// What the UNet predicts; else noise, but for 2.x as its weights suggest.
    pub(crate) prediction_type: Option<Prediction>,
    /// Channels of an attention head of the text encoders and, but for 1.x, of the UNet; else 64.
    pub(crate) head_dim: Option<i64>,
    /// Groups of the UNet's normalisations; else 32.
    pub(crate) unet_norm_groups: Option<i64>,
    /// Groups of the VAE's; else 32.
    pub(crate) vae_norm_groups: Option<i64>,
}

/// Stable Diffusion's generations, by what a file holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    One,
    Two,
    Xl,
}

const UNET: &str = "model.diffusion_model.";
const VAE: &str = "first_stage_model.";
const CLIP: &str = "cond_stage_model.transformer.";
const OPEN_CLIP: &str = "cond_stage_model.model.";
const XL_CLIP: &str = "conditioner.embedders.0.transformer.";
const XL_OPEN_CLIP: &str = "conditioner.embedders.1.model.";

/// The parts of the model in a file.
pub(super) fn load(path: &Path, device: tch::Device, kind: Kind, loras: &Loras) -> Result<Parts> {
    let beside = path.with_extension("json");
    let hints = match beside.is_file() {
        true => read_json(&beside)?,
        false => Hints::default(),
    };
    load_with(path, device, kind, loras, &hints, ClipTokenizer::built_in)
}

/// As [`load`]; `tokenizer` makes one that pads with the text it is given.
pub(super) fn load_with(
    path: &Path,
    device: tch::Device,
    kind: Kind,
    loras: &Loras,
    hints: &Hints,
    tokenizer: impl Fn(&str) -> Result<ClipTokenizer>,
) -> Result<Parts> {
    let file = File(Checkpoint::open(&[path.to_owned()])?.take());
    let family = file.family()?;
    let head = hints.head_dim.unwrap_or(64);
    let mut encoders = Vec::new();
    let mut encoder =
        |prefix: &str, openai: bool, layers_left_out: usize, part: &str| -> Result<i64> {
            let tensors = match openai {
                true => file.below(prefix),
                false => file.open_clip(prefix),
            };
            let config = text_config(&tensors, head, openai, layers_left_out)?;
            let projection = config.projection_dim;
            let layers = config.num_hidden_layers;
            let mut checkpoint = Checkpoint::of(tensors);
            checkpoint.ignore(|name| {
                is_beyond(name, layers)
                    || (layers_left_out > 0 && name.starts_with("text_projection"))
            });
            checkpoint.add(loras.for_part(part, checkpoint.names(), |_| None)?);
            let pad = if openai { "<|endoftext|>" } else { "!" };
            let mut loaded = TextEncoder::load(config, &checkpoint, device, kind)?;
            if layers_left_out > 0 {
                loaded.without_projection();
            }
            encoders.push((tokenizer(pad)?, loaded));
            Ok(projection)
        };
    let pooled = match family {
        Family::One => encoder(CLIP, true, 0, "text_encoder")?,
        // 2.x stops one layer before the end; the file has that layer all the same.
        Family::Two => encoder(OPEN_CLIP, false, 1, "text_encoder")?,
        Family::Xl => {
            encoder(XL_CLIP, true, 0, "text_encoder")?;
            encoder(XL_OPEN_CLIP, false, 0, "text_encoder_2")?
        }
    };

    let tensors = file.below(UNET);
    let (config, shape) = unet_config(&tensors, family, pooled, hints)?;
    let prefixes = unet_prefixes(&shape);
    let named = renamed(tensors, |name| unet_name(name, &prefixes))?;
    let prediction = hints.prediction_type.unwrap_or(file.prediction(family)?);
    let mut checkpoint = Checkpoint::of(named);
    checkpoint.add(loras.for_unet(checkpoint.names(), &shape)?);
    let unet = Unet::load(config, &checkpoint, device, kind)?;

    let tensors = file.below(VAE);
    let config = vae_config(&tensors, family, hints)?;
    let levels = config.block_out_channels.len();
    let named = renamed(tensors, |name| vae_name(name, levels))?;
    let vae = Vae::load(config, &Checkpoint::of(named), device, kind)?;

    loras.finish()?;
    Ok(Parts {
        encoders,
        unet,
        vae,
        preview: None,
        scheduler: scheduler(family, prediction, file.0.contains_key("ztsnr")),
        nothing_is_zero: family == Family::Xl,
        device,
    })
}

type Tensors = BTreeMap<String, Entry>;

struct File(Tensors);

impl File {
    fn family(&self) -> Result<Family> {
        let has = |prefix: &str| {
            let first = self.0.range(prefix.to_owned()..).next();
            first.is_some_and(|(name, _)| name.starts_with(prefix))
        };
        match (has(XL_OPEN_CLIP) && has(XL_CLIP), has(OPEN_CLIP), has(CLIP)) {
            (true, ..) => Ok(Family::Xl),
            (_, true, _) => Ok(Family::Two),
            (.., true) => Ok(Family::One),
            _ => Err(Error::Unsupported(
                "a single file that is not a whole Stable Diffusion 1.x, 2.x or XL (its text encoder is missing)".into(),
            )),
        }
    }

    /// Everything below a prefix, without it.
    fn below(&self, prefix: &str) -> Tensors {
        self.0
            .range(prefix.to_owned()..)
            .take_while(|(name, _)| name.starts_with(prefix))
            .map(|(name, entry)| (name[prefix.len()..].to_owned(), entry.clone()))
            .collect()
    }

    /// OpenCLIP's text encoder under the names of transformers.
    fn open_clip(&self, prefix: &str) -> Tensors {
        let mut named = Tensors::new();
        for (name, entry) in self.below(prefix) {
            let in_projection = name
                .strip_prefix("transformer.resblocks.")
                .and_then(|rest| rest.split_once(".attn.in_proj_"));
            if let Some((layer, leaf)) = in_projection {
                for (n, part) in ["q_proj", "k_proj", "v_proj"].into_iter().enumerate() {
                    let name = format!("text_model.encoder.layers.{layer}.self_attn.{part}.{leaf}");
                    let view = View::Third(n as i64);
                    named.insert(
                        name,
                        Entry {
                            view,
                            ..entry.clone()
                        },
                    );
                }
            } else if let Some(known) = open_clip_name(&name) {
                let view = match name == "text_projection" {
                    true => View::Transposed,
                    false => View::Whole,
                };
                named.insert(known, Entry { view, ..entry });
            } else if name != "logit_scale" {
                named.insert(name, entry);
            }
        }
        named
    }

    /// What the UNet predicts. 2.x does not say; a common guess is by how far one of its biases spreads.
    fn prediction(&self, family: Family) -> Result<Prediction> {
        let says_v = self.0.contains_key("v_pred");
        let bias = format!("{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias");
        let spreads = match self.0.get(&bias).filter(|_| family == Family::Two) {
            Some(entry) => entry.read()?.f_std(true)?.double_value(&[]) > 0.09,
            None => false,
        };
        Ok(match says_v || spreads {
            true => Prediction::Velocity,
            false => Prediction::Epsilon,
        })
    }
}

/// Tensors under other names; what has none keeps its own, and is then found to be left over.
fn renamed(tensors: Tensors, name: impl Fn(&str) -> Option<String>) -> Result<Tensors> {
    let mut named = Tensors::new();
    for (original, entry) in tensors {
        let known = name(&original).unwrap_or(original);
        if named.insert(known.clone(), entry).is_some() {
            return Err(Error::Damaged(format!("{known} is there twice")));
        }
    }
    Ok(named)
}

/// How many numbers follow a prefix without a gap, from 0: `prefix.0.suffix`, `prefix.1.suffix` and so on.
fn count(tensors: &Tensors, prefix: &str, suffix: &str) -> usize {
    let there = |n: &usize| tensors.contains_key(&format!("{prefix}.{n}.{suffix}"));
    (0..1_000).take_while(there).count()
}

/// One dimension of a tensor's shape.
fn size(tensors: &Tensors, name: &str, dimension: usize) -> Result<i64> {
    let entry = tensors.get(name);
    let size = entry.and_then(|entry| entry.viewed().get(dimension).copied());
    size.ok_or_else(|| Error::Checkpoint(format!("{name} is missing")))
}

/// True for a layer that is not computed.
fn is_beyond(name: &str, layers: usize) -> bool {
    let layer = name.strip_prefix("text_model.encoder.layers.");
    let number = layer.and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    number.is_some_and(|number| number >= layers)
}

fn text_config(
    tensors: &Tensors,
    head: i64,
    openai: bool,
    left_out: usize,
) -> Result<TextEncoderConfig> {
    let tokens = "text_model.embeddings.token_embedding.weight";
    let hidden = size(tensors, tokens, 1)?;
    let layers = count(tensors, "text_model.encoder.layers", "layer_norm1.weight");
    let projection = tensors
        .get("text_projection.weight")
        .and_then(|entry| entry.viewed().first().copied());
    Ok(TextEncoderConfig {
        hidden_size: hidden,
        intermediate_size: size(tensors, "text_model.encoder.layers.0.mlp.fc1.weight", 0)?,
        num_hidden_layers: layers.saturating_sub(left_out),
        num_attention_heads: hidden / head.max(1),
        vocab_size: size(tensors, tokens, 0)?,
        max_position_embeddings: size(
            tensors,
            "text_model.embeddings.position_embedding.weight",
            0,
        )?,
        layer_norm_eps: 1e-5,
        hidden_act: match openai {
            true => Activation::QuickGelu,
            false => Activation::Gelu,
        },
        projection_dim: projection.unwrap_or(hidden),
        // The largest id of a prompt.
        eos_token_id: 2,
    })
}

fn unet_config(
    tensors: &Tensors,
    family: Family,
    pooled: i64,
    hints: &Hints,
) -> Result<(UnetConfig, UnetShape)> {
    let has = |name: String| tensors.contains_key(&name);
    let transformers = |prefix: &str| {
        count(
            tensors,
            &format!("{prefix}.transformer_blocks"),
            "norm1.weight",
        ) as i64
    };
    let (mut channels, mut layers, mut blocks) = (vec![], vec![], vec![]);
    let mut in_level = 0;
    for n in 1..1_000 {
        let here = format!("input_blocks.{n}.0");
        if has(format!("{here}.op.weight")) {
            in_level = 0;
        } else if has(format!("{here}.in_layers.0.weight")) {
            if in_level == 0 {
                channels.push(size(tensors, &format!("{here}.out_layers.0.weight"), 0)?);
                layers.push(0);
                blocks.push(transformers(&format!("input_blocks.{n}.1")));
            }
            in_level += 1;
            layers
                .last_mut()
                .into_iter()
                .for_each(|layers| *layers += 1);
        } else {
            break;
        }
    }
    let down: Vec<bool> = blocks.iter().map(|&blocks| blocks > 0).collect();
    let mut block = 0;
    let mut up = Vec::new();
    for &layers in layers.iter().rev() {
        up.push(transformers(&format!("output_blocks.{block}.1")) > 0);
        block += layers + 1;
    }
    let middle = transformers("middle_block.1");
    let context = "middle_block.1.transformer_blocks.0.attn2.to_k.weight";
    let head = hints.head_dim.unwrap_or(64).max(1);
    let heads = match family {
        Family::One => PerLevel::All(8),
        _ => PerLevel::Each(channels.iter().map(|channels| channels / head).collect()),
    };
    // Levels without transformers have none to count; the deepest one's number is the middle's.
    let mut each: Vec<i64> = blocks.iter().map(|&blocks| blocks.max(1)).collect();
    if let Some(last) = each.last_mut() {
        *last = middle;
    }
    let sizes = match tensors.get("label_emb.0.0.weight") {
        Some(entry) => entry.viewed().get(1).copied(),
        None => None,
    };
    let names = |attends: &[bool], plain: &str| -> Vec<String> {
        let name = |&attends: &bool| format!("{}{plain}", if attends { "CrossAttn" } else { "" });
        attends.iter().map(name).collect()
    };
    let config = UnetConfig {
        in_channels: size(tensors, "input_blocks.0.0.weight", 1)?,
        out_channels: size(tensors, "out.2.weight", 0)?,
        sample_size: Some(PerLevel::All(match family {
            Family::One => 64,
            Family::Two => 96,
            Family::Xl => 128,
        })),
        down_block_types: names(&down, "DownBlock2D"),
        up_block_types: names(&up, "UpBlock2D"),
        layers_per_block: PerLevel::Each(layers.iter().map(|&layers| layers as i64).collect()),
        attention_head_dim: heads,
        transformer_layers_per_block: PerLevel::Each(each),
        cross_attention_dim: PerLevel::All(size(tensors, context, 1)?),
        norm_num_groups: hints.unet_norm_groups.unwrap_or(32),
        addition_embed_type: sizes.map(|_| "text_time".to_owned()),
        addition_time_embed_dim: sizes.map(|sizes| (sizes - pooled) / 6),
        projection_class_embeddings_input_dim: sizes,
        ..UnetConfig::plain(channels)
    };
    let shape = UnetShape { layers, down, up };
    Ok((config, shape))
}

fn vae_config(tensors: &Tensors, family: Family, hints: &Hints) -> Result<VaeConfig> {
    let levels = count(tensors, "encoder.down", "block.0.conv1.weight");
    let channels = (0..levels)
        .map(|level| {
            size(
                tensors,
                &format!("encoder.down.{level}.block.0.conv1.weight"),
                0,
            )
        })
        .collect::<Result<_>>()?;
    Ok(VaeConfig {
        layers_per_block: count(tensors, "encoder.down.0.block", "conv1.weight"),
        latent_channels: size(tensors, "decoder.conv_in.weight", 1)?,
        norm_num_groups: hints.vae_norm_groups.unwrap_or(32),
        scaling_factor: match family {
            Family::Xl => 0.13025,
            _ => 0.18215,
        },
        ..VaeConfig::plain(channels)
    })
}

/// What diffusers takes for such a file.
fn scheduler(family: Family, prediction: Prediction, zero_snr: bool) -> SchedulerConfig {
    let class = match family {
        Family::One => "PNDMScheduler",
        Family::Two => "DDIMScheduler",
        Family::Xl => "EulerDiscreteScheduler",
    };
    SchedulerConfig::stable_diffusion(class, prediction, zero_snr)
}
