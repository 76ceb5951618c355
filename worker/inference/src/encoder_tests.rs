//! Encoders against transformers, on a tiny BERT (`tools/parity/text/README.md` says how it is made).

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::safetensors_files::tensors;

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/text/bert")
}

fn encoder() -> Encoder {
    Encoder::load(&folder(), LoadOptions::default()).expect("loads")
}

fn cases() -> (Vec<Case>, BTreeMap<String, Tensor>) {
    let cases: Cases = read_json(&folder().join("cases.json")).expect("reads");
    let expected = tensors(&folder().join("expected.safetensors"));
    assert_eq!(cases.cases.len(), 12);
    (cases.cases, expected)
}

fn assert_near(found: &[f32], expected: &Tensor, what: &str) {
    let expected: Vec<f32> = Vec::try_from(expected.reshape([-1])).expect("floats");
    assert_eq!(found.len(), expected.len(), "{what}");
    let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    let largest = apart.fold(0f32, f32::max);
    assert!(largest < 1e-5, "{what}: {largest} apart");
}

#[test]
fn embeddings_are_those_of_the_reference_together_and_alone() {
    let (cases, expected) = cases();
    for (pooling, is_normalised, name) in [
        (Pooling::Mean, true, "mean_normalised"),
        (Pooling::Mean, false, "mean"),
        (Pooling::Cls, true, "cls_normalised"),
        (Pooling::Cls, false, "cls"),
    ] {
        let mut encoder = encoder();
        assert_eq!(
            (
                encoder.info.pooling,
                encoder.info.is_normalised,
                encoder.info.max_tokens
            ),
            (Pooling::Mean, true, 32)
        );
        (encoder.info.pooling, encoder.info.is_normalised) = (pooling, is_normalised);
        let texts: Vec<&str> = cases.iter().map(|case| case.text.as_str()).collect();
        let together = encoder.embed(&texts).expect("computes");
        for (index, (case, found)) in cases.iter().zip(&together).enumerate() {
            let expected = expected[name].get(index as i64);
            assert_eq!(found.tokens, case.ids.len(), "{:?}", case.text);
            assert_near(&found.values, &expected, &case.text);
            let alone = encoder.embed(&[&case.text]).expect("computes");
            assert_near(&alone[0].values, &expected, &case.text);
        }
    }
}

#[test]
fn every_token_s_embedding_is_that_of_the_reference() {
    let (cases, expected) = cases();
    let encoder = encoder();
    for index in [3, 8] {
        let ids: Vec<i64> = cases[index].ids.iter().map(|&id| id.into()).collect();
        let _no_grad = tch::no_grad_guard();
        let found = encoder.tokens(&[&ids]).expect("computes").reshape([-1]);
        let found: Vec<f32> = Vec::try_from(found).expect("floats");
        assert_near(
            &found,
            &expected[&format!("tokens.{index}")],
            &cases[index].text,
        );
    }
}

#[test]
fn nothing_embeds_nothing_and_many_texts_keep_their_order() {
    let encoder = encoder();
    assert_eq!(encoder.embed(&[]).expect("nothing"), []);
    let texts: Vec<String> = (0..300)
        .map(|n| "the lighthouse keeper ".repeat(n % 9))
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let found = encoder.embed(&texts).expect("computes");
    for (index, embedding) in found.iter().enumerate() {
        assert_eq!(embedding.tokens, found[index % 9].tokens);
        let length: f32 = embedding.values.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-5);
    }
    assert_eq!(found.len(), 300);
}

#[test]
fn folders_that_are_no_encoders_are_refused_with_the_reason() {
    let copy = tempfile::tempdir().expect("a folder");
    let refused = |change: &dyn Fn(&Path)| {
        for file in [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "modules.json",
        ] {
            std::fs::copy(folder().join(file), copy.path().join(file)).expect("copies");
        }
        std::fs::create_dir_all(copy.path().join("1_Pooling")).expect("a folder");
        let pooling = "1_Pooling/config.json";
        std::fs::copy(folder().join(pooling), copy.path().join(pooling)).expect("copies");
        assert!(Encoder::load(copy.path(), LoadOptions::default()).is_ok());
        change(copy.path());
        let loaded = Encoder::load(copy.path(), LoadOptions::default());
        loaded.err().expect("refused").to_string()
    };
    let write = |path: &Path, name: &str, text: &str| {
        std::fs::write(path.join(name), text).expect("writes");
    };
    let replace = |path: &Path, name: &str, from: &str, to: &str| {
        let text = std::fs::read_to_string(path.join(name)).expect("reads");
        assert!(text.contains(from), "{name} has no {from}");
        write(path, name, &text.replace(from, to));
    };
    type Change<'a> = (&'a str, &'a dyn Fn(&Path));
    let cases: [Change<'_>; 6] = [
        ("model type", &|path| {
            replace(path, "config.json", "\"bert\"", "\"roberta\"")
        }),
        ("hidden_size", &|path| {
            replace(path, "config.json", "hidden_size", "hidden_sise")
        }),
        ("model.safetensors", &|path| {
            write(path, "model.safetensors", "no")
        }),
        ("tokenizer.json", &|path| {
            write(path, "tokenizer.json", "{}")
        }),
        ("modules.json", &|path| {
            replace(path, "modules.json", "1_Pooling", "../1_Pooling")
        }),
        ("pooling", &|path| {
            write(path, "1_Pooling/config.json", "{\"pooling_mode\": \"max\"}")
        }),
    ];
    for (reason, change) in cases {
        let text = refused(change);
        assert!(text.contains(reason), "{text}");
    }
}
