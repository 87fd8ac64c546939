//! Registers, connection marks and zones, each with a name. Nothing else in this crate writes a
//! register's number.

use cluster::desired::Protocol;
use openflow::{Field, SubField};

/// Bits of a register or of the connection's mark, by what they say.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// The name, as goldens and documents write it.
    pub name: &'static str,
    /// The register.
    pub field: Field,
    /// Lowest bit.
    pub low: u8,
    /// Width.
    pub bits: u8,
    /// What it says, one sentence.
    pub what: &'static str,
    /// Names of its values.
    pub values: &'static [(u32, &'static str)],
}

impl Named {
    /// The bits, as a move or load addresses them.
    pub const fn sub(&self) -> SubField {
        SubField::range(self.field, self.low, self.low + self.bits - 1)
    }

    /// Ones for the bits, at the field's bit 0.
    pub const fn mask(&self) -> u128 {
        self.sub().ones() << self.low
    }

    /// A value of the bits, at the field's bit 0.
    pub const fn place(&self, value: u32) -> u128 {
        (value as u128) << self.low
    }

    /// The name of a value, if it has one.
    pub fn value_name(&self, value: u32) -> Option<&'static str> {
        let named = self.values.iter().find(|(v, _)| *v == value);
        named.map(|(_, name)| *name)
    }

    /// First and last bit in the flow key, so that aliases (xreg0 and reg0) are seen as one place.
    const fn span(&self) -> (u32, u32) {
        let slot = self.field.info().slot;
        let end = (slot.offset as u32 + slot.bytes as u32) * 8 - slot.shift as u32;
        let last = end - self.low as u32 - 1;
        (last + 1 - self.bits as u32, last)
    }

    const fn overlaps(&self, other: &Named) -> bool {
        let (a, b) = (self.span(), other.span());
        a.0 <= b.1 && b.0 <= a.1
    }
}

