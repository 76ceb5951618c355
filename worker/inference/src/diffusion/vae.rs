//! The autoencoder between pictures and latents (Rombach et al. 2022; Kingma and Welling 2014).
//!
//! Pictures are batch, 3, height, width between -1 and 1. Latents here are as the UNet sees them: multiplied with the
//! scaling factor.

use serde::Deserialize;
use tch::{Kind, Tensor};

use super::blocks::{ResnetBlock, Upsample};
use super::checkpoint::{Checkpoint, Scope};
use super::layers::{Conv2d, GroupNorm, Linear, attend, channels_last};
use crate::error::{Error, Result};

const EPSILON: f64 = 1e-6;
/// Latents with a side longer than this are decoded in tiles of it, so that memory does not grow with the picture.
const TILE: i64 = 128;
/// What of a tile is blended into the next.
const OVERLAP: i64 = TILE / 4;

/// An autoencoder's `config.json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct VaeConfig {
    pub(crate) block_out_channels: Vec<i64>,
    #[serde(default = "one")]
    pub(crate) layers_per_block: usize,
    #[serde(default = "four")]
    pub(crate) latent_channels: i64,
    #[serde(default = "groups")]
    pub(crate) norm_num_groups: i64,
    #[serde(default = "factor")]
    pub(crate) scaling_factor: f64,
    #[serde(default)]
    pub(super) shift_factor: Option<f64>,
    #[serde(default)]
    pub(super) latents_mean: Option<Vec<f64>>,
}

fn one() -> usize {
    1
}
fn four() -> i64 {
    4
}
fn groups() -> i64 {
    32
}
fn factor() -> f64 {
    0.18215
}

impl VaeConfig {
    /// An autoencoder of these channels, with what all of the family have for the rest.
    pub(crate) fn plain(block_out_channels: Vec<i64>) -> Self {
        Self {
            block_out_channels,
            layers_per_block: one(),
            latent_channels: four(),
            norm_num_groups: groups(),
            scaling_factor: factor(),
            shift_factor: None,
            latents_mean: None,
        }
    }

    /// How many pixels of the picture one of the latent covers, in each direction.
    pub(crate) fn scale(&self) -> i64 {
        1 << (self.block_out_channels.len().max(1) - 1)
    }

    fn check(&self) -> Result<()> {
        if self.shift_factor.is_some_and(|shift| shift != 0.0) || self.latents_mean.is_some() {
            return Err(Error::Unsupported("a VAE with shifted latents".into()));
        }
        let sizes = [self.latent_channels, self.norm_num_groups];
        let sound = (1..=8).contains(&self.block_out_channels.len())
            && (1..=16).contains(&self.layers_per_block)
            && sizes
                .iter()
                .chain(&self.block_out_channels)
                .all(|size| (1..=1 << 16).contains(size))
            && self.scaling_factor.is_finite()
            && self.scaling_factor != 0.0;
        match sound {
            true => Ok(()),
            false => Err(Error::Damaged("the VAE's sizes make no sense".into())),
        }
    }
}

pub(crate) struct Vae {
    pub(crate) config: VaeConfig,
    kind: Kind,
    encoder: Encoder,
    decoder: Decoder,
    quantise: Option<Conv2d>,
    dequantise: Option<Conv2d>,
}

/// Residual blocks with attention of one head between them.
struct Middle {
    first: ResnetBlock,
    norm: GroupNorm,
    qkv: Linear,
    out: Linear,
    second: ResnetBlock,
}

struct Encoder {
    enter: Conv2d,
    levels: Vec<(Vec<ResnetBlock>, Option<Conv2d>)>,
    middle: Middle,
    norm: GroupNorm,
    leave: Conv2d,
}

struct Decoder {
    enter: Conv2d,
    middle: Middle,
    levels: Vec<(Vec<ResnetBlock>, Option<Upsample>)>,
    norm: GroupNorm,
    leave: Conv2d,
}

