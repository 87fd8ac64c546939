//! What is answered.

use serde::{Deserialize, Serialize};

use crate::{Cache, Core};

/// A reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Not done; one line: what, why, what to do.
    Error(String),
    /// Done, nothing to tell.
    Done {},
    /// A port.
    Port {
        /// The port.
        port: Port,
        /// Made by this request.
        #[serde(default)]
        created: bool,
    },
    /// A removal.
    PortDeleted {
        /// There was such a port.
        existed: bool,
    },
    /// Every port.
    Ports(Vec<Port>),
    /// Queues of ports.
    Queues(Vec<Queue>),
    /// Flows.
    Flows(Vec<Flow>),
    /// Groups.
    Groups(Vec<Group>),
    /// Meters.
    Meters(Vec<Meter>),
    /// Flow tables.
    Tables(Vec<Table>),
    /// The switch.
    Show(Show),
    /// Tracked connections.
    Connections(Vec<Connection>),
    /// A flush.
    CtFlushed {
        /// Connections forgotten.
        count: u64,
    },
    /// How connections are tracked.
    Tracker(Tracker),
    /// Limits of zones.
    ZoneLimits(ZoneLimits),
    /// Learnt MAC addresses.
    Fdb(Fdb),
    /// A flush.
    FdbFlushed {
        /// Addresses forgotten.
        count: u64,
    },
    /// Dropped packets; counters of zero are left out.
    Drops(Vec<Drop>),
    /// Workers.
    Cores(Vec<Core>),
    /// Flow caches.
    Caches(Vec<Cache>),
    /// Underlay next hops.
    Neighbors(Vec<Neighbor>),
    /// Versions.
    Version(Version),
}

impl Reply {
    /// A refusal.
    pub fn error(text: impl Into<String>) -> Self {
        Reply::Error(text.into())
    }
}

/// Connection tracking: what it is set to and what it has done.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tracker {
    /// Connections now.
    pub connections: u64,
    /// Most of them.
    pub connections_max: u64,
    /// Those of which one direction only was seen.
    pub half_open: u64,
    /// Most of these.
    pub half_open_max: u64,
    /// Most of these from one source; 0: no limit.
    pub half_open_per_source: u64,
    /// Bytes of memory when full.
    pub memory: u64,
    /// TCP segments outside the window are refused.
    pub strict: bool,
    /// TCP connections whose beginning was not seen are taken up.
    pub pickup: bool,
    /// Created since the start.
    pub created: u64,
    /// Forgotten because they were silent.
    pub expired: u64,
    /// Half-open ones that gave way to others.
    pub evicted: u64,
    /// Forgotten on request, or replaced.
    pub removed: u64,
    /// Timeouts in seconds by name, as in the configuration.
    pub timeouts: Vec<(String, u64)>,
}

/// Limits of zones.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ZoneLimits {
    /// Of zones without one of their own; 0: no limit.
    pub default: u32,
    /// Zones with one of their own.
    pub zones: Vec<ZoneLimit>,
}

/// A zone's limit.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ZoneLimit {
    /// The zone.
    pub zone: u16,
    /// Most connections; 0: no limit.
    pub limit: u32,
    /// Connections now.
    pub count: u32,
}

/// A port of the switch.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Port {
    /// Name.
    pub name: String,
    /// OpenFlow number.
    pub ofport: u32,
    /// `dpdk`, `tap`, `veth`, `geneve`, `vxlan`, `memory`.
    pub kind: String,
    /// What it was made from: device arguments as given.
    pub device: String,
    /// The kernel's name of the interface, where there is one.
    #[serde(default)]
    pub iface: Option<String>,
    /// Ethernet address, as `02:00:0a:10:00:07`.
    pub mac: String,
    /// Largest frame without Ethernet header, bytes.
    pub mtu: u32,
    /// Link is up.
    pub link_up: bool,
    /// Packets pass: neither NO_RECV nor NO_FWD nor PORT_DOWN is set.
    pub open: bool,
    /// OpenFlow configuration bits (OFPPC_*).
    pub config: u32,
    /// Why it does not run, for a port that failed to start.
    #[serde(default)]
    pub error: Option<String>,
    /// Counters; none are kept for tunnels, whose packets count at their uplink.
    #[serde(default)]
    pub stats: Option<PortStats>,
}

