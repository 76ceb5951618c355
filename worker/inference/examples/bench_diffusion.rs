//! How fast pictures are made, beside diffusers: `cargo xtask bench diffusion`.
//!
//! Two programs have the same model loaded, this one (once more, as `serve`) and diffusers in its best configuration
//! (`tools/peers/diffusion/serve.py`). They are asked in turn for the same picture; only one of them computes at a time.
//! Prints a line a figure, `name value unit`; ratios are ours to theirs, medians over the rounds.

mod peers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use emc_inference::benchmark::peak_memory;
use emc_inference::diffusion::{ImageModel, ImageOptions, ImageRequest};
use emc_inference::{DType, Device};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use peers::{Figures, Program, median, say};

/// As `serve.py` has it.
const PROMPT: &str = "a red apple on a table";
/// A side of the matrices whose product shows what the machine can do.
const MATRIX: i64 = 2_048;

/// Times pictures beside diffusers, which has the same model loaded, in turn.
#[derive(Parser)]
#[command(
    name = "cargo xtask bench diffusion",
    bin_name = "cargo xtask bench diffusion"
)]
struct Arguments {
    #[command(subcommand)]
    serve: Option<Serve>,
    /// A model folder; one of Stable Diffusion 1.5's sizes with random weights is made unless given (2.1 GB)
    #[arg(long)]
    model: Option<PathBuf>,
    /// A Python with what tools/parity/diffusion/requirements.txt names
    #[arg(long, default_value = "target/python/venv/bin/python")]
    python: PathBuf,
    /// Number formats
    #[arg(long, value_delimiter = ',', default_value = "f32,bf16")]
    dtypes: Vec<DType>,
    /// Sides of the pictures
    #[arg(long, value_delimiter = ',', default_value = "256,512")]
    sizes: Vec<u32>,
    /// Steps of a picture; the first is not counted
    #[arg(long, default_value_t = 4)]
    steps: usize,
    /// How often each draws each picture
    #[arg(long, default_value_t = 3)]
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
    /// Answers lines, as tools/peers/diffusion/serve.py does, and multiplies matrices
    #[command(hide = true)]
    Serve {
        folder: PathBuf,
        dtype: DType,
        threads: usize,
    },
}

/// What is asked for, a line each.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Asked {
    Matmul { matmul: i64 },
    Picture { size: u32, steps: usize, seed: u64 },
}

/// What is said before the first line.
#[derive(Serialize, Deserialize)]
struct Ready {
    /// Seconds that loading took.
    load: f64,
    about: String,
    /// Floating point operations of a UNet call, by the picture's side.
    #[serde(default)]
    flops: BTreeMap<String, f64>,
}

#[derive(Serialize, Deserialize)]
struct Product {
    seconds: f64,
}

#[derive(Serialize, Deserialize)]
struct Drawn {
    /// Seconds of each step but the first.
    steps: Vec<f64>,
    /// Seconds from the last step to the picture.
    decode: f64,
    /// Seconds from the request to the picture.
    whole: f64,
    /// The final latents.
    latents: Vec<f32>,
    /// Most bytes that the process has held.
    peak: Option<u64>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.serve {
        Some(Serve::Serve {
            folder,
            dtype,
            threads,
        }) => serve(folder, *dtype, *threads),
        None => compare(&arguments),
    }
}

/// Answers what is asked on standard input.
fn serve(folder: &Path, dtype: DType, threads: usize) -> Result<()> {
    tch::set_num_threads(i32::try_from(threads)?);
    let begin = Instant::now();
    let options = ImageOptions {
        device: Device::Cpu,
        dtype,
        ..ImageOptions::default()
    };
    let model = ImageModel::load(folder, &options)?;
    say(&Ready {
        load: begin.elapsed().as_secs_f64(),
        about: format!("emc-inference {}, {threads} threads", dtype),
        flops: BTreeMap::new(),
    })?;
    for line in std::io::stdin().lines() {
        match serde_json::from_str(&line?)? {
            Asked::Matmul { matmul } => say(&product(matmul, dtype)?)?,
            Asked::Picture { size, steps, seed } => say(&draw(&model, size, steps, seed)?)?,
        }
    }
    Ok(())
}

fn draw(model: &ImageModel, size: u32, steps: usize, seed: u64) -> Result<Drawn> {
    let mut request = ImageRequest::new(PROMPT, size, size);
    (request.steps, request.seed) = (steps, seed);
    let mut moments = vec![];
    let begin = Instant::now();
    let images = model.generate(&request, |_| {
        moments.push(begin.elapsed().as_secs_f64());
        true
    })?;
    let whole = begin.elapsed().as_secs_f64();
    let last = moments.last().copied().context("there was no step")?;
    Ok(Drawn {
        steps: moments.windows(2).map(|two| two[1] - two[0]).collect(),
        decode: whole - last,
        whole,
        latents: images.latents,
        peak: peak_memory(),
    })
}

/// The best of five products of square matrices.
fn product(side: i64, dtype: DType) -> Result<Product> {
    let kind = match dtype {
        DType::F32 => tch::Kind::Float,
        DType::Bf16 => tch::Kind::BFloat16,
        DType::F16 => tch::Kind::Half,
    };
    let matrix = || Tensor::f_randn([side, side], (kind, tch::Device::Cpu));
    let (left, right) = (matrix()?, matrix()?);
    let mut seconds = f64::INFINITY;
    for _ in 0..5 {
        let begin = Instant::now();
        let _ = left.f_matmul(&right)?;
        seconds = seconds.min(begin.elapsed().as_secs_f64());
    }
    Ok(Product { seconds })
}

