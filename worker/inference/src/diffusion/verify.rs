//! What a validator of an image job computes: the job again, and how far the claimed result is from it.
//!
//! Two machines do not compute the same latents to the last bit, but nearly the same ones, since all noise is the same.
//! So a result carries the numbers of its final latents at some places, in thousandths, and a validator compares them
//! with its own.

use super::picture::Picture;
use super::pipeline::{ImageModel, Images};
use super::request::ImageRequest;
use crate::error::{Error, Result};

/// Numbers of the final latents that a result carries, at most.
pub const LATENT_SAMPLES: usize = 256;

/// A result as a worker claims it.
#[derive(Debug, Clone)]
pub struct ImageClaim<'a> {
    /// The first picture's PNG file.
    pub png: &'a [u8],
    /// As [`latent_samples`] gives them.
    pub latent: &'a [i32],
}

/// How far a claim is from the job computed again.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageGaps {
    /// The differences between the claimed latents and one's own, in thousandths, without their signs.
    pub gaps: Vec<u32>,
    /// One's own latents, in thousandths.
    pub own: Vec<i32>,
    /// The mean difference of a colour between the claimed picture and one's own, of 255; `None` where the claim is not
    /// a picture of the right size.
    pub colours: Option<f64>,
}

impl ImageGaps {
    /// The largest difference.
    pub fn largest(&self) -> u32 {
        self.gaps.iter().copied().max().unwrap_or(0)
    }

    /// The mean difference, rounded up.
    pub fn mean(&self) -> u32 {
        let sum: u64 = self.gaps.iter().map(|&gap| u64::from(gap)).sum();
        let count = self.gaps.len().max(1) as u64;
        u32::try_from(sum.div_ceil(count)).unwrap_or(u32::MAX)
    }

    /// How many differences are above so many thousandths.
    pub fn above(&self, milli: u32) -> usize {
        self.gaps.iter().filter(|&&gap| gap > milli).count()
    }
}

/// The final latents of a picture at even distances, in thousandths: at most [`LATENT_SAMPLES`] of them.
pub fn latent_samples(latents: &[f32]) -> Vec<i32> {
    let count = latents.len().min(LATENT_SAMPLES);
    let milli = |value: f32| (f64::from(value) * 1_000.0).round_ties_even() as i32;
    (0..count)
        .map(|n| milli(latents[n * latents.len() / count]))
        .collect()
}

impl ImageModel {
    /// Computes a job again and compares.
    ///
    /// # Errors
    /// A request that this model cannot serve, or for more than one picture, or a claim of the wrong length.
    pub fn verify(&self, request: &ImageRequest, claim: &ImageClaim<'_>) -> Result<ImageGaps> {
        if request.images != 1 {
            return Err(Error::BadParameter(
                "results of one picture each can be verified".into(),
            ));
        }
        let Images {
            pictures, latents, ..
        } = self.generate(request, |_| true)?;
        let own = latent_samples(&latents);
        if own.len() != claim.latent.len() {
            return Err(Error::BadParameter(format!(
                "the claim has {} numbers of the latents, not {}",
                claim.latent.len(),
                own.len()
            )));
        }
        let gaps = own.iter().zip(claim.latent);
        let gaps = gaps.map(|(own, claimed)| own.abs_diff(*claimed)).collect();
        let colours = pictures
            .first()
            .and_then(|own| colour_difference(own, &Picture::from_png(claim.png).ok()?));
        Ok(ImageGaps { gaps, own, colours })
    }
}

/// The mean difference of a colour; `None` for pictures of different sizes.
fn colour_difference(one: &Picture, other: &Picture) -> Option<f64> {
    if (one.width, one.height) != (other.width, other.height) || one.rgb.is_empty() {
        return None;
    }
    let pairs = one.rgb.iter().zip(&other.rgb);
    let sum: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    Some(sum as f64 / one.rgb.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::Sampler;
    use crate::diffusion::parity::tiny_model;

    #[test]
    fn samples_are_even_and_never_more_than_there_are() {
        let latents: Vec<f32> = (0..1_024).map(|n| n as f32 / 1_000.0).collect();
        let samples = latent_samples(&latents);
        assert_eq!(samples.len(), LATENT_SAMPLES);
        assert_eq!(samples[..3], [0, 4, 8]);
        assert_eq!(
            latent_samples(&[0.0004, -1.0, f32::MAX]),
            [0, -1_000, i32::MAX]
        );
        assert!(latent_samples(&[]).is_empty());
    }

    #[test]
    fn an_honest_result_is_near_and_a_cheats_is_far() {
        let model = tiny_model("sd15");
        let mut request = ImageRequest::new("a red fox", 64, 48);
        (request.steps, request.sampler, request.seed) = (4, Some(Sampler::EulerAncestral), 5);
        let result = |request: &ImageRequest| {
            let images = model.generate(request, |_| true).unwrap();
            let png = images.pictures[0].to_png(None).unwrap();
            (png, latent_samples(&images.latents))
        };
        let gaps = |(png, latent): &(Vec<u8>, Vec<i32>)| {
            let claim = ImageClaim { png, latent };
            model.verify(&request, &claim).unwrap()
        };
        let honest = gaps(&result(&request));
        assert_eq!((honest.largest(), honest.colours), (0, Some(0.0)));
        type Cheat = (&'static str, fn(&mut ImageRequest));
        let cheats: [Cheat; 4] = [
            ("fewer steps", |request| request.steps = 3),
            ("another seed", |request| request.seed = 6),
            ("another prompt", |request| {
                request.prompt = "a blue bird".into()
            }),
            ("another sampler", |request| {
                request.sampler = Some(Sampler::Euler)
            }),
        ];
        for (name, cheat) in cheats {
            let mut other = request.clone();
            cheat(&mut other);
            let found = gaps(&result(&other));
            assert!(found.mean() > 20, "{name}: {}", found.mean());
        }
        // The right latents with another picture.
        let (_, latent) = result(&request);
        let white = Picture {
            width: 64,
            height: 48,
            rgb: vec![255; 64 * 48 * 3],
        };
        let found = gaps(&(white.to_png(None).unwrap(), latent.clone()));
        assert!(found.largest() == 0 && found.colours.unwrap() > 20.0);
        let small = Picture {
            width: 32,
            height: 48,
            rgb: vec![255; 32 * 48 * 3],
        };
        assert_eq!(gaps(&(small.to_png(None).unwrap(), latent)).colours, None);
        let short = ImageClaim {
            png: &[],
            latent: &[1, 2],
        };
        assert!(model.verify(&request, &short).is_err());
    }
}
