//! Weights of 16 or 32 bits laid out anew: thirty-two rows side by side, so that two vectors hold one column of all of them
//! and sums need not be gathered across a vector. Multiplied in f32, nothing is rounded; or, for weights in bf16 where the
//! processor multiplies these, with activations rounded to bf16, two columns in one instruction.
//!
//! ```text
//! step       of 16 bits: 32 rows x 2 columns, of 32 bits: 32 rows x 1 column: 128 bytes
//! panel      columns, step after step
//! ```

use std::ops::Range;
use std::sync::Mutex;

use super::arena::{Arena, Part};
use super::interleaved::pieces;
use super::vectorised::vectorised;
use crate::quantised::BlockType;
use crate::threads::team;

/// Rows of a panel.
pub(crate) const ROWS: usize = 32;
/// Bytes of a step: one or two columns of a panel.
pub(super) const STEP: usize = 4 * ROWS;
/// Rows of activations that are multiplied at a time, most first.
const GROUPS: [usize; 5] = [12, 8, 4, 2, 1];

/// How a number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    F32,
    F16,
    BF16,
}

impl Number {
    /// Columns of a step.
    const fn columns(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// Bytes of one.
    const fn bytes(self) -> usize {
        4 / self.columns()
    }
}

/// A matrix of which every thirty-two rows lie side by side.
pub(crate) struct Wide {
    number: Number,
    bytes: Part,
    rows: usize,
    columns: usize,
}

impl Wide {
    /// Lays out rows; `None` where they are packed in another way or have an odd number of columns. Calls `done` with the
    /// bytes that it has read.
    pub(crate) fn new(
        stored: &[u8],
        block_type: BlockType,
        rows: usize,
        columns: usize,
        arena: &Arena,
        done: &dyn Fn(Range<usize>),
    ) -> Option<Self> {
        let number = match block_type {
            BlockType::F32 => Number::F32,
            BlockType::F16 => Number::F16,
            BlockType::BF16 => Number::BF16,
            _ => return None,
        };
        let row_bytes = columns * number.bytes();
        if rows == 0 || columns == 0 || !columns.is_multiple_of(number.columns()) {
            return None;
        }
        if stored.len() != rows * row_bytes {
            return None;
        }
        let panel = row_bytes * ROWS;
        let mut bytes = arena.take(rows.div_ceil(ROWS) * panel)?;
        let panels = bytes.bytes_mut().chunks_exact_mut(panel);
        let panels: Vec<_> = panels.map(Mutex::new).collect();
        for some in pieces(panels.len(), panel) {
            team().run(some.len(), &|index| {
                let index = some.start + index;
                let Ok(mut out) = panels[index].lock() else {
                    return;
                };
                let from = &stored[index * panel..(index * panel + panel).min(stored.len())];
                for (row, values) in from.chunks_exact(row_bytes).enumerate() {
                    let places = out.as_chunks_mut::<4>().0.iter_mut().skip(row);
                    for (place, value) in places.step_by(ROWS).zip(values.as_chunks::<4>().0) {
                        *place = *value;
                    }
                }
            });
            let read = |index: usize| (index * panel).min(stored.len());
            done(read(some.start)..read(some.end));
        }
        drop(panels);
        Some(Self {
            number,
            bytes,
            rows,
            columns,
        })
    }

    /// How its numbers are stored.
    pub(super) fn number(&self) -> Number {
        self.number
    }

    /// True if it can be multiplied with rounded activations.
    pub(crate) fn takes_rounded(&self) -> bool {
        self.number == Number::BF16 && super::has_bf16()
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

    /// Bytes of a panel.
    pub(crate) fn panel(&self) -> usize {
        self.columns * self.number.bytes() * ROWS
    }

    /// Some panels, one after the other.
    pub(super) fn some(&self, from: usize, count: usize) -> &[u8] {
        &self.bytes.bytes()[from * self.panel()..(from + count) * self.panel()]
    }
}

/// Rows of activations in groups, and of every group all rows' words side by side: a word is an f32, or, rounded, two
/// columns in bf16.
pub(crate) struct Grouped {
    words: Vec<u32>,
    rows: usize,
    columns: usize,
    rounded: bool,
}

impl Grouped {
    /// Those of `x`, rows of so many columns; rounded to bf16 if asked for, which takes an even number of them.
    pub(crate) fn new(x: &[f32], columns: usize, rounded: bool) -> Self {
        let rows = x.len() / columns;
        let words = if rounded { columns / 2 } else { columns };
        let mut grouped = vec![0; rows * words];
        let mut rest = grouped.as_mut_slice();
        let mut pieces = Vec::new();
        for (from, count) in groups(rows) {
            let (group, after) = rest.split_at_mut(count * words);
            rest = after;
            let x = &x[from * columns..(from + count) * columns];
            pieces.push(Mutex::new((group, x, count)));
        }
        team().run(pieces.len(), &|piece| {
            let Ok(mut piece) = pieces[piece].lock() else {
                return;
            };
            let (group, x, count) = &mut *piece;
            match rounded {
                true => side_by_side_in_bf16(x, *count, group),
                false => side_by_side(x, *count, group),
            }
        });
        drop(pieces);
        Self {
            words: grouped,
            rows,
            columns,
            rounded,
        }
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// True if they are in bf16.
    pub(crate) fn rounded(&self) -> bool {
        self.rounded
    }

    /// The groups: the first row of each, how many there are, and their words.
    pub(super) fn groups(&self) -> impl Iterator<Item = (usize, usize, &[u32])> {
        let words = if self.rounded {
            self.columns / 2
        } else {
            self.columns
        };
        groups(self.rows).map(move |(from, count)| {
            (
                from,
                count,
                &self.words[from * words..(from + count) * words],
            )
        })
    }
}

/// Rows in groups of those sizes that the kernels have: the first row of each, and how many there are.
fn groups(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let count = GROUPS.into_iter().find(|&count| count <= rows - from)?;
        from += count;
        Some((from - count, count))
    })
}

vectorised! {
    /// Words of `count` rows side by side, each an f32.
    fn side_by_side(x: &[f32], count: usize, out: &mut [u32]) {
        let columns = x.len() / count;
        for (index, x) in x.chunks_exact(columns).enumerate() {
            let places = out.iter_mut().skip(index).step_by(count);
            places.zip(x).for_each(|(place, x)| *place = x.to_bits());
        }
    }

    /// Words of `count` rows side by side, each two columns in bf16.
    fn side_by_side_in_bf16(x: &[f32], count: usize, out: &mut [u32]) {
        let columns = x.len() / count;
        for (index, x) in x.chunks_exact(columns).enumerate() {
            let places = out.iter_mut().skip(index).step_by(count);
            let pairs = x.as_chunks::<2>().0.iter();
            places.zip(pairs).for_each(|(place, [low, high])| {
                *place = bf16(*low) >> 16 | bf16(*high) & 0xffff_0000;
            });
        }
    }
}

/// The nearest bf16 in the upper half, ties to even; what is not finite stays so.
#[inline(always)]
fn bf16(x: f32) -> u32 {
    let bits = x.to_bits();
    let is_nan = bits & 0x7fff_ffff > 0x7f80_0000;
    let up = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    if is_nan { bits | 0x0040_0000 } else { up }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bf16_is_the_nearest(bits: u32) {
            let x = f32::from_bits(bits);
            let exact = half::bf16::from_f32(x);
            let ours = half::bf16::from_bits((bf16(x) >> 16) as u16);
            prop_assert!(ours.to_bits() == exact.to_bits() || ours.is_nan() && exact.is_nan(), "{x}: {ours} {exact}");
        }
    }
}
