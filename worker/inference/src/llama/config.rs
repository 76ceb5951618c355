//! The sizes of a Llama, read from its file and checked: nothing that a file says makes a later product overflow.

use crate::error::{Error, Result};
use crate::gguf::Gguf;

/// The sizes of a model, from its file's metadata.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Transformer blocks.
    pub layers: i64,
    /// Width of the residual stream.
    pub width: i64,
    /// Inner width of the feed-forward part.
    pub feed_forward: i64,
    /// Query heads.
    pub heads: i64,
    /// Key and value heads; divides `heads`.
    pub kv_heads: i64,
    /// Width of one head; even.
    pub head_width: i64,
    /// Positions that the model was trained for.
    pub context: usize,
    /// Added to the mean square in RMS normalisation.
    pub epsilon: f64,
    /// Base of the rotary frequencies.
    pub rope_base: f64,
}

impl Config {
    /// Reads and checks the sizes.
    pub fn from_gguf<B: AsRef<[u8]>>(gguf: &Gguf<B>) -> Result<Self> {
        let bad = |what: String| Error::Checkpoint(what);
        let optional = |key: &str| gguf.unsigned(&format!("llama.{key}"));
        let size = |key: &str| -> Result<i64> {
            let value = optional(key).ok_or_else(|| bad(format!("the file has no llama.{key}")))?;
            // Far above any real size, and small enough that no product below overflows.
            i64::try_from(value)
                .ok()
                .filter(|value| (1..=1 << 24).contains(value))
                .ok_or_else(|| bad(format!("llama.{key} is {value}")))
        };
        let (width, heads) = (size("embedding_length")?, size("attention.head_count")?);
        let kv_heads = optional("attention.head_count_kv")
            .map_or(Ok(heads), |_| size("attention.head_count_kv"))?;
        let head_width = optional("attention.key_length")
            .map_or(Ok(width / heads), |_| size("attention.key_length"))?;
        if heads % kv_heads != 0 || head_width == 0 || head_width % 2 != 0 || head_width > 1024 {
            return Err(bad(format!(
                "{heads} heads, {kv_heads} key heads of width {head_width}"
            )));
        }
        if optional("attention.value_length").is_some_and(|value| value != head_width as u64) {
            return Err(Error::Unsupported(
                "a value width unlike the key width".into(),
            ));
        }
        if optional("rope.dimension_count").is_some_and(|value| value != head_width as u64) {
            return Err(Error::Unsupported(
                "rotary positions on a part of each head".into(),
            ));
        }
        if optional("expert_count").is_some_and(|value| value > 0) {
            return Err(Error::Unsupported("a mixture of experts".into()));
        }
        if let Some(scaling) = gguf
            .text("llama.rope.scaling.type")
            .filter(|&scaling| scaling != "none")
        {
            return Err(Error::Unsupported(format!("rope scaling \"{scaling}\"")));
        }
        let epsilon = gguf.float("llama.attention.layer_norm_rms_epsilon");
        let epsilon = epsilon.filter(|&value| value > 0.0 && value < 1.0);
        let rope_base = gguf.float("llama.rope.freq_base").unwrap_or(10_000.0);
        if !(rope_base >= 1.0 && rope_base.is_finite()) {
            return Err(bad(format!("llama.rope.freq_base is {rope_base}")));
        }
        Ok(Self {
            layers: size("block_count")?,
            width,
            feed_forward: size("feed_forward_length")?,
            heads,
            kv_heads,
            head_width,
            context: size("context_length")? as usize,
            epsilon: epsilon.ok_or_else(|| {
                bad("llama.attention.layer_norm_rms_epsilon is missing or absurd".into())
            })?,
            rope_base,
        })
    }

    /// Elements of keys and values together that one position needs, over all layers.
    pub fn cache_elements(&self) -> u64 {
        2 * (self.layers * self.kv_heads * self.head_width) as u64
    }
}
