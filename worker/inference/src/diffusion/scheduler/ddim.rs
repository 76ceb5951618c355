//! Denoising diffusion implicit models (Song, Meng, Ermon 2021), equation 12.

use tch::Tensor;

use super::alphas::Alphas;
use super::{Noise, Scheduler, SchedulerConfig, mix};
use crate::error::Result;

pub(super) struct Ddim {
    alphas: Alphas,
    timesteps: Vec<f64>,
    stride: f64,
    eta: f64,
}

impl Ddim {
    pub(super) fn new(config: &SchedulerConfig, count: usize, eta: f64) -> Result<Self> {
        let alphas = Alphas::new(config, config.set_alpha_to_one.unwrap_or(true), true)?;
        Ok(Self {
            timesteps: alphas.timesteps(config, count),
            stride: alphas.stride(count),
            alphas,
            eta,
        })
    }
}

impl Scheduler for Ddim {
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
        let (now, next) = (self.alphas.at(at), self.alphas.at(at - self.stride));
        let (image, inside) = self.alphas.split(output, latent, at)?;
        let variance = (1.0 - next) / (1.0 - now) * (1.0 - now / next);
        let deviation = self.eta * variance.max(0.0).sqrt();
        let direction = (1.0 - next - deviation * deviation).max(0.0).sqrt();
        let mean = mix(&[(next.sqrt(), &image), (direction, &inside)])?;
        if self.eta > 0.0 {
            return mix(&[(1.0, &mean), (deviation, &noise()?)]);
        }
        Ok(mean)
    }
}
