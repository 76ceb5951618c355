//! Changes that a request makes to logits before a token is chosen from them (`docs/spec/sampling.md`, section 4):
//! penalties for what was said before, and a bias for tokens of its choice.

use std::collections::HashMap;

use crate::error::{Error, Result};

/// Tokens that a bias may name.
pub const MAX_BIASED: usize = 1024;

/// What is done to logits; by default nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Adjustments {
    /// Divides the logits above zero, and multiplies those below, of tokens of the prompt and the answer so far (Keskar et
    /// al., 2019, arXiv:1909.05858). Above 0, at most 10; 1 is off.
    pub repetition_penalty: f64,
    /// Taken from a token's logit for every time that it is in the answer so far. Between -2 and 2; 0 is off.
    pub frequency_penalty: f64,
    /// Taken from the logits of tokens that are in the answer so far. Between -2 and 2; 0 is off.
    pub presence_penalty: f64,
    /// Added to the logits of these tokens, which are different from one another. Between -100 and 100.
    pub logit_bias: Vec<(u32, f64)>,
}

impl Default for Adjustments {
    fn default() -> Self {
        Self {
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
        }
    }
}

impl Adjustments {
    /// Checks that everything is inside its range.
    pub(crate) fn validate(&self) -> Result<()> {
        let bad = |what: String| Err(Error::BadParameter(what));
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty <= 10.0) {
            return bad("repetition_penalty must be above 0 and at most 10".into());
        }
        for (name, value) in [
            ("frequency_penalty", self.frequency_penalty),
            ("presence_penalty", self.presence_penalty),
        ] {
            if !(-2.0..=2.0).contains(&value) {
                return bad(format!("{name} must be between -2 and 2"));
            }
        }
        if self.logit_bias.len() > MAX_BIASED {
            return bad(format!("at most {MAX_BIASED} tokens may have a bias"));
        }
        let mut tokens: Vec<u32> = self.logit_bias.iter().map(|(token, _)| *token).collect();
        tokens.sort_unstable();
        if tokens.windows(2).any(|pair| pair[0] == pair[1]) {
            return bad("a token has two biases".into());
        }
        match self
            .logit_bias
            .iter()
            .find(|(_, bias)| !(-100.0..=100.0).contains(bias))
        {
            Some((token, _)) => bad(format!(
                "the bias of token {token} must be between -100 and 100"
            )),
            None => Ok(()),
        }
    }

    /// True if logits stay as they are.
    pub(crate) fn is_off(&self) -> bool {
        *self == Self::default()
    }

    /// Changes the logits of the next token. Computed in f64 and rounded once, so that every machine does the same.
    pub(crate) fn apply(&self, logits: &mut [f32], history: &History) {
        let has_penalties = self.repetition_penalty != 1.0
            || self.frequency_penalty != 0.0
            || self.presence_penalty != 0.0;
        let mut changed: HashMap<u32, f64> = HashMap::new();
        if has_penalties {
            for (&token, &count) in &history.counts {
                let Some(&logit) = logits.get(token as usize) else {
                    continue;
                };
                let mut value = f64::from(logit);
                if value > 0.0 {
                    value /= self.repetition_penalty;
                } else {
                    value *= self.repetition_penalty;
                }
                if count > 0 {
                    value -= self.frequency_penalty * f64::from(count);
                    value -= self.presence_penalty;
                }
                changed.insert(token, value);
            }
        }
        for &(token, bias) in &self.logit_bias {
            if let Some(&logit) = logits.get(token as usize) {
                *changed.entry(token).or_insert(f64::from(logit)) += bias;
            }
        }
        for (token, value) in changed {
            logits[token as usize] = value as f32;
        }
    }
}

/// The tokens so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    /// How often each is in the answer; 0 for those that are in the prompt alone.
    counts: HashMap<u32, u32>,
}

impl History {
    /// That of an answer that is not begun.
    pub(crate) fn new(prompt: &[u32]) -> Self {
        Self {
            counts: prompt.iter().map(|&token| (token, 0)).collect(),
        }
    }

    /// Adds a token of the answer.
    pub(crate) fn push(&mut self, token: u32) {
        *self.counts.entry(token).or_insert(0) += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn penalties_hold_for_what_was_said_and_biases_for_what_is_named() {
        let mut history = History::new(&[0, 1]);
        [1, 2, 2, 9]
            .into_iter()
            .for_each(|token| history.push(token));
        let adjustments = Adjustments {
            repetition_penalty: 2.0,
            frequency_penalty: 0.5,
            presence_penalty: 0.25,
            logit_bias: vec![(2, 10.0), (3, -1.0), (9, 1.0)],
        };
        let mut logits = [4.0, -4.0, 1.0, 1.0, 7.0];
        adjustments.apply(&mut logits, &history);
        assert_eq!(logits, [2.0, -8.75, 9.25, 0.0, 7.0]);
        let mut logits = [4.0, -4.0];
        Adjustments::default().apply(&mut logits, &history);
        assert_eq!(logits, [4.0, -4.0]);
        assert!(Adjustments::default().is_off() && !adjustments.is_off());
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_name() {
        type Spoil = (&'static str, fn(&mut Adjustments));
        let spoiled: [Spoil; 6] = [
            ("repetition_penalty", |a| a.repetition_penalty = 0.0),
            ("repetition_penalty", |a| a.repetition_penalty = f64::NAN),
            ("frequency_penalty", |a| a.frequency_penalty = 2.5),
            ("presence_penalty", |a| a.presence_penalty = f64::INFINITY),
            ("token 7", |a| a.logit_bias = vec![(7, 101.0)]),
            ("two biases", |a| a.logit_bias = vec![(7, 1.0), (7, 2.0)]),
        ];
        assert!(Adjustments::default().validate().is_ok());
        for (reason, spoil) in spoiled {
            let mut adjustments = Adjustments::default();
            spoil(&mut adjustments);
            let error = adjustments.validate().expect_err("refused").to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
