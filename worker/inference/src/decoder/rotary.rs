//! Rotary positions (Su et al., 2021, arXiv:2104.09864): pairs of a head's numbers are turned by angles that grow with the
//! position, the first pairs fast, the last ones slowly; and the ways in which models stretch them to longer contexts.
//!
//! The reference is transformers' `modeling_rope_utils.py`. Angles are computed in f64, so that late positions stay exact,
//! and with a pinned libm, so that every machine has the same table.

use std::cell::RefCell;
use std::f64::consts::TAU;

use tch::Tensor;

use crate::error::{Error, Result};

/// Positions by which the table grows at a time.
const GROWTH: usize = 1024;

/// Which numbers of a head are a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Neighbours: 0 and 1, 2 and 3. GGUF files of Llama have it, whose converter moves the rows so.
    Neighbours,
    /// Number i of the first half and number i of the second.
    Halves,
}

/// How the frequencies are stretched.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scaling {
    /// Not at all.
    None,
    /// All by one factor (Chen et al., 2023, arXiv:2306.15595).
    Linear(f64),
    /// Llama 3.1's: slow ones by the factor, fast ones not at all, and gradually between.
    Llama3 {
        /// For the slow ones.
        factor: f64,
        /// Turns within the original context below which a frequency is slow.
        low: f64,
        /// And above which it is fast.
        high: f64,
        /// The original context.
        original: f64,
    },
    /// Each by its own factor.
    Each(Vec<f64>),
    /// Each by its own factor, others for sequences that may become longer than the original context (Ding et al., 2024,
    /// arXiv:2402.13753).
    Long {
        /// For sequences that fit the original context.
        short: Vec<f64>,
        /// For longer ones.
        long: Vec<f64>,
        /// The original context, in tokens of prompt and answer together.
        original: usize,
        /// What the turned numbers are multiplied with.
        magnitude: f64,
    },
}

/// How a layer's queries and keys are turned.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rotary {
    /// See there.
    pub layout: Layout,
    /// How many of a head's numbers are turned, from the first on; even.
    pub width: i64,
    /// Base of the frequencies.
    pub base: f64,
    /// See there.
    pub scaling: Scaling,
}

impl Rotary {
    /// Refuses what cannot be computed for heads of this width.
    pub(crate) fn check(&self, head_width: i64) -> Result<()> {
        let bad = |what: String| Err(Error::Checkpoint(what));
        let (width, base) = (self.width, self.base);
        if width < 2 || width % 2 != 0 || width > head_width {
            return bad(format!("{width} of a head's {head_width} numbers turn"));
        }
        if !(base >= 1.0 && base.is_finite()) {
            return bad(format!("the base of the rotary frequencies is {base}"));
        }
        let pairs = (width / 2) as usize;
        let sound = |factors: &[f64]| {
            let positive = |factor: &f64| factor.is_finite() && *factor > 0.0;
            factors.len() == pairs && factors.iter().all(positive)
        };
        let all = match &self.scaling {
            Scaling::None => true,
            Scaling::Linear(factor) => factor.is_finite() && *factor > 0.0,
            &Scaling::Llama3 {
                factor,
                low,
                high,
                original,
            } => factor >= 1.0 && low > 0.0 && high > low && original >= 1.0,
            Scaling::Each(factors) => sound(factors),
            Scaling::Long {
                short,
                long,
                magnitude,
                ..
            } => sound(short) && sound(long) && magnitude.is_finite() && *magnitude > 0.0,
        };
        match all {
            true => Ok(()),
            false => bad(format!(
                "its rope scaling does not fit {pairs} pairs, or is absurd"
            )),
        }
    }

    /// True if a sequence that may come to have so many tokens is turned by the factors for long ones.
    pub(crate) fn is_long(&self, capacity: usize) -> bool {
        matches!(self.scaling, Scaling::Long { original, .. } if capacity > original)
    }

