//! Low-rank additions to weights (Hu et al. 2022), from diffusers' and kohya's files.
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use tch::Tensor;

use crate::error::{Error, Result};

/// What is to be added to weights, by their names.
#[derive(Default)]
pub(crate) struct Deltas {
    by_weight: BTreeMap<String, Vec<Delta>>,
    applied: RefCell<BTreeSet<String>>,
}

/// One addition: `up` times `down` times a factor.
struct Delta {
    up: Tensor,
    down: Tensor,
    factor: f64,
}

impl Deltas {
    /// A weight with what is added to it.
    pub(crate) fn apply(&self, name: &str, weight: Tensor) -> Result<Tensor> {
        let Some(deltas) = self.by_weight.get(name) else {
            return Ok(weight);
        };
        self.applied.borrow_mut().insert(name.to_owned());
        let mut sum = weight;
        for delta in deltas {
            let rank = delta.down.size().first().copied().unwrap_or(0);
            let (up, down) = (
                delta.up.f_reshape([-1, rank])?,
                delta.down.f_reshape([rank, -1])?,
            );
            let product = up.f_matmul(&down)?.f_mul_scalar(delta.factor)?;
            if product.numel() != sum.numel() {
                let (found, wanted) = (product.size(), sum.size());
                return Err(Error::Checkpoint(format!(
                    "the LoRA's {name} gives {found:?} for a weight of {wanted:?}"
                )));
            }
            sum = sum.f_add(&product.f_reshape(sum.size())?)?;
        }
        Ok(sum)
    }

    /// An error if something was to be added to a weight that the model does not have.
    pub(crate) fn finish(&self) -> Result<()> {
        let applied = self.applied.borrow();
        match self.by_weight.keys().find(|name| !applied.contains(*name)) {
            None => Ok(()),
            Some(name) => Err(Error::Checkpoint(format!(
                "the LoRA changes {name}, which this model does not have: is it made for another model?"
            ))),
        }
    }
}
