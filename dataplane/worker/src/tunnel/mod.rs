//! Tunnels: this node's endpoints, next hops on the underlay, wrapping and unwrapping.

pub(crate) mod config;
pub(crate) mod endpoint;
pub(crate) mod entropy;
pub(crate) mod inherit;
pub(crate) mod neighbors;
pub(crate) mod too_big;
