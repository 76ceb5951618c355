//! Qwen 2 and 2.5 (arXiv:2407.10671, arXiv:2412.15115), which add something to queries, keys and values, and Qwen 3
//! (arXiv:2505.09388), which normalises each head of queries and keys instead.
//!
//! The references are transformers' `models/qwen2/modeling_qwen2.py` and `models/qwen3/modeling_qwen3.py`.

use super::HfConfig;
use super::gguf_config::GgufConfig;
use super::hf_config::Defaults;
use crate::decoder::{Config, Layout};
use crate::error::Result;

const DEFAULTS: Defaults = Defaults {
    kv_heads: Some(32),
    ..Defaults::LLAMA
};

pub(super) fn qwen2_of_folder(file: &HfConfig) -> Result<Config> {
    let mut config = file.plain("qwen2", DEFAULTS)?;
    config.qkv_bias = true;
    windows(file, &mut config)?;
    Ok(config)
}

pub(super) fn qwen3_of_folder(file: &HfConfig) -> Result<Config> {
    let defaults = Defaults {
        // Unlike its relatives, it does not divide the width where the file is silent.
        head_width: Some(128),
        ..DEFAULTS
    };
    let mut config = file.plain("qwen3", defaults)?;
    config.head_norms = true;
    let biased = file.flag("attention_bias")?.unwrap_or(false);
    (config.qkv_bias, config.output_bias) = (biased, biased);
    windows(file, &mut config)?;
    Ok(config)
}

/// Upper layers may see only a window of positions; published models do not use it.
fn windows(file: &HfConfig, config: &mut Config) -> Result<()> {
    if !file.flag("use_sliding_window")?.unwrap_or(false) {
        return Ok(());
    }
    let window = file.size("sliding_window")?;
    if let Some(kinds) = file.texts("layer_types")? {
        for (layer, kind) in config.layers.iter_mut().zip(kinds) {
            layer.window = window.filter(|_| kind == "sliding_attention");
        }
        return Ok(());
    }
    let whole = file.size("max_window_layers")?.unwrap_or(28) as usize;
    let upper = config.layers.iter_mut().skip(whole);
    upper.for_each(|layer| layer.window = window);
    Ok(())
}

pub(super) fn qwen2_of_gguf(file: &GgufConfig<'_>) -> Result<Config> {
    let mut config = file.plain("qwen2", Layout::Halves)?;
    config.qkv_bias = true;
    Ok(config)
}

pub(super) fn qwen3_of_gguf(file: &GgufConfig<'_>) -> Result<Config> {
    let mut config = file.plain("qwen3", Layout::Halves)?;
    config.head_norms = true;
    config.qkv_bias = file.has("blk.0.attn_q.bias");
    config.output_bias = file.has("blk.0.attn_output.bias");
    Ok(config)
}