/// Counters of a port, since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PortStats {
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames dropped at reception.
    pub rx_drops: u64,
    /// Errors at reception.
    pub rx_errors: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames dropped at sending.
    pub tx_drops: u64,
    /// Errors at sending.
    pub tx_errors: u64,
    /// Nanoseconds since it was made.
    pub duration_ns: u64,
}

/// A queue of a port.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Queue {
    /// Name of the port.
    pub port: String,
    /// Number of the queue.
    pub id: u32,
    /// Bit/s that it gets whatever the others send.
    #[serde(default)]
    pub min_rate: Option<u64>,
    /// Bit/s that it never exceeds.
    #[serde(default)]
    pub max_rate: Option<u64>,
    /// A smaller one goes first.
    pub priority: u8,
    /// Share among queues of that priority.
    pub weight: u16,
    /// Packets sent.
    pub packets: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Packets dropped because too many waited, or for too long.
    pub dropped: u64,
}

/// A flow.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Flow {
    /// Table.
    pub table: u8,
    /// Priority.
    pub priority: u16,
    /// Cookie.
    pub cookie: u64,
    /// The object it came from, as `Pod bank/web-1`, if the controller has told.
    #[serde(default)]
    pub object: Option<String>,
    /// Nanoseconds since it was added.
    pub duration_ns: u64,
    /// Packets matched.
    pub packets: u64,
    /// Bytes matched.
    pub bytes: u64,
    /// Seconds without a packet after which it goes; 0: never.
    pub idle_timeout: u16,
    /// Seconds after which it goes; 0: never.
    pub hard_timeout: u16,
    /// Match, as ovs-ofctl writes it.
    #[serde(rename = "match")]
    pub matching: String,
    /// Instructions, as ovs-ofctl writes them after `actions=`.
    pub actions: String,
    /// The whole line of `ovs-ofctl dump-flows`, without leading space.
    pub text: String,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Group {
    /// Number.
    pub id: u32,
    /// `all`, `select`, `indirect`, `ff`.
    pub kind: String,
    /// The object it came from, if known.
    #[serde(default)]
    pub object: Option<String>,
    /// Flows and groups that refer to it.
    pub references: u32,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Nanoseconds since it was added.
    pub duration_ns: u64,
    /// Buckets, in order.
    pub buckets: Vec<Bucket>,
    /// The whole line of `ovs-ofctl dump-groups`, without leading space.
    pub text: String,
}

/// Counters of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bucket {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A meter.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Meter {
    /// Number.
    pub id: u32,
    /// The object it came from, if known.
    #[serde(default)]
    pub object: Option<String>,
    /// Flows that refer to it.
    pub flows: u32,
    /// Packets in.
    pub packets: u64,
    /// Bytes in.
    pub bytes: u64,
    /// Nanoseconds since it was added.
    pub duration_ns: u64,
    /// Unit of rates: `kbps` or `pktps`.
    pub unit: String,
    /// Bands, in order.
    pub bands: Vec<Band>,
    /// The whole text of `ovs-ofctl dump-meters` for it; may have several lines.
    pub text: String,
}

/// A band of a meter.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Band {
    /// `drop`, `dscp_remark`.
    pub kind: String,
    /// Rate, in the meter's unit.
    pub rate: u32,
    /// Burst, kbit or packets; 0: not given.
    pub burst: u32,
    /// Packets above the rate.
    pub packets: u64,
    /// Bytes above the rate.
    pub bytes: u64,
}

/// A flow table.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Table {
    /// Number.
    pub id: u8,
    /// Name, as the controller or the number gives it.
    pub name: String,
    /// Flows in it.
    pub active: u32,
    /// Packets looked up.
    pub lookups: u64,
    /// Of these, packets that matched a flow.
    pub matched: u64,
    /// Most flows it takes.
    pub max_entries: u32,
    /// How it is searched; empty if the switch does not say.
    #[serde(default)]
    pub template: String,
    /// Different masks of its flows.
    #[serde(default)]
    pub masks: u32,
    /// Hash tables and prefix trees that a lookup goes through at most; flows for `direct`.
    #[serde(default)]
    pub probes: u32,
    /// Bytes of its flows and of what finds them, without their actions.
    #[serde(default)]
    pub memory: u64,
}

