//! What a seed means: who takes part, how long it lasts, and the generator that everything else is chosen with.

use crate::votes::Opinion;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// Honest validators of every run: enough that two dishonest ones stay under a fifth of a fresh committee's pool.
pub const VALIDATORS: usize = 8;
/// Honest workers of every run.
pub const WORKERS: usize = 3;
/// Every so many-th seed has adversaries.
const ADVERSARIES_EVERY: u64 = 3;

/// All that a run chooses, it chooses with this.
pub struct Dice(StdRng);

impl Dice {
    /// The dice of a seed.
    pub fn of(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed ^ 0xc4a0_5c4a_05c4_a05c))
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, chance: u32) -> bool {
        self.0.gen_range(0..100) < chance
    }

    /// A number from `least` to `most`.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        self.0.gen_range(least..=most)
    }

    /// One of several; there is at least one.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.0.gen_range(0..from.len())]
    }

    /// Changes an order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        list.shuffle(&mut self.0);
    }

    /// Bytes for a memo or a request key.
    pub fn bytes(&mut self) -> [u8; 16] {
        self.0.r#gen()
    }
}

/// What a requester does beside asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Nothing.
    Ordinary,
    /// Cancels some of its jobs.
    Cancelling,
    /// Sends every submission again, as after a lost connection.
    Repeating,
    /// Moves money in, by both ways, and out.
    Moving,
}

/// How a worker works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// Delivers the model's answer.
    Honest,
    /// Delivers another one.
    Lying,
    /// Claims and delivers nothing.
    Silent,
}

/// What a seed means.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Steps under faults.
    pub steps: u32,
    /// The requesters.
    pub requesters: Vec<Habit>,
    /// The workers, honest ones first.
    pub workers: Vec<Conduct>,
    /// The validators, honest ones first.
    pub validators: Vec<Opinion>,
}

impl Plan {
    /// The plan of a seed, and the dice for the rest.
    pub fn of(seed: u64) -> (Self, Dice) {
        let mut dice = Dice::of(seed);
        let mut plan = Self {
            seed,
            steps: dice.between(30, 45) as u32,
            requesters: vec![
                Habit::Ordinary,
                Habit::Cancelling,
                Habit::Repeating,
                Habit::Moving,
            ],
            workers: vec![Conduct::Honest; WORKERS],
            validators: vec![Opinion::Within; VALIDATORS],
        };
        if seed.is_multiple_of(ADVERSARIES_EVERY) {
            plan.add_adversaries(&mut dice);
        }
        (plan, dice)
    }

    /// Some of: a liar, a silent worker, two dishonest validators; at least one.
    fn add_adversaries(&mut self, dice: &mut Dice) {
        let before = self.workers.len() + self.validators.len();
        while before == self.workers.len() + self.validators.len() {
            for conduct in [Conduct::Lying, Conduct::Silent] {
                if dice.percent(50) {
                    self.workers.push(conduct);
                }
            }
            if dice.percent(50) {
                let opinions = [Opinion::Unread, Opinion::Silent];
                self.validators.push(*dice.pick(&opinions));
                self.validators.push(*dice.pick(&opinions));
            }
        }
    }

    /// True if somebody does not play by the rules.
    pub fn has_adversary(&self) -> bool {
        self.workers.len() > WORKERS || self.validators.len() > VALIDATORS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_each_time_and_every_third_has_adversaries() {
        for seed in 0..60 {
            let ((plan, mut dice), (again, mut same)) = (Plan::of(seed), Plan::of(seed));
            assert_eq!(format!("{plan:?}"), format!("{again:?}"));
            assert_eq!(dice.bytes(), same.bytes());
            assert_eq!(plan.has_adversary(), seed % ADVERSARIES_EVERY == 0);
        }
        assert_ne!(Dice::of(1).bytes(), Dice::of(2).bytes());
    }
}
