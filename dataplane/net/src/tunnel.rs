//! Geneve and VXLAN: the outer headers as a template with three patches, and what an arriving
//! tunnel packet says.

// Template offsets are constants or were written by the constructor, all below TEMPLATE_BYTES.
#![allow(clippy::indexing_slicing)]

use core::fmt;
use core::net::IpAddr;

use zerocopy::IntoBytes;

use crate::headers::{
    Ethernet, Geneve, Ipv4, Ipv6, Udp, VlanTag, Vxlan, ethertype, proto, view, view_mut,
};
use crate::parse::{Layout, Network, Transport};
use crate::{MacAddr, Vni, csum, options};

/// UDP port of Geneve (RFC 8926 3.3).
pub const GENEVE_PORT: u16 = 6081;
/// UDP port of VXLAN (RFC 7348 5).
pub const VXLAN_PORT: u16 = 4789;
/// Most bytes of outer headers: Ethernet, one tag, IPv6, UDP, Geneve with as many options as there are
/// fields for.
pub const TEMPLATE_BYTES: usize = 74 + options::MAX_BYTES;

/// The encapsulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encapsulation {
    /// RFC 8926.
    Geneve,
    /// RFC 7348.
    Vxlan,
}

impl Encapsulation {
    /// Its UDP destination port.
    pub const fn port(self) -> u16 {
        match self {
            Encapsulation::Geneve => GENEVE_PORT,
            Encapsulation::Vxlan => VXLAN_PORT,
        }
    }
}

/// The outer headers of a tunnel, without what changes from packet to packet.
#[derive(Clone, Copy, Debug)]
pub struct Outer<'a> {
    /// Encapsulation.
    pub encapsulation: Encapsulation,
    /// MAC address of the next hop.
    pub eth_dst: MacAddr,
    /// Our own.
    pub eth_src: MacAddr,
    /// VLAN tag of the underlay: priority and identifier.
    pub vlan: Option<u16>,
    /// Our tunnel address.
    pub src: IpAddr,
    /// The other end's, of the same family.
    pub dst: IpAddr,
    /// DSCP and ECN.
    pub tos: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Don't fragment (IPv4).
    pub dont_fragment: bool,
    /// Virtual network.
    pub vni: Vni,
    /// Geneve options as they are on the wire, a multiple of 4 bytes, at most [`options::MAX_BYTES`];
    /// empty for VXLAN.
    pub options: &'a [u8],
}

/// Addresses of two families, or options that do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadOuter;

impl fmt::Display for BadOuter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tunnel ends of different families, or options that do not fit")
    }
}

impl core::error::Error for BadOuter {}

/// Outer headers ready to be copied in front of a packet.
///
/// The UDP checksum is left zero. Over IPv4 that is a complete packet; over IPv6 receivers expect
/// a checksum (RFC 6935), which [`Template::udp_checksum`] computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    bytes: [u8; TEMPLATE_BYTES],
    len: u8,
    l3: u8,
    ipv4: bool,
}

