//! Pictures: what is asked for, what is delivered, how it is measured and paid. What validators compare of them is in
//! [`crate::image_audit`].
//!
//! A picture is measured in pixel-steps: width x height x the steps that really run. They are known before a node has
//! seen the job, so its price is too.

use crate::limits;
use crate::{Seconds, Tokens, Usage};
use candid::CandidType;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// How a picture is to be made. Decimals are thousandths, so that every machine reads the same number.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageParameters {
    /// Pixels from left to right; a multiple of 8.
    pub width: u32,
    /// Pixels from top to bottom; a multiple of 8.
    pub height: u32,
    /// Steps of a whole run of the sampler; with a first picture only a part of them runs.
    pub steps: u32,
    /// How closely the prompt is followed (classifier-free guidance), in thousandths; 1000 is without guidance.
    pub guidance_milli: u32,
    /// The sampler: `pndm`, `ddim`, `ddpm`, `euler`, `euler_a`, `dpmpp_2m`, `dpmpp_2m_karras`, `dpmpp_2m_exponential`,
    /// `dpmpp_2m_sde`, `unipc`, `lcm`; the model's own where absent. A node declines one that it does not know.
    pub sampler: Option<String>,
    /// How many of the text encoder's last layers are left out; none where absent.
    pub clip_skip: Option<u32>,
    /// How far the result may go from the first picture, in thousandths; exactly where there is one.
    pub strength_milli: Option<u32>,
}

impl ImageParameters {
    /// The steps that run: all, or with a strength that part of them, rounded down; at least one.
    pub fn steps_run(&self) -> u32 {
        let part = u64::from(self.strength_milli.unwrap_or(1_000).min(1_000));
        // At most `steps`, so that it fits.
        (u64::from(self.steps) * part / 1_000).max(1) as u32
    }

    /// Pixel-steps of so many steps.
    pub fn pixel_steps_of(&self, steps: u32) -> u64 {
        let pixels = u64::from(self.width) * u64::from(self.height);
        pixels.saturating_mul(steps.into())
    }

    /// Pixel-steps of the whole job: what it is paid by.
    pub fn pixel_steps(&self) -> u64 {
        self.pixel_steps_of(self.steps_run())
    }

    /// The usage of the whole job.
    pub fn usage(&self) -> Usage {
        Usage {
            pixel_steps: self.pixel_steps(),
            ..Usage::default()
        }
    }

    /// Largest PNG that is accepted of this size, in bytes: four uncompressed bytes a pixel and some more.
    pub fn png_bound(&self) -> usize {
        let pixels = u64::from(self.width) * u64::from(self.height);
        let bound = pixels.saturating_mul(4).saturating_add(64 * 1024);
        bound.min(limits::IMAGE_PNG_BYTES as u64) as usize
    }

    /// Longest output in its canonical encoding, in bytes.
    pub fn output_bound(&self) -> u64 {
        let around = 2 + 4 + 1 + 4 + 4 + 4 * limits::IMAGE_LATENT;
        (self.png_bound() + limits::IMAGE_THUMBNAIL_BYTES + around) as u64
    }
}

/// What a picture is made from.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageInput {
    /// What is to be seen.
    pub prompt: String,
    /// What is not to be seen.
    pub negative: Option<String>,
    /// How it is to be made.
    pub parameters: ImageParameters,
    /// A picture to begin with (PNG of the job's width and height); needs a strength.
    pub init: Option<ByteBuf>,
    /// Where the first picture may change (PNG of the job's width and height): white may, black may not.
    pub mask: Option<ByteBuf>,
}

/// The output of an image job.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ImageOutput {
    /// The picture, a PNG of the job's width and height.
    #[serde(with = "serde_bytes")]
    pub png: Vec<u8>,
    /// A small copy of it (PNG), which `get_job` shows.
    pub thumbnail: Option<ByteBuf>,
    /// The final latent at [`crate::limits::IMAGE_LATENT`] places, in thousandths: what audits compare
    /// ([`crate::image_audit::latent_samples`]).
    pub latent: Vec<i32>,
}

/// How far an image job has come.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageProgress {
    /// Steps that are done, of those that run.
    pub steps_done: u32,
    /// How the picture looks so far, a small PNG; the last one stays where absent.
    pub preview: Option<ByteBuf>,
}

/// What `get_job` shows of an image job, beside its input. The picture itself is read with `result_part`.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ImageView {
    /// How it is made; stays when the input is deleted.
    pub parameters: ImageParameters,
    /// The result's small copy (PNG), where its node gave one.
    pub thumbnail: Option<ByteBuf>,
    /// Length of the result's canonical bytes; null before it is there and after its retention.
    pub result_bytes: Option<u64>,
}

/// What a validator of an image job gets instead of a text. The picture is read with `result_part`.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ImageTask {
    /// The final latent as it was delivered.
    pub latent: Vec<i32>,
    /// Length of the output's canonical bytes.
    pub result_bytes: u64,
}

/// Settings of image jobs that the governor may change.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ImageSettings {
    /// What a lease, and the time in which a validator commits, is longer per million pixel-steps.
    pub lease_per_million: Seconds,
    /// What one vote is paid, e8s per million pixel-steps.
    pub vote_price: Tokens,
}

impl Default for ImageSettings {
    fn default() -> Self {
        Self {
            lease_per_million: Seconds(10),
            vote_price: Tokens(40_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parameters(steps: u32, strength_milli: Option<u32>) -> ImageParameters {
        ImageParameters {
            width: 512,
            height: 256,
            steps,
            strength_milli,
            ..ImageParameters::default()
        }
    }

    #[test]
    fn only_the_steps_that_run_are_measured() {
        assert_eq!(parameters(20, None).steps_run(), 20);
        assert_eq!(parameters(20, Some(1_000)).steps_run(), 20);
        assert_eq!(parameters(20, Some(749)).steps_run(), 14);
        assert_eq!(
            parameters(20, Some(1)).steps_run(),
            1,
            "at least one always runs"
        );
        assert_eq!(parameters(20, Some(750)).pixel_steps(), 512 * 256 * 15);
        assert_eq!(parameters(20, None).usage().prompt_tokens, 0);
    }

    #[test]
    fn the_largest_picture_fits_into_an_upload_uncompressed() {
        let pixels = limits::IMAGE_PIXELS as usize;
        // Eight bits each of red, green and blue, a filter byte a row, and deflate's blocks that store.
        let stored = 3 * pixels + limits::IMAGE_SIDE_MAX as usize;
        assert!(stored + stored / 1_000 + 1_024 < limits::IMAGE_PNG_BYTES);
        let largest = ImageParameters {
            width: limits::IMAGE_SIDE_MAX,
            height: limits::IMAGE_PIXELS / limits::IMAGE_SIDE_MAX,
            ..ImageParameters::default()
        };
        assert!(largest.output_bound() < limits::OUTPUT_BYTES as u64);
    }

    proptest! {
        #[test]
        fn no_parameters_make_the_measure_overflow(width: u32, height: u32, steps: u32, strength: Option<u32>) {
            let p = ImageParameters { width, height, steps, strength_milli: strength, ..ImageParameters::default() };
            prop_assert!(p.steps_run() >= 1 && p.steps_run() <= steps.max(1));
            let exact = u128::from(width) * u128::from(height) * u128::from(p.steps_run());
            prop_assert_eq!(u128::from(p.pixel_steps()), exact.min(u64::MAX.into()));
            prop_assert!(p.png_bound() <= limits::IMAGE_PNG_BYTES);
        }
    }
}
