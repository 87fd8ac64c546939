//! Why a packet was dropped.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal,)*) => {
        /// Why a packet was dropped: one counter per worker and variant, and the same words in the
        /// CLI, in metrics and in traces.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason { $($(#[doc = $doc])+ $variant),* }

        impl DropReason {
            /// Every reason, in the order of declaration.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant),*];

            /// The reason's name in the CLI, in metrics and in traces.
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name),* }
            }

            /// One sentence on what it means.
            pub const fn explain(self) -> &'static str {
                match self { $(DropReason::$variant => concat!($($doc),+)),* }
            }
        }
    };
}

reasons! {
    /// The frame is too short for an Ethernet header, or its headers contradict its length.
    Malformed "malformed",
    /// No flow matched in a table, and the table has no flow for misses.
    TableMiss "table_miss",
    /// An IP fragment, while the switch is set to drop them (OFPC_FRAG_DROP).
    Fragment "fragment",
    /// Tracked fragments that waited for the first one of their datagram, which did not come.
    FragmentTimeout "fragment_timeout",
    /// Tracked fragments that made room for newer ones, or arrived in too many separate parts.
    FragmentLimit "fragment_limit",
    /// A tracked fragment that overlaps another of its datagram or contradicts its length, and all
    /// of that datagram from then on (RFC 5722).
    FragmentOverlap "fragment_overlap",
    /// A tracked fragment of which all bytes have come before.
    FragmentDuplicate "fragment_duplicate",
    /// A tracked fragment that nobody may send: empty, beyond 65535 bytes, not a multiple of eight
    /// bytes, or a first one too short for its headers (RFC 7112); all of that datagram then.
    FragmentMalformed "fragment_malformed",
    /// The flows that matched send the packet nowhere: dropped by rule.
    Rule "rule",
    /// Refused by rule (`reject`): its sender is told, unless it came through a tunnel, is itself an
    /// error, or too many were told in this second.
    Rejected "rejected",
    /// More than 64 nested resubmits, groups or clones, or more than 4096 lookups for one packet.
    TooDeep "too_deep",
    /// An action or field that this dataplane cannot carry out on this packet.
    Unsupported "unsupported",
    /// A flow sends to a group that does not exist.
    NoGroup "no_group",
    /// The group has no bucket that may be used (none at all, weight 0, or nothing live).
    NoBucket "no_bucket",
    /// A meter's rate was exceeded.
    Meter "meter",
    /// The time to live or hop limit ran out.
    TtlExpired "ttl_expired",
    /// A flow sends to a port that does not exist.
    NoPort "no_port",
    /// A flow sends to the LOCAL port, and no port was given `ofport=LOCAL`.
    NoLocalPort "no_local_port",
    /// NORMAL does not forward the link-local group addresses 01:80:c2:00:00:00 to 0f
    /// (IEEE 802.1Q 8.6.3).
    ReservedMulticast "reserved_multicast",
    /// NORMAL: a tagged packet from an access port, or the address is behind an access port of
    /// another VLAN.
    WrongVlan "wrong_vlan",
    /// A flow sends back to the port the packet came from, without naming IN_PORT.
    SamePort "same_port",
    /// The port it came from takes no packets (OFPPC_NO_RECV): not opened by the controller yet.
    PortNoRecv "port_no_recv",
    /// The port it goes to sends no packets (OFPPC_NO_FWD): not opened by the controller yet.
    PortNoFwd "port_no_fwd",
    /// The port is administratively down (OFPPC_PORT_DOWN).
    PortDown "port_down",
    /// The port could not take more packets, or needs a frame split that cannot be.
    PortFull "port_full",
    /// The queue of the port it goes to is full, or all queues of the worker together are.
    QueueFull "queue_full",
    /// It waited too long in a queue of the port it goes to.
    QueueExpired "queue_expired",
    /// Lost by chance, as the impairment of the port it goes to says.
    ImpairmentLoss "impairment_loss",
    /// As many packets as its impairment allows are late already on the port it goes to.
    ImpairmentFull "impairment_full",
    /// Longer than the MTU of the port it goes to, and not to be fragmented.
    TooBig "too_big",
    /// No packet memory left for a copy, a new header or a segment.
    NoMemory "no_memory",
    /// The connection table is full of connections that both sides have opened.
    ConntrackFull "conntrack_full",
    /// The connection's zone has as many connections as it may (`sluicectl ct limits`).
    ConntrackZoneLimit "conntrack_zone_limit",
    /// The source has too many connections of which one direction only was seen
    /// (`ct-half-open-per-source`).
    ConntrackSourceShare "conntrack_source_share",
    /// Too many connections of which one direction only was seen, and none could give way
    /// (`ct-half-open`).
    ConntrackHalfOpen "conntrack_half_open",
    /// No free address and port left for the translation.
    NatExhausted "nat_exhausted",
    /// Sent into a tunnel without a tunnel destination.
    TunnelNoDestination "tunnel_no_destination",
    /// No tunnel endpoint of the destination's address family on this node.
    TunnelNoEndpoint "tunnel_no_endpoint",
    /// The tunnel destination is off link and the endpoint has no gateway.
    TunnelNoRoute "tunnel_no_route",
    /// The next hop's link-layer address could not be found out.
    NeighborFailed "neighbor_failed",
    /// Too many packets wait for the next hop's link-layer address.
    NeighborQueueFull "neighbor_queue_full",
    /// A tunnel packet for this node, but no tunnel port takes its key and sender.
    TunnelNoPort "tunnel_no_port",
    /// A tunnel packet for this node with a malformed header, or whose content is not Ethernet.
    TunnelMalformed "tunnel_malformed",
    /// A Geneve packet for this node with a critical option that nobody here knows
    /// (RFC 8926 3.5).
    TunnelCriticalOption "tunnel_critical_option",
    /// A fragment of a tunnel packet for this node: its path's MTU is smaller than the uplink's.
    TunnelFragment "tunnel_fragment",
    /// A tunnel packet for this node whose outer UDP checksum is wrong.
    TunnelChecksum "tunnel_checksum",
    /// A tunnel packet for this node met congestion, and the packet inside cannot say so
    /// (RFC 6040 4.2).
    TunnelCongestion "tunnel_congestion",
    /// The queue of packets to the controller is full.
    PacketInFull "packet_in_full",
    /// The queue to the worker that owns the output port is full.
    HandoverFull "handover_full",
}

impl DropReason {
    /// Number of reasons.
    pub const COUNT: usize = Self::ALL.len();
}

impl std::fmt::Display for DropReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_words_that_metrics_accept() {
        let names: std::collections::BTreeSet<_> =
            DropReason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), DropReason::COUNT);
        assert!(
            names
                .iter()
                .all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        );
        for (at, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at, "{reason}");
            assert!(reason.explain().len() > reason.name().len());
        }
    }
}
