//! A weight matrix and its product with rows of activations: on libtorch, or packed as in the model's own file.
//!
//! On the CPU in f32, packed matrices stay packed. Where the processor multiplies 8-bit integers, they are laid out for that
//! once, and where it has vectors of 512 bits, so are matrices of plain floats. Elsewhere a few rows of activations (a token being decoded) are multiplied straight from the memory-mapped file,
//! and for many rows (a prompt) the matrix is expanded into a buffer, piece by piece, and libtorch multiplies.

use std::cell::RefCell;
use std::str::FromStr;

use tch::Tensor;

use crate::error::{Error, Result};
use crate::gguf::Region;
use crate::kernels::{
    self, Arena, Grouped, Instructions, Interleaved, ROWS, WIDE_ROWS, Wide, multiply_interleaved,
    multiply_wide, span,
};
use crate::quantised::BlockType;
use crate::slices::{Places, floats, values};
use crate::threads::team;

/// Up to so many rows of activations the packed kernels are faster than expanding.
const FEW: usize = 4;
/// Bytes of weights that one thread takes at a time: a few microseconds of work that fit the first cache.
const PIECE_BYTES: usize = 64 << 10;
/// Floats that are expanded at a time: 8 MiB, which a last-level cache holds.
const EXPANDED: usize = 2 << 20;

/// How exactly activations are multiplied: with packed weights, where the processor multiplies 8-bit integers, and with
/// weights in bf16, where it multiplies these. Elsewhere, and with weights in f16 and f32, they are in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activations {
    /// In f32.
    Exact,
    /// With packed weights rounded to 15 bits of the largest of every 32: hardly told from f32, and much faster.
    #[default]
    Bits16,
    /// With packed weights rounded to 7 bits of it, as llama.cpp does; with weights in bf16 rounded to bf16, as other
    /// programs do that compute in it. Faster for prompts.
    Bits8,
}

impl FromStr for Activations {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "exact" => Ok(Self::Exact),
            "16" => Ok(Self::Bits16),
            "8" => Ok(Self::Bits8),
            _ => Err(Error::BadParameter(format!(
                "\"{text}\" is no precision of activations: use exact, 16 or 8"
            ))),
        }
    }
}

/// A matrix of weights: [rows, columns].
pub(crate) enum Linear {
    /// Held by libtorch.
    Dense(Tensor),
    /// Laid out for products in 8-bit integers, with so many of them for one activation.
    Interleaved {
        parts: Vec<Interleaved>,
        digits: usize,
        /// As the file has it, for its rows themselves.
        packed: Packed,
    },
    /// Laid out for products in f32, or with activations rounded to bf16.
    Wide {
        parts: Vec<Wide>,
        rounded: bool,
        /// As the file has it, for its rows themselves.
        packed: Packed,
    },
    /// Held by the model's file.
    Packed(Packed),
}

/// Packed matrices of equally many columns below one another.
pub(crate) struct Packed {
    parts: Vec<Part>,
    columns: usize,
}

/// Lays out a matrix: bytes, how they are packed, rows, columns, where to, and what to tell of the bytes that were read.
type Lay<T> =
    fn(&[u8], BlockType, usize, usize, &Arena, &dyn Fn(std::ops::Range<usize>)) -> Option<T>;

struct Part {
    region: Region,
    block_type: BlockType,
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
            Self::Interleaved { parts, digits, .. } => forward_interleaved(parts, *digits, x),
            Self::Wide { parts, rounded, .. } => forward_wide(parts, *rounded, x),
        }
    }

    /// Some rows themselves, as an embedding reads them: [count, columns].
    pub(crate) fn select(&self, ids: &[u32]) -> Result<Tensor> {
        match self {
            Self::Dense(weight) => {
                let wide: Vec<i64> = ids.iter().copied().map(i64::from).collect();
                let wide = Tensor::f_from_slice(&wide)?.f_to_device(weight.device())?;
                Ok(weight.f_index_select(0, &wide)?)
            }
            Self::Packed(packed) | Self::Interleaved { packed, .. } | Self::Wide { packed, .. } => {
                packed.select(ids)
            }
        }
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Dense(weight) => weight.size()[0] as usize,
            Self::Packed(packed) | Self::Interleaved { packed, .. } | Self::Wide { packed, .. } => {
                packed.rows()
            }
        }
    }

    /// Bytes that a product reads.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Dense(weight) => (weight.numel() * weight.kind().elt_size_in_bytes()) as u64,
            Self::Packed(packed) => {
                let parts = packed.parts.iter();
                parts.map(|part| part.region.bytes().len() as u64).sum()
            }
            Self::Interleaved { parts, .. } => parts.iter().map(|part| part.len() as u64).sum(),
            Self::Wide { parts, .. } => {
                let bytes = parts.iter().map(|part| part.panels() * part.panel());
                bytes.sum::<usize>() as u64
            }
        }
    }
}

