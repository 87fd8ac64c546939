//! What must hold for any bytes taken as a packet. Shared by the fuzz target and by the test that
//! replays the corpus.
//!
//! An input is four bytes of choices, then the packet.

use std::net::IpAddr;

use net::edit::{ChecksumField, Editor, translate_embedded};
use net::exact::{self, ExactKey, HashKey, Uncacheable};
use net::gso::{Kind, MAX_HEADER, Segmenter};
use net::icmp::{self, Problem};
use net::options::{GeneveOption, OptionMap, Options};
use net::parse::{HEADER_BYTES, Layout, Network, Transport, extract};
use net::reshape::{self, Room};
use net::tcp::TcpInfo;
use net::tunnel::{Encapsulation, arrived};
use net::{FlowKey, MacAddr, csum};

/// Panics if something that must hold does not.
pub fn check(input: &[u8]) {
    let Some((&[choice, size_high, size_low, value], packet)) = input.split_first_chunk::<4>()
    else {
        return;
    };
    let mut key = FlowKey::default();
    let parsed = extract(packet, packet.len(), &mut key);
    exact_agrees(packet, &key, parsed.ok());
    let Ok(layout) = parsed else {
        assert!(packet.len() < 14);
        return;
    };
    offsets_are_in_order(packet, &layout);
    segments_do_not_matter(packet, &key, &layout);
    read_more(packet, &layout);
    edits_keep_what_was_right(packet, &layout, choice, value);
    reshapes(packet, &layout, value);
    answers(packet, &layout);
    let size = u16::from_be_bytes([size_high, size_low]);
    cut(packet, &layout, size);
}

fn exact_agrees(packet: &[u8], key: &FlowKey, complete: Option<Layout>) {
    let mut exact = ExactKey::default();
    match exact::read(packet, packet.len(), 1, None, &mut exact) {
        Ok(layout) => {
            assert_eq!(Some(layout), complete);
            assert_eq!(layout.malformed, None);
            let words = exact.words();
            let hash = HashKey::new([1, 2]);
            assert_eq!(hash.hash(&exact), hash.hash_words(words));
            assert_eq!(words[0] >> 16 & 0xffff, u64::from(key.eth_type.get()));
            assert_eq!(words[1] >> 16, key.eth_dst.to_u64());
            assert_eq!(words[3] >> 48, u64::from(key.tp_src.get()));
            assert_eq!(words[3] >> 32 & 0xffff, u64::from(key.tp_dst.get()));
        }
        Err(Uncacheable::Malformed) => {
            assert!(complete.is_none_or(|layout| layout.malformed.is_some()));
        }
        Err(_) => assert!(complete.is_some()),
    }
}

fn offsets_are_in_order(packet: &[u8], layout: &Layout) {
    let offsets = [
        14,
        layout.l3.into(),
        layout.l4.into(),
        layout.payload.into(),
        layout.end as usize,
        packet.len(),
    ];
    assert!(offsets.is_sorted(), "{offsets:?}");
    assert!(layout.vlan_tags <= 2);
}

/// A packet parses alike whether all of it or only its first bytes are contiguous.
fn segments_do_not_matter(packet: &[u8], key: &FlowKey, layout: &Layout) {
    let head = &packet[..packet.len().min(HEADER_BYTES)];
    let mut again = FlowKey::default();
    assert_eq!(extract(head, packet.len(), &mut again), Ok(*layout));
    assert_eq!(again, *key);
}

fn read_more(packet: &[u8], layout: &Layout) {
    let tcp = TcpInfo::read(packet, layout);
    assert_eq!(tcp.is_some(), layout.transport == Transport::Tcp);
    for encapsulation in [Encapsulation::Geneve, Encapsulation::Vxlan] {
        if let Ok(arrived) = arrived(packet, layout, encapsulation) {
            assert!(usize::from(arrived.inner) + 14 <= layout.end as usize);
        }
    }
}

