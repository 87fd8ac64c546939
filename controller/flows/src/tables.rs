//! The tables of the pipeline.
//!
//! Numbers are fixed for ever: never by which features are on, never re-used, never moved. How to
//! add one: choose a free number where the packet shall meet it (there are gaps), add a variant and
//! its line in [`TABLES`], update the list in `tests/pipeline.rs` and run it once with
//! `SLUICE_BLESS=1`, which also renews `docs/pipeline.md`.

use net::TableId;

/// A table, by what it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // TABLES says what each is for
pub enum Table {
    Classify = 0,
    SpoofGuard = 10,
    ArpNd = 20,
    PodSends = 21,
    NdReply = 22,
    PodBegins = 23,
    L3Classify = 25,
    Edge = 26,
    Returned = 27,
    Clients = 28,
    Conntrack = 30,
    SubnetSends = 33,
    ConntrackState = 35,
    Sources = 36,
    StillServing = 39,
    Service = 40,
    Affinity = 41,
    ClientCell = 42,
    Backend = 43,
    Refuse = 44,
    PolicyEgress = 50,
    EgressPeer = 51,
    EgressBlock = 52,
    EgressRule = 53,
    IngressSet = 54,
    IngressPeer = 55,
    IngressBlock = 56,
    IngressRule = 57,
    PolicyCommit = 58,
    SubnetEgress = 59,
    Routing = 60,
    Leave = 61,
    Gateway = 70,
    NewSource = 71,
    PolicyIngress = 80,
    SubnetIngress = 89,
    QosFromPod = 90,
    PacketsFromPod = 92,
    NamespaceFromPod = 94,
    QosClass = 98,
    Mirror = 100,
    L2Forward = 110,
    TunnelOut = 120,
    QosToPod = 125,
    PacketsToPod = 126,
    NamespaceToPod = 127,
    PodGets = 128,
    PodIsAsked = 129,
    Output = 130,
    PolicyLog = 140,
}

/// What happens to a packet that no other flow of a table matches. There is always a flow that
/// says so, so that its counter shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// It goes on.
    Goto(Table),
    /// It is dropped, because of this.
    Drop(&'static str),
    /// The flow that asked this table goes on; what that means.
    Return(&'static str),
}

/// What is known of a table.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// Which.
    pub table: Table,
    /// Its name, as goldens and documents write it.
    pub name: &'static str,
    /// What it decides, one sentence.
    pub purpose: &'static str,
    /// What happens to a packet that it has no flow for.
    pub miss: Miss,
}

macro_rules! tables {
    ($($table:ident $purpose:literal => $miss:ident($arg:expr);)*) => {
        /// Every table, in the order in which packets meet them.
        pub const TABLES: &[Info] = &[$(Info {
            table: Table::$table,
            name: stringify!($table),
            purpose: $purpose,
            miss: Miss::$miss($arg),
        }),*];
    };
}

