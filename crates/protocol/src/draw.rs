//! What follows from random bytes: whether a job is audited, by whom, and what they are asked. Pure functions, so that
//! the escrow draws with them and anyone recomputes the draw from what it has recorded (`docs/spec/audit.md`).

use crate::JobId;
use crate::audit::{Candidate, PROBES, Probe};
use crate::canonical::Writer;

/// What a number is drawn for; keeps the numbers of one seed apart.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Purpose {
    Sampled = 0,
    SecondLook = 1,
    Seat = 2,
    Position = 3,
    Decoy = 4,
}

/// 128 random bits: SHA-256 of the domain, the seed, job, round, purpose and index; its first 16 bytes, little-endian.
fn number(seed: &[u8; 32], job: JobId, round: u32, purpose: Purpose, index: u32) -> u128 {
    let mut out = Writer::new("emc-draw-v1");
    out.raw(seed);
    out.u64(job);
    out.u32(round);
    out.u8(purpose as u8);
    out.u32(index);
    let hash = out.sha256();
    let mut low = [0; 16];
    low.copy_from_slice(&hash[..16]);
    u128::from_le_bytes(low)
}

fn happens(number: u128, chance: u16) -> bool {
    number % 10_000 < u128::from(chance)
}

/// True if a job that is audited with this chance (basis points) is drawn.
pub fn is_drawn(seed: &[u8; 32], job: JobId, chance: u16) -> bool {
    happens(number(seed, job, 1, Purpose::Sampled, 0), chance)
}

/// True if a job that the first round has upheld is looked at once more, with this chance (basis points).
pub fn is_looked_at_again(seed: &[u8; 32], job: JobId, chance: u16) -> bool {
    happens(number(seed, job, 2, Purpose::SecondLook, 0), chance)
}

/// Draws a committee, weighted by stake, of distinct owners: the places of its members among the candidates, in the
/// order of the draw. Fewer than `size` where there are not enough owners with a weight above zero.
pub fn committee(
    seed: &[u8; 32],
    job: JobId,
    round: u32,
    candidates: &[Candidate],
    size: usize,
) -> Vec<usize> {
    let mut left: Vec<usize> = (0..candidates.len())
        .filter(|&at| !candidates[at].weight.is_zero())
        .collect();
    let mut drawn = Vec::with_capacity(size);
    while drawn.len() < size {
        // Stakes are amounts that exist, so that their sum fits by far; a sum that did not would end the draw.
        let sum = left
            .iter()
            .try_fold(0u128, |sum, &at| sum.checked_add(candidates[at].weight.0));
        let Some(total) = sum.filter(|&sum| sum > 0) else {
            break;
        };
        let mut point = number(seed, job, round, Purpose::Seat, drawn.len() as u32) % total;
        let mut chosen = left[0];
        for &at in &left {
            let weight = candidates[at].weight.0;
            if point < weight {
                chosen = at;
                break;
            }
            point -= weight;
        }
        drawn.push(chosen);
        left.retain(|&at| candidates[at].owner != candidates[chosen].owner);
    }
    drawn
}

/// The probes of a round for an output of so many positions; none for an empty one.
pub fn probes(seed: &[u8; 32], job: JobId, round: u32, positions: u32) -> Vec<Probe> {
    if positions == 0 {
        return vec![];
    }
    let probe = |index: u32| Probe {
        position: (number(seed, job, round, Purpose::Position, index) % u128::from(positions))
            as u32,
        decoy: number(seed, job, round, Purpose::Decoy, index) as u64,
    };
    (0..PROBES as u32).map(probe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tokens;
    use candid::Principal;
    use proptest::prelude::*;

    fn candidates(weights: &[(u8, u128)]) -> Vec<Candidate> {
        let candidate = |(index, &(owner, weight)): (usize, &(u8, u128))| Candidate {
            node: Principal::from_slice(&[1, index as u8]),
            owner: Principal::from_slice(&[2, owner]),
            weight: Tokens(weight),
        };
        weights.iter().enumerate().map(candidate).collect()
    }

    fn seed(n: u64) -> [u8; 32] {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&n.to_le_bytes());
        seed
    }

    #[test]
    fn a_chance_is_met_as_often_as_it_says() {
        let drawn = (0..20_000)
            .filter(|&n| is_drawn(&seed(n), 7, 1_000))
            .count();
        // Four standard errors of a tenth of 20,000.
        assert!((drawn as i64 - 2_000).abs() < 170, "{drawn}");
        assert!((0..100).all(|n| is_drawn(&seed(n), n, 10_000) && !is_drawn(&seed(n), n, 0)));
    }

    #[test]
    fn a_seat_goes_to_a_candidate_as_often_as_its_stake_says() {
        let candidates = candidates(&[(0, 100), (1, 300), (2, 600)]);
        let mut counts = [0u32; 3];
        (0..10_000).for_each(|n| counts[committee(&seed(n), 1, 1, &candidates, 1)[0]] += 1);
        for (count, wanted) in counts.into_iter().zip([1_000, 3_000, 6_000]) {
            assert!(count.abs_diff(wanted) < 200, "{counts:?}");
        }
    }

    proptest! {
        #[test]
        fn a_committee_has_distinct_owners_and_nobody_without_stake(
            n: u64, weights in prop::collection::vec((0u8..12, prop_oneof![Just(0u128), 1u128..1_000_000]), 0..40), size in 0usize..9,
        ) {
            let candidates = candidates(&weights);
            let drawn = committee(&seed(n), 3, 2, &candidates, size);
            let mut owners: Vec<_> = drawn.iter().map(|&at| candidates[at].owner).collect();
            owners.sort();
            owners.dedup();
            prop_assert_eq!(owners.len(), drawn.len());
            prop_assert!(drawn.iter().all(|&at| !candidates[at].weight.is_zero()));
            let mut able: Vec<_> = candidates.iter().filter(|c| !c.weight.is_zero()).map(|c| c.owner).collect();
            able.sort();
            able.dedup();
            prop_assert_eq!(drawn.len(), size.min(able.len()));
        }

        #[test]
        fn probes_lie_inside_the_output_and_differ_between_rounds(n: u64, positions in 1u32..5_000) {
            let first = probes(&seed(n), 5, 1, positions);
            prop_assert!(first.len() == PROBES && first.iter().all(|probe| probe.position < positions));
            prop_assert_ne!(first, probes(&seed(n), 5, 2, positions));
        }
    }
}