impl Vae {
    pub(crate) fn load(
        config: VaeConfig,
        checkpoint: &Checkpoint,
        device: tch::Device,
        kind: Kind,
    ) -> Result<Self> {
        config.check()?;
        let root = checkpoint.root(device, kind);
        let latent = config.latent_channels;
        let optional = |name: &str, channels: i64| match root.at(name).has("weight") {
            true => Ok(Some(root.conv(name, channels, channels, 1, 1, 0)?)),
            false => Ok::<_, Error>(None),
        };
        let vae = Self {
            kind,
            encoder: Encoder::load(&root.at("encoder"), &config)?,
            decoder: Decoder::load(&root.at("decoder"), &config)?,
            quantise: optional("quant_conv", 2 * latent)?,
            dequantise: optional("post_quant_conv", latent)?,
            config,
        };
        checkpoint.finish()?;
        Ok(vae)
    }

    /// The latents of pictures: the mean of the posterior, and with `noise` a sample of it. In f32.
    ///
    /// # Errors
    /// Sides that are not multiples of the scale.
    pub(crate) fn encode(&self, pictures: &Tensor, noise: Option<&Tensor>) -> Result<Tensor> {
        let (mean, log_variance) = self.moments(pictures)?;
        let sample = match noise {
            None => mean,
            Some(noise) => {
                let deviation = log_variance.f_mul_scalar(0.5)?.f_exp()?;
                mean.f_add(&deviation.f_mul(noise)?)?
            }
        };
        Ok(sample.f_mul_scalar(self.config.scaling_factor)?)
    }

    /// Mean and log variance of the posterior, without the scaling factor.
    pub(crate) fn moments(&self, pictures: &Tensor) -> Result<(Tensor, Tensor)> {
        let (_, _, height, width) = pictures.size4()?;
        let scale = self.config.scale();
        if height % scale != 0 || width % scale != 0 {
            return Err(Error::BadParameter(format!(
                "a picture of {width}x{height} cannot be encoded: both sides must be multiples of {scale}"
            )));
        }
        let mut state = self
            .encoder
            .forward(&channels_last(&pictures.f_to_kind(self.kind)?)?)?;
        if let Some(quantise) = &self.quantise {
            state = quantise.forward(&state)?;
        }
        let parts = state.f_to_kind(Kind::Float)?.f_chunk(2, 1)?;
        Ok((parts[0].shallow_clone(), parts[1].f_clamp(-30.0, 20.0)?))
    }

    /// The pictures of latents, in f32, not cut to -1..1. Large ones are put together from tiles.
    pub(crate) fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = latents.size4()?;
        let latents = latents.f_div_scalar(self.config.scaling_factor)?;
        match height <= TILE && width <= TILE {
            true => self.decode_whole(&latents),
            false => tiled(&latents, self.config.scale(), |tile| {
                self.decode_whole(tile)
            }),
        }
    }

    fn decode_whole(&self, latents: &Tensor) -> Result<Tensor> {
        let mut state = channels_last(&latents.f_to_kind(self.kind)?)?;
        if let Some(dequantise) = &self.dequantise {
            state = dequantise.forward(&state)?;
        }
        Ok(self.decoder.forward(&state)?.f_to_kind(Kind::Float)?)
    }
}

/// Decodes tiles that overlap, and blends each into the ones above and to its left.
fn tiled(
    latents: &Tensor,
    scale: i64,
    decode: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let (_, _, height, width) = latents.size4()?;
    let stride = TILE - OVERLAP;
    let starts = |side: i64| {
        (0..side)
            .step_by(stride as usize)
            .filter(move |&at| at == 0 || at + OVERLAP < side)
    };
    let mut rows: Vec<Vec<Tensor>> = Vec::new();
    for top in starts(height) {
        let tall = TILE.min(height - top);
        let band = latents.f_narrow(2, top, tall)?;
        let row = starts(width).map(|left| {
            let tile = band.f_narrow(3, left, TILE.min(width - left))?;
            decode(&tile)
        });
        rows.push(row.collect::<Result<_>>()?);
    }
    let (blend, keep) = (OVERLAP * scale, stride * scale);
    let mut bands = Vec::new();
    for (n, row) in rows.iter().enumerate() {
        let mut parts = Vec::new();
        for (m, tile) in row.iter().enumerate() {
            let mut tile = tile.shallow_clone();
            if n > 0 {
                tile = blended(&rows[n - 1][m], &tile, 2, blend, keep)?;
            }
            if m > 0 {
                // The neighbour as it is after its own blending upwards.
                let mut beside = row[m - 1].shallow_clone();
                if n > 0 {
                    beside = blended(&rows[n - 1][m - 1], &beside, 2, blend, keep)?;
                }
                tile = blended(&beside, &tile, 3, blend, keep)?;
            }
            let (_, _, tall, wide) = tile.size4()?;
            let tall = if n + 1 < rows.len() { keep } else { tall };
            let wide = if m + 1 < row.len() { keep } else { wide };
            parts.push(tile.f_narrow(2, 0, tall)?.f_narrow(3, 0, wide)?);
        }
        bands.push(Tensor::f_cat(&parts, 3)?);
    }
    Ok(Tensor::f_cat(&bands, 2)?)
}

