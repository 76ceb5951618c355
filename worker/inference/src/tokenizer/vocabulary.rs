//! All tokens of a model: from id to text and back. Held in one piece of text, since vocabularies have up to a quarter of a
//! million entries.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::error::{Error, Result};

/// Texts of tokens, by id, and ids by text.
pub(super) struct Vocabulary {
    text: String,
    /// Where each token's text ends.
    ends: Vec<u32>,
    ids: HashTable<u32>,
    hasher: RandomState,
}

impl std::fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vocabulary({} tokens)", self.len())
    }
}

impl Vocabulary {
    /// Of tokens in the order of their ids. Of equal ones the first is found by its text.
    pub(super) fn new<T: AsRef<str>>(tokens: impl IntoIterator<Item = T>) -> Result<Self> {
        let mut new = Self {
            text: String::new(),
            ends: Vec::new(),
            ids: HashTable::new(),
            hasher: RandomState::new(),
        };
        for token in tokens {
            let token = token.as_ref();
            new.text.push_str(token);
            let end = u32::try_from(new.text.len());
            let id = u32::try_from(new.ends.len());
            let (Ok(end), Ok(id)) = (end, id) else {
                return Err(Error::Tokenizer(
                    "the vocabulary has more than 2^32 bytes".into(),
                ));
            };
            new.ends.push(end);
            if new.id(token).is_none() {
                let (text, ends, hasher) = (&new.text, &new.ends, &new.hasher);
                new.ids.insert_unique(hasher.hash_one(token), id, |&id| {
                    hasher.hash_one(text_of(text, ends, id))
                });
            }
        }
        Ok(new)
    }

    /// Number of tokens.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// A token's text; empty for an id outside the vocabulary.
    pub(super) fn text(&self, id: u32) -> &str {
        text_of(&self.text, &self.ends, id)
    }

    /// The id of the token with this text.
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(token);
        let found = self.ids.find(hash, |&id| self.text(id) == token);
        found.copied()
    }

    /// All texts, by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len() as u32).map(|id| self.text(id))
    }
}

fn text_of<'a>(text: &'a str, ends: &[u32], id: u32) -> &'a str {
    let id = id as usize;
    let Some(&end) = ends.get(id) else {
        return "";
    };
    let start = if id == 0 { 0 } else { ends[id - 1] };
    &text[start as usize..end as usize]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_and_texts_belong_to_one_another(tokens in prop::collection::vec("[ab▁é]{0,3}", 0..200)) {
            let vocabulary = Vocabulary::new(&tokens).expect("small");
            prop_assert_eq!(vocabulary.len(), tokens.len());
            prop_assert!(vocabulary.iter().eq(tokens.iter()));
            for token in &tokens {
                let first = tokens.iter().position(|other| other == token).map(|id| id as u32);
                prop_assert_eq!(vocabulary.id(token), first);
            }
            prop_assert_eq!(vocabulary.id("c"), None);
            prop_assert_eq!(vocabulary.text(tokens.len() as u32), "");
        }
    }
}