macro_rules! named {
    ($($(#[doc = $doc:literal])+ $name:ident = $field:ident[$low:literal, $bits:literal] $values:tt;)*) => {
        $($(#[doc = $doc])+
        pub const $name: Named = Named {
            name: stringify!($name),
            field: Field::$field,
            low: $low,
            bits: $bits,
            what: concat!($($doc),+),
            values: &$values,
        };)*

        /// Every named field.
        pub const NAMED: &[Named] = &[$($name),*];
    };
}

/// [`FROM`]: a pod's port of this node.
pub const FROM_POD: u32 = 1;
/// [`FROM`]: the uplink of a provider network.
pub const FROM_UPLINK: u32 = 2;
/// [`FROM`]: a tunnel from another node.
pub const FROM_TUNNEL: u32 = 3;

/// [`OUT_PORT`]: the tunnel's port, whichever number it has on this node (no port has this one:
/// OpenFlow 1.3.5, 7.2.1, OFPP_MAX).
pub const OUT_TUNNEL: u32 = 0xffff_ff01;

named! {
    /// Where the packet comes from.
    FROM = Reg0[0, 3] [(1, "pod"), (2, "uplink"), (3, "tunnel")];
    /// The packet is for the router: its destination is looked up by IP address.
    ROUTE = Reg0[3, 1] [(0, "no"), (1, "yes")];
    /// The packet may cross between overlay and underlay, because it belongs to a Service's connection.
    CROSS = Reg0[4, 1] [(0, "no"), (1, "yes")];
    /// The packet goes back to the port it came from.
    HAIRPIN = Reg0[5, 1] [(0, "no"), (1, "yes")];
    /// The network the packet is in: a VNI, or 0x80000000 and up for a VLAN of a provider network.
    NET = Reg1[0, 32] [];
    /// The local port it will leave by.
    OUT_PORT = Reg2[0, 32] [(0xffff_ff01, "tunnel")];
    /// The node it will be tunnelled to, by a hash of its name.
    NODE = Reg3[0, 32] [];
    /// The connection comes from outside the cluster.
    OUTER = Reg10[0, 1] [(0, "no"), (1, "yes")];
    /// The packet is for the node itself, whose port may be a Service's.
    NODE_PORT = Reg10[1, 1] [(0, "no"), (1, "yes")];
    /// The packet is addressed to the node's Ethernet address on a physical network.
    TO_NODE = Reg10[2, 1] [(0, "no"), (1, "yes")];
    /// The endpoint is to see the node's address in place of the client's, so that replies come back.
    MASQUERADE = Reg10[3, 1] [(0, "no"), (1, "yes")];
    /// The packet leaves the cluster by way of the node.
    LEAVES = Reg10[4, 1] [(0, "no"), (1, "yes")];
    /// What a new connection's source becomes.
    NEW_SOURCE = Reg10[5, 2] [(0, "as it is"), (1, "node"), (2, "transit")];
    /// The network that the packet came from.
    CLIENT_NET = Reg11[0, 32] [];
    /// The address that was asked for, while its answer is written.
    ASKED = Reg13[0, 32] [];
    /// The Service port whose clients are told apart, by the number of its group.
    BACKEND = Reg4[0, 32] [];
    /// The endpoint that the connection gets, by a hash of address and port; 0 is none yet.
    ENDPOINT = Reg5[0, 24] [(0, "none")];
    /// The client's cell, by a hash of its name; 0 is the node's own.
    CELL = Reg5[24, 8] [(0, "of the node")];
    /// The policy set that judges the packet; 0 is none.
    POLICY_SET = Reg6[0, 32] [];
    /// Who the other end of the connection is, if it is a pod that a policy names.
    PEER = Reg7[0, 32] [];
    /// Which addresses that the policy set names the other end's is among.
    BLOCK = Reg8[0, 32] [];
    /// The destination port that policies see.
    L4_PORT = Reg9[0, 16] [];
    /// The protocol that policies see.
    L4_PROTOCOL = Reg9[16, 2] [(0, "other"), (1, "TCP"), (2, "UDP"), (3, "SCTP")];
    /// A rule of the Admin tier has passed the packet on to the next tier.
    PASSED_ADMIN = Reg9[18, 1] [(0, "no"), (1, "yes")];
    /// A rule of the Baseline tier has ended the tier.
    PASSED_BASELINE = Reg9[19, 1] [(0, "no"), (1, "yes")];
    /// A pod reaches itself.
    SELF = Reg9[20, 1] [(0, "no"), (1, "yes")];
    /// A policy denies the packet.
    DENIED = Reg9[21, 1] [(0, "no"), (1, "yes")];
    /// What denies the packet is to be in the policy log.
    LOG_DENIED = Reg9[22, 1] [(0, "no"), (1, "yes")];
    /// Something that allows the packet is to be in the policy log.
    LOG_ALLOWED = Reg9[23, 1] [(0, "no"), (1, "yes")];
    /// The packet is the copy of a multicast or broadcast frame for one pod.
    COPY = Reg9[24, 1] [(0, "no"), (1, "yes")];
    /// What of the sender's policies has decided, if that is to be in the policy log; 0 is nothing.
    LOG_EGRESS = Reg12[0, 32] [(0, "nothing")];
    /// What of the receiver's policies has decided, if that is to be in the policy log; 0 is nothing.
    LOG_INGRESS = Reg14[0, 32] [(0, "nothing")];
    /// The connection goes to a Service, and its destination was translated.
    CT_SERVICE = CtMark[0, 1] [(0, "no"), (1, "yes")];
    /// Replies of the connection are routed, whatever MAC address they are sent to.
    CT_ROUTED = CtMark[1, 1] [(0, "no"), (1, "yes")];
    /// Policies have let the connection through.
    CT_ALLOWED = CtMark[16, 1] [(0, "no"), (1, "yes")];
    /// Policies do not let the connection through any more.
    CT_STOPPED = CtMark[17, 1] [(0, "no"), (1, "yes")];
    /// The policy log has heard that the connection is denied.
    CT_LOGGED = CtMark[18, 1] [(0, "no"), (1, "yes")];
    /// The connection came from another node's own address: replies go back through the tunnel.
    CT_NODE = CtMark[2, 1] [(0, "no"), (1, "yes")];
}

const _: () = {
    let mut a = 0;
    while a < NAMED.len() {
        assert!(NAMED[a].low + NAMED[a].bits <= NAMED[a].field.info().slot.bits);
        let mut b = 0;
        while b < a {
            assert!(!NAMED[a].overlaps(&NAMED[b]), "two named fields overlap");
            b += 1;
        }
        a += 1;
    }
};

/// [`L4_PROTOCOL`] of a protocol.
pub const fn l4_protocol(protocol: Protocol) -> u32 {
    match protocol {
        Protocol::Tcp => 1,
        Protocol::Udp => 2,
        Protocol::Sctp => 3,
    }
}

/// A zone of the connection tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its name.
    pub name: &'static str,
    /// Its number, fixed for ever.
    pub number: u16,
    /// What is tracked in it.
    pub what: &'static str,
}

/// Connections of pods; Services translate destinations here.
pub const ZONE_PODS: Zone = Zone {
    name: "pods",
    number: 0x5301,
    what: "Connections of pods; Services translate destinations here.",
};
/// Pods that reach themselves through a Service: sources are translated here.
pub const ZONE_HAIRPIN: Zone = Zone {
    name: "hairpin",
    number: 0x5302,
    what: "Pods that reach themselves through a Service: sources are translated here.",
};

/// What leaves the cluster, and what enters it for an endpoint that may be on another node: sources
/// are translated here.
pub const ZONE_SOURCES: Zone = Zone {
    name: "sources",
    number: 0x5303,
    what: "What leaves the cluster, or enters it for another node: sources are translated here.",
};
/// Clients on physical networks; the label says which Ethernet address (bits 0 to 47) of which
/// network (bits 64 to 95) replies go to.
pub const ZONE_CLIENTS: Zone = Zone {
    name: "clients",
    number: 0x5304,
    what: "Clients on physical networks; the label says where replies go.",
};

/// The first of the zones of pods that have a limit of connections, two for each port.
pub const FIRST_LIMIT_ZONE: u16 = 0x8000;

/// Connections that policies deny and the policy log has heard of; they pass nothing.
pub const ZONE_DENIED: Zone = Zone {
    name: "denied",
    number: 0x5305,
    what: "Connections that policies deny and the policy log has heard of; they pass nothing.",
};

/// Every zone that has a name.
pub const ZONES: &[Zone] = &[
    ZONE_PODS,
    ZONE_HAIRPIN,
    ZONE_SOURCES,
    ZONE_CLIENTS,
    ZONE_DENIED,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overlap_check_sees_neighbours_and_aliases_apart() {
        let half = |field, low| Named {
            field,
            low,
            bits: 16,
            ..FROM
        };
        assert!(!half(Field::Reg0, 0).overlaps(&half(Field::Reg0, 16)));
        assert!(half(Field::Reg0, 0).overlaps(&half(Field::Reg0, 15)));
        assert!(half(Field::Reg1, 0).overlaps(&half(Field::Xreg0, 0)));
        assert!(!half(Field::Reg0, 0).overlaps(&half(Field::Xreg0, 0)));
    }
}
