//! What validators compare of pictures (`docs/spec/audit.md`, section 9): samples of the final latent, and the pixels.
//! Pure functions over numbers, so that workers and validators share them.

use crate::audit::{AuditTerms, Probe, Vote};
use crate::limits::IMAGE_LATENT;

/// How far pixels may lie apart on average, in 255ths.
pub const PIXEL_MEAN: u64 = 6;
/// How far a thumbnail may lie from the picture on average, in 255ths.
pub const THUMBNAIL_MEAN: u64 = 16;

/// The place of a sample in a latent of so many elements: one in each of 256 equal parts, not at the same offset in
/// each, so that the samples lie in all of a picture's columns. In a latent that is smaller, elements come repeatedly.
pub fn latent_place(sample: u32, elements: u64) -> u64 {
    let parts = IMAGE_LATENT as u128;
    let at = u128::from(sample) * parts + u128::from(sample) * 97 % parts;
    (at * u128::from(elements) / (parts * parts)) as u64
}

/// A value of a latent in thousandths: rounded to the nearest integer, halves away from zero; what is beyond the bounds
/// is set to them, and what is no number to the least one.
pub fn milli(value: f32) -> i32 {
    if value.is_nan() {
        return i32::MIN;
    }
    // A conversion sets what is beyond the bounds to them.
    (f64::from(value) * 1_000.0).round() as i32
}

/// The samples of a final latent, whose elements come in the order channel, row, column; empty for an empty one.
pub fn latent_samples(latent: &[f32]) -> Vec<i32> {
    if latent.is_empty() {
        return vec![];
    }
    let place = |sample| latent_place(sample, latent.len() as u64) as usize;
    (0..IMAGE_LATENT as u32)
        .map(|sample| milli(latent[place(sample)]))
        .collect()
}

/// What a probe asks for: the element that its decoy names, in thousandths. The worker has not shown most of them, so
/// that a vote cannot be made from what it delivered.
pub fn probed(latent: &[f32], probe: &Probe) -> i32 {
    let elements = (latent.len() as u64).max(1);
    let place = (probe.decoy % elements) as usize;
    latent.get(place).map_or(i32::MIN, |value| milli(*value))
}

/// A validator's vote: the latent as it was delivered against the validator's own, and what it found of the picture.
/// `ends_right`: the PNG decodes, to the job's size. `text_right`: [`pictures_agree`], and so does the thumbnail.
pub fn vote(
    delivered: &[i32],
    own: &[f32],
    terms: &AuditTerms,
    probes: &[Probe],
    ends_right: bool,
    text_right: bool,
) -> Vote {
    let samples = latent_samples(own);
    let own_at = |at: usize| samples.get(at).copied().unwrap_or(i32::MIN);
    let gaps: Vec<u32> = delivered
        .iter()
        .enumerate()
        .map(|(at, value)| value.abs_diff(own_at(at)))
        .collect();
    let above = |level: u32| gaps.iter().filter(|gap| **gap > level).count() as u32;
    let positions = gaps.len() as u32;
    let sum: u64 = gaps.iter().map(|gap| u64::from(*gap)).sum();
    let least = terms.levels.first().map_or(0, |level| level.above_milli);
    Vote {
        positions,
        matches: positions - above(least),
        largest_gap_milli: gaps.iter().copied().max().unwrap_or(0),
        // A mean of numbers that fit fits.
        mean_gap_milli: sum.checked_div(positions.into()).unwrap_or(0) as u32,
        above: terms.levels.iter().map(|l| above(l.above_milli)).collect(),
        prompt_tokens: 0,
        ends_right,
        text_right,
        differences: probes.iter().map(|probe| probed(own, probe)).collect(),
    }
}

/// True if two pictures of the same size (RGB, eight bits each) are the same but for rounding: they lie no further
/// apart than [`PIXEL_MEAN`] on average.
pub fn pictures_agree(own: &[u8], theirs: &[u8]) -> bool {
    own.len() == theirs.len() && mean_is_within(own, theirs, PIXEL_MEAN)
}

/// True if a thumbnail shows the picture: each of its pixels is compared with the mean of those that it stands for.
/// Both RGB, eight bits each; sizes are width and height.
pub fn thumbnail_agrees(
    picture: &[u8],
    size: (u32, u32),
    thumbnail: &[u8],
    small: (u32, u32),
) -> bool {
    let (width, height) = (size.0 as usize, size.1 as usize);
    let (columns, rows) = (small.0 as usize, small.1 as usize);
    let fits = picture.len() == 3 * width * height && thumbnail.len() == 3 * columns * rows;
    if !fits || columns == 0 || rows == 0 || columns > width || rows > height {
        return false;
    }
    let mut means = Vec::with_capacity(thumbnail.len());
    for row in 0..rows {
        let lines = row * height / rows..(row + 1) * height / rows;
        for column in 0..columns {
            let places = column * width / columns..(column + 1) * width / columns;
            for colour in 0..3 {
                let at = |line: usize, place: usize| picture[3 * (line * width + place) + colour];
                let sum: u64 = lines
                    .clone()
                    .flat_map(|line| places.clone().map(move |place| u64::from(at(line, place))))
                    .sum();
                means.push((sum / (lines.len() * places.len()) as u64) as u8);
            }
        }
    }
    mean_is_within(&means, thumbnail, THUMBNAIL_MEAN)
}

