//! Ports: where packets enter and leave.
//!
//! A [`Port`] is what one worker polls and sends to; its [`PortControl`] is what the control plane
//! reads and sets meanwhile. Backends: a DPDK device (feature `dpdk`), `vnet` (a tap or a veth with
//! the virtio offload header, frames of up to 64 KB carried whole), [`mem`] (queues, for tests), and
//! [`TestPort`] (made packets, for measurements).
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod counters;
#[cfg(feature = "dpdk")]
mod device;
mod egress;
mod error;
mod generate;
pub mod mem;
mod open;
mod outer;
mod port;
#[cfg(feature = "dpdk")]
mod rss;
pub mod shaping;
mod spec;
mod vnet;

pub use counters::PortStats;
#[cfg(feature = "dpdk")]
pub use device::DpdkPort;
#[cfg(feature = "dpdk")]
pub use dpdk;
pub use error::PortError;
pub use generate::{Delay, GenerateSpec, Mode, Since, TestPort, TestSpec};
pub use open::{open, open_for};
pub use outer::{Mark, OuterSpec};
pub use port::{BURST, Burst, Caps, Pools, Port, PortControl, Queues};
pub use shaping::{Impairment, QueueSpec, Shaping};
pub use spec::{PortKind, PortSpec, SpecError, TunnelKind, TunnelSpec};
pub use vnet::VnetPort;
