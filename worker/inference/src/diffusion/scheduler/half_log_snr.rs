//! What DPM-Solver++ and UniPC share: sigmas of a run whose integer timesteps leave out the last, and the half
//! logarithm of the signal-to-noise ratio in which both solve the equation.

use tch::Tensor;

use super::euler::nearly_zero;
use super::{SchedulerConfig, mix};
use crate::diffusion::schedule::{
    FinalSigma, Prediction, Sigmas, Spacing, interpolate, spread, timestep_of, timesteps,
    training_sigmas,
};
use crate::error::Result;

/// Where a run's points lie.
pub(super) struct Points {
    pub(super) timesteps: Vec<f64>,
    /// One more than steps.
    sigmas: Vec<f64>,
    prediction: Prediction,
}

/// The coordinates of one point: the latent is `alpha` times the image plus `sigma` times noise.
#[derive(Clone, Copy)]
pub(super) struct Point {
    pub(super) alpha: f64,
    pub(super) sigma: f64,
    /// ln(alpha / sigma); infinite where there is no noise.
    pub(super) lambda: f64,
}

impl Points {
    /// `last_of_spread`: where sigmas are spread by a formula, `sigma_min` means the last of them, as UniPC has it, and
    /// not the smallest of training.
    pub(super) fn new(
        config: &SchedulerConfig,
        count: usize,
        last_of_spread: bool,
    ) -> Result<Self> {
        let mut alphas = config.betas().alphas_cumprod()?;
        if config.rescale_betas_zero_snr == Some(true) {
            nearly_zero(&mut alphas);
        }
        let training = training_sigmas(&alphas);
        let kind = config.sigmas();
        let (timesteps, mut sigmas) = if kind == Sigmas::Plain {
            let spacing = config.timestep_spacing.unwrap_or(Spacing::Linspace);
            // Evenly spaced from the back, there is no step after the last to leave out.
            let extra = usize::from(spacing != Spacing::Trailing);
            let offset = config.steps_offset.unwrap_or(0.0);
            let visited = timesteps(spacing, training.len(), count, extra, offset);
            let visited: Vec<f64> = visited.iter().map(|at| at.round_ties_even()).collect();
            let sigmas = visited
                .iter()
                .map(|&at| interpolate(&training, at))
                .collect();
            (visited, sigmas)
        } else {
            let largest = config.sigma_max.unwrap_or(training[training.len() - 1]);
            let smallest = config.sigma_min.unwrap_or(training[0]);
            let sigmas = spread(kind, largest, smallest, count);
            let whole = |sigma: &f64| match kind {
                // diffusers cuts here, and its largest sigma lies a rounding error before the last step.
                Sigmas::Exponential => (timestep_of(*sigma, &training) - 1e-6).max(0.0).floor(),
                _ => timestep_of(*sigma, &training).round_ties_even(),
            };
            (sigmas.iter().map(whole).collect(), sigmas)
        };
        sigmas.push(match config.final_sigma() {
            FinalSigma::Zero => 0.0,
            FinalSigma::SigmaMin if kind != Sigmas::Plain && last_of_spread => sigmas[count - 1],
            FinalSigma::SigmaMin => training[0],
        });
        Ok(Self {
            timesteps,
            sigmas,
            prediction: config.prediction(),
        })
    }

    pub(super) fn ends_without_noise(&self) -> bool {
        self.sigmas.last() == Some(&0.0)
    }

    pub(super) fn at(&self, step: usize) -> Point {
        let sigma = self.sigmas[step];
        let alpha = 1.0 / (sigma * sigma + 1.0).sqrt();
        Point {
            alpha,
            sigma: sigma * alpha,
            lambda: -sigma.ln(),
        }
    }

    /// The image in a latent, by the model's output.
    pub(super) fn image(&self, output: &Tensor, latent: &Tensor, step: usize) -> Result<Tensor> {
        let Point { alpha, sigma, .. } = self.at(step);
        match self.prediction {
            Prediction::Epsilon => mix(&[(1.0 / alpha, latent), (-sigma / alpha, output)]),
            Prediction::Velocity => mix(&[(alpha, latent), (-sigma, output)]),
            Prediction::Sample => Ok(output.shallow_clone()),
        }
    }

    pub(super) fn noisy(&self, image: &Tensor, noise: &Tensor, step: usize) -> Result<Tensor> {
        let Point { alpha, sigma, .. } = self.at(step);
        mix(&[(alpha, image), (sigma, noise)])
    }
}