fn mean_is_within(one: &[u8], other: &[u8], mean: u64) -> bool {
    let apart = one
        .iter()
        .zip(other)
        .map(|(a, b)| u64::from(a.abs_diff(*b)));
    apart.sum::<u64>() <= mean * one.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::GapLevel;
    use proptest::prelude::*;

    fn terms() -> AuditTerms {
        let level = |above_milli| GapLevel {
            above_milli,
            share: 0,
            besides: 0,
        };
        AuditTerms {
            levels: vec![level(20), level(500)],
            tolerance_milli: 50,
        }
    }

    #[test]
    fn samples_lie_in_every_column_and_none_twice() {
        // A latent of 512 x 512 pixels: 4 channels of 64 x 64.
        let places: std::collections::BTreeSet<u64> =
            (0..256).map(|n| latent_place(n, 4 * 64 * 64)).collect();
        assert_eq!(places.len(), 256);
        let columns: std::collections::BTreeSet<u64> = places.iter().map(|p| p % 64).collect();
        assert_eq!(columns.len(), 64);
        assert_eq!(
            [0, 1, 2, 255].map(|n| latent_place(n, 16_384)),
            [0, 88, 176, 16_359]
        );
        assert_eq!([0, 1, 2, 255].map(|n| latent_place(n, 100)), [0, 0, 1, 99]);
    }

    #[test]
    fn thousandths_are_rounded_and_bounded() {
        let values = [
            0.0005,
            -0.0005,
            1.2344,
            f32::MAX,
            f32::NEG_INFINITY,
            f32::NAN,
        ];
        let expected = [1, -1, 1_234, i32::MAX, i32::MIN, i32::MIN];
        // 0.0005 in f32 is a little above a half thousandth, on both sides of zero.
        assert_eq!(values.map(milli), expected);
    }

    #[test]
    fn a_vote_counts_what_lies_above_each_level() {
        let own: Vec<f32> = (0..256).map(|n| n as f32 / 100.0).collect();
        let mut delivered = latent_samples(&own);
        let probe = Probe {
            position: 3,
            decoy: 256 * 9 + 7,
        };
        let same = vote(&delivered, &own, &terms(), &[probe], true, true);
        assert_eq!((same.positions, same.matches), (256, 256));
        assert_eq!(
            (same.above.as_slice(), same.largest_gap_milli),
            (&[0, 0][..], 0)
        );
        assert_eq!(same.differences, [70], "the element that the decoy names");
        delivered[0] += 21;
        delivered[1] -= 501;
        delivered[2] += 20;
        let other = vote(&delivered, &own, &terms(), &[], true, false);
        assert_eq!((other.above.as_slice(), other.matches), (&[2, 1][..], 254));
        assert_eq!((other.largest_gap_milli, other.mean_gap_milli), (501, 2));
        assert!(other.ends_right && !other.text_right);
    }

    #[test]
    fn a_validator_without_a_latent_finds_everything_wrong_and_does_not_fail() {
        let vote = vote(
            &[0; 256],
            &[],
            &terms(),
            &[Probe {
                position: 0,
                decoy: 5,
            }],
            true,
            true,
        );
        assert_eq!(vote.above, [256, 256]);
        assert_eq!(vote.differences, [i32::MIN]);
    }

    #[test]
    fn pictures_agree_but_for_rounding_and_a_thumbnail_shows_its_picture() {
        let picture: Vec<u8> = (0..3 * 16 * 8u32).map(|n| (n * 5 % 256) as u8).collect();
        let near: Vec<u8> = picture.iter().map(|v| v.saturating_add(6)).collect();
        let far: Vec<u8> = picture.iter().map(|v| v ^ 0x40).collect();
        assert!(pictures_agree(&picture, &near) && !pictures_agree(&picture, &far));
        assert!(!pictures_agree(&picture, &picture[3..]));
        let grey = vec![100; 3 * 16 * 8];
        assert!(thumbnail_agrees(&grey, (16, 8), &[110; 3 * 4 * 2], (4, 2)));
        assert!(!thumbnail_agrees(&grey, (16, 8), &[140; 3 * 4 * 2], (4, 2)));
        assert!(!thumbnail_agrees(
            &grey,
            (16, 8),
            &[100; 3 * 32 * 2],
            (32, 2)
        ));
        assert!(!thumbnail_agrees(&grey, (16, 8), &[], (0, 0)));
    }

    proptest! {
        #[test]
        fn every_place_lies_in_its_part_of_the_latent(sample in 0u32..256, elements in 1u64..1 << 40) {
            let place = u128::from(latent_place(sample, elements));
            let (sample, elements) = (u128::from(sample), u128::from(elements));
            prop_assert!(place < elements);
            prop_assert!(place >= sample * elements / 256 && place <= (sample + 1) * elements / 256);
        }
    }
}