impl Template {
    /// Lays the headers out.
    ///
    /// # Errors
    /// [`BadOuter`] for addresses of different families, or options of a wrong length.
    pub fn new(outer: &Outer<'_>) -> Result<Self, BadOuter> {
        let options = outer.options.len();
        let options_allowed = match outer.encapsulation {
            Encapsulation::Geneve => options::MAX_BYTES,
            Encapsulation::Vxlan => 0,
        };
        if options > options_allowed || !options.is_multiple_of(4) {
            return Err(BadOuter);
        }
        let mut writer = Writer::default();
        let ethertype = if outer.src.is_ipv4() {
            ethertype::IPV4
        } else {
            ethertype::IPV6
        };
        writer.put(&Ethernet {
            dst: outer.eth_dst,
            src: outer.eth_src,
            ethertype: outer.vlan.map_or(ethertype, |_| ethertype::VLAN).into(),
        });
        if let Some(tci) = outer.vlan {
            writer.put(&VlanTag {
                tci: tci.into(),
                ethertype: ethertype.into(),
            });
        }
        let l3 = writer.len;
        match (outer.src, outer.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut ip = Ipv4 {
                    version_ihl: 0x45,
                    tos: outer.tos,
                    total_len: 0.into(),
                    id: 0.into(),
                    fragment: if outer.dont_fragment {
                        Ipv4::DONT_FRAGMENT.into()
                    } else {
                        0.into()
                    },
                    ttl: outer.ttl,
                    proto: proto::UDP,
                    checksum: 0.into(),
                    src: src.octets(),
                    dst: dst.octets(),
                };
                ip.checksum = csum::ipv4_header(ip.as_bytes()).into();
                writer.put(&ip);
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => writer.put(&Ipv6 {
                version_class_label: (0x6000_0000 | u32::from(outer.tos) << 20).into(),
                payload_len: 0.into(),
                next_header: proto::UDP,
                hop_limit: outer.ttl,
                src: src.octets(),
                dst: dst.octets(),
            }),
            _ => return Err(BadOuter),
        }
        writer.put(&Udp {
            src: 0.into(),
            dst: outer.encapsulation.port().into(),
            len: 0.into(),
            checksum: 0.into(),
        });
        let vni = (outer.vni.get() << 8).into();
        match outer.encapsulation {
            Encapsulation::Geneve => {
                writer.put(&Geneve {
                    version_options: (options / 4) as u8,
                    flags: critical_flag(outer.options),
                    protocol: ethertype::BRIDGED.into(),
                    vni,
                });
                writer.put(outer.options);
            }
            Encapsulation::Vxlan => writer.put(&Vxlan {
                flags: 0x08,
                reserved: [0; 3],
                vni,
            }),
        }
        Ok(Template {
            bytes: writer.bytes,
            len: writer.len as u8,
            l3: l3 as u8,
            ipv4: outer.src.is_ipv4(),
        })
    }