tables! {
    Classify "Says where a packet comes from and which network it is in; takes the VLAN tag off."
        => Drop("came in on a port that belongs to nothing");
    SpoofGuard "Lets a pod send from its own MAC and IP addresses only."
        => Drop("a pod's port without spoof guard");
    ArpNd "Answers address resolution, or brings the question to the pod it is for."
        => Drop("neither IP nor address resolution");
    PodSends "Looks up what a pod sends whose connections are counted."
        => Goto(Table::L3Classify);
    NdReply "Completes the neighbour advertisements that ArpNd has begun."
        => Drop("an advertisement nobody completes");
    PodBegins "Holds a pod to the connections that it may have begun."
        => Goto(Table::L3Classify);
    L3Classify "Marks what is addressed to the router, and undoes hairpin source translation."
        => Goto(Table::Edge);
    Edge "Finds what is for the node itself, or for a Service's address outside the cluster."
        => Goto(Table::Conntrack);
    Returned "Knows what comes back to a translated source; finds node ports."
        => Goto(Table::Conntrack);
    Clients "Remembers where a client on a physical network is."
        => Goto(Table::Conntrack);
    Conntrack "Looks the packet up among the connections, and applies their translation."
        => Drop("not IP, cannot be tracked");
    SubnetSends "What the rules of its subnet say of what a pod begins, as the pod addresses it."
        => Goto(Table::ConntrackState);
    ConntrackState "Sends established connections on their way, past Services and policies."
        => Goto(Table::Sources);
    Sources "Who may use a load balancer's address."
        => Goto(Table::Service);
    StillServing "Does the endpoint that a Service's connection was given still serve?"
        => Goto(Table::PolicyEgress);
    Service "Chooses an endpoint for new connections to a Service."
        => Goto(Table::PolicyEgress);
    Affinity "Which endpoint the client was given before: flows that connections leave behind."
        => Return("the client is new, or was away too long");
    ClientCell "The cell of the client, where it is not that of the node."
        => Return("the node's own cell");
    Backend "Brings a connection to the endpoint that its client was given before, or to one for its cell."
        => Drop("no endpoint for this client");
    Refuse "Tells clients that nobody serves them."
        => Drop("not valid: nobody is told");
    PolicyEgress "Lets answers pass, and reads what policies judge by."
        => Goto(Table::SubnetEgress);
    EgressPeer "Says which pod a destination is, for the sender's policies."
        => Goto(Table::EgressBlock);
    EgressBlock "Says which of the addresses that the sender's policies name a destination is among."
        => Goto(Table::EgressRule);
    EgressRule "What the sender's policies say."
        => Drop("under policies that nobody knows");
    IngressSet "Says which policies hold for the receiver."
        => Goto(Table::PolicyCommit);
    IngressPeer "Says which pod a source is, for the receiver's policies."
        => Goto(Table::IngressBlock);
    IngressBlock "Says which of the addresses that the receiver's policies name a source is among."
        => Goto(Table::IngressRule);
    IngressRule "What the receiver's policies say."
        => Drop("under policies that nobody knows");
    PolicyCommit "Remembers connections that policies let through, and drops what they do not."
        => Goto(Table::SubnetEgress);
    SubnetEgress "What the rules of its subnet say of what leaves it."
        => Goto(Table::Routing);
    Routing "Finds the network and MAC address of a destination beyond the router."
        => Goto(Table::Gateway);
    Leave "Sends replies to clients outside the way they came."
        => Drop("an answer to nobody who asked here");
    Gateway "Translates sources: of pods that reach themselves through a Service, of what leaves the cluster, of what enters it for another node."
        => Goto(Table::PolicyIngress);
    NewSource "Gives a new connection its translated source."
        => Goto(Table::PolicyIngress);
    PolicyIngress "Nothing any more: receivers are judged in IngressRule, before sources are translated."
        => Goto(Table::SubnetIngress);
    SubnetIngress "What the rules of its subnet say of what reaches it."
        => Goto(Table::QosFromPod);
    QosFromPod "Holds a pod to its egress rate."
        => Goto(Table::PacketsFromPod);
    PacketsFromPod "Holds a pod to the packets a second that it may send."
        => Goto(Table::NamespaceFromPod);
    NamespaceFromPod "Holds the pods of a namespace to what they may send together."
        => Goto(Table::QosClass);
    QosClass "Says in which queue a pod's packets wait, and how they are marked."
        => Goto(Table::Mirror);
    Mirror "Copies packets to observers (nothing here yet)."
        => Goto(Table::L2Forward);
    L2Forward "Finds the port, or the node, that has the destination MAC address."
        => Drop("in no network");
    TunnelOut "Addresses the tunnel to the node that was found."
        => Drop("to a node that cannot be reached through a tunnel");
    QosToPod "Holds a pod to its ingress rate."
        => Goto(Table::PacketsToPod);
    PacketsToPod "Holds a pod to the packets a second that it may get."
        => Goto(Table::NamespaceToPod);
    NamespaceToPod "Holds the pods of a namespace to what they may get together."
        => Goto(Table::PodGets);
    PodGets "Looks up what a pod gets whose connections are counted."
        => Goto(Table::Output);
    PodIsAsked "Holds a pod to the connections that others may have with it."
        => Goto(Table::Output);
    Output "Sends to the pod's port."
        => Drop("to a port that is gone");
    PolicyLog "Tells the controller of connections that policies deny, once each."
        => Drop("denied, and no first packet of a connection");
}

impl Table {
    /// Its number on the wire.
    pub const fn id(self) -> TableId {
        TableId(self as u8)
    }

    /// What is known of it.
    pub fn info(self) -> &'static Info {
        let at = TABLES.partition_point(|info| info.table < self);
        &TABLES[at]
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The table with that number.
    pub fn from_id(id: TableId) -> Option<Table> {
        let info = TABLES.iter().find(|info| info.table.id() == id);
        info.map(|info| info.table)
    }
}

// Numbers rise along the path, and a miss never leads backwards (OpenFlow forbids it, 5.9).
const _: () = {
    let mut at = 0;
    while at < TABLES.len() {
        assert!(at == 0 || (TABLES[at - 1].table as u8) < TABLES[at].table as u8);
        if let Miss::Goto(next) = TABLES[at].miss {
            assert!((TABLES[at].table as u8) < next as u8);
        }
        at += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_found_by_variant_and_by_number() {
        for info in TABLES {
            assert_eq!(info.table.name(), info.name);
            assert_eq!(Table::from_id(info.table.id()), Some(info.table));
        }
        assert_eq!(Table::from_id(TableId(1)), None);
    }
}
