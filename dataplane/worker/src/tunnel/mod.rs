//! Tunnels: this node's endpoints, next hops on the underlay, wrapping and unwrapping.

pub(crate) mod config;
