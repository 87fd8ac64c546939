//! Between a packet's meta data and the flags that drivers read and write.

use dpdk_sys as sys;
use packet::{Csum, Gso, Packet};

/// Flags that say how the mbuf's buffer is attached; they are not about the packet
/// (RTE_MBUF_F_EXTERNAL, RTE_MBUF_F_INDIRECT).
const BUFFER_FLAGS: u64 = 3 << 61;
/// The two Ethernet addresses; VLAN tags stand behind them.
const ADDRESSES: usize = 12;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
const ETHERTYPE_IPV4: u16 = 0x0800;
/// Where the checksum stands in a TCP header; in a UDP header it is 6.
const TCP_CSUM_OFFSET: u16 = 16;
const UDP_HEADER: u64 = 8;

/// Takes what the driver found out into the meta data, and stripped VLAN tags back into the frame.
/// False if there was no buffer for the tags.
#[inline]
pub(crate) fn apply_rx(packet: &mut Packet) -> bool {
    let flags = packet.mbuf().ol_flags;
    flags & !BUFFER_FLAGS == 0 || apply_flags(packet, flags)
}

#[inline(never)]
fn apply_flags(packet: &mut Packet, flags: u64) -> bool {
    // SAFETY: the buffer's flags are kept.
    unsafe { *packet.device_fields().ol_flags = flags & BUFFER_FLAGS };
    if flags & sys::DP_RX_L4_CKSUM_MASK == sys::DP_RX_L4_CKSUM_GOOD {
        packet.meta_mut().csum = Csum::Valid;
    }
    if flags & sys::DP_RX_RSS_HASH != 0 {
        packet.meta_mut().rss = packet.mbuf().rss;
    }
    let mut whole = true;
    if flags & sys::DP_RX_VLAN_STRIPPED != 0 {
        let tci = packet.mbuf().vlan_tci;
        whole = put_tag_back(packet, ETHERTYPE_VLAN, tci);
    }
    if flags & sys::DP_RX_QINQ_STRIPPED != 0 {
        let tci = packet.mbuf().vlan_tci_outer;
        whole = whole && put_tag_back(packet, ETHERTYPE_QINQ, tci);
    }
    whole
}

#[cold]
fn put_tag_back(packet: &mut Packet, tpid: u16, tci: u16) -> bool {
    let [a, b] = tpid.to_be_bytes();
    let [c, d] = tci.to_be_bytes();
    packet.insert(ADDRESSES, &[a, b, c, d])
}

/// Asks the device for what the meta data leaves open; True if it asks for anything.
#[inline]
pub(crate) fn request_tx(packet: &mut Packet) -> bool {
    match packet.meta().csum {
        Csum::Partial => request_checksum(packet),
        Csum::Unknown | Csum::Valid => false,
    }
}

#[inline(never)]
fn request_checksum(packet: &mut Packet) -> bool {
    let meta = *packet.meta();
    let Some((l2_len, ethertype)) = l2_header(packet.head()) else {
        return false;
    };
    let l3_len = u64::from(meta.csum_start).saturating_sub(l2_len as u64);
    let tcp = meta.csum_offset == TCP_CSUM_OFFSET;
    // Not all drivers do without the L4 length (net_tap does not).
    let l4_len = match tcp {
        true => tcp_header_len(packet.head(), usize::from(meta.csum_start)),
        false => UDP_HEADER,
    };
    let mut flags = match tcp {
        true => sys::DP_TX_TCP_CKSUM,
        false => sys::DP_TX_UDP_CKSUM,
    };
    flags |= match ethertype {
        ETHERTYPE_IPV4 => sys::DP_TX_IPV4,
        _ => sys::DP_TX_IPV6,
    };
    let mut segment = 0;
    if matches!(meta.gso, Gso::Tcp4 | Gso::Tcp6) {
        flags |= sys::DP_TX_TCP_SEG;
        segment = u64::from(meta.gso_size);
        if ethertype == ETHERTYPE_IPV4 {
            flags |= sys::DP_TX_IP_CKSUM; // each segment has an IPv4 header of its own
        }
    }
    // SAFETY: no preconditions: it packs four numbers.
    let lengths = unsafe { sys::dp_tx_offload(l2_len as u64, l3_len, l4_len, segment) };
    // SAFETY: only offload flags are added.
    let fields = unsafe { packet.device_fields() };
    *fields.ol_flags |= flags;
    *fields.tx_offload = lengths;
    true
}

