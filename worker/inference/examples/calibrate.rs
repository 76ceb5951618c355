//! Calibrates a model: honest machines against cheats, and the terms that follow. Started by `cargo xtask calibrate`.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use emc_inference::calibration::{Options, PROMPTS, record, run};

/// Measures how far honest machines are apart on a model, and how far cheats are from them.
#[derive(Parser)]
#[command(name = "cargo xtask calibrate", bin_name = "cargo xtask calibrate")]
struct Arguments {
    /// A GGUF file, or a folder with one in it.
    #[arg(default_value = ".emc/models/SmolLM2-135M-Instruct")]
    model: PathBuf,
    /// Prompts, one a line; a built-in list unless given.
    #[arg(long)]
    prompts: Option<PathBuf>,
    /// How many of the prompts to use; all unless given. Every second one is held out.
    #[arg(long)]
    count: Option<usize>,
    /// Tokens of an answer, at most.
    #[arg(long, default_value_t = 64)]
    tokens: u32,
    /// Answers of other programs, as tools/parity/text/other_programs.py writes them; they are checked as well.
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Write the answers of all into this file, and check none of them.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    record: Option<PathBuf>,
    /// Everything that was measured as JSON instead of the tables.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let prompts = match &arguments.prompts {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("reading the prompts in {}", path.display()))?,
        None => PROMPTS.to_owned(),
    };
    let prompts = prompts
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let prompts: Vec<String> = prompts
        .take(arguments.count.unwrap_or(usize::MAX))
        .map(str::to_owned)
        .collect();
    let others = match &arguments.answers {
        Some(path) => {
            let text = std::fs::read(path)
                .with_context(|| format!("reading the answers in {}", path.display()))?;
            serde_json::from_slice(&text).with_context(|| format!("{}", path.display()))?
        }
        None => Vec::new(),
    };
    let options = Options {
        model: arguments.model,
        prompts,
        tokens: arguments.tokens,
        others,
    };
    let begin = Instant::now();
    if let Some(file) = &arguments.record {
        let answers = record(&options, |step| {
            eprintln!("{:5.0} s  {step}", begin.elapsed().as_secs_f64());
        })?;
        let lines: Result<Vec<String>, _> = answers.iter().map(serde_json::to_string).collect();
        let text = format!("[\n{}\n]\n", lines?.join(",\n"));
        return std::fs::write(file, text).with_context(|| format!("writing {}", file.display()));
    }
    let report = run(&options, |step| {
        eprintln!("{:5.0} s  {step}", begin.elapsed().as_secs_f64());
    })?;
    eprintln!("{:5.0} s  done", begin.elapsed().as_secs_f64());
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
