//! The UNet of Stable Diffusion 1.x, 2.x, XL, of inpainting and of latent consistency models: what noise is in a latent,
//! given the time and the prompt (Rombach et al. 2022; Podell et al. 2023).

use serde::Deserialize;
use tch::{Kind, Tensor};

use super::blocks::{PixelTransformer, ResnetBlock, TransformerSizes, Upsample};
use super::checkpoint::{Checkpoint, Scope};
use super::layers::{Conv2d, GroupNorm, Linear, channels_last, sinusoid};
use super::ldm::UnetShape;
use crate::error::{Error, Result};

/// One value for all levels, or one for each.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum PerLevel {
    All(i64),
    Each(Vec<i64>),
}

impl PerLevel {
    fn at(&self, level: usize) -> Option<i64> {
        match self {
            Self::All(value) => Some(*value),
            Self::Each(values) => values.get(level).copied(),
        }
    }
}

/// A UNet's `config.json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct UnetConfig {
    #[serde(default = "four")]
    pub(crate) in_channels: i64,
    #[serde(default = "four")]
    pub(crate) out_channels: i64,
    /// Of the latent that the model was trained for, in its pixels.
    #[serde(default)]
    pub(crate) sample_size: Option<PerLevel>,
    pub(crate) block_out_channels: Vec<i64>,
    pub(crate) down_block_types: Vec<String>,
    pub(crate) up_block_types: Vec<String>,
    #[serde(default = "one_level")]
    pub(crate) layers_per_block: PerLevel,
    /// diffusers' name is wrong: it is the number of heads, unless `num_attention_heads` is given.
    #[serde(default = "eight_heads")]
    pub(crate) attention_head_dim: PerLevel,
    #[serde(default)]
    pub(crate) num_attention_heads: Option<PerLevel>,
    #[serde(default = "one")]
    pub(crate) transformer_layers_per_block: PerLevel,
    pub(crate) cross_attention_dim: PerLevel,
    #[serde(default = "groups")]
    pub(crate) norm_num_groups: i64,
    #[serde(default = "epsilon")]
    pub(crate) norm_eps: f64,
    #[serde(default = "yes")]
    pub(crate) flip_sin_to_cos: bool,
    #[serde(default)]
    pub(crate) freq_shift: f64,
    #[serde(default)]
    pub(crate) addition_embed_type: Option<String>,
    #[serde(default)]
    pub(crate) addition_time_embed_dim: Option<i64>,
    #[serde(default)]
    pub(crate) projection_class_embeddings_input_dim: Option<i64>,
    #[serde(default)]
    pub(crate) time_cond_proj_dim: Option<i64>,
    // What other models set and is not built.
    #[serde(default)]
    pub(super) act_fn: Option<String>,
    #[serde(default)]
    pub(super) mid_block_type: Option<String>,
    #[serde(default)]
    pub(super) class_embed_type: Option<String>,
    #[serde(default)]
    pub(super) num_class_embeds: Option<i64>,
    #[serde(default)]
    pub(super) encoder_hid_dim: Option<i64>,
    #[serde(default)]
    pub(super) time_embedding_type: Option<String>,
    #[serde(default)]
    pub(super) resnet_time_scale_shift: Option<String>,
    #[serde(default)]
    pub(super) dual_cross_attention: Option<bool>,
    #[serde(default)]
    pub(super) center_input_sample: Option<bool>,
}

fn four() -> i64 {
    4
}
fn one() -> PerLevel {
    PerLevel::All(1)
}
fn one_level() -> PerLevel {
    PerLevel::All(2)
}
fn eight_heads() -> PerLevel {
    PerLevel::All(8)
}
fn groups() -> i64 {
    32
}
fn epsilon() -> f64 {
    1e-5
}
fn yes() -> bool {
    true
}

/// The most levels, blocks of a level and channels that are believed.
const MOST: (usize, i64, i64) = (8, 32, 1 << 16);

impl UnetConfig {
    /// A UNet of these channels, with what all of the family have for the rest.
    pub(crate) fn plain(block_out_channels: Vec<i64>) -> Self {
        Self {
            in_channels: 4,
            out_channels: 4,
            sample_size: None,
            block_out_channels,
            down_block_types: vec![],
            up_block_types: vec![],
            layers_per_block: one_level(),
            attention_head_dim: eight_heads(),
            num_attention_heads: None,
            transformer_layers_per_block: one(),
            cross_attention_dim: PerLevel::All(768),
            norm_num_groups: groups(),
            norm_eps: epsilon(),
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            addition_embed_type: None,
            addition_time_embed_dim: None,
            projection_class_embeddings_input_dim: None,
            time_cond_proj_dim: None,
            act_fn: None,
            mid_block_type: None,
            class_embed_type: None,
            num_class_embeds: None,
            encoder_hid_dim: None,
            time_embedding_type: None,
            resnet_time_scale_shift: None,
            dual_cross_attention: None,
            center_input_sample: None,
        }
    }

