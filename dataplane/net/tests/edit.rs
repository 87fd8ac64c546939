//! A packet edited in place equals the packet built anew with the field changed.

mod common;

use std::net::IpAddr;

use common::{Frame, Ip, L4, frames};
use net::edit::{ChecksumField, Editor, Field, Given, Rewrite, translate_embedded};
use net::parse::{Layout, extract};
use net::{FlowKey, MacAddr, csum, icmp};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Edit {
    EthDst([u8; 6]),
    EthSrc([u8; 6]),
    Vlan(u8, u16),
    Src([u8; 16]),
    Dst([u8; 16]),
    Tos(u8),
    Ttl(u8),
    DecrementTtl,
    Label(u32),
    SrcPort(u16),
    DstPort(u16),
    IcmpType(u8),
    IcmpCode(u8),
    IcmpId(u16),
}

fn edits() -> impl Strategy<Value = Edit> {
    // Addresses and ports close to zero and all ones find the corners of the checksum.
    let port = prop_oneof![any::<u16>(), Just(0), Just(0xffff)];
    let address = prop_oneof![any::<[u8; 16]>(), Just([0; 16]), Just([0xff; 16])];
    prop_oneof![
        any::<[u8; 6]>().prop_map(Edit::EthDst),
        any::<[u8; 6]>().prop_map(Edit::EthSrc),
        (0u8..3, any::<u16>()).prop_map(|(tag, tci)| Edit::Vlan(tag, tci)),
        address.clone().prop_map(Edit::Src),
        address.prop_map(Edit::Dst),
        any::<u8>().prop_map(Edit::Tos),
        any::<u8>().prop_map(Edit::Ttl),
        Just(Edit::DecrementTtl),
        any::<u32>().prop_map(Edit::Label),
        port.clone().prop_map(Edit::SrcPort),
        port.prop_map(Edit::DstPort),
        any::<u8>().prop_map(Edit::IcmpType),
        any::<u8>().prop_map(Edit::IcmpCode),
        any::<u16>().prop_map(Edit::IcmpId),
    ]
}

/// Changes the description; false if the frame has no such field.
fn describe(frame: &mut Frame, edit: &Edit) -> bool {
    let v4 = |address: &[u8; 16]| -> [u8; 4] { address[..4].try_into().unwrap() };
    match (edit, &mut frame.ip, &mut frame.l4) {
        (Edit::EthDst(mac), ..) => frame.eth_dst = *mac,
        (Edit::EthSrc(mac), ..) => frame.eth_src = *mac,
        (Edit::Vlan(tag, tci), ..) => match frame.tags.get_mut(usize::from(*tag)) {
            Some((_, old)) => *old = (tci & 0xefff) | (*old & 0x1000),
            None => return false,
        },
        (Edit::Src(new), Ip::V4 { src, .. }, _) => *src = v4(new),
        (Edit::Dst(new), Ip::V4 { dst, .. }, _) => *dst = v4(new),
        (Edit::Src(new), Ip::V6 { src, .. }, _) => *src = *new,
        (Edit::Dst(new), Ip::V6 { dst, .. }, _) => *dst = *new,
        (Edit::Tos(new), Ip::V4 { tos, .. } | Ip::V6 { tos, .. }, _) => *tos = *new,
        (Edit::Ttl(new), Ip::V4 { ttl, .. } | Ip::V6 { hop_limit: ttl, .. }, _) => *ttl = *new,
        (Edit::DecrementTtl, Ip::V4 { ttl, .. } | Ip::V6 { hop_limit: ttl, .. }, _) => {
            if *ttl <= 1 {
                return false;
            }
            *ttl -= 1;
        }
        (Edit::Label(new), Ip::V6 { label, .. }, _) => *label = *new & 0xf_ffff,
        (
            Edit::SrcPort(new),
            _,
            L4::Tcp { src, .. } | L4::Udp { src, .. } | L4::Sctp { src, .. },
        ) => *src = *new,
        (
            Edit::DstPort(new),
            _,
            L4::Tcp { dst, .. } | L4::Udp { dst, .. } | L4::Sctp { dst, .. },
        ) => *dst = *new,
        (Edit::IcmpType(new), _, L4::Icmp { kind, .. }) => *kind = *new,
        (Edit::IcmpCode(new), _, L4::Icmp { code, .. }) => *code = *new,
        (Edit::IcmpId(new), _, L4::Icmp { rest, .. }) => {
            rest[..2].copy_from_slice(&new.to_be_bytes());
        }
        _ => return false,
    }
    true
}

