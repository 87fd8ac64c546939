//! One packet: an owned chain of segments.

use crate::heap::HeapPool;
use crate::mbuf::Mbuf;
use crate::meta::PacketMeta;
use crate::pool::Pool;
use crate::segments::{Segments, SegmentsMut};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;

/// A packet, the only owner of its segments; they return to their pool when it is dropped.
///
/// What holds for every `Packet`, and what each unsafe block here relies on:
/// - the chain is not empty, ends in null, and all its segments belong to one pool and to nobody else;
/// - in each segment `data_off + data_len <= buf_len`, and all `buf_len` bytes are initialised memory;
/// - in the first segment `pkt_len` is the sum of all `data_len` and `nb_segs` their number;
/// - the private area of the first segment holds a valid [`PacketMeta`].
pub struct Packet {
    head: NonNull<Mbuf>,
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

    /// Puts `n` bytes in front and returns them to be written (their content is arbitrary).
    ///
    /// When the headroom is used up the bytes get a segment of their own; None, and nothing changed,
    /// if that cannot be had or `n` exceeds a segment. Offsets in the meta data move along.
    #[inline]
    pub fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        let first = self.first_mut();
        if n > usize::from(first.data_off) {
            return self.prepend_segment(n);
        }
        let n16 = n as u16; // fits: not above data_off
        let data_len = first.data_len.checked_add(n16)?;
        first.data_off -= n16;
        first.data_len = data_len;
        first.pkt_len += u32::from(n16);
        self.meta_mut().shift_right(n16);
        self.head_mut().get_mut(..n)
    }

    /// Takes `n` bytes from the front; false, and nothing changed, if there are fewer.
    /// Offsets in the meta data move along.
    #[inline]
    pub fn trim_front(&mut self, n: usize) -> bool {
        let first = self.first_mut();
        // Strictly less: a chain never begins with an empty segment.
        if n < usize::from(first.data_len) {
            first.data_off += n as u16;
            first.data_len -= n as u16;
            first.pkt_len -= n as u32;
            self.meta_mut().shift_left(n);
            return true;
        }
        self.trim_front_segments(n)
    }

    /// Puts `bytes` in behind the first `at` bytes, at most 64, which move to the front. Offsets in the
    /// meta data move along. False, and nothing changed, if the packet is shorter than `at` or the
    /// bytes in front cannot be had.
    pub fn insert(&mut self, at: usize, bytes: &[u8]) -> bool {
        let mut front = [0; INSERT_FRONT];
        let Some(front) = front.get_mut(..at) else {
            return false;
        };
        if !self.read_at(0, front) || self.prepend(bytes.len()).is_none() {
            return false;
        }
        // By offset: the bytes in front may have become a segment of their own.
        self.write_at(0, front) && self.write_at(at, bytes)
    }

    /// Cuts the packet to its first `n` bytes; longer ones stay as they are.
    pub fn truncate(&mut self, n: usize) {
        if n >= self.len() {
            return;
        }
        let mut left = n;
        let mut kept: u16 = 1;
        let mut at = self.head;
        // SAFETY: walks the packet's own chain; the loop ends before its end since n < len.
        let rest = unsafe {
            loop {
                let segment = at.as_mut();
                let here = left.min(usize::from(segment.data_len));
                left -= here;
                match NonNull::new(segment.next) {
                    Some(next) if left > 0 => {
                        at = next;
                        kept += 1;
                    }
                    rest => {
                        segment.data_len = here as u16;
                        segment.next = std::ptr::null_mut();
                        break rest;
                    }
                }
            }
        };
        let first = self.first_mut();
        first.pkt_len = n as u32;
        first.nb_segs = kept;
        if let Some(rest) = rest {
            // SAFETY: the rest was cut off the chain above.
            unsafe { free_chain(rest) };
        }
    }

    /// Puts `bytes` behind, in new segments if need be; false, and nothing changed, if the pool is
    /// empty.
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        let before = self.len();
        let mut bytes = bytes;
        loop {
            let spare = self.spare_mut();
            let n = spare.len().min(bytes.len());
            spare[..n].copy_from_slice(&bytes[..n]);
            self.grow(n);
            bytes = &bytes[n..];
            if bytes.is_empty() {
                return true;
            }
            if !self.add_segment() {
                self.truncate(before);
                return false;
            }
        }
    }

    /// Puts a copy of a range of `from`'s bytes behind; false, and nothing changed, if `from` is shorter
    /// or the pool is empty.
    pub fn append_range(&mut self, from: &Packet, range: Range<usize>) -> bool {
        if range.start > range.end || range.end > from.len() {
            return false;
        }
        let before = self.len();
        let (mut skip, mut left) = (range.start, range.len());
        for segment in from.segments() {
            let at = skip.min(segment.len());
            skip -= at;
            let n = left.min(segment.len() - at);
            left -= n;
            if n > 0 && !self.append(&segment[at..at + n]) {
                self.truncate(before);
                return false;
            }
            if left == 0 {
                break;
            }
        }
        true
    }

    /// Bytes free behind the data of the last segment; written ones join by [`Packet::grow`].
    #[inline]
    pub fn spare_mut(&mut self) -> &mut [u8] {
        let last = self.last_mut();
        let from = usize::from(last.data_off) + usize::from(last.data_len);
        // SAFETY: from + tailroom is buf_len; buffers are initialised memory; exclusive borrow.
        unsafe {
            std::slice::from_raw_parts_mut(last.buf_addr.add(from), usize::from(last.tailroom()))
        }
    }

    /// Takes the first `n` spare bytes of the last segment into the packet; false if there are fewer.
    #[inline]
    pub fn grow(&mut self, n: usize) -> bool {
        let last = self.last_mut();
        if n > usize::from(last.tailroom()) {
            return false;
        }
        last.data_len += n as u16;
        self.first_mut().pkt_len += n as u32;
        true
    }

    /// Makes the first `n` bytes contiguous in the first segment; false if the packet is shorter or
    /// a segment's buffer is.
    #[inline]
    pub fn pull_up(&mut self, n: usize) -> bool {
        n <= usize::from(self.first().data_len) || self.pull_up_slow(n)
    }

    /// A deep copy in segments of `pool`, meta data included; None when the pool is empty.
    pub fn copy(&self, pool: &Pool) -> Option<Packet> {
        let mut copy = pool.alloc()?;
        *copy.meta_mut() = *self.meta();
        for segment in self.segments() {
            if !copy.append(segment) {
                return None;
            }
        }
        Some(copy)
    }

    /// Joins `tail` behind this packet without copying; `tail`'s meta data is lost. Gives `tail` back
    /// if it is of another kind of pool or the chain would exceed 65,535 segments.
    pub fn chain(&mut self, tail: Packet) -> Result<(), Packet> {
        let segments = self.first().nb_segs.checked_add(tail.first().nb_segs);
        let (Some(segments), true) = (segments, self.first().is_heap() == tail.first().is_heap())
        else {
            return Err(tail);
        };
        let bytes = tail.first().pkt_len;
        self.last_mut().next = tail.head.as_ptr();
        std::mem::forget(tail); // its segments are ours now
        let first = self.first_mut();
        first.nb_segs = segments;
        first.pkt_len += bytes;
        Ok(())
    }

    /// Bytes free in front of the first segment's data.
    #[inline]
    pub fn headroom(&self) -> usize {
        usize::from(self.first().data_off)
    }

    /// Moves the start of an empty one-segment packet, for buffers that need no headroom; false if it
    /// is not empty or the buffer is shorter.
    pub fn set_headroom(&mut self, n: usize) -> bool {
        let first = self.first_mut();
        let fits = first.pkt_len == 0 && first.nb_segs == 1 && n <= usize::from(first.buf_len);
        if fits {
            first.data_off = n as u16;
        }
        fits
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

    /// The fields of the first segment's header that a device reads and writes about the whole packet;
    /// a driver's business.
    #[inline]
    pub fn device_fields(&mut self) -> DeviceFields<'_> {
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
    fn first(&self) -> &Mbuf {
        // SAFETY: the packet owns its first segment.
        unsafe { self.head.as_ref() }
    }

    #[inline]
    fn first_mut(&mut self) -> &mut Mbuf {
        // SAFETY: the packet owns its first segment; the borrow is exclusive.
        unsafe { self.head.as_mut() }
    }

    #[inline]
    fn last_mut(&mut self) -> &mut Mbuf {
        let mut at = self.head;
        // SAFETY: walks the packet's own chain to its end; the borrow is exclusive.
        unsafe {
            while let Some(next) = NonNull::new(at.as_ref().next) {
                at = next;
            }
            at.as_mut()
        }
    }

    /// Hangs an empty segment with no headroom behind the last.
    fn add_segment(&mut self) -> bool {
        let Some(nb_segs) = self.first().nb_segs.checked_add(1) else {
            return false;
        };
        // SAFETY: the packet is alive.
        let Some(segment) = (unsafe { Pool::alloc_like(self.head, 0) }) else {
            return false;
        };
        self.last_mut().next = segment.as_ptr();
        self.first_mut().nb_segs = nb_segs;
        true
    }

    #[cold]
    fn prepend_segment(&mut self, n: usize) -> Option<&mut [u8]> {
        let n16 = u16::try_from(n).ok()?;
        let nb_segs = self.first().nb_segs.checked_add(1)?;
        // SAFETY: the packet is alive.
        let mut segment = unsafe { Pool::alloc_like(self.head, 0)? };
        // SAFETY: a fresh segment, ours alone.
        let new = unsafe { segment.as_mut() };
        let Some(data_off) = new.buf_len.checked_sub(n16) else {
            // SAFETY: nobody else has it.
            unsafe { free_chain(segment) };
            return None;
        };
        // At the end of its buffer, so that more can be put in front.
        new.data_off = data_off;
        new.data_len = n16;
        new.pkt_len = self.first().pkt_len + u32::from(n16);
        new.nb_segs = nb_segs;
        new.next = self.head.as_ptr();
        new.take_packet_fields(self.first());
        let mut meta = *self.meta();
        meta.shift_right(n16);
        self.head = segment;
        // SAFETY: the private area of a fresh segment is writable and ours.
        unsafe { segment.as_ptr().add(1).cast::<PacketMeta>().write(meta) };
        Some(self.head_mut())
    }

    #[cold]
    fn trim_front_segments(&mut self, n: usize) -> bool {
        let len = self.len();
        if n > len {
            return false;
        }
        let mut left = n;
        while left >= usize::from(self.first().data_len) && self.drop_first_segment(&mut left) {}
        let first = self.first_mut();
        // An empty packet keeps its last segment.
        first.data_off += left as u16;
        first.data_len -= left as u16;
        first.pkt_len = (len - n) as u32;
        self.meta_mut().shift_left(n);
        true
    }

    /// Makes the second segment the first; false if there is none.
    fn drop_first_segment(&mut self, left: &mut usize) -> bool {
        let mut old = self.head;
        let meta = *self.meta();
        let first = self.first_mut();
        let Some(mut next) = NonNull::new(first.next) else {
            return false;
        };
        *left -= usize::from(first.data_len);
        // SAFETY: both segments are this packet's own; the old one leaves the chain before it is
        // freed, and the new first one gets the packet's fields and meta data.
        unsafe {
            let new = next.as_mut();
            new.take_packet_fields(old.as_ref());
            new.nb_segs = old.as_ref().nb_segs - 1;
            new.pkt_len = old.as_ref().pkt_len - u32::from(old.as_ref().data_len);
            next.as_ptr().add(1).cast::<PacketMeta>().write(meta);
            self.head = next;
            old.as_mut().next = std::ptr::null_mut();
            old.as_mut().nb_segs = 1;
            free_chain(old);
        }
        true
    }

    #[cold]
    fn pull_up_slow(&mut self, n: usize) -> bool {
        let first = self.first_mut();
        if n > first.pkt_len as usize || n > usize::from(first.buf_len) {
            return false;
        }
        let have = usize::from(first.data_len);
        let from = usize::from(first.data_off);
        let to = from.min(usize::from(first.buf_len) - n);
        // SAFETY: both ranges lie in the first segment's buffer: `from + have <= buf_len` by the
        // invariant, `to <= from`.
        unsafe { std::ptr::copy(first.buf_addr.add(from), first.buf_addr.add(to), have) };
        first.data_off = to as u16;
        while usize::from(self.first().data_len) < n {
            self.pull_from_second(n);
        }
        true
    }

    /// Moves bytes of the second segment to the end of the first until it holds `n` or the second is
    /// used up and gone. There is a second one and room: `pull_up_slow` saw to it.
    fn pull_from_second(&mut self, n: usize) {
        let first = self.first_mut();
        let Some(mut second) = NonNull::new(first.next) else {
            return;
        };
        let have = usize::from(first.data_len);
        // SAFETY: the second segment is this packet's own; the copy stays within `n <= buf_len -
        // data_off` bytes of the first buffer and `data_len` of the second, which do not overlap.
        unsafe {
            let second_ref = second.as_mut();
            let take = (n - have).min(usize::from(second_ref.data_len));
            std::ptr::copy_nonoverlapping(
                second_ref.buf_addr.add(usize::from(second_ref.data_off)),
                first.buf_addr.add(usize::from(first.data_off) + have),
                take,
            );
            first.data_len += take as u16;
            second_ref.data_off += take as u16;
            second_ref.data_len -= take as u16;
            if second_ref.data_len == 0 {
                first.next = second_ref.next;
                first.nb_segs -= 1;
                second_ref.next = std::ptr::null_mut();
                second_ref.nb_segs = 1;
                free_chain(second);
            }
        }
    }
}

