//! Options that several commands have: which model and how it computes, and how tokens are chosen.

use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use emc_inference::{
    Activations, Adjustments, DType, Device, Grammar, LoadOptions, Model, SamplingParams,
};

/// Which model, and how it computes.
#[derive(Args)]
pub struct ModelOptions {
    /// A GGUF file, a folder with one in it, or a Hugging Face folder.
    pub model: PathBuf,
    #[command(flatten)]
    pub compute: ComputeOptions,
}

/// How a model computes.
#[derive(Args)]
pub struct ComputeOptions {
    /// Where to compute: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Number format: f32, bf16 or, on GPUs, f16.
    #[arg(long, default_value = "f32")]
    dtype: DType,
    /// How exactly weights that are packed or in bf16 are multiplied on the CPU in f32: exact, 16 or 8 bits.
    #[arg(long, default_value = "16")]
    activations: Activations,
    /// Tokens that prompt and answer may have together; the model's own limit unless given.
    #[arg(long)]
    context: Option<usize>,
    /// Threads on the CPU; one per core unless given.
    #[arg(long)]
    threads: Option<usize>,
}

impl ComputeOptions {
    /// As the library wants them. Sets the number of threads.
    pub fn load(&self) -> LoadOptions {
        if let Some(threads) = self.threads {
            emc_inference::set_threads(threads);
        }
        LoadOptions {
            device: self.device,
            dtype: self.dtype,
            activations: self.activations,
            context: self.context,
        }
    }
}

impl ModelOptions {
    /// Loads the model.
    pub fn load(&self) -> Result<Model> {
        let shown = self.model.display();
        Model::load(&self.model, self.compute.load())
            .with_context(|| format!("cannot load {shown}"))
    }
}

/// How tokens are chosen; what is not given is as the model's authors would have it.
#[derive(Args)]
pub struct SamplingOptions {
    /// 0 is greedy.
    #[arg(long, allow_negative_numbers = true)]
    temperature: Option<f64>,
    /// Only the likeliest tokens; 0 keeps all.
    #[arg(long)]
    top_k: Option<u32>,
    /// Only the likeliest tokens up to this share; 1 keeps all.
    #[arg(long)]
    top_p: Option<f64>,
    /// Only tokens at least this many times as likely as the likeliest.
    #[arg(long)]
    min_p: Option<f64>,
    /// What the random numbers follow from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Tokens of the answer, at most.
    #[arg(long, default_value_t = 512)]
    max_tokens: u32,
    /// A text that ends the answer. May be given several times.
    #[arg(long)]
    stop: Vec<String>,
    /// Makes tokens of prompt and answer less likely; 1 is off.
    #[arg(long)]
    repetition_penalty: Option<f64>,
    /// Makes tokens less likely by how often the answer has them; 0 is off.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    frequency_penalty: f64,
    /// Makes tokens that the answer has less likely; 0 is off.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    presence_penalty: f64,
    /// The answer is to be a JSON object, or JSON that fits the schema in this file.
    #[arg(long, value_name = "SCHEMA", num_args = 0..=1, default_missing_value = "")]
    json_answer: Option<String>,
}

impl SamplingOptions {
    /// The whole of it, filled up from the model's own.
    pub fn params(&self, defaults: &SamplingParams) -> Result<SamplingParams> {
        let grammar = match self.json_answer.as_deref() {
            None => None,
            Some("") => Some(Grammar::JsonObject),
            Some(path) => {
                let schema = std::fs::read_to_string(path);
                Some(Grammar::JsonSchema(
                    schema.with_context(|| format!("cannot read {path}"))?,
                ))
            }
        };
        // Who names a temperature of his own is not meant to get the authors' filters for theirs.
        let plain = SamplingParams::default();
        let from = match self.temperature {
            Some(_) => &plain,
            None => defaults,
        };
        Ok(SamplingParams {
            temperature: self.temperature.unwrap_or(from.temperature),
            top_k: self.top_k.unwrap_or(from.top_k),
            top_p: self.top_p.unwrap_or(from.top_p),
            min_p: self.min_p.unwrap_or(from.min_p),
            seed: self.seed,
            max_tokens: self.max_tokens,
            stop: self.stop.clone(),
            adjustments: Adjustments {
                repetition_penalty: self
                    .repetition_penalty
                    .unwrap_or(defaults.adjustments.repetition_penalty),
                frequency_penalty: self.frequency_penalty,
                presence_penalty: self.presence_penalty,
                logit_bias: Vec::new(),
            },
            grammar,
            ..plain
        })
    }
}

/// A text from the command line; `-` stands for standard input.
pub fn text(given: &str) -> Result<String> {
    if given != "-" {
        return Ok(given.to_owned());
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .context("cannot read standard input")?;
    Ok(text)
}
