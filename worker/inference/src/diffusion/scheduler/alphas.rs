//! What the schedulers share that count in whole training steps: DDIM, DDPM, PNDM, LCM.

use tch::Tensor;

use super::{SchedulerConfig, mix};
use crate::diffusion::schedule::{Prediction, Spacing, timesteps};
use crate::error::{Error, Result};

/// The products of alphas, and what the model predicts.
pub(super) struct Alphas {
    products: Vec<f64>,
    /// The product before the first training step.
    before_first: f64,
    prediction: Prediction,
    clip: Option<f64>,
}

impl Alphas {
    pub(super) fn new(
        config: &SchedulerConfig,
        to_one: bool,
        clip_by_default: bool,
    ) -> Result<Self> {
        let products = config.betas().alphas_cumprod()?;
        let before_first = if to_one { 1.0 } else { products[0] };
        Ok(Self {
            products,
            before_first,
            prediction: config.prediction(),
            clip: config.clip(clip_by_default),
        })
    }

    /// Training steps.
    pub(super) fn count(&self) -> usize {
        self.products.len()
    }

    /// The product at a training step; before the first one where it is negative.
    pub(super) fn at(&self, timestep: f64) -> f64 {
        if timestep < 0.0 {
            return self.before_first;
        }
        let last = self.products.len() - 1;
        self.products[(timestep as usize).min(last)]
    }

    /// The training steps of a run, whole numbers.
    pub(super) fn timesteps(&self, config: &SchedulerConfig, count: usize) -> Vec<f64> {
        let spacing = config.timestep_spacing.unwrap_or(Spacing::Leading);
        let offset = config.steps_offset.unwrap_or(0.0);
        let visited = timesteps(spacing, self.count(), count, 0, offset);
        visited.iter().map(|at| at.round_ties_even()).collect()
    }

    /// How far apart the steps of a run are.
    pub(super) fn stride(&self, count: usize) -> f64 {
        (self.count() / count) as f64
    }

    /// The image and the noise in a latent, by the model's output.
    pub(super) fn split(
        &self,
        output: &Tensor,
        latent: &Tensor,
        at: f64,
    ) -> Result<(Tensor, Tensor)> {
        let alpha = self.at(at);
        let (signal, noise) = (alpha.sqrt(), (1.0 - alpha).sqrt());
        let (image, noise) = match self.prediction {
            Prediction::Epsilon => {
                let image = mix(&[(1.0 / signal, latent), (-noise / signal, output)])?;
                (image, output.shallow_clone())
            }
            Prediction::Sample => {
                let rest = mix(&[(1.0 / noise, latent), (-signal / noise, output)])?;
                (output.shallow_clone(), rest)
            }
            Prediction::Velocity => (
                mix(&[(signal, latent), (-noise, output)])?,
                mix(&[(signal, output), (noise, latent)])?,
            ),
        };
        match self.clip {
            Some(range) => Ok((image.f_clamp(-range, range)?, noise)),
            None => Ok((image, noise)),
        }
    }

    /// The noise in a latent, where the model does not predict images.
    pub(super) fn noise_in(&self, output: &Tensor, latent: &Tensor, at: f64) -> Result<Tensor> {
        match self.prediction {
            Prediction::Sample => Err(Error::Unsupported(
                "PNDM with a model that predicts images".into(),
            )),
            _ => Ok(self.split(output, latent, at)?.1),
        }
    }

    pub(super) fn noisy(&self, image: &Tensor, noise: &Tensor, at: f64) -> Result<Tensor> {
        let alpha = self.at(at);
        mix(&[(alpha.sqrt(), image), ((1.0 - alpha).sqrt(), noise)])
    }
}
