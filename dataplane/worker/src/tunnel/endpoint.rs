//! What this node's tunnel endpoints do with packets from their uplink: take tunnel packets out of
//! their wrapping, answer for their own address, and let everything else pass.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use net::csum::Sum;
use net::ecn;
use net::edit::{ChecksumField, Editor};
use net::exact::TunnelKey;
use net::headers::{Arp, Ethernet, Icmp, Ipv4, Ipv6, Udp, VlanTag, ethertype, view};
use net::options::Options;
use net::parse::{Layout, Network, Transport};
use net::tunnel::{Encapsulation, GENEVE_PORT, TunnelFault, VXLAN_PORT};
use net::{FlowKey, MacAddr, PortNo};
use packet::{Csum, Gso, Packet};
use ports::TunnelKind;

use super::inherit;
use super::neighbors::{Neighbors, Question};
use crate::{DropReason, Endpoint, PortMap};

/// What an outer network header says.
struct Outer {
    src: IpAddr,
    dst: IpAddr,
    tos: u8,
}

impl Outer {
    fn ipv4(ip: &Ipv4) -> Outer {
        let (src, dst) = (ip.src.into(), ip.dst.into());
        let tos = ip.tos;
        Outer { src, dst, tos }
    }

    fn ipv6(ip: &Ipv6) -> Outer {
        let (src, dst) = (ip.src.into(), ip.dst.into());
        let tos = ip.tos();
        Outer { src, dst, tos }
    }
}

/// A short frame that the endpoint sends by itself.
pub(crate) type OwnFrame = ArrayVec<u8, 128>;

/// What becomes of a packet from an uplink.
#[derive(Debug, PartialEq)]
pub(crate) enum Arrival {
    /// Not for the endpoint: into the tables.
    Pass,
    /// Used up.
    Consumed,
    /// Used up; send this back.
    Answer(OwnFrame),
    /// An echo request for us: turn it round with [`net::icmp::echo_reply`].
    Echo,
    /// A tunnel packet: trim this many bytes, go on as if it came in on that port.
    Inner {
        port: PortNo,
        key: TunnelKey,
        trim: usize,
        /// TOS of the outer header.
        tos: u8,
    },
    /// Counted and gone.
    Drop(DropReason),
}

/// Looks at a packet whose headers fit the exact key.
pub(crate) fn ordinary(
    ports: &PortMap,
    endpoint: &Endpoint,
    head: &[u8],
    layout: &Layout,
) -> Arrival {
    let outer = match (layout.network, endpoint.vtep.address) {
        (Network::Ipv4, IpAddr::V4(_)) => view::<Ipv4>(head, layout.l3.into()).map(Outer::ipv4),
        (Network::Ipv6, IpAddr::V6(_)) => view::<Ipv6>(head, layout.l3.into()).map(Outer::ipv6),
        _ => None,
    };
    let Some(outer) = outer.filter(|outer| outer.dst == endpoint.vtep.address) else {
        return Arrival::Pass;
    };
    if !is_for(endpoint, head) {
        return Arrival::Pass;
    }
    match layout.transport {
        Transport::Udp => match view::<Udp>(head, layout.l4.into()).map(|udp| udp.dst.get()) {
            Some(GENEVE_PORT) => inner(ports, TunnelKind::Geneve, head, layout, &outer),
            Some(VXLAN_PORT) => inner(ports, TunnelKind::Vxlan, head, layout, &outer),
            _ => Arrival::Pass,
        },
        Transport::Icmp | Transport::Icmpv6 => {
            let request = if layout.transport == Transport::Icmp {
                8
            } else {
                128
            };
            match view::<Icmp>(head, layout.l4.into()) {
                Some(icmp) if icmp.kind == request => Arrival::Echo,
                _ => Arrival::Pass,
            }
        }
        _ => Arrival::Pass,
    }
}

