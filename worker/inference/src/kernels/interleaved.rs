//! Packed weights laid out anew for multiplication in 8-bit integers: sixteen rows side by side.
//!
//! A *panel* is sixteen rows. Its columns come in *units* of 32, and of every unit first what belongs to columns 0 to 3 and
//! 16 to 19, row after row, then columns 4 to 7 and 20 to 23, and so on: one vector holds four columns of all sixteen rows,
//! and sums need not be gathered across a vector. Nothing is rounded: the integers and their scales are those of the file.
//!
//! ```text
//! unit       4 x 64 bytes     nibbles: the low ones are columns 4c to 4c + 3, the high ones 16 + 4c to 16 + 4c + 3
//!            (or 8 x 64       bytes, where weights have 8 bits)
//!            4 x 2 x u64      for each further bit a mask of the 64 low and one of the 64 high ones
//!            scales           of 16 rows; see `Layout`
//! head       scales of 16 rows, before every 8 units of formats whose blocks have 256 elements
//! ```

use std::ops::Range;

use half::f16;

use super::arena::{Arena, Part};
use crate::quantised::{BlockType, q6_k_element, scale_and_minimum};
use crate::threads::team;

/// Rows of a panel.
pub(crate) const ROWS: usize = 16;
/// Columns of a unit.
pub(crate) const UNIT: usize = 32;

/// What is stored of a unit, and how its scales are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Nibbles; scale and minimum in half precision.
    Four,
    /// Nibbles and one more bit; scale and minimum in half precision.
    Five,
    /// Bytes, 128 too high; scale in half precision.
    Eight,
    /// Nibbles; scale and minimum as bytes, in units of the head's.
    FourOfHead,
    /// Nibbles and one more bit; scale and minimum as bytes, in units of the head's.
    FiveOfHead,
    /// Nibbles and two more bits, 32 too high; a signed byte as scale for each half, in units of the head's.
    SixOfHead,
}

impl Layout {
    /// The layout for a block type, where there is one.
    pub(crate) fn of(block_type: BlockType) -> Option<Self> {
        Some(match block_type {
            BlockType::Q4_0 | BlockType::Q4_1 => Self::Four,
            BlockType::Q5_0 | BlockType::Q5_1 => Self::Five,
            BlockType::Q8_0 => Self::Eight,
            BlockType::Q4_K => Self::FourOfHead,
            BlockType::Q5_K => Self::FiveOfHead,
            BlockType::Q6_K => Self::SixOfHead,
            _ => return None,
        })
    }

    /// Bits of a weight beyond four, but for bytes.
    const fn more_bits(self) -> usize {
        match self {
            Self::Four | Self::FourOfHead | Self::Eight => 0,
            Self::Five | Self::FiveOfHead => 1,
            Self::SixOfHead => 2,
        }
    }

    /// Bytes of a unit before its scales.
    pub(crate) const fn quants(self) -> usize {
        match self {
            Self::Eight => 512,
            _ => 256 + 64 * self.more_bits(),
        }
    }

    /// Bytes of a unit.
    pub(crate) const fn unit(self) -> usize {
        self.quants()
            + match self {
                Self::Four | Self::Five => 4 * ROWS,
                _ => 2 * ROWS,
            }
    }

    /// Bytes before every eight units.
    pub(crate) const fn head(self) -> usize {
        match self {
            Self::Four | Self::Five | Self::Eight => 0,
            Self::FourOfHead | Self::FiveOfHead => 4 * ROWS,
            Self::SixOfHead => 2 * ROWS,
        }
    }

    /// Bytes of a panel of so many columns.
    pub(crate) const fn panel(self, columns: usize) -> usize {
        columns / UNIT * self.unit() + columns / (8 * UNIT) * self.head()
    }
}

/// A matrix of which every sixteen rows lie side by side.
pub(crate) struct Interleaved {
    layout: Layout,
    bytes: Part,
    rows: usize,
    columns: usize,
}

