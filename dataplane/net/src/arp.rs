//! ARP requests and replies (RFC 826), gratuitous ones too (RFC 5227 3).

use zerocopy::IntoBytes;

use crate::MacAddr;
use crate::headers::{Arp, Ethernet, ethertype};

/// Bytes of an ARP frame without tag and padding.
pub const FRAME_LEN: usize = Ethernet::LEN + Arp::LEN;

/// ARP operation: who has an address?
pub const REQUEST: u16 = 1;
/// ARP operation: I have it.
pub const REPLY: u16 = 2;

/// Asks all stations for the owner of an address.
pub fn request(mac: MacAddr, address: [u8; 4], wanted: [u8; 4]) -> [u8; FRAME_LEN] {
    frame(
        MacAddr::BROADCAST,
        Arp {
            operation: REQUEST.into(),
            sender_mac: mac,
            sender_ip: address,
            target_mac: MacAddr::ZERO,
            target_ip: wanted,
            ..ETHERNET_IPV4
        },
    )
}

/// Tells the one who asked that `address` is at `mac`.
pub fn reply(
    mac: MacAddr,
    address: [u8; 4],
    asker_mac: MacAddr,
    asker: [u8; 4],
) -> [u8; FRAME_LEN] {
    frame(
        asker_mac,
        Arp {
            operation: REPLY.into(),
            sender_mac: mac,
            sender_ip: address,
            target_mac: asker_mac,
            target_ip: asker,
            ..ETHERNET_IPV4
        },
    )
}

/// Tells all stations that `address` is at `mac` (a gratuitous request, RFC 5227 3).
pub fn announce(mac: MacAddr, address: [u8; 4]) -> [u8; FRAME_LEN] {
    request(mac, address, address)
}

const ETHERNET_IPV4: Arp = Arp {
    hardware: zerocopy::big_endian::U16::from_bytes([0, 1]),
    protocol: zerocopy::big_endian::U16::from_bytes(ethertype::IPV4.to_be_bytes()),
    hardware_len: 6,
    protocol_len: 4,
    operation: zerocopy::big_endian::U16::ZERO,
    sender_mac: MacAddr::ZERO,
    sender_ip: [0; 4],
    target_mac: MacAddr::ZERO,
    target_ip: [0; 4],
};

fn frame(to: MacAddr, arp: Arp) -> [u8; FRAME_LEN] {
    let ethernet = Ethernet {
        dst: to,
        src: arp.sender_mac,
        ethertype: ethertype::ARP.into(),
    };
    let mut bytes = [0; FRAME_LEN];
    let (front, back) = bytes.split_at_mut(Ethernet::LEN);
    front.copy_from_slice(ethernet.as_bytes());
    back.copy_from_slice(arp.as_bytes());
    bytes
}
