//! Pseudo numerical methods (Liu, Ren, Lin, Zhao 2022) without Runge-Kutta steps: a linear multistep method whose second
//! step is taken twice. Stable Diffusion 1.x is published with it.

use tch::Tensor;

use super::alphas::Alphas;
use super::{Noise, Scheduler, SchedulerConfig, mix};
use crate::error::{Error, Result};

pub(super) struct Pndm {
    alphas: Alphas,
    timesteps: Vec<f64>,
    stride: f64,
    /// The noises found so far, the newest last; at most four.
    found: Vec<Tensor>,
    /// The latent before the first step, which the second one begins from again.
    first: Option<Tensor>,
    taken: usize,
}

impl Pndm {
    pub(super) fn new(config: &SchedulerConfig, count: usize) -> Result<Self> {
        if config.skip_prk_steps != Some(true) {
            return Err(Error::Unsupported("PNDM with Runge-Kutta steps".into()));
        }
        let alphas = Alphas::new(config, config.set_alpha_to_one.unwrap_or(false), false)?;
        let mut timesteps = alphas.timesteps(config, count);
        if let Some(&second) = timesteps.get(1) {
            timesteps.insert(1, second);
        }
        Ok(Self {
            timesteps,
            stride: alphas.stride(count),
            alphas,
            found: Vec::new(),
            first: None,
            taken: 0,
        })
    }

    /// From one training step to another along a noise: equation 11.
    fn transfer(&self, latent: &Tensor, noise: &Tensor, at: f64, to: f64) -> Result<Tensor> {
        let (now, next) = (self.alphas.at(at), self.alphas.at(to));
        let by = now * (1.0 - next).sqrt() + (now * (1.0 - now) * next).sqrt();
        mix(&[((next / now).sqrt(), latent), (-(next - now) / by, noise)])
    }
}

impl Scheduler for Pndm {
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
        _: &mut Noise<'_>,
    ) -> Result<Tensor> {
        let at = self.timesteps[step];
        let taken = self.taken;
        self.taken += 1;
        if taken == 1 {
            // The first step again, with the mean of the noises at both of its ends.
            let before = self.found.last().map(Tensor::shallow_clone);
            let from = self.first.take();
            if let (Some(before), Some(from)) = (before, from) {
                let mean = mix(&[(0.5, output), (0.5, &before)])?;
                let noise = self.alphas.noise_in(&mean, &from, at + self.stride)?;
                return self.transfer(&from, &noise, at + self.stride, at);
            }
        }
        if self.found.len() == 4 {
            drop(self.found.remove(0));
        }
        self.found.push(output.shallow_clone());
        let newest: Vec<&Tensor> = self.found.iter().rev().collect();
        let combined = match newest.as_slice() {
            [a, b, c, d] => mix(&[
                (55.0 / 24.0, a),
                (-59.0 / 24.0, b),
                (37.0 / 24.0, c),
                (-9.0 / 24.0, d),
            ])?,
            [a, b, c] => mix(&[(23.0 / 12.0, a), (-16.0 / 12.0, b), (5.0 / 12.0, c)])?,
            [a, b] => mix(&[(1.5, a), (-0.5, b)])?,
            _ => output.shallow_clone(),
        };
        if taken == 0 {
            self.first = Some(latent.shallow_clone());
        }
        let noise = self.alphas.noise_in(&combined, latent, at)?;
        self.transfer(latent, &noise, at, at - self.stride)
    }
}