    /// Which blocks it has.
    pub(crate) fn shape(&self) -> UnetShape {
        let attends = |types: &[String]| {
            types
                .iter()
                .map(|kind| kind.starts_with("CrossAttn"))
                .collect()
        };
        let levels = 0..self.block_out_channels.len();
        UnetShape {
            layers: levels
                .map(|level| {
                    self.layers_per_block
                        .at(level)
                        .unwrap_or(1)
                        .clamp(1, MOST.1) as usize
                })
                .collect(),
            down: attends(&self.down_block_types),
            up: attends(&self.up_block_types),
        }
    }

    /// Checks that the sizes make sense, and that everything is built.
    pub(crate) fn check(&self) -> Result<()> {
        let unusual = [
            ("act_fn", &self.act_fn, "silu"),
            (
                "mid_block_type",
                &self.mid_block_type,
                "UNetMidBlock2DCrossAttn",
            ),
            ("class_embed_type", &self.class_embed_type, ""),
            (
                "time_embedding_type",
                &self.time_embedding_type,
                "positional",
            ),
            (
                "resnet_time_scale_shift",
                &self.resnet_time_scale_shift,
                "default",
            ),
            (
                "addition_embed_type",
                &self.addition_embed_type,
                "text_time",
            ),
        ];
        for (name, value, built) in unusual {
            if let Some(value) = value.as_deref().filter(|value| *value != built) {
                return Err(Error::Unsupported(format!("a UNet with {name} {value:?}")));
            }
        }
        let switched_on = self.dual_cross_attention == Some(true)
            || self.center_input_sample == Some(true)
            || self.num_class_embeds.is_some()
            || self.encoder_hid_dim.is_some();
        if switched_on {
            return Err(Error::Unsupported("this kind of UNet".into()));
        }
        let levels = self.block_out_channels.len();
        let sizes = [self.in_channels, self.out_channels, self.norm_num_groups];
        let sound = (1..=MOST.0).contains(&levels)
            && self.down_block_types.len() == levels
            && self.up_block_types.len() == levels
            && sizes
                .iter()
                .chain(&self.block_out_channels)
                .all(|size| (1..=MOST.2).contains(size))
            && (0..levels).all(|level| {
                let within = |value: Option<i64>| value.is_some_and(|n| (1..=MOST.1).contains(&n));
                within(self.layers_per_block.at(level))
                    && within(self.transformer_layers_per_block.at(level))
                    && self
                        .heads(level)
                        .is_some_and(|heads| (1..=MOST.2).contains(&heads))
                    && self
                        .context(level)
                        .is_some_and(|size| (1..=MOST.2).contains(&size))
            });
        match sound {
            true => Ok(()),
            false => Err(Error::Damaged("the UNet's sizes make no sense".into())),
        }
    }

    fn heads(&self, level: usize) -> Option<i64> {
        let heads = self.num_attention_heads.as_ref();
        heads.unwrap_or(&self.attention_head_dim).at(level)
    }

    fn context(&self, level: usize) -> Option<i64> {
        self.cross_attention_dim.at(level)
    }

    /// The transformer of a level; an error cannot be after `check`.
    fn transformer(&self, level: usize) -> Result<TransformerSizes> {
        let unknown = || Error::Damaged(format!("the UNet's level {level} is not described"));
        Ok(TransformerSizes {
            channels: *self.block_out_channels.get(level).ok_or_else(unknown)?,
            heads: self.heads(level).ok_or_else(unknown)?,
            blocks: self
                .transformer_layers_per_block
                .at(level)
                .ok_or_else(unknown)? as usize,
            context: self.context(level).ok_or_else(unknown)?,
            groups: self.norm_num_groups,
        })
    }

    /// The size of the time's embedding inside the UNet.
    fn time(&self) -> i64 {
        self.block_out_channels[0] * 4
    }

    /// Channels of the prompt's embedding.
    pub(crate) fn context_size(&self) -> Option<i64> {
        self.context(0)
    }

    /// Height and width of the latents that the model was trained for.
    pub(crate) fn trained_size(&self) -> Option<i64> {
        self.sample_size.as_ref()?.at(0)
    }
}

/// Two matrices with an activation between them.
struct Embedding {
    first: Linear,
    second: Linear,
}

impl Embedding {
    fn load(here: &Scope<'_>, from: i64, to: i64) -> Result<Self> {
        Ok(Self {
            first: here.linear("linear_1", from, to)?,
            second: here.linear("linear_2", to, to)?,
        })
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        self.second.forward(&self.first.forward(input)?.f_silu()?)
    }
}

