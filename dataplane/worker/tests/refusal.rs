//! `reject`: who sent the packet is told, out of the port that it came in by.

mod common;

use common::*;
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use net::PortNo;
use openflow::{Action, Field};
use worker::DropReason;

const CLIENT: [u8; 4] = [10, 0, 0, 1];
const SERVICE: [u8; 4] = [10, 96, 0, 10];
const CLIENT6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const SERVICE6: [u8; 16] = [0xfd, 0x96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

fn rig() -> Rig {
    let mut rig = Rig::new(2);
    rig.flow(0, 1, any(), vec![Action::Reject]);
    rig
}

fn ip(v6: bool) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    let ethernet = PacketBuilder::ethernet2(mac(1), mac(2));
    match v6 {
        true => ethernet.ipv6(CLIENT6, SERVICE6, 64),
        false => ethernet.ipv4(CLIENT, SERVICE, 64),
    }
}

/// A segment with sequence number 1000.
fn tcp(v6: bool, flags: &str, ack: u32, payload: &[u8]) -> Vec<u8> {
    let mut step = ip(v6).tcp(40_000, 80, 1000, 500);
    for flag in flags.chars() {
        step = match flag {
            'S' => step.syn(),
            'F' => step.fin(),
            'R' => step.rst(),
            _ => step.ack(ack),
        };
    }
    let mut frame = Vec::new();
    step.write(&mut frame, payload).unwrap();
    frame
}

fn datagram(v6: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let step = ip(v6).udp(5000, 53);
    step.write(&mut frame, payload).unwrap();
    frame
}

