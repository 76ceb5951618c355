//! The tokenizer that a GGUF file carries: byte-level BPE ("gpt2"), with the file's pre-tokenizer and special tokens.
//!
//! Encoding is the `tokenizers` crate's; the patterns are those of llama.cpp's `llama-vocab.cpp` for the names that
//! files use. Decoding needs only each token's bytes and is done here (`detokenise.rs`).

use std::collections::HashMap;
use std::sync::Arc;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

use crate::detokenise::{Detokeniser, TokenBytes};
use crate::error::{Error, Result};
use crate::gguf::Gguf;

/// GGUF's numbers for what a token is; all others are normal.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;

/// Llama 3's split: contractions, words, up to three digits, punctuation, line ends, spaces.
const LLAMA3_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Text to token ids and back.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    bytes: Arc<TokenBytes>,
    tokens: Vec<String>,
    stops: Vec<u32>,
    /// Put before every prompt that does not begin with it already.
    first: Option<u32>,
    bos: Option<u32>,
    eos: Option<u32>,
}

impl Tokenizer {
    /// Reads the tokenizer from a file's metadata.
    pub fn from_gguf<B: AsRef<[u8]>>(gguf: &Gguf<B>) -> Result<Self> {
        let missing = |key: &str| Error::Tokenizer(format!("the model file has no {key}"));
        match gguf.text("tokenizer.ggml.model") {
            Some("gpt2") => {}
            Some(other) => {
                return Err(Error::Unsupported(format!(
                    "the tokenizer model \"{other}\""
                )));
            }
            None => return Err(missing("tokenizer.ggml.model")),
        }
        let tokens = gguf
            .texts("tokenizer.ggml.tokens")
            .ok_or_else(|| missing("tokenizer.ggml.tokens"))?
            .to_vec();
        let merges = gguf
            .texts("tokenizer.ggml.merges")
            .ok_or_else(|| missing("tokenizer.ggml.merges"))?;
        let types = gguf
            .integers("tokenizer.ggml.token_type")
            .unwrap_or_default();
        if !types.is_empty() && types.len() != tokens.len() {
            return Err(Error::Tokenizer(format!(
                "{} token types for {} tokens",
                types.len(),
                tokens.len()
            )));
        }
        let type_of = |id: usize| types.get(id).copied().unwrap_or(1);
        let (split, ignore_merges) =
            pre_tokenizer(gguf.text("tokenizer.ggml.pre").unwrap_or("default"))?;

        let mut inner = tokenizers::Tokenizer::new(bpe(&tokens, merges, ignore_merges)?);
        inner.with_pre_tokenizer(Some(split));
        let added = |kind: i64| {
            let of_kind = tokens
                .iter()
                .enumerate()
                .filter(move |(id, text)| type_of(*id) == kind && !text.is_empty());
            of_kind
                .map(|(_, text)| AddedToken::from(text.clone(), kind == CONTROL))
                .collect::<Vec<_>>()
        };
        inner.add_special_tokens(&added(CONTROL));
        inner.add_tokens(&added(USER_DEFINED));

        let alphabet = byte_alphabet();
        let bytes =
            TokenBytes::new(
                tokens
                    .iter()
                    .enumerate()
                    .map(|(id, text)| match type_of(id) {
                        UNKNOWN | CONTROL | UNUSED => Vec::new(),
                        USER_DEFINED => text.clone().into_bytes(),
                        _ => token_bytes(text, &alphabet),
                    }),
            );

        let id = |key: &str| -> Result<Option<u32>> {
            let Some(id) = gguf.unsigned(key) else {
                return Ok(None);
            };
            let id = u32::try_from(id)
                .ok()
                .filter(|&id| (id as usize) < tokens.len());
            id.map(Some)
                .ok_or_else(|| Error::Tokenizer(format!("{key} is outside the vocabulary")))
        };
        let (bos, eos) = (
            id("tokenizer.ggml.bos_token_id")?,
            id("tokenizer.ggml.eos_token_id")?,
        );
        let mut stops: Vec<u32> = [
            eos,
            id("tokenizer.ggml.eot_token_id")?,
            id("tokenizer.ggml.eom_token_id")?,
        ]
        .into_iter()
        .flatten()
        .collect();
        stops.sort_unstable();
        stops.dedup();
        if stops.is_empty() {
            return Err(missing("tokenizer.ggml.eos_token_id"));
        }
        let first = if gguf.bool("tokenizer.ggml.add_bos_token").unwrap_or(false) {
            bos
        } else {
            None
        };
        Ok(Self {
            inner,
            bytes: Arc::new(bytes),
            tokens,
            stops,
            first,
            bos,
            eos,
        })
    }