fn apply(editor: &mut Editor<'_>, frame: &Frame, edit: &Edit) -> bool {
    let v4 = |address: &[u8; 16]| -> [u8; 4] { address[..4].try_into().unwrap() };
    let is_v4 = matches!(frame.ip, Ip::V4 { .. });
    match edit {
        Edit::EthDst(mac) => editor.set_eth_dst(MacAddr(*mac)),
        Edit::EthSrc(mac) => editor.set_eth_src(MacAddr(*mac)),
        Edit::Vlan(tag, tci) => editor.set_vlan(*tag, *tci),
        Edit::Src(new) if is_v4 => editor.set_ipv4_src(v4(new)),
        Edit::Src(new) => editor.set_ipv6_src(*new),
        Edit::Dst(new) if is_v4 => editor.set_ipv4_dst(v4(new)),
        Edit::Dst(new) => editor.set_ipv6_dst(*new),
        Edit::Tos(new) => editor.set_tos(*new),
        Edit::Ttl(new) => editor.set_ttl(*new),
        Edit::DecrementTtl => editor.decrement_ttl(),
        Edit::Label(new) => editor.set_ipv6_label(*new),
        Edit::SrcPort(new) => editor.set_src_port(*new),
        Edit::DstPort(new) => editor.set_dst_port(*new),
        Edit::IcmpType(new) => editor.set_icmp_type(*new),
        Edit::IcmpCode(new) => editor.set_icmp_code(*new),
        Edit::IcmpId(new) => editor.set_icmp_id(*new),
    }
}

fn layout_of(bytes: &[u8]) -> Layout {
    let layout = extract(bytes, bytes.len(), &mut FlowKey::default()).unwrap();
    assert_eq!(layout.malformed, None);
    layout
}

/// An ICMP or ICMPv6 error that carries the first `len` bytes of `inner`'s IP packet.
fn error_about(inner: &Frame, outer_ip: &Ip, len: usize) -> Frame {
    let packet = inner.build();
    let ip_packet = &packet[inner.l3()..packet.len() - inner.padding];
    let (kind, code) = match outer_ip {
        Ip::V4 { .. } => (3, 1),
        Ip::V6 { .. } => (1, 3),
    };
    Frame {
        eth_dst: [2; 6],
        eth_src: [4; 6],
        tags: vec![],
        ip: outer_ip.clone(),
        l4: L4::Icmp {
            kind,
            code,
            rest: [0; 4],
        },
        payload: ip_packet[..len.min(ip_packet.len())].to_vec(),
        padding: 0,
    }
}

fn is_v4(ip: &Ip) -> bool {
    matches!(ip, Ip::V4 { .. })
}

