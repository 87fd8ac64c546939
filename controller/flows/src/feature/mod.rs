//! One file per feature, each with pure functions: from what a node sees to the flows that are its
//! own, and from an object to the flows that every node has for it ([`shared`]).

pub mod announce;
pub mod arp;
pub mod backends;
pub mod classify;
pub mod conflict;
pub mod conntrack;
pub mod edge;
pub mod frontend;
pub mod hairpin;
pub mod host;
pub mod l2;
pub mod limits;
pub mod nd;
pub mod output;
pub mod pipeline;
pub mod policy;
pub mod qos;
pub mod routing;
pub mod service;
pub mod shared;
pub mod spoof_guard;
pub mod subnet_rules;
pub mod tunnel;

use crate::flow::FlowSet;
use crate::view::View;

/// What a feature is: it adds its flows, groups and meters to the set.
pub type Compile = fn(&View<'_>, &mut FlowSet);

/// Every feature that depends on the node. They are run anew when one of its pods or ports changes,
/// so each costs as much as the node's pods, never as much as the cluster.
pub const ALL: &[Compile] = &[
    classify::flows,
    spoof_guard::flows,
    arp::flows,
    nd::flows,
    conflict::flows,
    conntrack::flows,
    service::flows,
    backends::flows,
    policy::flows,
    routing::flows,
    hairpin::flows,
    qos::flows,
    limits::flows,
    l2::flows,
    tunnel::flows,
    output::flows,
    host::flows,
    edge::flows,
    frontend::flows,
    announce::flows,
];