    /// The ids of a text. Special tokens written out in it (`<|im_start|>`) become those tokens, as a rendered chat needs.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|error| Error::Tokenizer(error.to_string()))?;
        let mut ids = encoding.get_ids().to_vec();
        if let Some(first) = self.first.filter(|first| ids.first() != Some(first)) {
            ids.insert(0, first);
        }
        // Ids of added tokens that are not in the file's list would have no weights; the file cannot make any.
        if ids.iter().any(|&id| id as usize >= self.tokens.len()) {
            return Err(Error::Tokenizer(
                "the file's lists of tokens contradict one another".into(),
            ));
        }
        Ok(ids)
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

    /// Number of tokens.
    pub fn vocabulary(&self) -> usize {
        self.tokens.len()
    }

    /// The text of the token that begins a document, if the model has one.
    pub fn bos_text(&self) -> Option<&str> {
        self.bos.map(|id| self.tokens[id as usize].as_str())
    }

    /// The text of the token that ends an answer.
    pub fn eos_text(&self) -> Option<&str> {
        self.eos.map(|id| self.tokens[id as usize].as_str())
    }
}

fn bpe(tokens: &[String], merges: &[String], ignore_merges: bool) -> Result<BPE> {
    let mut vocabulary = Vocab::default();
    for (id, token) in tokens.iter().enumerate() {
        let id = u32::try_from(id).map_err(|_| Error::Tokenizer("more than 2^32 tokens".into()))?;
        // Of equal tokens the first is used, as in llama.cpp.
        vocabulary.entry(token.clone()).or_insert(id);
    }
    let merges = merges.iter().map(|merge| {
        let pair = merge
            .split_once(' ')
            .map(|(left, right)| (left.to_owned(), right.to_owned()));
        pair.ok_or_else(|| Error::Tokenizer(format!("the merge {merge:?} is not a pair")))
    });
    BPE::builder()
        .vocab_and_merges(vocabulary, merges.collect::<Result<Vec<_>>>()?)
        .ignore_merges(ignore_merges)
        .build()
        .map_err(|error| Error::Tokenizer(error.to_string()))
}

/// The split before BPE for a name from the file, and whether whole words of the vocabulary skip the merges.
fn pre_tokenizer(name: &str) -> Result<(PreTokenizerWrapper, bool)> {
    let bytes = |use_regex| PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, use_regex));
    let sequence = |first| PreTokenizerWrapper::Sequence(Sequence::new(vec![first, bytes(true)]));
    Ok(match name {
        "gpt-2" | "mpt" | "olmo" | "jais" | "phi-2" => (bytes(true), false),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => (
            sequence(PreTokenizerWrapper::Digits(Digits::new(true))),
            false,
        ),
        "llama3" | "llama-v3" | "llama-bpe" => {
            let pattern = SplitPattern::Regex(LLAMA3_PATTERN.into());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .map_err(|error| Error::Tokenizer(error.to_string()))?;
            (
                PreTokenizerWrapper::Sequence(Sequence::new(vec![
                    PreTokenizerWrapper::Split(split),
                    bytes(false),
                ])),
                true,
            )
        }
        other => return Err(Error::Unsupported(format!("the pre-tokenizer \"{other}\""))),
    })
}

/// GPT-2's printable character for every byte (`bytes_to_unicode` in its encoder.py), from character to byte.
fn byte_alphabet() -> HashMap<char, u8> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0..=255u8)
        .filter(|byte| !printable(byte))
        .zip('\u{100}'..)
        .map(|(byte, shown)| (shown, byte));
    (0..=255u8)
        .filter(printable)
        .map(|byte| (char::from(byte), byte))
        .chain(others)
        .collect()
}

/// A character outside the byte alphabet stands for itself; only damaged vocabularies have such tokens.
fn token_bytes(token: &str, alphabet: &HashMap<char, u8>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(token.len());
    for shown in token.chars() {
        match alphabet.get(&shown) {
            Some(&byte) => bytes.push(byte),
            None => bytes.extend_from_slice(shown.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_model;

    fn tokenizer() -> Tokenizer {
        Tokenizer::from_gguf(&Gguf::parse(test_model::gguf()).expect("sound")).expect("tokenizer")
    }

    #[test]
    fn the_byte_alphabet_covers_every_byte_once() {
        let alphabet = byte_alphabet();
        let bytes: std::collections::BTreeSet<u8> = alphabet.values().copied().collect();
        assert_eq!((alphabet.len(), bytes.len()), (256, 256));
        assert_eq!((alphabet[&'Ġ'], alphabet[&'Ċ']), (b' ', b'\n'));
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

    #[test]
    fn an_unknown_pre_tokenizer_is_refused_by_name() {
        let error = pre_tokenizer("mystery").expect_err("unknown").to_string();
        assert_eq!(error, "the pre-tokenizer \"mystery\" is not supported yet");
        assert!(pre_tokenizer("llama-bpe").is_ok());
    }
}
