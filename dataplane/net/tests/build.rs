//! Frames that we originate are what etherparse reads as right, checksums included.

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use common::{Frame, Ip, L4};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use net::icmp::{self, Problem};
use net::parse::{Layout, Transport, extract};
use net::tunnel::{Arrived, Encapsulation, Outer, Template, TunnelFault, arrived};
use net::{FlowKey, MacAddr, Vni, arp, csum, nd};
use proptest::prelude::*;

const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const THEIRS: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

fn parse(bytes: &[u8]) -> (FlowKey, Layout) {
    let mut key = FlowKey::default();
    let layout = extract(bytes, bytes.len(), &mut key).unwrap();
    assert_eq!(layout.malformed, None);
    (key, layout)
}

/// Panics unless every checksum in the packet is right.
fn check_sums(bytes: &[u8]) {
    let packet = SlicedPacket::from_ethernet(bytes).unwrap();
    match (&packet.net, &packet.transport) {
        (Some(NetSlice::Ipv4(ip)), transport) => {
            let header = ip.header();
            let right = header.to_header().calc_header_checksum();
            assert_eq!(header.header_checksum(), right);
            let (src, dst) = (header.source(), header.destination());
            match transport {
                Some(TransportSlice::Udp(udp)) => {
                    let header = udp.to_header();
                    let right = header
                        .calc_checksum_ipv4_raw(src, dst, udp.payload())
                        .unwrap();
                    assert!(header.checksum == right || header.checksum == 0);
                }
                Some(TransportSlice::Icmpv4(icmp)) => {
                    let right = icmp.icmp_type().calc_checksum(icmp.payload());
                    assert_eq!(icmp.checksum(), right);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        (Some(NetSlice::Ipv6(ip)), Some(transport)) => {
            let (src, dst) = (ip.header().source(), ip.header().destination());
            match transport {
                TransportSlice::Udp(udp) => {
                    let header = udp.to_header();
                    let right = header
                        .calc_checksum_ipv6_raw(src, dst, udp.payload())
                        .unwrap();
                    assert_eq!(header.checksum, right);
                }
                TransportSlice::Icmpv6(icmp) => assert!(icmp.is_checksum_valid(src, dst)),
                other => panic!("unexpected {other:?}"),
            }
        }
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn arp_frames_say_who_asks_and_who_answers() {
    let (key, _) = parse(&arp::request(OURS, [10, 0, 0, 1], [10, 0, 0, 2]));
    assert_eq!((key.nw_proto, key.eth_dst), (1, MacAddr::BROADCAST));
    assert_eq!(
        (key.nw_src.get(), key.nw_dst.get()),
        (0x0a00_0001, 0x0a00_0002)
    );
    assert_eq!((key.arp_sha, key.arp_tha), (OURS, MacAddr::ZERO));

    let (key, _) = parse(&arp::reply(OURS, [10, 0, 0, 1], THEIRS, [10, 0, 0, 2]));
    assert_eq!((key.nw_proto, key.eth_dst, key.eth_src), (2, THEIRS, OURS));
    assert_eq!((key.arp_sha, key.arp_tha), (OURS, THEIRS));

    let (key, _) = parse(&arp::announce(OURS, [10, 0, 0, 1]));
    assert_eq!(key.nw_src, key.nw_dst);
}

#[test]
fn neighbour_discovery_frames_go_where_the_specification_says() {
    let ours = "fd00::1:2:3".parse::<Ipv6Addr>().unwrap().octets();
    let wanted = "fd00::aabb:ccdd".parse::<Ipv6Addr>().unwrap().octets();
    let frame = nd::solicitation(OURS, ours, wanted);
    check_sums(&frame);
    let (key, _) = parse(&frame);
    assert_eq!(key.eth_dst.to_string(), "33:33:ff:bb:cc:dd");
    assert_eq!(
        Ipv6Addr::from(key.ipv6_dst).to_string(),
        "ff02::1:ffbb:ccdd"
    );
    assert_eq!((key.nd_target, key.arp_sha), (wanted, OURS));
    assert_eq!(key.nw_ttl, 255);

    let frame = nd::advertisement(OURS, ours, THEIRS, wanted, false);
    check_sums(&frame);
    let (key, layout) = parse(&frame);
    assert_eq!((key.eth_dst, key.ipv6_dst), (THEIRS, wanted));
    assert_eq!((key.nd_target, key.arp_tha), (ours, OURS));
    assert_eq!(frame[usize::from(layout.l4) + 4], 0x60);

    // To one without an address, and unasked: to all nodes, not solicited.
    for (frame, flags) in [
        (nd::advertisement(OURS, ours, THEIRS, [0; 16], true), 0xa0),
        (nd::announce(OURS, ours, false), 0x20),
    ] {
        check_sums(&frame);
        let (key, layout) = parse(&frame);
        assert_eq!(Ipv6Addr::from(key.ipv6_dst).to_string(), "ff02::1");
        assert_eq!(key.eth_dst.to_string(), "33:33:00:00:00:01");
        assert_eq!(frame[usize::from(layout.l4) + 4], flags);
    }
}

fn ping(v4: bool, kind: u8) -> Frame {
    Frame {
        eth_dst: OURS.0,
        eth_src: THEIRS.0,
        tags: vec![(0x8100, 5)],
        ip: if v4 {
            Ip::V4 {
                src: [10, 0, 0, 2],
                dst: [10, 0, 0, 1],
                tos: 4,
                ttl: 3,
                id: 9,
                flags_offset: 0x4000,
                options: vec![],
            }
        } else {
            Ip::V6 {
                src: [0xfd; 16],
                dst: [0xfc; 16],
                tos: 4,
                hop_limit: 3,
                label: 0,
                options: 0,
            }
        },
        l4: L4::Icmp {
            kind,
            code: 0,
            rest: [0, 1, 0, 2],
        },
        payload: (0..150).collect(),
        padding: 0,
    }
}

#[test]
fn an_echo_request_becomes_its_reply() {
    for (v4, request, reply) in [(true, 8, 0), (false, 128, 129)] {
        let mut bytes = ping(v4, request).build();
        let (before, layout) = parse(&bytes);
        assert!(icmp::echo_reply(&mut bytes, &layout));
        check_sums(&bytes);
        let (after, layout) = parse(&bytes);
        assert_eq!((after.eth_src, after.eth_dst), (OURS, THEIRS));
        assert_eq!(
            (after.nw_src, after.ipv6_src),
            (before.nw_dst, before.ipv6_dst)
        );
        assert_eq!(
            (after.nw_dst, after.ipv6_dst),
            (before.nw_src, before.ipv6_src)
        );
        assert_eq!((after.tp_src.get(), after.nw_ttl), (reply, 64));
        assert!(
            !icmp::echo_reply(&mut bytes, &layout),
            "a reply is no request"
        );
    }
}

#[test]
fn an_error_carries_the_packet_it_is_about() {
    let mut out = [0; icmp::ERROR_BYTES];
    let us: [(bool, IpAddr); 2] = [
        (true, Ipv4Addr::new(10, 0, 0, 254).into()),
        (false, Ipv6Addr::LOCALHOST.into()),
    ];
    for (v4, from) in us {
        let mut cause = ping(v4, 128); // 128: no error in either
        cause.payload = vec![7; 2000];
        let cause = cause.build();
        let (cause_key, layout) = parse(&cause);
        let problem = Problem::TooBig(1400);
        let len = icmp::error(&cause, &layout, problem, (OURS, from), &mut out).unwrap();
        let error = &out[..len];
        assert_eq!(len, 14 + if v4 { 576 } else { 1280 });
        check_sums(error);
        let (key, layout) = parse(error);
        assert_eq!(key.eth_dst, cause_key.eth_src);
        assert_eq!(
            (key.nw_dst, key.ipv6_dst),
            (cause_key.nw_src, cause_key.ipv6_src)
        );
        let l4 = usize::from(layout.l4);
        assert_eq!(error[l4 + 6..l4 + 8], 1400u16.to_be_bytes());
        assert_eq!(error[l4..l4 + 2], if v4 { [3, 4] } else { [2, 0] });
        let inner = icmp::embedded(error, &layout).unwrap();
        assert_eq!(inner.proto, if v4 { 1 } else { 58 });
        // None about an error, and none without room.
        assert_eq!(
            icmp::error(error, &layout, problem, (OURS, from), &mut [0; 2000]),
            None
        );
        let (_, layout) = parse(&cause);
        assert_eq!(
            icmp::error(&cause, &layout, problem, (OURS, from), &mut [0; 100]),
            None
        );
    }
}

#[test]
fn no_error_is_sent_about_what_was_for_many() {
    let mut frame = ping(true, 8);
    frame.eth_dst = [0xff; 6];
    let bytes = frame.build();
    let (_, layout) = parse(&bytes);
    let from = (OURS, IpAddr::from([10, 0, 0, 254]));
    let mut out = [0; icmp::ERROR_BYTES];
    assert_eq!(
        icmp::error(&bytes, &layout, Problem::TimeExceeded, from, &mut out),
        None
    );
}

fn outer(encapsulation: Encapsulation, v6: bool, vlan: Option<u16>) -> Outer<'static> {
    let (src, dst): (IpAddr, IpAddr) = if v6 {
        ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap())
    } else {
        ([172, 30, 0, 1].into(), [172, 30, 0, 2].into())
    };
    Outer {
        encapsulation,
        eth_dst: THEIRS,
        eth_src: OURS,
        vlan,
        src,
        dst,
        tos: 0x88,
        ttl: 64,
        dont_fragment: true,
        vni: Vni::new(0x12_3456).unwrap(),
        options: &[],
    }
}

proptest! {
    #![proptest_config(common::config(500))]

    #[test]
    fn what_goes_into_a_tunnel_comes_out_of_it(
        inner in common::frames(),
        geneve in any::<bool>(),
        v6 in any::<bool>(),
        vlan in prop::option::of(1u16..4095),
        src_port in any::<u16>(),
        id in any::<u16>(),
        options in prop_oneof![Just(0usize), Just(4), Just(48)],
    ) {
        let encapsulation = if geneve { Encapsulation::Geneve } else { Encapsulation::Vxlan };
        let options = vec![1u8; if geneve { options } else { 0 }];
        let outer = Outer { options: &options, ..outer(encapsulation, v6, vlan) };
        let template = Template::new(&outer).unwrap();
        let inner = inner.build();
        let mut packet = vec![0; template.len()];
        packet.extend(&inner);
        prop_assert!(template.write(&mut packet, inner.len(), src_port, id));

        let (key, layout) = parse(&packet);
        let l4 = usize::from(layout.l4);
        let (front, back) = packet[l4..].split_at(7);
        let (at, sum) = template.udp_checksum([front, back]);
        prop_assert_eq!(at, l4 + 6);
        if v6 || id % 2 == 0 {
            packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        check_sums(&packet);

        prop_assert_eq!((key.eth_dst, key.eth_src), (THEIRS, OURS));
        prop_assert_eq!(key.vlan_tci.get() & 0xfff, vlan.unwrap_or(0));
        prop_assert_eq!(key.nw_tos, 0x88);
        prop_assert_eq!(layout.transport, Transport::Udp);
        prop_assert_eq!((key.tp_src.get(), key.tp_dst.get()), (src_port, encapsulation.port()));
        let arrived = arrived(&packet, &layout, encapsulation).unwrap();
        prop_assert_eq!(
            arrived,
            Arrived {
                vni: outer.vni,
                inner: template.len() as u16,
                options: options.len() as u16,
                oam: false,
            }
        );
        prop_assert_eq!(&packet[arrived.inner.into()..], &inner[..]);
    }

    #[test]
    fn tunnel_headers_of_anything_never_panic(bytes in common::bytes(), geneve in any::<bool>()) {
        let encapsulation = if geneve { Encapsulation::Geneve } else { Encapsulation::Vxlan };
        if let Ok(layout) = extract(&bytes, bytes.len(), &mut FlowKey::default()) {
            let _ = arrived(&bytes, &layout, encapsulation);
        }
    }
}

#[test]
fn a_geneve_template_is_byte_for_byte_as_the_specification_lays_it_out() {
    let template = Template::new(&outer(Encapsulation::Geneve, false, None)).unwrap();
    let mut bytes = [0; 50];
    assert!(template.write(&mut bytes, 100, 0xc001, 7));
    let expected = [
        0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00, // Ethernet
        0x45, 0x88, 0, 136, 0, 7, 0x40, 0, 64, 17, 0, 0, 172, 30, 0, 1, 172, 30, 0, 2, // IPv4
        0xc0, 0x01, 0x17, 0xc1, 0, 116, 0, 0, // UDP to 6081
        0x00, 0x00, 0x65, 0x58, 0x12, 0x34, 0x56, 0x00, // Geneve
    ];
    let mut with_sum = expected;
    let sum = csum::ipv4_header(&expected[14..34]);
    with_sum[24..26].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(bytes, with_sum);
    assert!(
        !template.write(&mut [0; 49], 100, 1, 1),
        "too short a place"
    );
}

#[test]
fn what_is_no_tunnel_packet_for_us_is_refused() {
    let outer = outer(Encapsulation::Geneve, false, None);
    let template = Template::new(&outer).unwrap();
    let mut packet = vec![0; 64];
    template.write(&mut packet, 14, 1, 1);
    let with = |at: usize, value: u8| {
        let mut packet = packet.clone();
        packet[at] = value;
        let (_, layout) = parse(&packet);
        arrived(&packet, &layout, Encapsulation::Geneve)
    };
    assert!(with(0, 2).is_ok());
    assert!(with(43, 0x80).unwrap().oam);
    assert_eq!(with(43, 0x40), Err(TunnelFault::CriticalOption));
    assert_eq!(with(42, 0x40), Err(TunnelFault::Malformed)); // version 1
    assert_eq!(with(42, 0x01), Err(TunnelFault::Malformed)); // options leave no room
    assert_eq!(with(44, 0x08), Err(TunnelFault::NotEthernet));
    assert_eq!(with(20, 0x20), Err(TunnelFault::Fragment));
    let (_, layout) = parse(&packet);
    assert_eq!(
        arrived(&packet, &layout, Encapsulation::Vxlan),
        Err(TunnelFault::Malformed)
    );

    let mixed = Outer {
        src: Ipv6Addr::LOCALHOST.into(),
        ..outer
    };
    assert!(Template::new(&mixed).is_err());
    let options = [0; net::options::MAX_BYTES + 4];
    assert!(
        Template::new(&Outer {
            options: &options,
            ..outer
        })
        .is_err()
    );
}
