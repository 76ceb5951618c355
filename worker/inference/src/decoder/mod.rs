//! The decoder that all families of language models share: blocks of attention and a feed-forward part around a residual
//! stream (Vaswani et al., 2017, arXiv:1706.03762; RMS norms before each part, as in LLaMA, arXiv:2302.13971).
//!
//! A [`Config`] says in what a family differs; `families/` reads it from a model's files. Several sequences are computed
//! together: their tokens are the rows of every matrix product, and only attention looks at each by itself.
//!
//! Promises: weights that do not fit the description are an error, no weight stays unread, and nothing panics on what a
//! file says.

mod attention;
mod config;
#[cfg(test)]
mod parity;
mod pool;
mod rotary;
mod steps;

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::linear::Linear;
use crate::weights::Weights;

pub(crate) use config::{Activation, Config, LayerKind, Sizes};
pub(crate) use pool::{Cache, PAGE, Pool};
use rotary::Table;
pub(crate) use rotary::{Layout, Rotary, Scaling};

/// A matrix, and what is added to its product.
struct Projection {
    matrix: Linear,
    bias: Option<Tensor>,
}

impl Projection {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let product = self.matrix.forward(x)?;
        Ok(match &self.bias {
            Some(bias) => product.f_add(bias)?,
            None => product,
        })
    }
}

struct Layer {
    attention_norm: Tensor,
    /// Rows: queries, keys, values.
    qkv: Projection,
    query_norm: Option<Tensor>,
    key_norm: Option<Tensor>,
    output: Projection,
    post_attention_norm: Option<Tensor>,
    feed_forward_norm: Tensor,
    /// Rows: gate, up.
    gate_up: Projection,
    down: Projection,
    post_feed_forward_norm: Option<Tensor>,
    kind: LayerKind,
}

/// The model, ready to compute.
pub(crate) struct Decoder {
    config: Config,
    embedding: Linear,
    layers: Vec<Layer>,
    norm: Tensor,
    /// Without an output matrix the embedding serves as one ("tied").
    head: Option<Linear>,
    /// For each of the config's rotations: for sequences inside the original context, and for longer ones.
    tables: Vec<[Table; 2]>,
    device: tch::Device,
    kind: Kind,
}

/// New tokens of one sequence.
pub(crate) struct Part<'a> {
    /// At least one, and as many as [`Pool::reserve`] has made room for.
    pub ids: &'a [u32],
    /// What they continue.
    pub cache: &'a mut Cache,
}

