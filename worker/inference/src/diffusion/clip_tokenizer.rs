//! CLIP's byte-pair encoding, from the `vocab.json` and `merges.txt` that come with every Stable Diffusion.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{self, Lowercase, NFC, Replace, Sequence};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use crate::error::{Error, Result};
use crate::safetensors_files::read_json;

/// Words, numbers digit by digit, contractions, and runs of anything else, as CLIP was trained.
const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// The merges of CLIP's vocabulary, from OpenAI's CLIP (MIT licence).
const CLIP_MERGES: &str = include_str!("../../data/clip-merges.txt");
/// A vocabulary or list of merges longer than this is not CLIP's.
const MAX_FILE: u64 = 64 << 20;

/// Turns prompts into token ids.
pub(crate) struct ClipTokenizer {
    inner: Tokenizer,
    start: u32,
    end: u32,
    pad: u32,
}

/// The part of `tokenizer_config.json` that matters.
#[derive(Deserialize, Default)]
struct Settings {
    #[serde(default)]
    pad_token: Option<Token>,
}

/// A token is a text, or an object with one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Token {
    Text(String),
    Object { content: String },
}

impl ClipTokenizer {
    /// Loads the tokenizer in a folder.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let vocabulary: HashMap<String, u32> = read_json(&folder.join("vocab.json"))?;
        let vocabulary: Vocab = vocabulary.into_iter().collect();
        let merges = merges(&folder.join("merges.txt"))?;
        let settings_file = folder.join("tokenizer_config.json");
        let settings: Settings = match settings_file.is_file() {
            true => read_json(&settings_file)?,
            false => Settings::default(),
        };
        let pad = match settings.pad_token {
            None => "<|endoftext|>".to_owned(),
            Some(Token::Text(text) | Token::Object { content: text }) => text,
        };
        Self::new(vocabulary, merges, &pad)
    }

    /// CLIP's own vocabulary, which single files come without. Its tokens are the 256 bytes, the same at a word's end,
    /// what each merge makes, and the two marks.
    pub(crate) fn built_in(pad: &str) -> Result<Self> {
        let merges = parse_merges(CLIP_MERGES)?;
        let bytes = bytes_in_order();
        let ends = bytes.iter().map(|byte| format!("{byte}</w>"));
        let merged = merges
            .iter()
            .map(|(first, second)| format!("{first}{second}"));
        let marks = ["<|startoftext|>".to_owned(), "<|endoftext|>".to_owned()];
        let tokens = bytes.iter().cloned().chain(ends).chain(merged).chain(marks);
        let vocabulary: Vocab = tokens.zip(0..).collect();
        Self::new(vocabulary, merges, pad)
    }

    fn new(vocabulary: Vocab, merges: Vec<(String, String)>, pad: &str) -> Result<Self> {
        let id = |token: &str| {
            let id = vocabulary.get(token).copied();
            id.ok_or_else(|| Error::Tokenizer(format!("the vocabulary has no {token:?}")))
        };
        let special =
            ["<|startoftext|>", "<|endoftext|>", pad].map(|token| AddedToken::from(token, true));
        let (start, end, pad) = (id("<|startoftext|>")?, id("<|endoftext|>")?, id(pad)?);
        let failed = |error: tokenizers::Error| Error::Tokenizer(error.to_string());
        let model = BPE::builder()
            .vocab_and_merges(vocabulary, merges)
            .unk_token("<|endoftext|>".into())
            .end_of_word_suffix("</w>".into())
            .build()
            .map_err(failed)?;
        let mut inner = Tokenizer::new(model);
        inner.with_normalizer(Some(Sequence::new(vec![
            NFC.into(),
            Replace::new(
                normalizers::replace::ReplacePattern::Regex(r"\s+".into()),
                " ",
            )
            .map_err(failed)?
            .into(),
            Lowercase.into(),
        ])));
        let words = Split::new(
            SplitPattern::Regex(WORDS.into()),
            SplitDelimiterBehavior::Removed,
            true,
        )
        .map_err(failed)?;
        inner.with_pre_tokenizer(Some(PreTokenizers::new(vec![
            PreTokenizerWrapper::Split(words),
            PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true)),
        ])));
        inner.add_special_tokens(&special);
        Ok(Self {
            inner,
            start,
            end,
            pad,
        })
    }

    /// The ids of a text, without the marks of its ends.
    pub(crate) fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode(text, false);
        let encoding = encoding.map_err(|error| Error::Tokenizer(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Ids between the marks of their ends, padded or cut to `length` in all.
    pub(crate) fn framed(&self, ids: &[u32], length: usize) -> Vec<u32> {
        let room = length.saturating_sub(2);
        let mut all = vec![self.start];
        all.extend(&ids[..ids.len().min(room)]);
        all.push(self.end);
        all.resize(length, self.pad);
        all
    }
}

fn merges(path: &Path) -> Result<Vec<(String, String)>> {
    let length = fs::metadata(path).map_err(Error::io(path))?.len();
    if length > MAX_FILE {
        let path = path.display();
        return Err(Error::Damaged(format!("{path} has {length} bytes")));
    }
    parse_merges(&fs::read_to_string(path).map_err(Error::io(path))?)
}

fn parse_merges(text: &str) -> Result<Vec<(String, String)>> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("#version") && !line.is_empty());
    lines
        .map(|line| match line.split_once(' ') {
            Some((first, second)) => Ok((first.to_owned(), second.to_owned())),
            None => Err(Error::Tokenizer(format!(
                "{line:?} is no merge of two tokens"
            ))),
        })
        .collect()
}

/// The characters that stand for the 256 bytes, in the order of CLIP's vocabulary: printable ones as they are, then the
/// others from U+0100 on (GPT-2's table).
fn bytes_in_order() -> Vec<String> {
    let printable = |byte: &u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let plain = (0..256).filter(printable);
    let shifted = (0..256).filter(|byte| !printable(byte)).zip(256..);
    plain
        .chain(shifted.map(|(_, code)| code))
        .filter_map(char::from_u32)
        .map(String::from)
        .collect()
}
