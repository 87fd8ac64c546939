//! The parser against etherparse, and the exact key against the parser.

mod common;

use std::net::IpAddr;

use common::{Frame, Ip, L4, bytes, frames};
use etherparse::{LinkExtSlice, NetSlice, SlicedPacket, TransportSlice};
use net::exact::{self, ExactKey, HashKey, TunnelKey, Uncacheable};
use net::key::{FRAG_ANY, FRAG_LATER, VLAN_PRESENT};
use net::options::Options;
use net::parse::{Fragment, Layout, Malformed, Network, Transport, extract};
use net::{FlowKey, MacAddr};
use proptest::prelude::*;

fn parse(bytes: &[u8]) -> (FlowKey, Layout) {
    let mut key = FlowKey::default();
    let layout = extract(bytes, bytes.len(), &mut key).unwrap();
    (key, layout)
}

fn tcp_frame() -> Frame {
    Frame {
        eth_dst: [2, 0, 0, 0, 0, 1],
        eth_src: [2, 0, 0, 0, 0, 2],
        tags: vec![],
        ip: Ip::V4 {
            src: [10, 16, 0, 2],
            dst: [10, 16, 0, 3],
            tos: 0xb8,
            ttl: 64,
            id: 7,
            flags_offset: 0x4000,
            options: vec![],
        },
        l4: L4::Tcp {
            src: 40000,
            dst: 80,
            seq: 1,
            ack: 2,
            flags: 0x18,
            window: 500,
            options: vec![],
        },
        payload: b"GET /".to_vec(),
        padding: 3,
    }
}

#[test]
fn snap_carries_an_ethertype_and_other_802_3_frames_have_none() {
    let ip = tcp_frame().build();
    let (plain, _) = parse(&ip);
    let framed = |llc: &[u8]| {
        let mut frame = ip[..12].to_vec();
        frame.extend_from_slice(&((llc.len() + ip.len() - 14) as u16).to_be_bytes());
        frame.extend_from_slice(llc);
        frame.extend_from_slice(&ip[14..]);
        frame
    };
    let (key, layout) = parse(&framed(&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]));
    assert_eq!(key, plain);
    assert_eq!((layout.l3, layout.network), (22, Network::Ipv4));
    for llc in [
        [0xaa, 0xab, 3, 0, 0, 0, 8, 0],    // not SNAP
        [0xaa, 0xaa, 3, 0, 0, 0xc, 8, 0],  // another organization's protocols
        [0xaa, 0xaa, 3, 0, 0, 0, 5, 0xff], // no ethertype
    ] {
        let (key, layout) = parse(&framed(&llc));
        assert_eq!(key.eth_type.get(), 0x05ff, "{llc:x?}");
        assert_eq!(layout.network, Network::None);
    }
}

#[test]
fn a_tagged_tcp_segment_fills_its_fields_and_no_others() {
    let mut frame = tcp_frame();
    frame.tags = vec![(0x88a8, 0x6064), (0x8100, 0x00c8)];
    let (key, layout) = parse(&frame.build());
    let expected = FlowKey {
        eth_dst: MacAddr([2, 0, 0, 0, 0, 1]),
        eth_src: MacAddr([2, 0, 0, 0, 0, 2]),
        eth_type: 0x0800.into(),
        vlan_tci: (0x6064 | VLAN_PRESENT).into(),
        vlan_tpid: 0x88a8.into(),
        vlan_tci2: (0x00c8 | VLAN_PRESENT).into(),
        vlan_tpid2: 0x8100.into(),
        nw_src: 0x0a10_0002.into(),
        nw_dst: 0x0a10_0003.into(),
        nw_proto: 6,
        nw_tos: 0xb8,
        nw_ttl: 64,
        tp_src: 40000.into(),
        tp_dst: 80.into(),
        tcp_flags: 0x18.into(),
        ..FlowKey::default()
    };
    assert_eq!(key, expected);
    assert_eq!(
        layout,
        Layout {
            network: Network::Ipv4,
            transport: Transport::Tcp,
            vlan_tags: 2,
            l3: 22,
            l4: 42,
            payload: 62,
            end: 67,
            ..Layout::default()
        }
    );
}

