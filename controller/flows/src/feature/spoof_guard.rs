//! A pod sends from its own addresses only. What it sends from others ends in a flow of its own,
//! whose counter names the pod.

use std::net::{IpAddr, Ipv6Addr};

use net::{MacAddr, PortNo};
use openflow::Field;

use crate::flow::{ARP, Flow, FlowSet, IPV6, bits};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::{PodView, View};

const DISCOVERY: u16 = 320;
const DISCOVERY_REST: u16 = 310;
const OWN: u16 = 200;
const SILENT: u16 = 60;
const SPOOFED: u16 = 10;

/// Messages of neighbour discovery (RFC 4861, 4): type numbers of ICMPv6.
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const ICMPV6: u8 = 58;

/// Flows of [`Table::SpoofGuard`].
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    for (pod, port) in view.local_pods() {
        let origin = Origin::object(Feature::SpoofGuard, &pod.object());
        let from = Sender {
            port,
            mac: pod.pod.mac,
        };
        let mut add = |flow: Flow| set.add(&origin, flow);
        if let Some(own) = pod.pod.v4 {
            from.ipv4(own.into(), &mut add);
        }
        if let Some(own) = pod.pod.v6 {
            from.ipv6(own, &mut add);
        }
        for address in &pod.pod.allowed {
            match address {
                IpAddr::V4(_) => from.ipv4(*address, &mut add),
                IpAddr::V6(v6) => from.ipv6(*v6, &mut add),
            }
        }
        from.rest(pod, &mut add);
    }
}

struct Sender {
    port: PortNo,
    mac: MacAddr,
}

impl Sender {
    fn flow(&self, priority: u16, intent: &'static str) -> Flow {
        Flow::new(Table::SpoofGuard, priority, intent)
            .when(Field::InPort, self.port.0)
            .when(Field::EthSrc, self.mac.to_u64())
    }

    fn ipv4(&self, own: IpAddr, add: &mut impl FnMut(Flow)) {
        add(self
            .flow(OWN, "A pod sends IPv4 from its own address.")
            .ip_src(own)
            .goto(Table::ArpNd));
        for (sender, intent) in [
            (bits(own), "A pod speaks for its own address in ARP."),
            (
                0,
                "A pod may probe by ARP before it uses an address (RFC 5227).",
            ),
        ] {
            add(self
                .flow(OWN, intent)
                .ether(ARP)
                .when(Field::ArpSha, self.mac.to_u64())
                .when(Field::ArpSpa, sender)
                .goto(Table::ArpNd));
        }
    }

    fn ipv6(&self, own: Ipv6Addr, add: &mut impl FnMut(Flow)) {
        let link_local = link_local(self.mac);
        for source in [own, link_local] {
            add(self
                .flow(
                    OWN,
                    "A pod sends IPv6 from its own address or its link-local one.",
                )
                .ip_src(source.into())
                .goto(Table::ArpNd));
            for option in [self.mac, MacAddr::ZERO] {
                add(self
                    .discovery(
                        SOLICITATION,
                        "A pod asks for neighbours by its own MAC address.",
                    )
                    .ip_src(source.into())
                    .when(Field::NdSll, option.to_u64())
                    .goto(Table::ArpNd));
                add(self
                    .discovery(ADVERTISEMENT, "A pod advertises its own addresses only.")
                    .ether(IPV6)
                    .when(Field::NdTarget, source.to_bits())
                    .when(Field::NdTll, option.to_u64())
                    .goto(Table::ArpNd));
            }
            add(self
                .discovery(
                    SOLICITATION,
                    "A pod may look for duplicates of its own address.",
                )
                .ip_src(Ipv6Addr::UNSPECIFIED.into())
                .when(Field::NdTarget, source.to_bits())
                .goto(Table::ArpNd));
        }
        // Router advertisement and redirect are for routers (RFC 4861, 6.2 and 8).
        for kind in [SOLICITATION, ADVERTISEMENT, 134, 137] {
            add(self
                .flow(DISCOVERY_REST, "Any other neighbour discovery is spoofed.")
                .ether(IPV6)
                .when(Field::IpProto, ICMPV6)
                .when(Field::Icmpv6Type, kind));
        }
    }

    fn discovery(&self, kind: u8, intent: &'static str) -> Flow {
        self.flow(DISCOVERY, intent)
            .ether(IPV6)
            .when(Field::IpProto, ICMPV6)
            .when(Field::Icmpv6Type, kind)
    }

    fn rest(&self, pod: &PodView<'_>, add: &mut impl FnMut(Flow)) {
        // Every Linux interface speaks a little IPv6 when it comes up; that is no spoofing.
        let idle = [
            (Ipv6Addr::UNSPECIFIED, 128u32),
            (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
        ];
        for (source, length) in idle {
            add(self
                .flow(SILENT, "Link-local IPv6 that nobody needs is dropped.")
                .ether(IPV6)
                .when_masked(
                    Field::Ipv6Src,
                    source.to_bits(),
                    u128::MAX << (128 - length),
                ));
        }
        debug_assert_eq!(pod.pod.mac, self.mac);
        add(Flow::new(
            Table::SpoofGuard,
            SPOOFED,
            "Spoofed: not this pod's MAC or IP address, or a protocol it may not send.",
        )
        .when(Field::InPort, self.port.0));
    }
}

/// The link-local address an interface makes of its MAC address (RFC 4291, appendix A).
pub fn link_local(mac: MacAddr) -> Ipv6Addr {
    let m = mac.0;
    Ipv6Addr::from([
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        m[0] ^ 2,
        m[1],
        m[2],
        0xff,
        0xfe,
        m[3],
        m[4],
        m[5],
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_addresses_are_those_of_the_specification() {
        let mac = MacAddr([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
        assert_eq!(link_local(mac).to_string(), "fe80::3656:78ff:fe9a:bcde");
    }
}