proptest! {
    #![proptest_config(common::config(3000))]

    #[test]
    fn edited_equals_built_anew(mut frame in frames(), edits in prop::collection::vec(edits(), 1..6)) {
        let mut bytes = frame.build();
        let layout = layout_of(&bytes);
        for edit in &edits {
            let mut editor = Editor::new(&mut bytes, &layout, ChecksumField::Full);
            let applied = apply(&mut editor, &frame, edit);
            prop_assert_eq!(applied, describe(&mut frame, edit), "{:?}", edit);
            prop_assert_eq!(&bytes, &frame.build(), "{:?}", edit);
        }
    }

    #[test]
    fn a_partial_checksum_stays_the_sum_of_the_pseudo_header(
        mut frame in frames(),
        edits in prop::collection::vec(edits(), 1..6),
    ) {
        // Offloads leave TCP and UDP checksums to be completed, and never a UDP packet without one.
        prop_assume!(matches!(frame.l4, L4::Tcp { .. } | L4::Udp { checksum: true, .. }));
        let mut bytes = frame.build_partial();
        let layout = layout_of(&bytes);
        for edit in &edits {
            let mut editor = Editor::new(&mut bytes, &layout, ChecksumField::Partial);
            let applied = apply(&mut editor, &frame, edit);
            prop_assert_eq!(applied, describe(&mut frame, edit));
        }
        prop_assert_eq!(&bytes, &frame.build_partial());
        let start = usize::from(layout.l4);
        let end = layout.end as usize;
        let at = start + net::edit::checksum_offset(layout.transport).unwrap();
        // Cut anywhere into segments, odd lengths included.
        let (first, second) = bytes[start..end].split_at((end - start) / 3);
        let (second, third) = second.split_at(second.len() / 2);
        let sum = csum::complete([first, second, third]);
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        let mut complete = frame.build();
        // A TCP checksum of zero may also be written as all ones.
        if complete[at..at + 2] == [0, 0] {
            complete[at..at + 2].copy_from_slice(&[0xff, 0xff]);
        }
        prop_assert_eq!(bytes, complete);
    }

    #[test]
    fn the_packet_inside_an_error_is_translated_with_every_checksum(
        mut inner in frames(),
        outer in common::ips(),
        len in 28usize..200,
        addresses in any::<[[u8; 16]; 2]>(),
        ports in any::<[u16; 2]>(),
    ) {
        prop_assume!(is_v4(&inner.ip) == is_v4(&outer));
        prop_assume!(!matches!(inner.l4, L4::Sctp { .. } | L4::Other(_)));
        if let Ip::V6 { options, .. } = &mut inner.ip {
            *options = 0;
        }
        if let L4::Icmp { kind, .. } = &mut inner.l4 {
            *kind = if is_v4(&inner.ip) { 8 } else { 128 };
        }
        let mut len = len.max(inner.l4_offset() - inner.l3() + 8);
        // Half of a TCP checksum is left as it is, which is not what building anew gives.
        len += usize::from(len == inner.l4_offset() - inner.l3() + 17);
        let mut bytes = error_about(&inner, &outer, len).build();
        let layout = layout_of(&bytes);
        let old = icmp::embedded(&bytes, &layout).unwrap();

        let mut edits = vec![Edit::Src(addresses[0]), Edit::Dst(addresses[1])];
        let mut new = old;
        let address = |bytes: [u8; 16]| match &inner.ip {
            Ip::V4 { .. } => IpAddr::from(<[u8; 4]>::try_from(&bytes[..4]).unwrap()),
            Ip::V6 { .. } => IpAddr::from(bytes),
        };
        (new.src, new.dst) = (address(addresses[0]), address(addresses[1]));
        if matches!(inner.l4, L4::Icmp { .. }) {
            new.icmp_id = ports[0];
            edits.push(Edit::IcmpId(ports[0]));
        } else {
            [new.src_port, new.dst_port] = ports;
            edits.extend([Edit::SrcPort(ports[0]), Edit::DstPort(ports[1])]);
        }
        let mut editor = Editor::new(&mut bytes, &layout, ChecksumField::Full);
        prop_assert!(translate_embedded(&mut editor, &old, &new));
        for edit in &edits {
            describe(&mut inner, edit);
        }
        prop_assert_eq!(&bytes, &error_about(&inner, &outer, len).build());
        prop_assert_eq!(icmp::embedded(&bytes, &layout), Some(new));
    }

    #[test]
    fn edits_of_anything_never_panic(bytes in common::bytes(), edit in edits(), partial in any::<bool>()) {
        let mut bytes = bytes;
        let Ok(layout) = extract(&bytes, bytes.len(), &mut FlowKey::default()) else {
            return Ok(());
        };
        let field = if partial { ChecksumField::Partial } else { ChecksumField::Full };
        let embedded = icmp::embedded(&bytes, &layout);
        let v4 = layout.network == net::parse::Network::Ipv4;
        let mut editor = Editor::new(&mut bytes, &layout, field);
        let like = Frame {
            eth_dst: [0; 6], eth_src: [0; 6], tags: vec![], payload: vec![], padding: 0,
            ip: if v4 {
                Ip::V4 { src: [0; 4], dst: [0; 4], tos: 0, ttl: 0, id: 0, flags_offset: 0, options: vec![] }
            } else {
                Ip::V6 { src: [0; 16], dst: [0; 16], tos: 0, hop_limit: 0, label: 0, options: 0 }
            },
            l4: L4::Other(0),
        };
        apply(&mut editor, &like, &edit);
        editor.set_nd_sll(MacAddr([1; 6]));
        editor.set_nd_tll(MacAddr([2; 6]));
        editor.set_nd_target([3; 16]);
        if let Some(old) = embedded {
            let mut new = old;
            (new.src, new.src_port) = (old.dst, 7);
            translate_embedded(&mut editor, &old, &new);
        }
    }
}

