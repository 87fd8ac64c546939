//! Segments of a large frame equal packets built one by one.

mod common;

use std::net::IpAddr;

use common::{Frame, Ip, L4};
use net::gso::{Kind, MAX_HEADER, NotSegmentable, Segmenter};
use net::tunnel::{Encapsulation, Outer, Template};
use net::{MacAddr, Vni, csum};
use proptest::prelude::*;

/// Cuts a frame, completes the segments' checksums and returns their bytes.
fn segment(frame: &[u8], csum_start: usize, kind: Kind, size: u16) -> Vec<Vec<u8>> {
    let head = &frame[..frame.len().min(400)];
    let mut segmenter = Segmenter::new(head, frame.len(), csum_start as u16, kind, size).unwrap();
    let mut header = [0; MAX_HEADER];
    let mut segments = vec![];
    loop {
        let remaining = segmenter.remaining();
        let Some(segment) = segmenter.next_into(&mut header) else {
            assert_eq!(remaining, 0);
            return segments;
        };
        assert_eq!(segmenter.remaining(), remaining - 1);
        let mut packet = header[..segment.header_len].to_vec();
        packet.extend(&frame[segment.payload]);
        let start = usize::from(segmenter.csum_start());
        assert_eq!(start, csum_start);
        let at = start + usize::from(segmenter.csum_offset());
        let sum = csum::complete([&packet[start..]]);
        packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        segments.push(packet);
    }
}

/// What the segments should be, each described and built by itself.
fn expected(frame: &Frame, size: u16) -> Vec<Vec<u8>> {
    let chunks: Vec<&[u8]> = if frame.payload.is_empty() {
        vec![&[]]
    } else {
        frame.payload.chunks(size.into()).collect()
    };
    let count = chunks.len();
    chunks
        .into_iter()
        .enumerate()
        .map(|(i, chunk)| {
            let mut part = frame.clone();
            part.payload = chunk.to_vec();
            part.padding = 0;
            if let Ip::V4 { id, .. } = &mut part.ip {
                *id = id.wrapping_add(i as u16);
            }
            if let L4::Tcp { seq, flags, .. } = &mut part.l4 {
                *seq = seq.wrapping_add(i as u32 * u32::from(size));
                if i > 0 {
                    *flags &= !0x80;
                }
                if i + 1 < count {
                    *flags &= !0x09;
                }
            }
            let mut bytes = part.build();
            let at = part.l4_offset() + if part.proto() == 6 { 16 } else { 6 };
            // Completion writes a checksum of zero as all ones; to a receiver they are equal.
            if bytes[at..at + 2] == [0, 0] {
                bytes[at..at + 2].copy_from_slice(&[0xff, 0xff]);
            }
            bytes
        })
        .collect()
}

fn large_frames() -> impl Strategy<Value = (Frame, Kind, u16)> {
    (
        common::frames(),
        any::<bool>(),
        any::<[u16; 2]>(),
        any::<[u32; 2]>(),
        prop_oneof![Just(0x010u16), Just(0x19), Just(0x99), Just(0x18)],
        0usize..4,
        prop::collection::vec(any::<u8>(), 0..6000),
        1u16..1500,
    )
        .prop_map(
            |(mut frame, tcp, ports, numbers, flags, options, payload, size)| {
                let [src, dst] = ports;
                frame.l4 = if tcp {
                    L4::Tcp {
                        src,
                        dst,
                        seq: numbers[0],
                        ack: numbers[1],
                        flags,
                        window: 77,
                        options: vec![1; options * 4],
                    }
                } else {
                    L4::Udp {
                        src,
                        dst,
                        checksum: true,
                    }
                };
                frame.payload = payload;
                let kind = if tcp { Kind::Tcp } else { Kind::Udp };
                (frame, kind, size)
            },
        )
}

/// The frame with a label, two of them or an I-TAG in front of what is behind its tags; and how many
/// bytes that adds.
fn shimmed(frame: &[u8], l3: usize, shim: u8) -> (Vec<u8>, usize) {
    let (addresses, tags) = (&frame[..12], &frame[12..l3 - 2]);
    let bytes = match shim {
        0 => [addresses, tags, &[0x88, 0x47, 0, 1, 1, 9], &frame[l3..]].concat(),
        1 => [
            addresses,
            tags,
            &[0x88, 0x47, 0, 1, 0, 9, 0, 1, 1, 9],
            &frame[l3..],
        ]
        .concat(),
        _ => [addresses, &[0x88, 0xe7, 0, 0, 0, 7], frame].concat(),
    };
    let added = bytes.len() - frame.len();
    (bytes, added)
}

