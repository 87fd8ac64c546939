//! Headers put on a packet and taken off it: MPLS label stack entries and PBB I-TAGs (OpenFlow 1.3.5,
//! 5.12).
//!
//! What a packet is after that is for [`crate::parse::extract`] to say: headers that were behind a
//! label come to light, or vanish behind one.

use zerocopy::IntoBytes;
use zerocopy::big_endian::{U16, U32};

use crate::MacAddr;
use crate::headers::{Ethernet, Ipv4, Ipv6, VlanTag, ethertype, view, view_mut};
use crate::parse::{Layout, Network, is_vlan};

/// Bytes of a label stack entry (RFC 3032 2.1).
pub const LSE_LEN: usize = 4;
/// Bit of a label stack entry that says that no other follows.
pub const BOTTOM_OF_STACK: u32 = 0x100;
/// Bytes that an I-TAG adds: the backbone's addresses, an ethertype, and the tag's own fields.
pub const PBB_LEN: usize = Ethernet::LEN + ITAG_LEN;
/// Bytes of an I-TAG between its ethertype and the customer's addresses.
pub(crate) const ITAG_LEN: usize = 4;
/// Service instance in an I-TAG.
const ISID: u32 = 0xff_ffff;
const ADDRESSES: usize = 2 * size_of::<MacAddr>();
/// Most bytes of link-layer addresses and tags that are moved: more tags than a packet is parsed with.
const MOST_TAGS: usize = ADDRESSES + 8 * VlanTag::LEN;

/// A packet whose front can grow and shrink.
pub trait Room {
    /// Its first bytes, all headers in them.
    fn head_mut(&mut self) -> &mut [u8];
    /// Puts `n` bytes of any content in front, contiguous with the headers; false if they cannot be had.
    fn grow(&mut self, n: usize) -> bool;
    /// Takes `n` bytes from the front; false, and nothing changed, if there are fewer.
    fn shrink(&mut self, n: usize) -> bool;
}

/// Pushes a label stack entry, behind any VLAN tags: a copy of the outermost one, or else label 0 with
/// the time to live of the IP header (0 if there is none) at the bottom of the stack.
pub fn push_mpls(packet: &mut impl Room, layout: &Layout, ethertype: u16) -> bool {
    let l3 = usize::from(layout.l3);
    let head = packet.head_mut();
    let entry = match layout.network {
        Network::Mpls => view::<U32>(head, l3).map(|entry| entry.get() & !BOTTOM_OF_STACK),
        Network::Ipv4 => view::<Ipv4>(head, l3).map(|ip| BOTTOM_OF_STACK | u32::from(ip.ttl)),
        Network::Ipv6 => view::<Ipv6>(head, l3).map(|ip| BOTTOM_OF_STACK | u32::from(ip.hop_limit)),
        _ => Some(BOTTOM_OF_STACK),
    };
    let Some(entry) = entry else {
        return false;
    };
    if !packet.grow(LSE_LEN) {
        return false;
    }
    let head = packet.head_mut();
    if head.len() < LSE_LEN + l3 {
        return false;
    }
    head.copy_within(LSE_LEN..LSE_LEN + l3, 0);
    put(head, l3, &entry.to_be_bytes()) && set_ethertype(head, l3, ethertype)
}

/// Takes the outermost label stack entry off; the packet gets that ethertype.
pub fn pop_mpls(packet: &mut impl Room, layout: &Layout, ethertype: u16) -> bool {
    let l3 = usize::from(layout.l3);
    let head = packet.head_mut();
    if layout.network != Network::Mpls || head.len() < l3 + LSE_LEN {
        return false;
    }
    set_ethertype(head, l3, ethertype);
    head.copy_within(0..l3, LSE_LEN);
    packet.shrink(LSE_LEN)
}

