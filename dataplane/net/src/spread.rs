//! Which worker a packet goes to, where that is chosen in software: a keyed hash of addresses and
//! ports that is the same for both directions of a connection.
//!
//! A packet in a Geneve or VXLAN tunnel is told by what is inside. A fragment is told by its addresses
//! alone, since only the first one of a datagram has ports.

use crate::headers::{Ethernet, Ipv4, Ipv6, VlanTag, ethertype, proto, view};

/// UDP ports of tunnels (RFC 8926, RFC 7348).
const GENEVE: u16 = 6081;
const VXLAN: u16 = 4789;

/// The hash of a frame; None if it has no addresses of its own to be told by.
///
/// `key` is secret, so that nobody outside can choose packets that all go to one worker.
pub fn hash(key: &[u64; 2], frame: &[u8]) -> Option<u32> {
    let outer = read(frame)?;
    let told_by = outer.inner.and_then(read).unwrap_or(outer);
    Some(told_by.hash(key))
}

/// What a frame is told by.
#[derive(Clone, Copy)]
struct Flow<'a> {
    source: ([u64; 2], u16),
    destination: ([u64; 2], u16),
    protocol: u8,
    /// The frame in the tunnel, if it is one.
    inner: Option<&'a [u8]>,
}

impl Flow<'_> {
    fn hash(&self, key: &[u64; 2]) -> u32 {
        let [secret, multiplier] = *key;
        let (low, high) = match self.source <= self.destination {
            true => (self.source, self.destination),
            false => (self.destination, self.source),
        };
        let ports = u64::from(low.1) << 16 | u64::from(high.1);
        let [a, b] = low.0;
        let [c, d] = high.0;
        let words = [a, b, c, d, ports << 8 | u64::from(self.protocol)];
        let mixed = words.into_iter().fold(secret, |state, word| {
            let product = u128::from(state ^ word) * u128::from(multiplier | 1);
            (product >> 64) as u64 ^ product as u64
        });
        // Once more, so that all bits of the last word reach those that are used.
        let product = u128::from(mixed) * u128::from(secret | 1);
        (product >> 64) as u32
    }
}

fn read(frame: &[u8]) -> Option<Flow<'_>> {
    let mut kind = view::<Ethernet>(frame, 0)?.ethertype.get();
    let mut at = Ethernet::LEN;
    for _ in 0..2 {
        if kind != ethertype::VLAN && kind != ethertype::QINQ {
            break;
        }
        kind = view::<VlanTag>(frame, at)?.ethertype.get();
        at += VlanTag::LEN;
    }
    let packet = frame.get(at..)?;
    match kind {
        ethertype::IPV4 => ipv4(packet),
        ethertype::IPV6 => ipv6(packet),
        _ => None,
    }
}

fn ipv4(packet: &[u8]) -> Option<Flow<'_>> {
    let header = view::<Ipv4>(packet, 0)?;
    let word = |address: [u8; 4]| [u64::from(u32::from_be_bytes(address)), 0];
    let length = usize::from(header.version_ihl & 0x0f) * 4;
    // More fragments follow, or came before: RFC 791, 3.1.
    let is_whole = header.fragment.get() & 0x3fff == 0;
    let payload = packet.get(length..).filter(|_| is_whole);
    Some(with_ports(
        (word(header.src), word(header.dst)),
        header.proto,
        payload.unwrap_or_default(),
    ))
}

fn ipv6(packet: &[u8]) -> Option<Flow<'_>> {
    let header = view::<Ipv6>(packet, 0)?;
    let words = |address: [u8; 16]| {
        let whole = u128::from_be_bytes(address);
        [(whole >> 64) as u64, whole as u64]
    };
    Some(with_ports(
        (words(header.src), words(header.dst)),
        header.next_header,
        packet.get(Ipv6::LEN..).unwrap_or_default(),
    ))
}

/// Ports behind a header, where the protocol has them.
fn with_ports<'a>(
    (source, destination): ([u64; 2], [u64; 2]),
    protocol: u8,
    payload: &'a [u8],
) -> Flow<'a> {
    let mut flow = Flow {
        source: (source, 0),
        destination: (destination, 0),
        protocol,
        inner: None,
    };
    let has_ports = matches!(protocol, proto::TCP | proto::UDP | proto::SCTP);
    if let Some([a, b, c, d]) = payload.first_chunk().filter(|_| has_ports) {
        let (from, to) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
        if protocol == proto::UDP && (to == GENEVE || to == VXLAN) {
            // Its source port is different in the two directions.
            flow.inner = inner(to, payload);
        } else {
            (flow.source.1, flow.destination.1) = (from, to);
        }
    }
    flow
}