    /// The angle of each pair from one position to the next.
    fn frequencies(&self, is_long: bool) -> Vec<f64> {
        let pairs = (self.width / 2) as usize;
        let plain = |pair: usize| libm::pow(self.base, -(pair as f64) / pairs as f64);
        let stretched = |pair: usize| {
            let frequency = plain(pair);
            match &self.scaling {
                Scaling::None => frequency,
                Scaling::Linear(factor) => frequency / factor,
                &Scaling::Llama3 {
                    factor,
                    low,
                    high,
                    original,
                } => {
                    let turns = original * frequency / TAU;
                    let fast = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    frequency * fast + frequency / factor * (1.0 - fast)
                }
                Scaling::Each(factors) => frequency / factors[pair],
                Scaling::Long { short, long, .. } => {
                    frequency / if is_long { long[pair] } else { short[pair] }
                }
            }
        };
        (0..pairs).map(stretched).collect()
    }

    fn magnitude(&self) -> f64 {
        match self.scaling {
            Scaling::Long { magnitude, .. } => magnitude,
            _ => 1.0,
        }
    }
}

/// The cosines and sines of one rotation for all positions that were needed so far.
pub(crate) struct Table {
    rotary: Rotary,
    is_long: bool,
    context: usize,
    device: tch::Device,
    known: RefCell<Known>,
}

#[derive(Default)]
struct Known {
    /// [positions, pairs] each, in f32.
    tensors: Option<(Tensor, Tensor)>,
    /// For each position the cosines of all pairs, then the sines.
    values: Vec<f32>,
}

impl Table {
    /// For at most `context` positions.
    pub(crate) fn new(rotary: Rotary, is_long: bool, context: usize, device: tch::Device) -> Self {
        Self {
            rotary,
            is_long,
            context,
            device,
            known: RefCell::default(),
        }
    }

    /// What is turned, and how.
    pub(crate) fn rotary(&self) -> &Rotary {
        &self.rotary
    }

    /// Computes what is missing up to this position. False if that is beyond the context.
    fn grow(&self, position: usize) -> bool {
        if position >= self.context {
            return false;
        }
        let known = &mut *self.known.borrow_mut();
        let row = self.rotary.width as usize;
        let have = known.values.len() / row;
        if position < have {
            return true;
        }
        let needed = (position + 1).next_multiple_of(GROWTH).min(self.context);
        let frequencies = self.rotary.frequencies(self.is_long);
        let magnitude = self.rotary.magnitude();
        known.values.reserve((needed - have) * row);
        for position in have..needed {
            let angle = |frequency: &f64| position as f64 * frequency;
            let angles = || frequencies.iter().map(angle);
            let cosines = angles().map(|angle| (libm::cos(angle) * magnitude) as f32);
            known.values.extend(cosines);
            let sines = angles().map(|angle| (libm::sin(angle) * magnitude) as f32);
            known.values.extend(sines);
        }
        known.tensors = None;
        true
    }

    /// Calls `with` with the cosines and sines of all positions up to `last`: for each those of all pairs, first the cosines.
    pub(crate) fn with<T>(&self, last: usize, with: impl FnOnce(&[f32]) -> T) -> Result<T> {
        if !self.grow(last) {
            return Err(beyond(last));
        }
        Ok(with(&self.known.borrow().values))
    }

