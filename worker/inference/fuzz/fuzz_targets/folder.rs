//! A Hugging Face folder of which one file is anybody's.

#![no_main]

#[path = "../loading.rs"]
mod loading;

use std::path::Path;

use libfuzzer_sys::fuzz_target;

const FILES: [&str; 5] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors",
];

fuzz_target!(|input: &[u8]| {
    let Some((&which, content)) = input.split_first() else {
        return;
    };
    let folder = loading::folder();
    let sound = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/text/models/llama");
    let changed = FILES[usize::from(which) % FILES.len()];
    for name in FILES {
        let place = folder.join(name);
        let done = match name == changed {
            true => std::fs::write(place, content),
            false => std::fs::copy(sound.join(name), place).map(drop),
        };
        if done.is_err() {
            return;
        }
    }
    loading::load_and_run(&folder);
});