/// True if all checksums that the packet has are right. Fragments have none that can be checked.
fn sums_are_right(packet: &[u8], layout: &Layout) -> bool {
    let segment = &packet[layout.l4.into()..layout.end as usize];
    let ip = &packet[layout.l3.into()..layout.l4.into()];
    let len = segment.len() as u32;
    let pseudo = |protocol| match layout.network {
        Network::Ipv4 => csum::pseudo_ipv4(
            ip[12..16].try_into().unwrap(),
            ip[16..20].try_into().unwrap(),
            protocol,
            len,
        ),
        _ => csum::pseudo_ipv6(
            ip[8..24].try_into().unwrap(),
            ip[24..40].try_into().unwrap(),
            protocol,
            len,
        ),
    };
    let network = layout.network != Network::Ipv4 || csum::ipv4_header(ip) == 0;
    let transport = match layout.transport {
        Transport::Tcp => pseudo(6).bytes(segment).checksum() == 0,
        Transport::Udp => segment[6..8] == [0, 0] || pseudo(17).bytes(segment).checksum() == 0,
        Transport::Icmpv6 => pseudo(58).bytes(segment).checksum() == 0,
        Transport::Icmp => csum::Sum::default().bytes(segment).checksum() == 0,
        Transport::Sctp => {
            let zeroed = [&segment[..8], &[0; 4], &segment[12..]].concat();
            segment[8..12] == csum::crc32c(&zeroed).to_le_bytes()
        }
        Transport::None => true,
    };
    network && transport
}

fn edits_keep_what_was_right(packet: &[u8], layout: &Layout, choice: u8, value: u8) {
    let checkable = layout.fragment.is_none()
        && !layout.source_routed
        && matches!(layout.network, Network::Ipv4 | Network::Ipv6)
        // A UDP length other than the IP packet's leaves open what the checksum covers.
        && (layout.transport != Transport::Udp
            || usize::from(u16::from_be_bytes(
                packet[usize::from(layout.l4) + 4..][..2].try_into().unwrap(),
            )) == layout.end as usize - usize::from(layout.l4));
    let right = checkable && sums_are_right(packet, layout);
    let mut bytes = packet.to_vec();
    let partial = choice & 0x80 != 0;
    let field = if partial {
        ChecksumField::Partial
    } else {
        ChecksumField::Full
    };
    let embedded = icmp::embedded(packet, layout);
    let mut editor = Editor::new(&mut bytes, layout, field);
    let port = u16::from(value) << 8 | u16::from(choice);
    editor.set_eth_dst(MacAddr([value; 6]));
    editor.set_vlan(choice & 3, port);
    editor.set_tos(value);
    editor.decrement_ttl();
    editor.set_ipv6_label(u32::from(port));
    editor.set_arp_operation(port);
    editor.set_arp_spa([value; 4]);
    editor.set_mpls(u32::from(port) << 16 | 0x100, 0xffff_00ff);
    editor.set_pbb(u32::from(port), 0xffff);
    editor.set_src_port(port);
    editor.set_dst_port(!port);
    editor.set_ipv4_src([value; 4]);
    editor.set_ipv4_dst([choice; 4]);
    editor.set_ipv6_src([value; 16]);
    editor.set_ipv6_dst([choice; 16]);
    editor.set_nd_target([value; 16]);
    editor.set_nd_sll(MacAddr([value; 6]));
    editor.set_nd_tll(MacAddr([choice; 6]));
    editor.set_icmp_id(port);
    if let Some(old) = embedded {
        let mut new = old;
        (new.src, new.dst) = (old.dst, old.src);
        (new.src_port, new.dst_port) = (new.dst_port, new.src_port);
        translate_embedded(&mut editor, &old, &new);
    }
    assert_eq!(bytes.len(), packet.len());
    if right && !partial {
        assert!(sums_are_right(&bytes, layout));
    }
    let mut key = FlowKey::default();
    let after = extract(&bytes, bytes.len(), &mut key).unwrap();
    assert_eq!(
        (after.l3, after.l4, after.end),
        (layout.l3, layout.l4, layout.end)
    );
    assert_eq!(after.transport, layout.transport);
}

/// A packet whose front grows and shrinks.
struct Bytes(Vec<u8>);

impl Room for Bytes {
    fn head_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn grow(&mut self, n: usize) -> bool {
        self.0.splice(0..0, std::iter::repeat_n(0, n));
        true
    }

    fn shrink(&mut self, n: usize) -> bool {
        let enough = n < self.0.len();
        if enough {
            self.0.drain(..n);
        }
        enough
    }
}

