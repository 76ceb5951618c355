//! Checks an answer that another machine made, by one prefill over prompt and answer (`docs/spec/audit.md`).
//!
//! At every position of the answer the token that was chosen is compared with what the rule chooses from this machine's
//! own logits. The work is that of reading a prompt of the same length; memory does not grow with length times
//! vocabulary, since logits are looked at a few rows at a time.

use crate::adjust::History;
use crate::ending::Ending;
use crate::error::{Error, Result};
use crate::model::{LOGITS, Model};
use crate::sequence::{FinishReason, SamplingParams};

/// Positions that are computed at a time.
const BLOCK: usize = 512;
/// An answer, as it was delivered, and what it was to be.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The prompt's ids, as this machine's own tokenizer gives them.
    pub prompt: &'a [u32],
    /// The answer's ids. Anything may be in it: it is what is to be checked.
    pub ids: &'a [u32],
    /// Why it is said to have ended.
    pub reason: FinishReason,
    /// Its text, a stop string and what follows cut off.
    pub text: &'a str,
    /// How it was to be made.
    pub params: &'a SamplingParams,
    /// Tokens that prompt and answer might have together on the machine that made it.
    pub context: usize,
}

/// A place at which a difference of logits is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// The position in the answer, from 0.
    pub position: u32,
    /// The token to compare with: modulo the size of the vocabulary, and the next one if that is the chosen token.
    pub decoy: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapStats {
    /// Positions of the answer: the number of its ids.
    pub positions: u32,
    /// At how many the chosen token is this machine's choice too.
    pub matches: u32,
    /// The largest gap, in thousandths of a logit.
    pub largest_gap_milli: u32,
    /// The mean gap, in thousandths of a logit, rounded down.
    pub mean_gap_milli: u32,
    /// How many positions lie above each of the levels that were given.
    pub above: Vec<u32>,
    /// At each probe: logit of the chosen token minus logit of the decoy, in thousandths.
    pub differences: Vec<i32>,
    /// The prompt's tokens.
    pub prompt_tokens: u64,
    /// True if the answer ends where and why the rules say.
    pub ends_right: bool,
    /// True if the text is that of the ids.
    pub text_right: bool,
}

/// What was found at each position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Positions {
    /// In thousandths of a logit.
    pub gaps: Vec<u32>,
    pub matches: u32,
    pub differences: Vec<i32>,
}

impl Model {
    /// Checks an answer. `levels_milli` are the gaps above which positions are counted.
    ///
    /// # Errors
    /// Only where this machine cannot check it, or was asked wrongly: an empty or foreign prompt, parameters out of
    /// range, a probe outside the answer, a context longer than this model was loaded with. Whatever is wrong with the
    /// answer itself is a finding.
    pub fn verify(
        &self,
        claim: &Claim<'_>,
        probes: &[Probe],
        levels_milli: &[u32],
    ) -> Result<GapStats> {
        let rows = (LOGITS / self.info().vocabulary.max(1)).max(1);
        let found = self.compare(claim, probes, BLOCK, rows)?;
        Ok(found.stats(claim, &self.ending(claim), levels_milli))
    }

    /// Where the rules end the answer.
    pub(crate) fn ending(&self, claim: &Claim<'_>) -> Ending {
        let room = claim.context.saturating_sub(claim.prompt.len());
        let limit = room.min(claim.params.max_tokens as usize);
        Ending::of(&self.text(), claim.ids, claim.params, limit)
    }

