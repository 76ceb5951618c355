//! The layers that all parts are made of. Pictures are laid out with their channels last in memory (diffusers'
//! `channels_last`), which libtorch's convolutions are fastest with; shapes stay batch, channels, height, width.

use tch::{Kind, Tensor};

use crate::error::Result;
use crate::prepacked::Prepacked;

/// A matrix and what is added.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Prepacked,
    bias: Option<Tensor>,
}

/// A convolution.
#[derive(Debug)]
pub(crate) struct Conv2d {
    weight: Prepacked,
    bias: Option<Tensor>,
    stride: i64,
    padding: i64,
}

/// Normalises groups of channels.
#[derive(Debug)]
pub(crate) struct GroupNorm {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
    pub(crate) groups: i64,
    pub(crate) epsilon: f64,
}

/// Normalises the last dimension.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
    pub(crate) epsilon: f64,
}

impl Linear {
    /// Of a weight of outputs by inputs.
    pub(crate) fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self {
            weight: Prepacked::new(weight),
            bias,
        }
    }

    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor> {
        self.weight.linear(input, self.bias.as_ref())
    }

    /// Several matrices on the same input as one.
    pub(crate) fn stacked(parts: &[&Self]) -> Result<Self> {
        let weights: Vec<Tensor> = parts
            .iter()
            .map(|part| part.weight.plain())
            .collect::<Result<_>>()?;
        let biases: Vec<&Tensor> = parts.iter().filter_map(|part| part.bias.as_ref()).collect();
        let bias = match biases.len() == parts.len() {
            true => Some(Tensor::f_cat(&biases, 0)?),
            false => None,
        };
        Ok(Self::new(Tensor::f_cat(&weights, 0)?, bias))
    }
}

impl Conv2d {
    pub(crate) fn new(
        weight: Tensor,
        bias: Option<Tensor>,
        stride: i64,
        padding: i64,
    ) -> Result<Self> {
        Ok(Self {
            weight: Prepacked::new(channels_last(&weight)?),
            bias,
            stride,
            padding,
        })
    }

    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let bias = self.bias.as_ref();
        self.weight
            .convolution(input, bias, self.stride, self.padding)
    }
}

impl GroupNorm {
    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        Ok(input.f_group_norm(self.groups, weight, bias, self.epsilon, true)?)
    }
}

impl LayerNorm {
    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        let shape = self.weight.size();
        Ok(input.f_layer_norm(shape, weight, bias, self.epsilon, true)?)
    }
}

/// The same picture with its channels next to one another in memory.
pub(crate) fn channels_last(picture: &Tensor) -> Result<Tensor> {
    Ok(picture
        .f_permute([0, 2, 3, 1])?
        .f_contiguous()?
        .f_permute([0, 3, 1, 2])?)
}

/// Attention of `heads` heads over batch, tokens, channels; keys and values may be of other tokens.
pub(crate) fn attend(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    heads: i64,
    causal: bool,
) -> Result<Tensor> {
    let split = |tensor: &Tensor| -> Result<Tensor> {
        let (batch, tokens, channels) = tensor.size3()?;
        let shape = [batch, tokens, heads, channels / heads];
        Ok(tensor.f_reshape(shape)?.f_transpose(1, 2)?)
    };
    let (batch, tokens, channels) = query.size3()?;
    let (query, key, value) = (split(query)?, split(key)?, split(value)?);
    let narrow = query.device() == tch::Device::Cpu && query.kind() == Kind::BFloat16;
    let mixed = match narrow && !causal && tokens.min(key.size()[2]) >= MANY {
        true => attend_in_pieces(&query, &key, &value)?,
        false => Tensor::f_scaled_dot_product_attention(
            &query,
            &key,
            &value,
            None::<&Tensor>,
            0.0,
            causal,
            None,
            false,
        )?,
    };
    Ok(mixed
        .f_transpose(1, 2)?
        .f_reshape([batch, tokens, channels])?)
}

/// From so many tokens on, products of pieces are faster than fused attention in bf16 on a processor.
const MANY: i64 = 1_024;
/// Queries of a piece: its weights over 4,096 keys take 4 MiB, which a cache holds.
const PIECE: i64 = 512;

/// Attention over batch, heads, tokens, channels, a head and a piece of the queries at a time. libtorch's fused attention
/// multiplies bf16 hardly faster than f32 on a processor; oneDNN's products are twice as fast (`docs/benchmarks.md`).
fn attend_in_pieces(query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
    let shape = query.size();
    let (tokens, size) = (shape[2], shape[3]);
    let flat = |tensor: &Tensor| -> Result<Tensor> {
        let rows = tensor.size()[2];
        Ok(tensor.f_reshape([-1, rows, size])?.f_contiguous()?)
    };
    let query = flat(query)?.f_mul_scalar(1.0 / (size as f64).sqrt())?;
    let (key, value) = (flat(key)?.f_transpose(1, 2)?, flat(value)?);
    let mut heads = Vec::new();
    for head in 0..query.size()[0] {
        let (query, key, value) = (query.f_get(head)?, key.f_get(head)?, value.f_get(head)?);
        let mut pieces = Vec::new();
        for start in (0..tokens).step_by(PIECE as usize) {
            let piece = query.f_narrow(0, start, PIECE.min(tokens - start))?;
            let weights = piece.f_matmul(&key)?.f_softmax(-1, None::<Kind>)?;
            pieces.push(weights.f_matmul(&value)?);
        }
        heads.push(Tensor::f_cat(&pieces, 0)?);
    }
    Ok(Tensor::f_stack(&heads, 0)?.f_reshape(shape)?)
}

/// Sines and cosines of times at falling frequencies (Vaswani et al. 2017), `size` numbers a time, in f32.
pub(crate) fn sinusoid(
    times: &Tensor,
    size: i64,
    cosine_first: bool,
    shift: f64,
) -> Result<Tensor> {
    let half = size / 2;
    let exponents = Tensor::f_arange(half, (Kind::Float, times.device()))?
        .f_mul_scalar(-f64::ln(10_000.0) / (half as f64 - shift))?;
    let angles = times
        .f_to_kind(Kind::Float)?
        .f_unsqueeze(-1)?
        .f_mul(&exponents.f_exp()?)?;
    let (sine, cosine) = (angles.f_sin()?, angles.f_cos()?);
    let both = match cosine_first {
        true => [cosine, sine],
        false => [sine, cosine],
    };
    Ok(Tensor::f_cat(&both, -1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attention_in_pieces_is_attention() {
        let _guard = tch::no_grad_guard();
        let random = |tokens: i64| {
            Tensor::randn([2, tokens, 48], (Kind::Float, tch::Device::Cpu)).to_kind(Kind::BFloat16)
        };
        let (query, key, value) = (random(MANY + 100), random(MANY), random(MANY));
        let narrow = attend(&query, &key, &value, 3, false).unwrap();
        let wide = |tensor: &Tensor| tensor.to_kind(Kind::Float);
        let exact = attend(&wide(&query), &wide(&key), &wide(&value), 3, false).unwrap();
        let difference = (wide(&narrow) - &exact).abs().max().double_value(&[]);
        assert!(difference < 0.01, "{difference}");
        // The values themselves are larger by far.
        assert!(exact.abs().max().double_value(&[]) > 0.1);
    }
}