/// Looks at ARP and neighbour discovery, which only the complete parser reads.
pub(crate) fn resolution(
    neighbors: &Neighbors,
    endpoint: &Endpoint,
    head: &[u8],
    key: &FlowKey,
    layout: &Layout,
    now: u64,
) -> Arrival {
    if !tags_fit(endpoint, head) {
        return Arrival::Pass;
    }
    let ours = endpoint.vtep.address;
    let answer = |frame: &[u8]| Arrival::Answer(tagged(endpoint, frame));
    match (layout.network, ours) {
        (Network::Arp, IpAddr::V4(us)) => {
            let Some(arp) = view::<Arp>(head, layout.l3.into()) else {
                return Arrival::Pass;
            };
            let for_us = arp.target_ip == us.octets() && arp.sender_ip != us.octets();
            let sender = IpAddr::from(arp.sender_ip);
            if arp.sender_mac.is_unicast() {
                neighbors.learn(ours, sender, arp.sender_mac, now, for_us);
            }
            match arp.operation.get() {
                net::arp::REQUEST if for_us => answer(&net::arp::reply(
                    endpoint.mac,
                    us.octets(),
                    arp.sender_mac,
                    arp.sender_ip,
                )),
                net::arp::REPLY if for_us => Arrival::Consumed,
                _ => Arrival::Pass,
            }
        }
        (Network::Ipv6, IpAddr::V6(us)) if layout.transport == Transport::Icmpv6 => {
            let sender = IpAddr::from(key.ipv6_src);
            match key.tp_src.get() as u8 {
                net::nd::SOLICITATION if key.nd_target == us.octets() => {
                    if key.arp_sha.is_unicast() && key.ipv6_src != [0; 16] {
                        neighbors.learn(ours, sender, key.arp_sha, now, true);
                    }
                    answer(&net::nd::advertisement(
                        endpoint.mac,
                        us.octets(),
                        key.eth_src,
                        key.ipv6_src,
                        false,
                    ))
                }
                net::nd::ADVERTISEMENT if key.ipv6_dst == us.octets() => {
                    if key.arp_tha.is_unicast() {
                        let target = IpAddr::from(key.nd_target);
                        neighbors.learn(ours, target, key.arp_tha, now, false);
                    }
                    Arrival::Consumed
                }
                _ => Arrival::Pass,
            }
        }
        _ => Arrival::Pass,
    }
}

/// The frame that asks for a next hop.
pub(crate) fn question(endpoint: &Endpoint, question: Question) -> Option<OwnFrame> {
    let mac = endpoint.mac;
    match (endpoint.vtep.address, question.address) {
        (IpAddr::V4(us), IpAddr::V4(them)) => {
            let frame = net::arp::request(mac, us.octets(), them.octets());
            Some(tagged(endpoint, &frame))
        }
        (IpAddr::V6(us), IpAddr::V6(them)) => {
            let frame = net::nd::solicitation(mac, us.octets(), them.octets());
            Some(tagged(endpoint, &frame))
        }
        _ => None,
    }
}

/// False if the packet has an outer UDP checksum that is wrong (RFC 8926 3.3: must be dropped).
pub(crate) fn checksum_fits(packet: &Packet, layout: &Layout) -> bool {
    let (l4, end) = (usize::from(layout.l4), layout.end as usize);
    let sum = match view::<Udp>(packet.head(), l4) {
        // Zero is none, which VXLAN and Geneve may have over IPv6 too (RFC 6936).
        Some(udp) if udp.checksum.get() == 0 => return true,
        Some(_) => net::tunnel::pseudo_header(packet.head(), layout),
        None => return false,
    };
    // A device has checked it, or the sender is on this machine.
    if packet.meta().csum != Csum::Unknown {
        return true;
    }
    let mut at = 0;
    let covered = packet.segments().map(|segment| {
        let from = l4.saturating_sub(at).min(segment.len());
        let to = end.saturating_sub(at).min(segment.len()).max(from);
        at += segment.len();
        segment.get(from..to).unwrap_or_default()
    });
    covered.fold(sum, Sum::bytes).checksum() == 0
}

/// Brings congestion that the tunnel met into the packet, whose outer headers are off. False if it
/// cannot be told that way, and the packet is to be dropped.
#[cold]
pub(crate) fn congestion(packet: &mut Packet, outer_tos: u8) -> bool {
    let parsed = net::parse::extract(packet.head(), packet.len(), &mut FlowKey::default());
    let Ok(layout) = parsed else { return true };
    let Some((tos, _)) = inherit::read(packet.head(), &layout) else {
        // What is not IP has no way to say it (RFC 6040 leaves it to its own protocol).
        return true;
    };
    match ecn::arrived(tos, outer_tos) {
        Some(marked) if marked == tos => true,
        Some(marked) => {
            // A TOS is in no transport checksum.
            let field = ChecksumField::Full;
            Editor::new(packet.head_mut(), &layout, field).set_tos(marked);
            true
        }
        None => false,
    }
}