/// Length of Ethernet header and VLAN tags, and the ethertype behind them.
fn l2_header(frame: &[u8]) -> Option<(usize, u16)> {
    let mut at = ADDRESSES;
    loop {
        let bytes = frame.get(at..at + 2)?;
        let ethertype = u16::from_be_bytes([bytes[0], bytes[1]]);
        at += 2;
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            return Some((at, ethertype));
        }
        at += 2;
    }
}

/// Length of the TCP header at `at`, from its data offset (RFC 9293, 3.1); 20 if that is cut off.
fn tcp_header_len(frame: &[u8], at: usize) -> u64 {
    frame
        .get(at + 12)
        .map_or(20, |byte| u64::from(byte >> 4) * 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::Pool;

    /// A packet as a driver would hand it over: `set` writes the mbuf's fields.
    fn received(bytes: &[u8], set: impl FnOnce(&mut packet::Mbuf)) -> Packet {
        let packet = Packet::from_slice(&Pool::heap(2048), bytes).unwrap();
        let mut raw = packet.into_raw();
        // SAFETY: the packet is ours, and `set` leaves its extents alone.
        unsafe {
            set(raw.as_mut());
            Packet::from_raw(raw)
        }
    }

    fn frame() -> Vec<u8> {
        (0..100).collect()
    }

    #[test]
    fn stripped_tags_are_put_back_outer_first() {
        let mut packet = received(&frame(), |mbuf| {
            mbuf.ol_flags = sys::DP_RX_VLAN_STRIPPED | sys::DP_RX_QINQ_STRIPPED;
            mbuf.vlan_tci = 0x2064; // priority 1, VLAN 100
            mbuf.vlan_tci_outer = 200;
        });
        assert!(apply_rx(&mut packet));
        let mut expected = frame();
        expected.splice(12..12, [0x88, 0xa8, 0, 200, 0x81, 0, 0x20, 0x64]);
        assert_eq!(packet.to_vec(), expected);
        assert_eq!(
            packet.mbuf().ol_flags,
            0,
            "what was found out is not asked for on tx"
        );
    }

    #[test]
    fn only_a_checksum_the_device_found_right_is_valid() {
        let bad = sys::DP_RX_L4_CKSUM_MASK & !sys::DP_RX_L4_CKSUM_GOOD;
        for (flags, expected) in [
            (0, Csum::Unknown),
            (sys::DP_RX_L4_CKSUM_GOOD, Csum::Valid),
            (bad, Csum::Unknown),
            (sys::DP_RX_L4_CKSUM_MASK, Csum::Unknown), // "none": right for the device, not checked
        ] {
            let mut packet = received(&frame(), |mbuf| mbuf.ol_flags = flags);
            assert!(apply_rx(&mut packet));
            assert_eq!(packet.meta().csum, expected, "flags {flags:#x}");
        }
        let mut packet = received(&frame(), |mbuf| {
            mbuf.ol_flags = sys::DP_RX_RSS_HASH;
            mbuf.rss = 77;
        });
        assert!(apply_rx(&mut packet));
        assert_eq!(packet.meta().rss, 77);
    }

    #[test]
    fn the_device_is_told_lengths_and_what_is_open() {
        let mut bytes = vec![0; 200];
        bytes[12..18].copy_from_slice(&[0x81, 0, 0, 100, 8, 0]);
        bytes[38 + 12] = 8 << 4; // a TCP header of 32 bytes at 38
        let mut packet = received(&bytes, |_| {});
        assert!(!request_tx(&mut packet), "nothing is open");
        let meta = packet.meta_mut();
        (meta.csum, meta.csum_start, meta.csum_offset) = (Csum::Partial, 38, 16);
        (meta.gso, meta.gso_size, meta.hdr_len) = (Gso::Tcp4, 1448, 70);
        assert!(request_tx(&mut packet));
        let expected =
            sys::DP_TX_TCP_CKSUM | sys::DP_TX_IPV4 | sys::DP_TX_TCP_SEG | sys::DP_TX_IP_CKSUM;
        assert_eq!(packet.mbuf().ol_flags, expected);
        // Bits 0-6, 7-15, 16-23, 24-39 of rte_mbuf.tx_offload (rte_mbuf_core.h).
        let lengths = 18 | 20 << 7 | 32 << 16 | 1448 << 24;
        assert_eq!(packet.mbuf().tx_offload, lengths);
    }
}
