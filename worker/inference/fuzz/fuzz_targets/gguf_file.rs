//! A GGUF file of anybody's.

#![no_main]

#[path = "../loading.rs"]
mod loading;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    let folder = loading::folder();
    if std::fs::write(folder.join("model.gguf"), content).is_ok() {
        loading::load_and_run(&folder.join("model.gguf"));
    }
});