impl Decoder {
    /// Reads all weights, for at most `context` positions.
    pub(crate) fn load(
        config: Config,
        weights: Weights,
        vocabulary: usize,
        context: usize,
    ) -> Result<Self> {
        config.check()?;
        let (device, kind) = (weights.device(), weights.kind());
        let (width, inner) = (config.width, config.feed_forward);
        let (q, kv) = (
            config.heads * config.head_width,
            config.kv_heads * config.head_width,
        );
        let norm = |name: &str, size: i64| -> Result<Tensor> {
            let weight = weights.get(name, &[size])?;
            Ok(match config.norm_offset {
                0.0 => weight,
                offset => weight.f_add_scalar(offset)?,
            })
        };
        let bias = |names: &[String], sizes: &[i64], wanted: bool| -> Result<Option<Tensor>> {
            if !wanted {
                return Ok(None);
            }
            let parts = names.iter().zip(sizes);
            let parts = parts.map(|(name, &size)| weights.get(name, &[size]));
            let parts = parts.collect::<Result<Vec<_>>>()?;
            Ok(Some(Tensor::f_cat(&parts, 0)?))
        };
        // Several matrices on the same input are one; some families store them so.
        let projection =
            |layer: usize, whole: &str, parts: &[&str], rows: &[i64], columns, biased| {
                let name = |part: &str, what: &str| format!("blk.{layer}.{part}.{what}");
                let total = [rows.iter().sum::<i64>()];
                let is_whole = parts.len() == 1
                    || !weights.has(&name(parts[0], "weight"))
                        && weights.has(&name(whole, "weight"));
                let (parts, rows) = match is_whole {
                    true => (&[whole] as &[&str], total.as_slice()),
                    false => (parts, rows),
                };
                let names = |what: &str| -> Vec<String> {
                    parts.iter().map(|part| name(part, what)).collect()
                };
                Ok::<_, Error>(Projection {
                    matrix: weights.matrix(&names("weight"), rows, columns)?,
                    bias: bias(&names("bias"), rows, biased)?,
                })
            };
        let mut layers = Vec::new();
        for (index, &kind) in config.layers.iter().enumerate() {
            let name = |part: &str| format!("blk.{index}.{part}.weight");
            let optional = |part: &str, size: i64, wanted: bool| {
                wanted.then(|| norm(&name(part), size)).transpose()
            };
            layers.push(Layer {
                attention_norm: norm(&name("attn_norm"), width)?,
                qkv: projection(
                    index,
                    "attn_qkv",
                    &["attn_q", "attn_k", "attn_v"],
                    &[q, kv, kv],
                    width,
                    config.qkv_bias,
                )?,
                query_norm: optional("attn_q_norm", config.head_width, config.head_norms)?,
                key_norm: optional("attn_k_norm", config.head_width, config.head_norms)?,
                output: projection(
                    index,
                    "attn_output",
                    &["attn_output"],
                    &[width],
                    q,
                    config.output_bias,
                )?,
                post_attention_norm: optional("post_attention_norm", width, config.post_norms)?,
                feed_forward_norm: norm(&name("ffn_norm"), width)?,
                // Where gate and up are stored as one, that one is called up.
                gate_up: projection(
                    index,
                    "ffn_up",
                    &["ffn_gate", "ffn_up"],
                    &[inner, inner],
                    width,
                    config.feed_forward_bias,
                )?,
                down: projection(
                    index,
                    "ffn_down",
                    &["ffn_down"],
                    &[width],
                    inner,
                    config.feed_forward_bias,
                )?,
                post_feed_forward_norm: optional("post_ffw_norm", width, config.post_norms)?,
                kind,
            });
        }
        let rows = [vocabulary as i64];
        let embedding = weights.matrix(&["token_embd.weight".into()], &rows, width)?;
        let head = match weights.has("output.weight") {
            true => Some(weights.matrix(&["output.weight".into()], &rows, width)?),
            false => None,
        };
        let norm = norm("output_norm.weight", width)?;
        weights.finish()?;
        let table = |rotary: &Rotary, is_long| Table::new(rotary.clone(), is_long, context, device);
        let tables = config.rotaries.iter();
        let tables = tables.map(|rotary| [false, true].map(|is_long| table(rotary, is_long)));
        Ok(Self {
            tables: tables.collect(),
            config,
            embedding,
            layers,
            norm,
            head,
            device,
            kind,
        })
    }

    /// Bytes of the weights that activations are multiplied with, as they lie in memory.
    pub(crate) fn weight_bytes(&self) -> u64 {
        let layers = self.layers.iter().flat_map(|layer| {
            [&layer.qkv, &layer.output, &layer.gate_up, &layer.down]
                .map(|projection| projection.matrix.bytes())
        });
        let ends = [Some(&self.embedding), self.head.as_ref()];
        layers
            .chain(ends.into_iter().flatten().map(Linear::bytes))
            .sum()
    }

    /// Parameters of the embedding and, where it is another matrix, the head.
    pub(crate) fn end_parameters(&self) -> u64 {
        let matrices = if self.head.is_some() { 2 } else { 1 };
        (self.embedding.rows() as u64) * (self.config.width as u64) * matrices
    }

    /// Memory for the keys and values of so many positions.
    pub(crate) fn pool(&self, positions: usize) -> Result<Pool> {
        Pool::new(&self.config, positions, self.device, self.kind)
    }

    /// True if a sequence that may come to have so many tokens, prompt and answer together, is turned otherwise than
    /// shorter ones.
    pub(crate) fn is_long(&self, capacity: usize) -> bool {
        let mut rotaries = self.config.rotaries.iter();
        rotaries.any(|rotary| rotary.is_long(capacity))
    }