    /// Bytes to prepend to a packet. Never empty.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len.into()
    }

    /// Where the outer network header is.
    #[inline]
    pub fn l3(&self) -> usize {
        self.l3.into()
    }

    /// Writes the outer headers of a packet of `inner_len` bytes into `place`, the first
    /// [`Template::len`] bytes of the packet. `src_port` should follow from a hash of the inner
    /// flow (RFC 8926 3.3); `id` is the IPv4 identification. False if `place` is too short.
    ///
    /// A large frame may not fit in an IP packet: its outer lengths are then the highest there
    /// are, until [`crate::gso`] writes those of the segments.
    #[inline]
    pub fn write(&self, place: &mut [u8], inner_len: usize, src_port: u16, id: u16) -> bool {
        let len = self.len();
        let Some(place) = place.get_mut(..len) else {
            return false;
        };
        self.copy_to(place);
        let l3 = self.l3();
        let above = len - l3 + inner_len;
        let l4_len = if self.ipv4 {
            let total = above.min(usize::from(u16::MAX));
            if let Some(ip) = view_mut::<Ipv4>(place, l3) {
                // The template was summed with these two fields zero. No word of it is changed
                // otherwise, so one fold does (RFC 1624, eqn. 3).
                let sum = u64::from(!ip.checksum.get()) + total as u64 + u64::from(id);
                ip.checksum.set(!csum::fold(sum));
                ip.total_len.set(total as u16);
                ip.id.set(id);
            }
            total - Ipv4::LEN
        } else {
            let payload = (above - Ipv6::LEN).min(usize::from(u16::MAX));
            if let Some(ip) = view_mut::<Ipv6>(place, l3) {
                ip.payload_len.set(payload as u16);
            }
            payload
        };
        let (_, l4) = self.outer_places();
        if let Some(udp) = view_mut::<Udp>(place, l4) {
            udp.src.set(src_port);
            udp.len.set(l4_len as u16);
        }
        true
    }

    /// Copies the headers; `place` is as long as they are.
    #[inline]
    fn copy_to(&self, place: &mut [u8]) {
        let bytes = &self.bytes[..place.len()];
        // Without options they have 50 to 64 bytes (70 over IPv6): two copies of known length, which overlap.
        if place.len() <= 64
            && let (Some(start), Some(end)) = (bytes.first_chunk::<32>(), bytes.last_chunk::<32>())
        {
            if let Some(place) = place.first_chunk_mut() {
                *place = *start;
            }
            if let Some(place) = place.last_chunk_mut() {
                *place = *end;
            }
        } else {
            place.copy_from_slice(bytes);
        }
    }

    /// Changes DSCP, ECN and time to live in outer headers that [`Template::write`] wrote.
    pub fn mark(&self, place: &mut [u8], tos: u8, ttl: u8) {
        let l3 = self.l3();
        if self.ipv4 {
            if let Some(ip) = view_mut::<Ipv4>(place, l3) {
                let sum = csum::update16(ip.checksum.get(), u16::from(ip.tos), u16::from(tos));
                let (old, new) = (u16::from(ip.ttl) << 8, u16::from(ttl) << 8);
                ip.checksum.set(csum::update16(sum, old, new));
                (ip.tos, ip.ttl) = (tos, ttl);
            }
        } else if let Some(ip) = view_mut::<Ipv6>(place, l3) {
            let rest = ip.version_class_label.get() & 0xf00f_ffff;
            ip.version_class_label.set(rest | u32::from(tos) << 20);
            ip.hop_limit = ttl;
        }
    }

    /// Where the outer UDP header is.
    pub fn l4(&self) -> usize {
        self.outer_places().1
    }

    /// The outer UDP checksum of a whole encapsulated packet whose bytes from the outer UDP header
    /// on are `segments`, the checksum field in them being zero, and where in the packet it
    /// belongs. Inner checksums must be complete before.
    pub fn udp_checksum<'a>(&self, segments: impl IntoIterator<Item = &'a [u8]>) -> (usize, u16) {
        let mut len = 0usize;
        let mut sum = csum::Sum::default();
        for segment in segments {
            len += segment.len();
            sum = sum.bytes(segment);
        }
        let checksum = sum.word(self.pseudo_header(len)).nonzero_checksum();
        let (_, l4) = self.outer_places();
        (l4 + core::mem::offset_of!(Udp, checksum), checksum)
    }

    /// The outer UDP checksum of an encapsulated packet of `total_len` bytes whose inner transport
    /// checksum is partial, with its header at `csum_start` and its field at `csum_offset` from
    /// there, and where it belongs. `head` are the packet's first bytes, all headers in them, the
    /// outer UDP checksum being zero. For a large frame it says that its segments want one.
    pub fn udp_checksum_over_partial(
        &self,
        head: &[u8],
        total_len: usize,
        csum_start: usize,
        csum_offset: usize,
    ) -> Option<(usize, u16)> {
        let (_, l4) = self.outer_places();
        let partial = u16::from_be_bytes(*view::<[u8; 2]>(head, csum_start + csum_offset)?);
        let pseudo = self.pseudo_header(total_len.saturating_sub(l4));
        let between = head.get(l4..csum_start)?;
        let sum = checksum_over_partial(pseudo, between, partial);
        Some((l4 + core::mem::offset_of!(Udp, checksum), sum))
    }

    /// Where the outer addresses are, and the outer UDP header.
    #[inline]
    fn outer_places(&self) -> (core::ops::Range<usize>, usize) {
        let l3 = self.l3();
        if self.ipv4 {
            (l3 + 12..l3 + 20, l3 + Ipv4::LEN)
        } else {
            (l3 + 8..l3 + 40, l3 + Ipv6::LEN)
        }
    }

    fn pseudo_header(&self, len: usize) -> u16 {
        let (addresses, _) = self.outer_places();
        csum::Sum::default()
            .bytes(&self.bytes[addresses])
            .word(proto::UDP.into())
            .word((len >> 16) as u16)
            .word(len as u16)
            .partial()
    }
}

/// The header's flag that says that one of the options is critical.
fn critical_flag(mut options: &[u8]) -> u8 {
    let mut critical = 0;
    while let Some((&[_, _, kind, units], rest)) = options.split_first_chunk() {
        critical |= kind & options::CRITICAL;
        options = rest
            .get(usize::from(units & 0x1f) * 4..)
            .unwrap_or_default();
    }
    critical >> 1
}

struct Writer {
    bytes: [u8; TEMPLATE_BYTES],
    len: usize,
}

/// The outer UDP checksum of a packet whose inner transport checksum is partial, without looking
/// at the payload: from its transport header on the inner packet will sum to the complement of
/// what its checksum field holds now, once that is completed.
///
/// `between` are the bytes from the outer UDP header, its checksum zero, to the inner transport
/// header; `pseudo` is the sum of the outer pseudo-header.
pub(crate) fn checksum_over_partial(pseudo: u16, between: &[u8], partial: u16) -> u16 {
    csum::Sum::default()
        .word(pseudo)
        .bytes(between)
        .word(!partial)
        .nonzero_checksum()
}

