//! What lies at a model's path: its family by its own description, its size, and its root.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use emc_inference::gguf::Gguf;

use crate::config::Kind;

/// Descriptions are small files; a longer one is none.
const LONGEST_DESCRIPTION: u64 = 16 << 20;

/// What a model's files say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The architecture's family, such as `llama`.
    pub family: String,
    /// `GGUF`, `safetensors`, `diffusers`, or `one file` of safetensors.
    pub format: &'static str,
    /// What runs it.
    pub kind: Kind,
}

impl Described {
    /// True for an encoder, which makes embeddings.
    pub fn is_encoder(&self) -> bool {
        self.format == "safetensors" && self.family == "bert"
    }
}

/// Reads the description of a model, not its weights. `None` where there is no model.
pub fn describe(path: &Path) -> Option<Described> {
    if path.is_dir() {
        let found = |name: &str, key: &str| description(&path.join(name), key);
        if let Some(class) = found("model_index.json", "_class_name") {
            return Some(Described {
                family: class,
                format: "diffusers",
                kind: Kind::Image,
            });
        }
        if let Some(family) = found("config.json", "model_type") {
            return Some(Described {
                family,
                format: "safetensors",
                kind: Kind::Llm,
            });
        }
    }
    let ending = path.extension().unwrap_or_default();
    if path.is_file() && ending.eq_ignore_ascii_case("safetensors") {
        // Stable Diffusion's authors publish it so; what else it could be is found out by loading it.
        return Some(Described {
            family: "stable diffusion".to_owned(),
            format: "one file",
            kind: Kind::Image,
        });
    }
    let file = gguf_in(path)?;
    let gguf = Gguf::open(&file).ok()?;
    Some(Described {
        family: gguf.text("general.architecture")?.to_owned(),
        format: "GGUF",
        kind: Kind::Llm,
    })
}

/// Number and bytes of the files of which the root would be made, without reading them.
///
/// # Errors
/// Where one of them cannot be looked at.
pub fn extent(path: &Path) -> anyhow::Result<(usize, u64)> {
    let looked = fs::metadata(path).with_context(|| path.display().to_string())?;
    if !looked.is_dir() {
        return Ok((1, looked.len()));
    }
    let (mut count, mut bytes) = (0, 0u64);
    for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
        let entry = entry.with_context(|| path.display().to_string())?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let (files, length) = extent(&entry.path())?;
        count += files;
        bytes = bytes.saturating_add(length);
    }
    Ok((count, bytes))
}

/// The models that lie in a folder: its entries that are one.
pub fn models_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found = vec![];
    for path in entries.map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        // A folder of GGUF files holds as many models.
        let inside = ggufs(&path);
        match inside.is_empty() || path.join("config.json").is_file() {
            false => found.extend(inside),
            true if describe(&path).is_some() => found.push(path),
            true => {}
        }
    }
    found.sort();
    found
}

fn gguf_in(path: &Path) -> Option<PathBuf> {
    match ggufs(path).as_slice() {
        [] if path.is_file() => Some(path.to_owned()),
        [file] => Some(file.clone()),
        _ => None,
    }
}

fn ggufs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let is_gguf = |path: &PathBuf| {
        let ending = path.extension().unwrap_or_default();
        ending.eq_ignore_ascii_case("gguf") && path.is_file()
    };
    let mut found: Vec<PathBuf> = paths.filter(is_gguf).collect();
    found.sort();
    found
}

fn description(path: &Path, key: &str) -> Option<String> {
    if fs::metadata(path).ok()?.len() > LONGEST_DESCRIPTION {
        return None;
    }
    let text = fs::read(path).ok()?;
    let object: serde_json::Value = serde_json::from_slice(&text).ok()?;
    Some(object.get(key)?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_told_by_their_own_descriptions() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |path: &str| folder.path().join(path);
        let write = |path: &str, text: &str| {
            fs::create_dir_all(at(path).parent().expect("a folder")).expect("creates");
            fs::write(at(path), text).expect("writes");
        };
        write("llama/config.json", "{\"model_type\": \"llama\"}");
        write("bert/config.json", "{\"model_type\": \"bert\"}");
        write(
            "sd/model_index.json",
            "{\"_class_name\": \"StableDiffusionPipeline\"}",
        );
        write("sd/unet/config.json", "{}");
        write("notes/readme.txt", "nothing");
        write("two/a.gguf", "GGUF");
        write("two/b.gguf", "GGUF");
        write(".hidden/config.json", "{\"model_type\": \"llama\"}");
        let llama = describe(&at("llama")).expect("a model");
        assert_eq!(
            (llama.family.as_str(), llama.kind, llama.is_encoder()),
            ("llama", Kind::Llm, false)
        );
        assert!(describe(&at("bert")).expect("a model").is_encoder());
        assert_eq!(describe(&at("sd")).expect("a model").kind, Kind::Image);
        write("one.safetensors", "");
        assert_eq!(
            describe(&at("one.safetensors")).expect("a model").kind,
            Kind::Image
        );
        fs::remove_file(at("one.safetensors")).expect("removes");
        assert_eq!(describe(&at("notes")), None);
        assert_eq!(describe(&at("nowhere")), None);
        let found = models_in(folder.path());
        let names: Vec<_> = ["bert", "llama", "sd", "two/a.gguf", "two/b.gguf"]
            .map(at)
            .into();
        assert_eq!(found, names);
        assert_eq!(extent(&at("sd")).expect("counts").0, 2);
        assert!(extent(&at("nowhere")).is_err());
    }
}