impl Drop for Packet {
    #[inline]
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

/// Most bytes that [`Packet::insert`] moves to the front.
const INSERT_FRONT: usize = 64;

/// Packets given back in one call.
const FREE_BATCH: usize = 32;

/// Frees many packets at once; the hot path's way, since mempools take segments back in bulk.
pub fn free_bulk(packets: impl IntoIterator<Item = Packet>) {
    let mut batch = [std::ptr::null_mut(); FREE_BATCH];
    let mut n = 0;
    for packet in packets {
        if packet.first().is_heap() {
            continue; // dropped here
        }
        batch[n] = packet.into_raw().as_ptr();
        n += 1;
        if n == FREE_BATCH {
            // SAFETY: the batch owns these chains, which are of mempools.
            unsafe { free_mempool_chains(&mut batch) };
            n = 0;
        }
    }
    // SAFETY: as above.
    unsafe { free_mempool_chains(&mut batch[..n]) };
}

/// Returns a chain to its pool.
///
/// # Safety
/// The caller owns the chain alone and does not use it again.
#[inline]
unsafe fn free_chain(head: NonNull<Mbuf>) {
    // SAFETY: the chain is the caller's.
    if unsafe { !head.as_ref().is_heap() } {
        // SAFETY: one chain of mempool segments, the caller's.
        return unsafe { free_mempool_chains(&mut [head.as_ptr()]) };
    }
    let mut at = Some(head);
    while let Some(segment) = at {
        // SAFETY: the chain is the caller's; `next` is read before the segment goes.
        unsafe {
            at = NonNull::new(segment.as_ref().next);
            HeapPool::free(segment);
        }
    }
}

/// Returns chains of mempool segments.
///
/// # Safety
/// The caller owns each chain and does not use it again.
#[cfg(feature = "dpdk")]
#[inline]
unsafe fn free_mempool_chains(heads: &mut [*mut Mbuf]) {
    // SAFETY: the caller's promise.
    unsafe {
        match heads {
            [] => {}
            [head] => crate::dpdk::free_chain(NonNull::new_unchecked(*head)),
            heads => crate::dpdk::free_chains(heads),
        }
    }
}

/// Without DPDK there are no such chains.
#[cfg(not(feature = "dpdk"))]
unsafe fn free_mempool_chains(heads: &mut [*mut Mbuf]) {
    debug_assert!(heads.is_empty());
}
