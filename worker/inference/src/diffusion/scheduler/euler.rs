//! Euler's method on the probability flow equation (Karras, Aittala, Aila, Laine 2022), plain and ancestral.
//!
//! The latent is the image plus sigma times noise; the model sees it divided by its standard deviation.

use tch::Tensor;

use super::{Noise, Scheduler, SchedulerConfig, mix};
use crate::diffusion::schedule::{
    FinalSigma, Prediction, Sigmas, Spacing, interpolate, spread, timestep_of, timesteps,
    training_sigmas,
};
use crate::error::{Error, Result};

pub(super) struct Euler {
    timesteps: Vec<f64>,
    /// One more than steps.
    sigmas: Vec<f64>,
    prediction: Prediction,
    spacing: Spacing,
    ancestral: bool,
}

impl Euler {
    pub(super) fn new(config: &SchedulerConfig, count: usize, ancestral: bool) -> Result<Self> {
        let prediction = config.prediction();
        if ancestral && prediction == Prediction::Sample {
            return Err(Error::Unsupported(
                "Euler ancestral with a model that predicts images".into(),
            ));
        }
        let mut alphas = config.betas().alphas_cumprod()?;
        if config.rescale_betas_zero_snr == Some(true) {
            nearly_zero(&mut alphas);
        }
        let training = training_sigmas(&alphas);
        let spacing = config.timestep_spacing.unwrap_or(Spacing::Linspace);
        let offset = config.steps_offset.unwrap_or(0.0);
        let mut timesteps = timesteps(spacing, training.len(), count, 0, offset);
        let mut sigmas: Vec<f64> = timesteps
            .iter()
            .map(|&at| interpolate(&training, at))
            .collect();
        let kind = if ancestral {
            Sigmas::Plain
        } else {
            config.sigmas()
        };
        if kind != Sigmas::Plain {
            let largest = config.sigma_max.unwrap_or(sigmas[0]);
            let smallest = config.sigma_min.unwrap_or(sigmas[count - 1]);
            sigmas = spread(kind, largest, smallest, count);
            timesteps = sigmas
                .iter()
                .map(|&sigma| timestep_of(sigma, &training))
                .collect();
        }
        sigmas.push(match (ancestral, config.final_sigma()) {
            (false, FinalSigma::SigmaMin) => training[0],
            _ => 0.0,
        });
        Ok(Self {
            timesteps,
            sigmas,
            prediction,
            spacing,
            ancestral,
        })
    }
}

/// The last product under zero terminal SNR: nearly nothing, so that its sigma is not infinite.
pub(super) fn nearly_zero(alphas: &mut [f64]) {
    if let Some(last) = alphas.last_mut() {
        *last = 2f64.powi(-24);
    }
}

impl Scheduler for Euler {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn initial_scale(&self) -> f64 {
        let largest = self.sigmas.iter().copied().fold(0.0, f64::max);
        match self.spacing {
            Spacing::Linspace | Spacing::Trailing => largest,
            Spacing::Leading => (largest * largest + 1.0).sqrt(),
        }
    }

    fn scale_input(&self, latent: &Tensor, step: usize) -> Result<Tensor> {
        let sigma = self.sigmas[step];
        mix(&[(1.0 / (sigma * sigma + 1.0).sqrt(), latent)])
    }

    fn noisy(&self, image: &Tensor, noise: &Tensor, step: usize) -> Result<Tensor> {
        mix(&[(1.0, image), (self.sigmas[step], noise)])
    }

    fn step(
        &mut self,
        step: usize,
        output: &Tensor,
        latent: &Tensor,
        noise: &mut Noise<'_>,
    ) -> Result<Tensor> {
        let (sigma, next) = (self.sigmas[step], self.sigmas[step + 1]);
        let square = sigma * sigma + 1.0;
        // The derivative (latent - image) / sigma, without the detour over an image that noise nearly hides.
        let slope = match self.prediction {
            Prediction::Epsilon => output.shallow_clone(),
            Prediction::Velocity => {
                mix(&[(sigma / square, latent), (1.0 / square.sqrt(), output)])?
            }
            Prediction::Sample => mix(&[(1.0 / sigma, latent), (-1.0 / sigma, output)])?,
        };
        if !self.ancestral {
            return mix(&[(1.0, latent), (next - sigma, &slope)]);
        }
        let up = next / sigma * (sigma * sigma - next * next).max(0.0).sqrt();
        let down = (next * next - up * up).max(0.0).sqrt();
        mix(&[(1.0, latent), (down - sigma, &slope), (up, &noise()?)])
    }
}
