//! The families of language models: what each one's files say, as a description of the shared decoder.
//!
//! A model comes as a GGUF file, whose metadata describes it, or as a Hugging Face folder with a `config.json`. Weights are
//! called as GGUF calls them; [`weight_name`] translates.

mod gemma;
mod gguf_config;
mod hf_config;
mod llama;
mod mistral;
mod phi;
mod qwen;

use crate::decoder::Config;
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::weights::Weights;
use gguf_config::GgufConfig;
pub(crate) use hf_config::HfConfig;

/// Reads the description of a GGUF file; its weights tell what the metadata leaves out.
pub(crate) fn of_gguf<B: AsRef<[u8]>>(gguf: &Gguf<B>, weights: &Weights) -> Result<Config> {
    let family = gguf.text("general.architecture").unwrap_or_default();
    let file = GgufConfig::new(gguf, family, weights);
    let config = match family {
        "llama" => llama::of_gguf(&file)?,
        "qwen2" => qwen::qwen2_of_gguf(&file)?,
        "qwen3" => qwen::qwen3_of_gguf(&file)?,
        "gemma3" => gemma::of_gguf(&file)?,
        "phi3" => phi::of_gguf(&file)?,
        other => {
            return Err(Error::Unsupported(format!(
                "the model architecture \"{other}\""
            )));
        }
    };
    config.check()?;
    Ok(config)
}

/// Reads the description in a `config.json`.
pub(crate) fn of_folder(file: &HfConfig) -> Result<Config> {
    let config = match file.text("model_type").unwrap_or_default() {
        "llama" => llama::of_folder(file)?,
        "mistral" => mistral::of_folder(file)?,
        "qwen2" => qwen::qwen2_of_folder(file)?,
        "qwen3" => qwen::qwen3_of_folder(file)?,
        "gemma3_text" => gemma::of_folder(file)?,
        "phi3" => phi::of_folder(file)?,
        other => {
            return Err(Error::Unsupported(format!("the model type \"{other}\"")));
        }
    };
    config.check()?;
    Ok(config)
}

/// A weight's name in GGUF files from its name in a Hugging Face folder; `None` for what decoders do not have.
pub(crate) fn weight_name(name: &str, post_norms: bool) -> Option<String> {
    let ends = [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.norm.weight", "output_norm.weight"),
        ("lm_head.weight", "output.weight"),
    ];
    if let Some((_, known)) = ends.iter().find(|(end, _)| *end == name) {
        return Some((*known).to_owned());
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let layer: u32 = layer.parse().ok()?;
    let (part, what) = rest.rsplit_once('.')?;
    if !matches!(what, "weight" | "bias") {
        return None;
    }
    let part = match part {
        "input_layernorm" => "attn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.qkv_proj" => "attn_qkv",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        // The norm before the feed-forward part, or, where there are more, the one after attention.
        "post_attention_layernorm" if post_norms => "post_attention_norm",
        "post_attention_layernorm" | "pre_feedforward_layernorm" => "ffn_norm",
        "post_feedforward_layernorm" => "post_ffw_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" | "mlp.gate_up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        _ => return None,
    };
    Some(format!("blk.{layer}.{part}.{what}"))
}
