//! Panels of thirty-two rows (`wide.rs`) times rows of activations, with AVX-512.

use std::arch::x86_64::*;

use super::wide::{Grouped, Number, ROWS, STEP, Wide};

/// How far ahead of their use weights are asked for, in bytes.
const AHEAD: usize = 3072;

/// Multiplies some panels with all activations: `out` has for each of them `stride` places, of which the first `rows` are
/// written.
///
/// # Safety
/// The processor has AVX-512F and, where activations are rounded, BF16. The activations have as many columns as the matrix,
/// and are rounded only where the weights are in bf16. `out` is valid for writes of `rows` floats from every multiple of
/// `stride` on, once for each row of activations; `rows` is no more than the panels have.
pub(super) unsafe fn multiply(
    matrix: &Wide,
    (from, count): (usize, usize),
    x: &Grouped,
    out: *mut f32,
    rows: usize,
    stride: usize,
) {
    let panels = matrix.some(from, count).chunks_exact(matrix.panel());
    for (index, panel) in panels.enumerate() {
        let left = (rows - index * ROWS).min(ROWS);
        let mask = (u64::MAX >> (64 - left)) as u32;
        for (first, count, words) in x.groups() {
            // SAFETY: the caller's conditions; the mask keeps what is beyond the last row from being written.
            unsafe {
                let place = (out.add(first * stride + index * ROWS), mask, stride);
                match (matrix.number(), x.rounded()) {
                    (Number::BF16, true) => rounded(panel, count, words, place),
                    (Number::BF16, false) => exact::<BF16>(panel, count, words, place),
                    (Number::F16, _) => exact::<F16>(panel, count, words, place),
                    (Number::F32, _) => exact::<F32>(panel, count, words, place),
                }
            }
        }
    }
}

/// Where products go: the first place, which of a panel's rows, and the distance of the rows of activations.
type Out = (*mut f32, u32, usize);

#[target_feature(enable = "avx512f")]
unsafe fn exact<F: Format>(panel: &[u8], count: usize, words: &[u32], out: Out) {
    // SAFETY: the caller's conditions.
    unsafe {
        match count {
            12 => group::<F, 12>(panel, words, out),
            8 => group::<F, 8>(panel, words, out),
            4 => group::<F, 4>(panel, words, out),
            2 => group::<F, 2>(panel, words, out),
            _ => group::<F, 1>(panel, words, out),
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn group<F: Format, const COUNT: usize>(panel: &[u8], words: &[u32], out: Out) {
    let mut sums = [[_mm512_setzero_ps(); 2]; COUNT];
    let mut place = panel.as_ptr();
    let mut x = words.as_ptr().cast::<f32>();
    // SAFETY: as many steps as the panel has, each of as many words of every row of activations as it has columns.
    unsafe {
        for _ in 0..panel.len() / STEP {
            ahead(place);
            let columns = F::load(place);
            place = place.add(STEP);
            for column in columns.as_ref() {
                for sums in &mut sums {
                    let value = _mm512_set1_ps(*x);
                    x = x.add(1);
                    sums[0] = _mm512_fmadd_ps(column[0], value, sums[0]);
                    sums[1] = _mm512_fmadd_ps(column[1], value, sums[1]);
                }
            }
        }
        store(sums, out);
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn rounded(panel: &[u8], count: usize, words: &[u32], out: Out) {
    // SAFETY: the caller's conditions.
    unsafe {
        match count {
            12 => rounded_group::<12>(panel, words, out),
            8 => rounded_group::<8>(panel, words, out),
            4 => rounded_group::<4>(panel, words, out),
            2 => rounded_group::<2>(panel, words, out),
            _ => rounded_group::<1>(panel, words, out),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn rounded_group<const COUNT: usize>(panel: &[u8], words: &[u32], out: Out) {
    let mut sums = [[_mm512_setzero_ps(); 2]; COUNT];
    let mut place = panel.as_ptr();
    let mut x = words.as_ptr().cast::<i32>();
    // SAFETY: as many steps as the panel has, each of one word of every row of activations.
    unsafe {
        for _ in 0..panel.len() / STEP {
            ahead(place);
            let low: __m512bh = std::mem::transmute(_mm512_loadu_si512(place.cast()));
            let high: __m512bh =
                std::mem::transmute(_mm512_loadu_si512(place.add(STEP / 2).cast()));
            place = place.add(STEP);
            for sums in &mut sums {
                let value: __m512bh = std::mem::transmute(_mm512_set1_epi32(*x));
                x = x.add(1);
                sums[0] = _mm512_dpbf16_ps(sums[0], low, value);
                sums[1] = _mm512_dpbf16_ps(sums[1], high, value);
            }
        }
        store(sums, out);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn ahead(place: *const u8) {
    // Asking for what is not there does nothing.
    _mm_prefetch::<_MM_HINT_T0>(place.wrapping_add(AHEAD).cast());
    _mm_prefetch::<_MM_HINT_T0>(place.wrapping_add(AHEAD + STEP / 2).cast());
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store<const COUNT: usize>(sums: [[__m512; 2]; COUNT], (out, mask, stride): Out) {
    for (index, [low, high]) in sums.into_iter().enumerate() {
        // SAFETY: the caller's conditions.
        unsafe {
            let out = out.add(index * stride);
            _mm512_mask_storeu_ps(out, mask as u16, low);
            _mm512_mask_storeu_ps(out.wrapping_add(ROWS / 2), (mask >> 16) as u16, high);
        }
    }
}

/// How a step is read.
trait Format {
    /// The columns of a step, each in two vectors.
    type Columns: AsRef<[[__m512; 2]]>;

    /// # Safety
    /// The pointer is to a step, and the processor has AVX-512F.
    unsafe fn load(place: *const u8) -> Self::Columns;
}

struct F32;

impl Format for F32 {
    type Columns = [[__m512; 2]; 1];

    #[inline(always)]
    unsafe fn load(place: *const u8) -> Self::Columns {
        // SAFETY: the caller's conditions.
        unsafe {
            [[
                _mm512_loadu_ps(place.cast()),
                _mm512_loadu_ps(place.add(STEP / 2).cast()),
            ]]
        }
    }
}

struct BF16;

impl Format for BF16 {
    type Columns = [[__m512; 2]; 2];

    #[inline(always)]
    unsafe fn load(place: *const u8) -> Self::Columns {
        // SAFETY: the caller's conditions.
        unsafe {
            let low = _mm512_loadu_si512(place.cast());
            let high = _mm512_loadu_si512(place.add(STEP / 2).cast());
            let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
            [
                [
                    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(low)),
                    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(high)),
                ],
                [
                    _mm512_castsi512_ps(_mm512_and_si512(low, upper)),
                    _mm512_castsi512_ps(_mm512_and_si512(high, upper)),
                ],
            ]
        }
    }
}

struct F16;

impl Format for F16 {
    type Columns = [[__m512; 2]; 2];

    #[inline(always)]
    unsafe fn load(place: *const u8) -> Self::Columns {
        // SAFETY: the caller's conditions.
        unsafe {
            let low = _mm512_loadu_si512(place.cast());
            let high = _mm512_loadu_si512(place.add(STEP / 2).cast());
            [
                [
                    _mm512_cvtph_ps(_mm512_cvtepi32_epi16(low)),
                    _mm512_cvtph_ps(_mm512_cvtepi32_epi16(high)),
                ],
                [
                    _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(low))),
                    _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(high))),
                ],
            ]
        }
    }
}
