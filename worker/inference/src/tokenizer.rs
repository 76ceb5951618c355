//! Text to token ids and back, by the tokenizer in a model's files.
//!
//! Encoding is the `tokenizers` crate's. Decoding needs only each token's bytes and is done here (`detokenise.rs`), so that
//! a text can grow token by token.

mod alphabet;
mod folder;
mod gguf;
mod merging;
mod vocabulary;

use std::path::Path;
use std::sync::Arc;

use crate::detokenise::{Detokeniser, TokenBytes};
use crate::error::{Error, Result};
use crate::families::HfConfig;
use crate::gguf::Gguf;
pub(crate) use folder::{TokenizerConfig, read_file};
use merging::Merging;
use vocabulary::Vocabulary;

/// The `tokenizers` crate's frame around our own encoder of words.
type Merger = tokenizers::TokenizerImpl<
    Merging,
    tokenizers::NormalizerWrapper,
    tokenizers::PreTokenizerWrapper,
    tokenizers::PostProcessorWrapper,
    tokenizers::DecoderWrapper,
>;

/// What splits a text and finds the ids.
enum Inner {
    /// That of a folder.
    File(Box<tokenizers::Tokenizer>),
    /// That of a GGUF file.
    Merger(Box<Merger>),
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File(_) => "File",
            Self::Merger(_) => "Merger",
        })
    }
}

/// Text to token ids and back.
#[derive(Debug)]
pub struct Tokenizer {
    inner: Inner,
    bytes: Arc<TokenBytes>,
    vocabulary: Arc<Vocabulary>,
    stops: Vec<u32>,
    /// Put before every prompt that does not begin with it already.
    first: Option<u32>,
    bos: Option<u32>,
    eos: Option<u32>,
}

impl Tokenizer {
    /// That of a GGUF file.
    pub(crate) fn from_gguf<B: AsRef<[u8]>>(gguf: &Gguf<B>) -> Result<Self> {
        gguf::read(gguf)
    }

    /// That of a Hugging Face folder.
    pub(crate) fn from_folder(
        path: &Path,
        config: &HfConfig,
        beside: &TokenizerConfig,
    ) -> Result<Self> {
        folder::read(path, config, beside)
    }

    /// The ids of a text without any before it.
    fn encode_bare(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = match &self.inner {
            Inner::File(inner) => inner.encode_fast(text, false),
            Inner::Merger(inner) => inner.encode_fast(text, false),
        };
        let encoding = encoding.map_err(|error| Error::Tokenizer(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The ids of a text. Special tokens written out in it (`<|im_start|>`) become those tokens, as a rendered chat needs.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.encode_bare(text)?;
        if let Some(first) = self.first.filter(|first| ids.first() != Some(first)) {
            ids.insert(0, first);
        }
        // Ids of added tokens that are not in the file's list would have no weights; the file cannot make any.
        if ids.iter().any(|&id| id as usize >= self.vocabulary.len()) {
            return Err(Error::Tokenizer(
                "the file's lists of tokens contradict one another".into(),
            ));
        }
        Ok(ids)
    }

    /// The bytes of every token.
    pub(crate) fn bytes(&self) -> &TokenBytes {
        &self.bytes
    }

    /// The text of all ids together. Control tokens, the end among them, add nothing.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.bytes.decode(ids)
    }

    /// For text that grows id by id.
    pub fn detokeniser(&self) -> Detokeniser {
        Detokeniser::new(self.bytes.clone())
    }

    /// The tokens that end an answer, ascending.
    pub fn stops(&self) -> &[u32] {
        &self.stops
    }

    #[cfg(test)]
    pub(crate) fn forget_stops(&mut self) {
        self.stops.clear();
    }

    /// Number of tokens.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary.len()
    }

    /// The text of the token that begins a document, if the model has one.
    pub fn bos_text(&self) -> Option<&str> {
        self.bos.map(|id| self.vocabulary.text(id))
    }

    /// The text of the token that ends an answer.
    pub fn eos_text(&self) -> Option<&str> {
        self.eos.map(|id| self.vocabulary.text(id))
    }
}

#[cfg(test)]
mod parity;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_model;

    fn tokenizer() -> Tokenizer {
        Tokenizer::from_gguf(&Gguf::parse(test_model::gguf()).expect("sound")).expect("tokenizer")
    }

    #[test]
    fn text_of_any_kind_comes_back_from_its_ids() {
        let tokenizer = tokenizer();
        for text in ["", "hello world", " naïve 日本 🎬\n\n\tx  ", "123 456"] {
            assert_eq!(
                tokenizer.decode(&tokenizer.encode(text).expect("encode")),
                text
            );
        }
    }

    #[test]
    fn special_tokens_are_recognised_and_leave_no_text() {
        let tokenizer = tokenizer();
        let ids = tokenizer.encode("<end>ab<end>").expect("encode");
        assert_eq!((ids[0], ids[ids.len() - 1]), (0, 0));
        assert_eq!(tokenizer.decode(&ids), "ab");
        assert_eq!(tokenizer.stops(), [0]);
    }

    #[test]
    fn merges_are_applied() {
        let ids = tokenizer().encode("the").expect("encode");
        assert_eq!(ids, [258]);
    }
}
