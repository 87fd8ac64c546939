//! What every backend offers.

use crate::{Delay, PortError, PortStats};
use arrayvec::ArrayVec;
use net::MacAddr;
use packet::{Packet, Pool};
use std::sync::Arc;

/// Packets taken in one poll; DPDK's customary size.
pub const BURST: usize = 32;

/// Up to [`BURST`] packets.
pub type Burst = ArrayVec<Packet, BURST>;

/// What a port's device does by itself. What it does not, the port does in software while sending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Finishes TCP and UDP checksums ([`packet::Csum::Partial`]).
    pub csum: bool,
    /// Cuts or carries whole large TCP frames ([`packet::Gso::Tcp4`], [`packet::Gso::Tcp6`]).
    pub tso: bool,
    /// Cuts or carries whole large UDP frames ([`packet::Gso::Udp`]).
    pub uso: bool,
}

/// A port in the hands of the worker that polls it: one rx queue, one tx queue.
///
/// `rx` and `tx` do not block, lock, log or allocate.
pub trait Port: Send {
    /// Adds received packets to `burst`, as many as it has room for or as are there.
    ///
    /// A packet's frame holds its VLAN tags; its meta data says what is known of checksum and
    /// segmentation. `in_port` is left to the caller, who knows the port's number.
    fn rx(&mut self, burst: &mut Burst);

    /// Sends all packets of `burst` and leaves it empty. Whatever the device cannot do (checksums,
    /// segmentation) is done here; what it does not take is dropped and counted, as `tx_dropped` if it
    /// might have another time and as `tx_errors` if not. Returns how many frames were dropped.
    fn tx(&mut self, burst: &mut Burst) -> usize;

    /// The same port for the control plane.
    fn control(&self) -> &Arc<dyn PortControl>;

    /// The port in parts that several workers use at the same time, if its device has several queues;
    /// once, and what is left is of no use then. None: the port is one rx queue and one tx queue.
    fn split(&mut self) -> Option<Queues> {
        None
    }
}

/// The queues of a port with several of them.
pub struct Queues {
    /// Each gives packets, and its `tx` is not used. A flow's packets all come from the same.
    pub rx: Vec<Box<dyn Port>>,
    /// Each takes packets, and its `rx` is not used.
    pub tx: Vec<Box<dyn Port>>,
}

/// A port as the control plane sees it; any thread, at any time.
pub trait PortControl: Send + Sync {
    /// The port's name in OpenFlow, at most 15 bytes.
    fn name(&self) -> &str;
    /// The device's address.
    fn mac(&self) -> MacAddr;
    /// Largest L3 packet the device takes, bytes.
    fn mtu(&self) -> u16;
    /// True if the device has a carrier.
    fn link_up(&self) -> bool;
    /// Mbit/s; 0 is unknown.
    fn speed(&self) -> u32;
    /// What the device does by itself.
    fn caps(&self) -> Caps;
    /// Totals since the port was opened.
    fn stats(&self) -> PortStats;
    /// How long stamped packets were on their way here; only a [`crate::TestPort`] knows.
    fn delays(&self) -> Vec<Delay> {
        Vec::new()
    }
    /// Sets the device administratively up or down.
    fn set_up(&self, up: bool) -> Result<(), PortError>;
    /// Sets the largest L3 packet.
    fn set_mtu(&self, mtu: u16) -> Result<(), PortError>;
}

/// Where ports take packets from.
#[derive(Clone, Debug)]
pub struct Pools {
    /// Segments that hold an ordinary frame.
    pub frames: Pool,
    /// Segments that hold most of a 64 KB frame in one piece.
    pub big: Pool,
    /// Segments in each; none: as many as fit in memory.
    pub counts: Option<(usize, usize)>,
}

impl Pools {
    /// Data room of a segment for ordinary frames, bytes.
    pub const FRAME_ROOM: usize = 2048;
    /// Data room of a segment for large frames, bytes: with the first segment, a whole 64 KB frame.
    pub const BIG_ROOM: usize = 65_280;

    /// Pools on the heap, for builds and tests without DPDK.
    pub fn heap() -> Pools {
        Pools {
            frames: Pool::heap(Self::FRAME_ROOM),
            big: Pool::heap(Self::BIG_ROOM),
            counts: None,
        }
    }

    /// Pools in DPDK's memory, `memory` MiB of it (what EAL was given, or may take): half for frames, an
    /// eighth for large ones, the rest for everything else. Once per process.
    #[cfg(feature = "dpdk")]
    pub fn dpdk(eal: dpdk::Eal, memory: u32) -> Result<Pools, dpdk::DpdkError> {
        // What a buffer costs beyond its data room: headers, headroom, alignment.
        const OVERHEAD: usize = 640;
        let bytes = (memory as usize) << 20;
        // One less than a power of two fills the ring behind a mempool.
        let count = |bytes: usize, room: usize, most: usize| {
            let fit = (bytes / (room + OVERHEAD)).clamp(64, most);
            (1 << fit.ilog2()) - 1
        };
        let frames = count(bytes / 2, Self::FRAME_ROOM, 1 << 20);
        let big = count(bytes / 8, Self::BIG_ROOM, 1 << 10);
        Ok(Pools {
            frames: dpdk::create_pool(eal, "frames", frames, Self::FRAME_ROOM)?,
            big: dpdk::create_pool(eal, "big", big, Self::BIG_ROOM)?,
            counts: Some((frames as usize, big as usize)),
        })
    }
}
