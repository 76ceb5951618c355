//! Attention of a few queries at a time with 512-bit vectors; `steps.rs` says what is computed.

use std::arch::x86_64::*;

use std::ops::Range;

use super::steps::{LANES, Seen};

/// Vectors of columns whose values are mixed at a time.
const COLUMNS: usize = 4;

/// See [`super::steps::attend`].
///
/// # Safety
/// The processor has AVX-512F. `queries` and `out` hold as many heads of `seen.width` numbers as there are ranges. The pages
/// are inside the keys and the values, and the ranges, none of them empty, inside the pages.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn attend(
    queries: &[f32],
    ranges: &[Range<usize>],
    seen: &Seen<'_>,
    scale: f32,
    cap: Option<f32>,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let width = seen.width;
    let (mut queries, mut out) = (queries.as_ptr(), out.as_mut_ptr());
    for ranges in ranges.chunks(6) {
        let from = ranges.iter().map(|range| range.start).min().unwrap_or(0);
        let to = ranges.iter().map(|range| range.end).max().unwrap_or(0);
        let all = from..to;
        let pages = from / LANES..to.div_ceil(LANES);
        let room = pages.len() * LANES;
        scores.clear();
        scores.resize(ranges.len() * room, 0.0);
        let scores = scores.as_mut_ptr();
        // SAFETY: the caller's conditions; there is room for the scores of all pages.
        unsafe {
            match ranges.len() {
                6 => few::<6>(queries, ranges, all, seen, scale, cap, scores, out),
                5 => few::<5>(queries, ranges, all, seen, scale, cap, scores, out),
                4 => few::<4>(queries, ranges, all, seen, scale, cap, scores, out),
                3 => few::<3>(queries, ranges, all, seen, scale, cap, scores, out),
                2 => few::<2>(queries, ranges, all, seen, scale, cap, scores, out),
                _ => few::<1>(queries, ranges, all, seen, scale, cap, scores, out),
            }
            queries = queries.add(ranges.len() * width);
            out = out.add(ranges.len() * width);
        }
    }
}

