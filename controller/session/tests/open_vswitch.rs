//! Our flows in Open vSwitch, packets in and packets out: an independent judge of what the pipeline
//! means. Two nodes, each an ovs-vswitchd with its dummy datapath; needs no privileges.

mod common;

use std::io::Write;

use common::ovs::{self, Ovs};
use common::scenarios::{self, Rig};

/// The example cluster on two Open vSwitches; none where Open vSwitch is not installed.
fn rig() -> Option<Rig> {
    if !ovs::is_installed() {
        let _ = writeln!(std::io::stderr(), "skipped: Open vSwitch is not installed");
        return None;
    }
    let nodes = [Ovs::start("node1", 1), Ovs::start("node2", 2)];
    Some(Rig::start(nodes.map(|node| Box::new(node) as _)))
}

macro_rules! scenarios {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            if let Some(mut rig) = rig() {
                scenarios::$name(&mut rig);
            }
        }
    )*};
}

scenarios! {
    pods_of_an_overlay_reach_each_other_here_and_through_the_tunnel
    what_a_pod_sends_from_others_addresses_goes_nowhere_and_is_counted_by_its_own_flow
    a_service_spreads_connections_and_answers_from_its_own_address
    a_pod_reaches_itself_through_its_service
    a_pod_on_a_vlan_is_a_station_like_any_other
    services_lead_from_underlay_to_overlay_and_back
    after_a_restart_of_the_controller_not_a_single_flow_is_sent
}
