//! Calibrates a model of pictures: how far the final latents of honest machines are apart, how far those of cheats, and
//! the audit terms that follow. Started by `cargo xtask calibrate FOLDER`.
//!
//! Every difference is that of one number of a latent, in thousandths, as an audit compares them (`docs/spec/audit.md`,
//! section 9). From every other prompt come the proposed terms; the prompts between say how often they are wrong.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use emc_inference::DType;
use emc_inference::diffusion::{ImageModel, ImageOptions, ImageRequest, Sampler};

/// Measures how far honest machines are apart on a model of pictures, and how far cheats are from them.
#[derive(Parser)]
#[command(name = "cargo xtask calibrate", bin_name = "cargo xtask calibrate")]
struct Arguments {
    /// A folder of diffusers' layout, or a single file
    model: PathBuf,
    /// Prompts, one a line; a built-in list unless given
    #[arg(long)]
    prompts: Option<PathBuf>,
    /// How many of the prompts to use; every second one is held out
    #[arg(long)]
    count: Option<usize>,
    /// Steps of a picture
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// How much the prompt counts
    #[arg(long, default_value_t = 3.0)]
    guidance: f64,
    /// Width and height; what the model was trained for unless given
    #[arg(long)]
    side: Option<u32>,
    /// Everything that was measured as JSON instead of the tables
    #[arg(long)]
    json: bool,
}

const PROMPTS: &str = "a red apple\na woman with a hat\na smiling face\nan old house\na green tree\na black cat\na blue car\n\
    a yellow flower\nthe flag of a country\na man running\na slice of pizza\na white horse\na rainbow\na small boat\n\
    a thumbs up\na sleeping dog\na full moon\na purple heart\na police officer\na cup of coffee\na snowman\na guitar\n\
    a clock at three\na bunch of grapes";

/// Differences at which positions are counted, in thousandths.
const LEVELS: [u32; 8] = [5, 10, 20, 50, 100, 200, 500, 1_000];

/// How a picture is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stack {
    OneThread,
    Together,
    Bf16,
    OneStepFewer,
    HalfTheSteps,
    OtherSampler,
    LessGuidance,
    OtherSeed,
    OtherPrompt,
}

impl Stack {
    const ALL: [Self; 9] = [
        Self::OneThread,
        Self::Together,
        Self::Bf16,
        Self::OneStepFewer,
        Self::HalfTheSteps,
        Self::OtherSampler,
        Self::LessGuidance,
        Self::OtherSeed,
        Self::OtherPrompt,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::OneThread => "f32, one thread",
            Self::Together => "f32, three pictures in a run",
            Self::Bf16 => "bf16",
            Self::OneStepFewer => "one step fewer",
            Self::HalfTheSteps => "half the steps",
            Self::OtherSampler => "another sampler",
            Self::LessGuidance => "a tenth less guidance",
            Self::OtherSeed => "another seed",
            Self::OtherPrompt => "another prompt",
        }
    }

    fn is_honest(self) -> bool {
        matches!(self, Self::OneThread | Self::Together | Self::Bf16)
    }
}

/// What was found of one picture.
#[derive(Clone, Debug, serde::Serialize)]
struct Found {
    stack: &'static str,
    honest: bool,
    prompt: usize,
    /// Of the positions, how many lie above each of [`LEVELS`], from 0 to 1.
    above: Vec<f64>,
    mean: f64,
    largest: u32,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let text = match &arguments.prompts {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("reading the prompts in {}", path.display()))?,
        None => PROMPTS.to_owned(),
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let prompts: Vec<&str> = lines.take(arguments.count.unwrap_or(usize::MAX)).collect();
    ensure!(prompts.len() >= 2, "calibration needs two prompts at least");
    ensure!(arguments.steps >= 2, "calibration needs two steps at least");
    let found = measure(&arguments, &prompts)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
        return Ok(());
    }
    table(&found);
    propose(&found);
    Ok(())
}

fn load(arguments: &Arguments, dtype: DType) -> Result<ImageModel> {
    let options = ImageOptions {
        dtype,
        ..ImageOptions::default()
    };
    Ok(ImageModel::load(&arguments.model, &options)?)
}

