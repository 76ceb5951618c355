//! Loads a model and, where that succeeds, makes a few tokens with it.

use std::path::{Path, PathBuf};

use emc_inference::{LoadOptions, Model, ModelText, SamplingParams};

/// A folder of this process, where possible in memory.
pub fn folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let parent = match memory.is_dir() {
        true => memory.to_owned(),
        false => std::env::temp_dir(),
    };
    let folder = parent.join(format!("emc-fuzz-{}", std::process::id()));
    let _ = std::fs::create_dir_all(&folder);
    folder
}

/// Nothing may panic.
pub fn load_and_run(path: &Path) {
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
