//! What a device cannot do, the port does: frames leave cut to size and with checksums that an
//! independent parser finds right.

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use packet::{Csum, Gso, Packet, Pool};
use ports::mem::MemPort;
use ports::{Burst, Caps, Port, PortControl};
use proptest::prelude::*;
use std::sync::Arc;

const SEQ: u32 = 0xffff_f000; // wraps within the frame

#[derive(Clone, Copy, Debug)]
struct Shape {
    v6: bool,
    udp: bool,
    tags: usize,
    payload: usize,
    size: u16,
}

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i % 253) as u8).collect()
}

/// Length of the headers up to TCP or UDP.
fn l4(shape: Shape) -> usize {
    14 + 4 * shape.tags + if shape.v6 { 40 } else { 20 }
}

fn transport_len(shape: Shape) -> usize {
    if shape.udp { 8 } else { 20 }
}

/// The frame as a kernel hands it over: the checksum field holds the pseudo-header's sum.
fn large_frame(pool: &Pool, shape: Shape) -> Packet {
    let payload = pattern(shape.payload);
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let mut bytes = Vec::new();
    macro_rules! finish {
        ($ip:expr) => {
            match shape.udp {
                true => $ip.udp(1000, 53).write(&mut bytes, &payload),
                false => $ip
                    .tcp(1000, 80, SEQ, 900)
                    .psh()
                    .fin()
                    .write(&mut bytes, &payload),
            }
        };
    }
    let outer_len = match shape.v6 {
        true => finish!(builder.ipv6([1; 16], [2; 16], 9)),
        false => finish!(builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9)),
    };
    outer_len.unwrap();
    for _ in 0..shape.tags {
        bytes.splice(12..12, [0x81, 0, 0, 100]);
    }
    let start = l4(shape);
    let offset = if shape.udp { 6 } else { 16 };
    let sum = pseudo_sum(shape);
    bytes[start + offset..start + offset + 2].copy_from_slice(&sum.to_be_bytes());
    let mut packet = Packet::from_slice(pool, &bytes).unwrap();
    let meta = packet.meta_mut();
    meta.csum = Csum::Partial;
    meta.csum_start = start as u16;
    meta.csum_offset = offset as u16;
    meta.gso = match (shape.udp, shape.v6) {
        (true, _) => Gso::Udp,
        (false, false) => Gso::Tcp4,
        (false, true) => Gso::Tcp6,
    };
    meta.gso_size = shape.size;
    meta.hdr_len = (start + transport_len(shape)) as u16;
    packet
}

/// RFC 9293 3.1, RFC 8200 8.1, spelled out.
fn pseudo_sum(shape: Shape) -> u16 {
    let len = (transport_len(shape) + shape.payload) as u32;
    let protocol = if shape.udp { 17 } else { 6 };
    let addresses = match shape.v6 {
        true => 8 * 0x0101 + 8 * 0x0202,
        false => 2 * 0x0a00 + 1 + 2,
    };
    let mut sum = addresses + protocol + (len >> 16) + (len & 0xffff);
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

fn send(packet: Packet, caps: Caps) -> (Vec<Packet>, Arc<dyn PortControl>, usize) {
    let (mut port, wire) = MemPort::new("out", caps);
    let mut burst = Burst::new();
    burst.push(packet);
    let lost = port.tx(&mut burst);
    assert!(burst.is_empty());
    (wire.collect_all(), Arc::clone(port.control()), lost)
}

/// Checks one finished frame and returns its payload.
fn check_frame(frame: &[u8], shape: Shape, at: usize, last: bool) -> Vec<u8> {
    let parsed = SlicedPacket::from_ethernet(frame).unwrap();
    assert_eq!(parsed.vlan_ids().len(), shape.tags);
    let (mut v4, mut v6) = (None, None);
    match parsed.net.unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            v4 = Some(header);
        }
        NetSlice::Ipv6(ip) => v6 = Some(ip.header().to_header()),
        NetSlice::Arp(_) => panic!("not an IP packet"),
    }
    let (found, right, payload) = match parsed.transport.unwrap() {
        TransportSlice::Tcp(tcp) => {
            let header = tcp.to_header();
            assert_eq!(header.sequence_number, SEQ.wrapping_add(at as u32));
            assert_eq!(
                (header.psh, header.fin),
                (last, last),
                "only the last one pushes"
            );
            let payload = tcp.payload();
            let right = match (&v4, &v6) {
                (Some(ip), _) => header.calc_checksum_ipv4(ip, payload).unwrap(),
                (_, Some(ip)) => header.calc_checksum_ipv6(ip, payload).unwrap(),
                _ => unreachable!(),
            };
            (header.checksum, right, payload.to_vec())
        }
        TransportSlice::Udp(udp) => {
            let header = udp.to_header();
            let payload = udp.payload();
            let right = match (&v4, &v6) {
                (Some(ip), _) => header.calc_checksum_ipv4(ip, payload).unwrap(),
                (_, Some(ip)) => header.calc_checksum_ipv6(ip, payload).unwrap(),
                _ => unreachable!(),
            };
            (header.checksum, right, payload.to_vec())
        }
        _ => panic!("not TCP or UDP"),
    };
    assert_eq!(found, right, "checksum");
    payload
}

