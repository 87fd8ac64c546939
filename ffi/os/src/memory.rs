//! Large memory for arenas: zeroed, in huge pages where the kernel has them, reserved at once and
//! used as it is touched.
//!
//! [`Region`] belongs to one owner, like a boxed slice. [`MemoryFile`] is a memfd whose [`Part`]s
//! are shared by threads, and by other processes that map the same file; so a part consists of
//! atomics only ([`Shared`]).

mod file;
mod limit;
mod mapping;
mod part;
mod region;

pub use file::MemoryFile;
pub use part::{Part, Shared};
pub use region::Region;

use crate::OsError;

/// Where the kernel maps huge pages, if it does (x86-64 and ARM with 4 KiB pages), bytes.
const HUGE_PAGE: usize = 2 << 20;

/// Bytes of so many elements; an error that says what for if there cannot be that many.
fn bytes_of<T>(what: &str, len: usize) -> Result<usize, OsError> {
    len.checked_mul(size_of::<T>())
        .filter(|bytes| *bytes <= isize::MAX as usize - 2 * HUGE_PAGE)
        .ok_or_else(|| {
            let error = std::io::Error::from_raw_os_error(libc::ENOMEM);
            OsError::new(format!("reserve memory for {len} {what}"), error)
        })
}

/// Asks for the cache line in which `value` begins; a hint.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    prefetch_line(std::ptr::from_ref(value).cast());
}

/// Asks for the cache line at `address`; never faults.
#[inline(always)]
fn prefetch_line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint; it never faults, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
