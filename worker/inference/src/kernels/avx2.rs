//! The inner loops with 256-bit vectors, fused multiplication and conversion from half precision.

use std::arch::x86_64::*;

use super::BLOCK;
use crate::quantised::BlockType;

/// See [`super::Instructions::multiply`]. False where there is no loop for the format.
///
/// # Safety
/// The processor has AVX2, FMA and F16C; `rows` holds `out.len()` packed rows of `x.len()` elements, a multiple of
/// [`BLOCK`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn multiply(format: BlockType, rows: &[u8], x: &[f32], out: &mut [f32]) -> bool {
    // SAFETY: the same conditions.
    unsafe {
        match format {
            BlockType::Q8_0 => multiply_with::<34>(rows, x, out, |p| q8_0(p)),
            BlockType::Q4_0 => multiply_with::<18>(rows, x, out, |p| q4_0(p)),
            BlockType::Q4_1 => multiply_with::<20>(rows, x, out, |p| q4_1(p)),
            BlockType::F32 => multiply_with::<128>(rows, x, out, |p| float(p)),
            BlockType::F16 => multiply_with::<64>(rows, x, out, |p| half(p)),
            BlockType::BF16 => multiply_with::<64>(rows, x, out, |p| brain(p)),
            _ => return false,
        }
    }
    true
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn multiply_with<const BYTES: usize>(
    rows: &[u8],
    x: &[f32],
    out: &mut [f32],
    weights: impl Fn(*const u8) -> [__m256; 4],
) {
    let blocks = x.len() / BLOCK;
    let mut block = rows.as_ptr();
    for out in out {
        let mut sums = [_mm256_setzero_ps(); 4];
        for index in 0..blocks {
            // SAFETY: the caller's lengths: this block of the row and of `x` exists.
            unsafe {
                let x = x.as_ptr().add(index * BLOCK);
                for (part, (sum, w)) in sums.iter_mut().zip(weights(block)).enumerate() {
                    *sum = _mm256_fmadd_ps(w, _mm256_loadu_ps(x.add(part * 8)), *sum);
                }
                block = block.add(BYTES);
            }
        }
        let halves = _mm256_add_ps(
            _mm256_add_ps(sums[0], sums[1]),
            _mm256_add_ps(sums[2], sums[3]),
        );
        let four = _mm_add_ps(
            _mm256_castps256_ps128(halves),
            _mm256_extractf128_ps::<1>(halves),
        );
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        *out = _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
    }
}

/// The 32 weights of a Q4_1 block: d x q + m.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn q4_1(block: *const u8) -> [__m256; 4] {
    // SAFETY: the caller's pointer is to a whole block.
    unsafe {
        let halves = _mm_cvtph_ps(_mm_cvtsi32_si128(block.cast::<i32>().read_unaligned()));
        let (d, m) = (
            _mm256_broadcastss_ps(halves),
            _mm256_broadcastss_ps(_mm_movehdup_ps(halves)),
        );
        nibbles(block.add(4)).map(|q| _mm256_fmadd_ps(q, d, m))
    }
}

/// The 32 weights of a Q4_0 block: d x (q - 8).
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn q4_0(block: *const u8) -> [__m256; 4] {
    // SAFETY: the caller's pointer is to a whole block.
    unsafe {
        let (d, eight) = (scale_at(block), _mm256_set1_ps(8.0));
        nibbles(block.add(2)).map(|q| _mm256_mul_ps(_mm256_sub_ps(q, eight), d))
    }
}

/// The 32 weights of a Q8_0 block: d x q.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn q8_0(block: *const u8) -> [__m256; 4] {
    // SAFETY: the caller's pointer is to a whole block.
    unsafe {
        let d = scale_at(block);
        [2, 10, 18, 26].map(|at: usize| {
            let bytes = _mm_loadl_epi64(block.add(at).cast());
            _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)), d)
        })
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn scale_at(block: *const u8) -> __m256 {
    // SAFETY: the caller's pointer is to a whole block, which is longer than its scale.
    let bits = unsafe { block.cast::<u16>().read_unaligned() };
    _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(bits.into())))
}

/// The low nibbles of 16 bytes, then the high ones, as floats.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn nibbles(bytes: *const u8) -> [__m256; 4] {
    // SAFETY: the caller's pointer is to 16 bytes.
    let bytes = unsafe { _mm_loadu_si128(bytes.cast()) };
    let mask = _mm_set1_epi8(15);
    let low = _mm_and_si128(bytes, mask);
    let high = _mm_and_si128(_mm_srli_epi16::<4>(bytes), mask);
    let float = |eight: __m128i| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(eight));
    [
        float(low),
        float(_mm_srli_si128::<8>(low)),
        float(high),
        float(_mm_srli_si128::<8>(high)),
    ]
}

/// Four vectors of singles.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn float(from: *const u8) -> [__m256; 4] {
    // SAFETY: the caller's pointer is to 32 singles.
    [0, 32, 64, 96].map(|at: usize| unsafe { _mm256_loadu_ps(from.add(at).cast()) })
}

/// Four vectors of halves.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn half(from: *const u8) -> [__m256; 4] {
    // SAFETY: the caller's pointer is to 32 halves.
    [0, 16, 32, 48]
        .map(|at: usize| unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.add(at).cast())) })
}

/// Four vectors of upper halves of singles.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn brain(from: *const u8) -> [__m256; 4] {
    [0, 16, 32, 48].map(|at: usize| {
        // SAFETY: the caller's pointer is to 32 of them.
        let eight = unsafe { _mm_loadu_si128(from.add(at).cast()) };
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(eight)))
    })
}
