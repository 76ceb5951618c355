//! The inner loops in plain Rust, for any processor.

use super::span;
use crate::quantised::BlockType;

/// Elements of the largest block.
const LARGEST: usize = 256;

/// See [`super::Instructions::multiply`].
pub(super) fn multiply(format: BlockType, rows: &[u8], x: &[f32], out: &mut [f32]) {
    let (elements, bytes) = span(format);
    let row_bytes = x.len() / elements * bytes;
    if row_bytes == 0 {
        return out.fill(0.0);
    }
    for (row, out) in rows.chunks_exact(row_bytes).zip(out) {
        // Several sums side by side, which the compiler can keep in one vector.
        let mut sums = [0f32; 8];
        let mut weights = [0f32; LARGEST];
        let weights = &mut weights[..elements];
        for (packed, x) in row.chunks_exact(bytes).zip(x.chunks_exact(elements)) {
            format.expand_into(packed, weights);
            for (w, x) in weights.chunks_exact(8).zip(x.chunks_exact(8)) {
                for lane in 0..8 {
                    sums[lane] += w[lane] * x[lane];
                }
            }
        }
        *out = sums.iter().sum();
    }
}
