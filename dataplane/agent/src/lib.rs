//! The switch side of OpenFlow, and the admin socket.
//!
//! Everything here runs on one thread, in a tokio current-thread runtime: [`Switch`] holds the
//! tables' writer, the ports and the sessions; [`serve`] opens the configured targets and keeps
//! them; [`handle`] says what each message does. Workers are reached through [`Engine`] only, and
//! never wait for anything here.
//!
//! Modifications gather until their connection has nothing more to say at once, a barrier comes,
//! or 50 ms have passed; then all are published at once. A barrier is answered when
//! every worker works with what was published.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod admin_server;
mod admission;
mod answers;
mod busy;
mod converse;
mod engine;
mod events;
mod handle;
mod labels;
mod limits;
mod links;
mod metrics;
mod monitors;
mod notices;
mod options;
mod outbox;
mod pacer;
mod parts;
mod ports;
mod refusal;
mod requests;
mod serve;
mod session;
mod standalone;
mod switch;
mod timers;
mod workers;

pub use admin_server::serve_admin;
pub use engine::{Device, Done, Engine, NewPort, PortState, QueueView, RxQueueView, WorkerView};
pub use options::{FailMode, Options, PacketInLimit, parse_protocols};
pub use serve::serve;
pub use switch::{Identity, Opener, Switch};
pub use timers::run_timers;
pub use transport::{ListenError, Target};
