//! One packet: an owned chain of segments.

use crate::free::free_chain;
use crate::mbuf::Mbuf;
use crate::meta::PacketMeta;
use crate::pool::Pool;
use crate::segments::{Segments, SegmentsMut};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// A packet, the only owner of its segments; they return to their pool when it is dropped.
///
/// What holds for every `Packet`, and what each unsafe block here relies on:
/// - the chain is not empty, ends in null, and all its segments belong to one kind of pool and to nobody else;
/// - in each segment `data_off + data_len <= buf_len`, and all `buf_len` bytes are initialised memory;
/// - in the first segment `pkt_len` is the sum of all `data_len` and `nb_segs` their number;
/// - the private area of the first segment holds a valid [`PacketMeta`].
pub struct Packet {
    pub(crate) head: NonNull<Mbuf>,
}

/// What a device is asked to do with a packet, in `RTE_MBUF_F_*` and `rte_mbuf.tx_offload` bits.
pub struct DeviceFields<'a> {
    /// Offload flags.
    pub ol_flags: &'a mut u64,
    /// Header lengths for tx offloads.
    pub tx_offload: &'a mut u64,
}

// SAFETY: a packet owns its segments, and pools take them back from any thread.
unsafe impl Send for Packet {}
// SAFETY: a shared Packet only gives out shared views.
unsafe impl Sync for Packet {}

impl Packet {
    /// A packet holding `bytes`, in as many segments as it takes; None when the pool is empty.
    pub fn from_slice(pool: &Pool, bytes: &[u8]) -> Option<Packet> {
        let mut packet = pool.alloc()?;
        packet.append(bytes).then_some(packet)
    }

