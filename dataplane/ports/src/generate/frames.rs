//! The bytes of generated packets: a template, and what differs between flows.
// Offsets are into arrays of fixed length, which a packet is checked against first.
#![allow(clippy::indexing_slicing)]

use super::spec::{GenerateSpec, Mode};
use net::csum::{self, Sum};
use net::headers::{Ipv4, ethertype, proto};

/// Ethernet, IPv4 and the largest transport header, TCP's.
pub(super) const HEADERS: usize = 54;
/// Where the IPv4 and the transport header begin.
const L3: usize = 14;
/// UDP's own header and IPv4's, bytes.
const UDP: u16 = 8;
const IPV4: u16 = 20;
const TCP: u16 = 20;
/// Addresses of the two ends.
const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVER: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// First sequence number of every server, so that the client's acknowledgement needs no memory.
pub(super) const SERVER_ISN: u32 = 0x1000_0000;

/// TCP flags (RFC 9293 3.1).
pub(super) mod flag {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;
}

/// Addresses and ports of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tuple {
    pub src: u32,
    pub dst: u32,
    pub src_port: u16,
    pub dst_port: u16,
}

impl Tuple {
    /// The other direction.
    pub(super) fn reversed(self) -> Tuple {
        Tuple {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
        }
    }
}

/// One packet to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub tuple: Tuple,
    /// Comes from the server's side.
    pub is_reply: bool,
    /// TCP flags, sequence number and acknowledgement; not for UDP.
    pub tcp: (u8, u32, u32),
    /// IPv4's identification.
    pub id: u16,
}

/// Makes frames of one size and protocol.
pub(super) struct Frames {
    template: Vec<u8>,
    is_tcp: bool,
    /// Sum over the IPv4 header but for addresses and identification.
    header: Sum,
}

impl Frames {
    pub(super) fn new(spec: &GenerateSpec) -> Frames {
        let is_tcp = matches!(spec.mode, Mode::Tcp | Mode::Syn);
        let ip_len = spec.size - L3 as u16; // at least 60
        let mut head = [0; HEADERS];
        let [
            m0,
            m1,
            m2,
            m3,
            m4,
            m5,
            n0,
            n1,
            n2,
            n3,
            n4,
            n5,
            e0,
            e1,
            ip @ ..,
        ] = &mut head;
        [*m0, *m1, *m2, *m3, *m4, *m5] = SERVER;
        [*n0, *n1, *n2, *n3, *n4, *n5] = CLIENT;
        [*e0, *e1] = ethertype::IPV4.to_be_bytes();
        ip[0] = 0x45;
        // A fragment of a datagram twice as long is the first of it.
        let fragment = match spec.mode {
            Mode::Fragments => Ipv4::MORE_FRAGMENTS,
            _ => Ipv4::DONT_FRAGMENT,
        };
        // Payload of a fragment that is not the last: a multiple of 8 (RFC 791 3.2).
        let ip_len = match spec.mode {
            Mode::Fragments => IPV4 + (ip_len - IPV4) / 8 * 8,
            // No data; what follows is padding.
            Mode::Tcp | Mode::Syn => IPV4 + TCP,
            _ => ip_len,
        };
        [ip[2], ip[3]] = ip_len.to_be_bytes();
        [ip[6], ip[7]] = fragment.to_be_bytes();
        ip[8] = 64;
        ip[9] = if is_tcp { proto::TCP } else { proto::UDP };
        let header = ip.get(..usize::from(IPV4)).unwrap_or_default();
        let header = Sum::default().bytes(header);
        if is_tcp {
            ip[32] = 0x50;
            [ip[34], ip[35]] = 0xffff_u16.to_be_bytes();
        } else {
            let udp_len = match spec.mode {
                Mode::Fragments => (ip_len - IPV4) * 2,
                _ => spec.size - L3 as u16 - IPV4,
            };
            debug_assert!(udp_len >= UDP);
            // UDP's checksum stays 0: none (RFC 768).
            [ip[24], ip[25]] = udp_len.to_be_bytes();
        }
        let mut template = head.to_vec();
        template.resize(usize::from(spec.size), 0);
        Frames {
            template,
            is_tcp,
            header,
        }
    }

    /// Where a frame's payload begins; None: it has none.
    pub(super) fn payload(&self) -> Option<usize> {
        (!self.is_tcp).then_some(L3 + usize::from(IPV4 + UDP))
    }

    /// Bytes of a frame.
    pub(super) fn size(&self) -> usize {
        self.template.len()
    }

