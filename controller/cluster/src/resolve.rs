//! From the view to the desired state, at once.

use crate::desired::DesiredState;
use crate::resolver::Resolver;
use crate::state::State;
use crate::view::ClusterView;

/// What holds where no object says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// MTU of overlay subnets, bytes of L3 payload: the physical one less Geneve with room for
    /// options, over IPv4 or IPv6 (as Kube-OVN does it: 100 bytes).
    pub overlay_mtu: u16,
    /// MTU of underlay subnets, bytes of L3 payload.
    pub underlay_mtu: u16,
    /// A pod is told to switches only when its addresses stand on its Pod: whoever comes after us
    /// reads there who holds what.
    pub written_first: bool,
    /// Addresses given unasked come from blocks of 2 to the power of this many, each of which is
    /// one node's as far as the subnet has enough; 0: wherever a node is.
    pub block_bits: u8,
    /// Records of the policy log that a node may cause, a second; from 1.
    pub policy_log_rate: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            overlay_mtu: 1400,
            underlay_mtu: 1500,
            written_first: false,
            block_bits: 6,
            policy_log_rate: 100,
        }
    }
}

/// Computes what the network shall be. `state` is brought up to date with it and has to be kept,
/// before anything is told to switches or pods.
///
/// The same view and state give the same result; calling it again with the state it left changes
/// nothing. Who is told one view after another has a [`Resolver`], which gives the same at the cost
/// of what differs.
pub fn resolve(view: &ClusterView, settings: &Settings, state: &mut State) -> DesiredState {
    let mut resolver = Resolver::new(settings.clone(), std::mem::take(state));
    let desired = resolver.update(view).clone();
    *state = resolver.into_state();
    desired
}
