//! The words that dataplane and controller share: addresses, identifiers, header views, checksums
//! and the flow key.
//!
//! Nothing here allocates, does I/O or knows of ports, tables or Kubernetes.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod arp;
pub mod csum;
pub mod ecn;
pub mod edit;
pub mod exact;
pub mod fragment;
pub mod gso;
pub mod headers;
pub mod icmp;
pub mod ids;
pub mod key;
pub mod mac;
pub mod nd;
pub mod options;
pub mod parse;
pub mod reshape;
pub mod spread;
pub mod tcp;
pub mod tunnel;

pub use ids::{GroupId, IdError, MeterId, PortNo, TableId, VlanId, Vni};
pub use key::{FlowKey, KEY_WORDS};
pub use mac::MacAddr;
