//! The inner loops with 512-bit vectors.
//!
//! A 4-bit block has only sixteen different weights: they are computed once per block, as one vector, and every nibble
//! picks its own by a permutation, which looks at the lowest four bits of its index alone.

use std::arch::x86_64::*;

use super::BLOCK;
use crate::quantised::BlockType;

/// How far ahead of their use weights are asked for, in bytes.
const AHEAD: usize = 1024;

/// See [`super::Instructions::multiply`]. False where there is no loop for the format.
///
/// # Safety
/// The processor has AVX-512F, AVX2, FMA and F16C; `rows` holds `out.len()` packed rows of `x.len()` elements, a
/// multiple of [`BLOCK`].
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
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

/// See [`super::Instructions::expand`]. False where there is no loop for the format.
///
/// # Safety
/// The processor has AVX-512F, AVX2, FMA and F16C; `out` has [`BLOCK`] places for every 32 packed elements.
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub(super) unsafe fn expand(format: BlockType, packed: &[u8], out: &mut [f32]) -> bool {
    // SAFETY: the same conditions.
    unsafe {
        match format {
            BlockType::Q8_0 => expand_with::<34>(packed, out, |p| q8_0(p)),
            BlockType::Q4_0 => expand_with::<18>(packed, out, |p| q4_0(p)),
            BlockType::Q4_1 => expand_with::<20>(packed, out, |p| q4_1(p)),
            BlockType::F32 => expand_with::<128>(packed, out, |p| float(p)),
            BlockType::F16 => expand_with::<64>(packed, out, |p| half(p)),
            BlockType::BF16 => expand_with::<64>(packed, out, |p| brain(p)),
            _ => return false,
        }
    }
    true
}

#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn expand_with<const BYTES: usize>(
    packed: &[u8],
    out: &mut [f32],
    weights: impl Fn(*const u8) -> (__m512, __m512),
) {
    let places = out.chunks_exact_mut(BLOCK);
    for (block, out) in packed.chunks_exact(BYTES).zip(places) {
        let (low, high) = weights(block.as_ptr());
        // SAFETY: `out` is 32 floats.
        unsafe {
            _mm512_storeu_ps(out.as_mut_ptr(), low);
            _mm512_storeu_ps(out.as_mut_ptr().add(16), high);
        }
    }
}

/// 32 singles.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn float(from: *const u8) -> (__m512, __m512) {
    // SAFETY: the caller's pointer is to them.
    unsafe {
        (
            _mm512_loadu_ps(from.cast()),
            _mm512_loadu_ps(from.add(64).cast()),
        )
    }
}

/// 32 halves.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn half(from: *const u8) -> (__m512, __m512) {
    // SAFETY: the caller's pointer is to them.
    let wide = |at: usize| _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(from.add(at).cast()) });
    (wide(0), wide(32))
}

/// 32 upper halves of singles.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn brain(from: *const u8) -> (__m512, __m512) {
    let wide = |at: usize| {
        // SAFETY: the caller's pointer is to them.
        let sixteen = unsafe { _mm256_loadu_si256(from.add(at).cast()) };
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(sixteen)))
    };
    (wide(0), wide(32))
}

/// One row after the other, so that the weights are one stream from memory.
#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn multiply_with<const BYTES: usize>(
    rows: &[u8],
    x: &[f32],
    out: &mut [f32],
    weights: impl Fn(*const u8) -> (__m512, __m512),
) {
    let mut block = rows.as_ptr();
    for out in out {
        let (mut low, mut high) = (_mm512_setzero_ps(), _mm512_setzero_ps());
        for x in x.as_chunks::<BLOCK>().0 {
            _mm_prefetch::<_MM_HINT_T0>(block.wrapping_add(AHEAD).cast());
            let (w_low, w_high) = weights(block);
            // SAFETY: `x` is a whole block of floats.
            unsafe {
                low = _mm512_fmadd_ps(w_low, _mm512_loadu_ps(x.as_ptr()), low);
                high = _mm512_fmadd_ps(w_high, _mm512_loadu_ps(x.as_ptr().add(16)), high);
                // SAFETY: by the caller's lengths, at most one past the last block.
                block = block.add(BYTES);
            }
        }
        *out = _mm512_reduce_add_ps(_mm512_add_ps(low, high));
    }
}

/// The 32 weights of a Q4_1 block: d x q + m. The product is exact in f32, so that fusing does not change it.
#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn q4_1(block: *const u8) -> (__m512, __m512) {
    // SAFETY: the caller's pointer is to a whole block.
    unsafe {
        let halves = _mm_cvtph_ps(_mm_cvtsi32_si128(block.cast::<i32>().read_unaligned()));
        let (d, m) = (
            _mm512_broadcastss_ps(halves),
            _mm512_broadcastss_ps(_mm_movehdup_ps(halves)),
        );
        pick(block.add(4), _mm512_fmadd_ps(count_from(0.0), d, m))
    }
}

/// The 32 weights of a Q4_0 block: d x (q - 8).
#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn q4_0(block: *const u8) -> (__m512, __m512) {
    // SAFETY: the caller's pointer is to a whole block.
    unsafe {
        pick(
            block.add(2),
            _mm512_mul_ps(count_from(-8.0), scale_at(block)),
        )
    }
}

/// The 32 weights of a Q8_0 block: d x q.
#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn q8_0(block: *const u8) -> (__m512, __m512) {
    // SAFETY: the caller's pointer is to a whole block.
    unsafe {
        let d = scale_at(block);
        let wide = |at: usize| {
            let bytes = _mm_loadu_si128(block.add(at).cast());
            _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)), d)
        };
        (wide(2), wide(18))
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn scale_at(block: *const u8) -> __m512 {
    // SAFETY: the caller's pointer is to a whole block, which is longer than its scale.
    let bits = unsafe { block.cast::<u16>().read_unaligned() };
    _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(bits.into())))
}

/// `first`, `first` + 1, ... `first` + 15.
#[inline]
#[target_feature(enable = "avx512f")]
fn count_from(first: f32) -> __m512 {
    let counted = _mm512_setr_ps(
        0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0,
    );
    _mm512_add_ps(counted, _mm512_set1_ps(first))
}

/// For each of 16 bytes the entries that its low and its high nibble name.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn pick(bytes: *const u8, table: __m512) -> (__m512, __m512) {
    // SAFETY: the caller's pointer is to 16 bytes.
    let wide = _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(bytes.cast()) });
    let low = _mm512_permutexvar_ps(wide, table);
    let high = _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(wide), table);
    (low, high)
}
