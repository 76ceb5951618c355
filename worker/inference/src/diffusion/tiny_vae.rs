//! TAESD (Bohan 2023), an autoencoder so small that it shows a picture while it is still being made.

use serde::Deserialize;
use tch::{Kind, Tensor};

use super::checkpoint::{Checkpoint, Scope};
use super::layers::{Conv2d, channels_last};
use crate::error::{Error, Result};

/// A tiny autoencoder's `config.json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TinyVaeConfig {
    decoder_block_out_channels: Vec<i64>,
    num_decoder_blocks: Vec<usize>,
    #[serde(default = "four")]
    latent_channels: i64,
}

fn four() -> i64 {
    4
}

/// The decoder; previews need no encoder.
pub(crate) struct TinyVae {
    kind: Kind,
    enter: Conv2d,
    levels: Vec<(Vec<Block>, Conv2d)>,
}

/// Three convolutions around which the input is added.
struct Block([Conv2d; 3]);

impl Block {
    fn load(here: &Scope<'_>, channels: i64) -> Result<Self> {
        let conv = |n: usize| {
            here.at("conv")
                .conv(&n.to_string(), channels, channels, 3, 1, 1)
        };
        Ok(Self([conv(0)?, conv(2)?, conv(4)?]))
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let [first, second, third] = &self.0;
        let inner = second.forward(&first.forward(input)?.f_relu()?)?.f_relu()?;
        Ok(third.forward(&inner)?.f_add(input)?.f_relu()?)
    }
}

impl TinyVae {
    pub(crate) fn load(
        config: &TinyVaeConfig,
        checkpoint: &Checkpoint,
        device: tch::Device,
        kind: Kind,
    ) -> Result<Self> {
        let (channels, counts) = (
            &config.decoder_block_out_channels,
            &config.num_decoder_blocks,
        );
        let equal = channels.windows(2).all(|pair| pair[0] == pair[1]);
        let sound = (1..=8).contains(&channels.len())
            && channels.len() == counts.len()
            && counts.iter().all(|count| *count <= 32);
        if !equal || !sound {
            return Err(Error::Unsupported("this kind of tiny VAE".into()));
        }
        let width = channels[0];
        let layers = checkpoint.root(device, kind).at("decoder.layers");
        // 0 and 1: the first convolution and its activation.
        let enter = layers.conv("0", config.latent_channels, width, 3, 1, 1)?;
        let mut at = 2;
        let mut levels = Vec::new();
        for (level, &count) in counts.iter().enumerate() {
            let blocks: Result<Vec<_>> = (at..at + count)
                .map(|n| Block::load(&layers.at(n), width))
                .collect();
            at += count;
            let last = level + 1 == counts.len();
            // A doubling stands before the convolution, but for the last one, which leaves colours.
            at += usize::from(!last);
            let to = if last { 3 } else { width };
            levels.push((blocks?, layers.conv(&at.to_string(), width, to, 3, 1, 1)?));
            at += 1;
        }
        checkpoint.ignore(|name| name.starts_with("encoder."));
        checkpoint.finish()?;
        Ok(Self {
            kind,
            enter,
            levels,
        })
    }

    /// Pictures of latents as the UNet sees them, roughly between -1 and 1, in f32.
    pub(crate) fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let latents = channels_last(&latents.f_to_kind(self.kind)?)?;
        let bounded = latents.f_div_scalar(3.0)?.f_tanh()?.f_mul_scalar(3.0)?;
        let mut state = self.enter.forward(&bounded)?.f_relu()?;
        for (level, (blocks, leave)) in self.levels.iter().enumerate() {
            for block in blocks {
                state = block.forward(&state)?;
            }
            if level + 1 < self.levels.len() {
                let (_, _, height, width) = state.size4()?;
                state = state.f_upsample_nearest2d([2 * height, 2 * width], None, None)?;
            }
            state = leave.forward(&state)?;
        }
        let picture = state.f_to_kind(Kind::Float)?;
        Ok(picture.f_mul_scalar(2.0)?.f_sub_scalar(1.0)?)
    }
}
