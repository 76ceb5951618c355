//! How far a token is from being the one that the rule chooses: the gap of `docs/spec/audit.md`, for validators whose
//! logits differ a little from the worker's.
//!
//! Two honest machines disagree where two scores are nearly equal, and where a token lies so near to a filter's edge
//! that one keeps it and the other does not. The gap is small in both cases: it is the least that logits would have to
//! move for the chosen token to win.

use crate::error::{Error, Result};
use crate::noise::{gumbel_bound, token_gumbel};
use crate::philox::{Domain, word};
use crate::sampler::{Choice, best, likelier};

/// A token that was chosen, seen by another machine's logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gap {
    /// True if these logits choose the same token.
    pub is_match: bool,
    /// In logits; 0 for a match, never below.
    pub gap: f64,
}

impl Choice {
    /// Compares the token `chosen` for a position of the output with what the rule chooses from these logits.
    ///
    /// # Errors
    /// If a logit is not finite, or the token is outside the vocabulary.
    pub fn gap(&self, logits: &[f32], position: u32, chosen: u32) -> Result<Gap> {
        let best = best(logits)?;
        let logit = |id: u32| f64::from(logits[id as usize]);
        if chosen as usize >= logits.len() {
            return Err(Error::BadParameter(format!(
                "the id {chosen} is outside the model's vocabulary"
            )));
        }
        if self.temperature == 0.0 {
            let (is_match, gap) = (chosen == best, logit(best) - logit(chosen));
            return Ok(Gap { is_match, gap });
        }
        let kept = self.filter(logits, logits[best as usize]);
        if self.largest_score(logits, position, &kept) == chosen {
            let (is_match, gap) = (true, 0.0);
            return Ok(Gap { is_match, gap });
        }
        let score = |id: u32| logit(id) + self.temperature * token_gumbel(self.seed, position, id);
        let own = score(chosen);
        let mut rivals: Vec<(f64, u32)> = kept
            .ids(logits.len())
            // Nearly all tokens are out of the race by the bound alone.
            .filter(|&id| {
                let word = word(self.seed, Domain::Token, position, id.into());
                id != chosen && logit(id) + self.temperature * gumbel_bound(word) > own
            })
            .map(|id| (score(id), id))
            .filter(|&(score, _)| score > own)
            .collect();
        rivals.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));

        let edges = Edges::new(self, logits);
        let mut gap = (edges.edge(chosen) - logit(chosen)).max(0.0);
        for (score, rival) in rivals {
            let ahead = score - own;
            if ahead <= gap {
                break;
            }
            gap = gap.max(ahead.min(logit(rival) - edges.edge(rival)));
        }
        let is_match = false;
        Ok(Gap { is_match, gap })
    }
}

/// Where the filters cut: for any token the logit at which it would just be kept, all others being as they are.
struct Edges<'a> {
    choice: &'a Choice,
    logits: &'a [f32],
    /// The likeliest first: as many as the filters can keep, and one more.
    order: Vec<u32>,
    /// Their weights, as in the rule; the weight of the likeliest is 1.
    weights: Vec<f64>,
    /// Sums of the weights before each, and of all at the end.
    sums: Vec<f64>,
    /// Whether top_k drops anything.
    limited: bool,
}

impl<'a> Edges<'a> {
    fn new(choice: &'a Choice, logits: &'a [f32]) -> Self {
        let by_likelihood = |a: &u32, b: &u32| likelier(logits, *a, *b);
        let limited = choice.top_k > 0 && (choice.top_k as usize) < logits.len();
        let wanted = if limited {
            choice.top_k as usize + 1
        } else if choice.top_p < 1.0 {
            logits.len()
        } else {
            2.min(logits.len())
        };
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        if wanted < order.len() {
            order.select_nth_unstable_by(wanted - 1, by_likelihood);
            order.truncate(wanted);
        }
        order.sort_unstable_by(by_likelihood);
        let logit = |id: u32| f64::from(logits[id as usize]);
        let highest = order.first().map_or(0.0, |&id| logit(id));
        let weight = |&id: &u32| libm::exp((logit(id) - highest) / choice.temperature);
        let weights: Vec<f64> = order.iter().map(weight).collect();
        let mut sums = vec![0.0];
        for weight in &weights {
            sums.push(sums[sums.len() - 1] + weight);
        }
        Self {
            choice,
            logits,
            order,
            weights,
            sums,
            limited,
        }
    }

    fn logit(&self, id: u32) -> f64 {
        f64::from(self.logits[id as usize])
    }

    /// The largest of the filters' own edges; minus infinity where none is on.
    fn edge(&self, id: u32) -> f64 {
        let place = self
            .order
            .binary_search_by(|&other| likelier(self.logits, other, id));
        let others = Others {
            edges: self,
            without: place.ok(),
        };
        let mut edge = f64::NEG_INFINITY;
        let mut count = others.count();
        if self.limited {
            let last = self.choice.top_k as usize - 1;
            edge = edge.max(self.logit(others.id(last)));
            count = last;
        }
        if count == 0 {
            return edge;
        }
        if self.choice.top_p < 1.0 {
            let weight = others.nucleus_edge(count, self.choice.top_p);
            let highest = self.logit(self.order[0]);
            edge = edge.max(highest + self.choice.temperature * libm::log(weight));
        }
        if self.choice.min_p > 0.0 {
            let highest = self.logit(others.id(0));
            edge = edge.max(highest + self.choice.temperature * libm::log(self.choice.min_p));
        }
        edge
    }
}

/// The likeliest tokens but one.
struct Others<'a> {
    edges: &'a Edges<'a>,
    /// The place of the one that is left out, if it is among them at all.
    without: Option<usize>,
}

impl Others<'_> {
    fn count(&self) -> usize {
        self.edges.order.len() - usize::from(self.without.is_some())
    }

    fn place(&self, index: usize) -> usize {
        index + usize::from(self.without.is_some_and(|place| index >= place))
    }

    fn id(&self, index: usize) -> u32 {
        self.edges.order[self.place(index)]
    }

    fn weight(&self, index: usize) -> f64 {
        self.edges.weights[self.place(index)]
    }

    /// The sum of the first `count` weights.
    fn sum(&self, count: usize) -> f64 {
        match self.without {
            Some(place) if count > place => self.edges.sums[count + 1] - self.edges.weights[place],
            _ => self.edges.sums[count],
        }
    }

    /// The weight above which a token would be in the nucleus, beside the first `count` others.
    ///
    /// A token of weight w is kept while the likelier ones weigh less than top_p of all. Below the first j others that
    /// is w > sum(j) / top_p - sum(count), which rises with j, while the room for w there ends at weight j, which falls.
    fn nucleus_edge(&self, count: usize, top_p: f64) -> f64 {
        let needed = |likelier: usize| self.sum(likelier) / top_p - self.sum(count);
        let (mut lowest, mut beyond) = (0, count + 1);
        while beyond - lowest > 1 {
            let middle = (lowest + beyond) / 2;
            if self.weight(middle - 1) > needed(middle) {
                lowest = middle;
            } else {
                beyond = middle;
            }
        }
        let below = if lowest < count {
            self.weight(lowest)
        } else {
            0.0
        };
        needed(lowest).max(below).max(0.0)
    }
}

#[cfg(test)]
#[path = "gap_tests.rs"]
mod tests;
