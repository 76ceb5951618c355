//! Tokenizers against Hugging Face's, on 10,000 strings (`tools/parity/text/TOKENIZERS.md` says how they are made).

use std::path::PathBuf;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::*;
use crate::safetensors_files::{places, read_json};

/// What is known of one tokenizer.
#[derive(Deserialize)]
struct Expected {
    ids: Vec<Vec<u32>>,
    with_special_tokens: Vec<(usize, Vec<u32>)>,
    decoded: Vec<(Vec<u32>, String)>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/text/tokenizers")
}

fn strings() -> Vec<String> {
    let strings: Vec<String> = read_json(&folder().join("strings.json")).expect("reads");
    assert_eq!(strings.len(), 10_000);
    strings
}

/// The first eight bytes of the hash of the ids of each string.
fn digests(name: &str, which: &str) -> Option<Vec<u8>> {
    let path = folder().join(name).join("expected.safetensors");
    let mut all = places(&path).expect("reads").into_iter();
    let (_, place) = all.find(|(known, _)| known == which)?;
    Some(place.file[place.from..place.to].to_vec())
}

fn digest(ids: &[u32]) -> [u8; 8] {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    std::array::from_fn(|index| hash[index])
}

fn of_folder(name: &str) -> (Tokenizer, Expected) {
    let folder = folder().join(name);
    let config = tempfile::tempdir().expect("a folder");
    std::fs::write(config.path().join("config.json"), "{}").expect("writes");
    let config = HfConfig::open(config.path()).expect("reads");
    let beside = TokenizerConfig::read(&folder).expect("reads");
    let tokenizer = Tokenizer::from_folder(&folder, &config, &beside).expect("a tokenizer");
    (
        tokenizer,
        read_json(&folder.join("expected.json")).expect("reads"),
    )
}

fn of_gguf(name: &str) -> Tokenizer {
    let file = Gguf::open(&folder().join(name).join("vocabulary.gguf")).expect("reads");
    Tokenizer::from_gguf(&file).expect("a tokenizer")
}

fn assert_ids(what: &str, tokenizer: &Tokenizer, strings: &[String], digests: &[u8]) {
    let mut wrong = Vec::new();
    for (string, digests) in strings.iter().zip(digests.chunks_exact(8)) {
        let ids = tokenizer.encode_bare(string).expect("encodes");
        if digest(&ids) != digests {
            wrong.push((string, ids));
        }
    }
    let some = &wrong[..wrong.len().min(5)];
    assert!(
        wrong.is_empty(),
        "{what}: {} strings, such as {some:?}",
        wrong.len()
    );
}

const FAMILIES: [&str; 8] = [
    "llama2", "mistral", "llama3", "qwen2", "smollm2", "gpt2", "gemma3", "phi3",
];

#[test]
fn folders_give_the_ids_of_the_reference() {
    let strings = strings();
    for name in FAMILIES.into_iter().chain(["bert"]) {
        let (tokenizer, expected) = of_folder(name);
        for (string, ids) in strings.iter().zip(&expected.ids) {
            assert_eq!(
                &tokenizer.encode_bare(string).expect("encodes"),
                ids,
                "{name}: {string:?}"
            );
        }
        assert_ids(
            name,
            &tokenizer,
            &strings,
            &digests(name, "digests").expect("digests"),
        );
    }
}

#[test]
fn gguf_files_give_the_ids_of_the_reference() {
    let strings = strings();
    for name in FAMILIES {
        // Two of them cannot say all that the folder does.
        let digests = digests(name, "gguf_digests").or_else(|| digests(name, "digests"));
        let what = format!("{name} in GGUF");
        assert_ids(&what, &of_gguf(name), &strings, &digests.expect("digests"));
    }
}

#[test]
fn the_token_that_begins_a_text_is_the_reference_s() {
    let strings = strings();
    for name in FAMILIES {
        let (tokenizer, expected) = of_folder(name);
        let other = of_gguf(name);
        assert_eq!(expected.with_special_tokens.len(), 50);
        assert_eq!(tokenizer.first, other.first, "{name}");
        for (index, ids) in &expected.with_special_tokens {
            let string = &strings[*index];
            let mut expected = ids.clone();
            // A text that begins with the token itself does not get it twice here: chat templates write it.
            if let [first, second, ..] = expected[..]
                && Some(first) == tokenizer.first
                && first == second
            {
                expected.remove(0);
            }
            assert_eq!(
                tokenizer.encode(string).expect("encodes"),
                expected,
                "{name}: {string:?}"
            );
        }
    }
}

#[test]
fn ids_decode_to_the_text_of_the_reference() {
    for name in FAMILIES {
        let (tokenizer, expected) = of_folder(name);
        assert_eq!(expected.decoded.len(), 200);
        let mut compared = 0;
        for (ids, text) in &expected.decoded {
            let found = tokenizer.decode(ids);
            // Where bytes are no UTF-8, the reference gives up on a whole run of them, or not, by family.
            if text.contains('\u{FFFD}') {
                assert!(found.contains('\u{FFFD}'), "{name}: {ids:?}");
            } else {
                compared += 1;
                assert_eq!(&found, text, "{name}: {ids:?}");
            }
        }
        assert!(compared > 110, "{name}: {compared}");
    }
}
