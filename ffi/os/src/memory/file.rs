//! Memory that another process can map.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{
    MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create,
};

use super::mapping::Mapping;
use super::part::{Part, Shared};
use super::{bytes_of, limit};
use crate::OsError;

/// A memfd (memfd_create(2)), mapped: zeroed memory that lives as long as someone has it mapped or
/// holds its descriptor. Its size is sealed, so that no process can take pages from under another.
pub struct MemoryFile {
    mapping: Mapping,
    file: OwnedFd,
}

impl MemoryFile {
    /// New zeroed memory; `name` shows in /proc/PID/maps.
    ///
    /// # Errors
    /// If the machine has less memory available than this needs when all of it is used.
    pub fn create(name: &str, bytes: usize) -> Result<Arc<Self>, OsError> {
        bytes_of::<u8>(name, bytes)?;
        limit::check(name, bytes)?;
        let refused = |error: rustix::io::Errno| {
            OsError::new(format!("create memory for {name}"), error.into())
        };
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create(name, flags).map_err(refused)?;
        ftruncate(&file, bytes.max(1) as u64).map_err(refused)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
            .map_err(refused)?;
        Self::map(name, file)
    }

    /// The memory behind a descriptor of another [`MemoryFile`], perhaps of another process.
    ///
    /// # Errors
    /// If it is not a memfd whose size is sealed, or cannot be mapped.
    pub fn open(name: &str, file: OwnedFd) -> Result<Arc<Self>, OsError> {
        let refused = |error: rustix::io::Errno| {
            OsError::new(format!("map the memory of {name}"), error.into())
        };
        let seals = fcntl_get_seals(&file).map_err(refused)?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(refused(rustix::io::Errno::PERM));
        }
        Self::map(name, file)
    }

    fn map(name: &str, file: OwnedFd) -> Result<Arc<Self>, OsError> {
        let size = fstat(&file)
            .map_err(|error| OsError::new(format!("read the size of {name}"), error.into()))?
            .st_size;
        let mapping = Mapping::file(name, size as usize, file.as_fd())?;
        Ok(Arc::new(MemoryFile { mapping, file }))
    }

    /// `len` elements from the byte `offset` on; none if they do not lie inside, or not at a
    /// multiple of their alignment. Parts may overlap: they consist of atomics.
    pub fn part<T: Shared>(self: &Arc<Self>, offset: usize, len: usize) -> Option<Part<T>> {
        let bytes = len.checked_mul(size_of::<T>())?;
        let end = offset.checked_add(bytes)?;
        let fits = end <= self.mapping.len() && offset.is_multiple_of(align_of::<T>());
        // SAFETY: the range was just found to lie inside the mapping and to be aligned, as the
        // mapping's start is to more than any alignment that `Part` accepts; it stays mapped
        // while the part holds `self`; and `Shared` allows any bytes and any other writer.
        fits.then(|| unsafe {
            Part::new(self.clone(), self.mapping.start().add(offset).cast(), len)
        })
    }

    /// Bytes.
    pub fn bytes(&self) -> usize {
        self.mapping.len()
    }
}

impl AsFd for MemoryFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryFile of {} bytes", self.bytes())
    }
}
