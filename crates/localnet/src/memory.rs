//! A canister's heap. What is committed lies in a memory file; an instance works on a private mapping of it. Commit
//! writes the touched pages into the file, rollback drops them, and either costs in proportion to what was touched.

use crate::dirty_pages::{DirtyTracking, PAGE, Run};
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

/// The committed heap and where the working copy is mapped.
#[derive(Debug)]
pub struct Heap {
    file: std::fs::File,
    tracking: DirtyTracking,
    committed: AtomicUsize,
    /// Size of the working copy, in bytes.
    live: AtomicUsize,
    /// Address of the working copy; 0 while no instance exists.
    base: AtomicUsize,
    ever_committed: AtomicBool,
}

impl Heap {
    /// An empty heap.
    pub fn new(tracking: DirtyTracking) -> io::Result<Arc<Self>> {
        // SAFETY: a plain system call with a constant name; the descriptor it gives is owned from here on.
        let fd = unsafe {
            let fd = libc::memfd_create(c"canister-heap".as_ptr(), libc::MFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Arc::new(Self {
            file: fd.into(),
            tracking,
            committed: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            base: AtomicUsize::new(0),
            ever_committed: AtomicBool::new(false),
        }))
    }

    /// Whether an instance finds its state here and must not start from the module's data segments.
    pub fn ever_committed(&self) -> bool {
        self.ever_committed.load(SeqCst)
    }

    /// Bytes of the committed heap.
    pub fn size(&self) -> usize {
        self.committed.load(SeqCst)
    }

    /// Bytes of the working copy.
    pub fn live_size(&self) -> usize {
        self.live.load(SeqCst)
    }

    /// Whether the working copy grew past what is committed; an instance cannot shrink and must then be replaced.
    pub fn grew(&self) -> bool {
        self.live.load(SeqCst) != self.committed.load(SeqCst)
    }

    fn written(&self) -> Vec<Run> {
        match self.base.load(SeqCst) {
            0 => Vec::new(),
            base => self
                .tracking
                .written(base, self.live.load(SeqCst), self.file.as_fd()),
        }
    }

    /// Gives a run of pages back, so that the next access sees the file.
    fn drop_private(&self, (offset, len): Run) {
        // SAFETY: the run lies inside the working copy's mapping; the wasm instance is not running.
        unsafe {
            libc::madvise(
                (self.base.load(SeqCst) + offset) as *mut _,
                len,
                libc::MADV_DONTNEED,
            )
        };
    }

    /// Makes the working copy the committed state and returns the number of pages written.
    pub fn commit(&self) -> usize {
        let base = self.base.load(SeqCst);
        let mut pages = 0;
        for (offset, len) in self.written() {
            // SAFETY: the run lies inside the working copy's mapping, which nothing writes while no wasm runs.
            let bytes = unsafe { std::slice::from_raw_parts((base + offset) as *const u8, len) };
            self.file
                .write_all_at(bytes, offset as u64)
                .expect("a memory file takes what fits into memory: the machine is out of memory");
            self.drop_private((offset, len));
            pages += len / PAGE;
        }
        self.committed.store(self.live.load(SeqCst), SeqCst);
        self.ever_committed.store(true, SeqCst);
        pages
    }

    /// Drops what was written since the last commit.
    pub fn rollback(&self) {
        for run in self.written() {
            self.drop_private(run);
        }
    }
}

thread_local! {
    /// The heap that the instance being created on this thread gets.
    static NEXT: RefCell<Option<Arc<Heap>>> = const { RefCell::new(None) };
}

/// Runs `create`, which makes an instance, so that the instance's memory is `heap`.
pub fn with_heap<T>(heap: &Arc<Heap>, create: impl FnOnce() -> T) -> T {
    NEXT.set(Some(heap.clone()));
    let made = create();
    NEXT.set(None);
    made
}

struct Mapping {
    heap: Arc<Heap>,
    base: usize,
    total: usize,
    reserved: usize,
}

impl Mapping {
    fn map(&self, from: usize, to: usize) -> io::Result<()> {
        if to <= from {
            return Ok(());
        }
        if self.heap.file.metadata()?.len() < to as u64 {
            self.heap.file.set_len(to as u64)?;
        }
        // SAFETY: replaces part of this object's own reservation, from..to inside it, by a private view of the file.
        let at = unsafe {
            libc::mmap(
                (self.base + from) as *mut _,
                to - from,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE,
                self.heap.file.as_raw_fd(),
                from as i64,
            )
        };
        if at == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }
}

// SAFETY: `base` stays valid for `reserved` bytes plus guard pages until drop; bytes past `byte_size` are inaccessible.
unsafe impl LinearMemory for Mapping {
    fn byte_size(&self) -> usize {
        self.heap.live.load(SeqCst)
    }

