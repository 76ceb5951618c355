//! Whether a GPU computes what the processor computes, and how fast: `cargo xtask gpu-check`.
//!
//! Each check prints a line, `ok` or `WRONG`; each figure a line, `name value unit`. The exit status is 1 if a check
//! failed. `--device cpu` runs the same on the processor, which shows that the program works, not that a GPU does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use emc_inference::diffusion::{ImageModel, ImageOptions, ImageRequest, Sampler};
use emc_inference::{
    ChatMessage, Claim, DType, Device, LoadOptions, Model, SamplingParams, benchmark,
};

/// Compares a GPU with the processor, and times it.
#[derive(Parser)]
#[command(name = "cargo xtask gpu-check", bin_name = "cargo xtask gpu-check")]
struct Arguments {
    /// What to check: cuda, cuda:N, or cpu to try the program out
    #[arg(long, default_value = "cuda")]
    device: Device,
    /// A language model: a GGUF file, or a folder with one in it
    #[arg(long, default_value = ".emc/models/SmolLM2-135M-Instruct")]
    model: PathBuf,
    /// What is timed, with random weights: NAME@SIDE, of sd15 and sdxl
    #[arg(long, value_delimiter = ',', default_value = "sd15@512,sdxl@1024")]
    pictures: Vec<String>,
    /// Steps that are timed
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// Leave the speeds out
    #[arg(long)]
    no_speed: bool,
}

/// What was found so far.
#[derive(Default)]
struct Report {
    wrong: usize,
}