    /// Gaps and differences, with `block` positions computed and `rows` of logits held at a time.
    pub(crate) fn compare(
        &self,
        claim: &Claim<'_>,
        probes: &[Probe],
        block: usize,
        rows: usize,
    ) -> Result<Positions> {
        let choice = claim.params.choice();
        choice.validate()?;
        claim.params.adjustments.validate()?;
        let vocabulary = self.info().vocabulary;
        if claim.prompt.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        let unknown = |id: &u32| *id as usize >= vocabulary;
        if let Some(id) = claim.prompt.iter().find(|&id| unknown(id)) {
            return Err(Error::BadParameter(format!(
                "the prompt's id {id} is outside the model's vocabulary"
            )));
        }
        let count = u32::try_from(claim.ids.len());
        let count = count.map_err(|_| Error::BadParameter("the answer is too long".into()))?;
        if let Some(probe) = probes.iter().find(|probe| probe.position >= count) {
            let position = probe.position;
            return Err(Error::BadParameter(format!(
                "there is no position {position} in an answer of {count} tokens"
            )));
        }

        // What no honest machine can have computed keeps the largest gap: after an id that does not exist, and beyond
        // the context.
        let mut found = Positions {
            gaps: vec![u32::MAX; claim.ids.len()],
            matches: 0,
            differences: vec![i32::MIN; probes.len()],
        };
        let known = claim.ids.iter().position(unknown);
        let known = known.unwrap_or(claim.ids.len());
        let known = known.min(claim.context.saturating_sub(claim.prompt.len()));
        if known == 0 {
            return Ok(found);
        }
        let sequence = [claim.prompt, &claim.ids[..known - 1]].concat();
        // The last token takes a place too, though nothing is computed after it.
        let context = self.info().context;
        if sequence.len() + 1 > context {
            return Err(Error::BadParameter(format!(
                "prompt and answer have {} tokens, but the model is loaded with a context of {context}",
                sequence.len() + 1
            )));
        }
        let mut by_position: Vec<usize> = (0..probes.len()).collect();
        by_position.sort_by_key(|&probe| probes[probe].position);
        let mut by_position = by_position.into_iter().peekable();
        let first = claim.prompt.len() - 1;
        // As long as the author's might have become: that decides how positions are turned.
        let capacity = claim.prompt.len() + claim.params.max_tokens as usize;
        let mut reading = self.reading(sequence.len(), capacity.min(claim.context))?;
        let adjustments = &claim.params.adjustments;
        let mut history = (!adjustments.is_off()).then(|| History::new(claim.prompt));
        let grammar = claim.params.grammar.as_ref();
        let constraint = grammar.map(|grammar| self.text().constrain(grammar));
        let mut constraint = constraint.transpose()?;
        let mut changed = Vec::new();
        let mut start = 0;
        for block in sequence.chunks(block.max(1)) {
            let from = first.saturating_sub(start).min(block.len());
            self.read_each(&mut reading, block, from, rows, |index, logits| {
                let position = start + index - first;
                let (at, chosen) = (position as u32, claim.ids[position]);
                let before = position.checked_sub(1).map(|before| claim.ids[before]);
                if let (Some(history), Some(before)) = (&mut history, before) {
                    history.push(before);
                }
                if let (Some(constraint), Some(before)) = (&mut constraint, before) {
                    constraint.accept(before);
                }
                let gap = if history.is_none() && constraint.is_none() {
                    choice.gap(logits, at, chosen)?
                } else {
                    changed.clear();
                    changed.extend_from_slice(logits);
                    if let Some(history) = &history {
                        adjustments.apply(&mut changed, history);
                    }
                    if let Some(constraint) = &mut constraint {
                        constraint.restrict(&mut changed)?;
                    }
                    choice.gap(&changed, at, chosen)?
                };
                found.gaps[position] = thousandths(gap.gap) as u32;
                found.matches += u32::from(gap.is_match);
                while let Some(probe) = by_position.next_if(|&probe| probes[probe].position == at) {
                    found.differences[probe] = difference(logits, chosen, probes[probe].decoy);
                }
                Ok(())
            })?;
            start += block.len();
        }
        Ok(found)
    }
}

impl Ending {
    /// True if the answer ends here, and for the reason that it claims.
    pub(crate) fn is_right(&self, claim: &Claim<'_>) -> bool {
        self.ids == claim.ids.len() && self.reason == Some(claim.reason)
    }
}

impl Positions {
    /// Sums up.
    fn stats(self, claim: &Claim<'_>, ending: &Ending, levels_milli: &[u32]) -> GapStats {
        let count = self.gaps.len() as u64;
        let sum: u64 = self.gaps.iter().map(|&gap| u64::from(gap)).sum();
        let above = |level: &u32| self.gaps.iter().filter(|&gap| gap > level).count() as u32;
        GapStats {
            positions: count as u32,
            matches: self.matches,
            largest_gap_milli: self.gaps.iter().copied().max().unwrap_or(0),
            mean_gap_milli: sum.checked_div(count).unwrap_or(0) as u32,
            above: levels_milli.iter().map(above).collect(),
            differences: self.differences,
            prompt_tokens: claim.prompt.len() as u64,
            ends_right: ending.is_right(claim),
            text_right: ending.text == claim.text,
        }
    }
}

/// A number of logits in thousandths, to the nearest (halves away from zero), at most 2^32 - 1 and at least -2^31.
fn thousandths(logits: f64) -> i64 {
    let rounded = libm::round(logits * 1000.0);
    (rounded as i64).clamp(i32::MIN.into(), u32::MAX.into())
}

/// Logit of the chosen token minus that of the decoy, in thousandths.
fn difference(logits: &[f32], chosen: u32, decoy: u64) -> i32 {
    let vocabulary = logits.len() as u64;
    let mut other = decoy % vocabulary;
    if other == u64::from(chosen) {
        other = (other + 1) % vocabulary;
    }
    let apart = f64::from(logits[chosen as usize]) - f64::from(logits[other as usize]);
    thousandths(apart).min(i32::MAX.into()) as i32
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