/// The frame behind the headers of UDP and of a tunnel.
fn inner(port: u16, payload: &[u8]) -> Option<&[u8]> {
    let options = match port {
        // RFC 8926 3.4: version, and the options' length in multiples of four bytes.
        GENEVE => usize::from(payload.get(8)? & 0x3f) * 4,
        _ => 0,
    };
    payload.get(8 + 8 + options..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    const KEY: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

    fn udp(src: [u8; 4], dst: [u8; 4], ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(src, dst, 64)
            .udp(ports.0, ports.1)
            .write(&mut frame, payload)
            .unwrap();
        frame
    }

    fn udp6(src: [u8; 16], dst: [u8; 16], ports: (u16, u16)) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv6(src, dst, 64)
            .udp(ports.0, ports.1)
            .write(&mut frame, b"x")
            .unwrap();
        frame
    }

    #[test]
    fn both_directions_are_the_same_and_other_flows_are_spread() {
        let mut workers = [0; 4];
        for n in 0..1000_u16 {
            let [a, b] = n.to_be_bytes();
            let there = hash(&KEY, &udp([10, 0, a, b], [10, 9, 0, 1], (n, 53), b"x")).unwrap();
            let back = hash(&KEY, &udp([10, 9, 0, 1], [10, 0, a, b], (53, n), b"x")).unwrap();
            assert_eq!(there, back);
            let (p, q) = ([a, b, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7], [7; 16]);
            assert_eq!(
                hash(&KEY, &udp6(p, q, (n, 53))),
                hash(&KEY, &udp6(q, p, (53, n)))
            );
            workers[(there as usize * 4) >> 32] += 1;
        }
        assert!(workers.iter().all(|flows| *flows > 180), "{workers:?}");
        let other = hash(&[1, 2], &udp([10, 0, 0, 1], [10, 9, 0, 1], (1, 53), b"x"));
        assert_ne!(
            other,
            hash(&KEY, &udp([10, 0, 0, 1], [10, 9, 0, 1], (1, 53), b"x"))
        );
    }

    #[test]
    fn a_tag_changes_nothing_and_a_fragment_is_told_by_its_addresses() {
        let plain = udp([10, 0, 0, 1], [10, 9, 0, 1], (7, 53), b"x");
        let mut tagged = plain.clone();
        tagged.splice(12..12, [0x81, 0, 0, 5]);
        assert_eq!(hash(&KEY, &plain), hash(&KEY, &tagged));
        let fragment = |ports, bits: [u8; 2]| {
            let mut frame = udp([10, 0, 0, 1], [10, 9, 0, 1], ports, b"x");
            frame[20..22].copy_from_slice(&bits);
            hash(&KEY, &frame)
        };
        let first = fragment((7, 53), [0x20, 0]);
        assert_eq!(first, fragment((1, 2), [0, 9]));
        assert_ne!(first, hash(&KEY, &plain));
    }

    #[test]
    fn a_tunnel_is_told_by_what_is_inside() {
        let inside = udp([192, 168, 0, 1], [192, 168, 0, 2], (7, 53), b"x");
        let reply = udp([192, 168, 0, 2], [192, 168, 0, 1], (53, 7), b"x");
        let wrapped = |frame: &[u8], port: u16, words: u8, host: u8| {
            let mut payload = vec![0; 8 + 4 * usize::from(words)];
            payload[0] = words;
            payload.extend_from_slice(frame);
            udp(
                [172, 30, 0, host],
                [172, 30, 0, 3 - host],
                (1000 + u16::from(host), port),
                &payload,
            )
        };
        let expected = hash(&KEY, &inside);
        for frame in [
            wrapped(&inside, GENEVE, 0, 1),
            wrapped(&reply, GENEVE, 3, 2),
            wrapped(&inside, VXLAN, 0, 1),
        ] {
            assert_eq!(hash(&KEY, &frame), expected);
        }
        // What is inside cannot be told: both directions of the tunnel are one.
        let there = hash(&KEY, &wrapped(&[0; 40], GENEVE, 0, 1));
        assert_eq!(there, hash(&KEY, &wrapped(&[0; 40], GENEVE, 0, 2)));
    }

    #[test]
    fn other_frames_have_no_hash_and_none_is_too_short() {
        let mut arp = vec![0; 60];
        arp[12..14].copy_from_slice(&[8, 6]);
        assert_eq!(hash(&KEY, &arp), None);
        let frame = udp([10, 0, 0, 1], [10, 9, 0, 1], (7, GENEVE), &[0xff; 60]);
        for length in 0..frame.len() {
            // It may be told or not; it must not fail.
            let _ = hash(&KEY, &frame[..length]);
        }
    }
}
