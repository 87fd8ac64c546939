//! An array in memory that others may write to at any time.

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

use super::file::MemoryFile;
use super::prefetch_line;

/// What may lie in memory that several processes have mapped: atomic integers, arrays of them, and
/// structs of both ([`shared!`](crate::shared)).
///
/// # Safety
/// Every byte pattern is a valid value, and every byte that is ever read belongs to an atomic.
pub unsafe trait Shared: Sync {}

// SAFETY: an atomic integer; any bytes are a number.
unsafe impl Shared for AtomicU8 {}
// SAFETY: likewise.
unsafe impl Shared for AtomicU16 {}
// SAFETY: likewise.
unsafe impl Shared for AtomicU32 {}
// SAFETY: likewise.
unsafe impl Shared for AtomicU64 {}
// SAFETY: an array adds nothing between its elements.
unsafe impl<T: Shared, const N: usize> Shared for [T; N] {}

/// Declares a struct of [`Shared`] fields, laid out as C does.
#[macro_export]
macro_rules! shared {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident {
            $($(#[$note:meta])* $shown:vis $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$attribute])*
        #[repr(C)]
        $visibility struct $name {
            $($(#[$note])* $shown $field: $type,)*
        }

        // SAFETY: each field is `Shared`, which the bounds check, and what C puts between fields
        // is never read.
        unsafe impl $crate::Shared for $name where $($type: $crate::Shared,)* {}
    };
}

/// A slice of a [`MemoryFile`], which lives as long as this.
pub struct Part<T> {
    start: NonNull<T>,
    len: usize,
    file: Arc<MemoryFile>,
}

impl<T: Shared> Part<T> {
    /// # Safety
    /// `len` elements from `start` on lie inside `file`'s mapping, aligned.
    pub(super) unsafe fn new(file: Arc<MemoryFile>, start: NonNull<T>, len: usize) -> Self {
        const { assert!(align_of::<T>() <= 4096 && !std::mem::needs_drop::<T>()) };
        Part { start, len, file }
    }

    /// Asks for the cache line of an element `line` lines after its first; a hint, for any index.
    #[inline(always)]
    pub fn prefetch(&self, index: usize, line: usize) {
        let offset = index.wrapping_mul(size_of::<T>()).wrapping_add(line * 64);
        prefetch_line(self.start.as_ptr().cast::<u8>().wrapping_add(offset));
    }

    /// The memory that it is a part of.
    pub fn file(&self) -> &Arc<MemoryFile> {
        &self.file
    }
}

impl<T: Shared> Deref for Part<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: `new` was promised that these elements are mapped, which `file` keeps so; they
        // are atomics, for which any bytes are valid and any writer is allowed.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

// SAFETY: a part is a shared reference to atomics, with a share in the mapping.
unsafe impl<T: Shared> Send for Part<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for Part<T> {}

impl<T> fmt::Debug for Part<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part of {} elements", self.len)
    }
}
