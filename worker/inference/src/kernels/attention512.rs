//! Attention of single queries with 512-bit vectors; `steps.rs` says what is computed.

use std::arch::x86_64::*;

use super::steps::{LANES, Seen};

/// Vectors of columns whose values are mixed at a time.
const COLUMNS: usize = 4;

/// See [`super::steps::attend`].
///
/// # Safety
/// The processor has AVX-512F. `queries` and `out` hold whole heads of `seen.width` numbers. The pages are inside the keys
/// and the values, and `seen.from < seen.to`, which lie inside the pages.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn attend(
    queries: &[f32],
    seen: &Seen<'_>,
    scale: f32,
    cap: Option<f32>,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let width = seen.width;
    let mut left = queries.len() / width;
    let (mut queries, mut out) = (queries.as_ptr(), out.as_mut_ptr());
    while left > 0 {
        let taken = left.min(4);
        scores.clear();
        scores.resize(taken * seen.pages.len() * LANES, 0.0);
        let scores = scores.as_mut_ptr();
        // SAFETY: as many heads are left, and there is room for their scores.
        unsafe {
            match taken {
                4 => heads::<4>(queries, seen, scale, cap, scores, out),
                3 => heads::<3>(queries, seen, scale, cap, scores, out),
                2 => heads::<2>(queries, seen, scale, cap, scores, out),
                _ => heads::<1>(queries, seen, scale, cap, scores, out),
            }
            queries = queries.add(taken * width);
            out = out.add(taken * width);
        }
        left -= taken;
    }
}

/// Heads that share a key head: a key is read once for all of them.
#[inline]
#[target_feature(enable = "avx512f")]
#[expect(
    clippy::needless_range_loop,
    reason = "counted loops are unrolled, so that the arrays are registers"
)]
unsafe fn heads<const HEADS: usize>(
    queries: *const f32,
    seen: &Seen<'_>,
    scale: f32,
    cap: Option<f32>,
    scores: *mut f32,
    out: *mut f32,
) {
    let width = seen.width;
    let room = seen.pages.len() * LANES;
    // SAFETY: the caller's conditions hold for every place.
    unsafe {
        // 1. Scores of all pages; what is not seen has the lowest.
        let mut largest = [_mm512_set1_ps(f32::NEG_INFINITY); HEADS];
        for (index, &page) in seen.pages.iter().enumerate() {
            let keys = seen
                .keys
                .as_ptr()
                .add((page * seen.heads + seen.head) * width * LANES);
            let mut even = [_mm512_setzero_ps(); HEADS];
            let mut odd = [_mm512_setzero_ps(); HEADS];
            let mut column = 0;
            while column + 1 < width {
                let key = _mm512_loadu_ps(keys.add(column * LANES));
                let next = _mm512_loadu_ps(keys.add((column + 1) * LANES));
                for head in 0..HEADS {
                    let query = queries.add(head * width + column);
                    even[head] = _mm512_fmadd_ps(_mm512_set1_ps(*query), key, even[head]);
                    odd[head] = _mm512_fmadd_ps(_mm512_set1_ps(*query.add(1)), next, odd[head]);
                }
                column += 2;
            }
            if column < width {
                let key = _mm512_loadu_ps(keys.add(column * LANES));
                for head in 0..HEADS {
                    let query = _mm512_set1_ps(*queries.add(head * width + column));
                    even[head] = _mm512_fmadd_ps(query, key, even[head]);
                }
            }
            let is_seen = lanes(seen, index);
            for head in 0..HEADS {
                let dot = _mm512_add_ps(even[head], odd[head]);
                let mut score = _mm512_mul_ps(dot, _mm512_set1_ps(scale));
                if let Some(cap) = cap {
                    let cap = _mm512_set1_ps(cap);
                    score = _mm512_mul_ps(cap, tanh(_mm512_div_ps(score, cap)));
                }
                let lowest = _mm512_set1_ps(f32::NEG_INFINITY);
                let score = _mm512_mask_blend_ps(is_seen, lowest, score);
                largest[head] = _mm512_max_ps(largest[head], score);
                _mm512_storeu_ps(scores.add(head * room + index * LANES), score);
            }
        }
        // 2. Shares of the positions.
        let mut factors = [0f32; HEADS];
        for head in 0..HEADS {
            let largest = _mm512_set1_ps(_mm512_reduce_max_ps(largest[head]));
            let mut total = _mm512_setzero_ps();
            for index in 0..seen.pages.len() {
                let place = scores.add(head * room + index * LANES);
                let share = exp(_mm512_sub_ps(_mm512_loadu_ps(place), largest));
                let share = _mm512_maskz_mov_ps(lanes(seen, index), share);
                total = _mm512_add_ps(total, share);
                _mm512_storeu_ps(place, share);
            }
            factors[head] = 1.0 / _mm512_reduce_add_ps(total);
        }
        // 3. The values, some columns at a time.
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
            let mut sums = [[_mm512_setzero_ps(); COLUMNS]; HEADS];
            for position in seen.from..seen.to {
                let page = *seen.pages.get_unchecked(position / LANES);
                let place = (page * LANES + position % LANES) * seen.heads + seen.head;
                let value = seen.values.as_ptr().add(place * width + column);
                let mut vectors = [_mm512_setzero_ps(); COLUMNS];
                for vector in 0..COLUMNS {
                    let from = value.wrapping_add(vector * LANES);
                    vectors[vector] = _mm512_maskz_loadu_ps(masks[vector], from);
                }
                for head in 0..HEADS {
                    let share = _mm512_set1_ps(*scores.add(head * room + position));
                    for vector in 0..COLUMNS {
                        let sum = sums[head][vector];
                        sums[head][vector] = _mm512_fmadd_ps(share, vectors[vector], sum);
                    }
                }
            }
            for head in 0..HEADS {
                for vector in 0..COLUMNS {
                    let mixed = _mm512_mul_ps(sums[head][vector], _mm512_set1_ps(factors[head]));
                    let place = out.wrapping_add(head * width + column + vector * LANES);
                    _mm512_mask_storeu_ps(place, masks[vector], mixed);
                }
            }
            column += COLUMNS * LANES;
        }
    }
}

/// Which positions of a page are seen.
#[inline]
fn lanes(seen: &Seen<'_>, index: usize) -> u16 {
    let first = index * LANES;
    let below = |end: usize| match end.saturating_sub(first) {
        count if count >= LANES => u16::MAX,
        count => (1 << count) - 1,
    };
    below(seen.to) & !below(seen.from)
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