/// A tile whose first `blend` pixels along a dimension fade over from the one before, which continues there from `keep`
/// on.
fn blended(before: &Tensor, tile: &Tensor, dim: i64, blend: i64, keep: i64) -> Result<Tensor> {
    let length = tile.size()[dim as usize];
    let blend = blend.min(length).min(before.size()[dim as usize] - keep);
    let mut shape = [1, 1, 1, 1];
    shape[dim as usize] = blend;
    let share = Tensor::f_arange(blend, (Kind::Float, tile.device()))?
        .f_add_scalar(0.5)?
        .f_div_scalar(blend as f64)?
        .f_reshape(shape)?;
    let (old, new) = (
        before.f_narrow(dim, keep, blend)?,
        tile.f_narrow(dim, 0, blend)?,
    );
    let mixed = old.f_add(&new.f_sub(&old)?.f_mul(&share)?)?;
    let rest = tile.f_narrow(dim, blend, length - blend)?;
    Ok(Tensor::f_cat(&[&mixed, &rest], dim)?)
}

impl Middle {
    fn load(here: &Scope<'_>, channels: i64, groups: i64) -> Result<Self> {
        let resnet = |n: usize| {
            let here = here.at("resnets").at(n);
            ResnetBlock::load(&here, channels, channels, None, groups, EPSILON)
        };
        let attention = here.at("attentions.0");
        // The first Stable Diffusions were published with the second names.
        let one = |names: [&str; 2]| {
            let name = attention.one_of(&names)?;
            attention.linear(name, channels, channels)
        };
        Ok(Self {
            first: resnet(0)?,
            norm: attention.group_norm("group_norm", channels, groups, EPSILON)?,
            qkv: Linear::stacked(&[
                &one(["to_q", "query"])?,
                &one(["to_k", "key"])?,
                &one(["to_v", "value"])?,
            ])?,
            out: one(["to_out.0", "proj_attn"])?,
            second: resnet(1)?,
        })
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let input = self.first.forward(input, None)?;
        let (batch, channels, height, width) = input.size4()?;
        let pixels = self
            .norm
            .forward(&input)?
            .f_permute([0, 2, 3, 1])?
            .f_reshape([batch, height * width, channels])?;
        let qkv = self.qkv.forward(&pixels)?.f_chunk(3, -1)?;
        let mixed = self
            .out
            .forward(&attend(&qkv[0], &qkv[1], &qkv[2], 1, false)?)?;
        let picture = mixed
            .f_reshape([batch, height, width, channels])?
            .f_permute([0, 3, 1, 2])?;
        self.second.forward(&picture.f_add(&input)?, None)
    }
}

/// So many residual blocks of one level.
fn resnets(
    here: &Scope<'_>,
    from: i64,
    to: i64,
    count: usize,
    groups: i64,
) -> Result<Vec<ResnetBlock>> {
    let load = |n: usize| {
        let from = if n == 0 { from } else { to };
        ResnetBlock::load(&here.at("resnets").at(n), from, to, None, groups, EPSILON)
    };
    (0..count).map(load).collect()
}

