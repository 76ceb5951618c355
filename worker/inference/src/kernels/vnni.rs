//! Products in 8-bit integers with AVX-512's VNNI instructions: panels of sixteen rows (`interleaved.rs`) times rows of
//! activations that were rounded to one or two signed bytes.
//!
//! `vpdpbusd` adds four products of unsigned by signed bytes to each of sixteen sums: one instruction takes four columns of
//! sixteen rows further. Sums of a unit's 32 columns stay below 2^31 exactly; then they are scaled and added up in f32.

use std::arch::x86_64::*;

use super::activations::{Activations, Unit};
use super::interleaved::{Interleaved, Layout, ROWS, UNIT};

/// How far ahead of their use weights are asked for, in bytes.
const AHEAD: usize = 3072;

/// Multiplies some panels with all activations: `out` has for each of them `stride` places, of which the first `rows` are
/// written.
///
/// # Safety
/// The processor has AVX-512F, BW, VL and VNNI. The activations have as many columns as the matrix. `out` is valid for
/// writes of `rows` floats from every multiple of `stride` on, once for each row of activations; `rows` is no more than
/// the panels have.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn multiply(
    matrix: &Interleaved,
    (from, count): (usize, usize),
    x: &Activations,
    out: *mut f32,
    rows: usize,
    stride: usize,
) {
    let panels = matrix.some(from, count);
    let columns = matrix.columns();
    // SAFETY: the same conditions.
    unsafe {
        match matrix.layout() {
            Layout::Four => every::<Four>(panels, columns, x, out, rows, stride),
            Layout::Five => every::<Five>(panels, columns, x, out, rows, stride),
            Layout::Eight => every::<Eight>(panels, columns, x, out, rows, stride),
            Layout::FourOfHead => every::<FourOfHead>(panels, columns, x, out, rows, stride),
            Layout::FiveOfHead => every::<FiveOfHead>(panels, columns, x, out, rows, stride),
            Layout::SixOfHead => every::<SixOfHead>(panels, columns, x, out, rows, stride),
        }
    }
}

/// The panels one after the other, each with all rows of activations.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn every<F: Format>(
    panels: &[u8],
    columns: usize,
    x: &Activations,
    out: *mut f32,
    rows: usize,
    stride: usize,
) {
    for (index, panel) in panels.chunks_exact(F::LAYOUT.panel(columns)).enumerate() {
        let left = rows - index * ROWS;
        let mask = if left >= ROWS {
            0xffff
        } else {
            (1u16 << left) - 1
        };
        // SAFETY: the caller's conditions; the mask keeps what is beyond the last row from being written.
        unsafe {
            let out = out.add(index * ROWS);
            match x.digits() {
                1 => rows_of_activations::<F, 1, 8>(panel, columns, x, out, mask, stride),
                _ => rows_of_activations::<F, 2, 4>(panel, columns, x, out, mask, stride),
            }
        }
    }
}

/// All rows of activations, at most `MOST` at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn rows_of_activations<F: Format, const DIGITS: usize, const MOST: usize>(
    panel: &[u8],
    columns: usize,
    x: &Activations,
    out: *mut f32,
    mask: u16,
    stride: usize,
) {
    let count = x.rows();
    let mut at = 0;
    // SAFETY: the caller's conditions, and no more rows than there are.
    unsafe {
        while at < count {
            let out = out.add(at * stride);
            at += match count - at {
                left if left >= MOST => {
                    tile::<F, DIGITS, MOST>(panel, columns, x, at, out, mask, stride);
                    MOST
                }
                left if left >= 4 => {
                    tile::<F, DIGITS, 4>(panel, columns, x, at, out, mask, stride);
                    4
                }
                left if left >= 2 => {
                    tile::<F, DIGITS, 2>(panel, columns, x, at, out, mask, stride);
                    2
                }
                _ => {
                    tile::<F, DIGITS, 1>(panel, columns, x, at, out, mask, stride);
                    1
                }
            };
        }
    }
}