#[test]
fn a_later_fragment_has_addresses_but_no_ports() {
    let mut frame = tcp_frame();
    if let Ip::V4 { flags_offset, .. } = &mut frame.ip {
        *flags_offset = 0x2000 | 100;
    }
    let (key, layout) = parse(&frame.build());
    assert_eq!(key.nw_frag, FRAG_ANY | FRAG_LATER);
    assert_eq!((key.nw_proto, key.tp_src.get()), (6, 0));
    assert_eq!(layout.transport, Transport::None);
    assert_eq!(
        layout.fragment,
        Some(Fragment {
            id: 7,
            offset: 800,
            more: true
        })
    );
}

#[test]
fn an_ipv6_fragment_behind_options_is_found_and_the_headers_noted() {
    let mut bytes = vec![0; 12];
    bytes.extend([0x86, 0xdd]);
    bytes.extend([0x60, 0, 0, 0, 0, 24, 0, 9]);
    bytes.extend([0xfd; 16]);
    bytes.extend([0xfe; 16]);
    bytes.extend([44, 0, 1, 4, 0, 0, 0, 0]); // hop-by-hop, then fragment
    bytes.extend([17, 0, 0, 1, 0, 0, 0, 99]); // first fragment, id 99
    bytes.extend([0, 53, 0, 54, 0xff, 0xff, 1, 1]);
    let (key, layout) = parse(&bytes);
    assert_eq!(key.ipv6_exthdr.get(), 64 | 16);
    assert_eq!(key.nw_frag, FRAG_ANY);
    assert_eq!(
        (key.nw_proto, key.tp_src.get(), key.tp_dst.get()),
        (17, 53, 54)
    );
    assert_eq!(layout.fragment.unwrap().id, 99);
    assert_eq!(layout.malformed, None);
    assert_eq!((layout.l4, layout.payload), (70, 78));
}

#[test]
fn arp_and_neighbour_discovery_fill_the_shared_address_fields() {
    let mut arp = vec![0xff; 6];
    arp.extend([2, 0, 0, 0, 0, 2, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    arp.extend([2, 0, 0, 0, 0, 2, 10, 0, 0, 2]);
    arp.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 3]);
    let (key, layout) = parse(&arp);
    assert_eq!(layout.network, Network::Arp);
    assert_eq!((key.nw_proto, key.nw_src.get()), (1, 0x0a00_0002));
    assert_eq!(key.nw_dst.get(), 0x0a00_0003);
    assert_eq!(key.arp_sha, MacAddr([2, 0, 0, 0, 0, 2]));

    let mut solicitation = vec![0; 12];
    solicitation.extend([0x86, 0xdd]);
    solicitation.extend([0x60, 0, 0, 0, 0, 32, 58, 255]);
    solicitation.extend([0xfd; 16]);
    solicitation.extend([0xff; 16]);
    solicitation.extend([135, 0, 0, 0, 0, 0, 0, 0]);
    solicitation.extend([0xaa; 16]);
    solicitation.extend([1, 1, 2, 0, 0, 0, 0, 9]);
    let (key, _) = parse(&solicitation);
    assert_eq!(key.nd_target, [0xaa; 16]);
    assert_eq!(key.arp_sha, MacAddr([2, 0, 0, 0, 0, 9]));
    assert_eq!((key.tp_src.get(), key.tp_dst.get()), (135, 0));
}

#[test]
fn a_broken_deeper_header_leaves_the_key_above_it_and_is_named() {
    let frame = tcp_frame().build();
    let cases: [(usize, u8, Malformed); 4] = [
        (14, 0x43, Malformed::Ipv4Header),
        (14, 0x55, Malformed::Ipv4Header),
        (16, 0xff, Malformed::Ipv4Length),
        (46, 0x20, Malformed::Tcp),
    ];
    for (at, value, reason) in cases {
        let mut bytes = frame.clone();
        bytes[at] = value;
        let (key, layout) = parse(&bytes);
        assert_eq!(layout.malformed, Some(reason));
        assert_eq!(key.eth_type.get(), 0x0800);
        assert_eq!(key.tp_src.get(), 0);
        assert_eq!(key.nw_src.get() != 0, reason == Malformed::Tcp);
        let mut exact = ExactKey::default();
        assert_eq!(
            exact::read(&bytes, bytes.len(), 1, None, &mut exact),
            Err(Uncacheable::Malformed)
        );
    }
    assert_eq!(
        extract(&frame[..13], 13, &mut FlowKey::default()),
        Err(Malformed::Ethernet)
    );
    // 30 bytes contiguous of a longer packet: the caller did not pull enough together.
    let mut key = FlowKey::default();
    let layout = extract(&frame[..30], frame.len(), &mut key).unwrap();
    assert_eq!(layout.malformed, Some(Malformed::HeadersTooLong));
}