/// Queries that share a key head: a key is read once for all of them. `all` are the positions that any of them sees.
#[inline]
#[target_feature(enable = "avx512f")]
#[expect(
    clippy::needless_range_loop,
    reason = "counted loops are unrolled, so that the arrays are registers"
)]
#[expect(clippy::too_many_arguments, reason = "those of `attend`, and a count")]
unsafe fn few<const COUNT: usize>(
    queries: *const f32,
    ranges: &[Range<usize>],
    all: Range<usize>,
    seen: &Seen<'_>,
    scale: f32,
    cap: Option<f32>,
    scores: *mut f32,
    out: *mut f32,
) {
    let width = seen.width;
    let first = all.start / LANES;
    let pages = first..all.end.div_ceil(LANES);
    let room = pages.len() * LANES;
    // SAFETY: the caller's conditions hold for every place.
    unsafe {
        // 1. Scores of all pages; what is not seen has the lowest.
        let mut largest = [_mm512_set1_ps(f32::NEG_INFINITY); COUNT];
        for index in pages.clone() {
            let page = *seen.pages.get_unchecked(index);
            let keys = seen
                .keys
                .as_ptr()
                .add((page * seen.heads + seen.head) * width * LANES);
            let mut even = [_mm512_setzero_ps(); COUNT];
            let mut odd = [_mm512_setzero_ps(); COUNT];
            let mut column = 0;
            while column + 1 < width {
                let key = _mm512_loadu_ps(keys.add(column * LANES));
                let next = _mm512_loadu_ps(keys.add((column + 1) * LANES));
                for at in 0..COUNT {
                    let query = queries.add(at * width + column);
                    even[at] = _mm512_fmadd_ps(_mm512_set1_ps(*query), key, even[at]);
                    odd[at] = _mm512_fmadd_ps(_mm512_set1_ps(*query.add(1)), next, odd[at]);
                }
                column += 2;
            }
            if column < width {
                let key = _mm512_loadu_ps(keys.add(column * LANES));
                for at in 0..COUNT {
                    let query = _mm512_set1_ps(*queries.add(at * width + column));
                    even[at] = _mm512_fmadd_ps(query, key, even[at]);
                }
            }
            for at in 0..COUNT {
                let dot = _mm512_add_ps(even[at], odd[at]);
                let mut score = _mm512_mul_ps(dot, _mm512_set1_ps(scale));
                if let Some(cap) = cap {
                    let cap = _mm512_set1_ps(cap);
                    score = _mm512_mul_ps(cap, tanh(_mm512_div_ps(score, cap)));
                }
                let lowest = _mm512_set1_ps(f32::NEG_INFINITY);
                let is_seen = lanes(ranges.get_unchecked(at), index);
                let score = _mm512_mask_blend_ps(is_seen, lowest, score);
                largest[at] = _mm512_max_ps(largest[at], score);
                _mm512_storeu_ps(scores.add(at * room + (index - first) * LANES), score);
            }
        }
        // 2. Shares of the positions.
        let mut factors = [0f32; COUNT];
        for at in 0..COUNT {
            let largest = _mm512_set1_ps(_mm512_reduce_max_ps(largest[at]));
            let mut total = _mm512_setzero_ps();
            for index in pages.clone() {
                let place = scores.add(at * room + (index - first) * LANES);
                let share = exp(_mm512_sub_ps(_mm512_loadu_ps(place), largest));
                let is_seen = lanes(ranges.get_unchecked(at), index);
                let share = _mm512_maskz_mov_ps(is_seen, share);
                total = _mm512_add_ps(total, share);
                _mm512_storeu_ps(place, share);
            }
            factors[at] = 1.0 / _mm512_reduce_add_ps(total);
        }
        // 3. The values, some columns at a time. A query's share of what others see alone is zero.
        let mut column = 0;
        while column < width {
            let left = width - column;
            let masks: [u16; COLUMNS] = std::array::from_fn(|vector| {
                let left = left.saturating_sub(vector * LANES);
                if left >= LANES {
                    0xffff
                } else {
                    (1u16 << left) - 1
                }
            });
            let mut sums = [[_mm512_setzero_ps(); COLUMNS]; COUNT];
            for position in all.clone() {
                let page = *seen.pages.get_unchecked(position / LANES);
                let place = (page * LANES + position % LANES) * seen.heads + seen.head;
                let value = seen.values.as_ptr().add(place * width + column);
                let mut vectors = [_mm512_setzero_ps(); COLUMNS];
                for vector in 0..COLUMNS {
                    let from = value.wrapping_add(vector * LANES);
                    vectors[vector] = _mm512_maskz_loadu_ps(masks[vector], from);
                }
                let shares = scores.add(position - first * LANES);
                for at in 0..COUNT {
                    let share = _mm512_set1_ps(*shares.add(at * room));
                    for vector in 0..COLUMNS {
                        let sum = sums[at][vector];
                        sums[at][vector] = _mm512_fmadd_ps(share, vectors[vector], sum);
                    }
                }
            }
            for at in 0..COUNT {
                for vector in 0..COLUMNS {
                    let mixed = _mm512_mul_ps(sums[at][vector], _mm512_set1_ps(factors[at]));
                    let place = out.wrapping_add(at * width + column + vector * LANES);
                    _mm512_mask_storeu_ps(place, masks[vector], mixed);
                }
            }
            column += COLUMNS * LANES;
        }
    }
}

/// Which positions of a page are seen.
#[inline]
fn lanes(range: &Range<usize>, page: usize) -> u16 {
    let first = page * LANES;
    let below = |end: usize| match end.saturating_sub(first) {
        count if count >= LANES => u16::MAX,
        count => (1 << count) - 1,
    };
    below(range.end) & !below(range.start)
}

/// e^x, within two units in the last place; 0 for what is lowest.
#[inline]
#[target_feature(enable = "avx512f")]
fn exp(x: __m512) -> __m512 {
    let x = _mm512_min_ps(
        _mm512_max_ps(x, _mm512_set1_ps(-104.0)),
        _mm512_set1_ps(88.3),
    );
    let n = _mm512_roundscale_ps::<0>(_mm512_mul_ps(x, _mm512_set1_ps(std::f32::consts::LOG2_E)));
    // x = n ln 2 + r, and Cephes' polynomial, as in `steps.rs`.
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693_359_4), x);
    let r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.121_944_4e-4), r);
    let mut p = _mm512_set1_ps(1.987_569_1e-4);
    for factor in [
        1.398_2e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        5e-1,
    ] {
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(factor));
    }
    let one = _mm512_set1_ps(1.0);
    let p = _mm512_fmadd_ps(_mm512_mul_ps(p, r), r, _mm512_add_ps(r, one));
    _mm512_scalef_ps(p, n)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn tanh(x: __m512) -> __m512 {
    let one = _mm512_set1_ps(1.0);
    let two = _mm512_set1_ps(2.0);
    let power = exp(_mm512_mul_ps(x, two));
    _mm512_sub_ps(one, _mm512_div_ps(two, _mm512_add_ps(one, power)))
}