/// One panel times `COUNT` rows of activations from `at` on.
#[inline]
#[expect(
    clippy::needless_range_loop,
    reason = "counted loops are unrolled, so that the arrays are registers"
)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile<F: Format, const DIGITS: usize, const COUNT: usize>(
    panel: &[u8],
    columns: usize,
    x: &Activations,
    at: usize,
    out: *mut f32,
    mask: u16,
    stride: usize,
) {
    // For each row of activations where its digits lie, and the scales of its units.
    let digits: [[*const i8; DIGITS]; COUNT] =
        std::array::from_fn(|row| std::array::from_fn(|digit| x.digit(at + row, digit)));
    let scales: [*const Unit; COUNT] = std::array::from_fn(|row| x.units(at + row));
    let mut sums = [_mm512_setzero_ps(); COUNT];
    let mut place = panel.as_ptr();
    // SAFETY: the panel has so many units and their heads, and the activations as many columns.
    unsafe {
        let mut head = F::head(place);
        for unit in 0..columns / UNIT {
            if F::LAYOUT.head() > 0 && unit % 8 == 0 {
                head = F::head(place);
                place = place.add(F::LAYOUT.head());
            }
            for line in 0..F::LAYOUT.unit().div_ceil(64) {
                _mm_prefetch::<_MM_HINT_T0>(place.wrapping_add(AHEAD + 64 * line).cast());
            }
            // For each row of activations and each of its digits the low and the high half of the unit.
            let mut dots = [[[_mm512_setzero_si512(); 2]; DIGITS]; COUNT];
            let from = unit * UNIT;
            macro_rules! chunk {
                ($chunk:literal) => {
                    let (low, high) = F::chunk(place, $chunk);
                    for row in 0..COUNT {
                        for digit in 0..DIGITS {
                            let x = digits[row][digit].add(from).cast::<i32>();
                            let a = _mm512_set1_epi32(x.add($chunk).read_unaligned());
                            let b = _mm512_set1_epi32(x.add(4 + $chunk).read_unaligned());
                            let dots = &mut dots[row][digit];
                            dots[0] = _mm512_dpbusd_epi32(dots[0], low, a);
                            dots[1] = _mm512_dpbusd_epi32(dots[1], high, b);
                        }
                    }
                };
            }
            chunk!(0);
            chunk!(1);
            chunk!(2);
            chunk!(3);
            let (factors, minimum) = F::scales(place, head);
            for row in 0..COUNT {
                let &(scale, totals) = &*scales[row].add(unit);
                let scale = _mm512_set1_ps(scale);
                let [low, high] = match DIGITS {
                    1 => dots[row][0],
                    _ => {
                        let [upper, lower] = [dots[row][0], dots[row][DIGITS - 1]];
                        [0, 1].map(|half: usize| {
                            _mm512_add_epi32(_mm512_slli_epi32::<8>(upper[half]), lower[half])
                        })
                    }
                };
                let sum = match factors {
                    Pair::Same(factor) => {
                        let dot = _mm512_cvtepi32_ps(_mm512_add_epi32(low, high));
                        _mm512_fmadd_ps(dot, _mm512_mul_ps(factor, scale), sums[row])
                    }
                    Pair::Halves(a, b) => {
                        let (low, high) = (_mm512_cvtepi32_ps(low), _mm512_cvtepi32_ps(high));
                        let dot = _mm512_fmadd_ps(high, b, _mm512_mul_ps(low, a));
                        _mm512_fmadd_ps(dot, scale, sums[row])
                    }
                };
                sums[row] = match minimum {
                    Pair::Same(minimum) => {
                        _mm512_fmadd_ps(minimum, _mm512_set1_ps(totals[0] + totals[1]), sum)
                    }
                    Pair::Halves(a, b) => {
                        let sum = _mm512_fmadd_ps(a, _mm512_set1_ps(totals[0]), sum);
                        _mm512_fmadd_ps(b, _mm512_set1_ps(totals[1]), sum)
                    }
                };
            }
            place = place.add(F::LAYOUT.unit());
        }
        for row in 0..COUNT {
            _mm512_mask_storeu_ps(out.add(row * stride), mask, sums[row]);
        }
    }
}

/// Numbers for sixteen rows: for a whole unit, or for each of its halves.
#[derive(Clone, Copy)]
enum Pair {
    Same(__m512),
    Halves(__m512, __m512),
}

/// How a layout is read.
trait Format {
    const LAYOUT: Layout;
    type Head: Copy;

    /// What precedes eight units.
    ///
    /// # Safety
    /// The pointer is to a head, or, for layouts without any, to anything.
    unsafe fn head(place: *const u8) -> Self::Head;

