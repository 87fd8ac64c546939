//! Prerequisites of match fields.

/// What must be matched too, for a field to mean something (OpenFlow 1.3.5, 7.2.3.6; the Nicira
/// ones in ovs-fields(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prereq {
    /// Nothing.
    None,
    /// The port.
    InPort,
    /// A VLAN tag is present.
    Vlan,
    /// IPv4 or IPv6.
    Ip,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// ARP (or RARP).
    Arp,
    /// MPLS, unicast or multicast.
    Mpls,
    /// A PBB I-TAG.
    Pbb,
    /// TCP over either IP.
    Tcp,
    /// UDP over either IP.
    Udp,
    /// SCTP over either IP.
    Sctp,
    /// ICMP over IPv4.
    Icmpv4,
    /// ICMPv6 over IPv6.
    Icmpv6,
    /// Neighbour solicitation or advertisement.
    Nd,
    /// Neighbour solicitation.
    NdSolicit,
    /// Neighbour advertisement.
    NdAdvert,
}

impl Prereq {
    /// What to write, for people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Prereq::None => "nothing",
            Prereq::InPort => "in_port",
            Prereq::Vlan => "a VLAN tag: dl_vlan or vlan_tci=0x1000/0x1000",
            Prereq::Ip => "ip or ipv6",
            Prereq::Ipv4 => "ip",
            Prereq::Ipv6 => "ipv6",
            Prereq::Arp => "arp or rarp",
            Prereq::Mpls => "mpls or mplsm",
            Prereq::Pbb => "dl_type=0x88e7",
            Prereq::Tcp => "tcp or tcp6",
            Prereq::Udp => "udp or udp6",
            Prereq::Sctp => "sctp or sctp6",
            Prereq::Icmpv4 => "icmp",
            Prereq::Icmpv6 => "icmp6",
            Prereq::Nd => "icmp6,icmp_type=135 or 136,icmp_code=0",
            Prereq::NdSolicit => "icmp6,icmp_type=135,icmp_code=0",
            Prereq::NdAdvert => "icmp6,icmp_type=136,icmp_code=0",
        }
    }
}
