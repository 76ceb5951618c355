//! Stable memory with an undo log: writes go in place, and the old content of each page first touched is kept until
//! the message (or the whole upgrade) commits or rolls back. Pages never written take no room.

use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{self, Read};

/// Bytes of a page of stable memory, as canisters count them.
pub const WASM_PAGE: u64 = 65536;
/// The most pages a canister may have: 500 GiB.
pub const MAX_PAGES: u64 = (500 << 30) / WASM_PAGE;
const UNDO_PAGE: u64 = 4096;
const UNDO_PER_CHUNK: u64 = WASM_PAGE / UNDO_PAGE;

type Chunk = Box<[u8; WASM_PAGE as usize]>;
type Before = Box<[u8; UNDO_PAGE as usize]>;

/// An access outside of the memory.
#[derive(Debug, PartialEq, Eq)]
pub struct OutOfBounds;

/// A canister's stable memory.
#[derive(Default)]
pub struct StableMemory {
    pages: u64,
    chunks: Vec<Option<Chunk>>,
    undo: HashMap<u64, Option<Before>>,
    undo_pages: Option<u64>,
}

impl StableMemory {
    /// A memory with the content of a file, committed. Pages of zeros take no room.
    ///
    /// # Errors
    /// The file cannot be read, or is not a whole number of pages, at most 500 GiB.
    pub fn from_file(path: &std::path::Path) -> io::Result<Self> {
        let mut file = std::fs::File::open(path)?;
        let bytes = file.metadata()?.len();
        let pages = bytes / WASM_PAGE;
        if bytes % WASM_PAGE != 0 || pages > MAX_PAGES {
            let message = format!(
                "{bytes} bytes are not a whole number of pages of {WASM_PAGE} bytes, at most 500 GiB"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let mut chunks = Vec::with_capacity(pages as usize);
        for _ in 0..pages {
            let mut chunk: Chunk = Box::new([0; WASM_PAGE as usize]);
            file.read_exact(&mut chunk[..])?;
            chunks.push(chunk.iter().any(|byte| *byte != 0).then_some(chunk));
        }
        Ok(Self {
            pages,
            chunks,
            ..Self::default()
        })
    }

    /// Size in pages of 64 KiB.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Adds zeroed pages; the old size, or none beyond the limit.
    pub fn grow(&mut self, by: u64) -> Option<u64> {
        let old = self.pages;
        let new = old.checked_add(by).filter(|n| *n <= MAX_PAGES)?;
        self.undo_pages.get_or_insert(old);
        self.pages = new;
        self.chunks.resize_with(usize::try_from(new).ok()?, || None);
        Some(old)
    }

    fn check(&self, offset: u64, len: u64) -> Result<(), OutOfBounds> {
        match offset.checked_add(len) {
            Some(end) if end <= self.pages * WASM_PAGE => Ok(()),
            _ => Err(OutOfBounds),
        }
    }

    /// Splits a range at chunk borders: chunk, offset in the chunk, offset in the data, length.
    fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (usize, usize, usize, usize)> {
        let mut done = 0usize;
        std::iter::from_fn(move || {
            if done >= len {
                return None;
            }
            let at = offset + done as u64;
            let inside = (at % WASM_PAGE) as usize;
            let n = (WASM_PAGE as usize - inside).min(len - done);
            let piece = ((at / WASM_PAGE) as usize, inside, done, n);
            done += n;
            Some(piece)
        })
    }

    /// Writes; what was there can be restored until [`commit`](Self::commit).
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), OutOfBounds> {
        self.check(offset, data.len() as u64)?;
        if data.is_empty() {
            return Ok(());
        }
        for page in offset / UNDO_PAGE..=(offset + data.len() as u64 - 1) / UNDO_PAGE {
            let chunk = &self.chunks[(page / UNDO_PER_CHUNK) as usize];
            self.undo.entry(page).or_insert_with(|| {
                chunk.as_ref().map(|c| {
                    let at = ((page % UNDO_PER_CHUNK) * UNDO_PAGE) as usize;
                    Box::new(
                        c[at..at + UNDO_PAGE as usize]
                            .try_into()
                            .expect("the slice has the page's length"),
                    )
                })
            });
        }
        for (chunk, inside, from, n) in Self::pieces(offset, data.len()) {
            self.chunks[chunk].get_or_insert_with(|| Box::new([0; WASM_PAGE as usize]))
                [inside..inside + n]
                .copy_from_slice(&data[from..from + n]);
        }
        Ok(())
    }

    /// Reads into `out`.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), OutOfBounds> {
        self.check(offset, out.len() as u64)?;
        for (chunk, inside, to, n) in Self::pieces(offset, out.len()) {
            match &self.chunks[chunk] {
                Some(c) => out[to..to + n].copy_from_slice(&c[inside..inside + n]),
                None => out[to..to + n].fill(0),
            }
        }
        Ok(())
    }

