//! The tokenizer of a Hugging Face folder: `tokenizer.json`, which the `tokenizers` crate reads, and the files beside it
//! that say which tokens begin and end a text.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::vocabulary::Vocabulary;
use super::{Inner, Tokenizer};
use crate::detokenise::TokenBytes;
use crate::error::{Error, Result};
use crate::families::HfConfig;
use crate::safetensors_files::{find_json, read_json};
use crate::tokenizer::alphabet::{byte_alphabet, token_bytes};

/// The space as SentencePiece shows it.
const SHOWN_SPACE: char = '▁';

/// What is read of `tokenizer.json` beside what the `tokenizers` crate reads.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    decoder: Value,
    #[serde(default)]
    added_tokens: Vec<Added>,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
}

/// What is read of `tokenizer_config.json`.
#[derive(Deserialize, Default)]
pub(crate) struct TokenizerConfig {
    bos_token: Option<Named>,
    eos_token: Option<Named>,
    chat_template: Option<Templates>,
}

/// A token's text, alone or with how it is matched.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Text(String),
    Described { content: String },
}

impl Named {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Described { content: text } => text,
        }
    }
}

/// One template, or several with names.
#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Several(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

impl TokenizerConfig {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let found = find_json(&folder.join("tokenizer_config.json"))?;
        Ok(found.unwrap_or_default())
    }

    /// The chat template: a file of its own in newer folders, else here.
    pub(crate) fn chat_template(&self, folder: &Path) -> Result<Option<String>> {
        let own = folder.join("chat_template.jinja");
        if own.is_file() {
            return std::fs::read_to_string(&own)
                .map(Some)
                .map_err(Error::io(own));
        }
        Ok(match &self.chat_template {
            None => None,
            Some(Templates::One(template)) => Some(template.clone()),
            Some(Templates::Several(several)) => {
                let default = several.iter().find(|named| named.name == "default");
                default.map(|named| named.template.clone())
            }
        })
    }
}

/// Reads the tokenizer; `config` is the model's own.
pub(super) fn read(
    folder: &Path,
    config: &HfConfig,
    beside: &TokenizerConfig,
) -> Result<Tokenizer> {
    let path = folder.join("tokenizer.json");
    if !path.is_file() {
        return Err(Error::Unsupported(format!(
            "a model folder without tokenizer.json ({})",
            folder.display()
        )));
    }
    let file: File = read_json(&path)?;
    let bad = |error: tokenizers::Error| Error::Tokenizer(format!("tokenizer.json: {error}"));
    let mut inner = read_file(&path)?;
    // Both would change a prompt silently.
    let _ = inner.with_truncation(None).map_err(bad)?;
    inner.with_padding(None);

    let vocabulary = inner.get_vocab(true);
    let count = vocabulary
        .values()
        .max()
        .map_or(0, |last| *last as usize + 1);
    if count > vocabulary.len() * 4 + 1024 {
        return Err(Error::Tokenizer(format!(
            "tokenizer.json has {} tokens and the id {}",
            vocabulary.len(),
            count - 1
        )));
    }
    let mut tokens = vec![String::new(); count];
    for (token, id) in vocabulary {
        tokens[id as usize] = token;
    }
    let added: BTreeMap<u32, &Added> = file.added_tokens.iter().map(|one| (one.id, one)).collect();
    let spelling = Spelling::of(&file.decoder)?;
    let bytes = tokens
        .iter()
        .zip(0..)
        .map(|(token, id)| match added.get(&id) {
            Some(added) if added.special => Vec::new(),
            // Byte-level tokenizers write them as they are.
            Some(added) if spelling.alphabet.is_some() => added.content.clone().into_bytes(),
            Some(added) => spelling.bytes(&added.content),
            None => spelling.bytes(token),
        });
    let bytes = TokenBytes::new(bytes).without_first_space(spelling.drops_first_space);

    let id = |named: &Option<Named>| inner.token_to_id(named.as_ref()?.text());
    let (bos, eos) = (id(&beside.bos_token), id(&beside.eos_token));
    let generation = folder.join("generation_config.json");
    let generation = match generation.is_file() {
        true => Some(HfConfig::read(&generation)?),
        false => None,
    };
    let mut stops = match &generation {
        Some(generation) => generation.ids("eos_token_id")?,
        None => Vec::new(),
    };
    if stops.is_empty() {
        stops = config.ids("eos_token_id")?;
    }
    stops.extend(eos);
    stops.retain(|&stop| (stop as usize) < count);
    stops.sort_unstable();
    stops.dedup();
    // Whether a text begins with a token of its own is said by the post-processor alone.
    let empty = inner.encode_fast("", true).map_err(bad)?;
    let first = empty
        .get_ids()
        .first()
        .copied()
        .filter(|&id| Some(id) == bos);
    Ok(Tokenizer {
        inner: Inner::File(Box::new(inner)),
        bytes: Arc::new(bytes),
        vocabulary: Arc::new(Vocabulary::new(&tokens)?),
        stops,
        first,
        bos,
        eos,
    })
}

/// Reads `tokenizer.json`. The crate panics on some of what strangers may write there.
pub(crate) fn read_file(path: &Path) -> Result<tokenizers::Tokenizer> {
    let read = std::panic::catch_unwind(|| tokenizers::Tokenizer::from_file(path));
    match read {
        Ok(Ok(tokenizer)) => Ok(tokenizer),
        Ok(Err(error)) => Err(Error::Tokenizer(format!("tokenizer.json: {error}"))),
        Err(_) => Err(Error::Tokenizer("tokenizer.json contradicts itself".into())),
    }
}

/// How tokens spell bytes.
struct Spelling {
    /// GPT-2's characters for bytes, where the tokenizer has them.
    alphabet: Option<std::collections::HashMap<char, u8>>,
    /// Tokens such as `<0x0A>` are bytes.
    has_byte_tokens: bool,
    drops_first_space: bool,
}

impl Spelling {
    /// From the decoder of `tokenizer.json`.
    fn of(decoder: &Value) -> Result<Self> {
        let mut spelling = Self {
            alphabet: None,
            has_byte_tokens: false,
            drops_first_space: false,
        };
        let one = std::slice::from_ref(decoder);
        let steps = match decoder.get("decoders").and_then(Value::as_array) {
            Some(steps) => steps,
            None => one,
        };
        for step in steps {
            match step.get("type").and_then(Value::as_str).unwrap_or_default() {
                "ByteLevel" => spelling.alphabet = Some(byte_alphabet()),
                "ByteFallback" => spelling.has_byte_tokens = true,
                "Strip" => {
                    let start = step.get("start").and_then(Value::as_u64);
                    spelling.drops_first_space = start == Some(1);
                }
                "Metaspace" => {
                    let scheme = step.get("prepend_scheme").and_then(Value::as_str);
                    spelling.drops_first_space = scheme != Some("never");
                }
                // The space's replacement; joining; what BERT's tokens look like is of no use: it writes nothing.
                "Replace" | "Fuse" | "WordPiece" | "" => {}
                other => return Err(Error::Unsupported(format!("the token decoder {other}"))),
            }
        }
        Ok(spelling)
    }

    fn bytes(&self, token: &str) -> Vec<u8> {
        if let Some(alphabet) = &self.alphabet {
            return token_bytes(token, alphabet);
        }
        if self.has_byte_tokens
            && let Some(byte) = super::alphabet::byte_token(token)
        {
            return vec![byte];
        }
        token.replace(SHOWN_SPACE, " ").into_bytes()
    }
}
