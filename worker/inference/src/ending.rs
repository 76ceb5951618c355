//! Where an answer made of these ids ends, why, and what its text is (`docs/spec/audit.md`): the rules by which a worker
//! ends an answer, applied to ids that are there already.

use crate::model::ModelText;
use crate::sequence::{FinishReason, SamplingParams};

/// What the rules make of a list of ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    /// How many of the ids belong to the answer.
    pub ids: usize,
    /// Why it ends there; `None` if it does not end: more ids should follow.
    pub reason: Option<FinishReason>,
    /// The text of those ids, cut where a stop string begins.
    pub text: String,
}

impl Ending {
    /// Applies the rules to ids of which at most `limit` may be used.
    pub(crate) fn of(
        model: &ModelText,
        ids: &[u32],
        params: &SamplingParams,
        limit: usize,
    ) -> Self {
        let mut detokeniser = model.detokeniser();
        let mut text = String::new();
        for (index, &id) in ids.iter().enumerate() {
            let old = text.len();
            text += &detokeniser.push(id);
            let ends = model.stop_tokens().contains(&id) || params.stop_tokens.contains(&id);
            let reason = if ends {
                Some(FinishReason::Stop)
            } else {
                (index + 1 >= limit).then_some(FinishReason::Length)
            };
            if reason.is_some() {
                text += &detokeniser.finish();
            }
            let cut = first_stop(&text, old, &params.stop);
            if let Some(cut) = cut {
                text.truncate(cut);
            }
            let reason = cut.map(|_| FinishReason::StopString).or(reason);
            if reason.is_some() {
                let ids = index + 1;
                return Self { ids, reason, text };
            }
        }
        text += &detokeniser.finish();
        Self {
            ids: ids.len(),
            reason: None,
            text,
        }
    }
}

/// Where the first stop string begins that ends after the first `old` bytes of the text.
fn first_stop(text: &str, old: usize, stops: &[String]) -> Option<usize> {
    let stops = stops.iter().filter(|stop| !stop.is_empty());
    let found = stops.filter_map(|stop| {
        let mut from = old.saturating_sub(stop.len() - 1);
        while !text.is_char_boundary(from) {
            from -= 1;
        }
        text[from..].find(stop.as_str()).map(|at| from + at)
    });
    found.min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::load;
    use crate::test_model;

    /// The ids of a text, a byte each, and the end token where it says `$`.
    fn ids(text: &str) -> Vec<u32> {
        let model = load(test_model::gguf()).expect("loads");
        let mut ids = Vec::new();
        for byte in text.bytes() {
            let found = (0..256).find(|&id| {
                let mut detokeniser = model.text().detokeniser();
                detokeniser.push(id) + &detokeniser.push(id)
                    == String::from_utf8_lossy(&[byte, byte])
            });
            ids.push(if byte == b'$' {
                0
            } else {
                found.expect("every ASCII byte is a token")
            });
        }
        ids
    }

    fn stopping(stop: Vec<String>) -> SamplingParams {
        SamplingParams {
            stop,
            ..SamplingParams::default()
        }
    }

    fn ending(text: &str, stops: &[&str], limit: usize) -> (usize, Option<FinishReason>, String) {
        let model = load(test_model::gguf()).expect("loads");
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        let Ending { ids, reason, text } =
            Ending::of(&model.text(), &ids(text), &stopping(stops), limit);
        (ids, reason, text)
    }

    #[test]
    fn an_answer_ends_with_the_first_thing_that_ends_it() {
        use FinishReason::{Length, Stop, StopString};
        assert_eq!(ending("abc$de", &[], 9), (4, Some(Stop), "abc".into()));
        assert_eq!(ending("abcd", &[], 3), (3, Some(Length), "abc".into()));
        assert_eq!(ending("abc", &[], 3), (3, Some(Length), "abc".into()));
        assert_eq!(ending("abc", &[], 4), (3, None, "abc".into()));
        assert_eq!(
            ending("abxyc", &["xy", ""], 9),
            (4, Some(StopString), "ab".into())
        );
        assert_eq!(
            ending("abxy", &["zz", "bxy", "xy"], 4),
            (4, Some(StopString), "a".into())
        );
        assert_eq!(ending("", &["x"], 4), (0, None, String::new()));
    }

    #[test]
    fn what_is_no_whole_character_at_the_end_becomes_a_replacement() {
        let model = load(test_model::gguf()).expect("loads");
        let lead = (0..257).find(|&id| {
            let mut detokeniser = model.text().detokeniser();
            detokeniser.push(id).is_empty() && !detokeniser.finish().is_empty()
        });
        let ids = [lead.expect("a first byte of two is a token"), 0];
        assert_eq!(
            Ending::of(&model.text(), &ids, &stopping(vec![]), 9).text,
            "\u{FFFD}"
        );
        assert_eq!(
            Ending::of(&model.text(), &ids[..1], &stopping(vec![]), 9).text,
            "\u{FFFD}"
        );
        let stops = stopping(vec!["\u{FFFD}".to_owned()]);
        let ending = Ending::of(&model.text(), &ids, &stops, 9);
        assert_eq!(
            (ending.reason, ending.text.as_str()),
            (Some(FinishReason::StopString), "")
        );
    }

    #[test]
    fn a_request_s_own_stop_tokens_end_an_answer_and_keep_their_text() {
        let model = load(test_model::gguf()).expect("loads");
        let ids = ids("abc");
        let params = SamplingParams {
            stop_tokens: vec![ids[1]],
            ..SamplingParams::default()
        };
        let ending = Ending::of(&model.text(), &ids, &params, 9);
        let found = (ending.ids, ending.reason, ending.text.as_str());
        assert_eq!(found, (2, Some(FinishReason::Stop), "ab"));
    }
}
