//! Labels and I-TAGs put on and taken off any frame, and what the parser makes of it.

mod common;

use common::{Frame, Ip, L4, frames};
use net::edit::{ChecksumField, Editor, checksum_offset};
use net::parse::{Layout, Network, Transport, extract};
use net::reshape::{PBB_LEN, Room, pop_mpls, pop_pbb, push_mpls, push_pbb};
use net::{FlowKey, csum};
use proptest::prelude::*;

#[derive(Clone, Debug, PartialEq)]
struct Bytes(Vec<u8>);

impl Room for Bytes {
    fn head_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn grow(&mut self, n: usize) -> bool {
        self.0.splice(0..0, std::iter::repeat_n(0x5a, n));
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

impl Bytes {
    fn parse(&self) -> (FlowKey, Layout) {
        let mut key = FlowKey::default();
        let layout = extract(&self.0, self.0.len(), &mut key).unwrap();
        (key, layout)
    }
}

fn ttl(frame: &Frame) -> u8 {
    match frame.ip {
        Ip::V4 { ttl, .. } => ttl,
        Ip::V6 { hop_limit, .. } => hop_limit,
    }
}

fn ethertype(frame: &Frame) -> u16 {
    match frame.ip {
        Ip::V4 { .. } => 0x0800,
        Ip::V6 { .. } => 0x86dd,
    }
}

/// True if the IPv4 header's checksum and the transport checksum for a pseudo-header with `proto` are
/// right.
fn sums_are_right(bytes: &[u8], layout: &Layout, proto: u8) -> bool {
    let ip = &bytes[layout.l3.into()..layout.l4.into()];
    let segment = &bytes[layout.l4.into()..layout.end as usize];
    let len = segment.len() as u32;
    let v4 = layout.network == Network::Ipv4;
    let pseudo = match v4 {
        true => csum::pseudo_ipv4(
            ip[12..16].try_into().unwrap(),
            ip[16..20].try_into().unwrap(),
            proto,
            len,
        ),
        false => csum::pseudo_ipv6(
            ip[8..24].try_into().unwrap(),
            ip[24..40].try_into().unwrap(),
            proto,
            len,
        ),
    };
    let header = !v4 || csum::ipv4_header(ip) == 0;
    let at = checksum_offset(layout.transport);
    let covered = matches!(
        layout.transport,
        Transport::Tcp | Transport::Udp | Transport::Icmpv6
    );
    let none = layout.transport == Transport::Udp && segment[6..8] == [0, 0];
    header && (!covered || at.is_none() || none || pseudo.bytes(segment).checksum() == 0)
}

proptest! {
    #![proptest_config(common::config(2000))]

    #[test]
    fn labels_stack_up_and_come_off_again(frame in frames(), labels in 1..4usize) {
        let plain = Bytes(frame.build());
        let mut bytes = plain.clone();
        let mut stages = Vec::new();
        for at in 0..labels {
            let (key, layout) = bytes.parse();
            stages.push((bytes.clone(), layout, key.eth_type.get()));
            prop_assert!(push_mpls(&mut bytes, &layout, 0x8847));
            let (now, layout) = bytes.parse();
            prop_assert_eq!((now.eth_type.get(), layout.network), (0x8847, Network::Mpls));
            prop_assert_eq!((now.vlan_tci, now.vlan_tci2), (key.vlan_tci, key.vlan_tci2));
            let bottom = if at == 0 { 0x100 } else { 0 };
            prop_assert_eq!(now.mpls[0].get(), bottom | u32::from(ttl(&frame)));
            prop_assert_eq!(now.mpls[1], key.mpls[0]);
            prop_assert_eq!((now.nw_src.get(), now.ipv6_src, now.nw_ttl), (0, [0; 16], 0));
            prop_assert_eq!(bytes.0.len(), plain.0.len() + 4 * (at + 1));
        }
        while let Some((before, layout, ethertype)) = stages.pop() {
            let (_, now) = bytes.parse();
            prop_assert!(pop_mpls(&mut bytes, &now, ethertype));
            prop_assert_eq!(&bytes, &before);
            prop_assert_eq!(bytes.parse().1, layout);
        }
        let (_, layout) = bytes.parse();
        prop_assert!(!pop_mpls(&mut bytes, &layout, 0x0800), "there is none");
        prop_assert_eq!(bytes, plain);
    }

    #[test]
    fn i_tags_stack_up_and_come_off_again(frame in frames(), service in any::<u32>()) {
        let plain = Bytes(frame.build());
        let mut bytes = plain.clone();
        let (before, layout) = bytes.parse();
        prop_assert!(push_pbb(&mut bytes, &layout));
        prop_assert_eq!(&bytes.0[PBB_LEN..], &plain.0[..]);
        let (now, layout) = bytes.parse();
        prop_assert_eq!((now.eth_dst, now.eth_src), (before.eth_dst, before.eth_src));
        prop_assert_eq!((now.eth_type.get(), now.vlan_tci.get()), (0x88e7, 0));
        prop_assert_eq!(now.pbb_itag.get(), u32::from(before.vlan_tci.get() >> 13) << 29);
        let mut editor = Editor::new(&mut bytes.0, &layout, ChecksumField::Full);
        prop_assert!(editor.set_pbb(service, 0xff_ffff));
        let once = bytes.clone();
        prop_assert!(push_pbb(&mut bytes, &layout));
        let (twice, outer) = bytes.parse();
        prop_assert_eq!(twice.pbb_itag.get(), service & 0xff_ffff);
        prop_assert!(pop_pbb(&mut bytes, &outer));
        prop_assert_eq!(&bytes, &once);
        prop_assert!(pop_pbb(&mut bytes, &layout));
        prop_assert_eq!(bytes, plain);
    }

    #[test]
    fn a_copied_time_to_live_keeps_the_checksum_right(frame in frames(), time in any::<u8>()) {
        let mut bytes = Bytes(frame.build());
        let (_, layout) = bytes.parse();
        push_mpls(&mut bytes, &layout, 0x8847);
        let (_, labelled) = bytes.parse();
        let mut editor = Editor::new(&mut bytes.0, &labelled, ChecksumField::Full);
        prop_assert!(editor.set_mpls(time.into(), 0xff));
        prop_assert!(editor.copy_ttl_in());
        prop_assert!(pop_mpls(&mut bytes, &labelled, ethertype(&frame)));
        let (key, layout) = bytes.parse();
        prop_assert_eq!(key.nw_ttl, time);
        prop_assert!(sums_are_right(&bytes.0, &layout, frame.proto()));
    }

    #[test]
    fn a_changed_protocol_is_in_every_checksum(frame in frames(), proto in any::<u8>()) {
        let mut bytes = frame.build();
        let layout = Bytes(bytes.clone()).parse().1;
        // A fragment does not say what its checksum covers.
        prop_assume!(layout.fragment.is_none());
        let before = bytes.clone();
        let mut editor = Editor::new(&mut bytes, &layout, ChecksumField::Full);
        prop_assert!(editor.set_ip_proto(proto));
        prop_assert!(sums_are_right(&bytes, &layout, proto), "{:?}", layout);
        prop_assert!(editor_restores(&mut bytes, &layout, frame.proto()));
        // A checksum that was zero may come back as its other form.
        let zero = matches!(frame.l4, L4::Tcp { .. } | L4::Icmp { .. });
        prop_assert!(bytes == before || zero);
    }
}

fn editor_restores(bytes: &mut [u8], layout: &Layout, proto: u8) -> bool {
    Editor::new(bytes, layout, ChecksumField::Full).set_ip_proto(proto)
        && sums_are_right(bytes, layout, proto)
}