fn compare(arguments: &Arguments) -> Result<()> {
    let python = &arguments.python;
    ensure!(
        python.exists(),
        "there is no {}: make an environment as tools/parity/diffusion/README.md says, and name its Python with --python",
        python.display()
    );
    let folder = match &arguments.model {
        Some(folder) => folder.clone(),
        None => random_model(python)?,
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.unwrap_or(cores);
    let mut figures = Figures::new(arguments.json);
    for &dtype in &arguments.dtypes {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg(&folder);
        let ours = Program::<Ready>::start(with(command, dtype, threads))?;
        let mut command = Command::new(python);
        command.arg("tools/peers/diffusion/serve.py").arg(&folder);
        let theirs = Program::<Ready>::start(with(command, dtype, threads))?;
        eprintln!("ours: {}\ntheirs: {}", ours.ready.about, theirs.ready.about);
        in_turn(arguments, dtype, ours, theirs, &mut figures)?;
    }
    figures.finish();
    Ok(())
}

fn with(mut command: Command, dtype: DType, threads: usize) -> Command {
    command.arg(dtype.to_string()).arg(threads.to_string());
    command
}

/// The model that is timed unless another is named, made at first use.
fn random_model(python: &Path) -> Result<PathBuf> {
    let folder = PathBuf::from("target/bench/sd15");
    if !folder.exists() {
        eprintln!("making {}, 2.1 GB", folder.display());
        let mut command = Command::new(python);
        command.arg("tools/peers/diffusion/sd15.py").arg(&folder);
        let status = command.status().with_context(|| format!("{command:?}"))?;
        ensure!(status.success(), "{command:?} failed ({status})");
    }
    Ok(folder)
}

fn in_turn(
    arguments: &Arguments,
    dtype: DType,
    mut ours: Program<Ready>,
    mut theirs: Program<Ready>,
    figures: &mut Figures,
) -> Result<()> {
    let product: Product = ours.ask(&Asked::Matmul { matmul: MATRIX })?;
    let floor = 2.0 * (MATRIX as f64).powi(3) / product.seconds;
    figures.add(&format!("{dtype}.matmul"), floor / 1e9, "GFLOP/s");
    figures.add(&format!("{dtype}.load.ours"), ours.ready.load, "s");
    figures.add(&format!("{dtype}.load.theirs"), theirs.ready.load, "s");
    let mut peaks = (None, None);
    for &size in &arguments.sizes {
        let name = |what: &str| format!("{dtype}.{size}.{what}");
        let (mut steps, mut decodes) = (vec![], vec![]);
        let mut farthest = 0f64;
        for round in 0..arguments.rounds {
            let asked = Asked::Picture {
                size,
                steps: arguments.steps,
                seed: round as u64,
            };
            let mine: Drawn = ours.ask(&asked)?;
            let other: Drawn = theirs.ask(&asked)?;
            steps.push((median(&mine.steps), median(&other.steps)));
            decodes.push((mine.decode, other.decode));
            farthest = farthest.max(distance(&mine.latents, &other.latents));
            peaks = (mine.peak, other.peak);
        }
        pairs(figures, &name("step"), &steps);
        pairs(figures, &name("decode"), &decodes);
        figures.add(&name("latents.difference"), farthest, "of their largest");
        if let Some(flops) = theirs.ready.flops.get(&size.to_string()) {
            let mine: Vec<f64> = steps.iter().map(|pair| pair.0).collect();
            let reached = flops / median(&mine);
            figures.add(&name("unet"), flops / 1e9, "GFLOP a step");
            figures.add(&name("reached"), reached / 1e9, "GFLOP/s");
            figures.add(&name("reached_of_matmul"), reached / floor, "ratio");
        }
    }
    if let (Some(mine), Some(other)) = peaks {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        figures.add(&format!("{dtype}.peak.ours"), gib(mine), "GiB");
        figures.add(&format!("{dtype}.peak.theirs"), gib(other), "GiB");
        let ratio = mine as f64 / other as f64;
        figures.add(&format!("{dtype}.peak.ratio"), ratio, "ratio");
    }
    Ok(())
}

/// Ours, theirs, and the median of the rounds' ratios.
fn pairs(figures: &mut Figures, name: &str, pairs: &[(f64, f64)]) {
    let of = |value: fn(&(f64, f64)) -> f64| median(&pairs.iter().map(value).collect::<Vec<_>>());
    figures.add(&format!("{name}.ours"), of(|pair| pair.0), "s");
    figures.add(&format!("{name}.theirs"), of(|pair| pair.1), "s");
    figures.add(
        &format!("{name}.ratio"),
        of(|pair| pair.0 / pair.1),
        "ratio",
    );
}

/// The largest difference, as a part of the largest value.
fn distance(mine: &[f32], other: &[f32]) -> f64 {
    if mine.len() != other.len() {
        return f64::INFINITY;
    }
    let largest = other.iter().fold(0f32, |most, value| most.max(value.abs()));
    let apart = mine.iter().zip(other).map(|(a, b)| (a - b).abs());
    f64::from(apart.fold(0f32, f32::max) / largest)
}