    /// Columns 4c to 4c + 3 and 16 + 4c to 16 + 4c + 3 of all rows, as unsigned bytes.
    ///
    /// # Safety
    /// The pointer is to a unit, and the chunk below 4.
    unsafe fn chunk(place: *const u8, chunk: usize) -> (__m512i, __m512i);

    /// A weight is its integer times the scale plus the minimum.
    ///
    /// # Safety
    /// The pointer is to a unit.
    unsafe fn scales(place: *const u8, head: Self::Head) -> (Pair, Pair);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn nibbles(place: *const u8, chunk: usize) -> (__m512i, __m512i) {
    // SAFETY: the caller's pointer is to a unit.
    let both = unsafe { _mm512_loadu_si512(place.add(64 * chunk).cast()) };
    let mask = _mm512_set1_epi8(15);
    (
        _mm512_and_si512(both, mask),
        _mm512_and_si512(_mm512_srli_epi16::<4>(both), mask),
    )
}

/// Nibbles and a plane of further bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn with_bit(
    place: *const u8,
    chunk: usize,
    bit: usize,
    (low, high): (__m512i, __m512i),
) -> (__m512i, __m512i) {
    // SAFETY: the caller's pointer is to a unit that has this plane.
    let masks = unsafe {
        let at = place.add(256 + 64 * bit + 16 * chunk).cast::<u64>();
        (at.read_unaligned(), at.add(1).read_unaligned())
    };
    let value = _mm512_set1_epi8(16 << bit);
    (
        _mm512_mask_add_epi8(low, masks.0, low, value),
        _mm512_mask_add_epi8(high, masks.1, high, value),
    )
}

/// Sixteen halves.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn halves(place: *const u8) -> __m512 {
    // SAFETY: the caller's pointer is to sixteen of them.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(place.cast()) })
}

/// Sixteen unsigned bytes.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn unsigned(place: *const u8) -> __m512 {
    // SAFETY: the caller's pointer is to sixteen of them.
    _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(unsafe {
        _mm_loadu_si128(place.cast())
    }))
}

/// Sixteen signed bytes.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn signed(place: *const u8) -> __m512 {
    // SAFETY: the caller's pointer is to sixteen of them.
    _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(unsafe {
        _mm_loadu_si128(place.cast())
    }))
}

/// Scale and minimum of sixteen rows, in half precision.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn plain_scales(place: *const u8) -> (Pair, Pair) {
    // SAFETY: the caller's pointer is to them.
    unsafe {
        (
            Pair::Same(halves(place)),
            Pair::Same(halves(place.add(2 * ROWS))),
        )
    }
}

/// Scale and minimum of sixteen rows, in units of the head's.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn scales_of_head(place: *const u8, (d, dmin): (__m512, __m512)) -> (Pair, Pair) {
    // SAFETY: the caller's pointer is to them.
    unsafe {
        let minimum = _mm512_mul_ps(dmin, unsigned(place.add(ROWS)));
        (
            Pair::Same(_mm512_mul_ps(d, unsigned(place))),
            Pair::Same(_mm512_sub_ps(_mm512_setzero_ps(), minimum)),
        )
    }
}

struct Four;

impl Format for Four {
    const LAYOUT: Layout = Layout::Four;
    type Head = ();

    #[inline(always)]
    unsafe fn head(_: *const u8) {}

    #[inline(always)]
    unsafe fn chunk(place: *const u8, chunk: usize) -> (__m512i, __m512i) {
        // SAFETY: the caller's conditions.
        unsafe { nibbles(place, chunk) }
    }

    #[inline(always)]
    unsafe fn scales(place: *const u8, (): ()) -> (Pair, Pair) {
        // SAFETY: the caller's conditions.
        unsafe { plain_scales(place.add(Self::LAYOUT.quants())) }
    }
}

struct Five;

impl Format for Five {
    const LAYOUT: Layout = Layout::Five;
    type Head = ();

    #[inline(always)]
    unsafe fn head(_: *const u8) {}

    #[inline(always)]
    unsafe fn chunk(place: *const u8, chunk: usize) -> (__m512i, __m512i) {
        // SAFETY: the caller's conditions.
        unsafe { with_bit(place, chunk, 0, nibbles(place, chunk)) }
    }

