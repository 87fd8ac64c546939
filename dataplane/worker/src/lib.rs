//! The worker: one pinned thread that takes bursts of packets from its ports, finds out what the
//! OpenFlow tables want done with each, and does it.
//!
//! The first packet of a flow walks the tables, which yields a flat [`program`]; the
//! following ones find that program in the flow cache and run it. Only running a program ever
//! changes a packet. Read [`engine`] first: it is the loop, and names every stage in order.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod command;
mod config;
mod counters;
mod drop_reason;
mod packet_in;
mod tunnel;

pub use command::{NeighborEntry, NeighborState, PacketOut, Reply};
pub use config::{Config, Poll};
pub use counters::{Counter, Counters, CountersSnapshot, TableCounts};
pub use drop_reason::DropReason;
pub use packet_in::{PacketIn, PacketInQueue, PacketInReason};
pub use tunnel::config::{Key, Remote, TunnelKind, TunnelPort, Vtep, VtepError};
