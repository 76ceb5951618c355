//! The tokenizer that a GGUF file carries: byte-level BPE ("gpt2") with the file's pre-tokenizer, or SentencePiece's BPE
//! ("llama"), and the file's special tokens.
//!
//! The patterns are those of llama.cpp's `llama-vocab.cpp` for the names that files use.

use std::sync::Arc;

use tokenizers::normalizers::{NFC, Prepend, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, NormalizerWrapper, SplitDelimiterBehavior};

use super::alphabet::{byte_alphabet, byte_token, token_bytes};
use super::merging::{Merging, Order};
use super::vocabulary::Vocabulary;
use super::{Inner, Merger, Tokenizer};
use crate::detokenise::TokenBytes;
use crate::error::{Error, Result};
use crate::gguf::Gguf;

/// GGUF's numbers for what a token is; all others are normal.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;
const BYTE: i64 = 6;

/// Llama 3's split: contractions, words, up to three digits, punctuation, line ends, spaces.
const LLAMA3_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 2's: the same with digits one by one.
const QWEN2_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Tekken's (Mistral Nemo): words end where small letters meet capitals.
const TEKKEN_PATTERN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A vocabulary as the file lists it.
struct Listed<'a> {
    tokens: &'a [String],
    types: &'a [i64],
}

impl Listed<'_> {
    fn type_of(&self, id: usize) -> i64 {
        self.types.get(id).copied().unwrap_or(1)
    }

    fn of_type(&self, kind: i64) -> Vec<AddedToken> {
        let all = self.tokens.iter().enumerate();
        all.filter(|(id, text)| self.type_of(*id) == kind && !text.is_empty())
            .map(|(_, text)| AddedToken::from(text.clone(), kind != USER_DEFINED).normalized(false))
            .collect()
    }
}

/// Reads the tokenizer from a file's metadata.
pub(super) fn read<B: AsRef<[u8]>>(gguf: &Gguf<B>) -> Result<Tokenizer> {
    let missing = |key: &str| Error::Tokenizer(format!("the model file has no {key}"));
    let tokens = gguf
        .texts("tokenizer.ggml.tokens")
        .ok_or_else(|| missing("tokenizer.ggml.tokens"))?;
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
    let listed = Listed { tokens, types };
    let vocabulary = Arc::new(Vocabulary::new(tokens)?);
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
    let (mut inner, bytes, adds_bos) = match gguf.text("tokenizer.ggml.model") {
        Some("gpt2") => {
            let (inner, bytes) = byte_level(gguf, &listed, &vocabulary)?;
            (inner, bytes, false)
        }
        Some("llama") => {
            let unknown = id("tokenizer.ggml.unknown_token_id")?;
            let (inner, bytes) = sentence_piece(gguf, &listed, &vocabulary, unknown)?;
            (inner, bytes, true)
        }
        Some(other) => {
            return Err(Error::Unsupported(format!(
                "the tokenizer model \"{other}\""
            )));
        }
        None => return Err(missing("tokenizer.ggml.model")),
    };
    // Phi-3's special tokens take the white space after them; its files do not say so, and llama.cpp knows it by the name.
    let name = gguf.text("general.name").unwrap_or_default();
    let name = name.to_ascii_lowercase();
    let takes_space = gguf.text("general.architecture") == Some("phi3")
        || name.contains("phi-3")
        || name.contains("phi3");
    let stripped = |token: AddedToken| {
        let plain = ["<unk>", "<s>", "<|endoftext|>"];
        let is_plain = plain.contains(&token.content.as_str());
        token.rstrip(takes_space && !is_plain)
    };
    let of_types = |types: &[i64]| -> Vec<AddedToken> {
        let all = types.iter().flat_map(|kind| listed.of_type(*kind));
        all.map(stripped).collect()
    };
    let _ = inner.add_special_tokens(&of_types(&[CONTROL, UNKNOWN]));
    let _ = inner.add_tokens(&of_types(&[USER_DEFINED]));

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
    let adds_bos = gguf
        .bool("tokenizer.ggml.add_bos_token")
        .unwrap_or(adds_bos);
    Ok(Tokenizer {
        inner: Inner::Merger(Box::new(inner)),
        bytes: Arc::new(bytes),
        vocabulary,
        stops,
        first: bos.filter(|_| adds_bos),
        bos,
        eos,
    })
}