impl Interleaved {
    /// Lays out packed rows; `None` where there is no layout for them. Calls `done` with the bytes that it has read.
    pub(crate) fn new(
        packed: &[u8],
        block_type: BlockType,
        rows: usize,
        columns: usize,
        arena: &Arena,
        done: &dyn Fn(Range<usize>),
    ) -> Option<Self> {
        let layout = Layout::of(block_type)?;
        let block = block_type.elements_per_block();
        if rows == 0 || columns == 0 || !columns.is_multiple_of(block) {
            return None;
        }
        let row_bytes = columns / block * block_type.bytes_per_block();
        if packed.len() != rows * row_bytes {
            return None;
        }
        let (panels, panel) = (rows.div_ceil(ROWS), layout.panel(columns));
        let mut bytes = arena.take(panels * panel)?;
        let place = Place(bytes.bytes_mut().as_mut_ptr());
        for some in pieces(panels, panel) {
            team().run(some.len(), &|index| {
                let index = some.start + index;
                // SAFETY: panels do not overlap, and there is room for all of them.
                let out = unsafe { place.panel(index * panel, panel) };
                for row in 0..ROWS.min(rows - index * ROWS) {
                    let from = (index * ROWS + row) * row_bytes;
                    lay(
                        block_type,
                        layout,
                        &packed[from..from + row_bytes],
                        row,
                        out,
                    );
                }
            });
            let read = |panel: usize| (panel * ROWS).min(rows) * row_bytes;
            done(read(some.start)..read(some.end));
        }
        Some(Self {
            layout,
            bytes,
            rows,
            columns,
        })
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Number of panels.
    pub(crate) fn panels(&self) -> usize {
        self.rows.div_ceil(ROWS)
    }

    /// Bytes of all of them.
    pub(crate) fn len(&self) -> usize {
        self.panels() * self.layout.panel(self.columns)
    }

    /// Some panels, one after the other.
    pub(crate) fn some(&self, from: usize, count: usize) -> &[u8] {
        let panel = self.layout.panel(self.columns);
        &self.bytes.bytes()[from * panel..(from + count) * panel]
    }
}

/// Panels in runs of some megabytes: what was read of a file can be given back before the next are laid out.
pub(super) fn pieces(panels: usize, panel_bytes: usize) -> impl Iterator<Item = Range<usize>> {
    const BYTES: usize = 8 << 20;
    let step = (BYTES / panel_bytes.max(1)).max(1);
    (0..panels)
        .step_by(step)
        .map(move |from| from..panels.min(from + step))
}

/// Where panels lie, for threads that write to different ones.
struct Place(*mut u8);

// SAFETY: only `panel` gives access, whose caller promises that no two threads share one.
unsafe impl Sync for Place {}

impl Place {
    /// # Safety
    /// The memory is there and nobody else uses these bytes meanwhile.
    #[expect(
        clippy::mut_from_ref,
        reason = "the caller promises that panels do not overlap"
    )]
    unsafe fn panel(&self, from: usize, length: usize) -> &mut [u8] {
        // SAFETY: by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(from), length) }
    }
}

