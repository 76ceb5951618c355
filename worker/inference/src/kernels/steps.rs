//! The small steps between products, each in one pass over plain slices of f32.
//!
//! Every function is compiled for several instruction sets from the same lines, and adds up in the same order in all of
//! them, so that all give the same numbers.

use std::ops::Range;

use super::vectorised::vectorised;

/// Numbers that are computed side by side; positions of a page.
pub(crate) const LANES: usize = 16;

/// The positions that queries see, in pages of [`LANES`]. Of each page first the keys: for every head and every column
/// those of all positions, so that a vector holds one column of them. Values lie position after position.
pub(crate) struct Seen<'a> {
    /// [pages, heads, width, positions of a page]
    pub keys: &'a [f32],
    /// [pages, positions of a page, heads, width]
    pub values: &'a [f32],
    /// The pages, in order.
    pub pages: &'a [usize],
    /// Which of the heads.
    pub head: usize,
    /// Heads of keys and values.
    pub heads: usize,
    /// Width of a head.
    pub width: usize,
}

vectorised! {
    /// RMS normalisation of rows as wide as the weight.
    pub(crate) fn rms(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
        let width = weight.len();
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let mean = squares(x) / width as f32;
            let factor = 1.0 / (mean + epsilon).sqrt();
            for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                *out = x * factor * weight;
            }
        }
    }

    /// The same in place.
    pub(crate) fn rms_in_place(x: &mut [f32], weight: &[f32], epsilon: f32) {
        let width = weight.len();
        for x in x.chunks_exact_mut(width) {
            let mean = squares(x) / width as f32;
            let factor = 1.0 / (mean + epsilon).sqrt();
            x.iter_mut().zip(weight).for_each(|(x, weight)| *x = *x * factor * weight);
        }
    }

    /// Adds `y` to `x`.
    pub(crate) fn add(x: &mut [f32], y: &[f32]) {
        x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
    }

    /// The first half of every row, times its logistic function, times the second half.
    pub(crate) fn silu_gated(gate_up: &[f32], inner: usize, out: &mut [f32]) {
        for (row, out) in gate_up.chunks_exact(2 * inner).zip(out.chunks_exact_mut(inner)) {
            let (gate, up) = row.split_at(inner);
            for ((out, &gate), up) in out.iter_mut().zip(gate).zip(up) {
                *out = gate / (1.0 + exp(-gate)) * up;
            }
        }
    }

    /// The first half of every row, times the normal distribution's approximation with tanh, times the second half.
    pub(crate) fn gelu_gated(gate_up: &[f32], inner: usize, out: &mut [f32]) {
        for (row, out) in gate_up.chunks_exact(2 * inner).zip(out.chunks_exact_mut(inner)) {
            let (gate, up) = row.split_at(inner);
            for ((out, &gate), up) in out.iter_mut().zip(gate).zip(up) {
                // (1 + tanh(z)) / 2 is the logistic function of 2z.
                let z = 0.797_884_6 * (gate + 0.044_715 * gate * gate * gate);
                *out = gate / (1.0 + exp(-2.0 * z)) * up;
            }
        }
    }

    /// Turns the first `2 x cosines.len()` numbers of every head, whose pairs are numbers i of both halves.
    pub(crate) fn turn_halves(heads: &mut [f32], width: usize, cosines: &[f32], sines: &[f32]) {
        let pairs = cosines.len();
        for head in heads.chunks_exact_mut(width) {
            let (a, b) = head[..2 * pairs].split_at_mut(pairs);
            for (((a, b), cosine), sine) in a.iter_mut().zip(b).zip(cosines).zip(sines) {
                (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
            }
        }
    }

    /// As [`turn_halves`], for pairs of neighbours.
    pub(crate) fn turn_neighbours(heads: &mut [f32], width: usize, cosines: &[f32], sines: &[f32]) {
        let pairs = cosines.len();
        for head in heads.chunks_exact_mut(width) {
            let both = head[..2 * pairs].as_chunks_mut::<2>().0;
            for (([a, b], cosine), sine) in both.iter_mut().zip(cosines).zip(sines) {
                (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
            }
        }
    }

    fn attend_in_plain_rust(
        queries: &[f32],
        ranges: &[Range<usize>],
        seen: &Seen<'_>,
        scale: f32,
        cap: Option<f32>,
        scores: &mut Vec<f32>,
        out: &mut [f32],
    ) {
        let width = seen.width;
        let all = queries.chunks_exact(width).zip(ranges);
        for ((query, range), out) in all.zip(out.chunks_exact_mut(width)) {
            attend_one(query, range, seen, scale, cap, scores, out);
        }
    }
}

/// Queries of heads that share a key head, in a row, each against the positions in its range, counted from the beginning of
/// the first page, and the values mixed by their match. `scores` is scratch space.
///
/// Panics where the sizes do not fit.
pub(crate) fn attend(
    queries: &[f32],
    ranges: &[Range<usize>],
    seen: &Seen<'_>,
    scale: f32,
    cap: Option<f32>,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let page = seen.width * seen.heads * LANES;
    let room = seen.pages.len() * LANES;
    assert!(
        seen.head < seen.heads
            && ranges
                .iter()
                .all(|range| range.start < range.end && range.end <= room)
    );
    assert!(queries.len() == out.len() && queries.len() == ranges.len() * seen.width);
    let last = seen.pages.iter().copied().max().unwrap_or(0);
    assert!((last + 1) * page <= seen.keys.len().min(seen.values.len()));
    #[cfg(target_arch = "x86_64")]
    if super::vectorised::level() == 2 {
        // SAFETY: the processor has the instructions, and the sizes fit.
        return unsafe {
            super::attention512::attend(queries, ranges, seen, scale, cap, scores, out)
        };
    }
    attend_in_plain_rust(queries, ranges, seen, scale, cap, scores, out);
}

/// True where [`attend`] has instructions of its own.
pub(crate) fn attends_fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        super::vectorised::level() == 2
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// One query.
#[inline(always)]
fn attend_one(
    query: &[f32],
    range: &Range<usize>,
    seen: &Seen<'_>,
    scale: f32,
    cap: Option<f32>,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let &Seen {
        keys,
        values,
        pages,
        head,
        heads,
        width,
    } = seen;
    // 1. All pages' scores; those of positions that are not seen are of no use.
    scores.clear();
    scores.resize(pages.len() * LANES, 0.0);
    for (sums, &page) in scores.as_chunks_mut::<LANES>().0.iter_mut().zip(pages) {
        let keys = &keys[(page * heads + head) * width * LANES..][..width * LANES];
        for (query, keys) in query.iter().zip(keys.as_chunks::<LANES>().0) {
            sums.iter_mut()
                .zip(keys)
                .for_each(|(sum, key)| *sum += query * key);
        }
    }
    // 2. Shares of the positions.
    let scores = &mut scores[range.clone()];
    for score in scores.iter_mut() {
        *score *= scale;
        if let Some(cap) = cap {
            *score = cap * tanh(*score / cap);
        }
    }
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0;
    for score in scores.iter_mut() {
        *score = exp(*score - largest);
        total += *score;
    }
    // 3. The values.
    out.fill(0.0);
    for (position, score) in range.clone().zip(scores) {
        let share = *score / total;
        let place = pages[position / LANES] * LANES + position % LANES;
        let value = &values[(place * heads + head) * width..][..width];
        out.iter_mut()
            .zip(value)
            .for_each(|(out, value)| *out += share * value);
    }
}

/// The sum of all squares.
#[inline(always)]
fn squares(x: &[f32]) -> f32 {
    product(x, x)
}

/// The sum of the products.
#[inline(always)]
fn product(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    together(sums) + rest
}

/// The sum of the lanes, in halves, as vectors are added up.
#[inline(always)]
fn together(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// e^x, within two units in the last place; 0 below -87.3 and the largest number above 88.3.
#[inline(always)]
fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.3, 88.3);
    // x = n ln 2 + r: the constant is split, so that n times its first part is exact.
    let shifted = x * std::f32::consts::LOG2_E + WHOLE;
    let n = shifted - WHOLE;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    // Cephes' polynomial (Moshier), for |r| up to half of ln 2.
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5e-1;
    let p = p * r * r + r + 1.0;
    p * f32::from_bits((whole(shifted).wrapping_add(127) as u32) << 23)
}

