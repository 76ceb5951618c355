//! Phi-3 and Phi-4-mini (arXiv:2404.14219, arXiv:2503.01743): queries, keys and values stored as one matrix, gate and up as
//! one, and rotations whose factors differ for long sequences.
//!
//! The reference is transformers' `models/phi3/modeling_phi3.py`. It switches to the factors for long sequences in
//! mid-answer, when the text passes the original context, and leaves older keys as they are; here the length that a
//! sequence may come to have decides from its beginning, so that its keys fit one another and a second look at it computes
//! the same.

use super::HfConfig;
use super::gguf_config::GgufConfig;
use super::hf_config::{Defaults, long_magnitude};
use crate::decoder::{Config, Layout, Scaling};
use crate::error::{Error, Result};

const DEFAULTS: Defaults = Defaults {
    epsilon: 1e-5,
    ..Defaults::LLAMA
};

pub(super) fn of_folder(file: &HfConfig) -> Result<Config> {
    let mut config = file.plain("phi3", DEFAULTS)?;
    let window = file.window(None)?;
    config
        .layers
        .iter_mut()
        .for_each(|layer| layer.window = window);
    Ok(config)
}

pub(super) fn of_gguf(file: &GgufConfig<'_>) -> Result<Config> {
    let mut config = file.plain("phi3", Layout::Halves)?;
    let window = file.window()?;
    config
        .layers
        .iter_mut()
        .for_each(|layer| layer.window = window);
    let pairs = config.rotaries[0].width / 2;
    let long = file.factors("rope_factors_long.weight", pairs)?;
    let short = file.factors("rope_factors_short.weight", pairs)?;
    config.rotaries[0].scaling = match (long, short) {
        (None, None) => return Ok(config),
        (Some(long), Some(short)) => {
            let original = file.needed("rope.scaling.original_context_length")?;
            let stretch = config.context as f64 / original as f64;
            let magnitude = file.float("rope.scaling.attn_factor");
            Scaling::Long {
                long,
                short,
                original: original as usize,
                magnitude: magnitude.unwrap_or_else(|| long_magnitude(stretch, original)),
            }
        }
        _ => {
            return Err(Error::Checkpoint(
                "the file has rotary factors for long or for short sequences alone".into(),
            ));
        }
    };
    Ok(config)
}
