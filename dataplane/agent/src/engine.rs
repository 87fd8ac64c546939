//! What the agent needs of the workers. The daemon joins it to `worker`; tests use a twin without
//! threads.

use std::net::IpAddr;
use std::sync::Arc;

use conntrack::{ConnTable, Filter};
use net::options::OptionMap;
use net::{MacAddr, PortNo};
use openflow::msg::Continuation;
use ports::{Port, QueueSpec, Shaping, TunnelSpec};
use worker::{
    CountersSnapshot, FdbCounts, FdbEntry, NeighborEntry, PacketInQueue, PacketOut, PortOptions,
    RequestQueue, TelemetrySnapshot,
};

/// Called once, on whichever thread, when something is done.
pub type Done<T> = Box<dyn FnOnce(T) + Send>;

/// What carries a port's packets.
pub enum Device {
    /// A device, to be polled by a worker.
    Port(Box<dyn Port>),
    /// A tunnel over one of the node's endpoints.
    Tunnel(TunnelSpec),
}

/// A port for the workers.
pub struct NewPort {
    /// OpenFlow number.
    pub number: PortNo,
    /// Name.
    pub name: String,
    /// `openflow::model::PORT_*` configuration bits to begin with.
    pub config: u32,
    /// Its VLAN and its queues.
    pub options: PortOptions,
    /// What carries its packets.
    pub device: Device,
}

/// What changes of a port while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortState {
    /// `openflow::model::PORT_*` configuration bits.
    pub config: u32,
    /// The link is up.
    pub link_up: bool,
    /// Ethernet address.
    pub mac: MacAddr,
    /// Largest packet without its Ethernet header, bytes; 0 for tunnels.
    pub mtu: u16,
}

/// A worker at a moment.
#[derive(Clone, Debug)]
pub struct WorkerView {
    /// Processor it is pinned to.
    pub cpu: Option<usize>,
    /// Names of the ports it polls.
    pub ports: Vec<String>,
    /// Its counters.
    pub counters: CountersSnapshot,
    /// Where its time goes.
    pub telemetry: TelemetrySnapshot,
    /// The rx queues that it polls.
    pub queues: Vec<RxQueueView>,
}

/// An rx queue at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RxQueueView {
    /// Its port's name.
    pub port: String,
    /// Number.
    pub queue: u16,
    /// Packets that came in by it.
    pub packets: u64,
    /// Ticks that its packets took, in the rounds that were timed.
    pub ticks: u64,
    /// Its packets are spread over all workers.
    pub spread: bool,
}

/// A queue at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueView {
    /// Number and settings.
    pub spec: QueueSpec,
    /// When the port got it, nanoseconds of the workers' clock.
    pub created: u64,
    /// Packets sent.
    pub packets: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Packets dropped because too many waited, or for too long.
    pub dropped: u64,
}

/// The workers, seen from the control thread. Nothing here blocks for longer than a system call.
pub trait Engine {
    /// Nanoseconds of the clock that the workers use.
    fn now(&self) -> u64;

    /// Calls back when every worker works with everything that was published and asked for
    /// before: the next packet sees it.
    fn barrier(&self, done: Done<()>);

    /// Likewise, and every worker has added the counts that it kept to those of rules and tables;
    /// that takes as long as its flow cache is large.
    fn settle(&self, done: Done<()>);

    /// Sends a packet of the controller's, after what was published before.
    fn packet_out(&self, packet: PacketOut);

    /// Goes on with a packet that waited for a controller, likewise.
    fn resume(&self, packet: PacketOut, rest: Continuation);

    /// Packets for the controller.
    fn packet_ins(&self) -> Arc<PacketInQueue>;

    /// What workers ask of the tables. A request that a packet caused is in it when a barrier that
    /// was asked for after that packet calls back.
    fn requests(&self) -> Arc<RequestQueue>;

    /// Whether packets whose time to live runs out go to the controller, or are dropped.
    fn send_invalid_ttl(&self, wanted: bool);

    /// Whether IP fragments are dropped before the tables see them.
    fn drop_fragments(&self, drop: bool);

    /// Says which tunnel options are fields.
    fn set_tunnel_options(&self, map: OptionMap);

    /// Hands a port to the workers.
    ///
    /// # Errors
    /// One line for the operator.
    fn add_port(&self, port: NewPort) -> Result<(), String>;

    /// Takes a port from the workers and closes it; calls back when it is closed.
    ///
    /// # Errors
    /// One line for the operator.
    fn delete_port(&self, number: PortNo, done: Done<()>) -> Result<(), String>;

    /// Has the worker of a processor poll an rx queue of a port; calls back when it does.
    ///
    /// # Errors
    /// One line for the operator.
    fn move_port(&self, number: PortNo, queue: u16, cpu: u32, done: Done<()>)
    -> Result<(), String>;

    /// Moves rx queues between workers if it is time for that and worth it; one line for each. Called
    /// about once a second.
    fn balance(&self) -> Vec<String>;

    /// Ticks of a worker's clock in a second.
    fn ticks_per_second(&self) -> u64;

    /// Tells the workers what has changed of a port.
    fn set_port(&self, number: PortNo, state: PortState);

    /// A port's queues with what was sent through them, by number.
    fn queues(&self, number: PortNo) -> Vec<QueueView>;

    /// Changes how fast a port sends, and its queues.
    ///
    /// # Errors
    /// One line for the operator.
    fn shape_port(&self, number: PortNo, shaping: &Shaping) -> Result<(), String>;

    /// Addresses that NORMAL has learnt.
    fn fdb(&self) -> Vec<FdbEntry>;

    /// What happened to them since the start.
    fn fdb_counts(&self) -> FdbCounts;

    /// Forgets learnt addresses, behind one port or all; gives how many.
    fn flush_fdb(&self, port: Option<PortNo>) -> usize;

    /// The workers.
    fn workers(&self) -> Vec<WorkerView>;

    /// The tracker of connections.
    fn tracker(&self) -> Arc<ConnTable>;

    /// Tracked connections, of one zone or all.
    fn connections(&self, zone: Option<u16>) -> Vec<admin::Connection>;

    /// Number of tracked connections, and how many there may be.
    fn connection_count(&self) -> (u64, u64);

    /// Forgets the tracked connections that a filter fits, in one part of the table, from 0; gives
    /// how many, and whether there are more parts. A part takes about a millisecond.
    fn flush_connections(&self, filter: &Filter, part: u32) -> (u64, bool);

    /// The underlay's next hops.
    fn neighbors(&self) -> Vec<NeighborEntry>;

    /// Pins a next hop; false: no tunnel endpoint could use it.
    fn set_neighbor(&self, address: IpAddr, mac: MacAddr) -> bool;

    /// Forgets a next hop; false: there was none.
    fn delete_neighbor(&self, address: IpAddr) -> bool;
}
