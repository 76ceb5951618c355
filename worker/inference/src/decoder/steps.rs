//! The small steps between a decoder's products: in one pass each where the CPU computes in f32, else by libtorch.

use tch::{Kind, Tensor};

use super::config::Activation;
use crate::error::Result;
use crate::kernels::steps;
use crate::slices::{Places, floats, values};
use crate::threads::team;

/// Numbers that a thread takes at a time: some microseconds of work.
const PIECE: usize = 16 << 10;

/// True if a tensor is computed with by the passes of this crate.
pub(super) fn is_plain(x: &Tensor) -> bool {
    x.kind() == Kind::Float && x.device() == tch::Device::Cpu
}

/// RMS normalisation over the last dimension (Zhang and Sennrich, 2019, arXiv:1910.07467).
pub(super) fn rms(x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    if !is_plain(x) {
        return Ok(x.f_rms_norm(weight.size(), Some(weight), Some(epsilon))?);
    }
    let (x, weight) = (x.f_contiguous()?, values(weight)?);
    let out = x.f_empty_like()?;
    each(&x, &out, weight.len(), weight.len(), |x, out| {
        steps::rms(x, weight, epsilon as f32, out);
    })?;
    Ok(out)
}

/// `x` with `y` added.
pub(super) fn add(mut x: Tensor, y: &Tensor) -> Result<Tensor> {
    if !is_plain(&x) || !x.is_contiguous() || !y.is_contiguous() || x.size() != y.size() {
        return Ok(x.f_add_(y)?);
    }
    let width = x.size()[1].max(1) as usize;
    each(y, &x, width, width, |y, x| steps::add(x, y))?;
    Ok(x)
}

/// The first half of every row, activated, times the second: [rows, 2 x inner] to [rows, inner].
pub(super) fn gated(gate_up: &Tensor, activation: Activation) -> Result<Tensor> {
    let inner = gate_up.size()[1] / 2;
    if is_plain(gate_up) {
        let gate_up = gate_up.f_contiguous()?;
        let width = inner as usize;
        let out = floats(&[gate_up.size()[0] as usize, width])?;
        each(
            &gate_up,
            &out,
            2 * width,
            width,
            |row, out| match activation {
                Activation::Silu => steps::silu_gated(row, width, out),
                Activation::GeluTanh => steps::gelu_gated(row, width, out),
            },
        )?;
        return Ok(out);
    }
    let gate = gate_up.f_narrow(1, 0, inner)?;
    let gate = match activation {
        Activation::Silu => gate.f_silu()?,
        Activation::GeluTanh => gate.f_gelu("tanh")?,
    };
    Ok(gate.f_mul(&gate_up.f_narrow(1, inner, inner)?)?)
}

/// Calls `step` with rows of `from` numbers of one tensor and rows of `to` numbers of another, some at a time, on several
/// threads where there are many.
fn each(
    x: &Tensor,
    out: &Tensor,
    from: usize,
    to: usize,
    step: impl Fn(&[f32], &mut [f32]) + Sync,
) -> Result<()> {
    let (x, places) = (values(x)?, Places::of(out)?);
    let rows = x.len() / from.max(1);
    let some = (PIECE / from.max(1)).max(1);
    team().run(rows.div_ceil(some), &|piece| {
        let (first, count) = (piece * some, some.min(rows - piece * some));
        // SAFETY: pieces do not overlap.
        let out = unsafe { places.range(first * to, count * to) };
        step(&x[first * from..][..count * from], out);
    });
    Ok(())
}
