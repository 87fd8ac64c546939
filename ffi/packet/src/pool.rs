//! Where packets come from.

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
        }
    }

    fn buf_len(&self) -> u16 {
        match &self.source {
            Source::Heap(pool) => pool.buf_len(),
        }
    }

    #[inline]
    pub(crate) fn alloc_segment(&self, data_off: u16) -> Option<NonNull<Mbuf>> {
        match &self.source {
            Source::Heap(pool) => pool.alloc(data_off),
        }
    }

    /// The pool of a live segment.
    ///
    /// # Safety
    /// `segment` belongs to a packet that is alive.
    pub(crate) unsafe fn of(segment: NonNull<Mbuf>) -> Pool {
        // SAFETY: the caller's promise.
        let source = Source::Heap(unsafe { HeapPool::of(segment) });
        Pool { source }
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
