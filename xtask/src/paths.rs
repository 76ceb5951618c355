//! Where things are: the clone, what set-up makes in it (`.emc/`, ignored by git), and the cache of downloads outside
//! it, which all clones of a user share.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folders that the commands read and write.
#[derive(Clone, Debug)]
pub struct Paths {
    root: PathBuf,
    cache: PathBuf,
}

impl Paths {
    /// This clone, with the cache at `$EMC_CACHE`, else `$XDG_CACHE_HOME/emc`, else `~/.cache/emc`.
    pub fn of_this_clone() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest
            .parent()
            .expect("xtask lies one folder below the root of the repository");
        let cache = cache_folder(|name| {
            env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        })
        .context(
            "no place for downloads: neither EMC_CACHE nor HOME is set; set EMC_CACHE to a folder",
        )?;
        Ok(Self::new(root.to_owned(), cache))
    }

    /// A clone at `root` with the cache at `cache`.
    pub fn new(root: PathBuf, cache: PathBuf) -> Self {
        Self { root, cache }
    }

    /// The root of the clone.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `.emc/`: everything that set-up and the builds make, apart from cargo's own target folder.
    pub fn emc(&self) -> PathBuf {
        self.root.join(".emc")
    }

    /// Where the built canisters are put.
    pub fn canisters(&self) -> PathBuf {
        self.emc().join("canisters")
    }

    /// libtorch, as `LIBTORCH` names it.
    pub fn libtorch(&self) -> PathBuf {
        self.emc().join("libtorch")
    }

    /// The model that the demo and the tests run.
    pub fn model(&self) -> PathBuf {
        self.emc()
            .join("models/SmolLM2-135M-Instruct/SmolLM2-135M-Instruct.Q4_1.gguf")
    }

    /// The `icp` command, which the tests deploy with.
    pub fn icp(&self) -> PathBuf {
        self.emc().join("bin/icp")
    }

    /// Downloaded archives, shared by all clones.
    pub fn downloads(&self) -> PathBuf {
        self.cache.join("downloads")
    }

    /// Files that keep two set-ups from downloading the same thing at once.
    pub fn locks(&self) -> PathBuf {
        self.cache.join("locks")
    }
}

fn cache_folder(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    variable("EMC_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("emc")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/emc")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_the_user_says_and_else_in_the_users_cache_folder() {
        let all = |name: &str| Some(PathBuf::from(format!("/{name}")));
        assert_eq!(cache_folder(all), Some("/EMC_CACHE".into()));
        assert_eq!(
            cache_folder(|n| all(n).filter(|_| n != "EMC_CACHE")),
            Some("/XDG_CACHE_HOME/emc".into())
        );
        assert_eq!(
            cache_folder(|n| all(n).filter(|_| n == "HOME")),
            Some("/HOME/.cache/emc".into())
        );
        assert_eq!(cache_folder(|_| None), None);
    }
}
