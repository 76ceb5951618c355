//! UniPC (Zhao et al. 2023): each step first corrects the one before with what the model says at its end, then predicts.

use tch::Tensor;

use super::half_log_snr::{Point, Points};
use super::{Noise, Scheduler, SchedulerConfig, mix};
use crate::error::{Error, Result};

/// The highest order that is built.
const MOST: usize = 3;

pub(super) struct UniPc {
    points: Points,
    order: usize,
    lower_order_final: bool,
    /// Whether B(h) is h and not e^h - 1.
    bh1: bool,
    /// The images found at the steps before, the newest last.
    images: Vec<Tensor>,
    /// The latent before the newest step, and the order that it was taken with.
    last: Option<(Tensor, usize)>,
}

/// What a step of some order multiplies with, without the image at its own start.
struct Weights {
    /// Of the latent.
    keep: f64,
    /// Of the image at the start.
    image: f64,
    /// Of each difference, already divided by its distance: the older images' first, then the end's.
    differences: Vec<f64>,
    /// Times all differences.
    scale: f64,
}

impl UniPc {
    pub(super) fn new(config: &SchedulerConfig, count: usize) -> Result<Self> {
        let order = config.solver_order.unwrap_or(2);
        if !(1..=MOST).contains(&order) {
            return Err(Error::Unsupported(format!("UniPC of order {order}")));
        }
        let bh1 = match config.solver_type.as_deref() {
            None | Some("bh2" | "midpoint" | "heun" | "logrho") => false,
            Some("bh1") => true,
            Some(other) => return Err(Error::Unsupported(format!("the solver {other}"))),
        };
        Ok(Self {
            points: Points::new(config, count, true)?,
            order,
            lower_order_final: config.lower_order_final.unwrap_or(true),
            bh1,
            images: Vec::new(),
            last: None,
        })
    }

    /// The weights of a step from `start` to the next point. A corrector also knows the image at the end.
    fn weights(&self, start: usize, order: usize, corrector: bool) -> Weights {
        let (from, to): (Point, Point) = (self.points.at(start), self.points.at(start + 1));
        let h = to.lambda - from.lambda;
        let mut distances: Vec<f64> = (1..order)
            .map(|n| (self.points.at(start - n).lambda - from.lambda) / h)
            .collect();
        let hh = -h;
        let phi = hh.exp_m1();
        let scale = if self.bh1 { hh } else { phi };
        distances.push(1.0);
        // Equation 8: each row a power of the distances, each right side the next phi.
        let (mut row_phi, mut factorial) = (phi / hh - 1.0, 1.0);
        let mut right = Vec::with_capacity(order);
        for n in 1..=order {
            right.push(row_phi * factorial / scale);
            factorial *= (n + 1) as f64;
            row_phi = row_phi / hh - 1.0 / factorial;
        }
        let size = if corrector { order } else { order - 1 };
        let mut solved = match (size, corrector) {
            // The orders for which the paper fixes the weight.
            (1, _) => vec![0.5],
            _ => solve(&distances[..size], &right[..size]),
        };
        for (weight, distance) in solved.iter_mut().zip(&distances) {
            *weight /= distance;
        }
        Weights {
            keep: to.sigma / from.sigma,
            image: -to.alpha * phi,
            differences: solved,
            scale: -to.alpha * scale,
        }
    }

    /// A step from `latent` at `start`; `end` is the image at its end, for a corrector.
    fn advance(
        &self,
        start: usize,
        order: usize,
        latent: &Tensor,
        images: &[Tensor],
        end: Option<&Tensor>,
    ) -> Result<Tensor> {
        let weights = self.weights(start, order, end.is_some());
        let Some((image, older)) = images.split_last() else {
            return Err(Error::BadParameter("a step without an image".into()));
        };
        let others = older.iter().rev().take(order - 1).chain(end);
        let mut terms = vec![(weights.keep, latent)];
        let mut of_image = weights.image;
        for (weight, other) in weights.differences.iter().zip(others) {
            terms.push((weights.scale * weight, other));
            of_image -= weights.scale * weight;
        }
        terms.push((of_image, image));
        mix(&terms)
    }
}

/// Solves the Vandermonde system sum_k x_k d_k^i = b_i by elimination; at most three unknowns.
fn solve(distances: &[f64], right: &[f64]) -> Vec<f64> {
    let size = distances.len();
    let mut rows: Vec<Vec<f64>> = (0..size)
        .map(|power| {
            let powers = distances.iter().map(|d| d.powi(power as i32));
            powers.chain([right[power]]).collect()
        })
        .collect();
    for column in 0..size {
        let by_size =
            |a: &usize, b: &usize| rows[*a][column].abs().total_cmp(&rows[*b][column].abs());
        if let Some(pivot) = (column..size).max_by(by_size) {
            rows.swap(column, pivot);
        }
        let pivot = rows[column].clone();
        for (at, row) in rows.iter_mut().enumerate() {
            if at != column {
                let factor = row[column] / pivot[column];
                row.iter_mut()
                    .zip(&pivot)
                    .for_each(|(value, by)| *value -= factor * by);
            }
        }
    }
    (0..size).map(|n| rows[n][size] / rows[n][n]).collect()
}

impl Scheduler for UniPc {
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
        _: &mut Noise<'_>,
    ) -> Result<Tensor> {
        let image = self.points.image(output, latent, step)?;
        let corrected = match &self.last {
            Some((before, order)) => {
                self.advance(step - 1, *order, before, &self.images, Some(&image))?
            }
            None => latent.shallow_clone(),
        };
        self.images.push(image);
        if self.images.len() > MOST {
            drop(self.images.remove(0));
        }
        let left = self.points.timesteps.len() - step;
        let wanted = match self.lower_order_final {
            true => self.order.min(left),
            false => self.order,
        };
        let order = wanted.min(self.images.len());
        let next = self.advance(step, order, &corrected, &self.images, None)?;
        self.last = Some((corrected, order));
        Ok(next)
    }
}
