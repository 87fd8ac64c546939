//! Frames described field by field, and built from scratch with checksums by another library.
#![allow(dead_code)] // each test program uses its own part

use etherparse::checksum::Sum16BitWords;
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub struct Frame {
    pub eth_dst: [u8; 6],
    pub eth_src: [u8; 6],
    /// Ethertype and content of each tag, outermost first.
    pub tags: Vec<(u16, u16)>,
    pub ip: Ip,
    pub l4: L4,
    pub payload: Vec<u8>,
    /// Bytes after the IP packet.
    pub padding: usize,
}

#[derive(Clone, Debug)]
pub enum Ip {
    V4 {
        src: [u8; 4],
        dst: [u8; 4],
        tos: u8,
        ttl: u8,
        id: u16,
        flags_offset: u16,
        options: Vec<u8>,
    },
    V6 {
        src: [u8; 16],
        dst: [u8; 16],
        tos: u8,
        hop_limit: u8,
        label: u32,
        /// Destination options of so many times 8 bytes, if not 0.
        options: u8,
    },
}

#[derive(Clone, Debug)]
pub enum L4 {
    Tcp {
        src: u16,
        dst: u16,
        seq: u32,
        ack: u32,
        flags: u16,
        window: u16,
        options: Vec<u8>,
    },
    Udp {
        src: u16,
        dst: u16,
        checksum: bool,
    },
    Sctp {
        src: u16,
        dst: u16,
        tag: u32,
    },
    /// ICMP or ICMPv6, as the IP version says.
    Icmp {
        kind: u8,
        code: u8,
        rest: [u8; 4],
    },
    Other(u8),
}

impl Frame {
    pub fn proto(&self) -> u8 {
        match (&self.l4, &self.ip) {
            (L4::Tcp { .. }, _) => 6,
            (L4::Udp { .. }, _) => 17,
            (L4::Sctp { .. }, _) => 132,
            (L4::Icmp { .. }, Ip::V4 { .. }) => 1,
            (L4::Icmp { .. }, Ip::V6 { .. }) => 58,
            (L4::Other(proto), _) => *proto,
        }
    }

    /// The frame's bytes, checksums right.
    pub fn build(&self) -> Vec<u8> {
        self.assemble(false)
    }

    /// The frame's bytes with the pseudo-header's sum in the transport checksum field.
    pub fn build_partial(&self) -> Vec<u8> {
        self.assemble(true)
    }

    pub fn l3(&self) -> usize {
        14 + 4 * self.tags.len()
    }

    pub fn l4_offset(&self) -> usize {
        self.l3()
            + match &self.ip {
                Ip::V4 { options, .. } => 20 + options.len(),
                Ip::V6 { options, .. } => 40 + 8 * usize::from(*options),
            }
    }

    fn assemble(&self, partial: bool) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.eth_dst);
        out.extend(self.eth_src);
        for (tpid, tci) in &self.tags {
            out.extend(tpid.to_be_bytes());
            out.extend(tci.to_be_bytes());
        }
        let segment = self.transport(partial);
        match &self.ip {
            Ip::V4 {
                src,
                dst,
                tos,
                ttl,
                id,
                flags_offset,
                options,
            } => {
                out.extend(0x0800u16.to_be_bytes());
                let len = 20 + options.len();
                let mut header = vec![0x40 | (len / 4) as u8, *tos];
                header.extend(((len + segment.len()) as u16).to_be_bytes());
                header.extend(id.to_be_bytes());
                header.extend(flags_offset.to_be_bytes());
                header.extend([*ttl, self.proto(), 0, 0]);
                header.extend(src);
                header.extend(dst);
                header.extend(options);
                let sum = oracle_checksum(&[&header]);
                header[10..12].copy_from_slice(&sum);
                out.extend(header);
            }
            Ip::V6 {
                src,
                dst,
                tos,
                hop_limit,
                label,
                options,
            } => {
                out.extend(0x86ddu16.to_be_bytes());
                let extension = usize::from(*options) * 8;
                out.extend(
                    (0x6000_0000 | u32::from(*tos) << 20 | (label & 0xf_ffff)).to_be_bytes(),
                );
                out.extend(((segment.len() + extension) as u16).to_be_bytes());
                out.extend([if *options > 0 { 60 } else { self.proto() }, *hop_limit]);
                out.extend(src);
                out.extend(dst);
                if *options > 0 {
                    let mut header = vec![0; extension];
                    header[0] = self.proto();
                    header[1] = *options - 1;
                    header[2] = 1; // PadN
                    header[3] = (extension - 4).min(255) as u8;
                    out.extend(header);
                }
            }
        }
        out.extend(segment);
        out.extend(vec![0xee; self.padding]);
        out
    }

    fn transport(&self, partial: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let checksum_at = match &self.l4 {
            L4::Tcp {
                src,
                dst,
                seq,
                ack,
                flags,
                window,
                options,
            } => {
                out.extend(src.to_be_bytes());
                out.extend(dst.to_be_bytes());
                out.extend(seq.to_be_bytes());
                out.extend(ack.to_be_bytes());
                let words = (20 + options.len()) as u16 / 4;
                out.extend((words << 12 | (flags & 0xfff)).to_be_bytes());
                out.extend(window.to_be_bytes());
                out.extend([0; 4]);
                out.extend(options);
                Some(16)
            }
            L4::Udp { src, dst, checksum } => {
                out.extend(src.to_be_bytes());
                out.extend(dst.to_be_bytes());
                out.extend((8 + self.payload.len() as u16).to_be_bytes());
                out.extend([0; 2]);
                checksum.then_some(6)
            }
            L4::Sctp { src, dst, tag } => {
                out.extend(src.to_be_bytes());
                out.extend(dst.to_be_bytes());
                out.extend(tag.to_be_bytes());
                out.extend([0; 4]);
                None
            }
            L4::Icmp { kind, code, rest } => {
                out.extend([*kind, *code, 0, 0]);
                out.extend(rest);
                Some(2)
            }
            L4::Other(_) => None,
        };
        out.extend(&self.payload);
        if let Some(at) = checksum_at {
            let pseudo = self.pseudo_header(out.len() as u32);
            let mut field = if partial {
                oracle_checksum(&[&pseudo]).map(|byte| !byte)
            } else {
                oracle_checksum(&[&pseudo, &out])
            };
            if self.proto() == 17 && !partial && field == [0, 0] {
                field = [0xff, 0xff];
            }
            out[at..at + 2].copy_from_slice(&field);
        }
        if matches!(self.l4, L4::Sctp { .. }) {
            let crc = bitwise_crc32c(&out);
            out[8..12].copy_from_slice(&crc.to_le_bytes());
        }
        out
    }

    fn pseudo_header(&self, len: u32) -> Vec<u8> {
        let mut out = Vec::new();
        match (&self.ip, self.proto()) {
            (_, 1) => return out,
            (Ip::V4 { src, dst, .. }, _) => {
                out.extend(src);
                out.extend(dst);
            }
            (Ip::V6 { src, dst, .. }, _) => {
                out.extend(src);
                out.extend(dst);
            }
        }
        out.extend(len.to_be_bytes());
        out.extend([0, 0, 0, self.proto()]);
        out
    }
}

