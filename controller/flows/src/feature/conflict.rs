//! What stations of a VLAN say of addresses that pods here have: the controller hears it, so that an
//! address that two have is found.

use std::net::IpAddr;

use openflow::model::{Band, BandKind, METER_BURST, METER_PKTPS};
use openflow::{Action, Field};

use crate::fields::{FROM, FROM_UPLINK, NET};
use crate::flow::{ARP, Flow, FlowSet, IPV6, Meter};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::View;
use net::{MeterId, PortNo};

/// Above what answers or brings a question.
const HEARD: u16 = 240;

/// All of the frame that tells address and MAC.
const LENGTH: u16 = 96;

/// The meter that bounds what the controller hears: packets a second; what exceeds it is dropped,
/// and so does not disturb the pods either.
/// Below those of ports, whose numbers begin at 4.
const METER: MeterId = MeterId(1);
const RATE: u32 = 100;

/// Flows of [`Table::ArpNd`].
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    let mut needed = false;
    for (pod, _) in view.local_pods() {
        let subnet = view.subnet(pod);
        if !subnet.underlay {
            continue;
        }
        let origin = Origin::object(Feature::Conflict, &pod.object());
        for address in pod.pod.addresses() {
            let intent = "What a station says of a pod's address is told to the controller, too.";
            let flow = Flow::new(Table::ArpNd, HEARD, intent)
                .is(&FROM, FROM_UPLINK)
                .is(&NET, subnet.net);
            let flow = match address {
                IpAddr::V4(v4) => flow.ether(ARP).when(Field::ArpSpa, v4.to_bits()),
                IpAddr::V6(v6) => flow
                    .ether(IPV6)
                    .when(Field::IpProto, 58u8)
                    .when(Field::Icmpv6Type, 136u8)
                    .when(Field::NdTarget, v6.to_bits()),
            };
            let tell = Action::Output {
                port: PortNo::CONTROLLER,
                max_len: LENGTH,
            };
            needed = true;
            set.add(&origin, flow.meter(METER).act(tell).goto(Table::L2Forward));
        }
    }
    if needed {
        let band = Band {
            kind: BandKind::Drop,
            rate: RATE,
            burst: RATE,
        };
        let meter = Meter {
            flags: METER_PKTPS | METER_BURST,
            bands: vec![band],
            label: "Node addresses that stations of VLANs have".into(),
        };
        set.meters.insert(METER, meter);
    }
}
