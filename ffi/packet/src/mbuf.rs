//! The fields of `struct rte_mbuf` that Sluice reads and writes, at DPDK's offsets.
//!
//! `dpdk-sys` asserts every offset against the installed headers when it is built, so this view
//! cannot drift from the real structure. Names follow `rte_mbuf_core.h`.

use core::ffi::c_void;

/// Bytes between the mbuf header and its buffer; [`crate::PacketMeta`] lives there.
pub const PRIVATE_SIZE: usize = 64;

/// A segment's header, binary equal to `struct rte_mbuf` (128 bytes, two cache lines).
#[repr(C, align(64))]
pub struct Mbuf {
    /// First byte of the segment's buffer.
    pub buf_addr: *mut u8,
    /// The buffer's bus address; devices only.
    pub buf_iova: u64,
    /// Where data begins, bytes from `buf_addr`.
    pub data_off: u16,
    /// Owners of this segment; a `Packet` holds exactly one.
    pub refcnt: u16,
    /// Segments in the chain; meaningful in the first.
    pub nb_segs: u16,
    /// DPDK's port number, set on rx.
    pub port: u16,
    /// Offload flags, `RTE_MBUF_F_*`.
    pub ol_flags: u64,
    /// Packet type as the device saw it.
    pub packet_type: u32,
    /// Bytes in the whole chain; meaningful in the first segment.
    pub pkt_len: u32,
    /// Bytes in this segment.
    pub data_len: u16,
    /// Stripped VLAN tag control information, host order, if `RTE_MBUF_F_RX_VLAN`.
    pub vlan_tci: u16,
    /// RSS hash, if `RTE_MBUF_F_RX_RSS_HASH`.
    pub rss: u32,
    hash_rest: u32,
    /// Stripped outer VLAN tag, if `RTE_MBUF_F_RX_QINQ`.
    pub vlan_tci_outer: u16,
    /// Bytes in the segment's buffer.
    pub buf_len: u16,
    /// Where the segment returns to: a `rte_mempool`, or a heap pool when the lowest bit is set.
    pub pool: *mut c_void,
    /// Next segment, or null.
    pub next: *mut Mbuf,
    /// Header lengths for the device's tx offloads.
    pub tx_offload: u64,
    shinfo: *mut c_void,
    priv_size: u16,
    timesync: u16,
    dynfield1: [u32; 9],
}

const _: () = assert!(size_of::<Mbuf>() == 128);
const _: () = assert!(core::mem::offset_of!(Mbuf, rss) == 44);
const _: () = assert!(core::mem::offset_of!(Mbuf, pool) == 56);
const _: () = assert!(core::mem::offset_of!(Mbuf, next) == 64);
const _: () = assert!(core::mem::offset_of!(Mbuf, dynfield1) == 92);

/// Set in [`Mbuf::pool`] of segments that live on the heap; a mempool is aligned to a cache line.
const HEAP_TAG: usize = 1;

impl Mbuf {
    /// A header for a heap segment with `buf_len` bytes at `buf_addr`.
    pub(crate) fn for_heap(buf_addr: *mut u8, buf_len: u16) -> Mbuf {
        Mbuf {
            buf_addr,
            buf_iova: 0,
            data_off: 0,
            refcnt: 1,
            nb_segs: 1,
            port: u16::MAX,
            ol_flags: 0,
            packet_type: 0,
            pkt_len: 0,
            data_len: 0,
            vlan_tci: 0,
            rss: 0,
            hash_rest: 0,
            vlan_tci_outer: 0,
            buf_len,
            pool: core::ptr::null_mut(),
            next: core::ptr::null_mut(),
            tx_offload: 0,
            shinfo: core::ptr::null_mut(),
            priv_size: PRIVATE_SIZE as u16,
            timesync: 0,
            dynfield1: [0; 9],
        }
    }

    /// Empties the segment as DPDK's `rte_pktmbuf_reset` does.
    pub(crate) fn reset(&mut self, data_off: u16) {
        self.data_off = data_off;
        self.refcnt = 1;
        self.nb_segs = 1;
        self.port = u16::MAX;
        self.ol_flags = 0;
        self.packet_type = 0;
        self.pkt_len = 0;
        self.data_len = 0;
        self.vlan_tci = 0;
        self.rss = 0;
        self.vlan_tci_outer = 0;
        self.next = core::ptr::null_mut();
        self.tx_offload = 0;
    }

    /// True if the segment returns to a heap pool.
    #[inline]
    pub fn is_heap(&self) -> bool {
        self.pool.addr() & HEAP_TAG != 0
    }

    pub(crate) fn set_heap_pool<T>(&mut self, pool: *const T) {
        self.pool = pool.cast_mut().cast::<c_void>().map_addr(|a| a | HEAP_TAG);
    }

    pub(crate) fn heap_pool<T>(&self) -> *const T {
        self.pool.map_addr(|a| a & !HEAP_TAG).cast_const().cast()
    }

    /// Bytes free behind the data.
    #[inline]
    pub(crate) fn tailroom(&self) -> u16 {
        self.buf_len
            .saturating_sub(self.data_off)
            .saturating_sub(self.data_len)
    }

    /// Takes the fields that describe a whole packet, not one segment, from `old`.
    pub(crate) fn take_packet_fields(&mut self, old: &Mbuf) {
        self.port = old.port;
        self.ol_flags = old.ol_flags;
        self.packet_type = old.packet_type;
        self.vlan_tci = old.vlan_tci;
        self.rss = old.rss;
        self.hash_rest = old.hash_rest;
        self.vlan_tci_outer = old.vlan_tci_outer;
        self.tx_offload = old.tx_offload;
    }
}
