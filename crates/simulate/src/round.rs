//! What follows deliveries: random bytes, committees, votes by habit, until every job is final.

use crate::market::{Delivered, Market};
use crate::people::ValidatorHabit;
use anyhow::{Context, Result, bail};
use candid::Principal;
use emc_escrow::{audit, draw, native};
use emc_protocol::Seconds;
use emc_protocol::audit::{AuditTask, CommitArgs, Probe, RevealArgs, Vote};
use rand::Rng;

/// From a delivery to its draw.
const DRAW: Seconds = Seconds(2);
/// From a draw to all commitments: one prefill of the model.
const COMMIT: Seconds = Seconds(5);
/// From the commitments to all votes.
const REVEAL: Seconds = Seconds(2);
/// Draws that one batch may take: a first, and two for each round, for every fifty jobs. More would be a loop.
const DRAWS: usize = 1_000;

/// The same for whoever runs the model, but for rounding.
fn difference(job: u64, probe: &Probe) -> i32 {
    let mixed = (probe.decoy ^ job.rotate_left(21) ^ u64::from(probe.position) << 40)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as i32 % 30_000 - 10_000
}

impl Market {
    /// Draws and votes until every delivered job is final.
    pub(crate) fn until_final(&mut self, delivered: &[Delivered]) -> Result<()> {
        let mut pending: Vec<&Delivered> = delivered.iter().collect();
        for _ in 0..DRAWS {
            let Some(upto) = draw::begin(&self.state) else {
                return Ok(());
            };
            self.pass(DRAW);
            let seed = self.rng.r#gen();
            draw::draw(&mut self.state, self.now, upto, &seed);
            let (mut left, mut rounds) = (Vec::new(), Vec::new());
            for job in pending {
                let Some(record) = native::audit(&self.state, job.id) else {
                    continue;
                };
                let waits_for_draw = record.seed.is_none();
                if record.verdict.is_none() && (record.drawn || waits_for_draw) {
                    left.push(job);
                }
                if let Some(round) = record.rounds.last().filter(|round| !round.over) {
                    let seats = round.seats.iter().map(|seat| seat.node).collect();
                    rounds.push((job, seats));
                }
            }
            self.play_rounds(rounds)?;
            pending = left;
        }
        bail!("after {DRAWS} draws there is still something to draw")
    }

    /// Committees commit and reveal, side by side.
    fn play_rounds(&mut self, rounds: Vec<(&Delivered, Vec<Principal>)>) -> Result<()> {
        let mut votes = Vec::new();
        if !rounds.is_empty() {
            self.pass(COMMIT);
        }
        for (job, seats) in rounds {
            let first = *seats.first().context("a committee has a member")?;
            let task = audit::task(&self.state, first, job.id)?;
            for validator in seats {
                let vote = self.vote(&task, self.validator_places[&validator], job);
                let salt: [u8; 32] = self.rng.r#gen();
                let (job_id, round) = (job.id, task.round);
                let hash = vote.commitment(self.escrow, job_id, round, validator, &salt);
                let args = CommitArgs {
                    job_id,
                    round,
                    commitment: hash.to_vec(),
                };
                audit::commit(&mut self.state, self.now, validator, &args)?;
                let salt = salt.to_vec();
                let args = RevealArgs {
                    job_id,
                    round,
                    salt,
                    vote,
                };
                votes.push((validator, args));
            }
        }
        if !votes.is_empty() {
            self.pass(REVEAL);
        }
        for (validator, args) in votes {
            audit::reveal(&mut self.state, self.now, validator, args)?;
        }
        Ok(())
    }

    fn vote(&mut self, task: &AuditTask, validator: usize, job: &Delivered) -> Vote {
        let habit = self.validators[validator].1;
        let slip = self.rng.r#gen::<f64>();
        let outside = match habit {
            ValidatorHabit::Colludes => !job.cheat,
            ValidatorHabit::Honest if job.cheat => slip >= self.errors.miss,
            ValidatorHabit::Honest => job.looks_wrong || slip < self.errors.vote,
        };
        let positions = task.output.ids.len() as u32;
        let probes = task.probes.iter();
        let differences =
            probes.map(|probe| difference(task.job_id, probe) + self.rng.gen_range(-400..=400));
        Vote {
            positions,
            matches: if outside { 0 } else { positions },
            largest_gap_milli: if outside { 9_000 } else { 300 },
            mean_gap_milli: if outside { 3_000 } else { 4 },
            differences: differences.collect(),
            above: vec![if outside { positions } else { 0 }; task.terms.levels.len()],
            prompt_tokens: task.usage.prompt_tokens,
            ends_right: true,
            text_right: true,
        }
    }
}