/// Rows times each row of `x`, in 8-bit integers.
fn forward_interleaved(parts: &[Interleaved], digits: usize, x: &Tensor) -> Result<Tensor> {
    let x = x.f_contiguous()?;
    let columns = parts.first().map_or(1, Interleaved::columns);
    let rounded = kernels::Activations::new(values(&x)?, columns, digits);
    let sizes = parts
        .iter()
        .map(|part| (part.rows(), part.panels(), part.len() / part.panels()));
    by_panels(&x, sizes, ROWS, &|part, panels, out, stride| {
        // SAFETY: the places of these panels, as `by_panels` promises.
        unsafe { multiply_interleaved(&parts[part], panels, &rounded, out, stride) };
    })
}

/// Rows times each row of `x`, in f32 or bf16.
fn forward_wide(parts: &[Wide], rounded: bool, x: &Tensor) -> Result<Tensor> {
    let x = x.f_contiguous()?;
    let columns = parts.first().map_or(1, Wide::columns);
    let grouped = Grouped::new(values(&x)?, columns, rounded);
    let sizes = parts
        .iter()
        .map(|part| (part.rows(), part.panels(), part.panel()));
    by_panels(&x, sizes, WIDE_ROWS, &|part, panels, out, stride| {
        // SAFETY: the places of these panels, as `by_panels` promises.
        unsafe { multiply_wide(&parts[part], panels, &grouped, out, stride) };
    })
}

/// Calls `multiply` for some panels at a time, of `height` rows each, on all threads: with the part, the first panel and how
/// many, where their first product goes, and how far apart those of two rows of `x` are. `parts` has the rows, the panels,
/// and the bytes of one panel of every matrix.
fn by_panels(
    x: &Tensor,
    parts: impl Iterator<Item = (usize, usize, usize)> + Clone,
    height: usize,
    multiply: &(dyn Fn(usize, (usize, usize), *mut f32, usize) + Sync),
) -> Result<Tensor> {
    let count = x.size()[0] as usize;
    let rows: usize = parts.clone().map(|(rows, ..)| rows).sum();
    let out = floats(&[count, rows])?;
    let mut pieces = Vec::new();
    let mut above = 0;
    for (index, (rows, panels, bytes)) in parts.enumerate() {
        // Small enough that threads end together, large enough that taking one costs nothing.
        let step = (PIECE_BYTES / (bytes * count).max(1)).max(1);
        let from = (0..panels).step_by(step);
        pieces.extend(from.map(|from| (index, above, from, step.min(panels - from))));
        above += rows;
    }
    let places = Places::of(&out)?;
    team().run(pieces.len(), &|piece| {
        let (part, above, from, taken) = pieces[piece];
        // SAFETY: pieces do not overlap, and all places are inside the tensor: `count` rows of `rows` places.
        let first = unsafe { places.at(above + from * height) };
        multiply(part, (from, taken), first, rows);
    });
    Ok(out)
}

impl Packed {
    /// Puts matrices below one another; `None` where a row is not a whole number of what the kernels read at a time.
    ///
    /// The regions hold `rows` x `columns` elements each, as the caller has checked.
    pub(crate) fn new(parts: Vec<(Region, BlockType, usize)>, columns: usize) -> Option<Self> {
        let parts = parts.into_iter().map(|(region, block_type, rows)| {
            let is_whole = columns > 0 && columns.is_multiple_of(span(block_type).0);
            (rows > 0 && is_whole).then_some(Part {
                region,
                block_type,
                rows,
            })
        });
        let parts = parts.collect::<Option<Vec<_>>>()?;
        Some(Self { parts, columns })
    }

    /// The same matrix laid out anew, where the processor has instructions and there is a layout for every part. The pages
    /// of the file are given back.
    pub(crate) fn laid_out(self, activations: Activations, arena: &Arena) -> Linear {
        if let Some(parts) = self.wide(arena) {
            let rounded =
                activations == Activations::Bits8 && parts.iter().all(Wide::takes_rounded);
            return Linear::Wide {
                parts,
                rounded,
                packed: self,
            };
        }
        let digits = match activations {
            Activations::Exact => return Linear::Packed(self),
            Activations::Bits16 => 2,
            Activations::Bits8 => 1,
        };
        let Some(parts) = self.interleaved(arena) else {
            return Linear::Packed(self);
        };
        Linear::Interleaved {
            parts,
            digits,
            packed: self,
        }
    }

    fn interleaved(&self, arena: &Arena) -> Option<Vec<Interleaved>> {
        kernels::has_integers().then(|| self.each(arena, Interleaved::new))?
    }

    fn wide(&self, arena: &Arena) -> Option<Vec<Wide>> {
        kernels::has_wide().then(|| self.each(arena, Wide::new))?
    }

    /// Every part laid out anew, the file's pages given back as they have been read; `None` where there is no layout for one.
    fn each<T>(&self, arena: &Arena, lay: Lay<T>) -> Option<Vec<T>> {
        let parts = self.parts.iter().map(|part| {
            let bytes = part.region.bytes();
            let done = |read| part.region.release_part(read);
            lay(
                bytes,
                part.block_type,
                part.rows,
                self.columns,
                arena,
                &done,
            )
        });
        parts.collect()
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
        let out = floats(&[count, self.rows()])?;
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
                instructions.multiply(part.block_type, packed, x, out);
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
                _ => buffer.insert(floats(&[needed])?),
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
                instructions.expand(part.block_type, packed, out);
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
            Instructions::best().expand(part.block_type, packed, out);
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
