//! Verdicts that are wrong: honest work overturned and cheats upheld, by validators that err and validators that
//! collude. Every job is audited (`always`), half of the workers cheat.

use crate::frontier::{each, play};
use crate::market::{Market, Setup};
use crate::people::{Errors, ValidatorHabit, WorkerHabit};
use crate::tally::Sums;
use anyhow::Result;
use emc_protocol::audit::Assurance;

/// Validators of each market, all with the same stake.
pub const VALIDATORS: usize = 20;

/// What validators are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Case {
    /// How many of the [`VALIDATORS`] collude.
    pub colluding: usize,
    /// How often the others are wrong.
    pub errors: Errors,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdicts {
    /// What validators were like.
    pub case: Case,
    /// Honest results.
    pub honest: Sums,
    /// Cheats.
    pub cheats: Sums,
    /// Bonds that an honest validator lost, e8s an audited job.
    pub honest_validators_lost: f64,
    /// Bonds that a colluding one lost.
    pub colluding_validators_lost: f64,
}

/// The cases of the page: a share that colludes, without errors; then errors, with nobody colluding.
pub fn cases() -> Vec<Case> {
    let none = Errors::default();
    let colluding = (0..=5).map(|tenths| Case {
        colluding: tenths * VALIDATORS / 10,
        errors: none,
    });
    let errors = [
        Errors {
            answer: 0.04,
            ..none
        },
        Errors { vote: 0.04, ..none },
        Errors { vote: 0.1, ..none },
        Errors { miss: 0.1, ..none },
    ];
    let erring = errors.map(|errors| Case {
        colluding: 0,
        errors,
    });
    // Both at once: a fifth colludes, and the others err as often as the calibration cannot exclude.
    let both = Case {
        colluding: VALIDATORS / 5,
        errors: Errors { vote: 0.04, ..none },
    };
    colluding.chain(erring).chain([both]).collect()
}

/// Plays one case.
///
/// # Errors
/// As [`Market::play`].
pub fn verdicts(seed: u64, case: Case, jobs: usize) -> Result<Verdicts> {
    let mut validators = vec![ValidatorHabit::Honest; VALIDATORS];
    validators[..case.colluding].fill(ValidatorHabit::Colludes);
    let mut workers = vec![WorkerHabit::HONEST; 8];
    workers[4..].fill(WorkerHabit::CHEAT);
    let mut market = Market::new(Setup {
        workers,
        validators,
        errors: case.errors,
        ..Setup::new(seed)
    })?;
    play(&mut market, jobs, |market| market.order(Assurance::Always))?;
    market.check_conservation()?;
    let lost = |habit: ValidatorHabit| {
        let mine = market.validators.iter().filter(|(_, h)| *h == habit);
        let (count, burned) = mine.fold((0u32, 0.0), |(count, sum), (node, _)| {
            (count + 1, sum + node.burned as f64)
        });
        burned / f64::from(count.max(1)) / jobs as f64
    };
    Ok(Verdicts {
        case,
        honest: market.tally.honest,
        cheats: market.tally.cheats,
        honest_validators_lost: lost(ValidatorHabit::Honest),
        colluding_validators_lost: lost(ValidatorHabit::Colludes),
    })
}

/// Plays these cases, on every processor.
///
/// # Errors
/// As [`verdicts`].
pub fn run(
    seed: u64,
    cases: &[Case],
    jobs: usize,
    done: impl Fn() + Sync,
) -> Result<Vec<Verdicts>> {
    let all = each(cases, |number, &case| {
        let verdicts = verdicts(seed + number as u64, case, jobs);
        done();
        verdicts
    });
    all.into_iter().collect()
}
