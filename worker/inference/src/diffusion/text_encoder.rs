//! CLIP's text transformer (Radford et al. 2021), which turns a prompt into what the UNet attends to.

use serde::Deserialize;
use tch::{Kind, Tensor};

use super::checkpoint::{Checkpoint, Scope};
use super::layers::{LayerNorm, Linear, attend};
use crate::error::{Error, Result};

/// A text encoder's `config.json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TextEncoderConfig {
    pub(crate) hidden_size: i64,
    pub(crate) intermediate_size: i64,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: i64,
    pub(crate) vocab_size: i64,
    #[serde(default = "max_positions")]
    pub(crate) max_position_embeddings: i64,
    #[serde(default = "epsilon")]
    pub(crate) layer_norm_eps: f64,
    #[serde(default)]
    pub(crate) hidden_act: Activation,
    #[serde(default = "projection")]
    pub(crate) projection_dim: i64,
    #[serde(default = "end_token")]
    pub(crate) eos_token_id: i64,
}

fn max_positions() -> i64 {
    77
}
fn epsilon() -> f64 {
    1e-5
}
fn projection() -> i64 {
    512
}
fn end_token() -> i64 {
    49_407
}

/// The function between the two matrices of a layer's perceptron.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Activation {
    /// x * sigmoid(1.702 x), OpenAI's.
    #[default]
    QuickGelu,
    /// The exact one, OpenCLIP's.
    Gelu,
}

/// What a prompt becomes.
pub(crate) struct Encoded {
    /// What enters each layer, and what leaves the last: prompts by tokens by channels.
    pub(crate) hidden: Vec<Tensor>,
    /// The last one normalised.
    pub(crate) last: Tensor,
    /// `last` at each prompt's end, projected where the model has a projection.
    pub(crate) pooled: Tensor,
}

pub(crate) struct TextEncoder {
    config: TextEncoderConfig,
    tokens: Tensor,
    positions: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
    projection: Option<Linear>,
}

struct Layer {
    norm1: LayerNorm,
    qkv: Linear,
    out: Linear,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
}

impl TextEncoder {
    pub(crate) fn load(
        config: TextEncoderConfig,
        checkpoint: &Checkpoint,
        device: tch::Device,
        kind: Kind,
    ) -> Result<Self> {
        let sizes = [
            config.hidden_size,
            config.intermediate_size,
            config.num_attention_heads,
            config.vocab_size,
            config.max_position_embeddings,
        ];
        let sound = sizes.iter().all(|size| (1..=1 << 24).contains(size))
            && config.num_hidden_layers <= 256
            && config.hidden_size % config.num_attention_heads == 0;
        if !sound {
            return Err(Error::Damaged(
                "the text encoder's sizes make no sense".into(),
            ));
        }
        let root = checkpoint.root(device, kind);
        checkpoint.ignore(|name| name.ends_with("position_ids") || name == "logit_scale");
        // Newer versions of transformers leave this level out.
        let text = match root.at("text_model").has("final_layer_norm.weight") {
            true => root.at("text_model"),
            false => root.clone(),
        };
        let (hidden, epsilon) = (config.hidden_size, config.layer_norm_eps);
        let embeddings = text.at("embeddings");
        let layers = (0..config.num_hidden_layers)
            .map(|n| Layer::load(&config, &text.at("encoder.layers").at(n)))
            .collect::<Result<Vec<_>>>()?;
        let projection = match root.has("text_projection.weight") {
            true => Some(root.linear("text_projection", hidden, config.projection_dim)?),
            false => None,
        };
        let encoder = Self {
            tokens: embeddings.tensor("token_embedding.weight", &[config.vocab_size, hidden])?,
            positions: embeddings.tensor(
                "position_embedding.weight",
                &[config.max_position_embeddings, hidden],
            )?,
            layers,
            norm: text.layer_norm("final_layer_norm", hidden, epsilon)?,
            projection,
            config,
        };
        checkpoint.finish()?;
        Ok(encoder)
    }

    /// Leaves the projection out, where the model was trained without.
    pub(crate) fn without_projection(&mut self) {
        self.projection = None;
    }

    /// Channels of an embedding.
    pub(crate) fn width(&self) -> i64 {
        self.config.hidden_size
    }

    /// Tokens of one prompt.
    pub(crate) fn length(&self) -> usize {
        self.config.max_position_embeddings as usize
    }

