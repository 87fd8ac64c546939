//! Our flows in our own dataplane, packets in and packets out: what Open vSwitch does with them, ours
//! does too, without any pause after the barrier.

mod common;

use common::own::Own;
use common::scenarios::{self, Rig};

fn rig() -> Rig {
    let nodes = [Own::start("node1", 1), Own::start("node2", 2)];
    Rig::start(nodes.map(|node| Box::new(node) as _))
}

macro_rules! scenarios {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            scenarios::$name(&mut rig());
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