#[test]
fn every_reason_has_its_place_and_its_own_name() {
    let names: std::collections::BTreeSet<_> = Malformed::ALL.iter().map(|m| m.name()).collect();
    assert_eq!(names.len(), Malformed::ALL.len());
    for (i, reason) in Malformed::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, i);
    }
}

/// The exact key packed again from the complete parser's result, as its documentation says.
fn pack(key: &FlowKey, layout: &Layout) -> Vec<u64> {
    let tags = [
        (key.vlan_tpid.get(), key.vlan_tci.get()),
        (key.vlan_tpid2.get(), key.vlan_tci2.get()),
    ];
    let mut shape = u64::from(layout.vlan_tags);
    for (i, (tpid, _)) in tags.iter().enumerate() {
        shape |= u64::from(*tpid == 0x88a8) << (2 + i);
    }
    shape |= u64::from(key.nw_frag) << 4;
    let mut addresses = vec![];
    match key.eth_type.get() {
        0x0800 => {
            shape |= 0x40;
            addresses.push(u64::from(key.nw_src.get()) << 32 | u64::from(key.nw_dst.get()));
        }
        0x86dd => {
            shape |= 0x80;
            for half in key.ipv6_src.chunks(8).chain(key.ipv6_dst.chunks(8)) {
                addresses.push(u64::from_be_bytes(half.try_into().unwrap()));
            }
        }
        _ => {}
    }
    let mut words = vec![
        u64::from(key.in_port.get()) << 32
            | u64::from(key.eth_type.get()) << 16
            | u64::from(key.nw_proto) << 8
            | u64::from(key.nw_tos),
        key.eth_dst.to_u64() << 16 | u64::from(tags[0].1),
        key.eth_src.to_u64() << 16 | u64::from(tags[1].1),
        u64::from(key.tp_src.get()) << 48
            | u64::from(key.tp_dst.get()) << 32
            | u64::from(layout.icmp_id) << 16
            | shape,
    ];
    words.extend(addresses);
    words
}

proptest! {
    #![proptest_config(common::config(2000))]

    #[test]
    fn well_formed_frames_parse_as_etherparse_says(frame in frames()) {
        let bytes = frame.build();
        let (key, layout) = parse(&bytes);
        prop_assert_eq!(layout.malformed, None);
        prop_assert_eq!(usize::from(layout.l4), frame.l4_offset());
        agrees_with_etherparse(&bytes, &key, &layout)?;
    }

    #[test]
    fn whatever_both_parsers_accept_they_read_alike(bytes in bytes()) {
        let mut key = FlowKey::default();
        if let Ok(layout) = extract(&bytes, bytes.len(), &mut key) && layout.malformed.is_none() {
            agrees_with_etherparse(&bytes, &key, &layout)?;
        }
    }

    #[test]
    fn the_exact_key_says_what_the_complete_parser_says(bytes in bytes(), in_port in any::<u32>()) {
        let mut key = FlowKey { in_port: in_port.into(), ..FlowKey::default() };
        let complete = extract(&bytes, bytes.len(), &mut key);
        let mut exact = ExactKey::default();
        match exact::read(&bytes, bytes.len(), in_port, None, &mut exact) {
            Ok(layout) => {
                prop_assert_eq!(Ok(layout), complete);
                prop_assert_eq!(layout.malformed, None);
                prop_assert_eq!(exact.words(), pack(&key, &layout));
                // Nothing outside the key but what is declared not covered.
                prop_assert_eq!(key.nd_target, [0; 16]);
                prop_assert_eq!((key.arp_sha, key.arp_tha), (MacAddr::ZERO, MacAddr::ZERO));
                prop_assert_eq!(key.ipv6_exthdr.get(), 0);
                prop_assert_eq!((key.mpls, key.pbb_itag.get()), ([0.into(); 3], 0));
            }
            Err(Uncacheable::Malformed) => {
                let sound = complete.is_ok_and(|layout| layout.malformed.is_none());
                prop_assert!(!sound, "{:?}", complete);
            }
            Err(_) => {}
        }
    }

    #[test]
    fn ordinary_packets_have_an_exact_key(frame in frames()) {
        let plain = match &frame.ip {
            Ip::V4 { .. } => true,
            Ip::V6 { options, .. } => *options == 0 && frame.proto() != 50,
        };
        let discovery = matches!(
            (&frame.ip, &frame.l4),
            (Ip::V6 { .. }, L4::Icmp { kind: 135 | 136, .. })
        );
        let bytes = frame.build();
        let read = exact::read(&bytes, bytes.len(), 1, None, &mut ExactKey::default());
        prop_assert_eq!(read.is_ok(), plain && !discovery);
    }

    #[test]
    fn parsing_does_not_depend_on_what_follows_the_headers(frame in frames()) {
        let bytes = frame.build();
        let whole = parse(&bytes);
        let mut key = FlowKey::default();
        let layout = extract(&bytes[..whole.1.payload.into()], bytes.len(), &mut key).unwrap();
        let discovery = matches!(frame.l4, L4::Icmp { kind: 135 | 136, .. });
        if !discovery {
            prop_assert_eq!((key, layout), whole);
        }
    }
}

