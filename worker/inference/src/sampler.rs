//! From logits to a token, exactly as `docs/spec/sampling.md` says: filters in a fixed order, then Gumbel-max.
//!
//! Adding T x gumbel to every logit and taking the largest draws from softmax(logits / T) (Gumbel, 1954). Unlike drawing
//! from a cumulative sum, it leaves something that a validator can check: the chosen token's score is the largest, and
//! on another machine, whose logits differ a little, it is nearly so. Greedy choice is the same rule with T = 0.

use std::cmp::Ordering;

use crate::error::{Error, Result};
use crate::noise::{gumbel, gumbel_bound};
use crate::philox::{Domain, block};

/// The highest temperature that is accepted.
pub const MAX_TEMPERATURE: f64 = 100.0;

/// How tokens are chosen from logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// 0 is greedy; at most [`MAX_TEMPERATURE`].
    pub temperature: f64,
    /// Only the `top_k` likeliest tokens; 0 keeps all.
    pub top_k: u32,
    /// Only the likeliest tokens that together reach this share of the probability; 1 keeps all. In (0, 1].
    pub top_p: f64,
    /// Only tokens at least this many times as likely as the likeliest; 0 keeps all. In [0, 1].
    pub min_p: f64,
    /// What the random numbers follow from.
    pub seed: u64,
}

impl Choice {
    /// The likeliest token, always.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        seed: 0,
    };

    /// Checks that every parameter is inside its range.
    pub fn validate(&self) -> Result<()> {
        let bad = |what: &str| Err(Error::BadParameter(what.to_owned()));
        if !(0.0..=MAX_TEMPERATURE).contains(&self.temperature) {
            return bad("temperature must be between 0 and 100");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return bad("top_p must be above 0 and at most 1");
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return bad("min_p must be between 0 and 1");
        }
        Ok(())
    }

    /// Chooses the token for a position of the output (the first is 0) from the model's logits, one per token id.
    pub fn choose(&self, logits: &[f32], position: u32) -> Result<u32> {
        let best = best(logits)?;
        if self.temperature == 0.0 {
            return Ok(best);
        }
        let kept = self.filter(logits, logits[best as usize]);
        Ok(self.largest_score(logits, position, &kept))
    }

    /// The tokens that the filters keep, by ascending id. `None` stands for all of them.
    pub(crate) fn filter(&self, logits: &[f32], highest: f32) -> Kept {
        // A token's weight: its probability over that of the likeliest one.
        let weight =
            |logit: f32| libm::exp((f64::from(logit) - f64::from(highest)) / self.temperature);
        let mut kept = Kept::All;
        if self.top_k > 0 && (self.top_k as usize) < logits.len() {
            let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
            ids.select_nth_unstable_by(self.top_k as usize - 1, |&a, &b| likelier(logits, a, b));
            ids.truncate(self.top_k as usize);
            ids.sort_unstable();
            kept = Kept::Some(ids);
        }
        if self.top_p < 1.0 {
            let mut weights: Vec<(u32, f64)> = kept
                .ids(logits.len())
                .map(|id| (id, weight(logits[id as usize])))
                .collect();
            let wanted = self.top_p * weights.iter().map(|(_, weight)| weight).sum::<f64>();
            let count = nucleus(&mut weights, wanted, |&(a, _), &(b, _)| {
                likelier(logits, a, b)
            });
            let mut ids: Vec<u32> = weights[..count].iter().map(|&(id, _)| id).collect();
            ids.sort_unstable();
            kept = Kept::Some(ids);
        }
        if self.min_p > 0.0 {
            let ids = kept
                .ids(logits.len())
                .filter(|&id| weight(logits[id as usize]) >= self.min_p);
            kept = Kept::Some(ids.collect());
        }
        kept
    }

    /// The kept token of the largest score: logit + temperature x gumbel. Ties go to the lowest id.
    pub(crate) fn largest_score(&self, logits: &[f32], position: u32, kept: &Kept) -> u32 {
        let (mut chosen, mut largest) = (0, f64::NEG_INFINITY);
        let mut words = (u64::MAX, [0; 4]);
        for id in kept.ids(logits.len()) {
            let index = u64::from(id / 4);
            if words.0 != index {
                words = (index, block(self.seed, Domain::Token, position, index));
            }
            let word = words.1[(id % 4) as usize];
            let logit = f64::from(logits[id as usize]);
            // Nearly all tokens are out of the race by the bound alone, which spares two logarithms each.
            if logit + self.temperature * gumbel_bound(word) < largest {
                continue;
            }
            let score = logit + self.temperature * gumbel(word);
            if score > largest {
                (chosen, largest) = (id, score);
            }
        }
        chosen
    }
}