fn shapes() -> impl Strategy<Value = Shape> {
    let flags = (any::<bool>(), any::<bool>(), 0..=2usize);
    (flags, 1..64_000usize, 400..1448u16).prop_map(|((v6, udp, tags), payload, size)| Shape {
        v6,
        udp,
        tags,
        payload,
        size,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_large_frame_leaves_as_correct_frames_that_add_up_to_it(
        shape in shapes(),
        room in prop_oneof![Just(300usize), Just(2048)],
    ) {
        let pool = Pool::heap(room);
        let (frames, control, lost) = send(large_frame(&pool, shape), Caps::default());
        prop_assert_eq!(lost, 0);
        prop_assert_eq!(frames.len(), shape.payload.div_ceil(shape.size.into()));
        prop_assert_eq!(control.stats().tx_packets, frames.len() as u64);
        let mut sent = Vec::new();
        for (i, frame) in frames.iter().enumerate() {
            prop_assert_eq!(frame.meta().gso, Gso::None);
            prop_assert!(frame.meta().csum != Csum::Partial);
            let last = i + 1 == frames.len();
            sent.extend(check_frame(&frame.to_vec(), shape, sent.len(), last));
        }
        prop_assert_eq!(sent, pattern(shape.payload));
        drop(frames);
        prop_assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn an_open_checksum_is_finished_wherever_the_segments_break(
        v6: bool, udp: bool, payload in 0..1400usize, room in 40..200usize,
    ) {
        let shape = Shape { v6, udp, tags: 0, payload, size: 1448 };
        let pool = Pool::heap(room);
        let mut packet = large_frame(&pool, shape);
        packet.meta_mut().gso = Gso::None;
        let (frames, _, _) = send(packet, Caps::default());
        prop_assert_eq!(frames.len(), 1);
        prop_assert_eq!(check_frame(&frames[0].to_vec(), shape, 0, true), pattern(payload));
    }
}

const TCP: Shape = Shape {
    v6: false,
    udp: false,
    tags: 0,
    payload: 10_000,
    size: 1448,
};

#[test]
fn a_port_that_can_gets_the_frame_whole_and_open() {
    let pool = Pool::heap(2048);
    let caps = Caps {
        csum: true,
        tso: true,
        uso: false,
    };
    let (frames, _, _) = send(large_frame(&pool, TCP), caps);
    assert_eq!(frames.len(), 1);
    assert_eq!(
        (frames[0].meta().csum, frames[0].meta().gso),
        (Csum::Partial, Gso::Tcp4)
    );
    let udp = Shape { udp: true, ..TCP };
    let (frames, _, _) = send(large_frame(&pool, udp), caps);
    assert_eq!(frames.len(), 7, "it cannot cut UDP");
    let open = |frame: &Packet| frame.meta().csum == Csum::Partial && frame.meta().csum_start == 34;
    assert!(frames.iter().all(open), "checksums are left to the device");
}

#[test]
fn what_is_in_a_tunnel_is_finished_here_whatever_the_device_can() {
    let pool = Pool::heap(2048);
    let mut packet = large_frame(&pool, TCP);
    packet.meta_mut().gso = Gso::None;
    let bytes = packet.len();
    packet.prepend(50).unwrap().fill(0);
    packet.meta_mut().tunnel_len = 50;
    let caps = Caps {
        csum: true,
        tso: true,
        uso: true,
    };
    let (frames, _, _) = send(packet, caps);
    assert_eq!(
        (frames[0].len(), frames[0].meta().csum),
        (bytes + 50, Csum::Valid)
    );
    check_frame(&frames[0].to_vec()[50..], TCP, 0, true);
}

#[test]
fn a_frame_that_cannot_be_cut_or_finished_is_an_error_and_a_dry_pool_a_drop() {
    let pool = Pool::heap(2048);
    let mut packet = large_frame(&pool, TCP);
    packet.meta_mut().gso_size = 0;
    let (frames, control, lost) = send(packet, Caps::default());
    assert_eq!((frames.len(), lost, control.stats().tx_errors), (0, 1, 1));
    let mut packet = large_frame(&pool, TCP);
    packet.meta_mut().gso = Gso::None;
    packet.truncate(40); // the checksum field is gone
    let (_, control, _) = send(packet, Caps::default());
    assert_eq!(control.stats().tx_errors, 1);

    let dry = Pool::heap_limited(2048, 8); // the frame takes five, three segments fit
    let (frames, control, lost) = send(large_frame(&dry, TCP), Caps::default());
    assert_eq!((frames.len(), lost, control.stats().tx_dropped), (3, 1, 1));
    drop(frames);
    assert_eq!(dry.in_use(), 0);
}
