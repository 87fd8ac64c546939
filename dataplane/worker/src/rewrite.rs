//! Steps of a program that change a packet, one by one.
//!
//! They are done to packets when a program is run, and to a copy of a packet's headers while the
//! tables are walked, where something must be known of the packet as it will be.

use net::MacAddr;
use net::edit::{ChecksumField, Editor, translate_embedded};
use net::headers::VlanTag;
use net::parse::{HEADER_BYTES, Layout};
use net::reshape::{self, Room};
use packet::Packet;

use crate::program::{Fields, Op, Operands, Reshape};

/// Bytes of the link-layer addresses, and with one tag behind them.
const ADDRESSES: usize = 2 * size_of::<MacAddr>();
const TAGGED: usize = ADDRESSES + VlanTag::LEN;

/// One header change. A field that the packet does not have stays as it is.
pub(crate) fn field(op: &Op, head: &mut [u8], layout: &Layout, checksum: ChecksumField) {
    let mut editor = Editor::new(head, layout, checksum);
    let _has_field = match op {
        Op::EthDst(mac) => editor.set_eth_dst(*mac),
        Op::EthSrc(mac) => editor.set_eth_src(*mac),
        Op::Vlan(tci) => editor.set_vlan(0, *tci),
        Op::Ipv4Src(address) => editor.set_ipv4_src(*address),
        Op::Ipv4Dst(address) => editor.set_ipv4_dst(*address),
        Op::Ipv6Src(address) => editor.set_ipv6_src(*address),
        Op::Ipv6Dst(address) => editor.set_ipv6_dst(*address),
        Op::Ipv6Label(label) => editor.set_ipv6_label(*label),
        Op::Tos(tos) => editor.set_tos(*tos),
        Op::Ttl(ttl) => editor.set_ttl(*ttl),
        Op::TtlDown(steps) => match editor.ttl() {
            Some(ttl) => editor.set_ttl(ttl.saturating_sub(*steps)),
            None => false,
        },
        Op::TtlUp(steps) => match editor.ttl() {
            Some(ttl) => editor.set_ttl(ttl.saturating_add(*steps)),
            None => false,
        },
        Op::SrcPort(port) => editor.set_src_port(*port),
        Op::DstPort(port) => editor.set_dst_port(*port),
        Op::IcmpType(kind) => editor.set_icmp_type(*kind),
        Op::IcmpCode(code) => editor.set_icmp_code(*code),
        Op::IcmpId(id) => editor.set_icmp_id(*id),
        Op::ArpOperation(operation) => editor.set_arp_operation(*operation),
        Op::ArpSpa(address) => editor.set_arp_spa(*address),
        Op::ArpTpa(address) => editor.set_arp_tpa(*address),
        Op::ArpSha(mac) => editor.set_arp_sha(*mac),
        Op::ArpTha(mac) => editor.set_arp_tha(*mac),
        Op::NdTarget(address) => editor.set_nd_target(*address),
        Op::NdSll(mac) => editor.set_nd_sll(*mac),
        Op::NdTll(mac) => editor.set_nd_tll(*mac),
        Op::Mpls { value, mask } => editor.set_mpls(*value, *mask),
        Op::Pbb { value, mask } => editor.set_pbb(*value, *mask),
        Op::Embedded(change) => translate_embedded(&mut editor, &change.old, &change.new),
        _ => false,
    };
}

/// Writes addresses and ports that a flow has of its own. A field that the packet does not have stays
/// as it is.
pub(crate) fn translate(
    fields: Fields,
    operands: &Operands,
    head: &mut [u8],
    layout: &Layout,
    checksum: ChecksumField,
) {
    let mut editor = Editor::new(head, layout, checksum);
    let (given, [v6_src, v6_dst]) = (&operands.given, operands.v6);
    let [src_port, dst_port] = [given.src_port, given.dst_port].map(u16::from_be_bytes);
    let _has_field = (fields.has(Fields::V4_SRC) && editor.set_ipv4_src(given.src))
        | (fields.has(Fields::V4_DST) && editor.set_ipv4_dst(given.dst))
        | (fields.has(Fields::V6_SRC) && editor.set_ipv6_src(v6_src))
        | (fields.has(Fields::V6_DST) && editor.set_ipv6_dst(v6_dst))
        | (fields.has(Fields::SRC_PORT) && editor.set_src_port(src_port))
        | (fields.has(Fields::DST_PORT) && editor.set_dst_port(dst_port))
        | (fields.has(Fields::ICMP_ID) && editor.set_icmp_id(src_port));
}