    /// SHA-256 over size and content.
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.pages.to_be_bytes());
        for (page, chunk) in (0u64..).zip(&self.chunks) {
            // A page that was only ever written with zeros is the same as one that never was.
            if let Some(chunk) = chunk.as_ref().filter(|c| c.iter().any(|byte| *byte != 0)) {
                hash.update(page.to_be_bytes());
                hash.update(&chunk[..]);
            }
        }
        hash.finalize().into()
    }

    /// Forgets how to undo what was written.
    pub fn commit(&mut self) {
        self.undo.clear();
        self.undo_pages = None;
    }

    /// Back to the last commit.
    pub fn rollback(&mut self) {
        for (page, before) in self.undo.drain() {
            let at = ((page % UNDO_PER_CHUNK) * UNDO_PAGE) as usize;
            if let Some(chunk) = &mut self.chunks[(page / UNDO_PER_CHUNK) as usize] {
                match before {
                    Some(b) => chunk[at..at + UNDO_PAGE as usize].copy_from_slice(&b[..]),
                    None => chunk[at..at + UNDO_PAGE as usize].fill(0),
                }
            }
        }
        if let Some(pages) = self.undo_pages.take() {
            self.pages = pages;
            self.chunks.truncate(pages as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(m: &StableMemory, at: u64, n: usize) -> Vec<u8> {
        let mut out = vec![0xAA; n];
        m.read(at, &mut out).expect("inside");
        out
    }

    #[test]
    fn rollback_restores_bytes_and_size_across_page_borders() {
        let mut m = StableMemory::default();
        assert_eq!(m.grow(2), Some(0));
        m.write(65530, &[1; 12]).expect("inside");
        m.commit();
        m.write(65532, &[2; 5000]).expect("inside");
        m.write(65533, &[3; 4]).expect("inside");
        assert_eq!(m.grow(3), Some(2));
        m.write(4 * 65536, &[9; 8]).expect("inside");
        m.rollback();
        assert_eq!(m.pages(), 2);
        assert_eq!(read(&m, 65530, 12), [1; 12]);
        assert_eq!(read(&m, 65542, 5000), vec![0; 5000]);
        assert_eq!(m.grow(1), Some(2));
        assert_eq!(read(&m, 2 * 65536, 8), [0; 8]);
    }

    #[test]
    fn the_hash_tells_every_change_and_nothing_else() {
        let mut m = StableMemory::default();
        let empty = m.hash();
        m.grow(2);
        let grown = m.hash();
        assert_ne!(grown, empty);
        m.commit();
        m.write(65536, &[1]).expect("inside");
        let written = m.hash();
        assert_ne!(written, grown);
        m.rollback();
        assert_eq!(m.hash(), grown);
        m.write(0, &[1]).expect("inside");
        assert_ne!(m.hash(), written, "the same byte in another page");
    }

    #[test]
    fn a_file_of_whole_pages_becomes_a_memory_and_no_other_does() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut bytes = vec![0; 3 * WASM_PAGE as usize];
        bytes[70_000] = 7;
        std::fs::write(file.path(), &bytes).expect("written");
        let mut m = StableMemory::from_file(file.path()).expect("whole pages");
        assert_eq!((m.pages(), read(&m, 69_999, 3)), (3, vec![0, 7, 0]));
        assert!(m.chunks[0].is_none() && m.chunks[1].is_some());
        m.write(70_000, &[8]).expect("inside");
        m.rollback();
        assert_eq!(read(&m, 70_000, 1), [7]);
        std::fs::write(file.path(), &bytes[1..]).expect("written");
        assert!(StableMemory::from_file(file.path()).is_err());
    }

    #[test]
    fn accesses_outside_and_growth_past_the_limit_are_refused() {
        let mut m = StableMemory::default();
        assert_eq!(m.grow(1), Some(0));
        assert_eq!(m.write(65530, &[0; 7]), Err(OutOfBounds));
        assert_eq!(m.write(u64::MAX, &[0; 7]), Err(OutOfBounds));
        assert_eq!(m.read(65536, &mut [0; 1]), Err(OutOfBounds));
        assert_eq!(m.grow(MAX_PAGES), None);
        assert_eq!(m.grow(u64::MAX), None);
    }
}
