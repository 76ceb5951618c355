//! Folders and files of strangers: whatever is in them, loading ends with a model or with an error.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::encoder::Encoder;
use crate::model::{LoadOptions, Model, ModelText};
use crate::sequence::SamplingParams;

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/text")
        .join(name)
}

/// A copy of a model's folder, of which one file is other than it was.
fn with_file(from: &Path, name: &str, content: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for file in [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
        "modules.json",
    ] {
        if from.join(file).is_file() {
            std::fs::copy(from.join(file), folder.path().join(file)).expect("copies");
        }
    }
    std::fs::write(folder.path().join(name), content).expect("writes");
    folder
}

/// Loads and, where that succeeds, runs: nothing may panic.
fn try_all(path: &Path) {
    let options = LoadOptions {
        context: Some(256),
        ..LoadOptions::default()
    };
    let _ = ModelText::load(path);
    let Ok(model) = Model::load(path, options) else {
        return;
    };
    let params = SamplingParams {
        max_tokens: 3,
        ..SamplingParams::default()
    };
    let ids = model.encode("the wind").unwrap_or_default();
    let _ = model.generate(ids, params, |_, _| {});
}

fn changed(mut content: Vec<u8>, changes: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    for (at, byte) in changes {
        let at = at.index(content.len());
        content[at] = *byte;
    }
    content
}

/// Words that make JSON another one, beside any bytes.
fn edits() -> impl Strategy<Value = (String, String)> {
    let numbers = prop_oneof![
        Just("0".to_owned()),
        Just("-1".to_owned()),
        Just("1e999".to_owned()),
        Just("18446744073709551615".to_owned()),
        Just("4294967296".to_owned()),
        Just("null".to_owned()),
        Just("\"x\"".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        any::<u32>().prop_map(|number| number.to_string()),
        any::<f32>().prop_map(|number| number.to_string()),
    ];
    ("[a-z_]{3,30}", numbers)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn damaged_bytes_in_any_file_of_a_folder_are_survived(
        file in 0usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let from = data("models/qwen3");
        let name = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"][file];
        let content = std::fs::read(from.join(name)).expect("reads");
        let folder = with_file(&from, name, &changed(content, &changes));
        try_all(folder.path());
    }

    #[test]
    fn a_folder_cut_short_anywhere_is_survived(file in 0usize..4, at: prop::sample::Index) {
        let from = data("models/llama");
        let name = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"][file];
        let content = std::fs::read(from.join(name)).expect("reads");
        let folder = with_file(&from, name, &content[..at.index(content.len())]);
        try_all(folder.path());
    }

    /// Every number of the description replaced by something absurd.
    #[test]
    fn absurd_descriptions_are_survived(
        family in 0usize..6, key: prop::sample::Index, (name, value) in edits(), adds: bool,
    ) {
        let family = ["llama-linear", "mistral", "qwen2", "gemma3", "phi3-longrope", "llama-v5config"][family];
        let from = data("models").join(family);
        let text = std::fs::read_to_string(from.join("config.json")).expect("reads");
        let mut config: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).expect("JSON");
        let value = serde_json::from_str(&value).unwrap_or(serde_json::Value::Null);
        if adds {
            config.insert(name, value);
        } else {
            let keys: Vec<String> = config.keys().cloned().collect();
            config.insert(key.get(&keys).clone(), value);
        }
        let folder = with_file(&from, "config.json", serde_json::to_string(&config).expect("JSON").as_bytes());
        try_all(folder.path());
    }

    #[test]
    fn damaged_gguf_files_of_any_family_are_survived(
        family in 0usize..5,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let family = ["llama3", "qwen2", "gemma3", "phi3-longrope", "mistral"][family];
        let mut content = std::fs::read(data("models").join(family).join("model.gguf")).expect("reads");
        // Most of the file is weights: the description is what can do harm.
        let described = content.len().min(24 << 10);
        let rest = content.split_off(described);
        let content = [changed(content, &changes), rest].concat();
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("model.gguf"), content).expect("writes");
        try_all(folder.path());
    }

    #[test]
    fn damaged_encoders_are_survived(
        file in 0usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let from = data("bert");
        let name = ["config.json", "tokenizer.json", "modules.json", "model.safetensors"][file];
        let content = std::fs::read(from.join(name)).expect("reads");
        let folder = with_file(&from, name, &changed(content, &changes));
        if let Ok(encoder) = Encoder::load(folder.path(), LoadOptions::default()) {
            let _ = encoder.embed(&["the wind", ""]);
        }
    }
}

#[test]
fn weights_that_are_not_numbers_are_found_out() {
    let from = data("models/llama");
    let path = from.join("model.safetensors");
    let mut content = std::fs::read(&path).expect("reads");
    // The second half of the file, whatever tensors lie there, becomes NaN.
    let half = content.len() / 2 / 4 * 4;
    let length = content.len();
    content[half..length - length % 4].fill(0xff);
    let folder = with_file(&from, "model.safetensors", &content);
    let model = Model::load(folder.path(), LoadOptions::default()).expect("its form is sound");
    let error = model.generate(vec![1, 2, 3], SamplingParams::default(), |_, _| {});
    let error = error.expect_err("nothing can be chosen").to_string();
    assert!(error.contains("not finite"), "{error}");
}
