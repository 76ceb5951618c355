//! Latent consistency models (Luo et al. 2023): each step predicts the image, then adds noise again.

use tch::Tensor;

use super::alphas::Alphas;
use super::{Noise, Scheduler, SchedulerConfig, mix};
use crate::error::{Error, Result};

pub(super) struct Lcm {
    alphas: Alphas,
    timesteps: Vec<f64>,
    scaling: f64,
}

impl Lcm {
    pub(super) fn new(config: &SchedulerConfig, count: usize) -> Result<Self> {
        let alphas = Alphas::new(config, config.set_alpha_to_one.unwrap_or(true), false)?;
        let original = config.original_inference_steps.unwrap_or(50);
        if !(1..=alphas.count()).contains(&original) {
            let message = format!("the scheduler has {original} original steps");
            return Err(Error::Damaged(message));
        }
        if count > original {
            return Err(Error::BadParameter(format!(
                "{count} steps are too many: this model was made for {original} at most"
            )));
        }
        let ratio = alphas.count() / original;
        // The model was distilled on these steps, the last one first; a run visits some of them.
        let distilled = |n: usize| ((original - n) * ratio - 1) as f64;
        let visit = |n: usize| distilled(n * original / count);
        Ok(Self {
            timesteps: (0..count).map(visit).collect(),
            alphas,
            scaling: config.timestep_scaling.unwrap_or(10.0),
        })
    }
}

impl Scheduler for Lcm {
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
        const SIGMA_DATA: f64 = 0.5;
        let at = self.timesteps[step];
        let (image, _) = self.alphas.split(output, latent, at)?;
        let scaled = at * self.scaling;
        let square = scaled * scaled + SIGMA_DATA * SIGMA_DATA;
        let clean = mix(&[
            (scaled / square.sqrt(), &image),
            (SIGMA_DATA * SIGMA_DATA / square, latent),
        ])?;
        match self.timesteps.get(step + 1) {
            Some(&next) => self.alphas.noisy(&clean, &noise()?, next),
            None => Ok(clean),
        }
    }
}