    /// Encodes prompts of equal length.
    ///
    /// # Errors
    /// A token that the vocabulary does not have, or too many of them.
    pub(crate) fn encode(&self, prompts: &[Vec<u32>]) -> Result<Encoded> {
        let length = prompts.first().map_or(0, Vec::len);
        let equal = prompts.iter().all(|prompt| prompt.len() == length);
        if length == 0 || length > self.length() || !equal {
            return Err(Error::Tokenizer(format!(
                "prompts of {length} tokens do not fit the encoder's {}",
                self.length()
            )));
        }
        let ids: Vec<i64> = prompts.iter().flatten().map(|&id| id.into()).collect();
        if let Some(id) = ids.iter().find(|&&id| id >= self.config.vocab_size) {
            let known = self.config.vocab_size;
            return Err(Error::Tokenizer(format!(
                "token {id} is not among the encoder's {known}"
            )));
        }
        let shape = [prompts.len() as i64, length as i64];
        let ids = Tensor::f_from_slice(&ids)?
            .f_reshape(shape)?
            .f_to_device(self.tokens.device())?;
        let positions = self.positions.f_narrow(0, 0, length as i64)?;
        let mut state =
            Tensor::f_embedding(&self.tokens, &ids, -1, false, false)?.f_add(&positions)?;
        let mut hidden = vec![state.shallow_clone()];
        for layer in &self.layers {
            state = layer.forward(&state, &self.config)?;
            hidden.push(state.shallow_clone());
        }
        let last = self.norm.forward(&state)?;
        let ends: Vec<i64> = prompts.iter().map(|prompt| self.end_of(prompt)).collect();
        let rows: Vec<Tensor> = ends
            .iter()
            .zip(0..)
            .map(|(&end, row)| Ok(last.f_get(row)?.f_get(end)?))
            .collect::<Result<_>>()?;
        let pooled = Tensor::f_stack(&rows, 0)?;
        let pooled = match &self.projection {
            Some(projection) => projection.forward(&pooled)?,
            None => pooled,
        };
        Ok(Encoded {
            hidden,
            last,
            pooled,
        })
    }

    /// The hidden state `skip` layers before the end, normalised as the last one would be.
    pub(crate) fn skipping(&self, encoded: &Encoded, skip: usize) -> Result<Tensor> {
        if skip == 0 {
            return Ok(encoded.last.shallow_clone());
        }
        self.norm.forward(hidden(encoded, skip)?)
    }

    /// The first end token. Configurations from before transformers 4.30 say 2 where they mean the largest id.
    fn end_of(&self, prompt: &[u32]) -> i64 {
        let end = match self.config.eos_token_id {
            2 => prompt.iter().copied().max().unwrap_or(0).into(),
            end => end,
        };
        let at = prompt.iter().position(|&id| i64::from(id) == end);
        at.unwrap_or(0) as i64
    }
}

/// The hidden state that leaves the layer `skip` layers before the last.
pub(crate) fn hidden(encoded: &Encoded, skip: usize) -> Result<&Tensor> {
    let layers = encoded.hidden.len() - 1;
    let at = layers.checked_sub(skip);
    at.and_then(|at| encoded.hidden.get(at)).ok_or_else(|| {
        Error::BadParameter(format!(
            "clip skip {skip} is too large: the text encoder has {layers} layers"
        ))
    })
}

impl Layer {
    fn load(config: &TextEncoderConfig, here: &Scope<'_>) -> Result<Self> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let attention = here.at("self_attn");
        let [query, key, value] =
            ["q_proj", "k_proj", "v_proj"].map(|name| attention.linear(name, hidden, hidden));
        Ok(Self {
            norm1: here.layer_norm("layer_norm1", hidden, config.layer_norm_eps)?,
            qkv: Linear::stacked(&[&query?, &key?, &value?])?,
            out: attention.linear("out_proj", hidden, hidden)?,
            norm2: here.layer_norm("layer_norm2", hidden, config.layer_norm_eps)?,
            up: here.linear("mlp.fc1", hidden, inner)?,
            down: here.linear("mlp.fc2", inner, hidden)?,
        })
    }

    fn forward(&self, state: &Tensor, config: &TextEncoderConfig) -> Result<Tensor> {
        let qkv = self.qkv.forward(&self.norm1.forward(state)?)?;
        let parts = qkv.f_chunk(3, -1)?;
        let [query, key, value] = parts.as_slice() else {
            return Err(Error::Damaged("attention without three parts".into()));
        };
        let mixed = attend(query, key, value, config.num_attention_heads, true)?;
        let state = state.f_add(&self.out.forward(&mixed)?)?;
        let inner = self.up.forward(&self.norm2.forward(&state)?)?;
        let inner = match config.hidden_act {
            Activation::QuickGelu => inner.f_mul(&inner.f_mul_scalar(1.702)?.f_sigmoid()?)?,
            Activation::Gelu => inner.f_gelu("none")?,
        };
        Ok(state.f_add(&self.down.forward(&inner)?)?)
    }
}