    /// Writes a frame into `out`; false if it is shorter than one.
    #[inline]
    pub(super) fn write(&self, next: &Next, out: &mut [u8]) -> bool {
        let Some(out) = out.get_mut(..self.template.len()) else {
            return false;
        };
        out.copy_from_slice(&self.template);
        let Some(head) = out.first_chunk_mut::<HEADERS>() else {
            return false;
        };
        let Tuple {
            src,
            dst,
            src_port,
            dst_port,
        } = next.tuple;
        if next.is_reply {
            for at in 0..6 {
                (head[at], head[at + 6]) = (CLIENT[at], SERVER[at]);
            }
        }
        [head[18], head[19]] = next.id.to_be_bytes();
        let [a, b, c, d] = src.to_be_bytes();
        let [e, f, g, h] = dst.to_be_bytes();
        [head[26], head[27], head[28], head[29]] = [a, b, c, d];
        [head[30], head[31], head[32], head[33]] = [e, f, g, h];
        let sum = self.header.word((src >> 16) as u16).word(src as u16);
        let sum = sum.word((dst >> 16) as u16).word(dst as u16).word(next.id);
        [head[24], head[25]] = sum.checksum().to_be_bytes();
        [head[34], head[35]] = src_port.to_be_bytes();
        [head[36], head[37]] = dst_port.to_be_bytes();
        if self.is_tcp {
            let (flags, seq, ack) = next.tcp;
            [head[38], head[39], head[40], head[41]] = seq.to_be_bytes();
            [head[42], head[43], head[44], head[45]] = ack.to_be_bytes();
            head[47] = flags;
            finish_tcp(head);
        }
        true
    }
}

/// Writes the checksum of a TCP segment without options and data.
fn finish_tcp(head: &mut [u8; HEADERS]) {
    [head[50], head[51]] = [0, 0];
    let (_, l4) = head.split_at(L3 + usize::from(IPV4));
    let src = [head[26], head[27], head[28], head[29]];
    let dst = [head[30], head[31], head[32], head[33]];
    let sum = csum::pseudo_ipv4(src, dst, proto::TCP, TCP.into()).bytes(l4);
    [head[50], head[51]] = sum.checksum().to_be_bytes();
}

/// Turns a packet into its answer, as a server without data would give it; false if there is none.
///
/// SYN gets SYN and ACK, FIN gets FIN and ACK, a plain ACK gets nothing; a UDP datagram goes back as it
/// is. Only untagged IPv4 without options.
pub(super) fn answer(frame: &mut [u8]) -> bool {
    let length = frame.len();
    let Some(head) = frame.first_chunk_mut::<42>() else {
        return false;
    };
    if head[12..14] != ethertype::IPV4.to_be_bytes() || head[14] != 0x45 {
        return false;
    }
    let is_tcp = head[23] == proto::TCP;
    if !is_tcp && head[23] != proto::UDP {
        return false;
    }
    for at in 0..6 {
        head.swap(at, at + 6);
    }
    for at in 26..30 {
        head.swap(at, at + 4);
    }
    // As a server sends it; one's complement sums do not care for the order of addresses.
    let old = [head[22], head[23]];
    head[22] = 64;
    let checksum = u16::from_be_bytes([head[24], head[25]]);
    let delta = csum::delta(&old, &[head[22], head[23]]);
    [head[24], head[25]] = csum::apply(checksum, delta).to_be_bytes();
    head.swap(34, 36);
    head.swap(35, 37);
    let ip_len = usize::from(u16::from_be_bytes([head[16], head[17]]));
    if !is_tcp {
        return true;
    }
    let Some(head) = frame.first_chunk_mut::<HEADERS>() else {
        return false;
    };
    let header = usize::from(head[46] >> 4) * 4;
    let Some(payload) = ip_len.checked_sub(usize::from(IPV4) + header) else {
        return false;
    };
    if header != 20 || ip_len + L3 > length {
        return false;
    }
    let flags = head[47];
    let seq = u32::from_be_bytes([head[38], head[39], head[40], head[41]]);
    let ack = u32::from_be_bytes([head[42], head[43], head[44], head[45]]);
    let reply = match flags & (flag::SYN | flag::FIN | flag::RST) {
        flag::SYN => flag::SYN | flag::ACK,
        flag::FIN => flag::FIN | flag::ACK,
        0 if payload > 0 => flag::ACK,
        _ => return false,
    };
    let begins = reply & flag::SYN != 0;
    let their = seq
        .wrapping_add(payload as u32)
        .wrapping_add(u32::from(reply != flag::ACK));
    [head[38], head[39], head[40], head[41]] =
        (if begins { SERVER_ISN } else { ack }).to_be_bytes();
    [head[42], head[43], head[44], head[45]] = their.to_be_bytes();
    head[47] = reply;
    // The answer carries no data.
    let old = [head[16], head[17]];
    [head[16], head[17]] = (IPV4 + TCP).to_be_bytes();
    let checksum = u16::from_be_bytes([head[24], head[25]]);
    let delta = csum::delta(&old, &[head[16], head[17]]);
    [head[24], head[25]] = csum::apply(checksum, delta).to_be_bytes();
    finish_tcp(head);
    true
}