    fn byte_capacity(&self) -> usize {
        self.reserved
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        if new_size > self.reserved {
            return Err(wasmtime::Error::msg("Wasm memory is limited to 4 GiB"));
        }
        self.map(self.heap.live.load(SeqCst), new_size)?;
        self.heap.live.store(new_size, SeqCst);
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.base as *mut u8
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // The heap may already serve a newer instance.
        let _ = self
            .heap
            .base
            .compare_exchange(self.base, 0, SeqCst, SeqCst);
        // SAFETY: unmaps exactly this object's reservation.
        unsafe { libc::munmap(self.base as *mut _, self.total) };
    }
}

/// Gives wasmtime memories that are views of a [`Heap`].
#[derive(Debug)]
pub struct HeapCreator;

// SAFETY: the mappings it makes keep LinearMemory's contract, see above.
unsafe impl MemoryCreator for HeapCreator {
    fn new_memory(
        &self,
        _: MemoryType,
        minimum: usize,
        _maximum: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let heap = NEXT
            .with_borrow(Clone::clone)
            .ok_or("a memory outside of a canister")?;
        let reserved = reserved.unwrap_or(4 << 30).max(minimum);
        let total = reserved + guard;
        // SAFETY: reserves address space without any access rights, at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                total,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(format!(
                "reserving address space: {}",
                io::Error::last_os_error()
            ));
        }
        let size = heap.committed.load(SeqCst).max(minimum);
        let mapping = Mapping {
            heap: heap.clone(),
            base: base as usize,
            total,
            reserved,
        };
        mapping
            .map(0, size)
            .map_err(|e| format!("mapping the heap: {e}"))?;
        heap.live.store(size, SeqCst);
        heap.base.store(base as usize, SeqCst);
        Ok(Box::new(mapping))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn working_copy(heap: &Arc<Heap>, pages: usize) -> Box<dyn LinearMemory> {
        let ty = MemoryType::new(1, None);
        with_heap(heap, || {
            HeapCreator.new_memory(ty, pages * 65536, None, Some(1 << 24), PAGE)
        })
        .expect("a mapping")
    }

    fn bytes(memory: &dyn LinearMemory) -> &'static mut [u8] {
        // SAFETY: the mapping is readable and writable for byte_size bytes while the test holds it.
        unsafe { std::slice::from_raw_parts_mut(memory.as_ptr(), memory.byte_size()) }
    }

    #[test]
    fn commit_keeps_and_rollback_drops_with_either_way_of_finding_pages() {
        for tracking in [DirtyTracking::detect(), DirtyTracking::Compare] {
            let heap = Heap::new(tracking).expect("a memory file");
            let mut memory = working_copy(&heap, 1);
            bytes(&*memory)[5000] = 7;
            assert_eq!(heap.commit(), 1);
            bytes(&*memory)[5000] = 8;
            bytes(&*memory)[9000] = 9;
            heap.rollback();
            assert_eq!((bytes(&*memory)[5000], bytes(&*memory)[9000]), (7, 0));

            memory.grow_to(2 * 65536).expect("room");
            bytes(&*memory)[70_000] = 1;
            assert!(heap.grew());
            heap.rollback();
            drop(memory);
            let memory = working_copy(&heap, 1);
            assert_eq!((memory.byte_size(), bytes(&*memory)[5000]), (65536, 7));
            assert!(!heap.grew());
        }
    }

    #[test]
    fn pages_grown_after_a_rolled_back_growth_are_zero() {
        let heap = Heap::new(DirtyTracking::detect()).expect("a memory file");
        let mut memory = working_copy(&heap, 1);
        heap.commit();
        memory.grow_to(2 * 65536).expect("room");
        bytes(&*memory)[70_000] = 1;
        heap.rollback();
        drop(memory);
        let mut memory = working_copy(&heap, 1);
        memory.grow_to(2 * 65536).expect("room");
        assert_eq!(bytes(&*memory)[70_000], 0);
    }
}
