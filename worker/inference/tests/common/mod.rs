//! What the tests on real models share: their fixtures, and the models that set-up brings.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// A file of `tests/data`.
pub fn fixture<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name);
    serde_json::from_slice(&std::fs::read(path).expect("fixture")).expect("fixture")
}

/// The folder of a model. Where it is missing nothing, with a printed remark, unless `CI` or `EMC_REQUIRE_MODEL` is set;
/// `command` brings it.
pub fn model_folder(name: &str, command: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../.emc/models")
        .join(name);
    if folder.exists() {
        return Some(folder);
    }
    let missing = format!("{} is missing: run `{command}`", folder.display());
    let required = ["CI", "EMC_REQUIRE_MODEL"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    assert!(!required, "{missing}");
    println!("SKIPPED: {missing}");
    None
}
