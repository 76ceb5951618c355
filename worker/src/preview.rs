//! What of an unfinished answer the escrow has been shown, and what to show it next.
//!
//! `extend` takes only a continuation of what the escrow has. Where an answer to it was lost, or the worker crashed in
//! between, the escrow has either what was certain before or what was sent last: the next call, from the latter and
//! with nothing added, finds out which.

use candid::CandidType;
use emc_protocol::Lease;
use emc_protocol::work::ExtendArgs;
use serde::{Deserialize, Serialize};

use crate::answer::Answer;

/// A length of the answer: so many ids, so many bytes of text.
#[derive(CandidType, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Number of ids.
    pub ids: u32,
    /// Bytes of text.
    pub bytes: u32,
}

/// The journal's record of it, written before each `extend`.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// What the escrow certainly has.
    pub certain: Shown,
    /// All ids that it may have.
    pub ids: Vec<u32>,
    /// All text that it may have.
    pub text: String,
}

impl Preview {
    /// All that the escrow may have.
    pub fn sent(&self) -> Shown {
        Shown {
            ids: self.ids.len() as u32,
            bytes: self.text.len() as u32,
        }
    }

    /// True while it is not known whether the escrow has what was sent last.
    pub fn is_uncertain(&self) -> bool {
        self.certain != self.sent()
    }

    /// True where the answer holds more than has been sent.
    pub fn is_behind(&self, answer: &Answer) -> bool {
        answer.ids().len() > self.ids.len() || answer.certain_text().len() > self.text.len()
    }

    /// False where the answer, made anew after a restart, is not the one whose beginning was shown.
    pub fn agrees_with(&self, ids: &[u32], text: &str) -> bool {
        let ids_agree = self.ids.iter().zip(ids).all(|(a, b)| a == b);
        let length = self.text.len().min(text.len());
        ids_agree && self.text.as_bytes()[..length] == text.as_bytes()[..length]
    }

    /// The next call: what has been added to the answer, or nothing while it is uncertain what the escrow has. To be
    /// stored in the journal before the call is made.
    pub fn next_call(
        &mut self,
        lease: &Lease,
        prompt_tokens: u64,
        answer: Option<&Answer>,
    ) -> ExtendArgs {
        let from = self.sent();
        let (mut ids, mut text) = (vec![], String::new());
        if let Some(answer) = answer.filter(|_| !self.is_uncertain()) {
            ids = answer.ids().get(self.ids.len()..).unwrap_or(&[]).to_vec();
            text = answer
                .certain_text()
                .get(self.text.len()..)
                .unwrap_or("")
                .to_owned();
            self.ids.extend_from_slice(&ids);
            self.text.push_str(&text);
        }
        ExtendArgs {
            job_id: lease.job_id,
            attempt: lease.attempt,
            prompt_tokens,
            from: from.ids,
            ids,
            text,
            image: None,
        }
    }

    /// The escrow has accepted the last call.
    pub fn accepted(&mut self) {
        self.certain = self.sent();
    }

    /// The escrow has refused the last call, so it has none of it.
    pub fn refused(&mut self) {
        self.ids.truncate(self.certain.ids as usize);
        self.text.truncate(self.certain.bytes as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_escrow::lease;

    fn answer(pieces: &[&str]) -> Answer {
        let mut answer = Answer::new(&["STOP".to_owned()]);
        for (id, piece) in pieces.iter().enumerate() {
            answer.push(id as u32, piece);
        }
        answer
    }

    #[test]
    fn each_call_continues_the_one_before() {
        let mut preview = Preview::default();
        let first = preview.next_call(&lease(1), 9, Some(&answer(&["a ", "b S"])));
        assert_eq!(
            (first.from, first.ids, first.text.as_str()),
            (0, vec![0, 1], "a b ")
        );
        preview.accepted();
        let later = answer(&["a ", "b S", "o"]);
        assert!(preview.is_behind(&later));
        let second = preview.next_call(&lease(1), 9, Some(&later));
        assert_eq!(
            (second.from, second.ids, second.text.as_str()),
            (2, vec![2], "So")
        );
    }

    #[test]
    fn after_a_lost_answer_the_next_call_finds_out_what_the_escrow_has() {
        let mut preview = Preview::default();
        preview.next_call(&lease(1), 9, Some(&answer(&["a", "b"])));
        assert!(preview.is_uncertain());
        let probe = preview.next_call(&lease(1), 9, Some(&answer(&["a", "b", "c"])));
        assert_eq!((probe.from, probe.ids.len()), (2, 0));

        let mut had_it = preview.clone();
        had_it.accepted();
        let next = had_it.next_call(&lease(1), 9, Some(&answer(&["a", "b", "c"])));
        assert_eq!((next.from, next.ids), (2, vec![2]));

        preview.refused();
        assert!(!preview.is_uncertain());
        let next = preview.next_call(&lease(1), 9, Some(&answer(&["a", "b", "c"])));
        assert_eq!(
            (next.from, next.ids, next.text.as_str()),
            (0, vec![0, 1, 2], "abc")
        );
    }

    #[test]
    fn an_answer_made_anew_must_agree_as_far_as_both_go() {
        let preview = Preview {
            ids: vec![1, 2],
            text: "ab".into(),
            ..Preview::default()
        };
        assert!(preview.agrees_with(&[1], "a") && preview.agrees_with(&[1, 2, 3], "abc"));
        assert!(!preview.agrees_with(&[1, 9], "ab"));
        assert!(!preview.agrees_with(&[1, 2], "aé"));
    }
}
