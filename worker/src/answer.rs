//! The answer to a job as it grows: token ids, text, stop strings.
//!
//! Text that is shown early must be what the final text begins with. A stop string is cut from the final text, so text
//! that could still turn out to be the beginning of one is held back until it is certain.

use emc_protocol::{FinishReason, TextOutput};

/// Ids and text so far.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    ids: Vec<u32>,
    text: String,
    stops: Vec<String>,
    longest_stop: usize,
    /// Where a stop string begins, once one has appeared.
    cut: Option<usize>,
}

impl Answer {
    /// An empty answer that ends at any of `stops`; empty strings are ignored.
    pub fn new(stops: &[String]) -> Self {
        let stops: Vec<String> = stops.iter().filter(|s| !s.is_empty()).cloned().collect();
        Self {
            longest_stop: stops.iter().map(String::len).max().unwrap_or(0),
            stops,
            ..Self::default()
        }
    }

    /// Adds a token and the text that has become certain with it. True once a stop string has appeared: the answer is
    /// complete, and what comes after is ignored.
    pub fn push(&mut self, id: u32, piece: &str) -> bool {
        if self.cut.is_none() {
            self.ids.push(id);
            self.append(piece);
        }
        self.cut.is_some()
    }

    /// The ids so far.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The text that the final one is certain to begin with, whatever comes.
    pub fn certain_text(&self) -> &str {
        let end = match self.cut {
            Some(cut) => cut,
            None => self.text.len() - self.held_back(),
        };
        &self.text[..end]
    }

    /// The finished output: `rest` is text that became certain only by the end. A stop string overrides `reason`.
    pub fn output(mut self, reason: FinishReason, rest: &str) -> TextOutput {
        if self.cut.is_none() {
            self.append(rest);
        }
        let finish_reason = match self.cut {
            Some(cut) => {
                self.text.truncate(cut);
                FinishReason::StopString
            }
            None => reason,
        };
        TextOutput {
            ids: self.ids,
            finish_reason,
            text: self.text,
        }
    }

    fn append(&mut self, piece: &str) {
        // An occurrence that was not there before ends in the new piece, so it begins less than one stop string before.
        let mut from = self
            .text
            .len()
            .saturating_sub(self.longest_stop.saturating_sub(1));
        while !self.text.is_char_boundary(from) {
            from -= 1;
        }
        self.text.push_str(piece);
        let found = |stop: &String| self.text[from..].find(stop.as_str());
        self.cut = self
            .stops
            .iter()
            .filter_map(found)
            .min()
            .map(|at| from + at);
    }

    /// Length of the longest end of the text that begins a stop string.
    fn held_back(&self) -> usize {
        let begins = |stop: &String| {
            let longest = self.text.len().min(stop.len().saturating_sub(1));
            (1..=longest)
                .rev()
                .find(|&n| stop.is_char_boundary(n) && self.text.ends_with(&stop[..n]))
        };
        self.stops.iter().filter_map(begins).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stops(stops: &[&str]) -> Vec<String> {
        stops.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn text_that_may_begin_a_stop_string_is_held_back() {
        let mut answer = Answer::new(&stops(&["\n\nUser:"]));
        assert!(!answer.push(1, "Paris.\n"));
        assert_eq!(answer.certain_text(), "Paris.");
        assert!(!answer.push(2, "\nUs"));
        assert_eq!(answer.certain_text(), "Paris.");
        assert!(!answer.push(3, "ed by"));
        assert_eq!(answer.certain_text(), "Paris.\n\nUsed by");
    }

    #[test]
    fn a_stop_string_is_cut_and_its_tokens_stay() {
        let mut answer = Answer::new(&stops(&["END", "\n"]));
        assert!(!answer.push(7, "one E"));
        assert!(answer.push(8, "ND two"));
        assert!(answer.push(9, "late"), "what comes after is ignored");
        let output = answer.output(FinishReason::Length, "rest");
        assert_eq!(
            (output.ids, output.text, output.finish_reason),
            (vec![7, 8], "one ".to_owned(), FinishReason::StopString)
        );
    }

    #[test]
    fn of_several_stop_strings_in_one_piece_the_one_that_begins_first_cuts() {
        let mut answer = Answer::new(&stops(&["bc", "abcd"]));
        assert!(answer.push(1, "xabcd"));
        assert_eq!(answer.certain_text(), "x");
    }

    #[test]
    fn what_was_held_back_at_the_end_belongs_to_the_text() {
        let mut answer = Answer::new(&stops(&["stop"]));
        answer.push(1, "full st");
        assert_eq!(answer.certain_text(), "full ");
        let output = answer.output(FinishReason::Length, "\u{FFFD}");
        assert_eq!(output.text, "full st\u{FFFD}");
        assert_eq!(output.finish_reason, FinishReason::Length);
    }

    proptest! {
        #[test]
        fn the_final_text_begins_with_every_earlier_one(
            pieces in prop::collection::vec("[abé]{0,4}", 0..12),
            stop in prop::collection::vec("[abé]{0,4}", 0..3),
        ) {
            let mut answer = Answer::new(&stop);
            let mut shown = vec![];
            let mut whole = String::new();
            for (id, piece) in pieces.iter().enumerate() {
                whole.push_str(piece);
                let ended = answer.push(id as u32, piece);
                shown.push((answer.ids().len(), answer.certain_text().to_owned()));
                let hit = stop.iter().any(|s| !s.is_empty() && whole.contains(s.as_str()));
                prop_assert_eq!(ended, hit);
                if ended {
                    break;
                }
            }
            let output = answer.output(FinishReason::Stop, "");
            for (ids, text) in shown {
                prop_assert!(ids <= output.ids.len());
                prop_assert!(output.text.starts_with(&text), "{:?} then {:?}", text, output.text);
            }
            for s in stop.iter().filter(|s| !s.is_empty()) {
                prop_assert!(!output.text.contains(s.as_str()));
            }
            prop_assert!(whole.starts_with(&output.text));
        }
    }
}
