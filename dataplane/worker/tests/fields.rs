//! Packets in, packets out: fields that say something of a packet's way through the switch, and those
//! that few packets have.

mod common;

use common::*;
use net::{PortNo, TableId};
use openflow::{Action, Field, Instructions};

#[test]
fn a_table_can_see_where_the_action_set_sends_to() {
    let mut rig = Rig::new(4);
    let write = |actions: Vec<Action>| Instructions {
        write: Some(actions),
        goto_table: Some(TableId(1)),
        ..Instructions::default()
    };
    let set_output = |port: PortNo| any().with(Field::ActsetOutput, port.0);
    rig.rule(0, 1, in_port(1), write(vec![output(2)]));
    rig.rule(0, 1, in_port(2), Instructions::drop().goto(TableId(1)));
    let grouped = vec![output(2), Action::Group(net::GroupId(1))];
    rig.group(1, openflow::model::GroupType::Indirect, vec![(0, vec![])]);
    rig.rule(0, 1, in_port(3), write(grouped));
    rig.flow(1, 1, set_output(PortNo(2)), vec![output(4)]);
    rig.flow(1, 1, set_output(PortNo::UNSET), vec![output(4), output(4)]);
    let frame = udp(1, 2, (5, 6), b"set");
    for (port, copies) in [(1, 1), (2, 2), (3, 2)] {
        rig.send(port, &frame);
        assert_eq!(rig.out(4).len(), copies, "from port {port}");
    }
}

#[test]
fn every_packet_is_an_ethernet_packet_from_some_physical_port() {
    let mut rig = Rig::new(2);
    let ethernet = in_port(1)
        .with(Field::PacketType, 0u8)
        .with(Field::InPhyPort, 1u8);
    rig.flow(0, 2, ethernet, vec![output(2)]);
    rig.flow(0, 1, any(), vec![output(1)]);
    let frame = udp(1, 2, (5, 6), b"ethernet");
    rig.send(1, &frame);
    assert_eq!(rig.only(2), frame);
}

/// A TCP packet over IPv6 with these extension headers, each of eight bytes.
fn extended(headers: &[u8]) -> Vec<u8> {
    let mut frame = [&mac(2)[..], &mac(1), &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
    let payload = headers.len() as u16 * 8 + 20;
    frame.extend(payload.to_be_bytes());
    frame.extend([headers.first().copied().unwrap_or(6), 64]);
    frame.extend([[0xfd; 16], [0xfe; 16]].concat());
    let nexts = headers.iter().skip(1).copied().chain([6]);
    for next in nexts.take(headers.len()) {
        frame.extend([next, 0, 0, 0, 0, 0, 0, 0]);
    }
    let mut tcp = [0; 20];
    tcp[12] = 0x50;
    frame.extend(tcp);
    frame
}

#[test]
fn extension_headers_are_seen_with_their_order() {
    const AUTH: u8 = 51;
    let v6 = || any().with(Field::EthType, 0x86ddu16);
    for (headers, bits) in [
        (&[][..], 0u16),
        (&[0], 0x40),
        (&[0, 60], 0x48),
        (&[0, 60, 43, 44, AUTH, 60], 0x40 | 0x08 | 0x20 | 0x10 | 0x04),
        (&[43, 0], 0x20 | 0x40 | 0x100),
        (&[44, 43], 0x10 | 0x20 | 0x100),
        (&[43, 43], 0x20 | 0x80),
        (&[0, 0], 0x40 | 0x80 | 0x100),
    ] {
        let mut rig = Rig::new(2);
        rig.flow(0, 2, v6().with(Field::Ipv6Exthdr, bits), vec![output(2)]);
        let missing = v6().with_masked(Field::Ipv6Exthdr, 0u16, 0x40u16);
        rig.flow(0, 1, missing.with(Field::IpProto, 6u8), vec![output(1)]);
        let frame = extended(headers);
        rig.send(1, &frame);
        assert_eq!(rig.only(2), frame, "{headers:?}");
    }
}
