//! How noise is spread over the training steps, and which of them a run visits: betas, timesteps, sigmas.
//!
//! The names and choices are those of diffusers' scheduler configurations, since that is what models come with. Tables
//! are computed in f64; `tests/diffusion_parity.rs` compares them with diffusers' own.

use serde::Deserialize;

use crate::error::{Error, Result};

/// How the betas grow over the training steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// Evenly.
    Linear,
    /// Their square roots evenly, as Stable Diffusion was trained.
    ScaledLinear,
    /// By the cosine of Nichol and Dhariwal (2021).
    #[serde(rename = "squaredcos_cap_v2")]
    Cosine,
}

/// What the model's output means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise in the latent.
    Epsilon,
    /// The velocity of Salimans and Ho (2022).
    #[serde(rename = "v_prediction")]
    Velocity,
    /// The latent without noise.
    Sample,
}

/// Which of the training steps a run visits ("Common Diffusion Noise Schedules and Sample Steps are Flawed", table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// From the last to the first, evenly.
    Linspace,
    /// Multiples of a whole step, from the front.
    Leading,
    /// Multiples of a step, from the back; begins with the noisiest.
    Trailing,
}

/// What follows the last sigma of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalSigma {
    /// No noise.
    Zero,
    /// The smallest noise of training.
    SigmaMin,
}

/// How a run's sigmas are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sigmas {
    /// As the timesteps fall.
    Plain,
    /// By the power of Karras et al. (2022), rho = 7.
    Karras,
    /// Their logarithms evenly.
    Exponential,
}

/// The most training steps that a configuration may have.
const MOST_STEPS: usize = 100_000;

/// How betas come about.
#[derive(Debug, Clone)]
pub(crate) struct Betas {
    pub steps: usize,
    pub start: f64,
    pub end: f64,
    pub schedule: BetaSchedule,
    pub trained: Option<Vec<f64>>,
    pub zero_snr: bool,
}

impl Betas {
    /// The product of 1 - beta up to each training step.
    pub(crate) fn alphas_cumprod(&self) -> Result<Vec<f64>> {
        let mut betas = self.betas()?;
        if self.zero_snr {
            betas = without_signal_at_the_end(&betas);
        }
        let mut product = 1.0;
        let products: Vec<f64> = betas
            .iter()
            .map(|beta| {
                product *= 1.0 - beta;
                product
            })
            .collect();
        let sound = |value: &f64| value.is_finite() && (0.0..=1.0).contains(value);
        if products.iter().all(sound) && products[0] > 0.0 {
            return Ok(products);
        }
        Err(Error::Damaged(
            "the scheduler's betas are not between 0 and 1".into(),
        ))
    }