    /// Bytes in all segments.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.first().pkt_len as usize
    }

    /// Number of segments, from 1.
    #[inline]
    pub fn segment_count(&self) -> usize {
        usize::from(self.first().nb_segs)
    }

    /// Bytes of the first segment.
    #[inline]
    pub fn head(&self) -> &[u8] {
        let first = self.first();
        // SAFETY: the type's invariant on `data_off` and `data_len`.
        unsafe {
            std::slice::from_raw_parts(
                first.buf_addr.add(usize::from(first.data_off)),
                usize::from(first.data_len),
            )
        }
    }

    /// Bytes of the first segment, for writing.
    #[inline]
    pub fn head_mut(&mut self) -> &mut [u8] {
        let first = self.first_mut();
        // SAFETY: the type's invariant; the borrow is exclusive.
        unsafe {
            std::slice::from_raw_parts_mut(
                first.buf_addr.add(usize::from(first.data_off)),
                usize::from(first.data_len),
            )
        }
    }

    /// Asks for the packet's first bytes, to be read soon.
    #[inline]
    pub fn prefetch_head(&self) {
        if let Some(byte) = self.head().first() {
            crate::prefetch(byte);
        }
    }

    /// Bytes of every segment in order.
    #[inline]
    pub fn segments(&self) -> Segments<'_> {
        Segments {
            next: self.head.as_ptr(),
            packet: PhantomData,
        }
    }

    /// Bytes of every segment in order, for writing.
    #[inline]
    pub fn segments_mut(&mut self) -> SegmentsMut<'_> {
        SegmentsMut {
            next: self.head.as_ptr(),
            packet: PhantomData,
        }
    }

    /// All bytes in one vector.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        for segment in self.segments() {
            bytes.extend_from_slice(segment);
        }
        bytes
    }

    /// Copies the bytes from `offset` on into `out`; false if the packet is shorter.
    pub fn read_at(&self, offset: usize, out: &mut [u8]) -> bool {
        if offset
            .checked_add(out.len())
            .is_none_or(|end| end > self.len())
        {
            return false;
        }
        let (mut skip, mut done) = (offset, 0);
        for segment in self.segments() {
            let from = skip.min(segment.len());
            skip -= from;
            let n = (segment.len() - from).min(out.len() - done);
            out[done..done + n].copy_from_slice(&segment[from..from + n]);
            done += n;
        }
        true
    }

    /// Overwrites the bytes from `offset` on; false, and nothing written, if the packet is shorter.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) -> bool {
        if offset
            .checked_add(bytes.len())
            .is_none_or(|end| end > self.len())
        {
            return false;
        }
        let (mut skip, mut done) = (offset, 0);
        for segment in self.segments_mut() {
            let from = skip.min(segment.len());
            skip -= from;
            let n = (segment.len() - from).min(bytes.len() - done);
            segment[from..from + n].copy_from_slice(&bytes[done..done + n]);
            done += n;
        }
        true
    }

    /// What is known beside the bytes.
    #[inline]
    pub fn meta(&self) -> &PacketMeta {
        // SAFETY: the private area follows the header, is aligned and holds a valid PacketMeta.
        unsafe { &*self.head.as_ptr().add(1).cast::<PacketMeta>() }
    }

    /// What is known beside the bytes, for writing.
    #[inline]
    pub fn meta_mut(&mut self) -> &mut PacketMeta {
        // SAFETY: as `meta`; the borrow is exclusive.
        unsafe { &mut *self.head.as_ptr().add(1).cast::<PacketMeta>() }
    }

    /// Bytes free in front of the first segment's data.
    #[inline]
    pub fn headroom(&self) -> usize {
        usize::from(self.first().data_off)
    }

    /// True if a driver can take the packet as it is: one segment of a mempool, nothing left open.
    #[inline]
    pub fn is_plain(&self) -> bool {
        let first = self.first();
        first.nb_segs == 1 && !first.is_heap() && !self.meta().is_open()
    }

    /// The pool this packet's segments come from; None if it belongs to a device's own pool.
    pub fn pool(&self) -> Option<Pool> {
        // SAFETY: the packet is alive.
        unsafe { Pool::of(self.head) }
    }

    /// The first segment's header.
    #[inline]
    pub fn mbuf(&self) -> &Mbuf {
        self.first()
    }

    /// The fields of the first segment's header by which a device is told about the whole packet.
    ///
    /// # Safety
    /// The flags that say how the buffer is attached (RTE_MBUF_F_EXTERNAL, RTE_MBUF_F_INDIRECT) stay as
    /// they are.
    #[inline]
    pub unsafe fn device_fields(&mut self) -> DeviceFields<'_> {
        let mbuf = self.first_mut();
        DeviceFields {
            ol_flags: &mut mbuf.ol_flags,
            tx_offload: &mut mbuf.tx_offload,
        }
    }

    /// The chain as DPDK takes it; the caller owns it from now on.
    #[inline]
    pub fn into_raw(self) -> NonNull<Mbuf> {
        let head = self.head;
        std::mem::forget(self);
        head
    }

    /// Takes over a chain.
    ///
    /// # Safety
    /// The caller owns the chain alone and everything that [`Packet`] states about its segments holds.
    #[inline]
    pub unsafe fn from_raw(head: NonNull<Mbuf>) -> Packet {
        Packet { head }
    }

    /// Takes over a chain whose private area was not written yet, with fresh meta data.
    ///
    /// # Safety
    /// As [`Packet::from_raw`], except for the [`PacketMeta`].
    #[inline]
    pub unsafe fn from_fresh_segment(head: NonNull<Mbuf>) -> Packet {
        // SAFETY: the private area is at least PacketMeta's size and belongs to the caller.
        unsafe {
            head.as_ptr()
                .add(1)
                .cast::<PacketMeta>()
                .write(PacketMeta::default())
        };
        Packet { head }
    }

    #[inline]
    pub(crate) fn first(&self) -> &Mbuf {
        // SAFETY: the packet owns its first segment.
        unsafe { self.head.as_ref() }
    }

    #[inline]
    pub(crate) fn first_mut(&mut self) -> &mut Mbuf {
        // SAFETY: the packet owns its first segment; the borrow is exclusive.
        unsafe { self.head.as_mut() }
    }

    #[inline]
    pub(crate) fn last_mut(&mut self) -> &mut Mbuf {
        let mut at = self.head;
        // SAFETY: walks the packet's own chain to its end; the borrow is exclusive.
        unsafe {
            while let Some(next) = NonNull::new(at.as_ref().next) {
                at = next;
            }
            at.as_mut()
        }
    }
}

impl Drop for Packet {
    // Packets are sent or freed in bulk; this is for those that are dropped on the way.
    #[inline(never)]
    fn drop(&mut self) {
        // SAFETY: the packet owns its chain alone and is gone after this.
        unsafe { free_chain(self.head) };
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("len", &self.len())
            .field("segments", &self.segment_count())
            .field("meta", self.meta())
            .finish()
    }
}
