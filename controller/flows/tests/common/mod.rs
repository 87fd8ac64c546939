//! The example cluster of the tests: two nodes, two overlay subnets (one dual stack), an underlay
//! subnet on VLAN 100, pods on both nodes, Services.
#![allow(dead_code)] // each test file uses its part

use std::collections::BTreeMap;

use cluster::desired::{
    DesiredState, Endpoint, Limits, Node, PacketRate, Pod, Prefix4, Prefix6, Priority, Protocol,
    ProviderNetwork, Qos, Rate, Routing, Service, ServicePort, Subnet, SubnetKind,
};
use cluster::edge::{Announced, Balanced, Frontends, Host, host_mac};
use cluster::{DEFAULT_INTERFACE, NamespacedName, port_name};
use flows::Ports;
use net::{MacAddr, PortNo, VlanId, Vni};

pub const UPLINK: PortNo = PortNo(1);
pub const TUNNEL: PortNo = PortNo(2);
pub const HOST: PortNo = PortNo(3);

pub fn bank() -> DesiredState {
    let mut state = DesiredState::default();
    for (name, vtep) in [("node1", "172.30.0.1"), ("node2", "172.30.0.2")] {
        let node = Node {
            name: name.into(),
            vtep: Some(vtep.parse().unwrap()),
            addresses: vec![vtep.parse().unwrap()],
            zone: None,
            cell: None,
        };
        state.nodes.insert(name.into(), node);
    }
    let provider = ProviderNetwork {
        name: "physical".into(),
        uplinks: ["node1", "node2"]
            .map(|n| (n.into(), "uplink0".into()))
            .into(),
    };
    state.provider_networks.insert("physical".into(), provider);
    let overlay = |vni| SubnetKind::Overlay {
        vni: Vni::new(vni).unwrap(),
    };
    let vlan = SubnetKind::Underlay {
        provider: "physical".into(),
        vlan: Some(VlanId::new(100).unwrap()),
    };
    subnet(
        &mut state,
        "apps",
        overlay(1001),
        "10.16.0.0/16",
        Some("fd00:10:16::/64"),
        1,
    );
    subnet(&mut state, "data", overlay(1002), "10.17.0.0/16", None, 2);
    subnet(&mut state, "trading", vlan, "192.168.100.0/24", None, 3);

    pod(
        &mut state,
        "web-1",
        "node1",
        "apps",
        "10.16.0.11",
        Some("fd00:10:16::11"),
    );
    pod(
        &mut state,
        "web-2",
        "node2",
        "apps",
        "10.16.0.12",
        Some("fd00:10:16::12"),
    );
    pod(&mut state, "db-1", "node1", "data", "10.17.0.21", None);
    pod(&mut state, "db-2", "node2", "data", "10.17.0.22", None);
    pod(
        &mut state,
        "feed-1",
        "node1",
        "trading",
        "192.168.100.31",
        None,
    );
    pod(
        &mut state,
        "feed-2",
        "node2",
        "trading",
        "192.168.100.32",
        None,
    );
    let limited = state
        .pods
        .get_mut(&NamespacedName::new("bank", "db-1"))
        .unwrap();
    limited.qos = Qos {
        ingress: Some(rate(50)),
        egress: Some(rate(100)),
        egress_packets: Some(PacketRate {
            pps: 1000,
            burst: 100,
        }),
        priority: Priority::High,
        dscp: Some(46),
        ..Qos::default()
    };
    let together = Limits {
        egress: Some(rate(500)),
        ingress: None,
    };
    state.namespace_limits.insert("bank".into(), together);

    service(
        &mut state,
        "web",
        &["10.96.0.10", "fd00:10:96::10"],
        Protocol::Tcp,
        80,
        &[
            ("10.16.0.11", 8080, "node1"),
            ("10.16.0.12", 8080, "node2"),
            ("fd00:10:16::11", 8080, "node1"),
        ],
    );
    let feeds = [
        ("192.168.100.31", 5300, "node1"),
        ("192.168.100.32", 5300, "node2"),
    ];
    service(
        &mut state,
        "feed",
        &["10.96.0.20"],
        Protocol::Udp,
        53,
        &feeds,
    );
    service(&mut state, "idle", &["10.96.0.30"], Protocol::Tcp, 443, &[]);
    state
}