    /// Continues the sequences by their new tokens. Returns the residual stream after all layers, for all of them in
    /// order: [tokens, width].
    pub(crate) fn forward(&self, parts: &mut [Part<'_>], pool: &mut Pool) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let rows = attention::Rows::of(parts, &self.config, &self.tables, self.device, self.kind)?;
        let ids: Vec<u32> = parts.iter().flat_map(|part| part.ids).copied().collect();
        if ids.is_empty() || ids.iter().any(|&id| id as usize >= self.embedding.rows()) {
            return Err(Error::BadParameter("ids do not fit the model".into()));
        }
        let config = &self.config;
        let mut x = self.embedding.select(&ids)?;
        if config.embedding_scale != 1.0 {
            // Rounded to the model's own number format first, as transformers does.
            let scale = Tensor::f_from_slice(&[config.embedding_scale])?;
            x = x.f_mul(&scale.f_to_kind(self.kind)?.f_to_device(self.device)?)?;
        }
        for (index, layer) in self.layers.iter().enumerate() {
            let normed = self.rms(&x, &layer.attention_norm)?;
            let qkv = layer.qkv.forward(&normed)?;
            let mixed = rows.attend(layer, &qkv, &mut pool.layers[index])?;
            let mut mixed = layer.output.forward(&mixed)?;
            if let Some(norm) = &layer.post_attention_norm {
                mixed = self.rms(&mixed, norm)?;
            }
            x = steps::add(x, &mixed)?;
            let normed = self.rms(&x, &layer.feed_forward_norm)?;
            let gate_up = layer.gate_up.forward(&normed)?;
            let gated = steps::gated(&gate_up, config.activation)?;
            let mut fed = layer.down.forward(&gated)?;
            if let Some(norm) = &layer.post_feed_forward_norm {
                fed = self.rms(&fed, norm)?;
            }
            x = steps::add(x, &fed)?;
        }
        for part in parts {
            pool.filled(part.cache, part.ids);
        }
        Ok(x)
    }

    /// Logits of some rows of the residual stream, in f32 on the CPU: [rows, vocabulary].
    pub(crate) fn head(&self, x: &Tensor) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let head = self.head.as_ref().unwrap_or(&self.embedding);
        let logits = head.forward(&self.rms(x, &self.norm)?)?;
        let logits = logits.f_to_kind(Kind::Float)?;
        let logits = match self.config.logit_cap {
            Some(cap) => logits.f_div_scalar(cap)?.f_tanh()?.f_mul_scalar(cap)?,
            None => logits,
        };
        Ok(logits.f_to_device(tch::Device::Cpu)?.f_contiguous()?)
    }

    fn rms(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        steps::rms(x, weight, self.config.epsilon)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two layers of two heads, for tests of what lies around a model.
    pub(crate) fn tiny_config() -> Config {
        let sizes = Sizes {
            layers: 2,
            width: 8,
            feed_forward: 16,
            heads: 2,
            kv_heads: 1,
            head_width: 4,
            context: 64,
            epsilon: 1e-5,
        };
        let rotary = Rotary {
            layout: Layout::Halves,
            width: 4,
            base: 10_000.0,
            scaling: Scaling::None,
        };
        Config::plain("llama", sizes, rotary)
    }

    #[test]
    fn absurd_descriptions_are_refused() {
        let config = tiny_config();
        assert!(config.check().is_ok());
        let spoiled: [fn(&mut Config); 10] = [
            |c| c.layers.clear(),
            |c| c.width = 0,
            |c| c.kv_heads = 3,
            |c| c.kv_heads = 0,
            |c| c.head_width = 5,
            |c| c.epsilon = f64::NAN,
            |c| c.layers[1].window = Some(0),
            |c| c.attention_scale = f64::INFINITY,
            |c| c.logit_cap = Some(0.0),
            |c| c.rotaries[0].width = 6,
        ];
        for spoil in spoiled {
            let mut config = tiny_config();
            spoil(&mut config);
            assert!(config.check().is_err(), "{config:?}");
        }
    }
}
