//! Proposes terms from what honest machines were measured to differ by, and judges by them.

use serde::Serialize;

use super::answers::Vote;

/// How many positions may lie above a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Level {
    /// The gap, in thousandths of a logit.
    pub above_milli: u32,
    /// The share of all positions that may lie above it, in basis points.
    pub share: u16,
    /// So many positions may lie above it besides.
    pub besides: u16,
}

/// When an answer is the model's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Terms {
    /// Ascending.
    pub levels: Vec<Level>,
    /// How far the differences of two honest validators may lie apart, in thousandths of a logit.
    pub tolerance_milli: u32,
}

/// How a group of votes is judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Votes in all.
    pub votes: u32,
    /// Those that find the answer right.
    pub within: u32,
}

/// The gaps that are tried, in thousandths.
const GRID: [u32; 13] = [
    50, 100, 200, 300, 400, 500, 750, 1000, 1500, 2000, 3000, 4000, 6000,
];
/// A level each for what at most so many positions of an honest answer reach, in basis points, in the worst pair of
/// machines.
const TARGETS: [f64; 3] = [500.0, 100.0, 20.0];
/// What is allowed above the worst that was measured.
const MARGIN: f64 = 1.5;

impl Level {
    fn allows(&self, gaps: &[u32]) -> bool {
        let allowed = gaps.len() * usize::from(self.share) / 10_000 + usize::from(self.besides);
        count_above(gaps, self.above_milli) <= allowed
    }
}

impl Terms {
    /// True if a vote finds the answer right.
    pub(crate) fn within(&self, vote: &Vote) -> bool {
        vote.is_formed && self.levels.iter().all(|level| level.allows(&vote.gaps))
    }

    /// Terms that all these votes on honest answers keep, with some room. `groups` are the votes of one author and one
    /// verifier each.
    pub(crate) fn fit(groups: &[Vec<&Vote>], apart: &[u32]) -> Self {
        let all = || groups.iter().flatten().map(|vote| vote.gaps.as_slice());
        let worst_share = |above: u32| {
            let share = |group: &Vec<&Vote>| {
                let positions: usize = group.iter().map(|vote| vote.gaps.len()).sum();
                let above: usize = group
                    .iter()
                    .map(|vote| count_above(&vote.gaps, above))
                    .sum();
                above as f64 / positions.max(1) as f64 * 10_000.0
            };
            groups.iter().map(share).fold(0.0, f64::max)
        };
        let mut levels: Vec<Level> = Vec::new();
        for target in TARGETS {
            let Some(above_milli) = GRID.into_iter().find(|&above| worst_share(above) <= target)
            else {
                continue;
            };
            if levels
                .last()
                .is_some_and(|last| last.above_milli >= above_milli)
            {
                continue;
            }
            let share = (worst_share(above_milli) * MARGIN / 10.0).ceil() as u16 * 10;
            let excess = |gaps: &[u32]| {
                let allowed = gaps.len() * usize::from(share) / 10_000;
                count_above(gaps, above_milli).saturating_sub(allowed)
            };
            let besides = all().map(excess).max().unwrap_or(0) as u16 + 1;
            levels.push(Level {
                above_milli,
                share,
                besides,
            });
        }
        // Above the last level there may be nothing at all: a single token out of place, such as an early end, is a
        // cheat as well.
        let largest = all().flatten().copied().max().unwrap_or(0);
        let above_milli = with_margin(largest, 500);
        levels.retain(|level| level.above_milli < above_milli);
        levels.push(Level {
            above_milli,
            share: 0,
            besides: 0,
        });
        let tolerance_milli = with_margin(apart.iter().copied().max().unwrap_or(0), 50).max(50);
        Self {
            levels,
            tolerance_milli,
        }
    }
}

impl Outcome {
    /// Judges votes.
    pub(crate) fn of<'a>(terms: &Terms, votes: impl IntoIterator<Item = &'a Vote>) -> Self {
        let mut outcome = Self::default();
        for vote in votes {
            outcome.votes += 1;
            outcome.within += u32::from(terms.within(vote));
        }
        outcome
    }
}

pub(crate) fn count_above(gaps: &[u32], above: u32) -> usize {
    gaps.iter().filter(|&&gap| gap > above).count()
}

/// The largest distance between two validators' differences at any probe.
pub(crate) fn apart(a: &[i32], b: &[i32]) -> u32 {
    let distances = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    distances.max().unwrap_or(0)
}

fn with_margin(value: u32, step: u32) -> u32 {
    ((f64::from(value) * MARGIN) as u32).next_multiple_of(step)
}
