//! What is known of a packet besides its bytes while a worker handles it.

use net::edit::Given;
use net::exact::TunnelKey;
use net::parse::Layout;

/// Of one packet of a burst.
#[derive(Clone, Default)]
pub(crate) struct Facts {
    /// Where its headers are; means nothing without a key.
    pub layout: Layout,
    pub in_port: u32,
    /// Hash of its flow, for the outer source port; if its program sends into a tunnel.
    pub entropy: u64,
    /// What its flow has of its own; if its program writes that.
    pub given: Given,
    pub tunnel: Option<TunnelKey>,
}
