//! Tensors of libtorch as plain slices of f32, where they are that.

use tch::{Kind, Tensor};

use crate::error::{Error, Result};

/// A new tensor of floats on the CPU, not initialised.
pub(crate) fn floats(shape: &[usize]) -> Result<Tensor> {
    let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
    Ok(Tensor::f_empty(shape, (Kind::Float, tch::Device::Cpu))?)
}

/// The numbers of a contiguous f32 tensor on the CPU.
pub(crate) fn values(tensor: &Tensor) -> Result<&[f32]> {
    let places = Places::of(tensor)?;
    // SAFETY: the tensor owns so many floats as long as it is borrowed, and nobody writes to an input.
    Ok(unsafe { std::slice::from_raw_parts(places.first, places.count) })
}

/// Where a tensor's numbers lie, for threads that write to different ones of them.
pub(crate) struct Places {
    first: *mut f32,
    count: usize,
}

// SAFETY: only `range` gives access, whose caller promises that no two threads share a place.
unsafe impl Sync for Places {}

impl Places {
    pub(crate) fn of(tensor: &Tensor) -> Result<Self> {
        let plain = tensor.kind() == Kind::Float
            && tensor.device() == tch::Device::Cpu
            && tensor.is_contiguous();
        if !plain {
            return Err(Error::BadParameter(
                "only contiguous f32 on the CPU can be read as a slice".into(),
            ));
        }
        let (first, count) = (tensor.data_ptr().cast(), tensor.numel());
        Ok(Self { first, count })
    }

    /// The place `index`, which is inside the tensor.
    pub(crate) unsafe fn at(&self, index: usize) -> *mut f32 {
        // SAFETY: inside the tensor's memory, as the caller promises.
        unsafe { self.first.add(index) }
    }

    /// Writes one number.
    ///
    /// # Safety
    /// The tensor lives, and nobody else uses this place meanwhile.
    pub(crate) unsafe fn set(&self, at: usize, value: f32) {
        assert!(at < self.count);
        // SAFETY: inside the tensor's memory; exclusive by the caller's promise.
        unsafe { self.first.add(at).write(value) };
    }

    /// `count` places from `from` on.
    ///
    /// # Safety
    /// The tensor lives, and nobody else uses these places meanwhile.
    #[expect(
        clippy::mut_from_ref,
        reason = "the caller promises that ranges do not overlap"
    )]
    pub(crate) unsafe fn range(&self, from: usize, count: usize) -> &mut [f32] {
        assert!(from <= self.count && count <= self.count - from);
        // SAFETY: inside the tensor's memory; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(from), count) }
    }
}