/// Takes the outer headers off, and what pads the frame behind its `end`. What a device said of the
/// outer checksum says nothing of the inner.
pub(crate) fn unwrap(packet: &mut Packet, trim: usize, end: u32) -> bool {
    if packet.len() > end as usize && packet.meta().gso == Gso::None {
        packet.truncate(end as usize);
    }
    let meta = packet.meta_mut();
    if meta.csum == Csum::Valid {
        meta.csum = Csum::Unknown;
    }
    meta.tunnel_len = 0;
    packet.trim_front(trim)
}

fn inner(
    ports: &PortMap,
    kind: TunnelKind,
    head: &[u8],
    layout: &Layout,
    outer: &Outer,
) -> Arrival {
    let encapsulation = match kind {
        TunnelKind::Geneve => Encapsulation::Geneve,
        TunnelKind::Vxlan => Encapsulation::Vxlan,
    };
    let arrived = match net::tunnel::arrived(head, layout, encapsulation) {
        Ok(arrived) => arrived,
        Err(fault) => return Arrival::Drop(reason(fault)),
    };
    let inner = usize::from(arrived.inner);
    let bytes = head.get(inner - usize::from(arrived.options)..inner);
    let options = bytes.map(|bytes| Options::read(ports.tunnel_options(), bytes));
    let options = match options {
        Some(Ok(options)) => options,
        Some(Err(fault)) => return Arrival::Drop(reason(fault)),
        None => return Arrival::Drop(DropReason::TunnelMalformed),
    };
    if arrived.oam {
        return Arrival::Consumed;
    }
    let Some(port) = ports.tunnel_for(kind, outer.src, arrived.vni.get()) else {
        return Arrival::Drop(DropReason::TunnelNoPort);
    };
    match port.refuses_rx() {
        Some(reason) => Arrival::Drop(reason),
        None => Arrival::Inner {
            port: port.number,
            key: TunnelKey {
                id: arrived.vni.get().into(),
                src: outer.src,
                dst: outer.dst,
                options,
            },
            trim: arrived.inner.into(),
            tos: outer.tos,
        },
    }
}

fn reason(fault: TunnelFault) -> DropReason {
    match fault {
        TunnelFault::Malformed | TunnelFault::NotEthernet => DropReason::TunnelMalformed,
        TunnelFault::CriticalOption => DropReason::TunnelCriticalOption,
        TunnelFault::Fragment => DropReason::TunnelFragment,
    }
}

/// Sent to the endpoint's link-layer address, with its tag.
fn is_for(endpoint: &Endpoint, head: &[u8]) -> bool {
    let addressed = view::<Ethernet>(head, 0).is_some_and(|e| e.dst == endpoint.mac);
    addressed && tags_fit(endpoint, head)
}

fn tags_fit(endpoint: &Endpoint, head: &[u8]) -> bool {
    let Some(ethernet) = view::<Ethernet>(head, 0) else {
        return false;
    };
    let tagged = matches!(ethernet.ethertype.get(), ethertype::VLAN | ethertype::QINQ);
    let found = match view::<VlanTag>(head, Ethernet::LEN) {
        Some(tag) if tagged => tag.tci.get() & 0xfff,
        _ => 0,
    };
    // A priority tag (identifier 0) is no VLAN (IEEE 802.1Q 6.9.1).
    found == endpoint.vtep.vlan.map_or(0, |vlan| vlan.get())
}

/// A frame of ours with the underlay's tag.
fn tagged(endpoint: &Endpoint, frame: &[u8]) -> OwnFrame {
    let mut out = OwnFrame::new();
    let (addresses, rest) = frame.split_at(frame.len().min(2 * size_of::<MacAddr>()));
    let tag = endpoint.vtep.vlan.map(|vlan| {
        let [a, b] = ethertype::VLAN.to_be_bytes();
        let [c, d] = vlan.get().to_be_bytes();
        [a, b, c, d]
    });
    // The longest frame is a neighbour discovery of 86 bytes: it fits.
    let _ = out.try_extend_from_slice(addresses);
    let _ = out.try_extend_from_slice(tag.as_ref().map_or(&[][..], |tag| &tag[..]));
    let _ = out.try_extend_from_slice(rest);
    out
}
