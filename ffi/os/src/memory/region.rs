//! A long array of one owner.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use zerocopy::FromZeros;

use super::mapping::Mapping;
use super::{bytes_of, prefetch_line};
use crate::OsError;

/// So many `T`, zero at first, in pages of their own: huge ones where the kernel gives them
/// (`madvise`). Pages are used when they are first written to. Elements are not dropped.
pub struct Region<T> {
    mapping: Mapping,
    len: usize,
    owned: PhantomData<T>,
}

impl<T: FromZeros> Region<T> {
    /// `len` zeroed elements.
    ///
    /// # Errors
    /// If the machine has less memory available than this needs when all of it is used.
    pub fn new(len: usize) -> Result<Self, OsError> {
        Self::named("elements", len)
    }

    /// Likewise; `what` they are is said in the error.
    ///
    /// # Errors
    /// As [`Region::new`].
    pub fn named(what: &str, len: usize) -> Result<Self, OsError> {
        const { assert!(align_of::<T>() <= 4096 && !std::mem::needs_drop::<T>()) };
        let mapping = Mapping::anonymous(what, bytes_of::<T>(what, len)?)?;
        Ok(Region {
            mapping,
            len,
            owned: PhantomData,
        })
    }

    /// Asks for the cache line of an element `line` lines after its first; a hint, for any index.
    #[inline(always)]
    pub fn prefetch(&self, index: usize, line: usize) {
        let offset = index.wrapping_mul(size_of::<T>()).wrapping_add(line * 64);
        prefetch_line(self.mapping.start().as_ptr().wrapping_add(offset));
    }

    /// Bytes when all of it is used.
    pub fn bytes(&self) -> usize {
        self.mapping.len()
    }
}

impl<T> Deref for Region<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `new` mapped `len` elements, all zero, which `FromZeros` says is a valid `T`;
        // the mapping is aligned to a huge page, lives as long as `self`, and nobody else has it.
        unsafe { std::slice::from_raw_parts(self.mapping.start().cast().as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Region<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.start().cast().as_ptr(), self.len) }
    }
}

// SAFETY: a region owns its elements as a boxed slice would; the mapping has no thread of its own.
unsafe impl<T: Send> Send for Region<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Region<T> {}

impl<T> fmt::Debug for Region<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region of {} elements", self.len)
    }
}