/// So many cases; a failing one is printed whole, so no file need remember it.
pub fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        max_global_rejects: 100_000,
        ..ProptestConfig::default()
    }
}

/// The Internet checksum by etherparse.
pub fn oracle_checksum(parts: &[&[u8]]) -> [u8; 2] {
    let joined = parts.concat();
    Sum16BitWords::new()
        .add_slice(&joined)
        .ones_complement()
        .to_ne_bytes()
}

/// CRC32c one bit at a time.
pub fn bitwise_crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

pub fn frames() -> impl Strategy<Value = Frame> {
    let tag = (prop_oneof![Just(0x8100u16), Just(0x88a8)], any::<u16>());
    (
        any::<[u8; 6]>(),
        any::<[u8; 6]>(),
        prop::collection::vec(tag, 0..=2),
        ips(),
        transports(),
        prop::collection::vec(any::<u8>(), 0..120),
        0usize..20,
    )
        .prop_map(|(eth_dst, eth_src, tags, ip, l4, payload, padding)| Frame {
            eth_dst,
            eth_src,
            tags,
            ip,
            l4,
            payload,
            padding,
        })
}

pub fn ips() -> impl Strategy<Value = Ip> {
    let options = (0usize..4).prop_map(|words| vec![1; words * 4]);
    let v4 = (
        any::<[u8; 4]>(),
        any::<[u8; 4]>(),
        any::<u8>(),
        any::<u8>(),
        any::<u16>(),
        prop_oneof![Just(0u16), Just(0x4000)],
        options,
    )
        .prop_map(|(src, dst, tos, ttl, id, flags_offset, options)| Ip::V4 {
            src,
            dst,
            tos,
            ttl,
            id,
            flags_offset,
            options,
        });
    let v6 = (
        any::<[u8; 16]>(),
        any::<[u8; 16]>(),
        any::<u8>(),
        any::<u8>(),
        0u32..1 << 20,
        prop_oneof![4 => Just(0u8), 1 => 1u8..3],
    )
        .prop_map(|(src, dst, tos, hop_limit, label, options)| Ip::V6 {
            src,
            dst,
            tos,
            hop_limit,
            label,
            options,
        });
    prop_oneof![v4, v6]
}

pub fn transports() -> impl Strategy<Value = L4> {
    let options = (0usize..4).prop_map(|words| vec![1; words * 4]);
    let tcp = (
        any::<u16>(),
        any::<u16>(),
        any::<u32>(),
        any::<u32>(),
        any::<u16>(),
        any::<u16>(),
        options,
    )
        .prop_map(|(src, dst, seq, ack, flags, window, options)| L4::Tcp {
            src,
            dst,
            seq,
            ack,
            flags,
            window,
            options,
        });
    prop_oneof![
        4 => tcp,
        4 => (any::<u16>(), any::<u16>(), any::<bool>())
            .prop_map(|(src, dst, checksum)| L4::Udp { src, dst, checksum }),
        1 => (any::<u16>(), any::<u16>(), any::<u32>())
            .prop_map(|(src, dst, tag)| L4::Sctp { src, dst, tag }),
        2 => (any::<u8>(), any::<u8>(), any::<[u8; 4]>())
            .prop_map(|(kind, code, rest)| L4::Icmp { kind, code, rest }),
        1 => prop_oneof![Just(2u8), Just(47), Just(50), Just(112)].prop_map(L4::Other),
    ]
}

/// A well-formed frame, or one with bytes changed and its end cut off.
pub fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let broken = (
        frames(),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(frame, changes, end, cut)| {
            let mut bytes = frame.build();
            for (at, value) in changes {
                // Most interesting bytes are in the headers.
                let at = at.index(bytes.len().min(90));
                bytes[at] = value;
            }
            if cut {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes
        });
    prop_oneof![
        2 => frames().prop_map(|frame| frame.build()),
        3 => broken,
        1 => prop::collection::vec(any::<u8>(), 0..100),
    ]
}
