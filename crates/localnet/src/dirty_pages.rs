//! Which pages of a private mapping were written since it was mapped: by the PAGEMAP_SCAN ioctl (Linux 6.7), or, where
//! the kernel has none, by comparing every page with the file behind it.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::OnceLock;

/// Bytes in a page.
pub const PAGE: usize = 4096;

/// A run of pages: offset and length in bytes.
pub type Run = (usize, usize);

/// How written pages are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirtyTracking {
    /// Ask the kernel.
    Scan,
    /// Compare with the file; costs time in proportion to the memory's size.
    Compare,
}

impl DirtyTracking {
    /// The best way that this kernel offers. `EMC_LOCALNET_COMPARE_PAGES=1` forces comparing.
    pub fn detect() -> Self {
        static FOUND: OnceLock<DirtyTracking> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let forced = std::env::var_os("EMC_LOCALNET_COMPARE_PAGES").is_some_and(|v| v == "1");
            let probe = [0u8; PAGE];
            if !forced && scan(probe.as_ptr() as usize & !(PAGE - 1), PAGE).is_some() {
                Self::Scan
            } else {
                tracing::info!("written pages are found by comparing: no PAGEMAP_SCAN here, or it was switched off");
                Self::Compare
            }
        })
    }

    /// The written pages of the private mapping of `file` at `base`.
    pub fn written(self, base: usize, size: usize, file: BorrowedFd<'_>) -> Vec<Run> {
        match self {
            Self::Scan => scan(base, size).unwrap_or_else(|| compare(base, size, file)),
            Self::Compare => compare(base, size, file),
        }
    }
}

fn push(runs: &mut Vec<Run>, offset: usize, len: usize) {
    match runs.last_mut() {
        Some((o, l)) if *o + *l == offset => *l += len,
        _ => runs.push((offset, len)),
    }
}

/// Layout of `struct pm_scan_arg` in linux/fs.h.
#[repr(C)]
#[derive(Default)]
struct ScanArgument {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    regions: u64,
    regions_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

const PAGEMAP_SCAN: u64 = 0xC060_6610;
const PAGE_IS_FILE: u64 = 4;
const PAGE_IS_PRESENT: u64 = 8;
const PAGE_IS_SWAPPED: u64 = 16;

/// Pages that are present (or swapped out) and no longer the file's: exactly the private copies.
fn scan(base: usize, size: usize) -> Option<Vec<Run>> {
    static PAGEMAP: OnceLock<Option<std::fs::File>> = OnceLock::new();
    let pagemap = PAGEMAP
        .get_or_init(|| std::fs::File::open("/proc/self/pagemap").ok())
        .as_ref()?;
    let mut runs = Vec::new();
    let mut regions = [[0u64; 3]; 512];
    let (mut at, end) = (base as u64, (base + size) as u64);
    while at < end {
        let mut argument = ScanArgument {
            size: std::mem::size_of::<ScanArgument>() as u64,
            start: at,
            end,
            regions: regions.as_mut_ptr() as u64,
            regions_len: regions.len() as u64,
            category_inverted: PAGE_IS_FILE,
            category_mask: PAGE_IS_FILE,
            category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            return_mask: PAGE_IS_PRESENT,
            ..ScanArgument::default()
        };
        // SAFETY: the argument has the kernel's layout and points at `regions`, which outlives the call.
        let found = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN as _, &mut argument) };
        let found = usize::try_from(found).ok()?;
        for region in &regions[..found] {
            push(
                &mut runs,
                region[0] as usize - base,
                (region[1] - region[0]) as usize,
            );
        }
        if argument.walk_end <= at {
            return None;
        }
        at = argument.walk_end;
    }
    Some(runs)
}

/// Pages whose bytes differ from the file's.
fn compare(base: usize, size: usize, file: BorrowedFd<'_>) -> Vec<Run> {
    if size == 0 {
        return Vec::new();
    }
    // SAFETY: a fresh read-only mapping of `size` bytes of the file, which is at least that long, unmapped below.
    let view = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size,
            libc::PROT_READ,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    assert_ne!(
        view,
        libc::MAP_FAILED,
        "mapping a canister's committed memory: {}",
        std::io::Error::last_os_error()
    );
    let mut runs = Vec::new();
    // SAFETY: both ranges are mapped and readable for `size` bytes; nothing writes to them meanwhile.
    let (committed, live) = unsafe {
        (
            std::slice::from_raw_parts(view as *const u8, size),
            std::slice::from_raw_parts(base as *const u8, size),
        )
    };
    for (i, (a, b)) in committed.chunks(PAGE).zip(live.chunks(PAGE)).enumerate() {
        if a != b {
            push(&mut runs, i * PAGE, PAGE);
        }
    }
    // SAFETY: unmaps exactly what was mapped above; the slices are not used any more.
    unsafe { libc::munmap(view, size) };
    runs
}