/// Byte-level BPE: the file lists the merges.
fn byte_level<B: AsRef<[u8]>>(
    gguf: &Gguf<B>,
    listed: &Listed<'_>,
    vocabulary: &Arc<Vocabulary>,
) -> Result<(Merger, TokenBytes)> {
    let merges = gguf
        .texts("tokenizer.ggml.merges")
        .ok_or_else(|| Error::Tokenizer("the model file has no tokenizer.ggml.merges".into()))?;
    let pairs = merges.iter().map(|merge| {
        let pair = merge.split_once(' ');
        pair.ok_or_else(|| Error::Tokenizer(format!("the merge {merge:?} is not a pair")))
    });
    let pairs = pairs.collect::<Result<Vec<_>>>()?;
    let pre = gguf.text("tokenizer.ggml.pre").unwrap_or("default");
    let (split, whole_words) = pre_tokenizer(pre)?;
    let mut inner = Merger::new(Merging {
        vocabulary: vocabulary.clone(),
        order: Order::listed(pairs.into_iter(), vocabulary)?,
        whole_words,
        bytes: None,
        unknown: None,
    });
    inner.with_pre_tokenizer(Some(split));
    if pre == "qwen2" {
        // The files do not say so, nor does llama.cpp, but the models have seen no other text.
        inner.with_normalizer(Some(NormalizerWrapper::NFC(NFC)));
    }
    let alphabet = byte_alphabet();
    let tokens = listed.tokens.iter().enumerate();
    let bytes = tokens.map(|(id, text)| match listed.type_of(id) {
        UNKNOWN | CONTROL | UNUSED => Vec::new(),
        USER_DEFINED => text.clone().into_bytes(),
        _ => token_bytes(text, &alphabet),
    });
    Ok((inner, TokenBytes::new(bytes)))
}

/// SentencePiece's BPE (Kudo and Richardson, 2018, arXiv:1808.06226): of all neighbours that make a token together, those
/// with the best score are joined first.
fn sentence_piece<B: AsRef<[u8]>>(
    gguf: &Gguf<B>,
    listed: &Listed<'_>,
    vocabulary: &Arc<Vocabulary>,
    unknown: Option<u32>,
) -> Result<(Merger, TokenBytes)> {
    let scores = match gguf.value("tokenizer.ggml.scores") {
        Some(crate::gguf::Value::Floats(scores)) if scores.len() == listed.tokens.len() => scores,
        _ => {
            return Err(Error::Tokenizer(
                "the model file has no score for every token".into(),
            ));
        }
    };
    let scores = scores.iter().zip(0..).map(|(&score, id)| {
        let is_made = !matches!(listed.type_of(id), CONTROL | UNKNOWN | BYTE | UNUSED);
        is_made.then_some(score)
    });
    let bytes = (0..=255).map(|byte: u8| vocabulary.id(&format!("<0x{byte:02X}>")));
    let bytes = bytes.collect::<Option<Vec<_>>>();
    let mut inner = Merger::new(Merging {
        vocabulary: vocabulary.clone(),
        order: Order::Scored(scores.collect()),
        whole_words: false,
        bytes: bytes.and_then(|bytes| bytes.try_into().ok()).map(Box::new),
        unknown,
    });
    let shown = Replace::new(" ", "▁").map_err(|error| Error::Tokenizer(error.to_string()))?;
    let begins_with_space = gguf.bool("tokenizer.ggml.add_space_prefix").unwrap_or(true);
    let mut steps = Vec::new();
    if begins_with_space {
        steps.push(NormalizerWrapper::Prepend(Prepend::new("▁".into())));
    }
    steps.push(NormalizerWrapper::Replace(shown));
    inner.with_normalizer(Some(NormalizerWrapper::Sequence(Normalizers::new(steps))));
    let tokens = listed.tokens.iter().enumerate();
    let bytes = tokens.map(|(id, text)| match listed.type_of(id) {
        UNKNOWN | CONTROL | UNUSED => Vec::new(),
        USER_DEFINED => text.clone().into_bytes(),
        BYTE => byte_token(text).map_or_else(Vec::new, |byte| vec![byte]),
        _ => text.replace('▁', " ").into_bytes(),
    });
    let bytes = TokenBytes::new(bytes).without_first_space(begins_with_space);
    Ok((inner, bytes))
}

/// The split before BPE for a name from the file, and whether whole words of the vocabulary skip the merges.
fn pre_tokenizer(name: &str) -> Result<(PreTokenizerWrapper, bool)> {
    let bytes = |use_regex| PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, use_regex));
    let sequence = |first| PreTokenizerWrapper::Sequence(Sequence::new(vec![first, bytes(true)]));
    let split = |pattern: &str| -> Result<PreTokenizerWrapper> {
        let pattern = SplitPattern::Regex(pattern.into());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
            .map_err(|error| Error::Tokenizer(error.to_string()))?;
        Ok(PreTokenizerWrapper::Sequence(Sequence::new(vec![
            PreTokenizerWrapper::Split(split),
            bytes(false),
        ])))
    };
    Ok(match name {
        "gpt-2" | "mpt" | "olmo" | "jais" | "phi-2" => (bytes(true), false),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => (
            sequence(PreTokenizerWrapper::Digits(Digits::new(true))),
            false,
        ),
        "llama3" | "llama-v3" | "llama-bpe" => (split(LLAMA3_PATTERN)?, true),
        "qwen2" | "deepseek-r1-qwen" => (split(QWEN2_PATTERN)?, false),
        "tekken" => (split(TEKKEN_PATTERN)?, true),
        other => return Err(Error::Unsupported(format!("the pre-tokenizer \"{other}\""))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_pre_tokenizer_is_refused_by_name() {
        let error = pre_tokenizer("mystery").expect_err("unknown").to_string();
        assert_eq!(error, "the pre-tokenizer \"mystery\" is not supported yet");
        for known in ["llama-bpe", "qwen2", "tekken", "smollm"] {
            assert!(pre_tokenizer(known).is_ok());
        }
    }
}
