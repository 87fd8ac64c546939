//! Bytes put in front of a packet, behind it, in between, and taken away.

use crate::free::free_chain;
use crate::meta::PacketMeta;
use crate::packet::Packet;
use crate::pool::Pool;
use std::ops::Range;
use std::ptr::NonNull;

/// Most bytes that [`Packet::insert`] moves to the front.
const INSERT_FRONT: usize = 64;

impl Packet {
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
}
