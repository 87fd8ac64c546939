//! What is known about a packet beside its bytes.

/// State of the innermost L4 checksum, in the model of virtio and Linux.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Csum {
    /// Nobody checked it; the bytes are as they came.
    #[default]
    Unknown,
    /// Checked by a device or by the sender's kernel, and right.
    Valid,
    /// The checksum field holds the folded pseudo-header sum (not inverted). Whoever sends the
    /// packet out adds up the bytes from `csum_start` on and stores the result at
    /// `csum_start + csum_offset` (virtio 1.2, 5.1.6.2; Linux CHECKSUM_PARTIAL).
    Partial,
}

/// What a large frame is to be cut into, if its port cannot carry it whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Gso {
    /// An ordinary frame.
    #[default]
    None,
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP datagrams of equal size with one header (VIRTIO_NET_HDR_GSO_UDP_L4).
    Udp,
}

/// Facts about one packet, kept in the private area of its first segment.
///
/// Offsets count from the packet's first byte; [`crate::Packet::prepend`] and
/// [`crate::Packet::trim_front`] move them along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PacketMeta {
    /// OpenFlow port the packet came in by; 0 is none.
    pub in_port: u32,
    /// State of the innermost L4 checksum.
    pub csum: Csum,
    /// Kind of large frame.
    pub gso: Gso,
    /// TCP congestion window reduced must be set on the first segment only (VIRTIO_NET_HDR_GSO_ECN).
    pub gso_ecn: bool,
    /// Place of the queue that the packet goes out by, among those of its next port; 0 is the
    /// port's default. Whoever sends it resets this.
    pub queue: u8,
    /// Where the checksummed bytes begin; with [`Csum::Partial`].
    pub csum_start: u16,
    /// Where the checksum is stored, bytes after `csum_start`; with [`Csum::Partial`].
    pub csum_offset: u16,
    /// Payload bytes per segment to be made; with a [`Gso`].
    pub gso_size: u16,
    /// Headers that every segment repeats, outer ones included; with a [`Gso`].
    pub hdr_len: u16,
    /// Bytes of tunnel headers in front of the inner Ethernet frame; 0 is no tunnel.
    /// Set by whoever encapsulates.
    pub tunnel_len: u16,
    /// Hash of the packet's flow as its device computed it; 0 is none. Only for spreading load.
    pub rss: u32,
    /// The low bits of a clock when the packet came in, if it is one of those that are timed; 0:
    /// it is not.
    pub stamp: u32,
}

const _: () = assert!(size_of::<PacketMeta>() <= crate::PRIVATE_SIZE);

impl PacketMeta {
    /// True if a checksum or segmentation is left to whoever sends the packet.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.csum == Csum::Partial || self.gso != Gso::None
    }

    /// `n` bytes were put in front.
    #[inline]
    pub(crate) fn shift_right(&mut self, n: u16) {
        if self.is_open() {
            if self.csum == Csum::Partial {
                self.csum_start = self.csum_start.saturating_add(n);
            }
            if self.gso != Gso::None {
                self.hdr_len = self.hdr_len.saturating_add(n);
            }
        }
        if self.tunnel_len != 0 {
            self.tunnel_len = self.tunnel_len.saturating_add(n);
        }
    }

    /// `n` bytes were taken from the front; what they held cannot be finished any more.
    #[inline]
    pub(crate) fn shift_left(&mut self, n: usize) {
        let n = u16::try_from(n).unwrap_or(u16::MAX);
        if self.csum == Csum::Partial {
            match self.csum_start.checked_sub(n) {
                Some(start) => self.csum_start = start,
                None => self.csum = Csum::Unknown,
            }
        }
        if self.gso != Gso::None {
            match self.hdr_len.checked_sub(n) {
                Some(len) => self.hdr_len = len,
                None => self.gso = Gso::None,
            }
        }
        self.tunnel_len = self.tunnel_len.saturating_sub(n);
    }
}
