//! A weight matrix and its product with rows of activations: on libtorch, or on the packed bytes of the model's own file.
//!
//! On the CPU in f32, packed matrices stay packed. A few rows of activations (a token being decoded) are multiplied by
//! the kernels of this crate, straight from the memory-mapped file. For many rows (a prompt) the matrix is expanded into
//! a buffer, piece by piece, and libtorch multiplies. Both compute with the same f32 weights.

use std::cell::RefCell;

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::gguf::Region;
use crate::kernels::{BLOCK, Instructions, Packing};
use crate::threads::team;

/// Up to so many rows of activations the packed kernels are faster than expanding.
const FEW: usize = 4;
/// Bytes of weights that one thread takes at a time: a few microseconds of work that fit the first cache.
const PIECE_BYTES: usize = 24 << 10;
/// Floats that are expanded at a time: 8 MiB, which a last-level cache holds.
const EXPANDED: usize = 2 << 20;

/// A matrix of weights: [rows, columns].
pub(crate) enum Linear {
    /// Held by libtorch.
    Dense(Tensor),
    /// Held by the model's file.
    Packed(Packed),
    /// As `Dense`, multiplied with activations that are rounded to 8 bits first, as some other software does it. Only
    /// calibration computes so, to know what such a machine's answers look like.
    Rounded(Tensor),
}

/// Packed matrices of equally many columns below one another.
pub(crate) struct Packed {
    parts: Vec<Part>,
    columns: usize,
}

struct Part {
    region: Region,
    packing: Packing,
    rows: usize,
}

impl Part {
    fn row_bytes(&self) -> usize {
        self.region.bytes().len() / self.rows
    }
}

impl Linear {
    /// Rows times each row of `x`: [count, columns] to [count, rows].
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(weight) => Ok(x.f_linear(weight, None::<&Tensor>)?),
            Self::Packed(packed) => packed.forward(x),
            Self::Rounded(weight) => Ok(rounded(x)?.f_linear(weight, None::<&Tensor>)?),
        }
    }

    /// Some rows themselves, as an embedding reads them: [count, columns].
    pub(crate) fn select(&self, ids: &[u32]) -> Result<Tensor> {
        match self {
            Self::Dense(weight) | Self::Rounded(weight) => {
                let wide: Vec<i64> = ids.iter().copied().map(i64::from).collect();
                let wide = Tensor::f_from_slice(&wide)?.f_to_device(weight.device())?;
                Ok(weight.f_index_select(0, &wide)?)
            }
            Self::Packed(packed) => packed.select(ids),
        }
    }

    /// From now on rounds the activations, where the weights are held by libtorch.
    pub(crate) fn round_activations(&mut self) {
        if let Self::Dense(weight) = self {
            *self = Self::Rounded(weight.shallow_clone());
        }
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Dense(weight) | Self::Rounded(weight) => weight.size()[0] as usize,
            Self::Packed(packed) => packed.rows(),
        }
    }

    /// Bytes that a product reads.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Dense(weight) | Self::Rounded(weight) => {
                (weight.numel() * weight.kind().elt_size_in_bytes()) as u64
            }
            Self::Packed(packed) => {
                let parts = packed.parts.iter();
                parts.map(|part| part.region.bytes().len() as u64).sum()
            }
        }
    }
}

/// Activations in blocks of 32 (of a row, where that does not divide it), each rounded to 8-bit integers times a scale of
/// its own.
fn rounded(x: &Tensor) -> Result<Tensor> {
    let columns = x.size()[x.dim() - 1];
    let block = BLOCK as i64;
    let block = if columns % block == 0 { block } else { columns };
    let blocks = x.f_reshape([-1, block])?;
    let largest = blocks.f_abs()?.f_amax([1], true)?;
    let scale = largest
        .f_div_scalar(127.0)?
        .f_clamp_min(f64::from(f32::MIN_POSITIVE))?;
    Ok(blocks
        .f_div(&scale)?
        .f_round()?
        .f_mul(&scale)?
        .f_reshape(x.size())?)
}

impl Packed {
    /// Puts matrices below one another; `None` where one of them has a packing that the kernels do not read.
    ///
    /// The regions hold `rows` x `columns` elements each, as the caller has checked.
    pub(crate) fn new(
        parts: Vec<(Region, crate::quantised::BlockType, usize)>,
        columns: usize,
    ) -> Option<Self> {
        if columns == 0 || !columns.is_multiple_of(BLOCK) {
            return None;
        }
        let parts = parts.into_iter().map(|(region, block_type, rows)| {
            let packing = Packing::of(block_type)?;
            (rows > 0).then_some(Part {
                region,
                packing,
                rows,
            })
        });
        let parts = parts.collect::<Option<Vec<_>>>()?;
        Some(Self { parts, columns })
    }

    fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.rows).sum()
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.f_contiguous()?;
        let count = x.size()[0] as usize;
        if count > FEW {
            return self.forward_expanded(&x);
        }
        let out = floats([count, self.rows()])?;
        {
            let (x, out) = (values(&x)?, Places::of(&out)?);
            self.multiply(x, count, &out);
        }
        Ok(out)
    }

    /// Few rows of activations: by the kernels.
    fn multiply(&self, x: &[f32], count: usize, out: &Places) {
        let instructions = Instructions::best();
        let rows = self.rows();
        let mut pieces = Vec::new();
        let mut above = 0;
        for part in &self.parts {
            let step = (PIECE_BYTES / part.row_bytes()).max(1);
            pieces.extend(
                (0..part.rows)
                    .step_by(step)
                    .map(|from| (part, above, from, step.min(part.rows - from))),
            );
            above += part.rows;
        }
        team().run(pieces.len(), &|piece| {
            let (part, above, from, taken) = pieces[piece];
            let row_bytes = part.row_bytes();
            let packed = &part.region.bytes()[from * row_bytes..(from + taken) * row_bytes];
            for (index, x) in x.chunks_exact(self.columns).enumerate().take(count) {
                // SAFETY: pieces do not overlap, and each lies inside the row of results of its `x`.
                let out = unsafe { out.range(index * rows + above + from, taken) };
                instructions.multiply(part.packing, packed, x, out);
            }
        });
    }

    /// Many rows of activations: expanded and multiplied piece by piece.
    fn forward_expanded(&self, x: &Tensor) -> Result<Tensor> {
        thread_local! {
            /// Kept, since the memory of a new one would cost as much as filling it.
            static BUFFER: RefCell<Option<Tensor>> = const { RefCell::new(None) };
        }
        let step = (EXPANDED / self.columns).max(1);
        BUFFER.with_borrow_mut(|buffer| {
            let needed = step * self.columns;
            let buffer = match buffer {
                Some(buffer) if buffer.numel() >= needed => buffer,
                _ => buffer.insert(floats([needed, 1])?.f_reshape([-1])?),
            };
            let mut products = Vec::new();
            for part in &self.parts {
                for from in (0..part.rows).step_by(step) {
                    let rows = step.min(part.rows - from);
                    let weights = self.expand(part, from, rows, buffer)?;
                    products.push(x.f_linear(&weights, None::<&Tensor>)?);
                }
            }
            match products.as_slice() {
                [only] => Ok(only.shallow_clone()),
                several => Ok(Tensor::f_cat(several, 1)?),
            }
        })
    }

    /// Rows of a part, expanded into the buffer: [rows, columns].
    fn expand(&self, part: &Part, from: usize, rows: usize, buffer: &Tensor) -> Result<Tensor> {
        let instructions = Instructions::best();
        let row_bytes = part.row_bytes();
        let packed = &part.region.bytes()[from * row_bytes..(from + rows) * row_bytes];
        let step = (PIECE_BYTES / row_bytes).max(1);
        {
            let out = Places::of(buffer)?;
            team().run(rows.div_ceil(step), &|piece| {
                let (first, taken) = (piece * step, step.min(rows - piece * step));
                // SAFETY: pieces do not overlap, and the buffer has room for `rows` rows.
                let out = unsafe { out.range(first * self.columns, taken * self.columns) };
                let packed = &packed[first * row_bytes..(first + taken) * row_bytes];
                instructions.expand(part.packing, packed, out);
            });
        }
        let (rows, columns) = (rows as i64, self.columns as i64);
        Ok(buffer
            .f_narrow(0, 0, rows * columns)?
            .f_reshape([rows, columns])?)
    }

    fn select(&self, ids: &[u32]) -> Result<Tensor> {
        let mut values = vec![0f32; ids.len() * self.columns];
        for (&id, out) in ids.iter().zip(values.chunks_exact_mut(self.columns)) {
            let (part, row) = self.place(id as usize)?;
            let row_bytes = part.row_bytes();
            let packed = &part.region.bytes()[row * row_bytes..(row + 1) * row_bytes];
            Instructions::best().expand(part.packing, packed, out);
        }
        let shape = [ids.len() as i64, self.columns as i64];
        Ok(Tensor::f_from_slice(&values)?.f_reshape(shape)?)
    }

    fn place(&self, row: usize) -> Result<(&Part, usize)> {
        let mut rest = row;
        for part in &self.parts {
            if rest < part.rows {
                return Ok((part, rest));
            }
            rest -= part.rows;
        }
        Err(Error::BadParameter(format!(
            "row {row} is outside the matrix"
        )))
    }
}

/// A new tensor of floats on the CPU, not initialised.
fn floats(shape: [usize; 2]) -> Result<Tensor> {
    let shape = shape.map(|size| size as i64);
    Ok(Tensor::f_empty(shape, (Kind::Float, tch::Device::Cpu))?)
}

/// The numbers of a contiguous f32 tensor on the CPU.
fn values(tensor: &Tensor) -> Result<&[f32]> {
    let places = Places::of(tensor)?;
    // SAFETY: the tensor owns so many floats as long as it is borrowed, and nobody writes to an input.
    Ok(unsafe { std::slice::from_raw_parts(places.first, places.count) })
}

/// Where a tensor's numbers lie, for threads that write to different ones of them.
struct Places {
    first: *mut f32,
    count: usize,
}

// SAFETY: only `range` gives access, whose caller promises that no two threads share a place.
unsafe impl Sync for Places {}

impl Places {
    fn of(tensor: &Tensor) -> Result<Self> {
        let plain = tensor.kind() == Kind::Float
            && tensor.device() == tch::Device::Cpu
            && tensor.is_contiguous();
        if !plain {
            return Err(Error::BadParameter(
                "packed weights are multiplied with contiguous f32 on the CPU".into(),
            ));
        }
        let (first, count) = (tensor.data_ptr().cast(), tensor.numel());
        Ok(Self { first, count })
    }

    /// `count` places from `from` on.
    ///
    /// # Safety
    /// The tensor lives, and nobody else uses these places meanwhile.
    #[expect(
        clippy::mut_from_ref,
        reason = "the caller promises that ranges do not overlap"
    )]
    unsafe fn range(&self, from: usize, count: usize) -> &mut [f32] {
        assert!(from <= self.count && count <= self.count - from);
        // SAFETY: inside the tensor's memory; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(from), count) }
    }
}
