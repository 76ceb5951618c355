//! Weights that oneDNN has laid out beforehand, for convolutions and matrix products on the CPU.
//!
//! libtorch's `conv2d` and `linear` lay the weights out anew in every call. Where a weight is large and its input small,
//! as in the deep half of a UNet, that takes as long as the computation (`docs/benchmarks.md`). What is computed is the
//! same. Weights are laid out at their first use, when the input's shape is known, and again where it changes; only one
//! layout is held.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char};

use tch::{Kind, Tensor};
use torch_sys::C_tensor;

use crate::error::{Error, Result};

unsafe extern "C" {
    fn emc_prepacked_error() -> *const c_char;
    fn emc_pack_convolution(
        weight: *const C_tensor,
        stride: i64,
        padding: i64,
        shape: *const i64,
    ) -> *mut C_tensor;
    fn emc_packed_convolution(
        input: *const C_tensor,
        packed: *const C_tensor,
        bias: *const C_tensor,
        stride: i64,
        padding: i64,
    ) -> *mut C_tensor;
    fn emc_pack_linear(weight: *const C_tensor, rows: i64) -> *mut C_tensor;
    fn emc_packed_linear(
        input: *const C_tensor,
        packed: *const C_tensor,
        bias: *const C_tensor,
    ) -> *mut C_tensor;
}

/// A weight, laid out for the inputs it was last used with.
#[derive(Debug)]
pub(crate) struct Prepacked {
    weight: RefCell<Tensor>,
    /// What it is laid out for; empty before the first use.
    shape: RefCell<Vec<i64>>,
    /// False once it has turned out that this machine cannot, or from the beginning.
    possible: Cell<bool>,
}

impl Prepacked {
    /// A weight as it was read.
    pub(crate) fn new(weight: Tensor) -> Self {
        let kind = match weight.kind() {
            Kind::Float => true,
            Kind::BFloat16 => computes_bf16(),
            _ => false,
        };
        let cpu = weight.device() == tch::Device::Cpu;
        Self {
            weight: RefCell::new(weight),
            shape: RefCell::default(),
            possible: Cell::new(kind && cpu && tch::utils::has_mkldnn()),
        }
    }

    /// The weight as it was read.
    pub(crate) fn plain(&self) -> Result<Tensor> {
        let weight = self.weight.borrow();
        Ok(match weight.is_mkldnn() {
            true => weight.f_to_dense(None::<Kind>, false)?,
            false => weight.shallow_clone(),
        })
    }

    /// A convolution with `stride` and `padding` in both directions.
    pub(crate) fn convolution(
        &self,
        input: &Tensor,
        bias: Option<&Tensor>,
        stride: i64,
        padding: i64,
    ) -> Result<Tensor> {
        let shape = input.size();
        // SAFETY: the pointers are those of live tensors, and the shape has four numbers.
        let packed = shape.len() == 4
            && self.is_packed(&shape, |weight| unsafe {
                emc_pack_convolution(weight, stride, padding, shape.as_ptr())
            });
        let weight = self.weight.borrow();
        if !packed {
            let (stride, padding) = ([stride; 2], [padding; 2]);
            return Ok(input.f_conv2d(&weight, bias, stride, padding, [1, 1], 1)?);
        }
        // SAFETY: as above.
        taken(unsafe {
            emc_packed_convolution(
                input.as_ptr(),
                weight.as_ptr(),
                pointer(bias),
                stride,
                padding,
            )
        })
    }

    /// A matrix product over the last dimension.
    pub(crate) fn linear(&self, input: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let size = input.size();
        let rows: i64 = size.iter().rev().skip(1).product();
        // SAFETY: the pointers are those of live tensors.
        let packed =
            rows > 0 && self.is_packed(&[rows], |weight| unsafe { emc_pack_linear(weight, rows) });
        let weight = self.weight.borrow();
        if !packed {
            return Ok(input.f_linear(&weight, bias)?);
        }
        // SAFETY: as above.
        taken(unsafe { emc_packed_linear(input.as_ptr(), weight.as_ptr(), pointer(bias)) })
    }

