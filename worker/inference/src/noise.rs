//! Random words to real numbers: uniform, Gumbel and normal, by exact formulas (`docs/spec/sampling.md`).
//!
//! Everything is computed in f64 with the functions of the `libm` crate at a pinned version, so that every machine gets
//! the same bits whatever its C library does.

use std::f64::consts::{LN_2, TAU};

use crate::philox::{Domain, block, word};

/// The largest value that [`gumbel`] can take, rounded up: the word of all ones gives 22.873...
pub const GUMBEL_MAX: f64 = 22.875;

/// The middle of the word's cell in (0, 1): (word + 1/2) / 2^32. Exact in f64, never 0 and never 1.
pub fn uniform(word: u32) -> f64 {
    (f64::from(word) + 0.5) * (1.0 / 4_294_967_296.0)
}

/// A standard Gumbel value: -ln(-ln(uniform)).
pub fn gumbel(word: u32) -> f64 {
    -libm::log(-libm::log(uniform(word)))
}

/// A bound that no [`gumbel`] of this word exceeds, found without a logarithm.
///
/// -ln(u) > 1 - u, so the value is under -ln(1 - u); and a word with n leading ones has 1 - u >= 2^-(n + 1). The last
/// term is far above what rounding can add.
pub fn gumbel_bound(word: u32) -> f64 {
    f64::from(word.leading_ones() + 1) * LN_2 + 1e-9
}

/// The Gumbel value that belongs to a token at a position of the output.
pub fn token_gumbel(seed: u64, position: u32, token: u32) -> f64 {
    gumbel(word(seed, Domain::Token, position, token.into()))
}

/// Two standard normal values from two words (Box and Muller, 1958).
pub fn normal_pair(words: [u32; 2]) -> [f32; 2] {
    let radius = libm::sqrt(-2.0 * libm::log(uniform(words[0])));
    let angle = TAU * uniform(words[1]);
    [
        (radius * libm::cos(angle)) as f32,
        (radius * libm::sin(angle)) as f32,
    ]
}

/// `count` standard normal values: those of the indices 0 to `count - 1`, in order.
pub fn normals(seed: u64, domain: Domain, position: u32, count: usize) -> Vec<f32> {
    let blocks = 0..count.div_ceil(4) as u64;
    let values = blocks.flat_map(|index| {
        let [a, b, c, d] = block(seed, domain, position, index);
        normal_pair([a, b]).into_iter().chain(normal_pair([c, d]))
    });
    values.take(count).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_extreme_words_stay_inside_the_open_interval() {
        assert_eq!(uniform(0), 2f64.powi(-33));
        assert_eq!(uniform(u32::MAX), 1.0 - 2f64.powi(-33));
        assert!(gumbel(u32::MAX) < GUMBEL_MAX && gumbel(u32::MAX) > GUMBEL_MAX - 0.01);
        assert!(gumbel(0).is_finite());
    }

    #[test]
    fn gumbel_and_normal_have_the_moments_of_their_distributions() {
        let count = 40_000u32;
        let values: Vec<f64> = (0..count).map(|token| token_gumbel(11, 3, token)).collect();
        let mean = values.iter().sum::<f64>() / f64::from(count);
        // Euler's constant, with four standard errors of room: pi / sqrt(6 * 40000) * 4 = 0.026.
        assert!((mean - 0.577_215_66).abs() < 0.026, "mean {mean}");
        let values = normals(11, Domain::ImageLatent, 0, count as usize);
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / f64::from(count);
        let variance = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / f64::from(count);
        assert!(
            mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03,
            "mean {mean} variance {variance}"
        );
    }

    #[test]
    fn a_prefix_of_the_noise_does_not_depend_on_its_length() {
        let long = normals(5, Domain::ImageStep, 2, 13);
        for count in 0..13 {
            assert_eq!(normals(5, Domain::ImageStep, 2, count), long[..count]);
        }
    }

    proptest! {
        #[test]
        fn uniform_is_strictly_between_zero_and_one_and_grows(word: u32) {
            let value = uniform(word);
            prop_assert!(value > 0.0 && value < 1.0);
            prop_assert!(word == 0 || uniform(word - 1) < value);
        }

        #[test]
        fn gumbel_is_finite_and_under_its_bounds(word: u32, ones in 0u32..=32) {
            for word in [word, word | (!0u32).checked_shl(32 - ones).unwrap_or(0)] {
                let value = gumbel(word);
                prop_assert!(value.is_finite() && value <= gumbel_bound(word) && value <= GUMBEL_MAX);
            }
        }

        #[test]
        fn normals_are_finite(words: [u32; 2]) {
            prop_assert!(normal_pair(words).iter().all(|value| value.abs() < 6.8));
        }

        #[test]
        fn different_places_draw_different_words(seed: u64, position: u32, index: u64) {
            let here = block(seed, Domain::Token, position, index);
            prop_assert_ne!(here, block(seed ^ 1, Domain::Token, position, index));
            prop_assert_ne!(here, block(seed, Domain::ImageLatent, position, index));
            prop_assert_ne!(here, block(seed, Domain::Token, position ^ 1, index));
            prop_assert_ne!(here, block(seed, Domain::Token, position, index ^ (1 << 40)));
        }
    }
}