    /// Cosines and sines at these positions: [positions, 1, pairs] each, where the model computes.
    pub(crate) fn at(&self, positions: &[i64]) -> Result<(Tensor, Tensor)> {
        let last = positions.iter().copied().max().unwrap_or(0) as usize;
        if !self.grow(last) {
            return Err(beyond(last));
        }
        let known = &mut *self.known.borrow_mut();
        if known.tensors.is_none() {
            let pairs = self.rotary.width / 2;
            let both = Tensor::f_from_slice(&known.values)?.f_reshape([-1, 2, pairs])?;
            let both = both.f_to_device(self.device)?;
            known.tensors = Some((
                both.f_select(1, 0)?.f_contiguous()?,
                both.f_select(1, 1)?.f_contiguous()?,
            ));
        }
        let Some((cosines, sines)) = &known.tensors else {
            return Err(beyond(last));
        };
        let is_run = positions.windows(2).all(|pair| pair[1] == pair[0] + 1);
        let rows = |table: &Tensor| -> Result<Tensor> {
            let rows = match (is_run, positions) {
                (true, [first, ..]) => table.f_narrow(0, *first, positions.len() as i64)?,
                _ => {
                    let index = Tensor::f_from_slice(positions)?.f_to_device(self.device)?;
                    table.f_index_select(0, &index)?
                }
            };
            Ok(rows.f_unsqueeze(1)?)
        };
        Ok((rows(cosines)?, rows(sines)?))
    }
}

fn beyond(position: usize) -> Error {
    Error::BadParameter(format!("position {position} is beyond the model's context"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotary(scaling: Scaling) -> Rotary {
        Rotary {
            layout: Layout::Halves,
            width: 8,
            base: 10_000.0,
            scaling,
        }
    }

    fn near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-12 * expected,
                "{found} {expected}"
            );
        }
    }

    #[test]
    fn frequencies_fall_from_one_by_equal_ratios() {
        near(
            &rotary(Scaling::None).frequencies(false),
            &[1.0, 0.1, 0.01, 0.001],
        );
        near(
            &rotary(Scaling::Linear(4.0)).frequencies(false),
            &[0.25, 0.025, 0.0025, 0.00025],
        );
    }

    #[test]
    fn llama_3_stretches_the_slow_ones() {
        let scaling = Scaling::Llama3 {
            factor: 8.0,
            low: 1.0,
            high: 4.0,
            original: TAU * 25.0,
        };
        // Turns within the original context: 25, 2.5, 0.25, 0.025.
        near(
            &rotary(scaling).frequencies(false),
            &[1.0, 0.1 * 0.5 + 0.0125 * 0.5, 0.01 / 8.0, 0.001 / 8.0],
        );
    }

    #[test]
    fn long_sequences_have_their_own_factors() {
        let scaling = Scaling::Long {
            short: vec![1.0; 4],
            long: vec![2.0; 4],
            original: 10,
            magnitude: 1.5,
        };
        let rotary = rotary(scaling);
        assert!(rotary.check(8).is_ok() && !rotary.is_long(10) && rotary.is_long(11));
        near(&rotary.frequencies(true), &[0.5, 0.05, 0.005, 0.0005]);
        let table = Table::new(rotary, true, 3, tch::Device::Cpu);
        let (cosines, sines) = table.at(&[1]).expect("inside the context");
        let first = |tensor: &Tensor| tensor.double_value(&[0, 0, 0]);
        assert!((first(&cosines) - 1.5 * 0.5f64.cos()).abs() < 1e-7);
        assert!((first(&sines) - 1.5 * 0.5f64.sin()).abs() < 1e-7);
        assert!(table.at(&[0, 2]).is_ok() && table.at(&[3]).is_err());
    }

    #[test]
    fn absurd_scalings_are_refused() {
        for scaling in [
            Scaling::Linear(0.0),
            Scaling::Linear(f64::NAN),
            Scaling::Each(vec![1.0; 3]),
            Scaling::Each(vec![1.0, 1.0, 1.0, f64::INFINITY]),
            Scaling::Llama3 {
                factor: 8.0,
                low: 4.0,
                high: 4.0,
                original: 10.0,
            },
        ] {
            assert!(rotary(scaling.clone()).check(8).is_err(), "{scaling:?}");
        }
        assert!(
            Rotary {
                width: 10,
                ..rotary(Scaling::None)
            }
            .check(8)
            .is_err()
        );
        assert!(
            Rotary {
                base: 0.5,
                ..rotary(Scaling::None)
            }
            .check(8)
            .is_err()
        );
    }
}
