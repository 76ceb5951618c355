//! Denoising diffusion probabilistic models (Ho, Jain, Abbeel 2020), equation 7, on fewer steps than in training.

use tch::Tensor;

use super::alphas::Alphas;
use super::{Noise, Scheduler, SchedulerConfig, mix};
use crate::error::{Error, Result};

pub(super) struct Ddpm {
    alphas: Alphas,
    timesteps: Vec<f64>,
    /// Whether the variance is the larger one of the paper's two.
    large: bool,
}

impl Ddpm {
    pub(super) fn new(config: &SchedulerConfig, count: usize) -> Result<Self> {
        let large = match config.variance_type.as_deref() {
            None | Some("fixed_small") => false,
            Some("fixed_large") => true,
            Some(other) => {
                return Err(Error::Unsupported(format!("the variance type {other}")));
            }
        };
        let alphas = Alphas::new(config, true, true)?;
        Ok(Self {
            timesteps: alphas.timesteps(config, count),
            alphas,
            large,
        })
    }
}

impl Scheduler for Ddpm {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn noisy(&self, image: &Tensor, noise: &Tensor, step: usize) -> Result<Tensor> {
        self.alphas.noisy(image, noise, self.timesteps[step])
    }

    fn step(
        &mut self,
        step: usize,
        output: &Tensor,
        latent: &Tensor,
        noise: &mut Noise<'_>,
    ) -> Result<Tensor> {
        let at = self.timesteps[step];
        let next_at = self.timesteps.get(step + 1).copied().unwrap_or(-1.0);
        let (now, next) = (self.alphas.at(at), self.alphas.at(next_at));
        let alpha = now / next;
        let (image, _) = self.alphas.split(output, latent, at)?;
        let mean = mix(&[
            (next.sqrt() * (1.0 - alpha) / (1.0 - now), &image),
            (alpha.sqrt() * (1.0 - next) / (1.0 - now), latent),
        ])?;
        if at <= 0.0 {
            return Ok(mean);
        }
        let variance = match self.large {
            true => 1.0 - alpha,
            false => ((1.0 - next) / (1.0 - now) * (1.0 - alpha)).max(1e-20),
        };
        mix(&[(1.0, &mean), (variance.sqrt(), &noise()?)])
    }
}
