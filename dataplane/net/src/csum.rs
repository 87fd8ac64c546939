//! Checksums: the Internet checksum (RFC 1071), its incremental form (RFC 1624), and CRC32c for
//! SCTP (RFC 9260 appendix A).

mod crc32c;

pub use crc32c::{crc32c, crc32c_change};

/// A running one's complement sum over bytes that may come in pieces of any length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    sum: u64,
    /// An odd number of bytes so far: the next one is the low half of a word.
    odd: bool,
}

impl Sum {
    /// Adds bytes that follow those added before.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        let mut rest = bytes;
        if self.odd
            && let Some((&first, after)) = bytes.split_first()
        {
            self.sum += u64::from(first);
            self.odd = false;
            rest = after;
        }
        let (words, tail) = rest.as_chunks::<4>();
        let mut sum = 0u64;
        for word in words {
            sum += u64::from(u32::from_be_bytes(*word));
        }
        self.sum += (sum >> 32) + (sum & 0xffff_ffff);
        let (halves, last) = tail.as_chunks::<2>();
        for half in halves {
            self.sum += u64::from(u16::from_be_bytes(*half));
        }
        if let [byte] = last {
            self.sum += u64::from(*byte) << 8;
            self.odd = true;
        }
        self
    }

    /// Adds a 16-bit number, such as a partial sum found in a checksum field.
    #[must_use]
    pub fn word(mut self, word: u16) -> Self {
        self.sum += u64::from(word);
        self
    }

    /// The sum folded to 16 bits, not complemented: what a packet with a partial checksum carries.
    #[inline]
    pub fn partial(self) -> u16 {
        fold(self.sum)
    }

    /// The checksum: the complement of the folded sum.
    pub fn checksum(self) -> u16 {
        !self.partial()
    }

    /// The checksum as UDP writes it: 0xffff instead of zero, which means none (RFC 768). The two
    /// are equal to a receiver, so this form serves TCP and ICMP as well.
    pub fn nonzero_checksum(self) -> u16 {
        match self.checksum() {
            0 => 0xffff,
            sum => sum,
        }
    }
}

/// Sum of the IPv4 pseudo-header (RFC 9293 3.1). `len` is that of transport header and payload.
pub fn pseudo_ipv4(src: [u8; 4], dst: [u8; 4], protocol: u8, len: u32) -> Sum {
    pseudo(&src, &dst, protocol, len)
}

/// Sum of the IPv6 pseudo-header (RFC 8200 8.1).
pub fn pseudo_ipv6(src: &[u8; 16], dst: &[u8; 16], protocol: u8, len: u32) -> Sum {
    pseudo(src, dst, protocol, len)
}

fn pseudo(src: &[u8], dst: &[u8], protocol: u8, len: u32) -> Sum {
    Sum::default()
        .bytes(src)
        .bytes(dst)
        .word(protocol.into())
        .word((len >> 16) as u16)
        .word(len as u16)
}

/// The checksum of an IPv4 header whose checksum field is zero. Over a header with its checksum
/// in place the result is zero if it is right.
pub fn ipv4_header(header: &[u8]) -> u16 {
    Sum::default().bytes(header).checksum()
}

/// Finishes a partial checksum: `segments` are all bytes of the packet from `csum_start` on, the
/// field at `csum_offset` in them holding the pseudo-header's sum. Returns what belongs there.
pub fn complete<'a>(segments: impl IntoIterator<Item = &'a [u8]>) -> u16 {
    segments
        .into_iter()
        .fold(Sum::default(), Sum::bytes)
        .nonzero_checksum()
}

/// The checksum after 16 bits of what it covers changed from `old` to `new` (RFC 1624, eqn. 3).
#[must_use]
pub const fn update16(checksum: u16, old: u16, new: u16) -> u16 {
    !add(add(!checksum, !old), new)
}

/// The sum by which a change of covered bytes moves a checksum: complement of the old bytes plus
/// the new ones. Both have the same, even length and stand at an even offset.
#[inline]
pub fn delta(old: &[u8], new: &[u8]) -> u16 {
    // Without the care that `Sum` takes of pieces and odd lengths, so that it becomes a handful of
    // instructions where the length is known.
    let pairs = old.as_chunks::<2>().0.iter().zip(new.as_chunks::<2>().0);
    fold(pairs.fold(0u64, |sum, (old, new)| {
        sum + u64::from(!u16::from_be_bytes(*old)) + u64::from(u16::from_be_bytes(*new))
    }))
}

/// Applies a [`delta`] to a checksum.
#[must_use]
pub const fn apply(checksum: u16, delta: u16) -> u16 {
    !add(!checksum, delta)
}

/// Applies a [`delta`] to a partial sum.
#[must_use]
pub const fn apply_partial(sum: u16, delta: u16) -> u16 {
    add(sum, delta)
}

/// The sum of a sum's 16-bit parts.
#[inline]
pub(crate) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

const fn add(a: u16, b: u16) -> u16 {
    let sum = a as u32 + b as u32;
    ((sum & 0xffff) + (sum >> 16)) as u16
}