fn with_options(tunnel: Option<TunnelKey>, options: &[(usize, u64)]) -> Option<TunnelKey> {
    let mut tunnel = tunnel?;
    for (at, value) in options {
        tunnel.options.values[*at] = *value;
        tunnel.options.present |= 1 << at;
    }
    Some(tunnel)
}

#[test]
fn tunnels_make_keys_differ_and_fill_the_flow_key() {
    let bytes = tcp_frame().build();
    let read = |tunnel: Option<TunnelKey>| {
        let mut key = ExactKey::default();
        exact::read(&bytes, bytes.len(), 2, tunnel.as_ref(), &mut key).unwrap();
        key
    };
    let v4 = |last: u8| -> IpAddr { [172, 30, 0, last].into() };
    let v6 = |last: u16| -> IpAddr { [0xfd00, 0, 0, 0, 0, 0, 0, last].into() };
    let tunnel = |id, src, dst| {
        Some(TunnelKey {
            id,
            src,
            dst,
            options: Options::default(),
        })
    };
    let keys = [
        read(None),
        read(tunnel(7, v4(1), v4(2))),
        read(tunnel(8, v4(1), v4(2))),
        read(tunnel(7, v4(2), v4(1))),
        read(tunnel(7, v6(1), v6(2))),
        read(tunnel(7, v6(1), v6(3))),
        read(with_options(tunnel(7, v4(1), v4(2)), &[(0, 5)])),
        read(with_options(tunnel(7, v4(1), v4(2)), &[(1, 5)])),
        read(with_options(tunnel(7, v4(1), v4(2)), &[(0, 0), (7, 5)])),
    ];
    let lens: Vec<_> = keys.iter().map(|key| key.words().len()).collect();
    assert_eq!(lens, [5, 7, 7, 7, 10, 10, 9, 9, 10]);
    let many = with_options(tunnel(7, v6(1), v6(2)), &[(0, 1), (1, 1), (2, 1)]);
    let too_many = exact::read(
        &bytes,
        bytes.len(),
        2,
        many.as_ref(),
        &mut ExactKey::default(),
    );
    assert_eq!(too_many, Err(Uncacheable::Options));
    let hash = HashKey::new([1, 2]);
    for (i, a) in keys.iter().enumerate() {
        for b in &keys[..i] {
            assert_ne!(a, b);
            assert_ne!(hash.hash(a), hash.hash(b));
        }
    }
    let mut key = FlowKey::default();
    tunnel(7, v4(1), v4(2)).unwrap().apply(&mut key);
    assert_eq!((key.tun_id.get(), key.tun_dst.get()), (7, 0xac1e_0002));
}

#[test]
fn hashes_of_neighbouring_keys_spread_over_every_byte_of_the_result() {
    // 65,536 keys that differ in their ports only, into 256 bins by each byte of the hash: a
    // uniform hash leaves each bin within 8 standard deviations (16 each) of 256.
    let hash = HashKey::new([0x1234_5678_9abc_def0, 42]);
    for byte in 0..8 {
        let mut bins = [0u32; 256];
        for ports in 0..65_536u64 {
            let words = [1 << 32, 2, 3, ports << 32, 5];
            bins[(hash.hash_words(&words) >> (8 * byte)) as usize & 0xff] += 1;
        }
        assert!(bins.iter().all(|n| (128..384).contains(n)), "byte {byte}");
    }
}

