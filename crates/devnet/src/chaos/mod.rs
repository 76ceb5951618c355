//! The whole market under faults, by seed: what a seed means is in [`plan`], what goes wrong in [`trouble`], who takes
//! part in [`requester`], [`worker`], [`validator`] and [`owner`], what must hold all the same in [`checks`].
//!
//! The network is held ([`held`]): its time moves, and its messages run, only when the run says so, and requests are
//! sent one after the other. So a seed leads to the same sequence of messages every time, on any machine;
//! `docs/testing.md` says what is left to chance.

pub mod calls;
pub mod checks;
pub mod held;
pub mod owner;
pub mod plan;
pub mod requester;
pub mod run;
pub mod stage;
pub mod tally;
pub mod trouble;
pub mod validator;
pub mod worker;

pub use run::run;
pub use tally::Tally;

/// Seeds that once failed, and what they found; each is run again by every run of the tests.
pub const KEPT: &str = include_str!("kept-seeds.txt");

/// The kept seeds: the first word of each line that is not a comment.
pub fn kept() -> Vec<u64> {
    let lines = KEPT
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    lines
        .filter_map(|line| line.split_whitespace().next())
        .map(|word| {
            word.parse()
                .expect("kept-seeds.txt begins each line with a seed")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_kept_seed_says_what_it_found() {
        let seeds = super::kept();
        let lines = super::KEPT.lines();
        let told =
            lines.filter(|line| !line.starts_with('#') && line.split_whitespace().nth(1).is_some());
        assert_eq!(told.count(), seeds.len());
    }
}
