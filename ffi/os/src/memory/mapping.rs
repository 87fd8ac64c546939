//! A mapping of pages, aligned for huge ones.

use std::ffi::c_void;
use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

use super::{HUGE_PAGE, limit};
use crate::OsError;

/// Pages that are ours to read and write until this is dropped.
pub(super) struct Mapping {
    /// All of the reserved addresses.
    reserved: *mut c_void,
    reserved_len: usize,
    /// The first byte that is used, on the border of a huge page.
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is memory like any other; who gives out references to it answers for them.
unsafe impl Send for Mapping {}
// SAFETY: as above; the fields are never changed.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// New zeroed pages of this process.
    pub(super) fn anonymous(what: &str, len: usize) -> Result<Self, OsError> {
        limit::check(what, len)?;
        Self::map(what, len, None)
    }

    /// The first `len` bytes of a file, which other mappings of it share.
    pub(super) fn file(what: &str, len: usize, file: BorrowedFd<'_>) -> Result<Self, OsError> {
        Self::map(what, len, Some(file))
    }

    /// The first byte.
    #[inline]
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Bytes.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn map(what: &str, len: usize, file: Option<BorrowedFd<'_>>) -> Result<Self, OsError> {
        let refused = |error: rustix::io::Errno| {
            OsError::new(format!("map {} MiB for {what}", len >> 20), error.into())
        };
        // One huge page more than needed, so that there is a border of one to begin at.
        let used = len.max(1).next_multiple_of(HUGE_PAGE);
        let reserved_len = used + HUGE_PAGE;
        let nothing = ProtFlags::empty();
        // SAFETY: a new mapping at an address that the kernel chooses touches nobody's memory.
        let reserved = unsafe {
            mmap_anonymous(
                null_mut(),
                reserved_len,
                nothing,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }
        .map_err(refused)?;
        let offset = reserved.align_offset(HUGE_PAGE);
        // SAFETY: `offset` is less than a huge page, by which the reservation is longer.
        let start = unsafe { reserved.byte_add(offset) };
        let mapping = Mapping {
            reserved,
            reserved_len,
            start: NonNull::new(start.cast()).unwrap_or(NonNull::dangling()),
            len,
        };
        let both = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the fixed address lies inside the reservation made above, which nobody else
        // knows of.
        let mapped = unsafe {
            match file {
                Some(file) => mmap(
                    start,
                    len.max(1),
                    both,
                    MapFlags::SHARED | MapFlags::FIXED,
                    file,
                    0,
                ),
                None => mmap_anonymous(
                    start,
                    used,
                    both,
                    MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE,
                ),
            }
        };
        mapped.map_err(refused)?;
        if len >= HUGE_PAGE {
            // Without huge pages it is slower, not wrong: a kernel that has none refuses this.
            // SAFETY: the range was mapped above; the advice changes no contents.
            let _ = unsafe { madvise(start, len, Advice::LinuxHugepage) };
        }
        Ok(mapping)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the reservation is ours, and references into it borrow from `self`.
        let unmapped = unsafe { munmap(self.reserved, self.reserved_len) };
        debug_assert!(unmapped.is_ok(), "our own mapping can be unmapped");
    }
}