/// Puts a label in front of a whole frame, behind an Ethernet header that says nothing but the ethertype:
/// the frame is then what follows the label. The time to live is that of the frame's IP header, or 64.
pub fn encap_mpls(packet: &mut impl Room, layout: &Layout, ethertype: u16) -> bool {
    let l3 = usize::from(layout.l3);
    let head = packet.head_mut();
    let ttl = match layout.network {
        Network::Ipv4 => view::<Ipv4>(head, l3).map(|ip| ip.ttl),
        Network::Ipv6 => view::<Ipv6>(head, l3).map(|ip| ip.hop_limit),
        _ => Some(64),
    };
    let Some(ttl) = ttl else {
        return false;
    };
    let outer = Ethernet {
        dst: MacAddr::ZERO,
        src: MacAddr::ZERO,
        ethertype: ethertype.into(),
    };
    let entry = BOTTOM_OF_STACK | u32::from(ttl);
    packet.grow(Ethernet::LEN + LSE_LEN)
        && put(packet.head_mut(), 0, outer.as_bytes())
        && put(packet.head_mut(), Ethernet::LEN, &entry.to_be_bytes())
}

/// Takes off a label with the Ethernet header in front of it, from a whole frame.
pub fn decap_mpls(packet: &mut impl Room, layout: &Layout) -> bool {
    layout.network == Network::Mpls && packet.shrink(usize::from(layout.l3) + LSE_LEN)
}

/// Pushes an I-TAG: the addresses are copied to the backbone's, the priority from the outermost VLAN
/// tag, the service instance from an I-TAG that is there already.
pub fn push_pbb(packet: &mut impl Room, layout: &Layout) -> bool {
    let head = packet.head_mut();
    let Some(ethernet) = view::<Ethernet>(head, 0).copied() else {
        return false;
    };
    let priority = match view::<VlanTag>(head, Ethernet::LEN) {
        Some(tag) if is_vlan(ethernet.ethertype.get()) => u32::from(tag.tci.get() >> 13),
        _ => 0,
    };
    let service = match view::<U32>(head, layout.l3.into()) {
        Some(tag) if layout.network == Network::Pbb => tag.get() & ISID,
        _ => 0,
    };
    if !packet.grow(PBB_LEN) {
        return false;
    }
    let head = packet.head_mut();
    let Some(outer) = view_mut::<Ethernet>(head, 0) else {
        return false;
    };
    *outer = Ethernet {
        ethertype: ethertype::PBB.into(),
        ..ethernet
    };
    put(
        head,
        Ethernet::LEN,
        &(priority << 29 | service).to_be_bytes(),
    )
}

/// Takes the outermost I-TAG off: the customer's addresses become the packet's. Tags in front of it
/// stay.
pub fn pop_pbb(packet: &mut impl Room, layout: &Layout) -> bool {
    let customer = usize::from(layout.l3) + ITAG_LEN;
    let Some(tags) = usize::from(layout.l3).checked_sub(Ethernet::LEN) else {
        return false;
    };
    let head = packet.head_mut();
    let front_len = ADDRESSES + tags;
    let mut front = [0; MOST_TAGS];
    let (Some(front), Some(from)) = (
        front.get_mut(..front_len),
        head.get(customer..customer + ADDRESSES),
    ) else {
        return false;
    };
    if layout.network != Network::Pbb {
        return false;
    }
    let (addresses, kept) = front.split_at_mut(ADDRESSES);
    addresses.copy_from_slice(from);
    kept.copy_from_slice(head.get(ADDRESSES..front_len).unwrap_or_default());
    packet.shrink(PBB_LEN) && put(packet.head_mut(), 0, front)
}

/// The ethertype in front of the network header.
fn set_ethertype(head: &mut [u8], l3: usize, ethertype: u16) -> bool {
    let field = l3.checked_sub(2).and_then(|at| view_mut::<U16>(head, at));
    field.map(|field| field.set(ethertype)).is_some()
}

fn put(head: &mut [u8], at: usize, bytes: &[u8]) -> bool {
    let place = head.get_mut(at..at + bytes.len());
    place.map(|place| place.copy_from_slice(bytes)).is_some()
}