struct Level {
    resnets: Vec<ResnetBlock>,
    /// One for each residual block, or none.
    transformers: Vec<PixelTransformer>,
}

impl Level {
    fn forward(&self, n: usize, input: &Tensor, time: &Tensor, context: &Tensor) -> Result<Tensor> {
        let output = self.resnets[n].forward(input, Some(time))?;
        match self.transformers.get(n) {
            Some(transformer) => transformer.forward(&output, context),
            None => Ok(output),
        }
    }
}

/// What a latent is denoised under, besides the time.
pub(crate) struct Conditions {
    /// The prompt: batch, tokens, channels.
    pub(crate) context: Tensor,
    /// XL: the pooled prompt, and the six numbers of the picture's sizes.
    pub(crate) sizes: Option<(Tensor, Tensor)>,
    /// Latent consistency models: the embedding of the guidance scale.
    pub(crate) guidance: Option<Tensor>,
}

pub(crate) struct Unet {
    pub(crate) config: UnetConfig,
    kind: Kind,
    time: Embedding,
    guidance: Option<Linear>,
    sizes: Option<Embedding>,
    enter: Conv2d,
    down: Vec<(Level, Option<Conv2d>)>,
    middle: (ResnetBlock, PixelTransformer, ResnetBlock),
    up: Vec<(Level, Option<Upsample>)>,
    norm: GroupNorm,
    leave: Conv2d,
}

impl Unet {
    pub(crate) fn load(
        config: UnetConfig,
        checkpoint: &Checkpoint,
        device: tch::Device,
        kind: Kind,
    ) -> Result<Self> {
        config.check()?;
        let root = checkpoint.root(device, kind);
        let channels = config.block_out_channels.clone();
        let (groups, epsilon, time) = (config.norm_num_groups, config.norm_eps, config.time());
        let last = channels.len() - 1;
        let resnet = |here: &Scope<'_>, from, to| {
            ResnetBlock::load(here, from, to, Some(time), groups, epsilon)
        };
        let layers = |level: usize| config.layers_per_block.at(level).unwrap_or(1) as usize;

        let mut down = Vec::new();
        // The channels of everything that is remembered for the way up.
        let mut remembered = vec![channels[0]];
        for (level, &to) in channels.iter().enumerate() {
            let here = root.at("down_blocks").at(level);
            let attends = attends(&config.down_block_types[level], "DownBlock2D")?;
            let mut block = Level {
                resnets: vec![],
                transformers: vec![],
            };
            for n in 0..layers(level) {
                let from = match (n, level) {
                    (0, 0) => channels[0],
                    (0, _) => channels[level - 1],
                    _ => to,
                };
                block
                    .resnets
                    .push(resnet(&here.at("resnets").at(n), from, to)?);
                if attends {
                    let sizes = config.transformer(level)?;
                    let transformer = PixelTransformer::load(&here.at("attentions").at(n), sizes)?;
                    block.transformers.push(transformer);
                }
                remembered.push(to);
            }
            let smaller = match level == last {
                true => None,
                false => {
                    remembered.push(to);
                    Some(here.at("downsamplers.0").conv("conv", to, to, 3, 2, 1)?)
                }
            };
            down.push((block, smaller));
        }

        let middle = root.at("mid_block");
        let widest = channels[last];
        let middle = (
            resnet(&middle.at("resnets.0"), widest, widest)?,
            PixelTransformer::load(&middle.at("attentions.0"), config.transformer(last)?)?,
            resnet(&middle.at("resnets.1"), widest, widest)?,
        );

        let mut up = Vec::new();
        let mut before = widest;
        for place in 0..channels.len() {
            let level = last - place;
            let to = channels[level];
            let here = root.at("up_blocks").at(place);
            let attends = attends(&config.up_block_types[place], "UpBlock2D")?;
            let mut block = Level {
                resnets: vec![],
                transformers: vec![],
            };
            for n in 0..=layers(level) {
                let from = if n == 0 { before } else { to };
                let skip = remembered.pop().unwrap_or(0);
                block
                    .resnets
                    .push(resnet(&here.at("resnets").at(n), from + skip, to)?);
                if attends {
                    let sizes = config.transformer(level)?;
                    let transformer = PixelTransformer::load(&here.at("attentions").at(n), sizes)?;
                    block.transformers.push(transformer);
                }
            }
            let larger = match level {
                0 => None,
                _ => Some(Upsample::load(&here.at("upsamplers.0"), to)?),
            };
            up.push((block, larger));
            before = to;
        }