/// Addresses of both layers are the other way round than in what [`ip`] makes.
fn assert_turned(frame: &[u8], v6: bool) {
    check_sums(frame);
    assert_eq!(
        (&frame[..6], &frame[6..12]),
        (&mac(1)[..], &mac(2)[..]),
        "MAC addresses"
    );
    match SlicedPacket::from_ethernet(frame).unwrap().net.unwrap() {
        NetSlice::Ipv4(ip) if !v6 => {
            let header = ip.header();
            assert_eq!((header.source(), header.destination()), (SERVICE, CLIENT));
        }
        NetSlice::Ipv6(ip) if v6 => {
            let header = ip.header();
            assert_eq!((header.source(), header.destination()), (SERVICE6, CLIENT6));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn tcp_is_reset_as_by_a_host_without_such_a_connection() {
    let mut rig = rig();
    for v6 in [false, true] {
        // Flags and acknowledgment number of what is sent; those of the reset, and its sequence.
        for (flags, payload, answer) in [
            ("S", &b""[..], Some((true, 0, 1001))),
            ("S", b"fast open", Some((true, 0, 1010))),
            ("F", b"", Some((true, 0, 1001))),
            ("A", b"data", Some((false, 7777, 0))),
            ("SA", b"", Some((false, 7777, 0))),
            ("R", b"", None),
            ("RA", b"", None),
        ] {
            rig.send(1, &tcp(v6, flags, 7777, payload));
            let got = rig.out(1);
            let Some((acks, seq, ack)) = answer else {
                assert!(got.is_empty(), "a reset is answered");
                continue;
            };
            let [frame] = &got[..] else {
                panic!("{flags}: {got:?}")
            };
            assert_turned(frame, v6);
            let sliced = SlicedPacket::from_ethernet(frame).unwrap();
            let Some(TransportSlice::Tcp(reset)) = sliced.transport else {
                panic!("{sliced:?}")
            };
            assert_eq!(
                (reset.source_port(), reset.destination_port()),
                (80, 40_000)
            );
            assert!(reset.rst() && !reset.syn() && !reset.fin());
            assert_eq!(reset.ack(), acks, "{flags}");
            let numbers = (reset.sequence_number(), reset.acknowledgment_number());
            assert_eq!(numbers, (seq, ack), "{flags}");
        }
    }
    assert!(rig.out(2).is_empty());
    assert_eq!(rig.dropped(DropReason::Rejected), 14);
}

#[test]
fn others_are_told_that_the_port_cannot_be_reached() {
    let mut rig = rig();
    let mut sctp = Vec::new();
    let step = ip(false);
    step.write(&mut sctp, etherparse::IpNumber::SCTP, &[0x1f; 16])
        .unwrap();
    for (v6, frame) in [
        (false, datagram(false, b"?")),
        (true, datagram(true, b"?")),
        (false, sctp),
    ] {
        rig.send(1, &frame);
        let error = rig.only(1);
        assert_turned(&error, v6);
        let sliced = SlicedPacket::from_ethernet(&error).unwrap();
        let (kind, quoted) = match sliced.transport {
            Some(TransportSlice::Icmpv4(icmp)) => {
                ((icmp.type_u8(), icmp.code_u8()), icmp.payload().to_vec())
            }
            Some(TransportSlice::Icmpv6(icmp)) => {
                assert!(icmp.is_checksum_valid(SERVICE6, CLIENT6));
                ((icmp.type_u8(), icmp.code_u8()), icmp.payload().to_vec())
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(kind, if v6 { (1, 4) } else { (3, 3) });
        assert_eq!(quoted, frame[14..], "what it is about");
        // Nobody answers an error.
        rig.send(1, &error);
        assert!(rig.out(1).is_empty());
    }
    // Nor what is for many.
    let mut broadcast = datagram(false, b"?");
    broadcast[..6].fill(0xff);
    rig.send(1, &broadcast);
    assert!(rig.out(1).is_empty());
}

#[test]
fn the_answer_is_about_the_packet_as_it_came_with_its_tags() {
    let mut rig = Rig::new(2);
    let other_port = set(Field::TcpDst, 81u16);
    let to = any()
        .with(Field::EthType, 0x0800u16)
        .with(Field::IpProto, 6u8);
    let actions = vec![Action::PopVlan, other_port, Action::Reject];
    rig.flow(0, 1, to, actions);
    let mut frame = tcp(false, "S", 0, b"");
    frame.splice(12..12, [0x81, 0x00, 0x20, 0x64]);
    for seq in [1000u32, 5000] {
        // The second one by the cache.
        frame[42..46].copy_from_slice(&seq.to_be_bytes());
        rig.send(1, &frame);
        let answer = rig.only(1);
        assert_eq!(answer[12..16], [0x81, 0x00, 0x20, 0x64]);
        let sliced = SlicedPacket::from_ethernet(&answer).unwrap();
        let Some(TransportSlice::Tcp(reset)) = sliced.transport else {
            panic!("{sliced:?}")
        };
        assert_eq!(reset.source_port(), 80);
        assert_eq!(reset.acknowledgment_number(), seq + 1);
    }
    assert_eq!(rig.count(worker::Counter::CacheHits), 1);
    // Where it has been changed on its way already, it cannot be told what it was.
    let to = any()
        .with(Field::EthType, 0x0800u16)
        .with(Field::IpProto, 17u8);
    let other_host = set(Field::Ipv4Dst, 0x0a00_0009u32);
    rig.flow(0, 1, to, vec![other_host, output(2), Action::Reject]);
    rig.send(1, &datagram(false, b"?"));
    assert_eq!((rig.out(1).len(), rig.out(2).len()), (0, 1));
    assert_eq!(rig.dropped(DropReason::Unsupported), 1);
}

#[test]
fn no_more_than_a_thousand_a_second_are_told() {
    let mut rig = rig();
    let frame = datagram(false, b"?");
    for _ in 0..1100 {
        rig.send(1, &frame);
    }
    assert_eq!(rig.out(1).len(), 1000);
    assert_eq!(rig.dropped(DropReason::Rejected), 1100);
    rig.advance(1_000_000_000);
    rig.send(1, &frame);
    assert_eq!(rig.out(1).len(), 1);
    // As who does not know the action writes it.
    rig.add("table=0,priority=2,udp actions=note:00.53.4c.43.00.01");
    rig.send(1, &frame);
    assert_eq!(rig.out(1).len(), 1);
    // What came from nowhere is answered nowhere.
    rig.packet_out(PortNo::CONTROLLER, vec![Action::Reject], &frame);
    assert_eq!(rig.dropped(DropReason::NoPort), 1);
}
