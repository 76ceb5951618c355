//! Loads a model, answers one prompt on the terminal, and prints speed and peak memory.
//!
//! ```text
//! cargo run --release -p emc-inference --example generate -- --prompt "Why is the sky blue?" --device cuda
//! ```

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use emc_inference::{
    Activations, ChatMessage, DType, Device, LoadOptions, Model, SamplingParams, benchmark,
};

/// Answers one prompt with a model from disk.
#[derive(Parser)]
struct Arguments {
    /// A GGUF file, or a folder with one in it.
    #[arg(long, default_value = ".emc/models/SmolLM2-135M-Instruct")]
    model: PathBuf,
    /// What to ask.
    #[arg(
        long,
        default_value = "Explain in three sentences why the sky is blue."
    )]
    prompt: String,
    /// Where to compute: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Number format: f32 or bf16.
    #[arg(long, default_value = "f32")]
    dtype: DType,
    /// How exactly packed weights are multiplied on the CPU: exact, 16 or 8 bits.
    #[arg(long, default_value = "16")]
    activations: Activations,
    /// Threads on the CPU; one per core unless given.
    #[arg(long)]
    threads: Option<usize>,
    /// 0 is greedy.
    #[arg(long, default_value_t = 0.0)]
    temperature: f64,
    /// What the random numbers follow from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Tokens of the answer, at most.
    #[arg(long, default_value_t = 128)]
    max_tokens: u32,
    /// Measure the speed as well, in this many runs of 256 + 64 tokens.
    #[arg(long, default_value_t = 0)]
    bench: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(threads) = arguments.threads {
        emc_inference::set_threads(threads);
    }
    let begin = Instant::now();
    let options = LoadOptions {
        device: arguments.device,
        dtype: arguments.dtype,
        activations: arguments.activations,
        context: None,
    };
    let model = Model::load(&arguments.model, options)?;
    let info = model.info();
    eprintln!(
        "{}: {} parameters, {}, context {}, on {} in {}, {} MB, loaded in {:.2} s",
        info.name,
        info.parameters,
        info.quantisation,
        info.context,
        info.device,
        info.dtype,
        info.memory_bytes / 1_000_000,
        begin.elapsed().as_secs_f64()
    );

    let prompt =
        model.encode(&model.render_chat(&[ChatMessage::new("user", &arguments.prompt)])?)?;
    let Arguments {
        temperature,
        seed,
        max_tokens,
        ..
    } = arguments;
    let params = SamplingParams {
        temperature,
        seed,
        max_tokens,
        ..SamplingParams::default()
    };
    let answer = model.generate(prompt, params, |_, text| {
        print!("{text}");
        // Only the look of a terminal is at stake.
        let _ = std::io::stdout().flush();
    })?;
    println!();
    let decoded = f64::from(answer.usage.output_tokens - 1);
    eprintln!(
        "{:?}: {} + {} tokens; prefill {:.1} tokens/s, decode {:.1} tokens/s",
        answer.reason,
        answer.usage.prompt_tokens,
        answer.usage.output_tokens,
        f64::from(answer.usage.prompt_tokens) / answer.timings.prefill.as_secs_f64(),
        decoded / answer.timings.decode.as_secs_f64()
    );
    if arguments.bench > 0 {
        let speed = benchmark::measure(&model, 256, 64, arguments.bench)?;
        let (prefill, decode, best) = (speed.prefill, speed.decode, speed.decode_best);
        eprintln!(
            "prefill {prefill:.1} tokens/s, decode {decode:.1} tokens/s, fastest token {best:.1} tokens/s"
        );
    }
    if let Some(bytes) = benchmark::peak_memory() {
        eprintln!("peak memory {} MB", bytes / 1_000_000);
    }
    Ok(())
}