    #[inline(always)]
    unsafe fn scales(place: *const u8, (): ()) -> (Pair, Pair) {
        // SAFETY: the caller's conditions.
        unsafe { plain_scales(place.add(Self::LAYOUT.quants())) }
    }
}

struct Eight;

impl Format for Eight {
    const LAYOUT: Layout = Layout::Eight;
    type Head = ();

    #[inline(always)]
    unsafe fn head(_: *const u8) {}

    #[inline(always)]
    unsafe fn chunk(place: *const u8, chunk: usize) -> (__m512i, __m512i) {
        // SAFETY: the caller's conditions.
        unsafe {
            (
                _mm512_loadu_si512(place.add(64 * chunk).cast()),
                _mm512_loadu_si512(place.add(64 * (4 + chunk)).cast()),
            )
        }
    }

    #[inline(always)]
    unsafe fn scales(place: *const u8, (): ()) -> (Pair, Pair) {
        // SAFETY: the caller's conditions.
        unsafe { lowered(halves(place.add(Self::LAYOUT.quants())), 128.0) }
    }
}

/// Integers that are too high by a number.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn lowered(scale: __m512, by: f32) -> (Pair, Pair) {
    let minimum = _mm512_mul_ps(scale, _mm512_set1_ps(-by));
    (Pair::Same(scale), Pair::Same(minimum))
}

struct FourOfHead;

impl Format for FourOfHead {
    const LAYOUT: Layout = Layout::FourOfHead;
    type Head = (__m512, __m512);

    #[inline(always)]
    unsafe fn head(place: *const u8) -> Self::Head {
        // SAFETY: the caller's conditions.
        unsafe { (halves(place), halves(place.add(2 * ROWS))) }
    }

    #[inline(always)]
    unsafe fn chunk(place: *const u8, chunk: usize) -> (__m512i, __m512i) {
        // SAFETY: the caller's conditions.
        unsafe { nibbles(place, chunk) }
    }

    #[inline(always)]
    unsafe fn scales(place: *const u8, head: Self::Head) -> (Pair, Pair) {
        // SAFETY: the caller's conditions.
        unsafe { scales_of_head(place.add(Self::LAYOUT.quants()), head) }
    }
}

struct FiveOfHead;

impl Format for FiveOfHead {
    const LAYOUT: Layout = Layout::FiveOfHead;
    type Head = (__m512, __m512);

    #[inline(always)]
    unsafe fn head(place: *const u8) -> Self::Head {
        // SAFETY: the caller's conditions.
        unsafe { FourOfHead::head(place) }
    }

    #[inline(always)]
    unsafe fn chunk(place: *const u8, chunk: usize) -> (__m512i, __m512i) {
        // SAFETY: the caller's conditions.
        unsafe { with_bit(place, chunk, 0, nibbles(place, chunk)) }
    }

    #[inline(always)]
    unsafe fn scales(place: *const u8, head: Self::Head) -> (Pair, Pair) {
        // SAFETY: the caller's conditions.
        unsafe { scales_of_head(place.add(Self::LAYOUT.quants()), head) }
    }
}

struct SixOfHead;

impl Format for SixOfHead {
    const LAYOUT: Layout = Layout::SixOfHead;
    type Head = __m512;

    #[inline(always)]
    unsafe fn head(place: *const u8) -> Self::Head {
        // SAFETY: the caller's conditions.
        unsafe { halves(place) }
    }

    #[inline(always)]
    unsafe fn chunk(place: *const u8, chunk: usize) -> (__m512i, __m512i) {
        // SAFETY: the caller's conditions.
        unsafe {
            let five = with_bit(place, chunk, 0, nibbles(place, chunk));
            with_bit(place, chunk, 1, five)
        }
    }

    #[inline(always)]
    unsafe fn scales(place: *const u8, head: Self::Head) -> (Pair, Pair) {
        // SAFETY: the caller's conditions.
        unsafe {
            let place = place.add(Self::LAYOUT.quants());
            let low = _mm512_mul_ps(head, signed(place));
            let high = _mm512_mul_ps(head, signed(place.add(ROWS)));
            let lowered = _mm512_set1_ps(-32.0);
            (
                Pair::Halves(low, high),
                Pair::Halves(_mm512_mul_ps(low, lowered), _mm512_mul_ps(high, lowered)),
            )
        }
    }
}
