//! Judging votes. A vote is numbers; what they mean is decided here, by rules that know neither state nor money.
//!
//! Whether a result is the model's follows from how many positions lie above each level of the model's terms, and from
//! the recount. Whether a vote was computed at all follows from the logit differences at the probes: they cannot be
//! guessed, and those of honest validators lie close together.

use crate::records::*;
use emc_protocol::Usage;
use emc_protocol::audit::AuditTerms;

/// A vote counts as computed where at least so many of its probes, of four, lie within the tolerance of the median.
const QUARTERS: usize = 3;
/// Fewer votes than this have no median that means anything.
const LEAST_FOR_A_MEDIAN: usize = 3;

/// True if a vote's numbers say that the result is the model's.
pub fn is_within(vote: &VoteRecord, terms: &AuditTerms, usage: &Usage) -> bool {
    let below = terms
        .levels
        .iter()
        .zip(&vote.above)
        .all(|(level, &above)| u64::from(above) <= level.allowed(vote.positions));
    below && vote.ends_right && vote.text_right && vote.prompt_tokens == usage.prompt_tokens
}

/// The median of each probe's difference; `None` where there are too few votes. Between two middle ones, their mean.
pub fn medians(votes: &[&VoteRecord]) -> Option<Vec<i64>> {
    if votes.len() < LEAST_FOR_A_MEDIAN {
        return None;
    }
    let probes = votes.iter().map(|vote| vote.differences.len()).min()?;
    let median = |probe: usize| {
        let mut values: Vec<i64> = votes
            .iter()
            .map(|vote| vote.differences[probe].into())
            .collect();
        values.sort_unstable();
        let middle = values.len() / 2;
        match values.len() % 2 {
            1 => values[middle],
            _ => (values[middle - 1] + values[middle]) / 2,
        }
    };
    Some((0..probes).map(median).collect())
}

/// True if a vote's differences are those of a validator that ran the model: compared at the probes that both have. An
/// output without tokens has no probes, and nothing to contradict a vote by.
pub fn agrees(vote: &VoteRecord, medians: &[i64], tolerance_milli: u32) -> bool {
    let compared = vote.differences.len().min(medians.len());
    let near = vote
        .differences
        .iter()
        .zip(medians)
        .filter(|(difference, median)| {
            (i64::from(**difference) - **median).unsigned_abs() <= u64::from(tolerance_milli)
        })
        .count();
    4 * near >= QUARTERS * compared
}

/// What a vote says, where it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Not revealed, or not computed.
    Nothing,
    /// The result is the model's.
    Within,
    /// It is not.
    Outside,
}

/// What each vote of a round says.
pub fn findings(votes: &[Option<&VoteRecord>], terms: &AuditTerms, usage: &Usage) -> Vec<Finding> {
    let revealed: Vec<&VoteRecord> = votes.iter().flatten().copied().collect();
    // Two votes have no median, but may still agree with one another; a single one has nobody to agree with and cannot
    // be doubted either.
    let medians = medians(&revealed).or_else(|| match revealed.as_slice() {
        [first, second] => {
            let close = |(a, b): (&i32, &i32)| (i64::from(*a) + i64::from(*b)) / 2;
            Some(
                first
                    .differences
                    .iter()
                    .zip(&second.differences)
                    .map(close)
                    .collect(),
            )
        }
        [only] => Some(only.differences.iter().map(|&d| d.into()).collect()),
        _ => None,
    });
    votes
        .iter()
        .map(|vote| match (vote, &medians) {
            (Some(vote), Some(medians)) if agrees(vote, medians, terms.tolerance_milli) => {
                match is_within(vote, terms, usage) {
                    true => Finding::Within,
                    false => Finding::Outside,
                }
            }
            _ => Finding::Nothing,
        })
        .collect()
}

/// How many of a committee must find the same to decide against everybody else: four of five.
pub fn decisive(committee: usize) -> usize {
    (4 * committee).div_ceil(5)
}

/// The first round upholds only unanimously; it never overturns.
pub fn first_round(findings: &[Finding]) -> bool {
    !findings.is_empty() && findings.iter().all(|finding| *finding == Finding::Within)
}

/// The second round: overturned by four of five, upheld by more than half, else undecided.
pub fn second_round(findings: &[Finding]) -> VerdictRecord {
    let count = |wanted| {
        findings
            .iter()
            .filter(|finding| **finding == wanted)
            .count()
    };
    if findings.is_empty() {
        VerdictRecord::Undecided
    } else if count(Finding::Outside) >= decisive(findings.len()) {
        VerdictRecord::Overturned
    } else if 2 * count(Finding::Within) > findings.len() {
        VerdictRecord::Upheld
    } else {
        VerdictRecord::Undecided
    }
}

