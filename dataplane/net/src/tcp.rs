//! What connection tracking needs of a TCP header, and the reset that refuses a segment.

mod reset;

pub use reset::reset;

use crate::headers::{Tcp, view};
use crate::parse::{Layout, Transport};

/// TCP flag bits (RFC 9293 3.1).
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u16 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u16 = 0x02;
    /// Reset the connection.
    pub const RST: u16 = 0x04;
    /// Push.
    pub const PSH: u16 = 0x08;
    /// The acknowledgment number counts.
    pub const ACK: u16 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u16 = 0x20;
}

/// Sequence numbers, window and flags of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TcpInfo {
    /// Sequence number of the first byte.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Window as it is in the header, not scaled.
    pub window: u16,
    /// Flag bits; see [`flags`].
    pub flags: u16,
    /// Bytes of payload; of a large frame, all of them.
    pub payload: u32,
    /// The window scale option, in SYN segments that carry it, at most 14 (RFC 7323 2.3).
    pub scale: Option<u8>,
}

impl TcpInfo {
    /// Reads a segment's header; none if the packet has no TCP header.
    #[inline]
    pub fn read(head: &[u8], layout: &Layout) -> Option<Self> {
        if layout.transport != Transport::Tcp {
            return None;
        }
        let tcp: &Tcp = view(head, layout.l4.into())?;
        let syn = tcp.flags() & flags::SYN != 0;
        let options = usize::from(layout.l4) + Tcp::LEN..usize::from(layout.payload);
        Some(TcpInfo {
            seq: tcp.seq.get(),
            ack: tcp.ack.get(),
            window: tcp.window.get(),
            flags: tcp.flags(),
            payload: layout.end.saturating_sub(layout.payload.into()),
            scale: head.get(options).filter(|_| syn).and_then(window_scale),
        })
    }

    /// True if any of these flags is set.
    pub const fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    /// The sequence number after this segment: SYN and FIN count as one each (RFC 9293 3.4).
    pub const fn end(&self) -> u32 {
        let mut end = self.seq.wrapping_add(self.payload);
        if self.has(flags::SYN) {
            end = end.wrapping_add(1);
        }
        if self.has(flags::FIN) {
            end = end.wrapping_add(1);
        }
        end
    }
}

fn window_scale(mut options: &[u8]) -> Option<u8> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const WINDOW_SCALE: u8 = 3;
    loop {
        options = match options {
            [END, ..] | [] => return None,
            [NO_OPERATION, rest @ ..] => rest,
            [WINDOW_SCALE, 3, shift, ..] => return Some((*shift).min(14)),
            [_, len, ..] if *len >= 2 => options.get(usize::from(*len)..)?,
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_scale_is_found_behind_other_options_and_broken_ones_stop_the_search() {
        assert_eq!(window_scale(&[2, 4, 5, 180, 1, 3, 3, 7]), Some(7));
        assert_eq!(window_scale(&[3, 3, 200]), Some(14));
        for none in [
            &[][..],
            &[0, 3, 3, 7],
            &[1, 1],
            &[8, 0, 3, 3],
            &[9],
            &[2, 9, 3],
        ] {
            assert_eq!(window_scale(none), None, "{none:?}");
        }
    }

    #[test]
    fn syn_and_fin_take_a_sequence_number_each() {
        let info = TcpInfo {
            seq: u32::MAX,
            payload: 10,
            flags: flags::SYN | flags::FIN,
            ..TcpInfo::default()
        };
        assert_eq!(info.end(), 11);
    }
}