#[test]
fn neighbour_discovery_fields_are_edited_under_the_checksum() {
    let message = |target: u8, sll: [u8; 6]| {
        let mut payload = vec![target; 16];
        payload.extend([14, 1, 9, 9, 9, 9, 9, 9]); // another option before ours
        payload.extend([1, 1]);
        payload.extend(sll);
        Frame {
            eth_dst: [2; 6],
            eth_src: [4; 6],
            tags: vec![],
            ip: Ip::V6 {
                src: [0xfd; 16],
                dst: [0xfe; 16],
                tos: 0,
                hop_limit: 255,
                label: 0,
                options: 0,
            },
            l4: L4::Icmp {
                kind: 135,
                code: 0,
                rest: [0; 4],
            },
            payload,
            padding: 0,
        }
        .build()
    };
    let mut bytes = message(1, [5; 6]);
    let layout = layout_of(&bytes);
    let mut editor = Editor::new(&mut bytes, &layout, ChecksumField::Full);
    assert!(editor.set_nd_target([7; 16]));
    assert!(editor.set_nd_sll(MacAddr([8; 6])));
    assert!(!editor.set_nd_tll(MacAddr([8; 6])));
    assert_eq!(bytes, message(7, [8; 6]));
}

#[test]
fn a_routing_header_keeps_the_destination_out_of_the_checksum() {
    let mut bytes = vec![0; 12];
    bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 43, 9]);
    bytes.extend([0xfd; 16]);
    bytes.extend([0xfe; 16]);
    bytes.extend([17, 2, 0, 1, 0, 0, 0, 0]); // routing header type 0, one segment left
    bytes.extend([0xaa; 16]);
    bytes.extend([0, 1, 0, 2, 0, 8, 0x12, 0x34]);
    let layout = layout_of(&bytes);
    assert!(layout.source_routed);
    let before = bytes.clone();
    assert!(Editor::new(&mut bytes, &layout, ChecksumField::Full).set_ipv6_dst([1; 16]));
    assert_eq!(bytes[38..54], [1; 16]);
    assert_eq!(bytes[54..], before[54..]);
    assert!(Editor::new(&mut bytes, &layout, ChecksumField::Full).set_ipv6_src([1; 16]));
    assert_ne!(bytes[84..86], before[84..86]);
}

