//! How fast text is made, beside llama.cpp and transformers: `cargo xtask bench llm`.
//!
//! Programs have the same model loaded: this one (once more, as `serve`), llama.cpp through llama-cpp-python, and
//! transformers (`tools/peers/text`). They are asked in turn; only one of them computes at a time. Prints a line a figure,
//! `name value unit`; ratios are ours to theirs, medians over the rounds.

#[path = "peers/limits.rs"]
mod limits;
mod peers;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use emc_inference::benchmark::{measure, measure_together, peak_memory};
use emc_inference::{Activations, DType, Device, LoadOptions, Model};
use serde::{Deserialize, Serialize};

use peers::{Figures, Program, median, say};

/// Times text beside llama.cpp and transformers, which have the same model loaded, in turn.
#[derive(Parser)]
#[command(name = "cargo xtask bench llm", bin_name = "cargo xtask bench llm")]
struct Arguments {
    #[command(subcommand)]
    serve: Option<Serve>,
    /// A GGUF file, read by us and by llama.cpp
    #[arg(
        long,
        default_value = ".emc/models/SmolLM2-135M-Instruct/SmolLM2-135M-Instruct.Q4_1.gguf"
    )]
    model: PathBuf,
    /// The same model as a Hugging Face folder in bf16, read by us and by transformers
    #[arg(long, default_value = "target/bench/smollm2-bf16")]
    folder: PathBuf,
    /// A Python with llama-cpp-python
    #[arg(long, default_value = "target/python/venv-llama/bin/python")]
    llama_python: PathBuf,
    /// A Python with transformers
    #[arg(long, default_value = "target/python/venv/bin/python")]
    python: PathBuf,
    /// Tokens of the long prompt
    #[arg(long, default_value_t = 512)]
    prompt: usize,
    /// Tokens of the answer, after a prompt of 256
    #[arg(long, default_value_t = 64)]
    answer: usize,
    /// Answers that are made together, after prompts of 64, 32 tokens each
    #[arg(long, default_value_t = 8)]
    together: usize,
    /// How often each is asked for each figure
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Threads of each; one a core unless given
    #[arg(long)]
    threads: Option<usize>,
    /// Print one JSON object instead of lines
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Serve {
    /// Answers lines, as the programs in tools/peers/text do
    #[command(hide = true)]
    Serve {
        model: PathBuf,
        #[arg(long)]
        threads: usize,
        #[arg(long, default_value = "f32")]
        dtype: DType,
        #[arg(long, default_value = "16")]
        activations: Activations,
    },
}

/// What is asked for, a line each.
#[derive(Serialize, Deserialize, Clone)]
#[serde(tag = "what", rename_all = "lowercase")]
enum Asked {
    /// Reading a prompt, up to the first token.
    Prefill {
        tokens: usize,
    },
    /// So many tokens after a prompt.
    Decode {
        prompt: usize,
        tokens: usize,
    },
    /// So many tokens of several answers at once, each after a prompt.
    Together {
        sequences: usize,
        prompt: usize,
        tokens: usize,
    },
    Memory,
}

/// What is said before the first line.
#[derive(Serialize, Deserialize)]
struct Ready {
    name: String,
    version: String,
    #[serde(default)]
    flags: serde_json::Value,
    load_seconds: f64,
    /// Bytes of weights that a token reads; ours alone.
    #[serde(default)]
    weight_bytes: u64,
    /// Products that a token of a prompt takes, attention and the choice of a token aside; ours alone.
    #[serde(default)]
    products: u64,
}

#[derive(Serialize, Deserialize)]
struct Timed {
    seconds: f64,
}

#[derive(Serialize, Deserialize)]
struct Memory {
    peak_bytes: Option<u64>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.serve {
        Some(Serve::Serve {
            model,
            threads,
            dtype,
            activations,
        }) => serve(model, *threads, *dtype, *activations),
        None => compare(&arguments),
    }
}

/// Answers what is asked on standard input.
fn serve(path: &Path, threads: usize, dtype: DType, activations: Activations) -> Result<()> {
    emc_inference::set_threads(threads);
    let begin = Instant::now();
    let options = LoadOptions {
        device: Device::Cpu,
        dtype,
        activations,
        ..LoadOptions::default()
    };
    let model = Model::load(path, options)?;
    let info = model.info();
    say(&Ready {
        name: "emc-inference".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        flags: serde_json::json!({ "threads": threads, "activations": format!("{activations:?}") }),
        load_seconds: begin.elapsed().as_secs_f64(),
        weight_bytes: info.memory_bytes,
        products: info.layer_parameters,
    })?;
    for line in std::io::stdin().lines() {
        match serde_json::from_str(&line?)? {
            Asked::Prefill { tokens } => {
                let seconds = tokens as f64 / measure(&model, tokens, 1, 1)?.prefill;
                say(&Timed { seconds })?;
            }
            Asked::Decode { prompt, tokens } => {
                let seconds = tokens as f64 / measure(&model, prompt, tokens, 1)?.decode_mean;
                say(&Timed { seconds })?;
            }
            Asked::Together {
                sequences,
                prompt,
                tokens,
            } => {
                let speed = measure_together(&model, sequences, prompt, tokens, 1)?;
                let seconds = (sequences * tokens) as f64 / speed;
                say(&Timed { seconds })?;
            }
            Asked::Memory => say(&Memory {
                peak_bytes: peak_memory(),
            })?,
        }
    }
    Ok(())
}

