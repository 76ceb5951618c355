//! Gemma 3 (arXiv:2503.19786), text only: norms before and after each part, five layers that see a window for one that
//! sees everything, and embeddings scaled to the width.
//!
//! The reference is transformers' `models/gemma3/modeling_gemma3.py`. Norms are stored as what is added to 1; GGUF's
//! converter adds it.

use super::HfConfig;
use super::gguf_config::GgufConfig;
use super::hf_config::Defaults;
use crate::decoder::{Activation, Config, LayerKind, Layout, Rotary, Scaling};
use crate::error::{Error, Result};

/// Of so many layers one sees everything.
const PATTERN: usize = 6;
/// The base of the rotations of layers with a window.
const LOCAL_BASE: f64 = 10_000.0;
/// The base of the others.
const GLOBAL_BASE: f64 = 1_000_000.0;
const WINDOW: i64 = 4096;

pub(super) fn of_folder(file: &HfConfig) -> Result<Config> {
    let activation = file
        .text("hidden_activation")
        .unwrap_or("gelu_pytorch_tanh");
    if activation != "gelu_pytorch_tanh" {
        return Err(Error::Unsupported(format!("the activation {activation}")));
    }
    let sizes = file.sizes(Defaults {
        kv_heads: Some(4),
        head_width: Some(256),
        ..Defaults::LLAMA
    })?;
    let head_width = sizes.head_width;
    let (global, local) = match file.object("rope_parameters") {
        Some(both) => {
            let of = |kind: &str, base: f64| -> Result<Rotary> {
                let parameters = both.object(kind);
                let own = parameters.as_ref().map(|own| own.float("rope_theta"));
                let base = own.transpose()?.flatten().unwrap_or(base);
                file.rotary_of(parameters.as_ref(), head_width, base)
            };
            (
                of("full_attention", GLOBAL_BASE)?,
                of("sliding_attention", LOCAL_BASE)?,
            )
        }
        None => {
            let local = file.float("rope_local_base_freq")?.unwrap_or(LOCAL_BASE);
            (
                file.rotary(head_width, GLOBAL_BASE)?,
                file.rotary_of(None, head_width, local)?,
            )
        }
    };
    let mut config = like_gemma(Config::plain("gemma3", sizes, global), local);
    config.norm_offset = 1.0;
    config.ties_by_default = true;
    let biased = file.flag("attention_bias")?.unwrap_or(false);
    (config.qkv_bias, config.output_bias) = (biased, biased);
    let scalar = file.float("query_pre_attn_scalar")?.unwrap_or(256.0);
    config.attention_scale = scalar.powf(-0.5);
    config.attention_cap = file.float("attn_logit_softcapping")?;
    config.logit_cap = file.float("final_logit_softcapping")?;
    let window = file.size("sliding_window")?.unwrap_or(WINDOW);
    let pattern = match file.size("sliding_window_pattern")? {
        Some(pattern) => pattern as usize,
        None => file
            .size("_sliding_window_pattern")?
            .map_or(PATTERN, |size| size as usize),
    };
    match file.texts("layer_types")? {
        Some(kinds) => {
            for (layer, kind) in config.layers.iter_mut().zip(kinds) {
                *layer = layer_kind(kind == "sliding_attention", window);
            }
        }
        None => set_windows(&mut config, window, pattern),
    }
    Ok(config)
}

pub(super) fn of_gguf(file: &GgufConfig<'_>) -> Result<Config> {
    let config = file.plain("gemma3", Layout::Halves)?;
    let local = Rotary {
        base: file.float("rope.freq_base_swa").unwrap_or(LOCAL_BASE),
        scaling: Scaling::None,
        ..config.rotaries[0].clone()
    };
    let mut config = like_gemma(config, local);
    if file.float("rope.freq_base").is_none() {
        config.rotaries[0].base = GLOBAL_BASE;
    }
    // The file does not say it; of the published models only the largest scales by its width.
    if config.layers.len() == 62 {
        config.attention_scale = (config.width as f64 / config.heads as f64).powf(-0.5);
    }
    config.attention_cap = file.float("attn_logit_softcapping");
    config.logit_cap = file.float("final_logit_softcapping");
    let window = file.window()?.unwrap_or(WINDOW);
    let pattern = file.size("attention.sliding_window_pattern")?;
    set_windows(
        &mut config,
        window,
        pattern.map_or(PATTERN, |size| size as usize),
    );
    Ok(config)
}

fn like_gemma(config: Config, local: Rotary) -> Config {
    let global = config.rotaries[0].clone();
    Config {
        rotaries: vec![global, local],
        activation: Activation::GeluTanh,
        head_norms: true,
        post_norms: true,
        embedding_scale: (config.width as f64).sqrt(),
        ..config
    }
}

fn set_windows(config: &mut Config, window: i64, pattern: usize) {
    for (index, layer) in config.layers.iter_mut().enumerate() {
        *layer = layer_kind((index + 1) % pattern != 0, window);
    }
}

fn layer_kind(is_local: bool, window: i64) -> LayerKind {
    LayerKind {
        window: is_local.then_some(window),
        rotary: usize::from(is_local),
    }
}
