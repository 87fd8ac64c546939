//! A tap interface whose frames carry the virtio offload header (Linux Documentation/networking/tuntap).

use crate::control::{ifreq, ioctl, ioctl_value};
use crate::interface::address_of;
use crate::{OsError, Received, VNET_HEADER};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

// linux/if_tun.h
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const TUNGETIFF: libc::c_ulong = 0x8004_54d2;
const TUNSETVNETHDRSZ: libc::c_ulong = 0x4004_54d8;
const TUNSETCARRIER: libc::c_ulong = 0x4004_54e2;
const TUN_F_CSUM: libc::c_ulong = 0x01;
const TUN_F_TSO4: libc::c_ulong = 0x02;
const TUN_F_TSO6: libc::c_ulong = 0x04;
const TUN_F_TSO_ECN: libc::c_ulong = 0x08;
/// USO4 and USO6, Linux 6.2.
const TUN_F_USO: libc::c_ulong = 0x20 | 0x40;

/// A tap, not blocking. The interface goes when this is dropped, wherever it was moved meanwhile.
#[derive(Debug)]
pub struct Tap {
    file: File,
    uso: bool,
}

impl Tap {
    /// Creates the interface `name` in this thread's network namespace, down, with checksum and
    /// segmentation offload switched on.
    pub fn create(name: &str) -> Result<Tap, OsError> {
        let path = "/dev/net/tun";
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)
            .map_err(|e| OsError::new(format!("open {path} (modprobe tun?)"), e))?;
        let mut request = ifreq(name)?;
        let kind = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        request.ifr_ifru.ifru_flags = kind as libc::c_short;
        // SAFETY: TUNSETIFF takes an ifreq.
        unsafe { ioctl(file.as_fd(), TUNSETIFF, &mut request) }
            .map_err(|e| OsError::new(format!("create tap {name}"), e))?;
        let mut size = VNET_HEADER as libc::c_int;
        // SAFETY: TUNSETVNETHDRSZ takes a pointer to an int.
        unsafe { ioctl(file.as_fd(), TUNSETVNETHDRSZ, &mut size) }
            .map_err(|e| OsError::new(format!("tap {name}: set offload header size"), e))?;
        let uso = switch_offloads_on(&file)
            .map_err(|e| OsError::new(format!("tap {name}: switch offloads on"), e))?;
        Ok(Tap { file, uso })
    }

    /// True if the kernel hands over and takes large UDP frames (Linux 6.2 and later).
    pub fn has_uso(&self) -> bool {
        self.uso
    }

    /// Reads one frame: its offload header, then its bytes into `head` and on into `tail`.
    /// `WouldBlock` when there is none.
    pub fn recv(
        &self,
        header: &mut [u8; VNET_HEADER],
        head: &mut [u8],
        tail: &mut [u8],
    ) -> io::Result<Received> {
        let room = head.len() + tail.len();
        let mut parts = [
            IoSliceMut::new(header),
            IoSliceMut::new(head),
            IoSliceMut::new(tail),
        ];
        let n = (&self.file).read_vectored(&mut parts)?;
        let len = n.saturating_sub(VNET_HEADER);
        Ok(Received {
            len,
            truncated: len >= room, // a tap does not say; a full buffer is taken for a cut frame
            vlan: None,             // a tap leaves tags in the frame
        })
    }

    /// Writes one frame; the first [`VNET_HEADER`] bytes of `parts` are its offload header.
    pub fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.file).write_vectored(parts)
    }

    /// True if the interface is up, in whatever namespace it is; False also when it was deleted.
    pub fn is_up(&self) -> bool {
        // The tun driver reports a tap as writable only while its interface is up.
        let mut fds = [PollFd::new(&self.file, PollFlags::OUT)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now)).is_ok_and(|n| n > 0)
            && fds[0].revents().contains(PollFlags::OUT)
            && !fds[0].revents().contains(PollFlags::ERR)
    }

    /// Sets the carrier, in whatever namespace the interface is.
    pub fn set_carrier(&self, on: bool) -> Result<(), OsError> {
        let mut value = libc::c_int::from(on);
        // SAFETY: TUNSETCARRIER takes a pointer to an int.
        unsafe { ioctl(self.file.as_fd(), TUNSETCARRIER, &mut value) }
            .map_err(|e| OsError::new("tap: set carrier", e))
    }

    /// The interface's address, in whatever namespace it is.
    pub fn mac(&self) -> Result<[u8; 6], OsError> {
        let mut request = ifreq("tap")?; // the name is not looked at
        // SAFETY: SIOCGIFHWADDR takes an ifreq on a tap's descriptor too.
        unsafe { ioctl(self.file.as_fd(), libc::SIOCGIFHWADDR, &mut request) }
            .map_err(|e| OsError::new("tap: read address", e))?;
        Ok(address_of(&request))
    }

    /// The interface's present name, in whatever namespace it is.
    pub fn name(&self) -> Result<String, OsError> {
        let mut request = ifreq("tap")?;
        // SAFETY: TUNGETIFF takes an ifreq.
        unsafe { ioctl(self.file.as_fd(), TUNGETIFF, &mut request) }
            .map_err(|e| OsError::new("tap: read name", e))?;
        let bytes = request.ifr_name.iter().map(|&c| c as u8);
        let name: Vec<u8> = bytes.take_while(|&b| b != 0).collect();
        Ok(String::from_utf8_lossy(&name).into_owned())
    }
}

/// Returns whether large UDP frames are among them.
fn switch_offloads_on(file: &File) -> io::Result<bool> {
    let base = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    // SAFETY: TUNSETOFFLOAD takes its flags by value.
    let set = |flags| unsafe { ioctl_value(file.as_fd(), TUNSETOFFLOAD, flags) };
    match set(base | TUN_F_USO) {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => set(base).map(|()| false),
        Err(e) => Err(e),
    }
}
