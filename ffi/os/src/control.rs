//! ioctl and setsockopt with typed arguments.

use crate::OsError;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// An `ifreq` for the interface `name`.
pub(crate) fn ifreq(name: &str) -> Result<libc::ifreq, OsError> {
    // SAFETY: all zeroes is a valid ifreq: integers and arrays only in every variant.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() >= libc::IFNAMSIZ || bytes.contains(&0) {
        let error = io::Error::from_raw_os_error(libc::EINVAL);
        let what = format!(
            "interface name '{name}' is not 1 to {} bytes",
            libc::IFNAMSIZ - 1
        );
        return Err(OsError::new(what, error));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    Ok(request)
}

/// A socket for interface ioctls in this thread's network namespace.
pub(crate) fn control_socket() -> Result<OwnedFd, OsError> {
    // SAFETY: no pointers; the descriptor is checked and then owned.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(OsError::last("socket for interface control"));
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// An ioctl that reads or writes one `T`.
///
/// # Safety
/// `request` takes a pointer to a `T` and leaves a valid `T` behind.
pub(crate) unsafe fn ioctl<T>(
    fd: BorrowedFd<'_>,
    request: libc::c_ulong,
    argument: &mut T,
) -> io::Result<()> {
    // SAFETY: the pointer is to a live T; the request fits by the caller's promise.
    match unsafe { libc::ioctl(fd.as_raw_fd(), request as _, std::ptr::from_mut(argument)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// An ioctl whose argument is a number, not a pointer.
///
/// # Safety
/// `request` does not take a pointer.
pub(crate) unsafe fn ioctl_value(
    fd: BorrowedFd<'_>,
    request: libc::c_ulong,
    argument: libc::c_ulong,
) -> io::Result<()> {
    // SAFETY: no memory is involved by the caller's promise.
    match unsafe { libc::ioctl(fd.as_raw_fd(), request as _, argument) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// setsockopt with a plain value.
pub(crate) fn set_option<T: Copy>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: T,
) -> io::Result<()> {
    // SAFETY: pointer and length describe one live T, which the kernel only reads.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(&value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    match done {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
