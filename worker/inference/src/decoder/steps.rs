//! The small steps between a decoder's products.

use tch::Tensor;

use super::config::Activation;
use crate::error::Result;

/// RMS normalisation over the last dimension (Zhang and Sennrich, 2019, arXiv:1910.07467).
pub(super) fn rms(x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    Ok(x.f_rms_norm(weight.size(), Some(weight), Some(epsilon))?)
}

/// `x` with `y` added.
pub(super) fn add(mut x: Tensor, y: &Tensor) -> Result<Tensor> {
    Ok(x.f_add_(y)?)
}

/// The first half of every row, activated, times the second: [rows, 2 x inner] to [rows, inner].
pub(super) fn gated(gate_up: &Tensor, activation: Activation) -> Result<Tensor> {
    let inner = gate_up.size()[1] / 2;
    let gate = gate_up.f_narrow(1, 0, inner)?;
    let gate = match activation {
        Activation::Silu => gate.f_silu()?,
        Activation::GeluTanh => gate.f_gelu("tanh")?,
    };
    Ok(gate.f_mul(&gate_up.f_narrow(1, inner, inner)?)?)
}