/// The switch.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Show {
    /// Datapath id.
    pub dpid: u64,
    /// `dp_desc`, the node's name.
    pub name: String,
    /// Version of the dataplane.
    pub version: String,
    /// Number of tables.
    pub tables: u8,
    /// Flows in all tables.
    pub flows: u64,
    /// Groups.
    pub groups: u64,
    /// Meters.
    pub meters: u64,
    /// Tracked connections.
    pub connections: u64,
    /// Processors of the workers.
    pub cpus: Vec<u32>,
    /// Tunnel endpoint, as `172.30.0.1/24 on uplink0`.
    #[serde(default)]
    pub vtep: Option<String>,
    /// OpenFlow connections and listeners.
    pub sessions: Vec<Session>,
    /// Ports.
    pub ports: Vec<Port>,
    /// Seconds since start.
    pub uptime_s: u64,
}

/// An OpenFlow connection, or a target that is listened on or tried.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Session {
    /// Target as configured, or the peer's address.
    pub target: String,
    /// `listening`, `connected`, `trying: WHY`.
    pub state: String,
    /// `equal`, `master`, `slave`, for a connection.
    #[serde(default)]
    pub role: Option<String>,
    /// OpenFlow version agreed on, as `1.3`, for a connection.
    #[serde(default)]
    pub version: Option<String>,
}

/// One direction of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tuple {
    /// Source address.
    pub src: String,
    /// Destination address.
    pub dst: String,
    /// Source port, or ICMP identifier.
    pub sport: u16,
    /// Destination port, or ICMP type and code (type in the high byte).
    pub dport: u16,
}

/// A tracked connection.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Connection {
    /// Zone.
    pub zone: u16,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `sctp`, or the protocol's number.
    pub protocol: String,
    /// State, as `established`, `syn_sent`; empty where the protocol has none.
    pub state: String,
    /// As its first packet had it.
    pub original: Tuple,
    /// As replies have it.
    pub reply: Tuple,
    /// Mark.
    pub mark: u32,
    /// Label, hexadecimal, empty if zero.
    pub label: String,
    /// Milliseconds until it expires unless packets come.
    pub expires_ms: u64,
}

/// Packets dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Drop {
    /// Processor of the worker; none: outside of any worker.
    #[serde(default)]
    pub cpu: Option<u32>,
    /// The reason's name, as in metrics.
    pub reason: String,
    /// A sentence.
    pub explanation: String,
    /// Packets.
    pub packets: u64,
}

/// MAC addresses that NORMAL has learnt, and what happened to them since the start.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fdb {
    /// By VLAN and address.
    pub entries: Vec<FdbEntry>,
    /// Most entries.
    pub capacity: u64,
    /// New addresses.
    pub learned: u64,
    /// Addresses that came from another port than before.
    pub moved: u64,
    /// Addresses forgotten for want of packets.
    pub expired: u64,
    /// Addresses forgotten to make room for others.
    pub evicted: u64,
}

/// A learnt MAC address.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FdbEntry {
    /// Port that leads there.
    pub port: String,
    /// VLAN; 0 is untagged.
    pub vlan: u16,
    /// The address.
    pub mac: String,
    /// Seconds since a packet came from it.
    pub age: u64,
}

/// An underlay next hop.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Neighbor {
    /// Address.
    pub ip: String,
    /// Ethernet address, once known.
    #[serde(default)]
    pub mac: Option<String>,
    /// `static`, `reachable`, `stale`, `incomplete`, `failed`.
    pub state: String,
    /// Port behind which it is.
    pub port: String,
    /// Milliseconds since it was confirmed.
    pub age_ms: u64,
}

/// Versions.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Version {
    /// Of the dataplane.
    pub version: String,
    /// Of DPDK, if it is built in.
    #[serde(default)]
    pub dpdk: Option<String>,
    /// OpenFlow versions spoken, as `1.3`.
    pub openflow: Vec<String>,
}
