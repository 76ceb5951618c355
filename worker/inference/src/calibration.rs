//! Calibration: how far honest machines are apart on a model, and how far cheats are from them.
//!
//! Several honest ways to compute the same model answer the same prompts, and so do cheats. Every honest way then checks
//! every answer. From half of the prompts come the terms that are proposed; the other half says how often they are wrong.
//! The other ways are made from the model's own file, so that no other software is needed; real machines differ in more
//! ways than these.

mod answers;
mod lazy;
mod report;
pub(crate) mod stacks;
mod terms;

use std::path::PathBuf;

pub use answers::Recorded;
pub use report::{Judged, Probed, Report, Row};
pub use terms::{Level, Outcome, Terms};

use crate::error::{Error, Result};
use stacks::Stack;

/// The prompts that are used unless others are given, one a line.
pub const PROMPTS: &str = include_str!("calibration/prompts.txt");

/// What to calibrate, and how much of it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The model's file or folder.
    pub model: PathBuf,
    /// What is asked; every prompt once greedily and once sampled.
    pub prompts: Vec<String>,
    /// Tokens of an answer, at most.
    pub tokens: u32,
    /// Greedy answers of other programs that compute the model honestly. Those to held-out prompts are checked as well; no
    /// terms are found from them.
    pub others: Vec<OtherAnswer>,
}

/// A greedy answer of another program.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherAnswer {
    /// The program.
    pub author: String,
    /// What it was asked.
    pub prompt: String,
    /// The prompt's tokens as it saw them.
    pub prompt_ids: Vec<u32>,
    /// The tokens of its answer.
    pub ids: Vec<u32>,
}

/// Runs the whole calibration. `progress` is told what is being done.
///
/// # Errors
/// If the model cannot be loaded or run, or if there are fewer than four prompts.
pub fn run(options: &Options, mut progress: impl FnMut(&str)) -> Result<Report> {
    if options.prompts.len() < 4 || options.tokens < 16 {
        return Err(Error::BadParameter(
            "calibration needs four prompts and 16 tokens at least, and says little below twenty prompts".into(),
        ));
    }
    let answers = answers_of_all(options, &mut progress)?;
    let mut votes = Vec::new();
    for (name, stack) in Stack::verifiers() {
        progress(&format!("{} answers checked by {name}", answers.len()));
        let model = stack.load(&options.model)?;
        for (index, answer) in answers.iter().enumerate() {
            votes.push(answer.check(&model, index, name)?);
        }
    }
    progress("validators that use a smaller model");
    let lazy = lazy::votes(&answers, options)?;
    Ok(report::make(options, &answers, &votes, &lazy))
}

/// The answers alone, unchecked: for tests in which somebody delivers them.
///
/// # Errors
/// If the model cannot be loaded or run.
pub fn record(options: &Options, mut progress: impl FnMut(&str)) -> Result<Vec<Recorded>> {
    let answers = answers_of_all(options, &mut progress)?;
    Ok(answers
        .iter()
        .map(|answer| answer.recorded(&options.prompts))
        .collect())
}

fn answers_of_all(
    options: &Options,
    progress: &mut impl FnMut(&str),
) -> Result<Vec<answers::Answered>> {
    let mut answers = Vec::new();
    for (name, stack) in Stack::authors() {
        progress(&format!("answers of {name}"));
        let model = stack.load(&options.model)?;
        answers.extend(answers::of_stack(&model, name, stack, options)?);
    }
    progress("answers of other cheats");
    let model = Stack::Usual.load(&options.model)?;
    let altered = answers::altered(&model, &answers, options)?;
    answers.extend(altered);
    answers.extend(answers::of_others(&model, options)?);
    Ok(answers)
}

/// What the author of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It computes the model.
    Honest,
    /// It computes something very near to it.
    Between,
    /// It does not.
    Cheat,
}

/// Every second prompt is held out: terms are found without it.
fn is_held_out(prompt: usize) -> bool {
    prompt % 2 == 1
}

#[cfg(test)]
#[path = "calibration/tests.rs"]
mod tests;