#[test]
fn a_udp_packet_without_checksum_stays_without() {
    let frame = Frame {
        eth_dst: [2; 6],
        eth_src: [4; 6],
        tags: vec![],
        ip: Ip::V4 {
            src: [1; 4],
            dst: [2; 4],
            tos: 0,
            ttl: 1,
            id: 0,
            flags_offset: 0,
            options: vec![],
        },
        l4: L4::Udp {
            src: 1,
            dst: 2,
            checksum: false,
        },
        payload: vec![1, 2, 3],
        padding: 0,
    };
    let mut bytes = frame.build();
    let layout = layout_of(&bytes);
    let mut editor = Editor::new(&mut bytes, &layout, ChecksumField::Full);
    assert!(editor.set_ipv4_src([9; 4]) && editor.set_dst_port(9));
    assert!(!editor.decrement_ttl(), "a TTL of 1 must not become 0");
    assert_eq!(bytes[40..42], [0, 0]);
}

#[test]
fn a_solicitation_edited_into_an_advertisement_is_one_as_built_anew() {
    let (asker, owner) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
    let (from, wanted) = ([0xfd; 16], [0xfe; 16]);
    let mut bytes = net::nd::solicitation(asker, from, wanted).to_vec();
    let layout = layout_of(&bytes);
    let mut editor = Editor::new(&mut bytes, &layout, ChecksumField::Full);
    assert!(
        !editor.set_nd_tll(owner),
        "a solicitation has no target option"
    );
    editor.set_eth_src(owner);
    editor.set_eth_dst(asker);
    assert!(editor.set_ipv6_src(wanted) && editor.set_ipv6_dst(from));
    assert!(editor.set_icmp_type(net::nd::ADVERTISEMENT));
    assert!(editor.set_nd_tll(owner));
    let built = net::nd::advertisement(owner, wanted, asker, from, false);
    assert_eq!(bytes, built);
}

/// What a [`Rewrite`] is made of; the same as edits.
#[derive(Clone, Debug, Default)]
struct Several {
    eth_dst: Option<[u8; 6]>,
    eth_src: Option<[u8; 6]>,
    src: Option<[u8; 4]>,
    dst: Option<[u8; 4]>,
    tos: Option<u8>,
    ttl: Option<(bool, u8)>,
    src_port: Option<u16>,
    dst_port: Option<u16>,
    /// Source and destination are given with the packet.
    given: [bool; 2],
}

fn several() -> impl Strategy<Value = Several> {
    let mac = || prop::option::of(any::<[u8; 6]>());
    let address = || {
        let corners = prop_oneof![any::<[u8; 4]>(), Just([0; 4]), Just([0xff; 4])];
        prop::option::of(corners)
    };
    let port = || prop::option::of(prop_oneof![any::<u16>(), Just(0), Just(0xffff)]);
    let byte = || prop::option::of(any::<u8>());
    let ttl = prop::option::of((any::<bool>(), prop_oneof![any::<u8>(), 0..3u8]));
    let macs = (mac(), mac());
    let addresses = (address(), address());
    let ports = (port(), port());
    (macs, addresses, ports, byte(), ttl, any::<[bool; 2]>()).prop_map(
        |((eth_dst, eth_src), (src, dst), (src_port, dst_port), tos, ttl, given)| Several {
            eth_dst,
            eth_src,
            src,
            dst,
            tos,
            ttl,
            src_port,
            dst_port,
            given,
        },
    )
}

