//! Where packets come from.

#[cfg(feature = "dpdk")]
use crate::dpdk::DpdkPool;
use crate::heap::HeapPool;
use crate::mbuf::Mbuf;
use crate::packet::Packet;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes left free in front of a new packet: outer Ethernet with a tag, IPv6, UDP and Geneve with
/// 64 bytes of options are 140. A packet received by a DPDK device has DPDK's own 128.
pub const HEADROOM: u16 = 192;

/// A source of packet segments of one size. Clones share it; any thread may use it.
#[derive(Clone)]
pub struct Pool {
    pub(crate) source: Source,
}

#[derive(Clone)]
pub(crate) enum Source {
    Heap(Arc<HeapPool>),
    #[cfg(feature = "dpdk")]
    Dpdk(DpdkPool),
}

impl Pool {
    /// Segments on the heap with room for `data_room` bytes behind the headroom.
    ///
    /// `data_room` is cut to what an mbuf can address (65,535 bytes, headroom included).
    pub fn heap(data_room: usize) -> Pool {
        Self::heap_limited(data_room, usize::MAX)
    }

    /// As [`Pool::heap`], with at most `limit` segments in use at a time.
    pub fn heap_limited(data_room: usize, limit: usize) -> Pool {
        let buf_len = usize::from(HEADROOM).saturating_add(data_room.max(1));
        let buf_len = u16::try_from(buf_len).unwrap_or(u16::MAX);
        Pool {
            source: Source::Heap(HeapPool::new(buf_len, limit)),
        }
    }

    /// Segments in a DPDK mempool; None if its mbufs' private area is smaller than
    /// [`crate::PRIVATE_SIZE`].
    ///
    /// # Safety
    /// `pool` was made by `rte_pktmbuf_pool_create` and is never freed.
    #[cfg(feature = "dpdk")]
    pub unsafe fn dpdk(pool: NonNull<dpdk_sys::rte_mempool>) -> Option<Pool> {
        // SAFETY: the caller's promise.
        let source = Source::Dpdk(unsafe { DpdkPool::new(pool)? });
        Some(Pool { source })
    }

    /// The DPDK mempool behind this pool; None if it is on the heap.
    #[cfg(feature = "dpdk")]
    pub fn mempool(&self) -> Option<*mut dpdk_sys::rte_mempool> {
        match &self.source {
            Source::Heap(_) => None,
            Source::Dpdk(pool) => Some(pool.as_ptr()),
        }
    }

    /// An empty packet of one segment with fresh [`crate::PacketMeta`]; None when the pool is empty.
    #[inline]
    pub fn alloc(&self) -> Option<Packet> {
        let segment = self.alloc_segment(HEADROOM)?;
        // SAFETY: the segment is fresh, empty and ours alone.
        Some(unsafe { Packet::from_fresh_segment(segment) })
    }

    /// Bytes that fit behind the headroom of one segment.
    pub fn data_room(&self) -> usize {
        usize::from(self.buf_len().saturating_sub(HEADROOM))
    }

    /// Segments in the hands of packets.
    pub fn in_use(&self) -> usize {
        match &self.source {
            Source::Heap(pool) => pool.in_use(),
            #[cfg(feature = "dpdk")]
            Source::Dpdk(pool) => pool.in_use(),
        }
    }

    fn buf_len(&self) -> u16 {
        match &self.source {
            Source::Heap(pool) => pool.buf_len(),
            #[cfg(feature = "dpdk")]
            Source::Dpdk(pool) => pool.buf_len(),
        }
    }

    #[inline]
    pub(crate) fn alloc_segment(&self, data_off: u16) -> Option<NonNull<Mbuf>> {
        match &self.source {
            Source::Heap(pool) => pool.alloc(data_off),
            #[cfg(feature = "dpdk")]
            Source::Dpdk(pool) => pool.alloc(data_off),
        }
    }

    /// An empty segment of the pool that `segment` came from.
    ///
    /// # Safety
    /// `segment` belongs to a packet that is alive.
    pub(crate) unsafe fn alloc_like(
        segment: NonNull<Mbuf>,
        data_off: u16,
    ) -> Option<NonNull<Mbuf>> {
        // SAFETY: the caller's promise.
        unsafe { Pool::of(segment) }?.alloc_segment(data_off)
    }

    /// The pool of a live segment.
    ///
    /// # Safety
    /// `segment` belongs to a packet that is alive.
    pub(crate) unsafe fn of(segment: NonNull<Mbuf>) -> Option<Pool> {
        // SAFETY: the caller's promise; the tag tells the kinds apart.
        let source = unsafe {
            #[cfg(feature = "dpdk")]
            if !segment.as_ref().is_heap() {
                let source = Source::Dpdk(DpdkPool::of(segment)?);
                return Some(Pool { source });
            }
            Source::Heap(HeapPool::of(segment))
        };
        Some(Pool { source })
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("data_room", &self.data_room())
            .field("in_use", &self.in_use())
            .finish()
    }
}
