//! The root of a model: one SHA-256 that stands for all bytes of all its files (`docs/spec/model-root.md`).
//!
//! A worker serves a model only if the files on its disk have the root that the catalogue names.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// What the hash begins with, so that no other hash of the project can be taken for a model root.
const DOMAIN: &[u8] = b"emc-model-root-v1";
/// A model has some ten files, at most some hundreds; more means that a wrong folder was named.
const MAX_FILES: usize = 10_000;
/// Folders inside folders, at most.
const MAX_DEPTH: usize = 16;

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFile {
    /// Path below the model's folder, with `/` between its parts.
    pub path: String,
    /// Length in bytes.
    pub length: u64,
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
}

/// A model's files, sorted by the bytes of their paths, and their root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRoot {
    /// The 32 bytes that name the model.
    pub root: [u8; 32],
    /// What they cover.
    pub files: Vec<ModelFile>,
}

/// Reads and hashes the model at `path`: a folder with all files below it, or a single file.
///
/// Names that begin with a dot are left out (caches and version control put them there). Everything is read anew on
/// each call: a stored root would trust whoever can write beside the model.
pub fn model_root(path: &Path) -> Result<ModelRoot> {
    let mut found = Vec::new();
    if fs::metadata(path).map_err(Error::io(path))?.is_dir() {
        list(path, "", 0, &mut found)?;
    } else {
        let name = path.file_name().and_then(|name| name.to_str());
        let name =
            name.ok_or_else(|| Error::Unsupported(format!("the file name {}", path.display())))?;
        found.push((name.to_owned(), path.to_owned()));
    }
    found.sort();
    let files = found
        .into_iter()
        .map(|(name, path)| hash_file(name, &path))
        .collect::<Result<Vec<_>>>()?;
    Ok(ModelRoot {
        root: root_of(&files),
        files,
    })
}

/// The root of files whose hashes are known; they must be sorted by path.
pub fn root_of(files: &[ModelFile]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update([DOMAIN.len() as u8]);
    hash.update(DOMAIN);
    let count =
        u32::try_from(files.len()).expect("the files of a folder are counted, see MAX_FILES");
    hash.update(count.to_le_bytes());
    for file in files {
        let length = u32::try_from(file.path.len())
            .expect("paths come from the file system, which bounds them");
        hash.update(length.to_le_bytes());
        hash.update(file.path.as_bytes());
        hash.update(file.length.to_le_bytes());
        hash.update(file.sha256);
    }
    hash.finalize().into()
}

fn list(
    folder: &Path,
    prefix: &str,
    depth: usize,
    found: &mut Vec<(String, PathBuf)>,
) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::Unsupported(format!(
            "a model folder {MAX_DEPTH} levels deep"
        )));
    }
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name =
            name.ok_or_else(|| Error::Unsupported(format!("the file name {}", path.display())))?;
        if name.starts_with('.') {
            continue;
        }
        // Follows links: the Hugging Face cache keeps a model's files as links into its store.
        let kind = fs::metadata(&path).map_err(Error::io(&path))?;
        let name = format!("{prefix}{name}");
        if kind.is_dir() {
            list(&path, &format!("{name}/"), depth + 1, found)?;
        } else if kind.is_file() {
            found.push((name, path));
        }
        if found.len() > MAX_FILES {
            return Err(Error::Unsupported(format!(
                "a model of more than {MAX_FILES} files"
            )));
        }
    }
    Ok(())
}

fn hash_file(name: String, path: &Path) -> Result<ModelFile> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut hash = Sha256::new();
    let mut length = 0u64;
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(Error::io(path))? {
            0 => break,
            read => {
                hash.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
    Ok(ModelFile {
        path: name,
        length,
        sha256: hash.finalize().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of `docs/spec/model-root.md`.
    #[test]
    fn the_specification_s_example_has_its_root() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("config.json"), "{}\n").expect("write");
        fs::create_dir(folder.path().join("weights")).expect("create");
        fs::write(folder.path().join("weights/a.gguf"), "GGUF").expect("write");
        fs::write(folder.path().join(".cache"), "left out").expect("write");
        let root = model_root(folder.path()).expect("root");
        let paths: Vec<_> = root.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["config.json", "weights/a.gguf"]);
        assert_eq!(
            hex::encode(root.root),
            "edf988eed5bccea89bfb89582f5f938b6d5e65e07a7edd119a71bf65f86557cd"
        );
    }

    #[test]
    fn a_lone_file_and_a_folder_with_it_have_the_same_root() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("model.gguf");
        fs::write(&file, "weights").expect("write");
        assert_eq!(
            model_root(&file).expect("file"),
            model_root(folder.path()).expect("folder")
        );
    }

    #[test]
    fn any_change_of_name_or_content_changes_the_root() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("a");
        fs::write(&file, "one").expect("write");
        let first = model_root(folder.path()).expect("root").root;
        fs::write(&file, "two").expect("write");
        let second = model_root(folder.path()).expect("root").root;
        fs::rename(&file, folder.path().join("b")).expect("rename");
        let third = model_root(folder.path()).expect("root").root;
        assert!(first != second && second != third && first != third);
    }

    #[test]
    fn a_missing_model_is_named_in_the_error() {
        let error =
            model_root(Path::new("/nowhere/model.gguf")).expect_err("there is no such file");
        assert!(error.to_string().contains("/nowhere/model.gguf"));
    }
}
