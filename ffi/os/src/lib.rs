//! What Sluice needs from Linux beyond the standard library: taps and packet sockets with the virtio
//! offload header, interface settings, network namespaces, CPU pinning, memory in huge pages.
#![allow(unsafe_code)] // ioctl, setsockopt and recvmsg have no safe form; each block says why it holds.

mod affinity;
mod control;
mod error;
mod ethtool;
pub mod interface;
mod memory;
mod netns;
mod packet_socket;
mod tap;
mod ticks;

pub use affinity::{allowed_cpus, pin_current_thread, sleep_exactly};
pub use error::OsError;
pub use ethtool::disable_offloads;
pub use memory::{MemoryFile, Part, Region, Shared, prefetch};
pub use netns::in_netns;
pub use packet_socket::PacketSocket;
pub use tap::Tap;
pub use ticks::{ticks, ticks_per_second};

/// Length of `struct virtio_net_hdr` as taps and packet sockets use it, bytes (linux/virtio_net.h).
pub const VNET_HEADER: usize = 10;

/// One frame read from a tap or packet socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes of the frame that were stored, the offload header not counted.
    pub len: usize,
    /// The buffers were too short (or exactly full, where the kernel does not say).
    pub truncated: bool,
    /// A VLAN tag that the kernel took out of the frame: protocol identifier and control information.
    pub vlan: Option<(u16, u16)>,
}
