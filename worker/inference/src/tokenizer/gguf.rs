//! The tokenizer that a GGUF file carries: byte-level BPE ("gpt2") with the file's pre-tokenizer, or SentencePiece's BPE
//! ("llama"), and the file's special tokens.
//!
//! The patterns are those of llama.cpp's `llama-vocab.cpp` for the names that files use.

use std::sync::Arc;

use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{NFC, Prepend, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, NormalizerWrapper, SplitDelimiterBehavior};

use super::Tokenizer;
use super::alphabet::{byte_alphabet, byte_token, token_bytes};
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

    fn ids(&self) -> Result<Vocab> {
        let mut vocabulary = Vocab::default();
        for (id, token) in self.tokens.iter().enumerate() {
            let id =
                u32::try_from(id).map_err(|_| Error::Tokenizer("more than 2^32 tokens".into()))?;
            // Of equal tokens the first is used, as in llama.cpp.
            vocabulary.entry(token.clone()).or_insert(id);
        }
        Ok(vocabulary)
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
            let (inner, bytes) = byte_level(gguf, &listed)?;
            (inner, bytes, false)
        }
        Some("llama") => {
            let unknown = id("tokenizer.ggml.unknown_token_id")?;
            let (inner, bytes) = sentence_piece(gguf, &listed, unknown)?;
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
        inner,
        bytes: Arc::new(bytes),
        tokens: tokens.to_vec(),
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
) -> Result<(tokenizers::Tokenizer, TokenBytes)> {
    let merges = gguf
        .texts("tokenizer.ggml.merges")
        .ok_or_else(|| Error::Tokenizer("the model file has no tokenizer.ggml.merges".into()))?;
    let merges = merges.iter().map(|merge| {
        let pair = merge
            .split_once(' ')
            .map(|(left, right)| (left.to_owned(), right.to_owned()));
        pair.ok_or_else(|| Error::Tokenizer(format!("the merge {merge:?} is not a pair")))
    });
    let pre = gguf.text("tokenizer.ggml.pre").unwrap_or("default");
    let (split, ignore_merges) = pre_tokenizer(pre)?;
    let bpe = BPE::builder()
        .vocab_and_merges(listed.ids()?, merges.collect::<Result<Vec<_>>>()?)
        .ignore_merges(ignore_merges)
        .build()
        .map_err(|error| Error::Tokenizer(error.to_string()))?;
    let mut inner = tokenizers::Tokenizer::new(bpe);
    inner.with_pre_tokenizer(Some(split));
    if pre == "qwen2" {
        // The files do not say so, nor does llama.cpp, but the models have seen no other text.
        inner.with_normalizer(Some(NFC));
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
/// with the best score are joined first. The file has no list of merges, so it is made from the scores.
fn sentence_piece<B: AsRef<[u8]>>(
    gguf: &Gguf<B>,
    listed: &Listed<'_>,
    unknown: Option<u32>,
) -> Result<(tokenizers::Tokenizer, TokenBytes)> {
    let scores = match gguf.value("tokenizer.ggml.scores") {
        Some(crate::gguf::Value::Floats(scores)) if scores.len() == listed.tokens.len() => scores,
        _ => {
            return Err(Error::Tokenizer(
                "the model file has no score for every token".into(),
            ));
        }
    };
    let ids = listed.ids()?;
    let mut builder = BPE::builder()
        .vocab_and_merges(ids.clone(), merges(listed, scores, &ids))
        .byte_fallback(true)
        .fuse_unk(true);
    if let Some(unknown) = unknown {
        builder = builder.unk_token(listed.tokens[unknown as usize].clone());
    }
    let bpe = builder
        .build()
        .map_err(|error| Error::Tokenizer(error.to_string()))?;
    let mut inner = tokenizers::Tokenizer::new(bpe);
    let shown = Replace::new(" ", "▁").map_err(|error| Error::Tokenizer(error.to_string()))?;
    let begins_with_space = gguf.bool("tokenizer.ggml.add_space_prefix").unwrap_or(true);
    let mut steps = Vec::new();
    if begins_with_space {
        steps.push(NormalizerWrapper::Prepend(Prepend::new("▁".into())));
    }
    steps.push(NormalizerWrapper::Replace(shown));
    inner.with_normalizer(Some(Normalizers::new(steps)));
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

/// All ways to put a token together from two others; the best scores first, the shortest beginnings first among equals.
fn merges(listed: &Listed<'_>, scores: &[f64], ids: &Vocab) -> Merges {
    let mut found: Vec<(f64, u32, u32, &str, usize)> = Vec::new();
    for (id, token) in listed.tokens.iter().enumerate() {
        if matches!(listed.type_of(id), CONTROL | UNKNOWN | BYTE | UNUSED) {
            continue;
        }
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(&left), Some(&right)) = (ids.get(left), ids.get(right)) {
                found.push((scores[id], left, right, token, at));
            }
        }
    }
    found.sort_by(|a, b| {
        let by_score = b.0.total_cmp(&a.0);
        by_score.then_with(|| (a.4, a.1, a.2).cmp(&(b.4, b.1, b.2)))
    });
    let pair = |token: &str, at: usize| (token[..at].to_owned(), token[at..].to_owned());
    found
        .into_iter()
        .map(|(_, _, _, token, at)| pair(token, at))
        .collect()
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
