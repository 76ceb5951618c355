//! Llama 1, 2 and 3 (arXiv:2302.13971, arXiv:2307.09288, arXiv:2407.21783), and what is built like them, such as SmolLM2.
//!
//! The reference is transformers' `models/llama/modeling_llama.py`. GGUF's converter moves the rows of queries and keys so
//! that rotary pairs are neighbours; Mistral's files call themselves llama there and are written so too.

use super::HfConfig;
use super::gguf_config::GgufConfig;
use super::hf_config::Defaults;
use crate::decoder::{Config, Layout};
use crate::error::Result;

pub(super) fn of_folder(file: &HfConfig) -> Result<Config> {
    let mut config = file.plain("llama", Defaults::LLAMA)?;
    let biased = file.flag("attention_bias")?.unwrap_or(false);
    (config.qkv_bias, config.output_bias) = (biased, biased);
    config.feed_forward_bias = file.flag("mlp_bias")?.unwrap_or(false);
    Ok(config)
}

pub(super) fn of_gguf(file: &GgufConfig<'_>) -> Result<Config> {
    let mut config = file.plain("llama", Layout::Neighbours)?;
    config.qkv_bias = file.has("blk.0.attn_q.bias");
    config.output_bias = file.has("blk.0.attn_output.bias");
    config.feed_forward_bias = file.has("blk.0.ffn_down.bias");
    let window = file.window()?;
    config
        .layers
        .iter_mut()
        .for_each(|layer| layer.window = window);
    Ok(config)
}