/// Lays one row into its place in a panel of zeros.
fn lay(block_type: BlockType, layout: Layout, row_bytes: &[u8], row: usize, out: &mut [u8]) {
    let (head, unit) = (layout.head(), layout.unit());
    let quants = layout.quants();
    let per_block = block_type.elements_per_block() / UNIT;
    let mut at = 0;
    for block in row_bytes.chunks_exact(block_type.bytes_per_block()) {
        if head > 0 {
            let (d, dmin) = match block_type {
                BlockType::Q6_K => (&block[208..210], None),
                _ => (&block[..2], Some(&block[2..4])),
            };
            out[at + 2 * row..][..2].copy_from_slice(d);
            if let Some(dmin) = dmin {
                out[at + 2 * ROWS + 2 * row..][..2].copy_from_slice(dmin);
            }
            at += head;
        }
        for index in 0..per_block {
            let place = &mut out[at..at + unit];
            let values = elements(block_type, block, index);
            lay_elements(layout, &values, row, place);
            let scales = &mut place[quants..];
            let mut put = |index: usize, value: f16| {
                scales[2 * (index * ROWS + row)..][..2].copy_from_slice(&value.to_le_bytes());
            };
            let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]);
            // A power of two times a half is exact unless it passes the largest one, which no weight's scale comes near.
            let lowered = |by: f32| f16::from_f32(-by * half(0).to_f32());
            match block_type {
                BlockType::Q4_0 => {
                    put(0, half(0));
                    put(1, lowered(8.0));
                }
                BlockType::Q5_0 => {
                    put(0, half(0));
                    put(1, lowered(16.0));
                }
                BlockType::Q4_1 | BlockType::Q5_1 => {
                    put(0, half(0));
                    put(1, half(2));
                }
                BlockType::Q4_K | BlockType::Q5_K => {
                    let (scale, minimum) = scale_and_minimum(&block[4..16], index);
                    (scales[row], scales[ROWS + row]) = (scale, minimum);
                }
                BlockType::Q6_K => {
                    scales[row] = block[192 + 2 * index];
                    scales[ROWS + row] = block[193 + 2 * index];
                }
                _ => put(0, half(0)),
            }
            at += unit;
        }
    }
}

/// The integers of one unit of a block, none below zero.
fn elements(block_type: BlockType, block: &[u8], unit: usize) -> [u8; UNIT] {
    let nibbles = |packed: &[u8]| -> [u8; UNIT] {
        std::array::from_fn(|index| packed[index % 16] >> (index / 16 * 4) & 15)
    };
    let fifth = |bits: &[u8], index: usize| (bits[index / 8] >> (index % 8) & 1) << 4;
    let pair = |packed: &[u8], index: usize| packed[unit / 2 * 32 + index] >> (unit % 2 * 4) & 15;
    match block_type {
        BlockType::Q4_0 => nibbles(&block[2..]),
        BlockType::Q4_1 => nibbles(&block[4..]),
        BlockType::Q5_0 => {
            let low = nibbles(&block[6..]);
            std::array::from_fn(|index| low[index] | fifth(&block[2..], index))
        }
        BlockType::Q5_1 => {
            let low = nibbles(&block[8..]);
            std::array::from_fn(|index| low[index] | fifth(&block[4..], index))
        }
        BlockType::Q4_K => std::array::from_fn(|index| pair(&block[16..], index)),
        BlockType::Q5_K => std::array::from_fn(|index| {
            pair(&block[48..], index) | (block[16 + index] >> unit & 1) << 4
        }),
        BlockType::Q6_K => std::array::from_fn(|index| q6_k_element(block, unit * UNIT + index)),
        _ => std::array::from_fn(|index| block[2 + index] ^ 0x80),
    }
}

/// Puts the integers of one row's unit into their places.
fn lay_elements(layout: Layout, values: &[u8; UNIT], row: usize, out: &mut [u8]) {
    for chunk in 0..4 {
        let (low, high) = (&values[4 * chunk..][..4], &values[16 + 4 * chunk..][..4]);
        if layout == Layout::Eight {
            out[64 * chunk + 4 * row..][..4].copy_from_slice(low);
            out[64 * (4 + chunk) + 4 * row..][..4].copy_from_slice(high);
            continue;
        }
        for (index, (low, high)) in low.iter().zip(high).enumerate() {
            out[64 * chunk + 4 * row + index] = low & 15 | high << 4;
        }
        for bit in 0..layout.more_bits() {
            for (half, values) in [low, high].into_iter().enumerate() {
                let at = 256 + 64 * bit + 16 * chunk + 8 * half + row / 2;
                for (index, value) in values.iter().enumerate() {
                    out[at] |= (value >> (4 + bit) & 1) << (row % 2 * 4 + index);
                }
            }
        }
    }
}