impl Encoder {
    fn load(here: &Scope<'_>, config: &VaeConfig) -> Result<Self> {
        let (channels, groups) = (&config.block_out_channels, config.norm_num_groups);
        let last = channels.len() - 1;
        let mut levels = Vec::new();
        for (level, &to) in channels.iter().enumerate() {
            let from = channels[level.saturating_sub(1)];
            let here = here.at("down_blocks").at(level);
            let smaller = match level == last {
                true => None,
                false => Some(here.at("downsamplers.0").conv("conv", to, to, 3, 2, 0)?),
            };
            levels.push((
                resnets(&here, from, to, config.layers_per_block, groups)?,
                smaller,
            ));
        }
        let widest = channels[last];
        Ok(Self {
            enter: here.conv("conv_in", 3, channels[0], 3, 1, 1)?,
            levels,
            middle: Middle::load(&here.at("mid_block"), widest, groups)?,
            norm: here.group_norm("conv_norm_out", widest, groups, EPSILON)?,
            leave: here.conv("conv_out", widest, 2 * config.latent_channels, 3, 1, 1)?,
        })
    }

    fn forward(&self, pictures: &Tensor) -> Result<Tensor> {
        let mut state = self.enter.forward(pictures)?;
        for (resnets, smaller) in &self.levels {
            for resnet in resnets {
                state = resnet.forward(&state, None)?;
            }
            if let Some(smaller) = smaller {
                // Padded below and to the right only.
                state = smaller.forward(&state.f_constant_pad_nd([0, 1, 0, 1])?)?;
            }
        }
        let state = self.middle.forward(&state)?;
        self.leave.forward(&self.norm.forward(&state)?.f_silu_()?)
    }
}

impl Decoder {
    fn load(here: &Scope<'_>, config: &VaeConfig) -> Result<Self> {
        let (channels, groups) = (&config.block_out_channels, config.norm_num_groups);
        let last = channels.len() - 1;
        let widest = channels[last];
        let mut levels = Vec::new();
        let mut from = widest;
        for place in 0..channels.len() {
            let to = channels[last - place];
            let here = here.at("up_blocks").at(place);
            let larger = match place == last {
                true => None,
                false => Some(Upsample::load(&here.at("upsamplers.0"), to)?),
            };
            levels.push((
                resnets(&here, from, to, config.layers_per_block + 1, groups)?,
                larger,
            ));
            from = to;
        }
        Ok(Self {
            enter: here.conv("conv_in", config.latent_channels, widest, 3, 1, 1)?,
            middle: Middle::load(&here.at("mid_block"), widest, groups)?,
            levels,
            norm: here.group_norm("conv_norm_out", channels[0], groups, EPSILON)?,
            leave: here.conv("conv_out", channels[0], 3, 3, 1, 1)?,
        })
    }

    fn forward(&self, latents: &Tensor) -> Result<Tensor> {
        let mut state = self.middle.forward(&self.enter.forward(latents)?)?;
        for (resnets, larger) in &self.levels {
            for resnet in resnets {
                state = resnet.forward(&state, None)?;
            }
            if let Some(larger) = larger {
                let (_, _, height, width) = state.size4()?;
                state = larger.forward(&state, [2 * height, 2 * width])?;
            }
        }
        self.leave.forward(&self.norm.forward(&state)?.f_silu_()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_put_together_are_the_whole_where_a_pixel_depends_on_itself_alone() {
        // A decoder that only repeats pixels: tiling must not be seen at all.
        let decode = |latent: &Tensor| {
            let (_, _, height, width) = latent.size4()?;
            Ok(latent.f_upsample_nearest2d([2 * height, 2 * width], None, None)?)
        };
        for (height, width) in [(129, 130), (300, 100), (96, 224), (128, 225), (320, 321)] {
            let latent = Tensor::randn([1, 3, height, width], (Kind::Float, tch::Device::Cpu));
            let (whole, tiles) = (decode(&latent).unwrap(), tiled(&latent, 2, decode).unwrap());
            assert_eq!(whole.size(), tiles.size());
            let difference = (whole - tiles).abs().max().double_value(&[]);
            assert!(difference < 1e-5, "{height}x{width}: {difference}");
        }
    }
}
