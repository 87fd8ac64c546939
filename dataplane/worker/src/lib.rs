//! The worker: one pinned thread that takes bursts of packets from its ports, finds out what the
//! OpenFlow tables want done with each, and does it.
//!
//! The first packet of a flow walks the tables, which yields a flat program; the
//! following ones find that program in the flow cache and run it. Only running a program ever
//! changes a packet. Read `engine.rs` first: it is the loop, and names every stage in order.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod balance;
mod cache;
mod command;
mod config;
mod connections;
mod counters;
mod drop_reason;
mod effects;
mod egress;
mod engine;
mod execute;
mod facts;
mod fdb;
mod fragments;
mod packet_in;
mod port_map;
mod program;
mod refusal;
mod requests;
mod rewrite;
mod shaper;
mod shared;
pub mod telemetry;
mod tunnel;
mod walk;
mod workers;

pub use cache::MAX_CACHE_ENTRIES;
pub use command::{Command, Device, NeighborEntry, NeighborState, PacketOut, Reply};
pub use config::{Balance, Config, FragmentLimits, Poll};
pub use counters::{Counter, Counters, CountersSnapshot};
pub use drop_reason::DropReason;
pub use engine::Worker;
pub use fdb::{Fdb, FdbCounts, FdbEntry};
pub use packet_in::{PacketIn, PacketInQueue, PacketInReason};
pub use port_map::{
    Endpoint, Placement, PortEntry, PortError, PortKind, PortMap, PortOptions, PortSlot, Queue,
    Queues, RxQueue,
};
pub use requests::{Request, RequestQueue};
pub use shared::Shared;
pub use telemetry::{Histogram, HistogramSnapshot, Stage, Telemetry, TelemetrySnapshot};
pub use tunnel::config::{TunnelPort, Vtep, VtepError};
pub use workers::{Moved, Workers};
