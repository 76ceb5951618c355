//! The inner loops over packed weights: rows times a vector, and expansion to f32.
//!
//! Weights are expanded in registers and multiplied in f32, so that a result differs from libtorch's on the expanded
//! weights by the order of summation alone, while a token reads a seventh of the bytes. Decoding is bound by those bytes.
//! One file per instruction set; the best that the processor has is chosen when the program runs.

use std::sync::OnceLock;

use crate::quantised::BlockType;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

/// Elements of a packed block; every format here has the same.
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
    /// Panics unless the rows are whole blocks and as many as `out` has places.
    pub(crate) fn multiply(self, format: Packing, rows: &[u8], x: &[f32], out: &mut [f32]) {
        assert_eq!(x.len() % BLOCK, 0);
        assert_eq!(
            rows.len(),
            out.len() * (x.len() / BLOCK) * format.block_bytes()
        );
        match self {
            Self::Portable => portable::multiply(format, rows, x, out),
            // SAFETY: the lengths were checked, and this value exists only where the instructions do.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::multiply(format, rows, x, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512::multiply(format, rows, x, out) },
        }
    }

    /// Expands whole blocks to f32, exactly as [`BlockType::expand`] does.
    ///
    /// Panics unless `out` has a place for every element.
    pub(crate) fn expand(self, format: Packing, packed: &[u8], out: &mut [f32]) {
        assert_eq!(packed.len() % format.block_bytes(), 0);
        assert_eq!(out.len(), packed.len() / format.block_bytes() * BLOCK);
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the lengths were checked, and this value exists only where the instructions do.
            Self::Avx512 => unsafe { avx512::expand(format, packed, out) },
            // Expansion is for whole prompts, where the multiplication that follows takes most of the time.
            _ => portable::expand(format, packed, out),
        }
    }
}

/// The formats that these loops read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Q8_0,
    Q4_0,
    Q4_1,
}

impl Packing {
    /// The packing of a block type, if these loops read it.
    pub(crate) fn of(block_type: BlockType) -> Option<Self> {
        match block_type {
            BlockType::Q8_0 => Some(Self::Q8_0),
            BlockType::Q4_0 => Some(Self::Q4_0),
            BlockType::Q4_1 => Some(Self::Q4_1),
            _ => None,
        }
    }

    /// Its block type.
    pub(crate) fn block_type(self) -> BlockType {
        match self {
            Self::Q8_0 => BlockType::Q8_0,
            Self::Q4_0 => BlockType::Q4_0,
            Self::Q4_1 => BlockType::Q4_1,
        }
    }

    /// Bytes of one block.
    pub(crate) fn block_bytes(self) -> usize {
        self.block_type().bytes_per_block()
    }
}

#[cfg(test)]
mod tests {
    use half::f16;
    use proptest::prelude::*;

    use super::*;
    use crate::noise::normals;
    use crate::philox::{Domain, block};

    const ALL: [Packing; 3] = [Packing::Q8_0, Packing::Q4_0, Packing::Q4_1];

    /// Blocks with scales and minima such as models have, and any quants.
    fn packed(format: Packing, blocks: usize, seed: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for index in 0..blocks as u64 {
            let words: Vec<u32> = (0..4)
                .flat_map(|part| block(seed, Domain::Token, part, index))
                .collect();
            let unit = |word: u32| word as f32 / u32::MAX as f32 - 0.5;
            let scale = f16::from_f32(unit(words[0]) * 0.02);
            bytes.extend(scale.to_le_bytes());
            if format == Packing::Q4_1 {
                bytes.extend(f16::from_f32(unit(words[1]) * 0.2).to_le_bytes());
            }
            let quants = if format == Packing::Q8_0 { 32 } else { 16 };
            let noise = words.iter().flat_map(|word| word.to_le_bytes());
            bytes.extend(noise.skip(8).take(quants));
        }
        bytes
    }

    proptest! {
        #[test]
        fn rows_times_a_vector_are_the_same_by_every_instruction_set(
            seed: u64, rows in 0usize..9, blocks in 1usize..20, format in 0usize..3,
        ) {
            let format = ALL[format];
            let weights = packed(format, rows * blocks, seed);
            let x = normals(seed, Domain::ImageLatent, 0, blocks * BLOCK);
            let plain = format.block_type().expand(&weights);
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
        fn expansion_is_the_same_to_the_bit_by_every_instruction_set(seed: u64, blocks in 0usize..9, format in 0usize..3) {
            let format = ALL[format];
            let weights = packed(format, blocks, seed);
            let plain: Vec<u32> = format.block_type().expand(&weights).into_iter().map(f32::to_bits).collect();
            for instructions in Instructions::available() {
                let mut out = vec![f32::NAN; blocks * BLOCK];
                instructions.expand(format, &weights, &mut out);
                let bits: Vec<u32> = out.into_iter().map(f32::to_bits).collect();
                prop_assert_eq!(&bits, &plain, "{:?}", instructions);
            }
        }
    }

    #[test]
    fn this_machine_tests_what_it_has() {
        let all = Instructions::available();
        assert!(all.contains(&Instructions::best()) && all[0] == Instructions::Portable);
    }
}
