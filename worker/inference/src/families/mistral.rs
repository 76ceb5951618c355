//! Mistral (Jiang et al., 2023, arXiv:2310.06825): a Llama whose first release sees only a window of positions.
//!
//! The reference is transformers' `models/mistral/modeling_mistral.py`. In GGUF files it is a llama.

use super::HfConfig;
use super::hf_config::Defaults;
use crate::decoder::Config;
use crate::error::Result;

const DEFAULTS: Defaults = Defaults {
    kv_heads: Some(8),
    ..Defaults::LLAMA
};

pub(super) fn of_folder(file: &HfConfig) -> Result<Config> {
    let mut config = file.plain("mistral", DEFAULTS)?;
    let window = file.window(Some(4096))?;
    config
        .layers
        .iter_mut()
        .for_each(|layer| layer.window = window);
    Ok(config)
}
