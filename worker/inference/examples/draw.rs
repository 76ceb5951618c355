//! Draws a picture with a Stable Diffusion on this machine, without any network.
//!
//! ```sh
//! cargo run --release -p emc-inference --example draw -- models/emoji-sd "a red apple" -o apple.png
//! ```

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use emc_inference::diffusion::{ImageModel, ImageOptions, ImageRequest, Lora, Picture, Sampler};
use emc_inference::{DType, Device};

/// Draws a picture.
#[derive(Parser)]
struct Arguments {
    /// A folder of diffusers' layout, or a single safetensors file
    model: PathBuf,
    /// What is wanted
    prompt: String,
    /// Where the PNG goes
    #[arg(short, long, default_value = "out.png")]
    output: PathBuf,
    /// What is not wanted
    #[arg(long)]
    negative: Option<String>,
    /// Width and height, as 512x512; what the model was trained for where absent
    #[arg(long)]
    size: Option<String>,
    /// Steps from noise to picture
    #[arg(long, default_value_t = 30)]
    steps: usize,
    /// How much the prompt counts
    #[arg(long, default_value_t = 7.5)]
    guidance: f64,
    /// Which steps: pndm, ddim, ddpm, euler, euler_a, dpmpp_2m, dpmpp_2m_karras, unipc, lcm and others
    #[arg(long)]
    sampler: Option<Sampler>,
    /// What the noise follows from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A PNG to begin with
    #[arg(long)]
    init: Option<PathBuf>,
    /// How much of it is made anew, 0 to 1
    #[arg(long, default_value_t = 0.75)]
    strength: f64,
    /// A PNG that is white where it is to be painted anew
    #[arg(long)]
    mask: Option<PathBuf>,
    /// A LoRA file, with its strength after an @
    #[arg(long)]
    lora: Vec<String>,
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// f32, bf16, or f16 on a GPU
    #[arg(long, default_value = "f32")]
    dtype: DType,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let loras = arguments.lora.iter().map(|text| {
        let (path, strength) = text.rsplit_once('@').unwrap_or((text, "1"));
        let strength = strength
            .parse()
            .with_context(|| format!("the strength in {text}"))?;
        Ok(Lora {
            path: path.into(),
            strength,
        })
    });
    let options = ImageOptions {
        device: arguments.device,
        dtype: arguments.dtype,
        loras: loras.collect::<Result<_>>()?,
        ..ImageOptions::default()
    };
    let begin = Instant::now();
    let model = ImageModel::load(&arguments.model, &options)?;
    eprintln!("loaded in {:.2} s", begin.elapsed().as_secs_f64());
    let picture = |path: &PathBuf| -> Result<Picture> {
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        Ok(Picture::from_png(&bytes)?)
    };
    let init = arguments.init.as_ref().map(picture).transpose()?;
    let (width, height) = match (&arguments.size, &init) {
        (Some(size), _) => {
            let (width, height) = size.split_once('x').context("--size is like 512x512")?;
            (width.parse()?, height.parse()?)
        }
        (None, Some(init)) => (init.width, init.height),
        (None, None) => {
            let side = model.trained_side().unwrap_or(512);
            (side, side)
        }
    };
    let mut request = ImageRequest::new(arguments.prompt, width, height);
    request.negative = arguments.negative;
    request.steps = arguments.steps;
    request.guidance = arguments.guidance;
    request.sampler = arguments.sampler;
    request.seed = arguments.seed;
    request.strength_milli = (arguments.strength * 1_000.0).round() as u32;
    request.init = init;
    request.mask = arguments.mask.as_ref().map(picture).transpose()?;
    let begin = Instant::now();
    let images = model.generate(&request, |progress| {
        eprint!("\rstep {} of {}", progress.step, progress.steps);
        true
    })?;
    eprintln!(", {:.2} s", begin.elapsed().as_secs_f64());
    let png = images.pictures[0].to_png(Some(&request.description()))?;
    fs::write(&arguments.output, png)?;
    println!("{}", arguments.output.display());
    Ok(())
}