fn measure(arguments: &Arguments, prompts: &[&str]) -> Result<Vec<Found>> {
    let model = load(arguments, DType::F32)?;
    let narrow = load(arguments, DType::Bf16)?;
    let side = arguments.side.or(model.trained_side()).unwrap_or(512);
    let threads = tch::get_num_threads();
    let mut found = vec![];
    for (number, prompt) in prompts.iter().enumerate() {
        eprint!("\rprompt {} of {}", number + 1, prompts.len());
        let mut honest = ImageRequest::new(*prompt, side, side);
        honest.steps = arguments.steps;
        honest.guidance = arguments.guidance;
        honest.seed = number as u64;
        let made = |model: &ImageModel, request: &ImageRequest| -> Result<Vec<f32>> {
            Ok(model.generate(request, |_| true)?.latents)
        };
        let wanted = made(&model, &honest)?;
        for stack in Stack::ALL {
            let mut request = honest.clone();
            let latents = match stack {
                Stack::OneThread => {
                    tch::set_num_threads(1);
                    let latents = made(&model, &request);
                    tch::set_num_threads(threads);
                    latents?
                }
                Stack::Together => {
                    let others = [1, 2].map(|more| ImageRequest {
                        seed: request.seed + more * 1_000,
                        ..request.clone()
                    });
                    let all = [&[request][..], &others].concat();
                    let mut images = model.generate_together(&all, |_| true)?;
                    images.swap_remove(0).latents
                }
                Stack::Bf16 => made(&narrow, &request)?,
                Stack::OneStepFewer => {
                    request.steps -= 1;
                    made(&model, &request)?
                }
                Stack::HalfTheSteps => {
                    request.steps /= 2;
                    made(&model, &request)?
                }
                Stack::OtherSampler => {
                    request.sampler = Some(Sampler::EulerAncestral);
                    made(&model, &request)?
                }
                Stack::LessGuidance => {
                    request.guidance *= 0.9;
                    made(&model, &request)?
                }
                Stack::OtherSeed => {
                    request.seed += 1;
                    made(&model, &request)?
                }
                Stack::OtherPrompt => {
                    request.prompt = prompts[(number + 1) % prompts.len()].to_owned();
                    made(&model, &request)?
                }
            };
            found.push(compared(stack, number, &latents, &wanted));
        }
    }
    eprintln!();
    Ok(found)
}

fn compared(stack: Stack, prompt: usize, latents: &[f32], wanted: &[f32]) -> Found {
    let milli = |value: f32| (f64::from(value) * 1e3).round();
    let pairs = latents.iter().zip(wanted);
    let apart: Vec<u32> = pairs
        .map(|(a, b)| (milli(*a) - milli(*b)).abs() as u32)
        .collect();
    let count = apart.len().max(1) as f64;
    let above = |level: u32| apart.iter().filter(|gap| **gap > level).count() as f64 / count;
    Found {
        stack: stack.name(),
        honest: stack.is_honest(),
        prompt,
        above: LEVELS.map(above).into(),
        mean: apart.iter().map(|gap| f64::from(*gap)).sum::<f64>() / count,
        largest: apart.iter().copied().max().unwrap_or(0),
    }
}

fn table(found: &[Found]) {
    let levels: Vec<String> = LEVELS
        .iter()
        .map(|level| format!("above {level}"))
        .collect();
    println!("| | pictures | mean | {} | largest |", levels.join(" | "));
    println!("|---|---|---|{}---|", "---|".repeat(LEVELS.len()));
    for stack in Stack::ALL {
        let of: Vec<&Found> = found.iter().filter(|f| f.stack == stack.name()).collect();
        let count = of.len().max(1) as f64;
        let mean = of.iter().map(|f| f.mean).sum::<f64>() / count;
        let share = |level: usize| of.iter().map(|f| f.above[level]).sum::<f64>() / count;
        let shares: Vec<String> = (0..LEVELS.len())
            .map(|level| format!("{:.1} %", share(level) * 100.0))
            .collect();
        let largest = of.iter().map(|f| f.largest).max().unwrap_or(0);
        println!(
            "| {} | {} | {mean:.1} | {} | {largest} |",
            stack.name(),
            of.len(),
            shares.join(" | ")
        );
    }
}

/// Twice what the worst honest picture had, at the level at which that finds most cheats, among the prompts with even
/// numbers; and how often it is wrong on the others.
fn propose(found: &[Found]) {
    let (known, held): (Vec<&Found>, Vec<&Found>) = found.iter().partition(|f| f.prompt % 2 == 0);
    // An audit looks at 256 positions: fewer than two of them are chance.
    let least = 2.0 / 256.0;
    let allowed = |level: usize| {
        let honest = known.iter().filter(|f| f.honest);
        honest.map(|f| f.above[level] * 2.0).fold(least, f64::max)
    };
    let finds = |level: usize| {
        let cheats = known.iter().filter(|f| !f.honest);
        cheats.filter(|f| f.above[level] > allowed(level)).count()
    };
    let Some(level) = (0..LEVELS.len()).max_by_key(|level| finds(*level)) else {
        return;
    };
    let share = allowed(level);
    println!(
        "\nProposed: at most {:.2} % of the positions ({:.0} basis points) more than {} thousandths apart.",
        share * 100.0,
        share * 1e4,
        LEVELS[level]
    );
    println!("\n| held out | pictures | found wrong |\n|---|---|---|");
    for stack in Stack::ALL {
        let of = held.iter().filter(|f| f.stack == stack.name());
        let wrong = of.clone().filter(|f| f.above[level] > share).count();
        println!("| {} | {} | {wrong} |", stack.name(), of.count());
    }
}