        let embedding = root.at("time_embedding");
        let guidance = match config.time_cond_proj_dim {
            Some(size) => Some(embedding.linear("cond_proj", size, channels[0])?),
            None => None,
        };
        let sizes = match (
            &config.addition_embed_type,
            config.projection_class_embeddings_input_dim,
        ) {
            (None, _) => None,
            (Some(_), Some(size)) if config.addition_time_embed_dim.is_some() => {
                Some(Embedding::load(&root.at("add_embedding"), size, time)?)
            }
            _ => {
                return Err(Error::Damaged(
                    "the UNet's size embedding has no size".into(),
                ));
            }
        };
        let unet = Self {
            kind,
            time: Embedding::load(&embedding, channels[0], time)?,
            guidance,
            sizes,
            enter: root.conv("conv_in", config.in_channels, channels[0], 3, 1, 1)?,
            down,
            middle,
            up,
            norm: root.group_norm("conv_norm_out", channels[0], groups, epsilon)?,
            leave: root.conv("conv_out", channels[0], config.out_channels, 3, 1, 1)?,
            config,
        };
        checkpoint.finish()?;
        Ok(unet)
    }

    /// The model's output, in f32, for latents (batch, channels, height, width) at one time each.
    pub(crate) fn forward(
        &self,
        latents: &Tensor,
        times: &Tensor,
        conditions: &Conditions,
    ) -> Result<Tensor> {
        let channels = latents.size4()?.1;
        if channels != self.config.in_channels {
            let wanted = self.config.in_channels;
            return Err(Error::BadParameter(format!(
                "the UNet takes {wanted} channels, not {channels}"
            )));
        }
        let time = self.embed(times, conditions)?.f_silu()?;
        let context = conditions.context.f_to_kind(self.kind)?;
        let mut state = self
            .enter
            .forward(&channels_last(&latents.f_to_kind(self.kind)?)?)?;
        let mut remembered = vec![state.shallow_clone()];
        for (level, smaller) in &self.down {
            for n in 0..level.resnets.len() {
                state = level.forward(n, &state, &time, &context)?;
                remembered.push(state.shallow_clone());
            }
            if let Some(smaller) = smaller {
                state = smaller.forward(&state)?;
                remembered.push(state.shallow_clone());
            }
        }
        let (first, transformer, second) = &self.middle;
        state = first.forward(&state, Some(&time))?;
        state = transformer.forward(&state, &context)?;
        state = second.forward(&state, Some(&time))?;
        for (level, larger) in &self.up {
            for n in 0..level.resnets.len() {
                let skip = remembered.pop();
                let skip = skip.ok_or_else(|| Error::Damaged("an unbalanced UNet".into()))?;
                let both = Tensor::f_cat(&[&state, &skip], 1)?;
                state = level.forward(n, &both, &time, &context)?;
            }
            if let (Some(larger), Some(next)) = (larger, remembered.last()) {
                let (_, _, height, width) = next.size4()?;
                state = larger.forward(&state, [height, width])?;
            }
        }
        let output = self.leave.forward(&self.norm.forward(&state)?.f_silu_()?)?;
        Ok(output.f_to_kind(Kind::Float)?)
    }

    /// What is added in every residual block: the time, and what else the model was told in training.
    fn embed(&self, times: &Tensor, conditions: &Conditions) -> Result<Tensor> {
        let config = &self.config;
        let wave = |values: &Tensor, size| {
            sinusoid(values, size, config.flip_sin_to_cos, config.freq_shift)
        };
        let mut time = wave(times, config.block_out_channels[0])?.f_to_kind(self.kind)?;
        match (&self.guidance, &conditions.guidance) {
            (Some(projection), Some(guidance)) => {
                let guidance = guidance.f_to_kind(self.kind)?;
                time = time.f_add(&projection.forward(&guidance)?)?;
            }
            (None, None) => {}
            _ => {
                return Err(Error::BadParameter(
                    "a guidance embedding that does not fit".into(),
                ));
            }
        }
        let embedded = self.time.forward(&time)?;
        match (&self.sizes, &conditions.sizes) {
            (Some(embedding), Some((pooled, sizes))) => {
                let each = config.addition_time_embed_dim.unwrap_or(256);
                let batch = pooled.size2()?.0;
                let waves = wave(&sizes.f_flatten(0, -1)?, each)?.f_reshape([batch, -1])?;
                let both = Tensor::f_cat(&[&pooled.f_to_kind(Kind::Float)?, &waves], -1)?;
                let added = embedding.forward(&both.f_to_kind(self.kind)?)?;
                Ok(embedded.f_add(&added)?)
            }
            (None, None) => Ok(embedded),
            _ => Err(Error::BadParameter(
                "size conditions that do not fit the model".into(),
            )),
        }
    }
}

/// Whether a level of this type has transformers; `plain` is the name of one without.
fn attends(kind: &str, plain: &str) -> Result<bool> {
    match kind.strip_prefix("CrossAttn") {
        Some(rest) if rest == plain => Ok(true),
        None if kind == plain => Ok(false),
        _ => Err(Error::Unsupported(format!("a UNet with {kind}"))),
    }
}
