//! Connections: who talks to whom, in which state, and under which translated addresses.
//!
//! One [`ConnTable`] is shared by all workers. Lookups and state updates take no lock: connections
//! live in a fixed arena of atomics, found through a hash index of atomics, and a generation per
//! slot tells a reader that what it read belongs together. Creating and removing a connection
//! locks the shards of its two tuples, and the pool that its place is of. Nothing is allocated
//! after creation; a full table refuses new connections and keeps the old ones.
//!
//! Everything that a connection is lies in one piece of shared memory without pointers
//! ([`ConnView`] reads it from outside); what remains in the process are locks, and the ends of
//! lists whose links are in the memory too.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod arena;
mod config;
mod dump;
mod entry;
mod index;
mod limit;
mod links;
mod nat;
mod pool;
mod sources;
mod sync;
mod table;
mod tcp;
mod tuple;
mod view;
mod wheel;
mod zones;

pub use arena::TableError;
pub use config::{Config, Timeouts};
pub use dump::{Conn, Counters, Filter, TcpState, TupleFilter};
pub use entry::{ConnRef, Direction};
pub use limit::LimitSpec;
pub use nat::{Choice, NatRange, NatRequest};
pub use net::tcp::TcpInfo;
pub use table::{Commit, ConnTable, CtError, Expected, Totals, Tracked, ZoneLimit};
pub use tuple::Tuple;
pub use view::ConnView;
