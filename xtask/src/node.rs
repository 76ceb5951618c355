//! Node.js, for the test in which a JavaScript client uses the ledger: the machine's own where that is new enough, else
//! the pinned one, which is only then downloaded.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::canisters::target_directory;
use crate::download::{self, Downloads};
use crate::install::{self, State};
use crate::libtorch;
use crate::paths::Paths;
use crate::pins;
use crate::prerequisites::first_line;

const PART: &str = "node";
/// What the packages of the test ask for.
const OLDEST: u32 = 20;
/// `EMC_NODE=pinned` takes the pinned Node.js even where the machine has one.
const CHOICE: &str = "EMC_NODE";

/// A Node.js that can run the test.
#[derive(Clone, Debug)]
pub struct Node {
    /// The program `node`.
    pub program: PathBuf,
    /// npm as a script for it; the machine's own `npm` where there is none.
    npm: Option<PathBuf>,
    /// Its version, for messages.
    pub version: String,
}

impl Node {
    /// The machine's Node.js, or the pinned one, brought here where it is missing.
    ///
    /// # Errors
    /// Where there is none and it cannot be downloaded.
    pub fn find(paths: &Paths) -> Result<Self> {
        let pinned_wanted = std::env::var(CHOICE).is_ok_and(|choice| choice == "pinned");
        match Self::of_this_machine() {
            Some(node) if !pinned_wanted => Ok(node),
            _ => Self::pinned(paths),
        }
    }

    fn of_this_machine() -> Option<Self> {
        let version = first_line(Command::new("node").arg("--version"))?;
        first_line(Command::new("npm").arg("--version"))?;
        (major(&version)? >= OLDEST).then_some(Self {
            program: "node".into(),
            npm: None,
            version,
        })
    }

    fn pinned(paths: &Paths) -> Result<Self> {
        let parts = pins::committed()?;
        let part = parts.iter().find(|part| part.name == PART);
        let part = part.context("xtask/pins.toml has no part `node`")?;
        let view = libtorch::view(paths, None);
        std::fs::create_dir_all(paths.emc())?;
        let _lock = download::lock(&paths.emc(), "setup")?;
        if install::state(paths, part, view) != State::Ready {
            install::install(paths, &Downloads::new(paths), part, view).with_context(|| {
                format!(
                    "there is no Node.js {OLDEST} or newer with npm here, and the pinned one cannot be set up"
                )
            })?;
        }
        let folder = paths.emc().join(&part.folder);
        let program = folder.join("bin/node");
        let version = first_line(Command::new(&program).arg("--version"));
        Ok(Self {
            version: version.with_context(|| format!("{} does not run", program.display()))?,
            npm: Some(folder.join("lib/node_modules/npm/bin/npm-cli.js")),
            program,
        })
    }

    fn npm(&self) -> Command {
        match &self.npm {
            None => Command::new("npm"),
            Some(script) => {
                let mut command = Command::new(&self.program);
                command.arg(script);
                command
            }
        }
    }

    /// Copies a folder's files into the target directory and installs there exactly what its `package-lock.json` says;
    /// where the copy is.
    ///
    /// # Errors
    /// Where files or packages cannot be had.
    pub fn install_packages(&self, paths: &Paths, source: &Path) -> Result<PathBuf> {
        const LOCK: &str = "package-lock.json";
        const INSTALLED: &str = ".installed";
        let name = source.file_name().context("the folder has a name")?;
        let folder = target_directory(paths.root())?.join(name);
        std::fs::create_dir_all(&folder)?;
        let _lock = download::lock(&folder, "install")?;
        for entry in std::fs::read_dir(source)? {
            let entry = entry?;
            std::fs::copy(entry.path(), folder.join(entry.file_name()))?;
        }
        let wanted = std::fs::read_to_string(source.join(LOCK))? + &self.version;
        let stamp = folder.join(INSTALLED);
        if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return Ok(folder);
        }
        let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        let output = self.npm().args(arguments).current_dir(&folder).output();
        let output = output.context("cannot run npm")?;
        ensure!(
            output.status.success(),
            "npm cannot install what {} says: {}",
            source.join(LOCK).display(),
            String::from_utf8_lossy(&output.stderr)
        );
        std::fs::write(stamp, wanted)?;
        Ok(folder)
    }

    /// Runs a script of such a folder; what it printed.
    ///
    /// # Errors
    /// What it said, where it fails.
    pub fn run(&self, folder: &Path, script: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.arg(script).args(arguments).current_dir(folder);
        let output = command.output().context("cannot run node")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{script} fails in Node.js {}: {said}", self.version);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The first number of `v20.1.0`.
fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_node_says() {
        assert_eq!(major("v20.20.2"), Some(20));
        assert_eq!(major("20.20.2"), None);
        assert_eq!(major("v"), None);
    }
}