    fn betas(&self) -> Result<Vec<f64>> {
        if let Some(trained) = &self.trained {
            return match trained.len() {
                2..=MOST_STEPS => Ok(trained.clone()),
                count => Err(Error::Damaged(format!("the scheduler has {count} betas"))),
            };
        }
        if !(2..=MOST_STEPS).contains(&self.steps) {
            let message = format!("the scheduler has {} training steps", self.steps);
            return Err(Error::Damaged(message));
        }
        Ok(match self.schedule {
            BetaSchedule::Linear => linspace(self.start, self.end, self.steps),
            BetaSchedule::ScaledLinear => linspace(self.start.sqrt(), self.end.sqrt(), self.steps)
                .into_iter()
                .map(|root| root * root)
                .collect(),
            BetaSchedule::Cosine => {
                let bar = |time: f64| {
                    ((time + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2)
                        .cos()
                        .powi(2)
                };
                let steps = self.steps as f64;
                let beta = |n: usize| 1.0 - bar((n + 1) as f64 / steps) / bar(n as f64 / steps);
                (0..self.steps).map(|n| beta(n).min(0.999)).collect()
            }
        })
    }
}

/// Betas after which nothing of the image is left at the last step (Lin et al. 2023, algorithm 1).
fn without_signal_at_the_end(betas: &[f64]) -> Vec<f64> {
    let mut product = 1.0;
    let roots: Vec<f64> = betas
        .iter()
        .map(|beta| {
            product *= 1.0 - beta;
            f64::sqrt(product)
        })
        .collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let squares: Vec<f64> = roots
        .iter()
        .map(|root| ((root - last) * first / (first - last)).powi(2))
        .collect();
    let before = std::iter::once(1.0).chain(squares.iter().copied());
    squares
        .iter()
        .zip(before)
        .map(|(square, before)| 1.0 - square / before)
        .collect()
}

/// The noise beside the image at each training step: sqrt((1 - a) / a).
pub(crate) fn training_sigmas(alphas_cumprod: &[f64]) -> Vec<f64> {
    alphas_cumprod
        .iter()
        .map(|alpha| ((1.0 - alpha) / alpha).sqrt())
        .collect()
}

/// `count` numbers from `first` to `last`, evenly.
pub(crate) fn linspace(first: f64, last: f64, count: usize) -> Vec<f64> {
    let step = (last - first) / (count.max(2) - 1) as f64;
    (0..count).map(|n| first + n as f64 * step).collect()
}

/// The training steps that a run of `count` steps visits, falling; `extra` more are left out at the end (1 for the
/// multistep solvers, which end on the step after the last).
pub(crate) fn timesteps(
    spacing: Spacing,
    training: usize,
    count: usize,
    extra: usize,
    offset: f64,
) -> Vec<f64> {
    let all = count + extra;
    match spacing {
        Spacing::Linspace => {
            let even = linspace(0.0, (training - 1) as f64, all);
            even.into_iter().rev().take(count).collect()
        }
        Spacing::Leading => {
            let ratio = (training / all) as f64;
            let step = |n: usize| n as f64 * ratio + offset;
            (0..all).rev().take(count).map(step).collect()
        }
        Spacing::Trailing => {
            let ratio = training as f64 / count as f64;
            let step = |n: usize| (training as f64 - n as f64 * ratio).round_ties_even() - 1.0;
            (0..count).map(step).collect()
        }
    }
}

/// A table's value between two of its entries.
pub(crate) fn interpolate(table: &[f64], at: f64) -> f64 {
    let last = table.len() - 1;
    let low = (at.max(0.0).floor() as usize).min(last);
    let high = (low + 1).min(last);
    let share = (at - low as f64).clamp(0.0, 1.0);
    table[low] + (table[high] - table[low]) * share
}

/// `count` sigmas from `largest` to `smallest` by one of the two formulas that do not look at timesteps.
pub(crate) fn spread(kind: Sigmas, largest: f64, smallest: f64, count: usize) -> Vec<f64> {
    // A run of one step begins at the largest.
    let ramp = linspace(0.0, 1.0, count);
    match kind {
        Sigmas::Exponential => ramp
            .iter()
            .map(|at| (largest.ln() + at * (smallest.ln() - largest.ln())).exp())
            .collect(),
        Sigmas::Plain | Sigmas::Karras => {
            const RHO: f64 = 7.0;
            let (least, most) = (smallest.powf(1.0 / RHO), largest.powf(1.0 / RHO));
            ramp.iter()
                .map(|at| (most + at * (least - most)).powf(RHO))
                .collect()
        }
    }
}

/// The training step, with a fraction, at which there is so much noise.
pub(crate) fn timestep_of(sigma: f64, training_sigmas: &[f64]) -> f64 {
    let log = sigma.max(1e-10).ln();
    let below = training_sigmas.partition_point(|at| at.ln() <= log);
    let low = below.saturating_sub(1).min(training_sigmas.len() - 2);
    let (from, to) = (training_sigmas[low].ln(), training_sigmas[low + 1].ln());
    low as f64 + ((log - from) / (to - from)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stable_diffusion() -> Betas {
        Betas {
            steps: 1_000,
            start: 0.00085,
            end: 0.012,
            schedule: BetaSchedule::ScaledLinear,
            trained: None,
            zero_snr: false,
        }
    }

    #[test]
    fn timesteps_are_those_of_the_papers_table() {
        let visited = |spacing| timesteps(spacing, 1_000, 10, 0, 0.0);
        assert_eq!(
            visited(Spacing::Leading),
            [900., 800., 700., 600., 500., 400., 300., 200., 100., 0.]
        );
        assert_eq!(
            visited(Spacing::Trailing),
            [999., 899., 799., 699., 599., 499., 399., 299., 199., 99.]
        );
        assert_eq!(visited(Spacing::Linspace)[..2], [999., 888.]);
    }

    #[test]
    fn zero_snr_leaves_no_signal_and_the_first_step_as_it_was() {
        let plain = stable_diffusion().alphas_cumprod().unwrap();
        let betas = Betas {
            zero_snr: true,
            ..stable_diffusion()
        };
        let rescaled = betas.alphas_cumprod().unwrap();
        assert!((rescaled[0] - plain[0]).abs() < 1e-12 && rescaled[999].abs() < 1e-12);
    }

    #[test]
    fn a_sigma_is_found_where_it_was_taken_from() {
        let sigmas = training_sigmas(&stable_diffusion().alphas_cumprod().unwrap());
        for at in [0.0, 0.5, 17.25, 998.0, 999.0] {
            let found = timestep_of(interpolate(&sigmas, at), &sigmas);
            assert!((found - at).abs() < 0.05, "{found} for {at}");
        }
    }

    #[test]
    fn betas_that_make_no_sense_are_refused() {
        for (steps, start, end) in [
            (0, 0.1, 0.2),
            (1, 0.1, 0.2),
            (usize::MAX, 0.1, 0.2),
            (10, -5.0, 2.0),
            (10, f64::NAN, 0.1),
            (10, 1.0, 1.0),
        ] {
            let betas = Betas {
                steps,
                start,
                end,
                schedule: BetaSchedule::Linear,
                ..stable_diffusion()
            };
            assert!(betas.alphas_cumprod().is_err(), "{betas:?}");
        }
        for trained in [vec![], vec![0.5], vec![2.0; 10], vec![f64::NAN; 10]] {
            let betas = Betas {
                trained: Some(trained),
                ..stable_diffusion()
            };
            assert!(betas.alphas_cumprod().is_err(), "{betas:?}");
        }
    }
}
