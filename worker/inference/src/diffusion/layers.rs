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
    let mixed = Tensor::f_scaled_dot_product_attention(
        &query,
        &key,
        &value,
        None::<&Tensor>,
        0.0,
        causal,
        None,
        false,
    )?;
    Ok(mixed
        .f_transpose(1, 2)?
        .f_reshape([batch, tokens, channels])?)
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
