//! The inner loops in plain Rust, for any processor.

use super::{BLOCK, Packing};

/// See [`super::Instructions::multiply`].
pub(super) fn multiply(format: Packing, rows: &[u8], x: &[f32], out: &mut [f32]) {
    let row_bytes = x.len() / BLOCK * format.block_bytes();
    if row_bytes == 0 {
        return out.fill(0.0);
    }
    for (row, out) in rows.chunks_exact(row_bytes).zip(out) {
        // Several sums side by side, which the compiler can keep in one vector.
        let mut sums = [0f32; 8];
        let mut weights = [0f32; BLOCK];
        let blocks = row.chunks_exact(format.block_bytes());
        for (packed, x) in blocks.zip(x.chunks_exact(BLOCK)) {
            expand(format, packed, &mut weights);
            for (w, x) in weights.chunks_exact(8).zip(x.chunks_exact(8)) {
                for lane in 0..8 {
                    sums[lane] += w[lane] * x[lane];
                }
            }
        }
        *out = sums.iter().sum();
    }
}

/// See [`super::Instructions::expand`].
pub(super) fn expand(format: Packing, packed: &[u8], out: &mut [f32]) {
    format.block_type().expand_into(packed, out);
}