#[test]
fn one_changed_bit_changes_half_of_the_hash() {
    let hash = HashKey::new([99, 7]);
    let base: Vec<u64> = (0..13).map(|i| i * 0x0101_0101).collect();
    let before = hash.hash_words(&base);
    for bit in 0..13 * 64 {
        let mut words = base.clone();
        words[bit / 64] ^= 1 << (bit % 64);
        let changed = (hash.hash_words(&words) ^ before).count_ones();
        assert!((12..=52).contains(&changed), "bit {bit}: {changed} bits");
    }
    assert_ne!(HashKey::new([99, 8]).hash_words(&base), before);
}

fn agrees_with_etherparse(
    bytes: &[u8],
    key: &FlowKey,
    layout: &Layout,
) -> Result<(), TestCaseError> {
    let Ok(other) = SlicedPacket::from_ethernet(bytes) else {
        return Ok(());
    };
    let tags: Vec<_> = other
        .link_exts
        .iter()
        .filter_map(|ext| match ext {
            LinkExtSlice::Vlan(vlan) => Some(vlan.to_header()),
            _ => None,
        })
        .collect();
    if other.link_exts.len() != usize::from(layout.vlan_tags) {
        return Ok(()); // a third tag, 0x9100 or MACsec: deeper than a key reaches
    }
    if let Some(first) = tags.first() {
        prop_assert_eq!(key.vlan_tci.get() & 0xfff, first.vlan_id.value());
        prop_assert_eq!(key.vlan_tci.get() >> 13, u16::from(first.pcp.value()));
    }
    let later_fragment = key.nw_frag & FRAG_LATER != 0;
    match &other.net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header();
            prop_assert_eq!(layout.network, Network::Ipv4);
            prop_assert_eq!(key.nw_src.to_bytes(), header.source());
            prop_assert_eq!(key.nw_dst.to_bytes(), header.destination());
            prop_assert_eq!(key.nw_ttl, header.ttl());
            prop_assert_eq!(key.nw_frag != 0, header.is_fragmenting_payload());
        }
        Some(NetSlice::Ipv6(ip)) => {
            let header = ip.header();
            prop_assert_eq!(layout.network, Network::Ipv6);
            prop_assert_eq!(key.ipv6_src, header.source());
            prop_assert_eq!(key.ipv6_dst, header.destination());
            prop_assert_eq!(key.nw_ttl, header.hop_limit());
            prop_assert_eq!(key.nw_tos, header.traffic_class());
            prop_assert_eq!(key.ipv6_label.get(), header.flow_label().value());
        }
        Some(NetSlice::Arp(arp)) => {
            if let Ok(arp) = etherparse::ArpEthIpv4Packet::try_from(arp.to_packet()) {
                prop_assert_eq!(layout.network, Network::Arp);
                prop_assert_eq!(key.nw_src.to_bytes(), arp.sender_ipv4);
                prop_assert_eq!(key.arp_tha.0, arp.target_mac);
            }
        }
        None => {}
    }
    let end = |payload: &[u8]| payload.as_ptr() as usize - bytes.as_ptr() as usize;
    match &other.transport {
        Some(TransportSlice::Tcp(tcp)) if !later_fragment => {
            prop_assert_eq!(layout.transport, Transport::Tcp);
            prop_assert_eq!(key.tp_src.get(), tcp.source_port());
            prop_assert_eq!(key.tp_dst.get(), tcp.destination_port());
            prop_assert_eq!(key.tcp_flags.get() & 2 != 0, tcp.syn());
            prop_assert_eq!(usize::from(layout.payload), end(tcp.payload()));
        }
        Some(TransportSlice::Udp(udp)) if !later_fragment => {
            prop_assert_eq!(layout.transport, Transport::Udp);
            prop_assert_eq!(key.tp_src.get(), udp.source_port());
            prop_assert_eq!(usize::from(layout.payload), end(udp.payload()));
        }
        Some(TransportSlice::Icmpv4(icmp)) if layout.network == Network::Ipv4 => {
            prop_assert_eq!(key.tp_src.get(), u16::from(icmp.type_u8()));
            prop_assert_eq!(key.tp_dst.get(), u16::from(icmp.code_u8()));
        }
        Some(TransportSlice::Icmpv6(icmp)) if layout.network == Network::Ipv6 => {
            prop_assert_eq!(key.tp_src.get(), u16::from(icmp.type_u8()));
            prop_assert_eq!(key.tp_dst.get(), u16::from(icmp.code_u8()));
        }
        _ => {}
    }
    Ok(())
}