/// Added to a number of up to 2^22, rounds it to a whole one, halves to even ones; what [`whole`] reads.
pub(super) const WHOLE: f32 = 12_582_912.0;

/// The whole number in a sum with [`WHOLE`].
#[inline(always)]
pub(super) fn whole(shifted: f32) -> i32 {
    shifted.to_bits().wrapping_sub(WHOLE.to_bits()) as i32
}

#[inline(always)]
fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (1.0 + exp(2.0 * x))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::noise::normals;
    use crate::philox::Domain;

    fn near(found: f32, exact: f64) -> bool {
        (f64::from(found) - exact).abs() <= 4e-7 * exact.abs().max(1e-2)
    }

    proptest! {
        #[test]
        fn powers_of_e_are_near_the_exact_ones(x in -87.0f32..88.0) {
            let exact = f64::from(x).exp();
            prop_assert!((f64::from(exp(x)) / exact - 1.0).abs() < 3e-7, "{} {exact}", exp(x));
            prop_assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 5e-7);
        }

        #[test]
        fn steps_are_near_the_exact_ones(seed: u64, rows in 0usize..4, width in 1usize..80) {
            let x = normals(seed, Domain::ImageLatent, 0, rows * width * 2);
            let weight = normals(seed, Domain::ImageLatent, 1, width);
            let mut out = vec![f32::NAN; rows * width * 2];
            rms(&x, &weight, 1e-5, &mut out);
            for (x, out) in x.chunks_exact(width).zip(out.chunks_exact(width)) {
                let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / width as f64;
                for ((x, out), weight) in x.iter().zip(out).zip(&weight) {
                    let exact = f64::from(*x) / (mean + f64::from(1e-5f32)).sqrt() * f64::from(*weight);
                    prop_assert!(near(*out, exact), "{out} {exact}");
                }
            }
            let mut in_place = x.clone();
            rms_in_place(&mut in_place, &weight, 1e-5);
            prop_assert_eq!(&in_place, &out);
            let mut out = vec![f32::NAN; rows * width];
            silu_gated(&x, width, &mut out);
            let mut gelu = vec![f32::NAN; rows * width];
            gelu_gated(&x, width, &mut gelu);
            for (row, x) in x.chunks_exact(2 * width).enumerate() {
                for column in 0..width {
                    let (gate, up) = (f64::from(x[column]), f64::from(x[width + column]));
                    let exact = gate / (1.0 + (-gate).exp()) * up;
                    prop_assert!(near(out[row * width + column], exact));
                    let z = (2.0 / std::f64::consts::PI).sqrt() * (gate + 0.044715 * gate.powi(3));
                    let exact = gate * 0.5 * (1.0 + z.tanh()) * up;
                    prop_assert!((f64::from(gelu[row * width + column]) - exact).abs() < 2e-6);
                }
            }
        }

        #[test]
        fn attention_mixes_values_by_their_keys_match(
            seed: u64, queries in 1usize..10, heads in 1usize..4, width in 1usize..70,
            from in 0usize..16, count in 1usize..60, cap in prop::option::of(0.5f32..5.0),
        ) {
            let draw = |position, length| normals(seed, Domain::ImageLatent, position, length);
            let to = from + count;
            // Each query sees some of what all see together.
            let ranges: Vec<Range<usize>> = (0..queries)
                .map(|query| match query {
                    0 => from..to,
                    query => from + (query * 7) % count..to - (query * 3) % count.div_ceil(2),
                })
                .map(|range| if range.is_empty() { from..to } else { range })
                .collect();
            // The pages in reverse order, after one that is not seen and full of what is not a number.
            let pages: Vec<usize> = (1..=to.div_ceil(LANES)).rev().collect();
            let room = (pages.len() + 1) * LANES * heads * width;
            let (query, mut keys, mut values) = (draw(0, queries * width), draw(1, room), draw(2, room));
            let key_at = |position: usize, head: usize, column: usize| {
                ((pages[position / LANES] * heads + head) * width + column) * LANES + position % LANES
            };
            let value_at = |position: usize, head: usize, column: usize| {
                ((pages[position / LANES] * LANES + position % LANES) * heads + head) * width + column
            };
            for position in (0..pages.len() * LANES).filter(|position| !(from..to).contains(position)) {
                for (head, column) in (0..heads).flat_map(|head| (0..width).map(move |column| (head, column))) {
                    keys[key_at(position, head, column)] = f32::NAN;
                    values[value_at(position, head, column)] = f32::NAN;
                }
            }
            let head = seed as usize % heads;
            let seen = Seen { keys: &keys, values: &values, pages: &pages, head, heads, width };
            let mut out = vec![f32::NAN; queries * width];
            attend(&query, &ranges, &seen, 0.3, cap, &mut Vec::new(), &mut out);
            let mut plain = vec![f32::NAN; queries * width];
            attend_in_plain_rust(&query, &ranges, &seen, 0.3, cap, &mut Vec::new(), &mut plain);
            for (a, b) in out.iter().zip(&plain) {
                prop_assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
            for ((query, range), out) in query.chunks_exact(width).zip(&ranges).zip(out.chunks_exact(width)) {
                let score = |position: usize| {
                    let keys = (0..width).map(|column| keys[key_at(position, head, column)]);
                    let dot: f64 = query.iter().zip(keys).map(|(&q, k)| f64::from(q) * f64::from(k)).sum();
                    let score = dot * f64::from(0.3f32);
                    cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh()).exp()
                };
                let shares: Vec<f64> = range.clone().map(score).collect();
                let total: f64 = shares.iter().sum();
                for (column, out) in out.iter().enumerate() {
                    let value = |position| f64::from(values[value_at(position, head, column)]);
                    let exact: f64 = range.clone().zip(&shares).map(|(position, share)| share / total * value(position)).sum();
                    prop_assert!((f64::from(*out) - exact).abs() < 1e-5, "{out} {exact}");
                }
            }
        }

        #[test]
        fn turning_keeps_lengths_and_both_layouts_turn_alike(seed: u64, heads in 0usize..4, pairs in 1usize..20, rest in 0usize..3, angle in -7.0f32..7.0) {
            let width = 2 * pairs + rest;
            let x = normals(seed, Domain::ImageLatent, 0, heads * width);
            let (cosines, sines) = (vec![angle.cos(); pairs], vec![angle.sin(); pairs]);
            let mut halves = x.clone();
            turn_halves(&mut halves, width, &cosines, &sines);
            // The same numbers, pairs beside one another.
            let place = |index: usize| match index {
                index if index < pairs => 2 * index,
                index if index < 2 * pairs => 2 * (index - pairs) + 1,
                index => index,
            };
            let mut neighbours = vec![0.0; x.len()];
            for (index, x) in x.iter().enumerate() {
                neighbours[index / width * width + place(index % width)] = *x;
            }
            turn_neighbours(&mut neighbours, width, &cosines, &sines);
            for (index, turned) in halves.iter().enumerate() {
                let other = neighbours[index / width * width + place(index % width)];
                prop_assert_eq!(*turned, other);
            }
            for (before, after) in x.chunks_exact(width).zip(halves.chunks_exact(width)) {
                prop_assert!((squares(before) - squares(after)).abs() < 1e-4 * squares(before).max(1.0));
                prop_assert_eq!(&before[2 * pairs..], &after[2 * pairs..]);
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
        let mut out = [0.0];
        silu_gated(&[f32::NAN, 1.0], 1, &mut out);
        assert!(out[0].is_nan());
    }
}
