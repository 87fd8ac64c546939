//! Chains joined, made contiguous, and copied.

use crate::free::free_chain;
use crate::packet::Packet;
use crate::pool::Pool;
use std::ptr::NonNull;

impl Packet {
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
