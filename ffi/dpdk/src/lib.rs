//! DPDK, safe to call: the environment layer, registered threads, mempools, ports, queues, logs.
//!
//! Everything hangs on an [`Eal`], of which there is one per process and which is never taken down
//! again: packets and pools may outlive whoever started it.
#![allow(unsafe_code)] // This crate is the boundary to DPDK; each block says why it holds.

mod eal;
mod error;
mod lcore;
mod log;
mod mempool;
mod offload;
mod port;
mod queue;
mod stdio;

pub use eal::{Eal, EalConfig};
pub use error::DpdkError;
pub use lcore::RegisteredThread;
pub use log::{LogLevel, forward_logs};
pub use mempool::create_pool;
pub use port::{DevicePort, DeviceStats, Link, PortConfig, PortInfo, Queues};
pub use queue::{RxQueue, Sent, TxQueue};
