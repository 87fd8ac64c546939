//! Packets: owned chains of DPDK-shaped buffers.
//!
//! A [`Packet`] owns a chain of `rte_mbuf` segments, whether they come from a DPDK mempool (feature
//! `dpdk`) or from the heap, so every stage, test and benchmark above works on one concrete type.
//! Facts about a packet that are not in its bytes ([`PacketMeta`]) live in the private area behind
//! the first segment's header and travel with it.
#![allow(unsafe_code)] // This crate is the memory boundary of packets; each block says why it holds.

mod chain;
#[cfg(feature = "dpdk")]
mod dpdk;
mod free;
mod heap;
mod mbuf;
mod meta;
mod packet;
mod pool;
mod prefetch;
mod resize;
mod segments;

pub use free::free_bulk;
pub use mbuf::{Mbuf, PRIVATE_SIZE};
pub use meta::{Csum, Gso, PacketMeta};
pub use packet::{DeviceFields, Packet};
pub use pool::{HEADROOM, Pool};
pub use prefetch::prefetch;
pub use segments::{Segments, SegmentsMut};
