//! The inner loops over packed weights: rows times a vector, and expansion to f32.
//!
//! Where the processor multiplies 8-bit integers (AVX-512 VNNI), matrices are laid out anew ([`Interleaved`]) and
//! multiplied with activations that are rounded to 15 or 7 bits ([`Activations`]); weights in plain floats are laid out for
//! AVX-512 in a like way ([`Wide`]). Everywhere else weights are expanded in registers and multiplied in f32, straight from
//! the file: the result differs from libtorch's on the expanded weights by the order of summation alone. One file per
//! instruction set; the best that the processor has is chosen when the program runs.

use std::sync::OnceLock;

use crate::quantised::BlockType;

mod activations;
mod arena;
#[cfg(target_arch = "x86_64")]
mod attention512;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod interleaved;
mod portable;
pub(crate) mod steps;
mod vectorised;
#[cfg(target_arch = "x86_64")]
mod vnni;
mod wide;
#[cfg(target_arch = "x86_64")]
mod wide512;

pub(crate) use activations::Activations;
pub(crate) use arena::Arena;
pub(crate) use interleaved::{Interleaved, ROWS};
pub(crate) use wide::{Grouped, ROWS as WIDE_ROWS, Wide};

/// Elements that are read at a time, at least.
pub(crate) const BLOCK: usize = 32;

/// Which instructions the inner loops use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instructions {
    /// What the compiler makes for any processor.
    Portable,
    /// 256-bit vectors, with fused multiplication and half precision.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Instructions {
    /// The best of this processor.
    pub(crate) fn best() -> Self {
        static BEST: OnceLock<Instructions> = OnceLock::new();
        *BEST.get_or_init(|| *Self::available().last().expect("one works everywhere"))
    }

    /// All that this processor has, the best last.
    pub(crate) fn available() -> Vec<Self> {
        let mut all = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            if avx2 {
                all.push(Self::Avx2);
            }
            if avx2 && is_x86_feature_detected!("avx512f") {
                all.push(Self::Avx512);
            }
        }
        all
    }

    /// `out[r]` = row r times `x`, for consecutive packed rows of `x.len()` elements each.
    ///
    /// Panics unless the rows are whole [`span`]s and as many as `out` has places.
    pub(crate) fn multiply(self, format: BlockType, rows: &[u8], x: &[f32], out: &mut [f32]) {
        let (elements, bytes) = span(format);
        assert_eq!(x.len() % elements, 0);
        assert_eq!(rows.len(), out.len() * (x.len() / elements) * bytes);
        let is_done = match self {
            Self::Portable => false,
            // SAFETY: the lengths were checked, and this value exists only where the instructions do.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::multiply(format, rows, x, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512::multiply(format, rows, x, out) },
        };
        if !is_done {
            portable::multiply(format, rows, x, out);
        }
    }

    /// Expands whole [`span`]s to f32, exactly as [`BlockType::expand`] does.
    ///
    /// Panics unless `out` has a place for every element.
    pub(crate) fn expand(self, format: BlockType, packed: &[u8], out: &mut [f32]) {
        let (elements, bytes) = span(format);
        assert_eq!(packed.len() % bytes, 0);
        assert_eq!(out.len(), packed.len() / bytes * elements);
        let is_done = match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the lengths were checked, and this value exists only where the instructions do.
            Self::Avx512 => unsafe { avx512::expand(format, packed, out) },
            // Expansion is for whole prompts, where the multiplication that follows takes most of the time.
            _ => false,
        };
        if !is_done {
            format.expand_into(packed, out);
        }
    }
}

/// What is read of a format at a time: elements and bytes.
pub(crate) fn span(format: BlockType) -> (usize, usize) {
    let blocks = (BLOCK / format.elements_per_block()).max(1);
    (
        blocks * format.elements_per_block(),
        blocks * format.bytes_per_block(),
    )
}

