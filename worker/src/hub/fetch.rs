//! One file of a hub, onto the disk: whole and with the listed hash, or not at all.
//!
//! What arrives goes into `.<name>.part` beside its place. A broken connection leaves it there, and the next try, of this run
//! or of another, goes on behind its last byte. Only a file whose hash is right gets its name.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use reqwest::{Response, StatusCode, header};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::{Digest, Failure, Hub, HubError, RemoteFile, Snapshot};
use crate::backoff::Backoff;
use crate::progress::{Progress, size};

/// Bytes that are read from the disk at a time.
const BUFFER: usize = 1 << 20;

/// Where a file is while it arrives. Its name begins with a dot: roots of models leave it out.
pub fn part_of(place: &Path) -> PathBuf {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    place.with_file_name(format!(".{name}.part"))
}

/// Bytes of a file that are on the disk: all, or what an earlier try left.
pub fn present(file: &RemoteFile, place: &Path) -> u64 {
    let length = |path: &Path| fs::metadata(path).ok().map(|file| file.len());
    let here = length(place).or_else(|| length(&part_of(place)));
    here.unwrap_or(0).min(file.length)
}

impl Hub {
    /// Brings a file to its place. Where it is there already, its content is checked.
    ///
    /// # Errors
    /// Where it does not come, is not what the hub lists, or another file is in its place.
    pub async fn fetch(
        &self,
        snapshot: &Snapshot,
        file: &RemoteFile,
        place: &Path,
        progress: &mut Progress,
    ) -> Result<(), HubError> {
        if place.exists() {
            let (listed, existing) = (file.clone(), place.to_owned());
            let here = blocking(move || Arriving::open(&existing, &listed, false)).await?;
            if here.length != file.length || here.found() != file.digest {
                return Err(HubError::InTheWay(place.to_owned()));
            }
            progress.add(file.length);
            return Ok(());
        }
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder).map_err(HubError::disk(folder))?;
        }
        let part = part_of(place);
        let (listed, path) = (file.clone(), part.clone());
        let mut arriving = blocking(move || Arriving::open(&path, &listed, true)).await?;
        let mut resumed = arriving.length > 0;
        progress.add(arriving.length);
        loop {
            self.receive(snapshot, file, &mut arriving, progress)
                .await?;
            let found = arriving.found();
            if found == file.digest {
                break;
            }
            progress.take_back(arriving.length);
            arriving.start_again()?;
            // What an earlier run left may be at fault: once more, from the first byte.
            if !std::mem::take(&mut resumed) {
                drop(arriving);
                fs::remove_file(&part).map_err(HubError::disk(&part))?;
                return Err(HubError::Wrong {
                    file: file.path.clone(),
                    found: found.to_string(),
                    listed: file.digest.to_string(),
                });
            }
            progress.note(&format!(
                "{} is not what the hub lists; downloading it again from the start",
                file.path
            ));
        }
        arriving.finish(place)
    }

    /// Receives what is missing of a file, in as many tries as it takes.
    async fn receive(
        &self,
        snapshot: &Snapshot,
        file: &RemoteFile,
        arriving: &mut Arriving,
        progress: &mut Progress,
    ) -> Result<(), HubError> {
        let mut backoff = Backoff::new(self.pace.first_wait, self.pace.longest_wait);
        while arriving.length < file.length {
            let before = arriving.length;
            let (why, wait) = match self.receive_once(snapshot, file, arriving, progress).await {
                Ok(()) => continue,
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing { why, wait }) => (why, wait),
            };
            // A hub that sends some bytes each time brings it to its end.
            if arriving.length > before {
                backoff.reset();
            }
            progress.note(&format!(
                "{}: {why}, after {} of {}; trying again",
                file.path,
                size(arriving.length),
                size(file.length)
            ));
            self.pause(&mut backoff, &file.path, (why, wait)).await?;
        }
        Ok(())
    }

    async fn receive_once(
        &self,
        snapshot: &Snapshot,
        file: &RemoteFile,
        arriving: &mut Arriving,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        // Asked anew each time: the addresses that it redirects to expire.
        let url = self.file_url(snapshot, &file.path);
        let from = Some(arriving.length).filter(|length| *length > 0);
        let mut response = self.ask(&url, from).await?;
        if from.is_some() && !continues(&response, arriving.length) {
            if response.status() == StatusCode::PARTIAL_CONTENT {
                return Err(Failure::passing(
                    "the hub sent another part than the one asked for",
                ));
            }
            progress.note(&format!(
                "{}: the hub does not resume; from the start",
                file.path
            ));
            progress.take_back(arriving.length);
            arriving.start_again().map_err(Failure::Final)?;
        }
        while let Some(chunk) = response.chunk().await.map_err(Failure::transport)? {
            let after = arriving.length.saturating_add(chunk.len() as u64);
            if after > file.length {
                return Err(Failure::Final(HubError::Wrong {
                    file: file.path.clone(),
                    found: "more bytes".into(),
                    listed: format!("{}", file.length),
                }));
            }
            arriving.write(&chunk).map_err(Failure::Final)?;
            progress.add(chunk.len() as u64);
        }
        match arriving.length == file.length {
            true => Ok(()),
            false => Err(Failure::passing("the connection ended early")),
        }
    }
}

