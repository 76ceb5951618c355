//! What is asked of an image model.

use super::picture::Picture;
use super::scheduler::{MAX_STEPS, Sampler};
use crate::error::{Error, Result};

/// The longest side of a picture that is made, in pixels.
pub const MAX_IMAGE_SIDE: u32 = 4_096;
/// Bytes of a prompt, at most.
pub const MAX_PROMPT: usize = 16_384;
/// Pictures of one request, at most.
pub const MAX_IMAGES: usize = 64;

/// A request for pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRequest {
    /// What is wanted, with weights (`docs/images.md`).
    pub prompt: String,
    /// What is not wanted.
    pub negative: Option<String>,
    /// Pixels across; a multiple of eight.
    pub width: u32,
    /// Pixels down; a multiple of eight.
    pub height: u32,
    /// Steps from noise to picture; from another picture, the share of them that `strength` says.
    pub steps: usize,
    /// How much the prompt counts (classifier-free guidance); up to 1, the negative prompt is not looked at.
    pub guidance: f64,
    /// How far guided noise is brought back to the spread of the unguided (Lin et al. 2023); 0 to 1.
    pub guidance_rescale: f64,
    /// Which steps; the model's own where `None`.
    pub sampler: Option<Sampler>,
    /// DDIM's share of noise, 0 to 1.
    pub eta: f64,
    /// What the noise follows from (`docs/spec/sampling.md`).
    pub seed: u64,
    /// Layers of the text encoder that are left out at its end.
    pub clip_skip: usize,
    /// How many pictures.
    pub images: usize,
    /// The picture to begin with.
    pub init: Option<Picture>,
    /// How much of `init` is made anew, in thousandths: 1000 all of it.
    pub strength_milli: u32,
    /// Which of `init` is painted anew: where this is white.
    pub mask: Option<Picture>,
    /// XL: original height and width, crop from top and left, target height and width, that the model is told.
    pub sizes: Option<[f64; 6]>,
    /// XL: the same for the negative prompt.
    pub negative_sizes: Option<[f64; 6]>,
}

impl ImageRequest {
    /// A picture of this prompt and size, with what most people take for the rest.
    pub fn new(prompt: impl Into<String>, width: u32, height: u32) -> Self {
        Self {
            prompt: prompt.into(),
            negative: None,
            width,
            height,
            steps: 30,
            guidance: 7.5,
            guidance_rescale: 0.0,
            sampler: None,
            eta: 0.0,
            seed: 0,
            clip_skip: 0,
            images: 1,
            init: None,
            strength_milli: 750,
            mask: None,
            sizes: None,
            negative_sizes: None,
        }
    }

    /// The steps that are really run: all of them, or the share that `strength` says, rounded down, and one at least.
    pub fn steps_run(&self) -> usize {
        match self.init {
            None => self.steps,
            Some(_) => {
                let share = self.strength_milli.min(1_000) as usize;
                (self.steps.saturating_mul(share) / 1_000).max(1)
            }
        }
    }

    /// What made the picture, as people's tools write and read it: the prompt, the negative prompt, and the rest.
    pub fn description(&self) -> String {
        let mut text = self.prompt.clone();
        if let Some(negative) = &self.negative {
            text.push_str(&format!("\nNegative prompt: {negative}"));
        }
        let sampler = self.sampler.map_or("default", Sampler::name);
        text.push_str(&format!(
            "\nSteps: {}, Sampler: {sampler}, CFG scale: {}, Seed: {}, Size: {}x{}",
            self.steps, self.guidance, self.seed, self.width, self.height
        ));
        if self.clip_skip > 0 {
            // Where the number is read, it counts from the last layer.
            text.push_str(&format!(", Clip skip: {}", self.clip_skip + 1));
        }
        if self.init.is_some() {
            let strength = f64::from(self.strength_milli) / 1e3;
            text.push_str(&format!(", Denoising strength: {strength}"));
        }
        text
    }

    /// Checks everything that does not depend on the model; `scale` is how many pixels one of the latent covers.
    pub(crate) fn check(&self, scale: u32) -> Result<()> {
        let bad = |message: String| Err(Error::BadParameter(message));
        let (width, height) = (self.width, self.height);
        for side in [width, height] {
            if side == 0 || side % scale != 0 || side > MAX_IMAGE_SIDE {
                return bad(format!(
                    "{width}x{height} cannot be made: each side must be a multiple of {scale} up to {MAX_IMAGE_SIDE}"
                ));
            }
        }
        if !(1..=MAX_STEPS).contains(&self.steps) {
            return bad(format!(
                "{} steps are not between 1 and {MAX_STEPS}",
                self.steps
            ));
        }
        if !(1..=MAX_IMAGES).contains(&self.images) {
            return bad(format!(
                "{} pictures are not between 1 and {MAX_IMAGES}",
                self.images
            ));
        }
        if !self.guidance.is_finite() || !(0.0..=100.0).contains(&self.guidance) {
            return bad(format!(
                "guidance {} is not between 0 and 100",
                self.guidance
            ));
        }
        for (name, share) in [
            ("guidance rescale", self.guidance_rescale),
            ("eta", self.eta),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return bad(format!("{name} {share} is not between 0 and 1"));
            }
        }
        let prompts = [Some(&self.prompt), self.negative.as_ref()];
        if prompts
            .into_iter()
            .flatten()
            .any(|prompt| prompt.len() > MAX_PROMPT)
        {
            return bad(format!("a prompt is longer than {MAX_PROMPT} bytes"));
        }
        if self.mask.is_some() && self.init.is_none() {
            return bad("a mask without a picture to paint in: give one with init".into());
        }
        for (name, picture) in [("picture", &self.init), ("mask", &self.mask)] {
            if let Some(found) = picture
                .as_ref()
                .filter(|p| (p.width, p.height) != (width, height))
            {
                return bad(format!(
                    "the {name} has {}x{} pixels, the request {width}x{height}: they must be equal",
                    found.width, found.height
                ));
            }
        }
        if self.init.is_some() && self.strength_milli > 1_000 {
            return bad(format!(
                "strength {} is more than 1",
                f64::from(self.strength_milli) / 1e3
            ));
        }
        Ok(())
    }
}
