//! What UNet and VAE are built from: residual blocks, and transformers over the pixels of a picture.

use tch::Tensor;

use super::checkpoint::Scope;
use super::layers::{Conv2d, GroupNorm, LayerNorm, Linear, attend};
use crate::error::{Error, Result};

/// Two convolutions around which the input is added; in a UNet the time is added between them.
pub(crate) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

impl ResnetBlock {
    /// `time` is the size of the time's embedding, where there is one.
    pub(crate) fn load(
        here: &Scope<'_>,
        from: i64,
        to: i64,
        time: Option<i64>,
        groups: i64,
        epsilon: f64,
    ) -> Result<Self> {
        let time = match time {
            Some(size) => Some(here.linear("time_emb_proj", size, to)?),
            None => None,
        };
        let shortcut = match from == to && !here.at("conv_shortcut").has("weight") {
            true => None,
            false => Some(here.conv("conv_shortcut", from, to, 1, 1, 0)?),
        };
        Ok(Self {
            norm1: here.group_norm("norm1", from, groups, epsilon)?,
            conv1: here.conv("conv1", from, to, 3, 1, 1)?,
            time,
            norm2: here.group_norm("norm2", to, groups, epsilon)?,
            conv2: here.conv("conv2", to, to, 3, 1, 1)?,
            shortcut,
        })
    }

    /// `time` is the embedding after its activation.
    pub(crate) fn forward(&self, input: &Tensor, time: Option<&Tensor>) -> Result<Tensor> {
        // What was computed here is changed in place: new memory costs more than the sum.
        let mut inner = self.conv1.forward(&self.norm1.forward(input)?.f_silu_()?)?;
        if let (Some(projection), Some(time)) = (&self.time, time) {
            let time = projection.forward(time)?.f_unsqueeze(-1)?.f_unsqueeze(-1)?;
            let _ = inner.f_add_(&time)?;
        }
        inner = self.norm2.forward(&inner)?.f_silu_()?;
        inner = self.conv2.forward(&inner)?;
        match &self.shortcut {
            Some(shortcut) => Ok(inner.f_add_(&shortcut.forward(input)?)?),
            None => Ok(inner.f_add_(input)?),
        }
    }
}

/// Transformer blocks over the pixels of a picture, which also attend to the prompt.
pub(crate) struct PixelTransformer {
    norm: GroupNorm,
    enter: Linear,
    blocks: Vec<TransformerBlock>,
    leave: Linear,
}

/// The sizes of a transformer.
#[derive(Clone, Copy)]
pub(crate) struct TransformerSizes {
    pub(crate) channels: i64,
    pub(crate) heads: i64,
    pub(crate) blocks: usize,
    /// Of the prompt's embedding.
    pub(crate) context: i64,
    pub(crate) groups: i64,
}

impl PixelTransformer {
    pub(crate) fn load(here: &Scope<'_>, sizes: TransformerSizes) -> Result<Self> {
        let channels = sizes.channels;
        if sizes.heads < 1 || channels % sizes.heads != 0 {
            return Err(Error::Checkpoint(format!(
                "{channels} channels cannot be split into {} heads",
                sizes.heads
            )));
        }
        let blocks = here.at("transformer_blocks");
        Ok(Self {
            norm: here.group_norm("norm", channels, sizes.groups, 1e-6)?,
            // A convolution of one pixel in 1.x, a matrix since: the same either way.
            enter: here.linear("proj_in", channels, channels)?,
            blocks: (0..sizes.blocks)
                .map(|n| TransformerBlock::load(&blocks.at(n), sizes))
                .collect::<Result<_>>()?,
            leave: here.linear("proj_out", channels, channels)?,
        })
    }

    pub(crate) fn forward(&self, input: &Tensor, context: &Tensor) -> Result<Tensor> {
        let (batch, channels, height, width) = input.size4()?;
        let pixels = self
            .norm
            .forward(input)?
            .f_permute([0, 2, 3, 1])?
            .f_reshape([batch, height * width, channels])?;
        let mut state = self.enter.forward(&pixels)?;
        for block in &self.blocks {
            state = block.forward(&state, context)?;
        }
        let mut picture = self
            .leave
            .forward(&state)?
            .f_reshape([batch, height, width, channels])?
            .f_permute([0, 3, 1, 2])?;
        Ok(picture.f_add_(input)?)
    }
}

/// Attention to the picture itself, attention to the prompt, and a gated perceptron.
struct TransformerBlock {
    norm1: LayerNorm,
    qkv: Linear,
    out1: Linear,
    norm2: LayerNorm,
    query: Linear,
    kv: Linear,
    out2: Linear,
    norm3: LayerNorm,
    up: Linear,
    down: Linear,
    heads: i64,
}

impl TransformerBlock {
    fn load(here: &Scope<'_>, sizes: TransformerSizes) -> Result<Self> {
        let (channels, context) = (sizes.channels, sizes.context);
        let (own, other) = (here.at("attn1"), here.at("attn2"));
        Ok(Self {
            norm1: here.layer_norm("norm1", channels, 1e-5)?,
            qkv: Linear::stacked(&[
                &own.linear("to_q", channels, channels)?,
                &own.linear("to_k", channels, channels)?,
                &own.linear("to_v", channels, channels)?,
            ])?,
            out1: own.linear("to_out.0", channels, channels)?,
            norm2: here.layer_norm("norm2", channels, 1e-5)?,
            query: other.linear("to_q", channels, channels)?,
            kv: Linear::stacked(&[
                &other.linear("to_k", context, channels)?,
                &other.linear("to_v", context, channels)?,
            ])?,
            out2: other.linear("to_out.0", channels, channels)?,
            norm3: here.layer_norm("norm3", channels, 1e-5)?,
            up: here.linear("ff.net.0.proj", channels, 8 * channels)?,
            down: here.linear("ff.net.2", 4 * channels, channels)?,
            heads: sizes.heads,
        })
    }

    fn forward(&self, state: &Tensor, context: &Tensor) -> Result<Tensor> {
        let qkv = self
            .qkv
            .forward(&self.norm1.forward(state)?)?
            .f_chunk(3, -1)?;
        let mixed = attend(&qkv[0], &qkv[1], &qkv[2], self.heads, false)?;
        let state = self.out1.forward(&mixed)?.f_add_(state)?;
        let query = self.query.forward(&self.norm2.forward(&state)?)?;
        let kv = self.kv.forward(context)?.f_chunk(2, -1)?;
        let mixed = attend(&query, &kv[0], &kv[1], self.heads, false)?;
        let state = self.out2.forward(&mixed)?.f_add_(&state)?;
        let parts = self
            .up
            .forward(&self.norm3.forward(&state)?)?
            .f_chunk(2, -1)?;
        let gated = parts[1].f_gelu("none")?.f_mul_(&parts[0])?;
        Ok(self.down.forward(&gated)?.f_add_(&state)?)
    }
}

/// Twice the size, by repeating pixels, then a convolution.
pub(crate) struct Upsample(Conv2d);

impl Upsample {
    pub(crate) fn load(here: &Scope<'_>, channels: i64) -> Result<Self> {
        Ok(Self(here.conv("conv", channels, channels, 3, 1, 1)?))
    }

    /// To exactly this height and width, since halving may have rounded.
    pub(crate) fn forward(&self, input: &Tensor, size: [i64; 2]) -> Result<Tensor> {
        let larger = input.f_upsample_nearest2d(size, None, None)?;
        self.0.forward(&larger)
    }
}