/// True where an answer goes on behind the bytes that are here.
fn continues(response: &Response, from: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE);
    let range = range
        .and_then(|range| range.to_str().ok())
        .unwrap_or_default();
    response.status() == StatusCode::PARTIAL_CONTENT && range.starts_with(&format!("bytes {from}-"))
}

/// A file that is arriving, and the hash of what is there.
struct Arriving {
    file: File,
    path: PathBuf,
    length: u64,
    hash: Hash,
    fresh: Hash,
}

#[derive(Clone)]
enum Hash {
    Sha256(Sha256),
    GitBlob(Sha1),
}

impl Hash {
    fn of(file: &RemoteFile) -> Self {
        match file.digest {
            Digest::Sha256(_) => Self::Sha256(Sha256::new()),
            Digest::GitBlob(_) => {
                let header = format!("blob {}\0", file.length);
                Self::GitBlob(Sha1::new_with_prefix(header))
            }
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::GitBlob(hash) => hash.update(bytes),
        }
    }
}

impl Arriving {
    /// Opens a file and hashes what it holds. One that is longer than the hub's begins anew.
    fn open(path: &Path, file: &RemoteFile, writes: bool) -> Result<Self, HubError> {
        let mut options = OpenOptions::new();
        options.read(true).write(writes).create(writes);
        let fresh = Hash::of(file);
        let opened = options.open(path).map_err(HubError::disk(path))?;
        let mut arriving = Self {
            file: opened,
            path: path.to_owned(),
            length: 0,
            hash: fresh.clone(),
            fresh,
        };
        let mut buffer = vec![0; BUFFER];
        loop {
            match arriving.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    arriving.hash.update(&buffer[..count]);
                    arriving.length += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(HubError::Disk(path.to_owned(), error)),
            }
        }
        if writes && arriving.length > file.length {
            arriving.start_again()?;
        }
        Ok(arriving)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file
            .write_all(bytes)
            .map_err(HubError::disk(&self.path))?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn start_again(&mut self) -> Result<(), HubError> {
        let emptied = self.file.set_len(0);
        let emptied = emptied.and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(HubError::disk(&self.path))?;
        (self.length, self.hash) = (0, self.fresh.clone());
        Ok(())
    }

    fn found(&self) -> Digest {
        match &self.hash {
            Hash::Sha256(hash) => Digest::Sha256(hash.clone().finalize().into()),
            Hash::GitBlob(hash) => Digest::GitBlob(hash.clone().finalize().into()),
        }
    }

    /// Gives it its name.
    fn finish(self, place: &Path) -> Result<(), HubError> {
        self.file.sync_all().map_err(HubError::disk(&self.path))?;
        fs::rename(&self.path, place).map_err(HubError::disk(place))
    }
}

/// Reads gigabytes off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HubError> + Send + 'static,
) -> Result<T, HubError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(HubError::Settings(format!("interrupted: {error}"))))
}
