//! Rows of activations, rounded to integers: in every 32 columns one or two signed bytes a number, and a scale.
//!
//! Two bytes keep 15 bits beside the sign of the largest number of every 32, so that products differ from f32's by less
//! than those of two f32 multiplications in another order often do; one byte keeps 7, as llama.cpp's do.

use super::interleaved::UNIT;
use super::steps::{WHOLE, whole};
use super::vectorised::vectorised;
use crate::threads::team;

/// The scale of 32 numbers, and the sums of their two halves times the scale.
pub(super) type Unit = (f32, [f32; 2]);

/// Rounded rows.
pub(crate) struct Activations {
    rows: usize,
    columns: usize,
    /// One byte a number where this is 1, else two.
    digits: usize,
    /// For each row all of its first digits, then all of its second.
    bytes: Vec<i8>,
    /// Row after row.
    units: Vec<Unit>,
}

/// The largest integer of one byte.
const LARGEST: f32 = 127.0;

/// Units of nothing larger are taken for zero: their scale would not be a normal number.
const SMALLEST: f32 = 1e-30;

impl Activations {
    /// Rounds rows of so many columns, a multiple of [`UNIT`], to `digits` bytes a number.
    pub(crate) fn new(x: &[f32], columns: usize, digits: usize) -> Self {
        let rows = x.len() / columns;
        let units = columns / UNIT;
        let mut rounded = Self {
            rows,
            columns,
            digits,
            bytes: vec![0; rows * columns * digits],
            units: vec![(0.0, [0.0; 2]); rows * units],
        };
        let one = |row: usize, bytes: &mut [i8], sums: &mut [Unit]| {
            let x = x[row * columns..][..columns].as_chunks::<UNIT>().0;
            let (first, second) = bytes.split_at_mut(columns);
            let first = first.as_chunks_mut::<UNIT>().0;
            match digits {
                1 => round_to_one(x, first, sums),
                _ => round_to_two(x, first, second.as_chunks_mut::<UNIT>().0, sums),
            }
        };
        let bytes = rounded.bytes.chunks_mut((columns * digits).max(1));
        let sums = rounded.units.chunks_mut(units.max(1));
        if rows < 8 {
            let all = bytes.zip(sums).enumerate();
            all.for_each(|(row, (bytes, sums))| one(row, bytes, sums));
        } else {
            // Each taken once, by whoever comes to it.
            let all: Vec<_> = bytes
                .zip(sums)
                .map(|both| std::sync::Mutex::new(Some(both)))
                .collect();
            team().run(rows, &|row| {
                let taken = all[row].lock().ok().and_then(|mut both| both.take());
                if let Some((bytes, sums)) = taken {
                    one(row, bytes, sums);
                }
            });
        }
        rounded
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn digits(&self) -> usize {
        self.digits
    }

    /// A row's first or second digits, one for every column.
    #[inline]
    pub(super) fn digit(&self, row: usize, digit: usize) -> *const i8 {
        debug_assert!(row < self.rows && digit < self.digits);
        let at = (row * self.digits + digit) * self.columns;
        self.bytes.as_ptr().wrapping_add(at)
    }

    /// A number as it was rounded.
    #[cfg(test)]
    pub(super) fn value(&self, row: usize, column: usize) -> f64 {
        let digit = |digit| {
            let at = (row * self.digits + digit) * self.columns + column;
            f64::from(self.bytes[at])
        };
        let whole = match self.digits {
            1 => digit(0),
            _ => digit(0) * 256.0 + digit(1),
        };
        whole * f64::from(self.units[row * (self.columns / UNIT) + column / UNIT].0)
    }

    /// A row's units.
    #[inline]
    pub(super) fn units(&self, row: usize) -> *const Unit {
        debug_assert!(row < self.rows);
        self.units
            .as_ptr()
            .wrapping_add(row * (self.columns / UNIT))
    }
}

vectorised! {
    /// Rounds units to one byte a number.
    fn round_to_one(x: &[[f32; UNIT]], digits: &mut [[i8; UNIT]], units: &mut [Unit]) {
        for ((x, digits), unit) in x.iter().zip(digits).zip(units) {
            let mut rounded = [0; UNIT];
            *unit = round(x, LARGEST, &mut rounded);
            for (digit, rounded) in digits.iter_mut().zip(rounded) {
                *digit = rounded as i8;
            }
        }
    }

    /// Rounds units to two bytes a number.
    fn round_to_two(
        x: &[[f32; UNIT]],
        first: &mut [[i8; UNIT]],
        second: &mut [[i8; UNIT]],
        units: &mut [Unit],
    ) {
        for ((x, (first, second)), unit) in x.iter().zip(first.iter_mut().zip(second)).zip(units) {
            let mut rounded = [0; UNIT];
            *unit = round(x, LARGEST * 256.0, &mut rounded);
            for ((first, second), rounded) in first.iter_mut().zip(second).zip(rounded) {
                // Nothing overflows; but a loop that would have to check is not made a vector of.
                let upper = rounded.wrapping_add(128) >> 8;
                *first = upper as i8;
                *second = rounded.wrapping_sub(upper << 8) as i8;
            }
        }
    }
}

/// Rounds one unit so that its largest number is `steps`. Where a number is not finite, the scale is not either, and so
/// neither is the product.
#[inline(always)]
fn round(x: &[f32; UNIT], steps: f32, rounded: &mut [i32; UNIT]) -> Unit {
    // The largest of numbers as bits: those of what is not finite are the largest of all. In counted loops, which become
    // vectors; iterators' closures would be compiled without the caller's instructions.
    let mut lanes = [0u32; UNIT / 2];
    for lane in 0..UNIT / 2 {
        let low = x[lane].to_bits() & 0x7fff_ffff;
        let high = x[lane + UNIT / 2].to_bits() & 0x7fff_ffff;
        lanes[lane] = if low > high { low } else { high };
    }
    let mut bits = 0;
    for lane in lanes {
        bits = if lane > bits { lane } else { bits };
    }
    let largest = f32::from_bits(bits);
    if !largest.is_finite() {
        return (f32::NAN, [f32::NAN; 2]);
    }
    if largest < SMALLEST {
        return (0.0, [0.0; 2]);
    }
    let (scale, inverse) = (largest / steps, steps / largest);
    let (mut low, mut high) = (0, 0);
    for at in 0..UNIT {
        rounded[at] = whole(x[at] * inverse + WHOLE);
    }
    for at in 0..UNIT / 2 {
        low = rounded[at].wrapping_add(low);
        high = rounded[at + UNIT / 2].wrapping_add(high);
    }
    (scale, [scale * low as f32, scale * high as f32])
}
