//! Models and engines on libtorch; knows nothing of the network. Text is here, pictures are in [`diffusion`].
//!
//! A [`Model`] is loaded from its files, which say everything about it: sizes, weights, tokenizer, chat template, stop
//! tokens. An [`Engine`] runs several answers on it, step by step. Tokens are chosen by the rules of
//! `docs/spec/sampling.md`, so that anyone with the model, the prompt and the seed can check them: [`Model::verify`].
//!
//! ```no_run
//! use emc_inference::{ChatMessage, LoadOptions, Model, SamplingParams};
//!
//! # fn main() -> emc_inference::Result<()> {
//! let model = Model::load("models/SmolLM2-135M-Instruct".as_ref(), LoadOptions::default())?;
//! let prompt = model.render_chat(&[ChatMessage::new("user", "Why is the sky blue?")])?;
//! let answer = model.generate(model.encode(&prompt)?, SamplingParams::default(), |_, text| print!("{text}"))?;
//! println!("\n{} tokens", answer.usage.output_tokens);
//! # Ok(())
//! # }
//! ```

mod adjust;
pub mod benchmark;
pub mod calibration;
mod chat_template;
mod decoder;
mod detokenise;
mod device;
pub mod diffusion;
mod encoder;
mod ending;
mod engine;
mod error;
mod families;
mod gap;
pub mod gguf;
mod grammar;
#[cfg(test)]
mod hostile_tests;
mod kernels;
mod linear;
mod model;
mod model_root;
pub mod noise;
pub mod philox;
mod prepacked;
pub mod quantised;
mod safetensors_files;
pub mod sampler;
mod sequence;
mod slices;
#[cfg(test)]
mod test_model;
mod threads;
mod tokenizer;
mod verify;
mod weights;

pub use adjust::{Adjustments, MAX_BIASED};
pub use chat_template::{ChatInput, ChatMessage, ChatTemplate};
pub use detokenise::Detokeniser;
pub use device::{DType, Device};
pub use encoder::{Embedding, Encoder, EncoderInfo, Pooling};
pub use engine::{Engine, EngineFigures, EngineOptions, Event, SequenceId};
pub use error::{Error, Result};
pub use gap::Gap;
pub use grammar::{Grammar, MAX_SCHEMA};
pub use linear::Activations;
pub use model::{LoadOptions, Model, ModelInfo, ModelText};
pub use model_root::{ModelFile, ModelRoot, model_root, root_of};
pub use sequence::{
    Answer, FinishReason, Logprobs, MAX_LOGPROBS, MAX_STOP_BYTES, MAX_STOP_STRINGS, SamplingParams,
    Timings, Usage,
};
pub use tokenizer::Tokenizer;
pub use verify::{Claim, GapStats, Probe};

/// How many threads compute on the CPU, libtorch's and our own; one per core unless set. Before the first model is used.
pub fn set_threads(count: usize) {
    threads::choose(count);
    tch::set_num_threads(i32::try_from(count.max(1)).unwrap_or(i32::MAX));
}
