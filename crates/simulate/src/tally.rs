//! Counting what came of jobs: of honest results and of cheats, and how long a cheat goes on before it is found.

use emc_escrow::records::{Refund, Stage};
use emc_protocol::Tokens;

/// What came of a job.
pub struct Outcome {
    /// The worker's place.
    pub worker: usize,
    /// True if the result was not the model's.
    pub cheat: bool,
    /// How it ended.
    pub stage: Stage,
    /// True if it was audited.
    pub drawn: bool,
    /// Rounds of the audit.
    pub rounds: usize,
    /// What was paid.
    pub charge: Tokens,
    /// What the worker asked.
    pub delivered_charge: Tokens,
    /// The most that could have been asked.
    pub locked: Tokens,
    /// The worker's bond.
    pub bond: Option<Tokens>,
    /// What of the lock was for auditors.
    pub audit_fee: Tokens,
}

/// Sums over jobs of one kind; amounts in e8s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Jobs.
    pub jobs: u64,
    /// Audited.
    pub drawn: u64,
    /// Audited in two rounds.
    pub twice: u64,
    /// Paid in full.
    pub settled: u64,
    /// Found wrong.
    pub overturned: u64,
    /// Nothing was decided.
    pub undecided: u64,
    /// Paid.
    pub charged: u128,
    /// What workers asked.
    pub asked: u128,
    /// The most that could have been asked.
    pub locked: u128,
    /// Bonds, where there were any.
    pub bonds: u128,
    /// Locked for auditors.
    pub audit_fees: u128,
}

impl Sums {
    fn add(&mut self, outcome: &Outcome) {
        self.jobs += 1;
        self.drawn += u64::from(outcome.drawn);
        self.twice += u64::from(outcome.rounds > 1);
        match outcome.stage {
            Stage::Settled => self.settled += 1,
            Stage::Refunded(Refund::Overturned) => self.overturned += 1,
            Stage::Undecided => self.undecided += 1,
            _ => {}
        }
        self.charged += outcome.charge.0;
        self.asked += outcome.delivered_charge.0;
        self.locked += outcome.locked.0;
        self.bonds += outcome.bond.unwrap_or_default().0;
        self.audit_fees += outcome.audit_fee.0;
    }

    /// The share of these jobs, from 0 to 1.
    pub fn share(&self, count: u64) -> f64 {
        count as f64 / self.jobs.max(1) as f64
    }
}

/// Sums of a market.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Results that were the model's.
    pub honest: Sums,
    /// Results that were not.
    pub cheats: Sums,
    /// Of each worker: jobs since it was last found cheating, and how many it had done each time it was.
    pub until_found: Vec<(u32, Vec<u32>)>,
}

impl Tally {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            honest: Sums::default(),
            cheats: Sums::default(),
            until_found: vec![(0, vec![]); workers],
        }
    }

    pub(crate) fn add(&mut self, outcome: &Outcome) {
        match outcome.cheat {
            true => self.cheats.add(outcome),
            false => self.honest.add(outcome),
        }
        let (since, found) = &mut self.until_found[outcome.worker];
        *since += 1;
        if outcome.stage == Stage::Refunded(Refund::Overturned) {
            found.push(std::mem::take(since));
        }
    }

    /// All jobs.
    pub fn jobs(&self) -> u64 {
        self.honest.jobs + self.cheats.jobs
    }
}

/// The value below which a share of the values lies; of an ordered list.
pub fn quantile(ordered: &[u32], share: f64) -> f64 {
    let at = (share * ordered.len().saturating_sub(1) as f64).round() as usize;
    ordered.get(at).copied().unwrap_or_default().into()
}
