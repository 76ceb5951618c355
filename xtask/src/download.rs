//! Brings a pinned file into the cache: once per user, whole, and with the pinned hash, or not at all.
//!
//! A download goes into `<file>.part`, which a broken connection or an interrupted set-up leaves behind for the next one
//! to go on with; only a file whose hash is right gets its name. A lock per file keeps two clones from downloading the
//! same thing side by side.

use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::paths::Paths;
use crate::pins::Pin;
use crate::progress::{Progress, size};
use crate::python::{self, Said};

const FETCH: &str = include_str!("fetch.py");

/// The cache of downloads, and how the registries are reached.
pub struct Downloads {
    folder: PathBuf,
    locks: PathBuf,
    variables: Vec<(String, String)>,
}

impl Downloads {
    /// The user's cache, with registries as pip and npm are configured.
    pub fn new(paths: &Paths) -> Self {
        Self {
            folder: paths.downloads(),
            locks: paths.locks(),
            variables: Vec::new(),
        }
    }

    /// The same, with a variable set for the download script (such as `PIP_INDEX_URL`).
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Whether a file of the pin's name and size lies in the cache. Its hash is checked when it is used.
    pub fn seem_to_have(&self, pin: &Pin) -> bool {
        fs::metadata(self.folder.join(&pin.file)).is_ok_and(|file| file.len() == pin.size)
    }

    /// The pinned file: from the cache, else from its registry. What is handed out has the pinned hash.
    pub fn get(&self, pin: &Pin) -> Result<PathBuf> {
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        let _lock = lock(&self.locks, &pin.file)?;
        let file = self.folder.join(&pin.file);
        if file.exists() {
            match check(&file, pin) {
                Ok(()) => {
                    println!(
                        "      {}: {} from {}",
                        pin.file,
                        size(pin.size),
                        self.folder.display()
                    );
                    return Ok(file);
                }
                Err(wrong) => {
                    println!("      {wrong:#}; downloading it again");
                    fs::remove_file(&file)?;
                }
            }
        }
        let partial = self.folder.join(format!("{}.part", pin.file));
        let resumed = partial.exists();
        self.fetch(pin, &partial)?;
        if let Err(wrong) = check(&partial, pin) {
            fs::remove_file(&partial)?;
            if !resumed {
                return Err(wrong);
            }
            // What an earlier run left may be at fault: once more, from the first byte.
            println!("      {wrong:#}; downloading it again from the start");
            self.fetch(pin, &partial)?;
            check(&partial, pin).inspect_err(|_| drop(fs::remove_file(&partial)))?;
        }
        fs::rename(&partial, &file)?;
        Ok(file)
    }

    fn fetch(&self, pin: &Pin, partial: &Path) -> Result<()> {
        let mut progress = Progress::bytes(&pin.file, pin.size);
        let size = pin.size.to_string();
        let arguments = [
            pin.index.name().as_ref(),
            pin.name.as_ref(),
            pin.version.as_ref(),
            pin.file.as_ref(),
            partial.as_os_str(),
            size.as_ref(),
        ];
        let done = python::run(FETCH, &arguments, "", &self.variables, |said| match said {
            Said::At(bytes) => progress.at(bytes),
            Said::Note(text) => progress.note(&text),
            Said::Total(_) => {}
        });
        match done {
            Ok(()) => progress.finish(),
            Err(_) => drop(progress),
        }
        done.with_context(|| {
            format!(
                "cannot download {} {} from {}",
                pin.name,
                pin.version,
                pin.index.name()
            )
        })
    }
}

/// Errs unless the file has the pinned size and hash.
pub fn check(file: &Path, pin: &Pin) -> Result<()> {
    let length = fs::metadata(file)?.len();
    if length != pin.size {
        bail!(
            "{} has {length} bytes, but its pin says {}",
            file.display(),
            pin.size
        );
    }
    let found = sha256(file)?;
    if found != pin.sha256 {
        bail!(
            "{} has the SHA-256 {found}, but its pin in xtask/pins.toml says {}: it is not the file that was pinned",
            file.display(),
            pin.sha256
        );
    }
    Ok(())
}

fn sha256(file: &Path) -> Result<String> {
    let mut file = File::open(file)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// Holds the lock of that name until it is dropped; says so where it has to wait for another process.
pub fn lock(folder: &Path, name: &str) -> Result<File> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(format!("{name}.lock"));
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            println!(
                "      waiting for another run that holds {}",
                path.display()
            );
            file.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    Ok(file)
}