/// What is put on comes off again; what is taken off leaves something that can be read.
fn reshapes(packet: &[u8], layout: &Layout, value: u8) {
    let mut key = FlowKey::default();
    let mut read = |bytes: &Bytes| extract(&bytes.0, bytes.0.len(), &mut key);
    let ethertype = u16::from_be_bytes([packet[12], packet[13]]);
    let mut bytes = Bytes(packet.to_vec());
    if reshape::push_pbb(&mut bytes, layout) {
        let tagged = read(&bytes).unwrap();
        assert_eq!(tagged.network, Network::Pbb);
        assert!(reshape::pop_pbb(&mut bytes, &tagged));
        assert_eq!(bytes.0, packet);
    }
    if layout.vlan_tags == 0 && reshape::push_mpls(&mut bytes, layout, 0x8847) {
        if let Ok(labelled) = read(&bytes)
            && labelled.network == Network::Mpls
        {
            let mut editor = Editor::new(&mut bytes.0, &labelled, ChecksumField::Full);
            editor.set_mpls(value.into(), 0xff);
            editor.copy_ttl_in();
            editor.copy_ttl_out();
            let labelled = read(&bytes).unwrap();
            assert!(reshape::pop_mpls(&mut bytes, &labelled, ethertype));
        }
        assert_eq!(bytes.0.len(), packet.len());
    }
    let mut bytes = Bytes(packet.to_vec());
    let popped = match value & 1 {
        0 => reshape::pop_mpls(&mut bytes, layout, 0x0800),
        _ => reshape::pop_pbb(&mut bytes, layout),
    };
    let _ = read(&bytes);
    assert!(popped || bytes.0 == packet);
    let mut editor = Editor::new(&mut bytes.0, layout, ChecksumField::Full);
    if !popped && editor.set_ip_proto(value) {
        assert!(matches!(layout.network, Network::Ipv4 | Network::Ipv6));
    }
    let mut map = OptionMap::default();
    map[0] = Some(GeneveOption {
        class: 0x0102,
        kind: 0x80,
        len: 4,
    });
    if let Ok(options) = Options::read(&map, packet) {
        assert_eq!(options.present & !1, 0);
    }
}

fn answers(packet: &[u8], layout: &Layout) {
    let mut bytes = packet.to_vec();
    let is_query = icmp::echo_reply(&mut bytes, layout);
    assert!(
        !is_query || layout.icmp_id != 0 || packet[usize::from(layout.l4) + 4..][..2] == [0, 0]
    );
    let mut out = [0; icmp::ERROR_BYTES];
    let from = if layout.network == Network::Ipv4 {
        IpAddr::from([10, 0, 0, 1])
    } else {
        IpAddr::from([0xfd; 16])
    };
    let us = (MacAddr([2; 6]), from);
    if let Some(len) = icmp::error(packet, layout, Problem::TooBig(1400), us, &mut out) {
        let error = &out[..len];
        let layout = extract(error, len, &mut FlowKey::default()).unwrap();
        assert_eq!(layout.malformed, None);
        assert!(sums_are_right(error, &layout));
    }
}

/// Segments hold all of the payload, in order.
fn cut(packet: &[u8], layout: &Layout, size: u16) {
    let kind = match layout.transport {
        Transport::Tcp => Kind::Tcp,
        Transport::Udp => Kind::Udp,
        _ => return,
    };
    let inner_start = arrived(packet, layout, Encapsulation::Geneve)
        .ok()
        .and_then(|arrived| {
            let inner = packet.get(arrived.inner.into()..)?;
            let layout = extract(inner, inner.len(), &mut FlowKey::default()).ok()?;
            Some(arrived.inner + layout.l4)
        });
    for start in [Some(layout.l4), inner_start].into_iter().flatten() {
        for kind in [kind, Kind::Tcp] {
            let Ok(mut segmenter) = Segmenter::new(packet, packet.len(), start, kind, size) else {
                continue;
            };
            let mut header = [0; MAX_HEADER];
            let mut next = None;
            let count = segmenter.remaining();
            for _ in 0..count {
                let segment = segmenter.next_into(&mut header).unwrap();
                assert!(segment.payload.len() <= size.into());
                assert_eq!(
                    *next.get_or_insert(segment.payload.start),
                    segment.payload.start
                );
                next = Some(segment.payload.end);
                let layout = extract(
                    &header[..segment.header_len],
                    segment.header_len + segment.payload.len(),
                    &mut FlowKey::default(),
                )
                .unwrap();
                assert_eq!(layout.malformed, None);
            }
            assert_eq!(segmenter.next_into(&mut header), None);
        }
    }
}
