//! `docs/spec/sampling-vectors.json`, checked line by line: this crate's outputs for the inputs in the file.
//!
//! The Philox answers marked as published are Random123's (`kat_vectors`), not ours. After a change of the inputs,
//! `EMC_WRITE_VECTORS=1 cargo test -p emc-inference --test sampling_vectors` fills in the outputs; then
//! `tools/parity/check_sampling_vectors.py`, which shares no code with this crate, must agree.

use std::path::{Path, PathBuf};

use emc_inference::noise::{gumbel, normals, uniform};
use emc_inference::philox::{Domain, philox4x32, word};
use emc_inference::sampler::Choice;
use serde_json::{Value, json};

/// Computes an entry's output from its inputs.
type Output = fn(&Value) -> Value;

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/sampling-vectors.json")
}

fn numbers(value: &Value) -> Vec<u32> {
    let hex = value
        .as_array()
        .expect("a list")
        .iter()
        .map(|word| word.as_str().expect("hex"));
    hex.map(|word| u32::from_str_radix(word, 16).expect("hex"))
        .collect()
}

fn number(entry: &Value, key: &str) -> u64 {
    match &entry[key] {
        Value::String(text) => text.parse().expect("a number"),
        other => other.as_u64().unwrap_or_else(|| panic!("{key} is missing")),
    }
}

fn domain(entry: &Value) -> Domain {
    match number(entry, "domain") {
        1 => Domain::Token,
        2 => Domain::ImageLatent,
        3 => Domain::ImageStep,
        other => panic!("no domain {other}"),
    }
}

/// The exact bits, and the number as text for human readers.
fn double(value: f64) -> Value {
    json!({ "bits": format!("{:016x}", value.to_bits()), "about": value.to_string() })
}

fn philox_output(entry: &Value) -> Value {
    let counter = numbers(&entry["counter"]).try_into().expect("four words");
    let key = numbers(&entry["key"]).try_into().expect("two words");
    json!(philox4x32(counter, key).map(|word| format!("{word:08x}")))
}

fn word_output(entry: &Value) -> Value {
    let position = number(entry, "position") as u32;
    json!(format!(
        "{:08x}",
        word(
            number(entry, "seed"),
            domain(entry),
            position,
            number(entry, "index")
        )
    ))
}

fn real_output(entry: &Value) -> Value {
    let word = numbers(&json!([entry["word"]]))[0];
    json!({ "uniform": double(uniform(word)), "gumbel": double(gumbel(word)) })
}

fn normal_output(entry: &Value) -> Value {
    let (position, count) = (
        number(entry, "position") as u32,
        number(entry, "count") as usize,
    );
    let values = normals(number(entry, "seed"), domain(entry), position, count);
    values
        .iter()
        .map(|value| json!({ "bits": format!("{:08x}", value.to_bits()), "about": value.to_string() }))
        .collect()
}

fn choice_output(entry: &Value) -> Value {
    let float = |key: &str| entry[key].as_f64().expect("a number");
    let choice = Choice {
        temperature: float("temperature"),
        top_k: number(entry, "top_k") as u32,
        top_p: float("top_p"),
        min_p: float("min_p"),
        seed: number(entry, "seed"),
    };
    let logits: Vec<f32> = match entry["logits"].as_array() {
        Some(list) => list
            .iter()
            .map(|logit| logit.as_f64().expect("a number") as f32)
            .collect(),
        None => {
            let recipe = &entry["logits"];
            let noise = normals(
                number(recipe, "seed"),
                Domain::ImageLatent,
                0,
                number(recipe, "count") as usize,
            );
            noise
                .iter()
                .map(|value| value * recipe["scale"].as_f64().expect("a number") as f32)
                .collect()
        }
    };
    let positions = 0..number(entry, "positions") as u32;
    positions
        .map(|position| json!(choice.choose(&logits, position).expect("finite")))
        .collect()
}

#[test]
fn every_vector_of_the_specification_is_reproduced() {
    let path = path();
    let mut file: Value =
        serde_json::from_slice(&std::fs::read(&path).expect("vectors")).expect("vectors");
    let sections: [(&str, Output); 5] = [
        ("philox4x32_10", philox_output),
        ("words", word_output),
        ("reals", real_output),
        ("normals", normal_output),
        ("choices", choice_output),
    ];
    let write = std::env::var_os("EMC_WRITE_VECTORS").is_some();
    for (name, output) in sections {
        let entries = file[name].as_array_mut().expect("a section");
        assert!(entries.len() >= 3, "{name} has lost its vectors");
        for entry in entries {
            let seen = output(entry);
            // What others published is never written over.
            if write && entry["published"] != json!(true) {
                entry["output"] = seen;
            } else {
                assert_eq!(entry["output"], seen, "{name}: {entry}");
            }
        }
    }
    if write {
        let text = serde_json::to_string_pretty(&file).expect("JSON") + "\n";
        std::fs::write(&path, text).expect("vectors are written");
    }
}