impl Default for Writer {
    fn default() -> Self {
        Writer {
            bytes: [0; TEMPLATE_BYTES],
            len: 0,
        }
    }
}

impl Writer {
    fn put<T: IntoBytes + zerocopy::Immutable + ?Sized>(&mut self, header: &T) {
        let bytes = header.as_bytes();
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

/// What an arriving tunnel packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Virtual network.
    pub vni: Vni,
    /// Where the inner Ethernet frame begins, from the first byte of the outer packet.
    pub inner: u16,
    /// Bytes of Geneve options right before it.
    pub options: u16,
    /// Geneve's control bit: the packet is for the tunnel's end, not for who is behind it.
    pub oam: bool,
}

/// Why a packet to a tunnel port is not taken out of its tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TunnelFault {
    /// The headers are cut off or not of this encapsulation.
    Malformed,
    /// A Geneve option that we do not know is critical (RFC 8926 3.5: must be dropped); see
    /// [`Options::read`](crate::options::Options::read).
    CriticalOption,
    /// The payload is not Ethernet.
    NotEthernet,
    /// A fragment; tunnels are not reassembled.
    Fragment,
}

/// The sum of the UDP pseudo-header of a packet, to which the bytes from the UDP header to
/// [`Layout::end`] are to be added.
pub fn pseudo_header(head: &[u8], layout: &Layout) -> csum::Sum {
    let l3 = usize::from(layout.l3);
    let len = layout.end.saturating_sub(layout.l4.into());
    match layout.network {
        Network::Ipv4 => view::<Ipv4>(head, l3)
            .map(|ip| csum::pseudo_ipv4(ip.src, ip.dst, proto::UDP, len))
            .unwrap_or_default(),
        _ => view::<Ipv6>(head, l3)
            .map(|ip| csum::pseudo_ipv6(&ip.src, &ip.dst, proto::UDP, len))
            .unwrap_or_default(),
    }
}

/// Reads the tunnel header of a packet that [`crate::parse::extract`] found to be UDP to the
/// tunnel's port.
///
/// # Errors
/// [`TunnelFault`]; the packet is to be dropped.
pub fn arrived(
    head: &[u8],
    layout: &Layout,
    encapsulation: Encapsulation,
) -> Result<Arrived, TunnelFault> {
    if layout.fragment.is_some() {
        return Err(TunnelFault::Fragment);
    }
    if layout.transport != Transport::Udp {
        return Err(TunnelFault::Malformed);
    }
    let at = usize::from(layout.payload);
    let head = head.get(..layout.end as usize).unwrap_or(head);
    let (vni, len, options, oam) = match encapsulation {
        Encapsulation::Geneve => {
            let geneve: &Geneve = view(head, at).ok_or(TunnelFault::Malformed)?;
            if geneve.version_options >> 6 != 0 {
                return Err(TunnelFault::Malformed);
            }
            if geneve.protocol.get() != ethertype::BRIDGED {
                return Err(TunnelFault::NotEthernet);
            }
            let options = usize::from(geneve.version_options & 0x3f) * 4;
            // It says that there are critical options, and has none.
            if geneve.flags & 0x40 != 0 && options == 0 {
                return Err(TunnelFault::CriticalOption);
            }
            let oam = geneve.flags & 0x80 != 0;
            (geneve.vni, Geneve::LEN + options, options, oam)
        }
        Encapsulation::Vxlan => {
            let vxlan: &Vxlan = view(head, at).ok_or(TunnelFault::Malformed)?;
            if vxlan.flags & 0x08 == 0 {
                return Err(TunnelFault::Malformed);
            }
            (vxlan.vni, Vxlan::LEN, 0, false)
        }
    };
    let inner = at + len;
    if inner + Ethernet::LEN > layout.end as usize {
        return Err(TunnelFault::Malformed);
    }
    Ok(Arrived {
        vni: Vni::new(vni.get() >> 8).map_err(|_| TunnelFault::Malformed)?,
        inner: inner as u16,
        options: options as u16,
        oam,
    })
}