fn compare(arguments: &Arguments) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.unwrap_or(cores).to_string();
    let ours = |model: &Path, activations: &str| -> Result<Program<Ready>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg(model);
        command.args(["--threads", &threads, "--activations", activations]);
        Program::start(command)
    };
    let theirs = |python: &Path, script: &str, model: &Path, more: &[&str]| {
        ensure!(
            python.exists() && model.exists(),
            "{} or {} is missing: tools/peers/text/README.md says how to make them",
            python.display(),
            model.display()
        );
        let mut command = Command::new(python);
        command.arg(format!("tools/peers/text/{script}")).arg(model);
        command.args(["--threads", &threads]).args(more);
        // Cargo sets it for us; their threads are several times faster without it where the machine is idle.
        command.env_remove("OMP_WAIT_POLICY");
        Program::<Ready>::start(command)
    };
    let mut figures = Figures::new(arguments.json);
    let count = arguments.threads.unwrap_or(cores);
    let limits = Limits {
        bandwidth: limits::read_bandwidth(count),
        products: limits::products(count),
    };
    figures.add("machine.read_bandwidth", limits.bandwidth / 1e9, "GB/s");
    if let Some((in_f32, in_integers)) = limits.products {
        figures.add("machine.products.f32", in_f32 / 1e9, "G/s");
        figures.add("machine.products.8bit", in_integers / 1e9, "G/s");
    }
    let (gguf, folder) = (&arguments.model, &arguments.folder);
    let llama = theirs(&arguments.llama_python, "serve_llama.py", gguf, &[])?;
    let programs = vec![
        ("ours", ours(gguf, "16")?),
        ("ours8", ours(gguf, "8")?),
        ("llama.cpp", llama),
    ];
    in_turn(arguments, "gguf", programs, &limits, &mut figures)?;
    let transformers = |dtype: &str| {
        theirs(
            &arguments.python,
            "serve_transformers.py",
            folder,
            &["--dtype", dtype],
        )
    };
    let programs = vec![
        ("ours", ours(folder, "16")?),
        ("ours8", ours(folder, "8")?),
        ("transformers.bf16", transformers("bf16")?),
        ("transformers.f32", transformers("f32")?),
    ];
    in_turn(arguments, "folder", programs, &limits, &mut figures)?;
    figures.finish();
    Ok(())
}

/// What the machine could do at most, a second.
struct Limits {
    /// Bytes read.
    bandwidth: f64,
    /// Products in f32, and in 8-bit integers.
    products: Option<(f64, f64)>,
}

fn in_turn(
    arguments: &Arguments,
    what: &str,
    mut programs: Vec<(&str, Program<Ready>)>,
    limits: &Limits,
    figures: &mut Figures,
) -> Result<()> {
    for (name, program) in &programs {
        let Ready {
            name: full,
            version,
            flags,
            load_seconds,
            ..
        } = &program.ready;
        eprintln!("{name}: {full} {version} {flags}");
        figures.add(&format!("{what}.load.{name}"), *load_seconds, "s");
    }
    let &Arguments {
        prompt,
        answer,
        together,
        ..
    } = arguments;
    let all = [
        ("prefill", prompt, Asked::Prefill { tokens: prompt }),
        (
            "decode",
            answer,
            Asked::Decode {
                prompt: 256,
                tokens: answer,
            },
        ),
        (
            "together",
            together * 32,
            Asked::Together {
                sequences: together,
                prompt: 64,
                tokens: 32,
            },
        ),
    ];
    for (figure, tokens, asked) in all {
        let mut times: Vec<Vec<f64>> = programs.iter().map(|_| Vec::new()).collect();
        for _ in 0..arguments.rounds.max(1) {
            for ((_, program), times) in programs.iter_mut().zip(&mut times) {
                let Timed { seconds } = program.ask(&asked)?;
                times.push(seconds);
            }
        }
        for ((name, _), times) in programs.iter().zip(&times) {
            let speed = tokens as f64 / median(times);
            figures.add(&format!("{what}.{figure}.{name}"), speed, "tokens/s");
        }
        // What the machine allows.
        let Ready {
            weight_bytes,
            products,
            ..
        } = programs[0].1.ready;
        let speed = tokens as f64 / median(&times[0]);
        if figure == "decode" {
            let share = speed * weight_bytes as f64 / limits.bandwidth;
            figures.add(&format!("{what}.decode.ours.of_bandwidth"), share, "times");
        }
        if figure == "prefill"
            && let Some((in_f32, in_integers)) = limits.products
        {
            // Packed weights are multiplied twice, with each of two digits.
            let most = if what == "gguf" {
                in_integers / 2.0
            } else {
                in_f32
            };
            let share = speed * products as f64 / most;
            figures.add(&format!("{what}.prefill.ours.of_products"), share, "times");
        }
        // How much faster the first is, round by round.
        let (ours, others) = times.split_first().context("nobody was asked")?;
        for ((name, _), theirs) in programs.iter().skip(1).zip(others) {
            let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| b / a).collect();
            let name = format!("{what}.{figure}.ours_to_{name}");
            figures.add(&name, median(&ratios), "times");
        }
    }
    for (name, program) in &mut programs {
        let Memory { peak_bytes } = program.ask(&Asked::Memory)?;
        let bytes = peak_bytes.unwrap_or(0) as f64;
        figures.add(&format!("{what}.peak.{name}"), bytes / 1e6, "MB");
    }
    Ok(())
}