proptest! {
    #![proptest_config(common::config(400))]

    #[test]
    fn segments_have_the_labels_of_their_frame((frame, kind, size) in large_frames(), shim in 0u8..3) {
        let (large, added) = shimmed(&frame.build_partial(), frame.l3(), shim);
        let segments = segment(&large, frame.l4_offset() + added, kind, size);
        let expected = expected(&frame, size).into_iter();
        let expected: Vec<_> = expected.map(|s| shimmed(&s, frame.l3(), shim).0).collect();
        prop_assert_eq!(segments, expected);
    }

    #[test]
    fn segments_equal_packets_built_one_by_one((frame, kind, size) in large_frames()) {
        let segments = segment(&frame.build_partial(), frame.l4_offset(), kind, size);
        prop_assert_eq!(segments, expected(&frame, size));
    }

    #[test]
    fn in_a_tunnel_every_segment_gets_outer_headers_of_its_own(
        (frame, kind, size) in large_frames(),
        geneve in any::<bool>(),
        v6 in any::<bool>(),
        vlan in prop::option::of(1u16..4095),
        with_checksum in any::<bool>(),
        id in any::<u16>(),
    ) {
        let template = template(geneve, v6, vlan);
        let inner = frame.build_partial();
        let mut packet = vec![0; template.len()];
        packet.extend(&inner);
        prop_assert!(template.write(&mut packet, inner.len(), 50_000, id));
        let csum_start = template.len() + frame.l4_offset();
        let csum_offset = if kind == Kind::Tcp { 16 } else { 6 };
        let (at, sum) = template
            .udp_checksum_over_partial(&packet, packet.len(), csum_start, csum_offset)
            .unwrap();
        if with_checksum {
            packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        let segments = segment(&packet, csum_start, kind, size);
        let expected: Vec<Vec<u8>> = expected(&frame, size)
            .into_iter()
            .enumerate()
            .map(|(i, inner)| {
                let mut packet = vec![0; template.len()];
                packet.extend(&inner);
                template.write(&mut packet, inner.len(), 50_000, id.wrapping_add(i as u16));
                if with_checksum {
                    let l4 = at - 6;
                    let (_, sum) = template.udp_checksum([&packet[l4..]]);
                    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
                }
                packet
            })
            .collect();
        prop_assert_eq!(segments, expected);
    }

    #[test]
    fn anything_called_a_large_frame_is_cut_or_refused(
        bytes in common::bytes(),
        start in 0u16..150,
        tcp in any::<bool>(),
        size in any::<u16>(),
    ) {
        let kind = if tcp { Kind::Tcp } else { Kind::Udp };
        let Ok(mut segmenter) = Segmenter::new(&bytes, bytes.len(), start, kind, size) else {
            return Ok(());
        };
        let mut header = [0; MAX_HEADER];
        while let Some(segment) = segmenter.next_into(&mut header) {
            prop_assert!(segment.payload.end <= bytes.len());
            prop_assert!(segment.payload.len() <= usize::from(size));
        }
    }
}

fn template(geneve: bool, v6: bool, vlan: Option<u16>) -> Template {
    let (src, dst): (IpAddr, IpAddr) = if v6 {
        ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap())
    } else {
        ([172, 30, 0, 1].into(), [172, 30, 0, 2].into())
    };
    Template::new(&Outer {
        encapsulation: if geneve {
            Encapsulation::Geneve
        } else {
            Encapsulation::Vxlan
        },
        eth_dst: MacAddr([2; 6]),
        eth_src: MacAddr([4; 6]),
        vlan,
        src,
        dst,
        tos: 0,
        ttl: 64,
        dont_fragment: true,
        vni: Vni::new(7).unwrap(),
        options: &[],
    })
    .unwrap()
}

fn largest() -> Frame {
    Frame {
        eth_dst: [2; 6],
        eth_src: [4; 6],
        tags: vec![],
        ip: Ip::V4 {
            src: [10, 0, 0, 1],
            dst: [10, 0, 0, 2],
            tos: 0,
            ttl: 64,
            id: 1,
            flags_offset: 0x4000,
            options: vec![],
        },
        l4: L4::Tcp {
            src: 1,
            dst: 2,
            seq: 0xffff_0000,
            ack: 0,
            flags: 0x18,
            window: 0,
            options: vec![],
        },
        payload: (0..65_495u32).map(|i| (i % 251) as u8).collect(),
        padding: 0,
    }
}

#[test]
fn a_frame_of_64_kib_in_a_tunnel_is_cut_though_its_outer_length_cannot_say_so() {
    let frame = largest();
    for (geneve, v6) in [(true, false), (true, true), (false, false)] {
        let template = template(geneve, v6, None);
        let inner = frame.build_partial();
        let mut packet = vec![0; template.len()];
        packet.extend(&inner);
        template.write(&mut packet, inner.len(), 50_000, 1);
        let csum_start = template.len() + 34;
        let segments = segment(&packet, csum_start, Kind::Tcp, 1400);
        assert_eq!(segments.len(), 47);
        let payloads: Vec<u8> = segments
            .iter()
            .flat_map(|segment| segment[csum_start + 20..].to_vec())
            .collect();
        assert_eq!(payloads, frame.payload);
        let inner: Vec<Vec<u8>> = segments
            .iter()
            .map(|segment| segment[template.len()..].to_vec())
            .collect();
        assert_eq!(inner, expected(&frame, 1400));
    }
}

#[test]
fn what_cannot_be_cut_is_refused_with_the_reason() {
    let frame = largest();
    let bytes = frame.build_partial();
    let refuse = |bytes: &[u8], start, kind, size| {
        Segmenter::new(bytes, bytes.len(), start, kind, size)
            .map(|_| ())
            .unwrap_err()
    };
    assert_eq!(refuse(&bytes, 34, Kind::Udp, 1400), NotSegmentable::Kind);
    assert_eq!(refuse(&bytes, 34, Kind::Tcp, 0), NotSegmentable::Size);
    assert_eq!(refuse(&bytes, 34, Kind::Tcp, 65_500), NotSegmentable::Size);
    assert_eq!(refuse(&bytes, 35, Kind::Tcp, 1400), NotSegmentable::Headers);
    assert_eq!(
        refuse(&bytes[..40], 34, Kind::Tcp, 9),
        NotSegmentable::Headers
    );
    let mut fragment = bytes.clone();
    fragment[20] = 0x20;
    assert_eq!(refuse(&fragment, 34, Kind::Tcp, 1400), NotSegmentable::Kind);
    let mut segmenter = Segmenter::new(&bytes, bytes.len(), 34, Kind::Tcp, 1400).unwrap();
    assert_eq!(
        segmenter.next_into(&mut [0; 53]),
        None,
        "too short a buffer"
    );
}