/// Adds what lies at the edge: the nodes' own addresses, 192.0.2.1 and .2 behind their kernels'
/// interfaces or, `on_vlan`, 192.168.100.11 and .12 on VLAN 100; and ways to the Service `web` from
/// outside: node port 30080, 203.0.113.5, and 192.168.100.240, which node1 answers for.
pub fn edge(state: &mut DesiredState, on_vlan: bool) {
    for number in [1, 2] {
        let name = format!("node{number}");
        let address = match on_vlan {
            true => format!("192.168.100.1{number}"),
            false => format!("192.0.2.{number}"),
        };
        let addresses = vec![
            address.parse().unwrap(),
            format!("fd00:30::{number}").parse().unwrap(),
        ];
        let host = Host {
            mac: host_mac(&name, &addresses),
            network: on_vlan.then(|| "trading".into()),
            addresses,
        };
        state.hosts.insert(name, host);
    }
    state.nat_outgoing.insert("apps".into());
    let web = Frontends {
        node_ports: [((Protocol::Tcp, 80), 30_080)].into(),
        external: vec!["203.0.113.5".parse().unwrap()],
        balanced: vec![Balanced {
            address: "192.168.100.240".parse().unwrap(),
            announced: Some(Announced {
                subnet: "trading".into(),
                node: Some("node1".into()),
            }),
        }],
        ..Frontends::default()
    };
    state
        .frontends
        .insert(NamespacedName::new("bank", "web"), web);
}

fn rate(mbit: u32) -> Rate {
    Rate {
        kbps: mbit * 1000,
        burst_kbit: mbit * 800,
    }
}

fn subnet(
    state: &mut DesiredState,
    name: &str,
    kind: SubnetKind,
    v4: &str,
    v6: Option<&str>,
    number: u8,
) {
    let v4: ipnet::Ipv4Net = v4.parse().unwrap();
    let v6: Option<ipnet::Ipv6Net> = v6.map(|text| text.parse().unwrap());
    let subnet = Subnet {
        name: name.into(),
        v4: Some(Prefix4 {
            cidr: v4,
            gateway: v4.hosts().next().unwrap(),
        }),
        v6: v6.map(|cidr| Prefix6 {
            cidr,
            gateway: std::net::Ipv6Addr::from_bits(cidr.network().to_bits() + 1),
        }),
        kind,
        router_mac: MacAddr([0x02, 0x5c, 0xff, 0, 0, number]),
        mtu: 1400,
        rules: Vec::new(),
        logical_gateway: false,
        interconnected: false,
    };
    state.subnets.insert(name.into(), subnet);
}

pub fn pod(
    state: &mut DesiredState,
    name: &str,
    node: &str,
    subnet: &str,
    v4: &str,
    v6: Option<&str>,
) {
    let v4: std::net::Ipv4Addr = v4.parse().unwrap();
    let [a, b, c, d] = v4.octets();
    let pod = Pod {
        name: NamespacedName::new("bank", name),
        node: node.into(),
        port: port_name("bank", name, DEFAULT_INTERFACE),
        subnet: subnet.into(),
        mac: MacAddr([0x02, 0x5c, a, b, c, d]),
        v4: Some(v4),
        v6: v6.map(|text| text.parse().unwrap()),
        allowed: Vec::new(),
        qos: Qos::default(),
        cell: None,
    };
    state.pods.insert(pod.name.clone(), pod);
}

pub fn service(
    state: &mut DesiredState,
    name: &str,
    vips: &[&str],
    protocol: Protocol,
    port: u16,
    endpoints: &[(&str, u16, &str)],
) {
    let endpoint = |(ip, port, node): &(&str, u16, &str)| Endpoint {
        node: Some(node.to_string()),
        ..Endpoint::ready(ip.parse().unwrap(), *port)
    };
    let service = Service {
        name: NamespacedName::new("bank", name),
        cluster_ips: vips.iter().map(|vip| vip.parse().unwrap()).collect(),
        ports: vec![ServicePort {
            name: String::new(),
            protocol,
            port,
            endpoints: endpoints.iter().map(endpoint).collect(),
        }],
        routing: Routing::default(),
    };
    state.services.insert(service.name.clone(), service);
}

/// The ports of a node on which every pod of the state that runs there has one: 11, 12, ... in the
/// order of names.
pub fn ports(state: &DesiredState, node: &str) -> Ports {
    let mut ports: Ports = BTreeMap::from([("uplink0".into(), UPLINK), ("geneve0".into(), TUNNEL)]);
    let here = state.pods.values().filter(|pod| pod.node == node);
    for (number, pod) in (11..).zip(here) {
        ports.insert(pod.port.clone(), PortNo(number));
    }
    if !state.hosts.is_empty() {
        ports.insert("sluice0".into(), HOST);
    }
    ports
}

/// Compares with a file, or writes it when `SLUICE_BLESS` is set.
pub fn golden(path: &std::path::Path, actual: &str) {
    if std::env::var_os("SLUICE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    let differs = expected.lines().zip(actual.lines()).find(|(e, a)| e != a);
    assert!(
        expected == actual,
        "{} is not current; first difference:\n  file: {}\n  now:  {}\n\
         if the change is meant, renew it: SLUICE_BLESS=1 cargo test -p sluice-flows",
        path.display(),
        differs.map_or("(length)", |d| d.0),
        differs.map_or("(length)", |d| d.1),
    );
}