/// The tokens still in the race.
pub(crate) enum Kept {
    All,
    Some(Vec<u32>),
}

impl Kept {
    pub(crate) fn ids(&self, vocabulary: usize) -> impl Iterator<Item = u32> + '_ {
        let (all, some) = match self {
            Self::All => (0..vocabulary as u32, [].as_slice()),
            Self::Some(ids) => (0..0, ids.as_slice()),
        };
        all.chain(some.iter().copied())
    }
}

/// The token of the highest logit, the lowest id among equals; an error where a logit is not finite.
pub(crate) fn best(logits: &[f32]) -> Result<u32> {
    let mut best: Option<(u32, f32)> = None;
    for (id, &logit) in logits.iter().enumerate() {
        if !logit.is_finite() {
            return Err(Error::NotFinite);
        }
        if best.is_none_or(|(_, highest)| logit > highest) {
            best = Some((id as u32, logit));
        }
    }
    best.map(|(id, _)| id).ok_or(Error::NotFinite)
}

/// Orders tokens by falling logit, then by rising id.
pub(crate) fn likelier(logits: &[f32], a: u32, b: u32) -> Ordering {
    let (first, second) = (logits[a as usize], logits[b as usize]);
    second
        .partial_cmp(&first)
        .expect("best() has seen that every logit is finite")
        .then(a.cmp(&b))
}

