//! DPM-Solver++ (Lu et al. 2022), first and second order, multistep, and its stochastic variant.

use tch::Tensor;

use super::half_log_snr::Points;
use super::{Noise, Scheduler, SchedulerConfig, mix};
use crate::error::{Error, Result};

/// Runs shorter than this end with a step of lower order.
const SHORT: usize = 15;

pub(super) struct DpmSolver {
    points: Points,
    order: usize,
    stochastic: bool,
    heun: bool,
    lower_order_final: bool,
    euler_at_final: bool,
    /// The image found at the step before.
    before: Option<Tensor>,
}

impl DpmSolver {
    pub(super) fn new(config: &SchedulerConfig, count: usize) -> Result<Self> {
        let stochastic = match config.algorithm_type.as_deref() {
            None | Some("dpmsolver++") => false,
            Some("sde-dpmsolver++") => true,
            Some(other) => return Err(Error::Unsupported(format!("the algorithm {other}"))),
        };
        let heun = match config.solver_type.as_deref() {
            None | Some("midpoint" | "logrho" | "bh1" | "bh2") => false,
            Some("heun") => true,
            Some(other) => return Err(Error::Unsupported(format!("the solver {other}"))),
        };
        let order = config.solver_order.unwrap_or(2);
        if !(1..=2).contains(&order) {
            return Err(Error::Unsupported(format!("DPM-Solver++ of order {order}")));
        }
        Ok(Self {
            points: Points::new(config, count, false)?,
            order,
            stochastic,
            heun,
            lower_order_final: config.lower_order_final.unwrap_or(true),
            euler_at_final: config.euler_at_final.unwrap_or(false),
            before: None,
        })
    }

    /// Whether a step is taken with the first order.
    fn is_first_order(&self, step: usize) -> bool {
        let count = self.points.timesteps.len();
        let last = step + 1 == count;
        self.order == 1
            || self.before.is_none()
            || (last
                && (self.euler_at_final
                    || (self.lower_order_final && count < SHORT)
                    || self.points.ends_without_noise()))
    }
}

impl Scheduler for DpmSolver {
    fn timesteps(&self) -> &[f64] {
        &self.points.timesteps
    }

    fn noisy(&self, image: &Tensor, noise: &Tensor, step: usize) -> Result<Tensor> {
        self.points.noisy(image, noise, step)
    }

    fn step(
        &mut self,
        step: usize,
        output: &Tensor,
        latent: &Tensor,
        noise: &mut Noise<'_>,
    ) -> Result<Tensor> {
        let (from, to) = (self.points.at(step), self.points.at(step + 1));
        let image = self.points.image(output, latent, step)?;
        let h = to.lambda - from.lambda;
        // The stochastic variant goes twice as far in the exponent, and makes up for it with noise.
        let reach = if self.stochastic { 2.0 * h } else { h };
        let keep = to.sigma / from.sigma * if self.stochastic { (-h).exp() } else { 1.0 };
        let add = to.alpha * -(-reach).exp_m1();
        let mut next = mix(&[(keep, latent), (add, &image)])?;
        if let Some(before) = self.before.as_ref().filter(|_| !self.is_first_order(step)) {
            let h_before = from.lambda - self.points.at(step - 1).lambda;
            let ratio = h_before / h;
            let factor = match self.heun {
                false => 0.5 * add,
                true => to.alpha * ((-reach).exp_m1() / reach + 1.0),
            };
            let weight = factor / ratio;
            next = mix(&[(1.0, &next), (weight, &image), (-weight, before)])?;
        }
        if self.stochastic {
            let deviation = to.sigma * (-(-2.0 * h).exp_m1()).max(0.0).sqrt();
            next = mix(&[(1.0, &next), (deviation, &noise()?)])?;
        }
        self.before = Some(image);
        Ok(next)
    }
}
