//! A packet socket on an existing interface, frames with the virtio offload header (packet(7)).

use crate::control::set_option;
use crate::{OsError, Received, VNET_HEADER, interface};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const SOL_PACKET: libc::c_int = 263;
// linux/if_packet.h
const PACKET_STATISTICS: libc::c_int = 6;
const PACKET_AUXDATA: libc::c_int = 8;
const PACKET_VNET_HDR: libc::c_int = 15;
const PACKET_QDISC_BYPASS: libc::c_int = 20;
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;

/// Room for what arrives between two polls, bytes: a hundred frames of 64 KB.
const RECEIVE_BUFFER: libc::c_int = 8 << 20;

/// A packet socket, not blocking, that sees what comes in by one interface.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    dropped: AtomicU64,
}

/// `struct tpacket_auxdata`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Auxdata {
    status: u32,
    len: u32,
    snaplen: u32,
    mac: u16,
    net: u16,
    vlan_tci: u16,
    vlan_tpid: u16,
}

/// Space for the one control message that is asked for, aligned as the kernel expects.
#[repr(C, align(8))]
struct ControlSpace([u8; 64]);

impl PacketSocket {
    /// Opens a socket on the interface `name` of this thread's network namespace. Frames that the host
    /// itself sends by it are not seen.
    pub fn open(name: &str) -> Result<PacketSocket, OsError> {
        let index = interface::index(name)?;
        let fail = |what: &'static str| {
            move |e: io::Error| OsError::new(format!("packet socket on {name}: {what}"), e)
        };
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers; the descriptor is checked and then owned. Protocol 0: nothing is
        // received before the socket is bound.
        let fd = unsafe {
            let fd = libc::socket(libc::AF_PACKET, kind, 0);
            if fd < 0 {
                return Err(fail("open")(io::Error::last_os_error()));
            }
            OwnedFd::from_raw_fd(fd)
        };
        let on: libc::c_int = 1;
        let option = |number, value: libc::c_int| set_option(fd.as_fd(), SOL_PACKET, number, value);
        option(PACKET_VNET_HDR, on).map_err(fail("offload header"))?;
        option(PACKET_AUXDATA, on).map_err(fail("auxiliary data"))?;
        option(PACKET_IGNORE_OUTGOING, on).map_err(fail("ignore outgoing"))?;
        // Best effort: it saves the qdisc's lock, and the buffer only postpones loss.
        let _ = option(PACKET_QDISC_BYPASS, on);
        let _ = set_option(
            fd.as_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            RECEIVE_BUFFER,
        );
        let promiscuous = libc::packet_mreq {
            mr_ifindex: index as libc::c_int,
            mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        set_option(
            fd.as_fd(),
            SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            promiscuous,
        )
        .map_err(fail("promiscuous mode"))?;
        bind(&fd, index).map_err(fail("bind"))?;
        let dropped = AtomicU64::new(0);
        Ok(PacketSocket { fd, dropped })
    }

    /// Reads one frame: its offload header, then its bytes into `head` and on into `tail`.
    /// `WouldBlock` when there is none.
    pub fn recv(
        &self,
        header: &mut [u8; VNET_HEADER],
        head: &mut [u8],
        tail: &mut [u8],
    ) -> io::Result<Received> {
        let mut parts = [iovec(header), iovec(head), iovec(tail)];
        let mut control = ControlSpace([0; 64]);
        // SAFETY: all zeroes is a valid msghdr: no name, no data, no control.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = parts.as_mut_ptr();
        message.msg_iovlen = parts.len();
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len();
        // SAFETY: the message describes live, exclusively borrowed buffers with their true lengths.
        let n = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &mut message, 0) };
        if n < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Received {
            len: (n as usize).saturating_sub(VNET_HEADER),
            truncated: message.msg_flags & libc::MSG_TRUNC != 0,
            vlan: stripped_vlan(&message),
        })
    }

    /// Writes one frame; the first [`VNET_HEADER`] bytes of `parts` are its offload header.
    pub fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        // SAFETY: IoSlice is binary equal to iovec (std's guarantee on Unix); the kernel only reads.
        let n = unsafe {
            libc::writev(
                self.fd.as_raw_fd(),
                parts.as_ptr().cast(),
                parts.len() as libc::c_int,
            )
        };
        match n {
            -1 => Err(io::Error::last_os_error()),
            n => Ok(n as usize),
        }
    }

    /// Frames lost because the socket's buffer was full, since it was opened.
    pub fn dropped(&self) -> u64 {
        // struct tpacket_stats; reading it sets it to zero.
        let mut stats = [0_u32; 2];
        let mut len = size_of_val(&stats) as libc::socklen_t;
        // SAFETY: pointer and length describe the live array; the kernel writes two u32.
        let done = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                SOL_PACKET,
                PACKET_STATISTICS,
                stats.as_mut_ptr().cast(),
                &mut len,
            )
        };
        let new = if done == 0 { u64::from(stats[1]) } else { 0 };
        self.dropped.fetch_add(new, Relaxed) + new
    }
}

fn bind(fd: &OwnedFd, index: u32) -> io::Result<()> {
    // SAFETY: all zeroes is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index as libc::c_int;
    // SAFETY: pointer and length describe the live sockaddr_ll.
    let done = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            std::ptr::from_ref(&address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    match done {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn iovec(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    }
}

/// The tag that the kernel moved from the frame into the auxiliary data.
fn stripped_vlan(message: &libc::msghdr) -> Option<(u16, u16)> {
    // SAFETY: recvmsg filled the control buffer and its length; CMSG_* stay within them.
    let aux = unsafe {
        let header = libc::CMSG_FIRSTHDR(message).as_ref()?;
        if header.cmsg_level != SOL_PACKET || header.cmsg_type != PACKET_AUXDATA {
            return None;
        }
        libc::CMSG_DATA(header).cast::<Auxdata>().read_unaligned()
    };
    if aux.status & TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let known = aux.status & TP_STATUS_VLAN_TPID_VALID != 0;
    let tpid = if known { aux.vlan_tpid } else { 0x8100 };
    Some((tpid, aux.vlan_tci))
}