/// Does it to a packet, or to the copy of its headers that a walk works with. False if there is no room;
/// a packet that lacks the header in question stays as it is.
pub(crate) fn apply(
    change: Reshape,
    packet: &mut impl Room,
    layout: &mut Layout,
    checksum: ChecksumField,
) -> bool {
    match change {
        Reshape::PushMpls(ethertype) => return reshape::push_mpls(packet, layout, ethertype),
        Reshape::PushPbb => return reshape::push_pbb(packet, layout),
        Reshape::EncapMpls(ethertype) => return reshape::encap_mpls(packet, layout, ethertype),
        Reshape::DecapMpls => reshape::decap_mpls(packet, layout),
        Reshape::PopMpls(ethertype) => reshape::pop_mpls(packet, layout, ethertype),
        Reshape::PopPbb => reshape::pop_pbb(packet, layout),
        Reshape::PopVlan => {
            pop_vlan(packet, layout);
            true
        }
        edit => {
            let mut editor = Editor::new(packet.head_mut(), layout, checksum);
            match edit {
                Reshape::CopyTtlOut => editor.copy_ttl_out(),
                Reshape::CopyTtlIn => editor.copy_ttl_in(),
                Reshape::DecapEthernet => {
                    editor.set_eth_dst(MacAddr::ZERO) && editor.set_eth_src(MacAddr::ZERO)
                }
                Reshape::EthType(ethertype) => editor.set_eth_type(ethertype),
                Reshape::IpProto(proto) => editor.set_ip_proto(proto),
                _ => false,
            }
        }
    };
    true
}

/// A packet whose front grows and shrinks.
pub(crate) struct Front<'a>(pub &'a mut Packet);

impl Room for Front<'_> {
    #[inline]
    fn head_mut(&mut self) -> &mut [u8] {
        self.0.head_mut()
    }

    #[inline]
    fn grow(&mut self, n: usize) -> bool {
        let headers = (self.0.len() + n).min(HEADER_BYTES);
        self.0.prepend(n).is_some() && self.0.pull_up(headers)
    }

    fn shrink(&mut self, n: usize) -> bool {
        self.0.trim_front(n)
    }
}

/// A copy of a packet's first bytes.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub head: Vec<u8>,
    /// Bytes of the whole packet.
    pub len: usize,
}

impl Room for Copy {
    fn head_mut(&mut self) -> &mut [u8] {
        &mut self.head
    }

    fn grow(&mut self, n: usize) -> bool {
        self.head.splice(0..0, std::iter::repeat_n(0, n));
        self.len += n;
        true
    }

    fn shrink(&mut self, n: usize) -> bool {
        let some_left = n < self.head.len();
        if some_left {
            self.head.drain(..n);
            self.len -= n;
        }
        some_left
    }
}

/// Puts a tag in front of all others.
pub(crate) fn push_vlan(packet: &mut impl Room, tpid: u16, tci: u16, layout: &mut Layout) -> bool {
    let pushed = push_tag(packet, tpid, tci);
    if pushed {
        layout.vlan_tags += 1;
        shift(layout, VlanTag::LEN as i32);
    }
    pushed
}

/// As [`push_vlan`], for a packet whose layout nobody looks at any more.
#[inline]
pub(crate) fn push_tag(packet: &mut impl Room, tpid: u16, tci: u16) -> bool {
    if !packet.grow(VlanTag::LEN) {
        return false;
    }
    let Some(front) = packet.head_mut().first_chunk_mut::<TAGGED>() else {
        return false;
    };
    let [_, _, _, _, addresses @ ..] = *front;
    let ([a, b], [c, d]) = (tpid.to_be_bytes(), tci.to_be_bytes());
    let (place, tag) = front.split_at_mut(ADDRESSES);
    place.copy_from_slice(&addresses);
    tag.copy_from_slice(&[a, b, c, d]);
    true
}

pub(crate) fn pop_vlan(packet: &mut impl Room, layout: &mut Layout) {
    let head = packet.head_mut();
    if head.len() < TAGGED || layout.vlan_tags == 0 {
        return;
    }
    head.copy_within(0..ADDRESSES, VlanTag::LEN);
    if packet.shrink(VlanTag::LEN) {
        layout.vlan_tags -= 1;
        shift(layout, -(VlanTag::LEN as i32));
    }
}

/// Moves everything behind the tags.
fn shift(layout: &mut Layout, by: i32) {
    for offset in [&mut layout.l3, &mut layout.l4, &mut layout.payload] {
        *offset = offset.wrapping_add_signed(by as i16);
    }
    layout.end = layout.end.wrapping_add_signed(by);
}
