//! Token ids back to text, all at once or one by one.
//!
//! The text of a sequence is one function of all its ids: the bytes of its tokens joined, read as UTF-8, with U+FFFD for
//! each maximal invalid part. The incremental form gives the same text piece by piece and never splits a character: what
//! could still become one is held back.

use std::sync::Arc;

/// The bytes that each token id adds to the text; empty for control tokens.
#[derive(Debug, Clone)]
pub(crate) struct TokenBytes {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// A space at the very beginning is not part of the text: SentencePiece puts one before every text.
    drops_first_space: bool,
}

impl TokenBytes {
    pub(crate) fn new(tokens: impl Iterator<Item = Vec<u8>>) -> Self {
        let mut table = Self {
            bytes: Vec::new(),
            ends: Vec::new(),
            drops_first_space: false,
        };
        for token in tokens {
            table.bytes.extend(token);
            table
                .ends
                .push(u32::try_from(table.bytes.len()).unwrap_or(u32::MAX));
        }
        table
    }

    /// The same, whether or not a space at the very beginning is part of the text.
    pub(crate) fn without_first_space(self, drops_first_space: bool) -> Self {
        Self {
            drops_first_space,
            ..self
        }
    }

    /// Number of tokens.
    pub(crate) fn count(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of a token; none for an id outside the vocabulary.
    pub(crate) fn of(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else {
            return &[];
        };
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        self.bytes
            .get(start as usize..end as usize)
            .unwrap_or_default()
    }

    pub(crate) fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.of(id)).copied().collect();
        let bytes = match bytes.strip_prefix(b" ") {
            Some(rest) if self.drops_first_space => rest,
            _ => &bytes,
        };
        String::from_utf8_lossy(bytes).into_owned()
    }
}

/// Gives the text of a growing sequence, piece by piece.
#[derive(Debug, Clone)]
pub struct Detokeniser {
    table: Arc<TokenBytes>,
    /// The first bytes of a character that is not complete; at most three.
    pending: Vec<u8>,
    /// True as long as there was no byte.
    is_fresh: bool,
}

impl Detokeniser {
    pub(crate) fn new(table: Arc<TokenBytes>) -> Self {
        Self {
            table,
            pending: Vec::new(),
            is_fresh: true,
        }
    }

    /// Takes the next id and returns the text that is now certain; empty while a character is incomplete.
    pub fn push(&mut self, id: u32) -> String {
        let mut bytes = self.table.of(id);
        if self.is_fresh && !bytes.is_empty() {
            self.is_fresh = false;
            if self.table.drops_first_space {
                bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
            }
        }
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut used = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            used += chunk.valid().len();
            let invalid = chunk.invalid();
            // Only the very end can be the beginning of a character; anything else invalid stays so.
            let incomplete = used + invalid.len() == self.pending.len()
                && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if !invalid.is_empty() && !incomplete {
                text.push(char::REPLACEMENT_CHARACTER);
                used += invalid.len();
            }
        }
        self.pending.drain(..used);
        text
    }

    /// Ends the sequence: what was held back can no longer become a character.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn detokeniser(tokens: &[&[u8]]) -> Detokeniser {
        Detokeniser::new(Arc::new(TokenBytes::new(
            tokens.iter().map(|token| token.to_vec()),
        )))
    }

    #[test]
    fn a_character_split_over_tokens_appears_when_it_is_whole() {
        let mut text = detokeniser(&[b"a\xF0\x9F", b"\x8E", b"\xACb"]);
        assert_eq!([0, 1, 2].map(|id| text.push(id)), ["a", "", "🎬b"]);
        assert_eq!(text.finish(), "");
    }

    #[test]
    fn a_character_that_never_ends_becomes_one_replacement() {
        let mut text = detokeniser(&[b"a\xE6\x97"]);
        assert_eq!(text.push(0), "a");
        assert_eq!(text.finish(), "\u{FFFD}");
    }

    #[test]
    fn ids_outside_the_vocabulary_add_nothing() {
        let mut text = detokeniser(&[b"a"]);
        assert_eq!(text.push(1) + &text.push(u32::MAX) + &text.finish(), "");
    }

    proptest! {
        #[test]
        fn the_pieces_join_to_the_whole(
            pieces in prop::collection::vec(
                prop_oneof![prop::collection::vec(any::<u8>(), 0..4), any::<char>().prop_flat_map(|c| {
                    let bytes = c.to_string().into_bytes();
                    (0..=bytes.len()).prop_map(move |cut| bytes[..cut].to_vec())
                })],
                0..40,
            )
        ) {
            let table = Arc::new(TokenBytes::new(pieces.iter().cloned()));
            let ids: Vec<u32> = (0..pieces.len() as u32).collect();
            let mut text = Detokeniser::new(table.clone());
            let mut joined: String = ids.iter().map(|&id| text.push(id)).collect();
            joined += &text.finish();
            prop_assert_eq!(joined, table.decode(&ids));
        }

        #[test]
        fn text_cut_into_bytes_is_never_shown_with_a_split_character(text in "\\PC{0,40}") {
            let table = Arc::new(TokenBytes::new(text.bytes().map(|byte| vec![byte])));
            let mut detokeniser = Detokeniser::new(table);
            let pieces: Vec<String> = (0..text.len() as u32).map(|id| detokeniser.push(id)).collect();
            prop_assert!(pieces.iter().all(|piece| piece.chars().count() <= 1));
            prop_assert_eq!(pieces.concat(), text);
        }
    }
}
