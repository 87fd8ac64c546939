//! Walking a packet's bytes, segment by segment.

use crate::mbuf::Mbuf;
use std::marker::PhantomData;

/// The bytes of each segment, first to last.
pub struct Segments<'a> {
    pub(crate) next: *const Mbuf,
    pub(crate) packet: PhantomData<&'a Mbuf>,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        // SAFETY: the pointer is null or a segment of the packet borrowed for 'a.
        let segment = unsafe { self.next.as_ref()? };
        self.next = segment.next;
        // SAFETY: `data_off + data_len <= buf_len` holds for every segment of a Packet.
        Some(unsafe {
            std::slice::from_raw_parts(
                segment.buf_addr.add(usize::from(segment.data_off)),
                usize::from(segment.data_len),
            )
        })
    }
}

/// The bytes of each segment for writing, first to last.
pub struct SegmentsMut<'a> {
    pub(crate) next: *mut Mbuf,
    pub(crate) packet: PhantomData<&'a mut Mbuf>,
}

impl<'a> Iterator for SegmentsMut<'a> {
    type Item = &'a mut [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a mut [u8]> {
        // SAFETY: the pointer is null or a segment of the packet borrowed mutably for 'a.
        let segment = unsafe { self.next.as_ref()? };
        self.next = segment.next;
        // SAFETY: as above; each segment has a buffer of its own and is visited once.
        Some(unsafe {
            std::slice::from_raw_parts_mut(
                segment.buf_addr.add(usize::from(segment.data_off)),
                usize::from(segment.data_len),
            )
        })
    }
}
