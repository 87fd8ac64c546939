//! What can be asked.

use serde::{Deserialize, Serialize};

/// A request; the comment of each names its reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Adds a port -> [`Reply::Port`](crate::Reply::Port). A port of that name and the same device
    /// stays as it is and is answered with `created: false`; another device is an error.
    PortAdd {
        /// As in `--port`: `NAME[,ofport=N][,closed=true][,mtu=N],dev=...`.
        spec: String,
    },
    /// Removes a port -> [`Reply::PortDeleted`](crate::Reply::PortDeleted), also if there is none.
    PortDel {
        /// Its name.
        name: String,
    },
    /// Has another worker poll a port, or one of its rx queues ->
    /// [`Reply::Done`](crate::Reply::Done) when it does.
    PortMove {
        /// Its name.
        name: String,
        /// Processor of the worker.
        cpu: u32,
        /// Which rx queue, from 0.
        #[serde(default)]
        rxq: u16,
    },
    /// Says how fast a port may send, and its queues -> [`Reply::Done`](crate::Reply::Done). What is not
    /// named is as if the port had been added without it.
    PortShape {
        /// The port's name.
        name: String,
        /// As in `--port`: `rate=1g,burst=64k,queues=0+1:max=100m`, or `none`.
        shaping: String,
    },
    /// Queues with their counters -> [`Reply::Queues`](crate::Reply::Queues).
    Queues {
        /// Only those of this port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<String>,
    },
    /// Every port with its counters -> [`Reply::Ports`](crate::Reply::Ports).
    PortList,
    /// Waits until a port lets packets in and out -> [`Reply::Port`](crate::Reply::Port) as soon as
    /// it is open, or with `open: false` when the time is over.
    PortWaitOpen {
        /// Its name.
        name: String,
        /// Milliseconds to wait at most.
        timeout_ms: u64,
    },
    /// Flows with the objects they came from -> [`Reply::Flows`](crate::Reply::Flows), by table,
    /// then falling priority.
    Flows {
        /// Only those that `ovs-ofctl dump-flows BRIDGE FILTER` would show.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        filter: Option<String>,
    },
    /// Groups with their counters -> [`Reply::Groups`](crate::Reply::Groups).
    Groups,
    /// Meters with their counters -> [`Reply::Meters`](crate::Reply::Meters).
    Meters,
    /// Flow tables that hold flows or saw packets -> [`Reply::Tables`](crate::Reply::Tables).
    Tables,
    /// The switch in one picture -> [`Reply::Show`](crate::Reply::Show).
    Show,
    /// Tracked connections -> [`Reply::Connections`](crate::Reply::Connections).
    CtList {
        /// Only this zone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<u16>,
    },
    /// Forgets connections -> [`Reply::CtFlushed`](crate::Reply::CtFlushed).
    CtFlush {
        /// Only this zone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<u16>,
        /// Only those that `ovs-ofctl ct-flush BRIDGE FILTER...` would forget.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        filter: Vec<String>,
    },
    /// How connections are tracked -> [`Reply::Tracker`](crate::Reply::Tracker).
    CtShow,
    /// Limits of zones -> [`Reply::ZoneLimits`](crate::Reply::ZoneLimits).
    CtLimits,
    /// Sets limits of zones -> [`Reply::Done`](crate::Reply::Done).
    CtSetLimits {
        /// Each `default=LIMIT` or `zone=ZONE,limit=LIMIT`, as for `ovs-dpctl ct-set-limits`.
        limits: Vec<String>,
    },
    /// Takes zones' own limits away, so that the default holds -> [`Reply::Done`](crate::Reply::Done).
    CtDelLimits {
        /// The zones.
        zones: Vec<u16>,
    },
    /// MAC addresses that NORMAL has learnt -> [`Reply::Fdb`](crate::Reply::Fdb).
    FdbList,
    /// Forgets them -> [`Reply::FdbFlushed`](crate::Reply::FdbFlushed).
    FdbFlush {
        /// Only those behind this port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<String>,
    },
    /// Dropped packets by reason and core -> [`Reply::Drops`](crate::Reply::Drops).
    Drops,
    /// What each worker does -> [`Reply::Cores`](crate::Reply::Cores).
    Cores,
    /// Flow caches -> [`Reply::Caches`](crate::Reply::Caches).
    Cache,
    /// Underlay next hops -> [`Reply::Neighbors`](crate::Reply::Neighbors).
    NeighborList,
    /// Pins a next hop -> [`Reply::Done`](crate::Reply::Done).
    NeighborSet {
        /// IPv4 or IPv6 address.
        ip: String,
        /// Its Ethernet address.
        mac: String,
    },
    /// Forgets a next hop, pinned or learnt -> [`Reply::Done`](crate::Reply::Done); an unknown one
    /// is an error.
    NeighborDel {
        /// IPv4 or IPv6 address.
        ip: String,
    },
    /// Versions -> [`Reply::Version`](crate::Reply::Version).
    Version,
}