impl Several {
    fn rewrite(&self) -> (Rewrite, Given) {
        // What is not to be written must not be, whatever is given.
        let mut given = Given {
            src: [9; 4],
            dst: [8; 4],
            src_port: [7; 2],
            dst_port: [6; 2],
        };
        let mut all = Rewrite::default();
        if let Some(mac) = self.eth_dst {
            all.eth_dst(MacAddr(mac));
        }
        if let Some(mac) = self.eth_src {
            all.eth_src(MacAddr(mac));
        }
        match (self.src, self.given[0]) {
            (Some(address), true) => (given.src, ()) = (address, all.given(Field::Ipv4Src)),
            (Some(address), false) => all.ipv4_src(address),
            (None, _) => {}
        }
        match (self.dst, self.given[1]) {
            (Some(address), true) => (given.dst, ()) = (address, all.given(Field::Ipv4Dst)),
            (Some(address), false) => all.ipv4_dst(address),
            (None, _) => {}
        }
        match (self.src_port.map(u16::to_be_bytes), self.given[0]) {
            (Some(port), true) => (given.src_port, ()) = (port, all.given(Field::SrcPort)),
            (Some(port), false) => all.src_port(u16::from_be_bytes(port)),
            (None, _) => {}
        }
        match (self.dst_port.map(u16::to_be_bytes), self.given[1]) {
            (Some(port), true) => (given.dst_port, ()) = (port, all.given(Field::DstPort)),
            (Some(port), false) => {
                all.given(Field::DstPort); // the later one counts
                all.dst_port(u16::from_be_bytes(port));
            }
            (None, _) => {}
        }
        if let Some(tos) = self.tos {
            all.tos(tos);
        }
        match self.ttl {
            Some((true, steps)) => assert!(all.ttl_down(steps) && !all.ttl_down(1)),
            Some((false, ttl)) => all.ttl(ttl),
            None => {}
        }
        (all, given)
    }

    fn edit(&self, editor: &mut Editor<'_>) {
        self.eth_dst.map(|mac| editor.set_eth_dst(MacAddr(mac)));
        self.eth_src.map(|mac| editor.set_eth_src(MacAddr(mac)));
        self.src.map(|address| editor.set_ipv4_src(address));
        self.dst.map(|address| editor.set_ipv4_dst(address));
        self.tos.map(|tos| editor.set_tos(tos));
        match (self.ttl, editor.ttl()) {
            (Some((true, steps)), Some(ttl)) => editor.set_ttl(ttl.saturating_sub(steps)),
            (Some((false, ttl)), _) => editor.set_ttl(ttl),
            _ => false,
        };
        self.src_port.map(|port| editor.set_src_port(port));
        self.dst_port.map(|port| editor.set_dst_port(port));
    }
}

proptest! {
    #![proptest_config(common::config(2000))]

    #[test]
    fn several_changes_at_once_are_those_one_by_one(
        frame in frames(),
        several in several(),
        sums in prop::option::of((prop::sample::select(vec![0u16, 0xffff, 1]), any::<bool>())),
        partial in any::<bool>(),
    ) {
        let mut bytes = frame.build();
        let layout = layout_of(&bytes);
        // Checksums that are no good, at the corners of the arithmetic.
        if let (Some((sum, of_ip)), net::parse::Network::Ipv4) = (sums, layout.network) {
            let l4 = net::edit::checksum_offset(layout.transport);
            let at = match (of_ip, l4) {
                (false, Some(offset)) => usize::from(layout.l4) + offset,
                _ => usize::from(layout.l3) + 10,
            };
            bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        let field = if partial { ChecksumField::Partial } else { ChecksumField::Full };
        let mut one_by_one = bytes.clone();
        several.edit(&mut Editor::new(&mut one_by_one, &layout, field));
        let (all, given) = several.rewrite();
        all.apply(&mut bytes, &layout, field, &given);
        prop_assert_eq!(bytes, one_by_one);
    }

    #[test]
    fn several_changes_of_anything_are_those_one_by_one(
        bytes in common::bytes(),
        several in several(),
        cut in 0usize..64,
    ) {
        let mut bytes = bytes;
        let Ok(layout) = extract(&bytes, bytes.len(), &mut FlowKey::default()) else {
            return Ok(());
        };
        // A layout may also be of a packet whose head is longer than what is at hand.
        bytes.truncate(bytes.len().saturating_sub(cut));
        let mut one_by_one = bytes.clone();
        several.edit(&mut Editor::new(&mut one_by_one, &layout, ChecksumField::Full));
        let (all, given) = several.rewrite();
        all.apply(&mut bytes, &layout, ChecksumField::Full, &given);
        prop_assert_eq!(bytes, one_by_one);
    }
}
