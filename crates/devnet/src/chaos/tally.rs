//! What a run came to: jobs by their ends, calls, strikes of each kind of trouble; summed up over seeds.

use super::trouble::KINDS;
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::fmt;

/// Of a hundred jobs that their requesters did not cancel, so many must be settled where nobody cheats.
const LEAST_SETTLED: u64 = 80;

/// Figures of one run, or of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs.
    pub seeds: u64,
    /// Steps.
    pub steps: u64,
    /// Calls of everybody.
    pub calls: u64,
    /// Those that were refused, or failed.
    pub refused: u64,
    /// Messages that canisters ran.
    pub messages: u64,
    /// Jobs.
    pub jobs: u64,
    /// Jobs that were paid for.
    pub settled: u64,
    /// Jobs that their requesters cancelled.
    pub cancelled: u64,
    /// Jobs that ended otherwise without a result.
    pub refunded: u64,
    /// Jobs that were refunded after an audit.
    pub overturned: u64,
    /// Jobs of which an audit did not decide.
    pub undecided: u64,
    /// Jobs that were audited.
    pub audited: u64,
    /// Leases that lapsed.
    pub lapsed: u64,
    /// Jobs of runs without an adversary that were not cancelled, and how many of them were settled.
    pub honest: (u64, u64),
    /// How often each kind of trouble struck.
    pub struck: BTreeMap<&'static str, u64>,
    /// A hash over all messages in their order: the same for the same run.
    pub digest: [u8; 32],
}

impl Tally {
    /// Counts strikes.
    pub fn strike(&mut self, kind: &'static str, times: u64) {
        *self.struck.entry(kind).or_default() += times;
    }

    /// Adds another run's figures.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.seeds, other.seeds),
            (&mut self.steps, other.steps),
            (&mut self.calls, other.calls),
            (&mut self.refused, other.refused),
            (&mut self.messages, other.messages),
            (&mut self.jobs, other.jobs),
            (&mut self.settled, other.settled),
            (&mut self.cancelled, other.cancelled),
            (&mut self.refunded, other.refunded),
            (&mut self.overturned, other.overturned),
            (&mut self.undecided, other.undecided),
            (&mut self.audited, other.audited),
            (&mut self.lapsed, other.lapsed),
            (&mut self.honest.0, other.honest.0),
            (&mut self.honest.1, other.honest.1),
        ];
        for (sum, more) in pairs {
            *sum += more;
        }
        for (kind, times) in &other.struck {
            self.strike(kind, *times);
        }
    }

    /// Checks what must hold over many seeds: that jobs were settled, and that every kind of trouble struck.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self) -> Result<()> {
        let (jobs, settled) = self.honest;
        ensure!(
            100 * settled >= LEAST_SETTLED * jobs && jobs > 0,
            "without an adversary only {settled} of {jobs} jobs were settled; it should be {LEAST_SETTLED} of a hundred"
        );
        for kind in KINDS {
            let times = self.struck.get(kind).copied().unwrap_or_default();
            ensure!(times > 0, "this never struck: {kind}");
        }
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} jobs: {} settled, {} cancelled, {} refunded, {} overturned, {} undecided; {} audited, {} lapsed; {} calls, {} \
             refused; {} messages; {} strikes",
            self.jobs,
            self.settled,
            self.cancelled,
            self.refunded,
            self.overturned,
            self.undecided,
            self.audited,
            self.lapsed,
            self.calls,
            self.refused,
            self.messages,
            self.struck.values().sum::<u64>()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Tally {
        let mut tally = Tally {
            honest: (100, 80),
            ..Tally::default()
        };
        for kind in KINDS {
            tally.strike(kind, 1);
        }
        tally
    }

    #[test]
    fn runs_in_which_too_little_happened_fail() {
        good().check().expect("this is enough");
        let mut sum = good();
        sum.add(&good());
        assert_eq!((sum.honest, sum.struck[KINDS[0]]), ((200, 160), 2));
        let unsettled = Tally {
            honest: (100, 79),
            ..good()
        };
        assert!(unsettled.check().is_err());
        let mut harmless = good();
        harmless.struck.insert(KINDS[4], 0);
        let error = harmless.check().expect_err("nothing was late");
        assert!(error.to_string().contains(KINDS[4]));
        assert!(Tally::default().check().is_err());
    }
}
