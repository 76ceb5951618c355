//! How the echo engine checks an answer that another node made (`docs/spec/audit.md`).
//!
//! It has a rule instead of a model, so its logits are made of the rule: the token that the rule wants has the largest
//! one by far, and every other token one of its own that depends on position and token alone. Whoever has the rule comes
//! to the same numbers, exactly.

use emc_protocol::audit::{AuditTask, Probe, Vote};
use emc_protocol::{FinishReason, JobInput};

use super::{END, answer, text_of};
use crate::answer::Answer;
use crate::engine::EngineError;

/// Bytes and the end token.
const VOCABULARY: u64 = END as u64 + 1;
/// The logit of the token that the rule wants, in thousandths. All others are below half of it.
const WANTED: u32 = 20_000;

/// The vote on an answer to a prompt of so many tokens.
pub(super) fn check(task: &AuditTask, prompt: usize) -> Result<Vote, EngineError> {
    let input = task
        .input
        .as_ref()
        .ok_or_else(|| EngineError::Unsuitable("this kind of job is not known here".into()))?;
    let ids = &task.output.ids;
    let rule = Rule::of(input);
    let known = ids.iter().position(|&id| u64::from(id) >= VOCABULARY);
    let room = (task.context as usize).saturating_sub(prompt);
    let computable = known.unwrap_or(ids.len()).min(room);
    let gaps: Vec<u32> = ids
        .iter()
        .enumerate()
        .map(|(at, &id)| match at < computable {
            true => WANTED - rule.logit(at, id.into()),
            false => u32::MAX,
        })
        .collect();
    let difference = |probe: &Probe| {
        let at = probe.position as usize;
        let chosen = u64::from(*ids.get(at)?);
        if at >= computable {
            return Some(i32::MIN);
        }
        let decoy = match probe.decoy % VOCABULARY {
            decoy if decoy == chosen => (decoy + 1) % VOCABULARY,
            decoy => decoy,
        };
        // Both are at most WANTED.
        Some(rule.logit(at, chosen) as i32 - rule.logit(at, decoy) as i32)
    };
    let differences: Option<Vec<i32>> = task.probes.iter().map(difference).collect();
    let limit = room.min(task.parameters.max_tokens as usize);
    let ending = Ending::of(ids, &task.parameters.stop, limit);
    let sum: u64 = gaps.iter().map(|&gap| u64::from(gap)).sum();
    let above = |level: u32| gaps.iter().filter(|&&gap| gap > level).count() as u32;
    Ok(Vote {
        positions: ids.len() as u32,
        matches: gaps.iter().filter(|&&gap| gap == 0).count() as u32,
        largest_gap_milli: gaps.iter().copied().max().unwrap_or(0),
        mean_gap_milli: sum.checked_div(ids.len() as u64).unwrap_or(0) as u32,
        above: task
            .terms
            .levels
            .iter()
            .map(|level| above(level.above_milli))
            .collect(),
        prompt_tokens: prompt as u64,
        ends_right: ending.ids == ids.len() && ending.reason == Some(task.output.finish_reason),
        text_right: ending.text == task.output.text,
        differences: differences
            .ok_or_else(|| EngineError::Unsuitable("a probe lies outside of the answer".into()))?,
    })
}

/// What should be said, byte by byte.
struct Rule(String);

impl Rule {
    fn of(input: &JobInput) -> Self {
        Self(answer(input))
    }

    /// In thousandths.
    fn logit(&self, at: usize, token: u64) -> u32 {
        let wanted = self.0.as_bytes().get(at).map_or(END, |&byte| byte.into());
        if token == u64::from(wanted) {
            return WANTED;
        }
        let mixed = (at as u64)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(token)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed >> 32) % u64::from(WANTED / 2)) as u32
    }
}

/// Where the rules end an answer of these ids.
struct Ending {
    ids: usize,
    reason: Option<FinishReason>,
    text: String,
}

impl Ending {
    fn of(ids: &[u32], stops: &[String], limit: usize) -> Self {
        let mut pending = vec![];
        let mut made = Answer::new(stops);
        for (at, &id) in ids.iter().enumerate() {
            let reason = match id {
                END => Some(FinishReason::Stop),
                _ => (at + 1 >= limit).then_some(FinishReason::Length),
            };
            let stopped = made.push(id, &text_of(&mut pending, id, reason.is_some()));
            let reason = stopped.then_some(FinishReason::StopString).or(reason);
            if let Some(reason) = reason {
                return Self {
                    ids: at + 1,
                    reason: Some(reason),
                    text: made.output(reason, "").text,
                };
            }
        }
        let rest = match pending.is_empty() {
            true => String::new(),
            false => char::REPLACEMENT_CHARACTER.to_string(),
        };
        Self {
            ids: ids.len(),
            reason: None,
            text: made.output(FinishReason::Length, &rest).text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_escrow::audits::task;

    fn vote(task: &AuditTask) -> Vote {
        check(task, task.usage.prompt_tokens as usize).expect("checks")
    }

    #[test]
    fn the_rule_s_own_answer_has_no_gap() {
        let task = task("hällo world");
        let vote = vote(&task);
        assert_eq!((vote.positions, vote.matches), (13, 13));
        assert_eq!((vote.largest_gap_milli, &vote.above[..]), (0, &[0][..]));
        assert!(vote.ends_right && vote.text_right);
        assert!(
            vote.differences
                .iter()
                .all(|difference| *difference > 9_000)
        );
    }

    #[test]
    fn another_answer_is_far_away_and_numbers_do_not_depend_on_the_job() {
        let mut wrong = task("hello");
        wrong.output.ids[0] = u32::from(b'j');
        let found = vote(&wrong);
        assert!(
            found.largest_gap_milli > 9_000 && found.above == [1],
            "{found:?}"
        );
        assert!(!found.text_right && found.ends_right);
        let mut later = wrong.clone();
        (later.job_id, later.seed) = (77, 78);
        assert_eq!(vote(&later), found);
    }

    #[test]
    fn ids_that_do_not_exist_and_ends_that_are_not_right_are_found() {
        let mut unknown = task("hello");
        unknown.output.ids[2] = 5_000;
        let found = vote(&unknown);
        assert_eq!((found.matches, found.largest_gap_milli), (2, u32::MAX));
        assert!(found.differences.contains(&i32::MIN));
        let mut cut = task("hello");
        cut.output.ids.truncate(3);
        cut.output.text = "hel".into();
        cut.probes.iter_mut().for_each(|probe| probe.position = 0);
        assert!(!vote(&cut).ends_right && vote(&cut).text_right);
        cut.parameters.max_tokens = 3;
        cut.output.finish_reason = FinishReason::Length;
        assert!(vote(&cut).ends_right);
        let mut stopped = task("hello");
        stopped.parameters.stop = vec!["ll".into()];
        assert!(!vote(&stopped).ends_right);
        stopped.output.ids.truncate(4);
        stopped
            .probes
            .iter_mut()
            .for_each(|probe| probe.position = 0);
        stopped.output.text = "he".into();
        stopped.output.finish_reason = FinishReason::StopString;
        assert!(vote(&stopped).ends_right && vote(&stopped).text_right);
    }

    #[test]
    fn a_probe_outside_of_the_answer_is_no_finding() {
        let mut wrong = task("hello");
        wrong.probes[0].position = 6;
        assert!(check(&wrong, 3).is_err());
    }
}
