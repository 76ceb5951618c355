//! `emc-infer bench`: how fast a model is on this machine.

use std::time::Instant;

use anyhow::Result;
use clap::Args;
use emc_inference::benchmark::{measure, measure_together, peak_memory};
use serde_json::json;

use crate::options::ModelOptions;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelOptions,
    /// Tokens of the prompt.
    #[arg(long, default_value_t = 512)]
    prompt: usize,
    /// Tokens of the answer.
    #[arg(long, default_value_t = 64)]
    answer: usize,
    /// Answers at a time, in the measurement of several together.
    #[arg(long, default_value_t = 8)]
    together: usize,
    /// Runs, of which the best counts.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let begin = Instant::now();
    let model = arguments.model.load()?;
    let load = begin.elapsed().as_secs_f64();
    let Arguments {
        prompt,
        answer,
        together,
        repeats,
        ..
    } = *arguments;
    let speed = measure(&model, prompt, answer, repeats)?;
    let several = measure_together(&model, together, 64, 32, repeats)?;
    let peak = peak_memory();
    if arguments.json {
        let object = json!({
            "load_seconds": load,
            "prefill_tokens_per_second": speed.prefill,
            "decode_tokens_per_second": speed.decode,
            "fastest_token_per_second": speed.decode_best,
            "together": together,
            "together_tokens_per_second": several,
            "peak_bytes": peak,
        });
        println!("{object}");
        return Ok(());
    }
    println!("loading        {load:.2} s");
    println!(
        "prompt         {:.0} tokens/s ({prompt} tokens in {:.3} s)",
        speed.prefill,
        prompt as f64 / speed.prefill
    );
    println!(
        "answer         {:.1} tokens/s, the fastest {:.1}",
        speed.decode, speed.decode_best
    );
    println!("{together} together     {several:.1} tokens/s");
    if let Some(peak) = peak {
        println!("most memory    {:.1} MB", peak as f64 / 1e6);
    }
    Ok(())
}
