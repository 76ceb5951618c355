//! The worker's folder: the journal, and a lock so that two workers never share it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made, read or written.
    #[error("the data folder {0}: {1}")]
    Io(PathBuf, std::io::Error),
    /// Another worker uses it.
    #[error(
        "the data folder {0} is used by another worker{1}: stop that one, or name another data_dir"
    )]
    InUse(PathBuf, String),
}

/// The folder, locked for this process until dropped. The lock is the kernel's: it ends with the process, however that
/// ends.
#[derive(Debug)]
pub struct DataDir {
    folder: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the folder where there is none, and locks it.
    ///
    /// # Errors
    /// Where it cannot be used, or another worker does.
    pub fn lock(folder: &Path) -> Result<Self, DataDirError> {
        let io = |error| DataDirError::Io(folder.to_owned(), error);
        std::fs::create_dir_all(folder).map_err(io)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join("lock"))
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only for the message.
                let _ = lock.read_to_string(&mut holder);
                let holder = holder.trim();
                let who = if holder.is_empty() {
                    String::new()
                } else {
                    format!(" (process {holder})")
                };
                return Err(DataDirError::InUse(folder.to_owned(), who));
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let note = |lock: &mut File| {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())
        };
        note(&mut lock).map_err(io)?;
        Ok(Self {
            folder: folder.to_owned(),
            _lock: lock,
        })
    }

    /// The journal's file.
    pub fn journal(&self) -> PathBuf {
        journal_in(&self.folder)
    }
}

/// The journal's file in a data folder.
pub fn journal_in(folder: &Path) -> PathBuf {
    folder.join("journal.redb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_workers_never_share_a_folder() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let folder = parent.path().join("a/b");
        let first = DataDir::lock(&folder).expect("locks");
        let error = DataDir::lock(&folder).expect_err("locked").to_string();
        let holder = format!("(process {})", std::process::id());
        assert!(
            error.contains(&holder) && error.contains("data_dir"),
            "{error}"
        );
        drop(first);
        DataDir::lock(&folder).expect("free again");
    }
}
