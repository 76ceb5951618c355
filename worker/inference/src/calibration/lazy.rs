//! Validators that do not run the model: what is needed to tell them from honest ones by the differences at the probes.

use super::answers::{Answered, Vote};
use super::stacks::Stack;
use super::{Kind, Options, is_held_out};
use crate::error::Result;

/// Votes on honest answers by validators that use a smaller model, or one of the wrong layers.
pub(crate) fn votes(answers: &[Answered], options: &Options) -> Result<Vec<Vote>> {
    let cheats = Stack::authors()
        .into_iter()
        .filter(|(_, stack)| stack.kind() != Kind::Honest);
    let mut votes = Vec::new();
    for (name, stack) in cheats {
        let model = stack.load(&options.model)?;
        for (index, answer) in answers.iter().enumerate() {
            if answer.author == Stack::honest()[0].0 && is_held_out(answer.prompt) {
                votes.push(answer.check(&model, index, name)?);
            }
        }
    }
    Ok(votes)
}