/// True if this processor multiplies [`Interleaved`] matrices.
pub(crate) fn has_integers() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        static HAS: OnceLock<bool> = OnceLock::new();
        *HAS.get_or_init(|| {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Multiplies `count` panels from `from` on with all activations. The product of row r of the first panel and row n of
/// the activations goes to place n x `stride` + r of `out`.
///
/// Panics where [`has_integers`] is false, or where the sizes do not fit.
///
/// # Safety
/// `out` is valid for writes to these places, and nobody else uses them meanwhile.
pub(crate) unsafe fn multiply_interleaved(
    matrix: &Interleaved,
    (from, count): (usize, usize),
    x: &Activations,
    out: *mut f32,
    stride: usize,
) {
    assert!(has_integers() && x.columns() == matrix.columns());
    assert!(count > 0 && from + count <= matrix.panels());
    let rows = (count * ROWS).min(matrix.rows() - from * ROWS);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the processor has the instructions, the sizes fit, and the places are the caller's promise.
    unsafe {
        vnni::multiply(matrix, (from, count), x, out, rows, stride);
    }
}

/// True if this processor multiplies [`Wide`] matrices.
pub(crate) fn has_wide() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        Instructions::best() == Instructions::Avx512
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// True if this processor multiplies numbers in bf16.
pub(crate) fn has_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        static HAS: OnceLock<bool> = OnceLock::new();
        *HAS.get_or_init(|| has_wide() && is_x86_feature_detected!("avx512bf16"))
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Multiplies `count` panels from `from` on with all activations, which are rounded only where [`Wide::takes_rounded`]. The
/// product of row r of the first panel and row n of the activations goes to place n x `stride` + r of `out`.
///
/// Panics where [`has_wide`] is false, or where the sizes do not fit.
///
/// # Safety
/// `out` is valid for writes to these places, and nobody else uses them meanwhile.
pub(crate) unsafe fn multiply_wide(
    matrix: &Wide,
    (from, count): (usize, usize),
    x: &Grouped,
    out: *mut f32,
    stride: usize,
) {
    assert!(has_wide() && x.columns() == matrix.columns());
    assert!(matrix.takes_rounded() || !x.rounded());
    assert!(count > 0 && from + count <= matrix.panels());
    let rows = (count * WIDE_ROWS).min(matrix.rows() - from * WIDE_ROWS);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the processor has the instructions, the sizes fit, and the places are the caller's promise.
    unsafe {
        wide512::multiply(matrix, (from, count), x, out, rows, stride);
    }
}

#[cfg(test)]
mod tests {
    use half::f16;
    use proptest::prelude::*;

    use super::interleaved::UNIT;
    use super::*;
    use crate::noise::normals;
    use crate::philox::{Domain, block};

    const ALL: [BlockType; 11] = [
        BlockType::Q8_0,
        BlockType::Q4_0,
        BlockType::Q4_1,
        BlockType::F32,
        BlockType::F16,
        BlockType::BF16,
        BlockType::Q5_0,
        BlockType::Q5_1,
        BlockType::Q4_K,
        BlockType::Q5_K,
        BlockType::Q6_K,
    ];

    /// Blocks of any bits, but for scales such as models have.
    fn any_blocks(block_type: BlockType, blocks: usize, seed: u64) -> Vec<u8> {
        let length = blocks * block_type.bytes_per_block();
        let words = (0..length.div_ceil(16) as u64).flat_map(|n| block(seed, Domain::Token, 9, n));
        let mut bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).take(length).collect();
        if block_type.elements_per_block() == 1 {
            let values = normals(seed, Domain::ImageLatent, 8, blocks);
            let of = |value: f32| match block_type {
                BlockType::F16 => f16::from_f32(value).to_le_bytes().to_vec(),
                BlockType::BF16 => half::bf16::from_f32(value).to_le_bytes().to_vec(),
                _ => value.to_le_bytes().to_vec(),
            };
            return values.into_iter().flat_map(of).collect();
        }
        let unit = |byte: u8| f32::from(byte) / 255.0 - 0.4;
        for block in bytes.chunks_exact_mut(block_type.bytes_per_block()) {
            let scales: &[usize] = match block_type {
                BlockType::Q6_K => &[208],
                BlockType::Q4_0 | BlockType::Q5_0 | BlockType::Q8_0 => &[0],
                _ => &[0, 2],
            };
            for &at in scales {
                let scale = f16::from_f32(unit(block[at]) * 0.01);
                block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
            }
        }
        bytes
    }

    /// So many spans of a format, and the elements of one.
    fn packed(format: BlockType, spans: usize, seed: u64) -> (usize, Vec<u8>) {
        let elements = span(format).0;
        let blocks = spans * elements / format.elements_per_block();
        (elements, any_blocks(format, blocks, seed))
    }

    proptest! {
        #[test]
        fn rows_times_a_vector_are_the_same_by_every_instruction_set(
            seed: u64, rows in 0usize..9, spans in 1usize..20, format in 0usize..ALL.len(),
        ) {
            let format = ALL[format];
            let (elements, weights) = packed(format, rows * spans, seed);
            let x = normals(seed, Domain::ImageLatent, 0, spans * elements);
            let plain = format.expand(&weights);
            for instructions in Instructions::available() {
                let mut out = vec![f32::NAN; rows];
                instructions.multiply(format, &weights, &x, &mut out);
                for (row, &value) in plain.chunks_exact(x.len()).zip(&out) {
                    let products = row.iter().zip(&x).map(|(&w, &x)| f64::from(w) * f64::from(x));
                    let (exact, size) = products.fold((0.0, 0.0), |(sum, size), product| (sum + product, size + product.abs()));
                    prop_assert!((f64::from(value) - exact).abs() <= size * 2e-6, "{instructions:?}: {value}, exactly {exact}");
                }
            }
        }

        #[test]
        fn expansion_is_the_same_to_the_bit_by_every_instruction_set(seed: u64, spans in 0usize..9, format in 0usize..ALL.len()) {
            let format = ALL[format];
            let (elements, weights) = packed(format, spans, seed);
            let plain: Vec<u32> = format.expand(&weights).into_iter().map(f32::to_bits).collect();
            for instructions in Instructions::available() {
                let mut out = vec![f32::NAN; spans * elements];
                instructions.expand(format, &weights, &mut out);
                let bits: Vec<u32> = out.into_iter().map(f32::to_bits).collect();
                prop_assert_eq!(&bits, &plain, "{:?}", instructions);
            }
        }
    }

    /// Rows times rows in f64, and the sum of the sizes of what was added.
    fn exactly(weights: &[f32], x: &[f32], columns: usize) -> Vec<(f64, f64)> {
        let rows = || weights.chunks_exact(columns);
        let one = |row: &[f32], x: &[f32]| {
            let products = row
                .iter()
                .zip(x)
                .map(|(&w, &x)| f64::from(w) * f64::from(x));
            products.fold((0.0, 0.0), |(sum, size), product| {
                (sum + product, size + product.abs())
            })
        };
        let all = x.chunks_exact(columns);
        all.flat_map(|x| rows().map(move |row| one(row, x)))
            .collect()
    }

    proptest! {
        #[test]
        fn interleaved_rows_times_rounded_activations_are_near_the_exact_product(
            seed: u64, rows in 1usize..50, blocks in 1usize..4, count in 1usize..14, format in 0usize..8, digits in 1usize..3,
        ) {
            if !has_integers() {
                return Ok(());
            }
            let format = [
                BlockType::Q4_0, BlockType::Q4_1, BlockType::Q5_0, BlockType::Q5_1,
                BlockType::Q8_0, BlockType::Q4_K, BlockType::Q5_K, BlockType::Q6_K,
            ][format];
            let columns = blocks * format.elements_per_block();
            let packed = any_blocks(format, rows * blocks, seed);
            let matrix = Interleaved::new(&packed, format, rows, columns, &Arena::default(), &|_| ()).expect("a layout");
            let x = normals(seed, Domain::ImageLatent, 0, count * columns);
            let rounded = Activations::new(&x, columns, digits);
            // One place more in every row, which nobody may write to.
            let stride = rows + 1;
            let mut out = vec![f32::NAN; count * stride];
            let half = matrix.panels() / 2;
            for (from, panels) in [(0, half), (half, matrix.panels() - half)] {
                if panels > 0 {
                    // SAFETY: there is room for every product, and nobody else uses it.
                    unsafe {
                        let out = out.as_mut_ptr().add(from * ROWS);
                        multiply_interleaved(&matrix, (from, panels), &rounded, out, stride);
                    }
                }
            }
            let weights = format.expand(&packed);
            // Of the largest of 32 numbers, which are up to some five times the usual one.
            let share = if digits == 1 { 0.02 } else { 1e-4 };
            for (index, (exact, size)) in exactly(&weights, &x, columns).into_iter().enumerate() {
                let value = f64::from(out[index / rows * stride + index % rows]);
                prop_assert!((value - exact).abs() <= size * share, "{format}: {value}, exactly {exact} of {size}");
            }
            for row in out.chunks_exact(stride) {
                prop_assert!(row[rows].is_nan());
            }
        }

        #[test]
        fn wide_rows_times_activations_are_the_exact_product_within_rounding(
            seed: u64, rows in 1usize..100, pairs in 1usize..40, count in 1usize..30, format in 0usize..3, rounded: bool,
        ) {
            if !has_wide() {
                return Ok(());
            }
            let format = [BlockType::F32, BlockType::F16, BlockType::BF16][format];
            let columns = 2 * pairs;
            let stored = any_blocks(format, rows * columns, seed);
            let matrix = Wide::new(&stored, format, rows, columns, &Arena::default(), &|_| ()).expect("a layout");
            let rounded = rounded && matrix.takes_rounded();
            let x = normals(seed, Domain::ImageLatent, 0, count * columns);
            let grouped = Grouped::new(&x, columns, rounded);
            // One place more in every row, which nobody may write to.
            let stride = rows + 1;
            let mut out = vec![f32::NAN; count * stride];
            let half = matrix.panels() / 2;
            for (from, panels) in [(0, half), (half, matrix.panels() - half)] {
                if panels > 0 {
                    // SAFETY: there is room for every product, and nobody else uses it.
                    unsafe {
                        let out = out.as_mut_ptr().add(from * WIDE_ROWS);
                        multiply_wide(&matrix, (from, panels), &grouped, out, stride);
                    }
                }
            }
            let weights = format.expand(&stored);
            let share = if rounded { 1.0 / 256.0 } else { 2e-6 };
            for (index, (exact, size)) in exactly(&weights, &x, columns).into_iter().enumerate() {
                let value = f64::from(out[index / rows * stride + index % rows]);
                prop_assert!((value - exact).abs() <= size * share, "{format}: {value}, exactly {exact} of {size}");
            }
            for row in out.chunks_exact(stride) {
                prop_assert!(row[rows].is_nan());
            }
        }

        #[test]
        fn rounded_activations_are_as_near_as_their_digits_allow(seed: u64, units in 1usize..5, rows in 0usize..20, size in -35i32..35) {
            let columns = units * UNIT;
            let factor = 10f32.powi(size);
            let x: Vec<f32> = normals(seed, Domain::ImageLatent, 1, rows * columns).into_iter().map(|x| x * factor).collect();
            for digits in [1, 2] {
                let rounded = Activations::new(&x, columns, digits);
                prop_assert_eq!(rounded.rows(), rows);
                for (index, x) in x.chunks_exact(UNIT).enumerate() {
                    let largest = x.iter().fold(0f32, |largest, x| largest.max(x.abs()));
                    let (row, unit) = (index / units, index % units);
                    for (at, &x) in x.iter().enumerate() {
                        let found = rounded.value(row, unit * UNIT + at);
                        let steps = if digits == 1 { 127.0 } else { 32512.0 };
                        let allowed = f64::from(largest) / steps * 0.51 + 1e-30;
                        prop_assert!((found - f64::from(x)).abs() <= allowed, "{found} for {x} of {largest}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_number_that_is_not_finite_makes_its_products_so() {
        if !has_integers() {
            return;
        }
        let packed = any_blocks(BlockType::Q4_1, 16 * 2, 5);
        let matrix = Interleaved::new(&packed, BlockType::Q4_1, 16, 64, &Arena::default(), &|_| ())
            .expect("a layout");
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![1.0; 128];
            x[64 + 40] = bad;
            let mut out = vec![0.0; 32];
            let rounded = Activations::new(&x, 64, 2);
            // SAFETY: there is room for two rows of sixteen products.
            unsafe { multiply_interleaved(&matrix, (0, 1), &rounded, out.as_mut_ptr(), 16) };
            assert!(out[..16].iter().all(|value| value.is_finite()));
            assert!(out[16..].iter().all(|value| value.is_nan()));
        }
    }

    #[test]
    fn this_machine_tests_what_it_has() {
        let all = Instructions::available();
        assert!(all.contains(&Instructions::best()) && all[0] == Instructions::Portable);
    }
}