impl Report {
    fn check(&mut self, name: &str, right: bool, found: String) {
        println!("{} {name}: {found}", if right { "ok   " } else { "WRONG" });
        self.wrong += usize::from(!right);
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(wrong) => {
            eprintln!("{wrong} checks failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<usize> {
    let mut report = Report::default();
    let narrow = match arguments.device {
        Device::Cpu => vec![DType::Bf16],
        Device::Cuda(_) => vec![DType::Bf16, DType::F16],
    };
    pictures(arguments.device, &narrow, &mut report)?;
    match arguments.model.exists() {
        true => text(arguments, &mut report)?,
        false => println!("no language model at {}", arguments.model.display()),
    }
    if !arguments.no_speed {
        for name in &arguments.pictures {
            for &dtype in &narrow {
                picture_speed(arguments, name, dtype)?;
            }
        }
    }
    Ok(report.wrong)
}

/// A folder of this package.
fn package(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The tiny models of the tests, on the device and on the processor.
fn pictures(device: Device, narrow: &[DType], report: &mut Report) -> Result<()> {
    for name in ["sd15", "sd21", "sdxl"] {
        let path = package("tests/data/diffusion").join(name);
        let latents = |device, dtype| -> Result<Vec<f32>> {
            let options = ImageOptions {
                device,
                dtype,
                ..ImageOptions::default()
            };
            let model = ImageModel::load(&path, &options)?;
            let request = ImageRequest {
                steps: 8,
                seed: 3,
                sampler: Some(Sampler::EulerAncestral),
                ..ImageRequest::new("a red fox", 64, 48)
            };
            Ok(model.generate(&request, |_| true)?.latents)
        };
        let wanted = latents(Device::Cpu, DType::F32)?;
        let found = distance(&latents(device, DType::F32)?, &wanted);
        report.check(
            &format!("{name} in f32"),
            found < 1e-3,
            format!("latents within {found:.1e} of the processor's largest"),
        );
        for &dtype in narrow {
            let found = distance(&latents(device, dtype)?, &wanted);
            // Random UNets do not remove noise, so that rounding grows with the steps.
            report.check(
                &format!("{name} in {dtype}"),
                found < 0.25,
                format!("latents within {found:.1e}"),
            );
        }
    }
    Ok(())
}

/// The largest difference, as a part of the largest value; infinite where something is no number.
fn distance(found: &[f32], wanted: &[f32]) -> f32 {
    let largest = wanted
        .iter()
        .fold(0f32, |most, value| most.max(value.abs()));
    let pairs = found.iter().zip(wanted);
    let apart = pairs.map(|(a, b)| (a - b).abs()).map(|difference| {
        if difference.is_finite() {
            difference
        } else {
            f32::INFINITY
        }
    });
    apart.fold(0f32, f32::max) / largest
}

/// An answer made on the device, checked on the processor as a validator does, and the speeds.
fn text(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let load = |device, dtype| {
        let options = LoadOptions {
            device,
            dtype,
            context: Some(1_024),
            ..LoadOptions::default()
        };
        Model::load(&arguments.model, options)
    };
    let processor = load(Device::Cpu, DType::F32)?;
    let question = [ChatMessage::new("user", "Explain why the sky is blue.")];
    let prompt = processor.encode(&processor.render_chat(&question)?)?;
    let params = SamplingParams {
        max_tokens: 64,
        ..SamplingParams::default()
    };
    for (dtype, allowed) in [(DType::F32, 50), (DType::Bf16, 1_500)] {
        let model = load(arguments.device, dtype)?;
        let answer = model.generate(prompt.clone(), params.clone(), |_, _| {})?;
        let claim = Claim {
            prompt: &prompt,
            ids: &answer.ids,
            reason: answer.reason,
            text: &answer.text,
            params: &params,
            context: 1_024,
        };
        let found = processor.verify(&claim, &[], &[])?;
        report.check(
            &format!("{} in {dtype}", processor.info().name),
            found.largest_gap_milli <= allowed && found.text_right && found.ends_right,
            format!(
                "{} of {} tokens are the processor's choice, the others at most {} thousandths of a logit from it",
                found.matches, found.positions, found.largest_gap_milli
            ),
        );
        if !arguments.no_speed {
            let speed = benchmark::measure(&model, 256, 64, 3)?;
            println!("text.{dtype}.prefill {:.1} tokens/s", speed.prefill);
            println!("text.{dtype}.decode {:.1} tokens/s", speed.decode);
        }
    }
    Ok(())
}

/// Steps a second of a model with the sizes of a published one; the classifier-free guidance's two halves are one step.
fn picture_speed(arguments: &Arguments, name: &str, dtype: DType) -> Result<()> {
    let (shape, side) = name
        .split_once('@')
        .context("--pictures is like sd15@512")?;
    let side: u32 = side.parse().context("the side is a number of pixels")?;
    let shapes = package("examples/shapes").join(shape);
    ensure!(
        shapes.is_dir(),
        "there is no {}: use sd15 or sdxl",
        shapes.display()
    );
    let folder = std::env::temp_dir().join(format!("emc-gpu-check-{}", std::process::id()));
    let speed = assemble(&shapes, &folder).and_then(|()| timed(arguments, &folder, side, dtype));
    let _ = fs::remove_dir_all(&folder);
    let (first, step, decode) = speed?;
    println!("{shape}.{side}.{dtype}.steps {:.2} it/s", 1.0 / step);
    println!("{shape}.{side}.{dtype}.first_picture {first:.2} s");
    println!("{shape}.{side}.{dtype}.decode {decode:.2} s");
    Ok(())
}

/// The descriptions of a model with the tests' tokenizer, as a folder.
fn assemble(shapes: &Path, folder: &Path) -> Result<()> {
    copy(shapes, folder)?;
    let tokenizer = package("tests/data/diffusion/sd15/tokenizer");
    for name in ["tokenizer", "tokenizer_2"] {
        copy(&tokenizer, &folder.join(name))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => fs::copy(entry.path(), target).map(drop)?,
        }
    }
    Ok(())
}

/// Seconds of the first picture, of a step after it, and of the last step's end to the picture.
fn timed(arguments: &Arguments, folder: &Path, side: u32, dtype: DType) -> Result<(f64, f64, f64)> {
    let options = ImageOptions {
        device: arguments.device,
        dtype,
        random: true,
        ..ImageOptions::default()
    };
    let model = ImageModel::load(folder, &options)?;
    let mut request = ImageRequest::new("a red fox", side, side);
    request.steps = 2;
    let begin = Instant::now();
    model.generate(&request, |_| true)?;
    let first = begin.elapsed().as_secs_f64();
    // Only the picture waits for the device, so that a step is what more of them add.
    let mut seconds = |steps: usize| -> Result<f64> {
        request.steps = steps;
        let begin = Instant::now();
        model.generate(&request, |_| true)?;
        Ok(begin.elapsed().as_secs_f64())
    };
    let (few, many) = (seconds(2)?, seconds(2 + arguments.steps)?);
    let step = (many - few) / arguments.steps as f64;
    Ok((first, step, few - 2.0 * step))
}
