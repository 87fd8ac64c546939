//! Neighbour discovery: solicitations and advertisements (RFC 4861 4.3, 4.4, 7.2).

use zerocopy::big_endian::U16;
use zerocopy::{Immutable, IntoBytes, Unaligned};

use crate::MacAddr;
use crate::csum;
use crate::headers::{Ethernet, Ipv6, ethertype, proto};

/// Bytes of a solicitation or advertisement with its link-layer address option.
pub const FRAME_LEN: usize = Ethernet::LEN + Ipv6::LEN + MESSAGE_LEN;

/// Neighbour solicitation, ICMPv6 type.
pub const SOLICITATION: u8 = 135;
/// Neighbour advertisement, ICMPv6 type.
pub const ADVERTISEMENT: u8 = 136;

/// Flags of an advertisement (RFC 4861 4.4).
pub mod flags {
    /// The sender is a router.
    pub const ROUTER: u8 = 0x80;
    /// It answers a solicitation.
    pub const SOLICITED: u8 = 0x40;
    /// It replaces what is known.
    pub const OVERRIDE: u8 = 0x20;
}

/// Asks the solicited-node group of `wanted` for its owner.
pub fn solicitation(mac: MacAddr, address: [u8; 16], wanted: [u8; 16]) -> [u8; FRAME_LEN] {
    let group = solicited_node(wanted);
    frame(
        (multicast_mac(group), mac),
        (address, group),
        Message {
            kind: SOLICITATION,
            code: 0,
            checksum: U16::ZERO,
            flags: 0,
            reserved: [0; 3],
            target: wanted,
            option: 1,
            units: 1,
            mac,
        },
    )
}

/// Tells `asker` that `address` is at `mac`. Sent to all nodes if the asker has no address
/// (duplicate address detection, RFC 4861 7.2.4), and then not marked as solicited.
pub fn advertisement(
    mac: MacAddr,
    address: [u8; 16],
    asker_mac: MacAddr,
    asker: [u8; 16],
    router: bool,
) -> [u8; FRAME_LEN] {
    let unspecified = asker == [0; 16];
    let (to_mac, to) = if unspecified {
        (multicast_mac(ALL_NODES), ALL_NODES)
    } else {
        (asker_mac, asker)
    };
    let mut bits = flags::OVERRIDE;
    if !unspecified {
        bits |= flags::SOLICITED;
    }
    if router {
        bits |= flags::ROUTER;
    }
    frame(
        (to_mac, mac),
        (address, to),
        Message {
            kind: ADVERTISEMENT,
            code: 0,
            checksum: U16::ZERO,
            flags: bits,
            reserved: [0; 3],
            target: address,
            option: 2,
            units: 1,
            mac,
        },
    )
}

/// Tells all nodes that `address` is at `mac`, unasked (RFC 4861 7.2.6).
pub fn announce(mac: MacAddr, address: [u8; 16], router: bool) -> [u8; FRAME_LEN] {
    advertisement(mac, address, MacAddr::ZERO, [0; 16], router)
}

/// The group in which the owner of an address listens (RFC 4291 2.7.1).
pub fn solicited_node(address: [u8; 16]) -> [u8; 16] {
    let [.., a, b, c] = address;
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]
}

/// The Ethernet address of an IPv6 group (RFC 2464 7).
pub fn multicast_mac(group: [u8; 16]) -> MacAddr {
    let [.., a, b, c, d] = group;
    MacAddr([0x33, 0x33, a, b, c, d])
}

const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const MESSAGE_LEN: usize = 32;

#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Message {
    kind: u8,
    code: u8,
    checksum: U16,
    flags: u8,
    reserved: [u8; 3],
    target: [u8; 16],
    option: u8,
    units: u8,
    mac: MacAddr,
}

fn frame(
    (to_mac, from_mac): (MacAddr, MacAddr),
    (src, dst): ([u8; 16], [u8; 16]),
    mut message: Message,
) -> [u8; FRAME_LEN] {
    let ethernet = Ethernet {
        dst: to_mac,
        src: from_mac,
        ethertype: ethertype::IPV6.into(),
    };
    let ip = Ipv6 {
        version_class_label: 0x6000_0000.into(),
        payload_len: (MESSAGE_LEN as u16).into(),
        next_header: proto::ICMPV6,
        // Receivers refuse anything else: it proves that no router forwarded it.
        hop_limit: 255,
        src,
        dst,
    };
    let sum = csum::pseudo_ipv6(&src, &dst, proto::ICMPV6, MESSAGE_LEN as u32)
        .bytes(message.as_bytes())
        .checksum();
    message.checksum.set(sum);
    let mut bytes = [0; FRAME_LEN];
    let (front, rest) = bytes.split_at_mut(Ethernet::LEN);
    let (middle, back) = rest.split_at_mut(Ipv6::LEN);
    front.copy_from_slice(ethernet.as_bytes());
    middle.copy_from_slice(ip.as_bytes());
    back.copy_from_slice(message.as_bytes());
    bytes
}
