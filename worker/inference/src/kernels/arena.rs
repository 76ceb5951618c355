//! Memory for weights that are read from end to end for every token: large pieces, of which matrices take parts.
//!
//! The system is asked for pages of 2 MiB for them: processors read ahead within a page, and look fewer of them up.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

/// The size of large pages.
const PAGE: usize = 2 << 20;
/// The least that is asked for at once.
const PIECE: usize = 16 << 20;
/// What parts are aligned to: a line of every cache.
const LINE: usize = 64;

/// Hands out parts of large pieces of memory.
#[derive(Default)]
pub(crate) struct Arena {
    last: Mutex<Option<(Arc<Piece>, usize)>>,
}

/// A part of a piece, for one owner. Zeros at first.
pub(crate) struct Part {
    piece: Arc<Piece>,
    from: usize,
    length: usize,
}

struct Piece {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a piece is memory without any owner's thread in it; parts do not overlap.
unsafe impl Send for Piece {}
// SAFETY: as above; writing needs a part that is borrowed mutably.
unsafe impl Sync for Piece {}

impl Piece {
    fn new(length: usize) -> Option<Self> {
        let layout = Layout::from_size_align(length.checked_next_multiple_of(PAGE)?, PAGE).ok()?;
        // SAFETY: the layout has a size, as the caller asks for more than nothing.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        #[cfg(target_os = "linux")]
        // SAFETY: the range is this allocation, of which only the kind of pages is changed.
        let _ = unsafe { libc::madvise(start.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE) };
        Some(Self { start, layout })
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and no part is left, since each holds the piece.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

impl Arena {
    /// So many bytes; `None` where the system has not as much.
    pub(crate) fn take(&self, length: usize) -> Option<Part> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let rounded = length.max(1).checked_next_multiple_of(LINE)?;
        let fits = last
            .as_ref()
            .is_some_and(|(piece, used)| rounded <= piece.layout.size() - used);
        if !fits {
            *last = Some((Arc::new(Piece::new(rounded.max(PIECE))?), 0));
        }
        let (piece, used) = last.as_mut()?;
        let from = *used;
        *used += rounded;
        Some(Part {
            piece: piece.clone(),
            from,
            length,
        })
    }
}

impl Part {
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: inside the piece, which lives as long as this part; it was zeroed, and only `bytes_mut` writes to it.
        unsafe { std::slice::from_raw_parts(self.piece.start.as_ptr().add(self.from), self.length) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; parts do not overlap, and this one is borrowed mutably.
        unsafe {
            std::slice::from_raw_parts_mut(self.piece.start.as_ptr().add(self.from), self.length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_zero_aligned_and_do_not_overlap() {
        let arena = Arena::default();
        let mut parts: Vec<Part> = [0, 1, 63, 64, 65, PIECE, PIECE - 64, 1000, 3 * PIECE + 1]
            .map(|length| arena.take(length).expect("memory"))
            .into_iter()
            .collect();
        for (index, part) in parts.iter_mut().enumerate() {
            assert_eq!(part.bytes().as_ptr() as usize % LINE, 0);
            assert!(part.bytes().iter().all(|&byte| byte == 0));
            part.bytes_mut().fill(index as u8 + 1);
        }
        drop(arena);
        for (index, part) in parts.iter().enumerate() {
            assert!(part.bytes().iter().all(|&byte| byte == index as u8 + 1));
        }
        assert!(Arena::default().take(usize::MAX).is_none());
    }
}