/// How many of the likeliest items reach the wanted weight; they are moved to the front, in order.
///
/// Sorts only as much as needed: the nucleus is mostly a few hundred of a hundred thousand tokens.
fn nucleus(
    items: &mut [(u32, f64)],
    wanted: f64,
    order: impl Fn(&(u32, f64), &(u32, f64)) -> Ordering,
) -> usize {
    let (mut sorted, mut total) = (0, 0.0);
    let mut step = 256;
    while sorted < items.len() {
        let rest = &mut items[sorted..];
        let step_now = step.min(rest.len());
        if step_now < rest.len() {
            rest.select_nth_unstable_by(step_now - 1, &order);
        }
        rest[..step_now].sort_unstable_by(&order);
        for (index, (_, weight)) in rest[..step_now].iter().enumerate() {
            total += weight;
            if total >= wanted {
                return sorted + index + 1;
            }
        }
        sorted += step_now;
        step *= 4;
    }
    // Summing in another order than `wanted` was summed in may fall short by a rounding.
    items.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::noise::token_gumbel;

    const SAMPLED: Choice = Choice {
        temperature: 0.8,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        seed: 42,
    };

    /// The specification, word for word and without any shortcut.
    fn plain(choice: &Choice, logits: &[f32], position: u32) -> u32 {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|&a, &b| likelier(logits, a, b));
        if choice.temperature == 0.0 {
            return order[0];
        }
        let highest = f64::from(logits[order[0] as usize]);
        let weight =
            |id: u32| libm::exp((f64::from(logits[id as usize]) - highest) / choice.temperature);
        if choice.top_k > 0 {
            order.truncate(choice.top_k as usize);
        }
        if choice.top_p < 1.0 {
            let mut by_id = order.clone();
            by_id.sort_unstable();
            let wanted = choice.top_p * by_id.iter().map(|&id| weight(id)).sum::<f64>();
            let mut total = 0.0;
            let reach = order.iter().position(|&id| {
                total += weight(id);
                total >= wanted
            });
            order.truncate(reach.map_or(order.len(), |index| index + 1));
        }
        order.retain(|&id| weight(id) >= choice.min_p);
        order.sort_unstable();
        let mut chosen = (order[0], f64::NEG_INFINITY);
        for id in order {
            let gumbel = token_gumbel(choice.seed, position, id);
            let score = f64::from(logits[id as usize]) + choice.temperature * gumbel;
            if score > chosen.1 {
                chosen = (id, score);
            }
        }
        chosen.0
    }

    #[test]
    fn greedy_takes_the_highest_logit_and_the_lowest_id_among_equals() {
        assert_eq!(
            Choice::GREEDY
                .choose(&[1.0, 3.0, 3.0, -1.0], 0)
                .expect("finite"),
            1
        );
        assert_eq!(Choice::GREEDY.choose(&[-0.0, 0.0], 7).expect("finite"), 0);
    }

    #[test]
    fn a_logit_that_is_not_finite_is_an_error() {
        for logits in [
            &[1.0, f32::NAN][..],
            &[f32::INFINITY, 0.0],
            &[f32::NEG_INFINITY],
            &[],
        ] {
            assert!(matches!(
                Choice::GREEDY.choose(logits, 0),
                Err(Error::NotFinite)
            ));
        }
    }

    #[test]
    fn equal_logits_at_a_top_k_edge_keep_the_lowest_ids() {
        let choice = Choice {
            top_k: 2,
            ..SAMPLED
        };
        let chosen: Vec<u32> = (0..200)
            .map(|at| choice.choose(&[0.0; 50], at).expect("finite"))
            .collect();
        assert!(chosen.iter().all(|&id| id < 2) && chosen.contains(&0) && chosen.contains(&1));
    }

    #[test]
    fn filters_of_one_token_are_greedy() {
        let logits = [0.5, 2.0, 1.9, -3.0];
        for choice in [
            Choice {
                top_k: 1,
                ..SAMPLED
            },
            Choice {
                top_p: 1e-9,
                ..SAMPLED
            },
            Choice {
                min_p: 1.0,
                ..SAMPLED
            },
        ] {
            assert!((0..50).all(|at| choice.choose(&logits, at).expect("finite") == 1));
        }
    }

    #[test]
    fn sampled_tokens_follow_the_softmax() {
        let logits = [0.0f32, 1.0, 2.0];
        let choice = Choice {
            temperature: 1.0,
            ..SAMPLED
        };
        let mut counts = [0u32; 3];
        (0..20_000)
            .for_each(|at| counts[choice.choose(&logits, at).expect("finite") as usize] += 1);
        let total: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        for (logit, count) in logits.iter().zip(counts) {
            let wanted = f64::from(*logit).exp() / total;
            let seen = f64::from(count) / 20_000.0;
            // Four standard errors of a share near a half.
            assert!(
                (wanted - seen).abs() < 0.0142,
                "wanted {wanted}, seen {seen}"
            );
        }
    }

    #[test]
    fn parameters_outside_their_range_are_refused() {
        for choice in [
            Choice {
                temperature: -0.1,
                ..SAMPLED
            },
            Choice {
                temperature: f64::NAN,
                ..SAMPLED
            },
            Choice {
                temperature: 101.0,
                ..SAMPLED
            },
            Choice {
                top_p: 0.0,
                ..SAMPLED
            },
            Choice {
                top_p: 1.1,
                ..SAMPLED
            },
            Choice {
                min_p: -0.1,
                ..SAMPLED
            },
            Choice {
                min_p: f64::NAN,
                ..SAMPLED
            },
        ] {
            assert!(choice.validate().is_err(), "accepted {choice:?}");
        }
        assert!(SAMPLED.validate().is_ok() && Choice::GREEDY.validate().is_ok());
    }

    proptest! {
        #[test]
        fn the_shortcuts_choose_what_the_plain_rule_chooses(
            logits in prop::collection::vec(prop_oneof![(-20f32..20.0), (-3i8..3).prop_map(f32::from)], 1..900),
            temperature in prop_oneof![Just(0.0), 0.05f64..3.0],
            top_k in prop_oneof![Just(0u32), 1u32..1000],
            top_p in prop_oneof![Just(1.0), 0.01f64..1.0],
            min_p in prop_oneof![Just(0.0), 0.0f64..1.0],
            seed: u64,
            position in 0u32..4,
        ) {
            let choice = Choice { temperature, top_k, top_p, min_p, seed };
            prop_assert_eq!(choice.choose(&logits, position).expect("finite"), plain(&choice, &logits, position));
        }
    }
}