#[cfg(test)]
mod tests {
    use super::Finding::*;
    use super::*;
    use emc_protocol::audit::GapLevel;
    use proptest::prelude::*;

    fn vote(differences: &[i32], above: &[u32]) -> VoteRecord {
        VoteRecord {
            positions: 100,
            matches: 90,
            largest_gap_milli: 100,
            mean_gap_milli: 5,
            above: above.to_vec(),
            prompt_tokens: 10,
            ends_right: true,
            text_right: true,
            differences: differences.to_vec(),
        }
    }

    fn terms() -> AuditTerms {
        let level = |above_milli, share, besides| GapLevel {
            above_milli,
            share,
            besides,
        };
        AuditTerms {
            levels: vec![level(300, 200, 1), level(2_000, 0, 0)],
            tolerance_milli: 500,
        }
    }

    fn usage() -> Usage {
        Usage {
            prompt_tokens: 10,
            output_tokens: 100,
            pixel_steps: 0,
        }
    }

    #[test]
    fn a_result_is_the_models_while_no_level_has_more_than_it_allows() {
        let within = |vote: &VoteRecord| is_within(vote, &terms(), &usage());
        assert!(within(&vote(&[], &[3, 0])));
        assert!(!within(&vote(&[], &[4, 0])));
        assert!(!within(&vote(&[], &[0, 1])));
        assert!(!within(&VoteRecord {
            ends_right: false,
            ..vote(&[], &[0, 0])
        }));
        assert!(!within(&VoteRecord {
            text_right: false,
            ..vote(&[], &[0, 0])
        }));
        assert!(!within(&VoteRecord {
            prompt_tokens: 11,
            ..vote(&[], &[0, 0])
        }));
    }

    #[test]
    fn a_vote_that_did_not_run_the_model_says_nothing() {
        let honest = vote(&[1_000, -2_000, 500, 9_000], &[0, 0]);
        let rounded = vote(&[1_100, -2_100, 400, 9_499], &[0, 0]);
        let guessed = vote(&[0, 0, 0, 0], &[0, 0]);
        let votes = [Some(&honest), Some(&rounded), Some(&guessed), None];
        assert_eq!(
            findings(&votes, &terms(), &usage()),
            [Within, Within, Nothing, Nothing]
        );
    }

    #[test]
    fn two_votes_that_differ_say_nothing_either() {
        let (one, other) = (
            vote(&[1_000, 1_000], &[0, 0]),
            vote(&[-9_000, 7_000], &[0, 0]),
        );
        assert_eq!(
            findings(&[Some(&one), Some(&other)], &terms(), &usage()),
            [Nothing, Nothing]
        );
    }

    #[test]
    fn one_round_upholds_unanimously_and_the_other_overturns_by_four_of_five() {
        assert!(first_round(&[Within; 3]));
        assert!(!first_round(&[Within, Within, Nothing]) && !first_round(&[]));
        assert_eq!(
            second_round(&[Outside, Outside, Outside, Outside, Within]),
            VerdictRecord::Overturned
        );
        assert_eq!(
            second_round(&[Outside, Outside, Outside, Nothing, Within]),
            VerdictRecord::Undecided
        );
        assert_eq!(
            second_round(&[Within, Within, Within, Outside, Outside]),
            VerdictRecord::Upheld
        );
        assert_eq!(
            second_round(&[Within, Within, Outside, Outside, Nothing]),
            VerdictRecord::Undecided
        );
        assert_eq!(second_round(&[]), VerdictRecord::Undecided);
        assert_eq!(
            [decisive(1), decisive(3), decisive(4), decisive(5)],
            [1, 3, 4, 4]
        );
    }

    proptest! {
        #[test]
        fn a_fifth_that_colludes_neither_overturns_an_honest_result_nor_saves_a_wrong_one(
            lie in any::<bool>(), noise in prop::collection::vec(-150i32..150, 5 * 16), truth in prop::collection::vec(-20_000i32..20_000, 16),
        ) {
            // Four honest validators with numerical noise; the fifth says the contrary, with any numbers.
            let honest = |n: usize| {
                let differences: Vec<i32> = truth.iter().zip(&noise[n * 16..]).map(|(t, n)| t + n).collect();
                vote(&differences, if lie { &[0, 0] } else { &[50, 20] })
            };
            let votes: Vec<VoteRecord> = (0..4).map(honest).collect();
            let liar = vote(&truth, if lie { &[50, 20] } else { &[0, 0] });
            let all: Vec<Option<&VoteRecord>> = votes.iter().chain([&liar]).map(Some).collect();
            let verdict = second_round(&findings(&all, &terms(), &usage()));
            prop_assert_eq!(verdict, if lie { VerdictRecord::Upheld } else { VerdictRecord::Overturned });
        }
    }
}
