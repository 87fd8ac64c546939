//! Bindings of the installed DPDK (22.11 to 24.11) and of the shim around its inline functions.
//!
//! Nothing here is safe to call without reading DPDK's documentation of the function behind it; the
//! crate `dpdk` wraps what Sluice needs. The names are DPDK's; `dp_*` and `DP_*` are the shim's.
#![allow(unsafe_code)] // bindings
#![allow(
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    clippy::all,
    clippy::missing_safety_doc,
    clippy::undocumented_unsafe_blocks
)] // generated

/// A pool of mbufs; only DPDK looks inside.
#[repr(C)]
pub struct rte_mempool {
    opaque: [u8; 0],
}

/// A packet segment; `packet::Mbuf` names its fields.
#[repr(C)]
pub struct rte_mbuf {
    opaque: [u8; 0],
}

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