    /// Lays the weight out for inputs of this shape, if it is not; false where that cannot be done.
    fn is_packed(&self, shape: &[i64], pack: impl Fn(*const C_tensor) -> *mut C_tensor) -> bool {
        if !self.possible.get() {
            return false;
        }
        if *self.shape.borrow() == shape {
            return true;
        }
        match self.plain().and_then(|plain| taken(pack(plain.as_ptr()))) {
            Ok(packed) => {
                *self.weight.borrow_mut() = packed;
                *self.shape.borrow_mut() = shape.to_vec();
                true
            }
            Err(error) => {
                tracing::debug!(%error, "weights stay as they are");
                self.possible.set(false);
                // What other inputs were served with is of no use to libtorch's own functions.
                if let Ok(plain) = self.plain() {
                    *self.weight.borrow_mut() = plain;
                }
                false
            }
        }
    }
}

/// libtorch computes bf16 through oneDNN where the processor has these.
fn computes_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

fn pointer(tensor: Option<&Tensor>) -> *const C_tensor {
    tensor.map_or(std::ptr::null(), Tensor::as_ptr)
}

/// A tensor that was handed over, or the error that there was.
fn taken(pointer: *mut C_tensor) -> Result<Tensor> {
    if pointer.is_null() {
        // SAFETY: the text lives until this thread's next error.
        let text = unsafe { CStr::from_ptr(emc_prepacked_error()) };
        let text = text.to_string_lossy().into_owned();
        return Err(Error::Libtorch(tch::TchError::Torch(text)));
    }
    // SAFETY: the tensor was made for the caller, who owns it.
    Ok(unsafe { Tensor::from_ptr(pointer) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(shape: &[i64]) -> Tensor {
        Tensor::randn(shape, (Kind::Float, tch::Device::Cpu))
    }

    fn distance(a: &Tensor, b: &Tensor) -> f64 {
        assert_eq!(a.size(), b.size());
        (a - b).abs().max().double_value(&[])
    }

    #[test]
    fn a_packed_convolution_is_the_convolution_for_every_shape_that_comes() {
        let _guard = tch::no_grad_guard();
        let (weight, bias) = (random(&[24, 16, 3, 3]), random(&[24]));
        let packed = Prepacked::new(weight.shallow_clone());
        for (shape, stride) in [
            ([2, 16, 9, 7], 1),
            ([1, 16, 32, 32], 1),
            ([2, 16, 9, 7], 1),
            ([3, 16, 8, 8], 2),
        ] {
            let input = random(&shape);
            let wanted = input.conv2d(&weight, Some(&bias), [stride; 2], [1, 1], [1, 1], 1);
            let got = packed.convolution(&input, Some(&bias), stride, 1).unwrap();
            assert!(distance(&got, &wanted) < 1e-4);
        }
        assert!(
            packed.possible.get(),
            "oneDNN is part of libtorch on x86-64"
        );
    }

    #[test]
    fn a_packed_product_is_the_product_with_and_without_a_bias() {
        let _guard = tch::no_grad_guard();
        let (weight, bias) = (random(&[40, 24]), random(&[40]));
        let packed = Prepacked::new(weight.shallow_clone());
        for shape in [&[2i64, 5, 24][..], &[1, 24], &[7, 24]] {
            let input = random(shape);
            for bias in [Some(&bias), None] {
                let wanted = input.linear(&weight, bias);
                assert!(distance(&packed.linear(&input, bias).unwrap(), &wanted) < 1e-4);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error_with_its_text() {
        let _guard = tch::no_grad_guard();
        let packed = Prepacked::new(random(&[8, 4, 3, 3]));
        let input = random(&[1, 4, 8, 8]);
        let before = packed.convolution(&input, None, 1, 1).unwrap();
        let error = packed.convolution(&random(&[1, 5, 8, 8]), None, 1, 1);
        assert!(
            !error
                .expect_err("five channels are not four")
                .to_string()
                .is_empty()
        );
        // And what fits is computed afterwards as before.
        let after = packed.convolution(&input, None, 1, 1).unwrap();
        assert!(distance(&before, &after) < 1e-4);
    }
}
