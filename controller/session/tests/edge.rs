//! Where the pod network meets the nodes themselves and the world, packets in and packets out: two
//! nodes of ours, whose kernels, clients and neighbours are played by the test (ADR 29).

mod common;

use std::net::Ipv4Addr;

use cluster::NamespacedName;
use common::bank;
use common::own::Own;
use common::scenarios::Rig;
use common::world::{BROADCAST, Host, Mac, Seen, What};

const ROUTER_APPS: Mac = [0x02, 0x5c, 0xff, 0, 0, 1];
const ROUTER_DATA: Mac = [0x02, 0x5c, 0xff, 0, 0, 2];
const ROUTER_HOST: Mac = [0x0a, 0x5c, 0, 0, 0, 1];
const GATEWAY: Mac = [0x00, 0x11, 0x22, 0x33, 0x44, 0x55];
const WEB_VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const BALANCER: Ipv4Addr = Ipv4Addr::new(192, 168, 100, 240);
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
const TRANSIT: Ipv4Addr = Ipv4Addr::new(169, 254, 83, 2);
const NODE_PORTS: Ipv4Addr = Ipv4Addr::new(169, 254, 83, 3);
const WORLD: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
/// A machine on VLAN 100 that knows nothing of us.
const CLIENT: Host = Host {
    mac: [0x00, 0xaa, 0xbb, 0xcc, 0xdd, 0xee],
    ip: Ipv4Addr::new(192, 168, 100, 200),
};

struct Edge {
    rig: Rig,
    /// What the nodes' kernels are.
    nodes: [Host; 2],
}

impl Edge {
    /// The example cluster with its edge: the nodes' addresses behind their kernels, or on VLAN 100.
    fn start(on_vlan: bool) -> Edge {
        let nodes = [Own::start("node1", 1), Own::start("node2", 2)];
        for node in &nodes {
            node.add("sluice0,ofport=3,dev=mem");
        }
        let mut rig = Rig::start(nodes.map(|node| Box::new(node) as _));
        for (name, node) in ["host1", "host2"].iter().zip(&rig.nodes) {
            rig.world
                .pods
                .insert(name.to_string(), node.wire("sluice0"));
        }
        bank::edge(&mut rig.state, on_vlan);
        let (_, rejected) = rig.install();
        assert_eq!(rejected, [""; 0]);
        // Addresses of load balancers are announced.
        rig.world.hush();
        let nodes = ["node1", "node2"].map(|name| {
            let host = &rig.state.hosts[name];
            let Some(std::net::IpAddr::V4(ip)) = host.addresses.first().copied() else {
                panic!("no address")
            };
            Host {
                mac: host.mac.0,
                ip,
            }
        });
        Edge { rig, nodes }
    }

    fn pod(&self, pod: &str) -> Host {
        self.rig.host(pod)
    }

    fn send(&mut self, from: &str, frame: &[u8]) {
        self.rig.world.send(from, frame);
    }

    #[track_caller]
    fn gets(&mut self, who: &str) -> Seen {
        let got = self.rig.world.received(who);
        got.unwrap_or_else(|| panic!("{who} got nothing"))
    }

    /// Sends on VLAN 100 and gives what a pod or kernel of these gets first.
    #[track_caller]
    fn vlan_sends(&mut self, frame: &[u8], to: &[&str]) -> (String, Seen) {
        self.rig.world.send_on_vlan(100, frame);
        self.first(to)
    }

    #[track_caller]
    fn first(&mut self, of: &[&str]) -> (String, Seen) {
        let wait = std::time::Duration::from_millis(10);
        for _ in 0..200 {
            for who in of {
                if let Some(seen) = self.rig.world.received_within(who, wait) {
                    return (who.to_string(), seen);
                }
            }
        }
        panic!("none of {of:?} got anything");
    }

    /// A frame on VLAN 100 that is for this MAC address.
    #[track_caller]
    fn on_vlan_for(&mut self, mac: Mac) -> Seen {
        for _ in 0..5 {
            match self.rig.world.seen_on_vlan() {
                Some(seen) if seen.dst == mac => return seen,
                Some(_) => continue,
                None => break,
            }
        }
        panic!("nothing on the VLAN for {mac:02x?}");
    }

    fn silence(&mut self) {
        let all = [
            "web-1", "web-2", "db-1", "db-2", "feed-1", "feed-2", "host1", "host2",
        ];
        self.rig.world.assert_silence(&all);
    }
}

#[track_caller]
fn ip(seen: &Seen) -> (Ipv4Addr, Ipv4Addr, (u8, u16, u16)) {
    match &seen.what {
        What::Ip {
            src,
            dst,
            l4,
            sound,
            ..
        } => {
            assert!(sound, "a checksum is wrong: {seen:?}");
            (*src, *dst, *l4)
        }
        other => panic!("no IP packet: {other:?}"),
    }
}

#[test]
fn a_node_and_pods_of_every_node_reach_each_other() {
    let mut edge = Edge::start(false);
    let node = edge.nodes[0];
    // The kernel finds the router by ARP, and nobody else.
    let router = Ipv4Addr::new(169, 254, 83, 1);
    edge.send("host1", &node.arp(true, BROADCAST, ([0; 6], router)));
    let reply = edge.gets("host1");
    assert_eq!((reply.src, reply.dst), (ROUTER_HOST, node.mac));
    edge.send("host1", &node.arp(true, BROADCAST, ([0; 6], WORLD)));
    // Probes: the pod sees the node's address, and its answer comes back, from wherever it is.
    for (pod, via) in [
        ("web-1", ROUTER_APPS),
        ("web-2", ROUTER_APPS),
        ("db-1", ROUTER_DATA),
        ("db-2", ROUTER_DATA),
        ("feed-1", GATEWAY),
        ("feed-2", GATEWAY),
    ] {
        let host = edge.pod(pod);
        edge.send(
            "host1",
            &node.tcp(ROUTER_HOST, host.ip, (40_000, 8080), "S", b""),
        );
        let syn = edge.gets(pod);
        assert_eq!(syn.dst, host.mac);
        assert_eq!(ip(&syn), (node.ip, host.ip, (6, 40_000, 8080)));
        edge.send(pod, &host.tcp(via, node.ip, (8080, 40_000), "SA", b""));
        let reply = edge.gets("host1");
        assert_eq!((reply.src, reply.dst), (ROUTER_HOST, node.mac));
        assert_eq!(ip(&reply), (host.ip, node.ip, (6, 8080, 40_000)));
        edge.send(
            "host1",
            &node.tcp(ROUTER_HOST, host.ip, (40_000, 8080), "A", b"hello"),
        );
        assert_eq!(ip(&edge.gets(pod)), (node.ip, host.ip, (6, 40_000, 8080)));
    }
    // A pod asks its own node.
    let web = edge.pod("web-1");
    edge.send("web-1", &web.udp(ROUTER_APPS, node.ip, (5000, 53), b"?"));
    assert_eq!(ip(&edge.gets("host1")), (web.ip, node.ip, (17, 5000, 53)));
    edge.send("host1", &node.udp(ROUTER_HOST, web.ip, (53, 5000), b"!"));
    assert_eq!(ip(&edge.gets("web-1")), (node.ip, web.ip, (17, 53, 5000)));
    edge.silence();
}

#[test]
fn a_node_reaches_services_by_cluster_ip_and_external_address() {
    let mut edge = Edge::start(false);
    let node = edge.nodes[0];
    for (first, vip) in [(41_000, WEB_VIP), (41_100, EXTERNAL), (41_200, BALANCER)] {
        let mut chosen = std::collections::BTreeSet::new();
        for port in first..first + 60 {
            edge.send("host1", &node.tcp(ROUTER_HOST, vip, (port, 80), "S", b""));
            let (pod, syn) = edge.first(&["web-1", "web-2"]);
            let host = edge.pod(&pod);
            assert_eq!(ip(&syn), (node.ip, host.ip, (6, port, 8080)));
            edge.send(
                &pod,
                &host.tcp(ROUTER_APPS, node.ip, (8080, port), "SA", b""),
            );
            assert_eq!(ip(&edge.gets("host1")), (vip, node.ip, (6, 80, port)));
            edge.send(
                "host1",
                &node.tcp(ROUTER_HOST, vip, (port, 80), "A", b"GET"),
            );
            assert_eq!(ip(&edge.gets(&pod)), (node.ip, host.ip, (6, port, 8080)));
            chosen.insert(pod);
            if chosen.len() == 2 {
                break;
            }
        }
        assert_eq!(chosen.len(), 2, "one endpoint of {vip} is never chosen");
    }
    edge.silence();
}

#[test]
fn a_service_whose_endpoint_is_the_node_itself_serves_that_node_too() {
    let mut edge = Edge::start(false);
    let node = edge.nodes[0];
    let name = NamespacedName::new("bank", "web");
    let mut web = edge.rig.state.services[&name].clone();
    web.ports[0].endpoints.retain(|e| e.ip.is_ipv4());
    web.ports[0].endpoints.truncate(1);
    web.ports[0].endpoints[0].ip = node.ip.into();
    edge.rig.state.services.insert(name, web);
    edge.rig.install();
    edge.send(
        "host1",
        &node.tcp(ROUTER_HOST, WEB_VIP, (42_000, 80), "S", b""),
    );
    let syn = edge.gets("host1");
    let (source, to, (_, port, 8080)) = ip(&syn) else {
        panic!("{syn:?}")
    };
    assert_eq!((source, to), (TRANSIT, node.ip));
    edge.send(
        "host1",
        &node.tcp(ROUTER_HOST, TRANSIT, (8080, port), "SA", b""),
    );
    assert_eq!(ip(&edge.gets("host1")), (WEB_VIP, node.ip, (6, 80, 42_000)));
    // And a pod, which keeps its address.
    let web1 = edge.pod("web-1");
    edge.send(
        "web-1",
        &web1.tcp(ROUTER_APPS, WEB_VIP, (42_001, 80), "S", b""),
    );
    assert_eq!(
        ip(&edge.gets("host1")),
        (web1.ip, node.ip, (6, 42_001, 8080))
    );
    edge.send(
        "host1",
        &node.tcp(ROUTER_HOST, web1.ip, (8080, 42_001), "SA", b""),
    );
    assert_eq!(ip(&edge.gets("web-1")), (WEB_VIP, web1.ip, (6, 80, 42_001)));
    edge.silence();
}

#[test]
fn pods_leave_the_cluster_with_the_address_that_the_kernel_masquerades() {
    let mut edge = Edge::start(false);
    let (node, other) = (edge.nodes[0], edge.nodes[1]);
    let (web, db) = (edge.pod("web-1"), edge.pod("db-1"));
    // Another node is outside too.
    for destination in [WORLD, other.ip] {
        edge.send(
            "web-1",
            &web.udp(ROUTER_APPS, destination, (5000, 53), b"?"),
        );
        let out = edge.gets("host1");
        assert_eq!((out.src, out.dst), (ROUTER_HOST, node.mac));
        let (source, to, (17, port, 53)) = ip(&out) else {
            panic!("{out:?}")
        };
        assert_eq!((source, to), (TRANSIT, destination));
        let back = Host {
            ip: destination,
            ..node
        };
        edge.send("host1", &back.udp(ROUTER_HOST, TRANSIT, (53, port), b"!"));
        assert_eq!(
            ip(&edge.gets("web-1")),
            (destination, web.ip, (17, 53, 5000))
        );
        // The same connection has the same source.
        edge.send(
            "web-1",
            &web.udp(ROUTER_APPS, destination, (5000, 53), b"?"),
        );
        assert_eq!(
            ip(&edge.gets("host1")),
            (TRANSIT, destination, (17, port, 53))
        );
    }
    // An error from on the way belongs to the connection.
    edge.send("web-1", &web.udp(ROUTER_APPS, WORLD, (5001, 53), b"?"));
    let (_, _, (_, port, _)) = ip(&edge.gets("host1"));
    let inner = Host {
        ip: TRANSIT,
        ..node
    }
    .udp(ROUTER_HOST, WORLD, (port, 53), b"?");
    let hop = Host {
        ip: Ipv4Addr::new(198, 51, 100, 1),
        ..node
    };
    edge.send("host1", &unreachable(&hop, ROUTER_HOST, TRANSIT, &inner));
    let error = edge.gets("web-1");
    assert_eq!(ip(&error), (hop.ip, web.ip, (1, 3, 3)));
    let What::Ip { payload, .. } = &error.what else {
        panic!("{error:?}")
    };
    assert_eq!(
        (&payload[12..16], &payload[20..22]),
        (&web.ip.octets()[..], &[0x13, 0x89][..])
    );
    // A subnet without natOutgoing keeps its addresses.
    edge.send("db-1", &db.udp(ROUTER_DATA, WORLD, (5000, 53), b"?"));
    assert_eq!(ip(&edge.gets("host1")), (db.ip, WORLD, (17, 5000, 53)));
    // Nothing knows this one.
    let stranger = Host { ip: WORLD, ..node };
    edge.send("host1", &stranger.udp(ROUTER_HOST, TRANSIT, (53, 1), b"!"));
    edge.silence();
}

/// ICMP port unreachable (RFC 792) about a frame's IP packet.
fn unreachable(from: &Host, via: Mac, to: Ipv4Addr, about: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(from.mac, via)
        .ipv4(from.ip.octets(), to.octets(), 64)
        .icmpv4_raw(3, 3, [0; 4])
        .write(&mut frame, &about[14..])
        .unwrap();
    frame
}

#[test]
fn a_node_port_that_the_kernel_brings_leads_to_endpoints_of_every_node() {
    let mut edge = Edge::start(false);
    let node = edge.nodes[0];
    let outside = Host { ip: WORLD, ..node };
    let mut chosen = std::collections::BTreeSet::new();
    for port in 43_000..43_060 {
        // Translated by the kernel from the node's address.
        edge.send(
            "host1",
            &outside.tcp(ROUTER_HOST, NODE_PORTS, (port, 30_080), "S", b""),
        );
        let (pod, syn) = edge.first(&["web-1", "web-2"]);
        let host = edge.pod(&pod);
        let (source, to, (6, seen, 8080)) = ip(&syn) else {
            panic!("{syn:?}")
        };
        assert_eq!((source, to), (node.ip, host.ip));
        assert!((1024..30_000).contains(&seen), "{seen}");
        edge.send(
            &pod,
            &host.tcp(ROUTER_APPS, node.ip, (8080, seen), "SA", b""),
        );
        assert_eq!(
            ip(&edge.gets("host1")),
            (NODE_PORTS, WORLD, (6, 30_080, port))
        );
        edge.send(
            "host1",
            &outside.tcp(ROUTER_HOST, NODE_PORTS, (port, 30_080), "A", b"GET"),
        );
        assert_eq!(ip(&edge.gets(&pod)), (node.ip, host.ip, (6, seen, 8080)));
        edge.send(
            &pod,
            &host.tcp(ROUTER_APPS, node.ip, (8080, seen), "A", b"200"),
        );
        assert_eq!(
            ip(&edge.gets("host1")),
            (NODE_PORTS, WORLD, (6, 30_080, port))
        );
        chosen.insert(pod);
        if chosen.len() == 2 {
            break;
        }
    }
    assert_eq!(chosen.len(), 2, "one endpoint is never chosen");
    // The node itself, and a pod by the node's address.
    edge.send(
        "host1",
        &node.tcp(ROUTER_HOST, NODE_PORTS, (43_100, 30_080), "S", b""),
    );
    let (_, syn) = edge.first(&["web-1", "web-2"]);
    assert_eq!(ip(&syn).0, node.ip);
    let db = edge.pod("db-1");
    edge.send(
        "db-1",
        &db.tcp(ROUTER_DATA, node.ip, (43_200, 30_080), "S", b""),
    );
    let (pod, syn) = edge.first(&["web-1", "web-2"]);
    let host = edge.pod(&pod);
    assert_eq!(ip(&syn), (db.ip, host.ip, (6, 43_200, 8080)));
    edge.send(
        &pod,
        &host.tcp(ROUTER_APPS, db.ip, (8080, 43_200), "SA", b""),
    );
    assert_eq!(
        ip(&edge.gets("db-1")),
        (node.ip, db.ip, (6, 30_080, 43_200))
    );
    // A port that is no Service's.
    edge.send(
        "host1",
        &outside.tcp(ROUTER_HOST, NODE_PORTS, (1, 30_081), "S", b""),
    );
    edge.silence();
}

#[test]
fn one_node_answers_for_a_load_balancer_and_serves_its_clients_from_every_node() {
    let mut edge = Edge::start(true);
    let node = edge.nodes[0];
    // Both nodes hear the question.
    edge.rig
        .world
        .send_on_vlan(100, &CLIENT.arp(true, BROADCAST, ([0; 6], BALANCER)));
    let mut answers = Vec::new();
    while let Some(seen) = edge.rig.world.seen_on_vlan() {
        if seen.dst == CLIENT.mac {
            assert_eq!(seen.vlans, [100]);
            answers.push(seen.src);
            break;
        }
    }
    assert_eq!(answers, [node.mac]);
    for (vip, port, to_port) in [
        (BALANCER, 80, 80),
        (EXTERNAL, 80, 80),
        (node.ip, 30_080, 30_080),
    ] {
        let mut chosen = std::collections::BTreeSet::new();
        for from in 44_000..44_060 {
            let syn = CLIENT.tcp(node.mac, vip, (from, port), "S", b"");
            let (pod, syn) = edge.vlan_sends(&syn, &["web-1", "web-2"]);
            let host = edge.pod(&pod);
            let (source, to, (6, seen, 8080)) = ip(&syn) else {
                panic!("{syn:?}")
            };
            assert_eq!((source, to), (node.ip, host.ip), "{vip}");
            edge.rig.world.on_vlan.clear();
            edge.send(
                &pod,
                &host.tcp(ROUTER_APPS, node.ip, (8080, seen), "SA", b""),
            );
            let reply = edge.on_vlan_for(CLIENT.mac);
            assert_eq!((reply.src, &reply.vlans[..]), (node.mac, &[100][..]));
            assert_eq!(ip(&reply), (vip, CLIENT.ip, (6, to_port, from)));
            let data = CLIENT.tcp(node.mac, vip, (from, port), "A", b"GET");
            let (again, seen_again) = edge.vlan_sends(&data, &["web-1", "web-2"]);
            assert_eq!(again, pod);
            assert_eq!(ip(&seen_again), (node.ip, host.ip, (6, seen, 8080)));
            chosen.insert(pod);
            if chosen.len() == 2 {
                break;
            }
        }
        assert_eq!(chosen.len(), 2, "one endpoint of {vip} is never chosen");
    }
    // Addressed to another machine: not ours to take, though it was flooded here.
    let stray = CLIENT.tcp(GATEWAY, BALANCER, (1, 80), "S", b"");
    edge.rig.world.send_on_vlan(100, &stray);
    edge.silence();
}

#[test]
fn a_balancers_address_that_moves_is_announced_by_the_node_that_answers_for_it_now() {
    let mut edge = Edge::start(true);
    let name = NamespacedName::new("bank", "web");
    for node in [1, 0] {
        let mac = edge.nodes[node].mac;
        let web = edge.rig.state.frontends.get_mut(&name).unwrap();
        let announced = web.balanced[0].announced.as_mut().unwrap();
        announced.node = Some(format!("node{}", node + 1));
        edge.rig.install();
        // To all, in the form that neighbours believe unasked (RFC 5227 2.3, RFC 826).
        let seen = edge.rig.world.seen_on_vlan().expect("no announcement");
        assert_eq!(
            (seen.src, seen.dst, &seen.vlans[..]),
            (mac, BROADCAST, &[100][..])
        );
        let What::Arp { sender, target, .. } = seen.what else {
            panic!("{seen:?}")
        };
        assert_eq!((sender, target.1), ((mac, BALANCER), BALANCER));
        // Whoever heard it is served there.
        let syn = CLIENT.tcp(mac, BALANCER, (44_500 + node as u16, 80), "S", b"");
        let (_, syn) = edge.vlan_sends(&syn, &["web-1", "web-2"]);
        assert_eq!(ip(&syn).0, edge.nodes[node].ip);
        edge.rig.world.hush();
    }
}

/// TCP flags of a frame without tags.
fn flags(frame: &[u8]) -> u8 {
    frame[47]
}

const RESET: u8 = 0x14;

#[test]
fn what_nobody_serves_is_refused_wherever_it_comes_from() {
    for on_vlan in [false, true] {
        let mut edge = Edge::start(on_vlan);
        let node = edge.nodes[0];
        let name = NamespacedName::new("bank", "web");
        let all = edge.rig.state.services[&name].ports[0].endpoints.clone();
        let web = edge.rig.state.services.get_mut(&name).unwrap();
        web.ports[0].endpoints.clear();
        edge.rig.install();
        edge.rig.world.hush();
        let db = edge.pod("db-1");
        let inside = [
            ("db-1", db, ROUTER_DATA, WEB_VIP, 80),
            ("db-1", db, ROUTER_DATA, EXTERNAL, 80),
            ("db-1", db, ROUTER_DATA, BALANCER, 80),
            ("db-1", db, ROUTER_DATA, node.ip, 30_080),
            // The Service has no such port.
            ("db-1", db, ROUTER_DATA, WEB_VIP, 81),
            ("db-1", db, ROUTER_DATA, EXTERNAL, 81),
            ("host1", node, ROUTER_HOST, WEB_VIP, 80),
            ("host1", node, ROUTER_HOST, EXTERNAL, 80),
            ("host1", node, ROUTER_HOST, NODE_PORTS, 30_080),
            (
                "host1",
                Host { ip: WORLD, ..node },
                ROUTER_HOST,
                NODE_PORTS,
                30_080,
            ),
        ];
        for (who, host, via, to, port) in inside {
            edge.send(who, &host.tcp(via, to, (50_000, port), "S", b""));
            let frame = edge.rig.world.frame(who, common::world::SOON);
            let frame = frame.unwrap_or_else(|| panic!("{who} to {to} {port}: silence"));
            assert_eq!(flags(&frame), RESET, "{who} to {to} {port}");
            let seen = common::world::parse(&frame);
            assert_eq!((seen.src, seen.dst), (via, host.mac));
            assert_eq!(ip(&seen), (to, host.ip, (6, port, 50_000)));
        }
        edge.send("db-1", &db.udp(ROUTER_DATA, WEB_VIP, (5000, 80), b"?"));
        let error = edge.gets("db-1");
        assert_eq!(ip(&error), (WEB_VIP, db.ip, (1, 3, 3)));
        if on_vlan {
            for (to, port) in [(BALANCER, 80), (EXTERNAL, 80), (node.ip, 30_080)] {
                let syn = CLIENT.tcp(node.mac, to, (50_100, port), "S", b"");
                edge.rig.world.on_vlan.clear();
                edge.rig.world.send_on_vlan(100, &syn);
                let reset = edge.on_vlan_for(CLIENT.mac);
                assert_eq!((reset.src, &reset.vlans[..]), (node.mac, &[100][..]));
                assert_eq!(ip(&reset), (to, CLIENT.ip, (6, port, 50_100)));
            }
        }
        // With the policy Local, and an endpoint elsewhere, there is no answer (as kube-proxy has it).
        let web = edge.rig.state.services.get_mut(&name).unwrap();
        web.routing.external_local = true;
        web.routing.internal_local = true;
        web.ports[0].endpoints = all;
        let endpoints = &mut web.ports[0].endpoints;
        endpoints.retain(|e| e.node.as_deref() == Some("node2"));
        edge.rig.install();
        edge.rig.world.hush();
        edge.send(
            "db-1",
            &db.tcp(ROUTER_DATA, WEB_VIP, (50_200, 80), "S", b""),
        );
        let outside = Host { ip: WORLD, ..node };
        let syn = outside.tcp(ROUTER_HOST, NODE_PORTS, (50_200, 30_080), "S", b"");
        edge.send("host1", &syn);
        edge.silence();
    }
}

#[test]
fn a_node_on_the_vlan_is_a_station_like_any_other() {
    let mut edge = Edge::start(true);
    let node = edge.nodes[0];
    // From a neighbour, and back.
    let (_, ping) = edge.vlan_sends(&CLIENT.ping(node.mac, node.ip), &["host1"]);
    assert_eq!((ping.src, ping.dst), (CLIENT.mac, node.mac));
    edge.send("host1", &node.ping(CLIENT.mac, CLIENT.ip));
    let out = edge.on_vlan_for(CLIENT.mac);
    assert_eq!((out.src, &out.vlans[..]), (node.mac, &[100][..]));
    // Pods leave with the node's address, by its kernel and its neighbours.
    let web = edge.pod("web-1");
    edge.send("web-1", &web.udp(ROUTER_APPS, WORLD, (5000, 53), b"?"));
    let out = edge.gets("host1");
    let (source, to, (17, port, 53)) = ip(&out) else {
        panic!("{out:?}")
    };
    assert_eq!((source, to, out.dst), (node.ip, WORLD, node.mac));
    edge.send("host1", &node.udp(GATEWAY, WORLD, (port, 53), b"?"));
    assert_eq!(
        ip(&edge.on_vlan_for(GATEWAY)),
        (node.ip, WORLD, (17, port, 53))
    );
    let world = Host {
        mac: GATEWAY,
        ip: WORLD,
    };
    let (_, back) = edge.vlan_sends(
        &world.udp(node.mac, node.ip, (53, port), b"!"),
        &["web-1", "host1"],
    );
    assert_eq!(ip(&back), (WORLD, web.ip, (17, 53, 5000)));
    // What the node asked itself comes to it.
    let (who, _) = edge.vlan_sends(
        &world.udp(node.mac, node.ip, (53, 50_000), b"!"),
        &["web-1", "host1"],
    );
    assert_eq!(who, "host1");
    // A Service, from the node.
    edge.send(
        "host1",
        &node.tcp(ROUTER_HOST, WEB_VIP, (45_000, 80), "S", b""),
    );
    let (pod, _) = edge.first(&["web-1", "web-2"]);
    let host = edge.pod(&pod);
    edge.send(
        &pod,
        &host.tcp(ROUTER_APPS, node.ip, (8080, 45_000), "SA", b""),
    );
    assert_eq!(ip(&edge.gets("host1")), (WEB_VIP, node.ip, (6, 80, 45_000)));
}

#[test]
fn only_source_ranges_may_use_a_load_balancer() {
    let mut edge = Edge::start(true);
    let node = edge.nodes[0];
    let name = NamespacedName::new("bank", "web");
    let web = edge.rig.state.frontends.get_mut(&name).unwrap();
    web.sources = vec!["192.168.100.192/28".parse().unwrap()];
    edge.rig.install();
    let syn = CLIENT.tcp(node.mac, BALANCER, (46_000, 80), "S", b"");
    edge.vlan_sends(&syn, &["web-1", "web-2"]);
    let other = Host {
        ip: Ipv4Addr::new(192, 168, 100, 60),
        ..CLIENT
    };
    let syn = other.tcp(node.mac, BALANCER, (46_001, 80), "S", b"");
    edge.rig.world.send_on_vlan(100, &syn);
    let never = std::time::Duration::from_millis(150);
    for pod in ["web-1", "web-2"] {
        assert_eq!(edge.rig.world.received_within(pod, never), None);
    }
}

#[test]
fn with_a_local_traffic_policy_clients_keep_their_address_and_their_node() {
    for on_vlan in [true, false] {
        let mut edge = Edge::start(on_vlan);
        let node = edge.nodes[0];
        let name = NamespacedName::new("bank", "web");
        let web = edge.rig.state.services.get_mut(&name).unwrap();
        web.routing.external_local = true;
        edge.rig.state.frontends.get_mut(&name).unwrap().local = true;
        edge.rig.install();
        let web = edge.pod("web-1");
        for from in 47_000..47_010 {
            let (client, via, vip, port) = match on_vlan {
                true => (CLIENT, node.mac, BALANCER, 80),
                false => (Host { ip: WORLD, ..node }, ROUTER_HOST, NODE_PORTS, 30_080),
            };
            let syn = client.tcp(via, vip, (from, port), "S", b"");
            match on_vlan {
                true => edge.rig.world.send_on_vlan(100, &syn),
                false => edge.send("host1", &syn),
            }
            let syn = edge.gets("web-1");
            assert_eq!(ip(&syn), (client.ip, web.ip, (6, from, 8080)));
            edge.rig.world.on_vlan.clear();
            let reply = web.tcp(ROUTER_APPS, client.ip, (8080, from), "SA", b"");
            edge.send("web-1", &reply);
            let reply = match on_vlan {
                true => edge.on_vlan_for(CLIENT.mac),
                false => edge.gets("host1"),
            };
            assert_eq!(ip(&reply), (vip, client.ip, (6, port, from)));
        }
        // A node without an endpoint drops what comes to it; its own pods are served as ever.
        let mut state = edge.rig.state.clone();
        let web = state.services.get_mut(&name).unwrap();
        web.ports[0]
            .endpoints
            .retain(|e| e.node.as_deref() == Some("node2"));
        edge.rig.state = state;
        edge.rig.install();
        if on_vlan {
            let syn = CLIENT.tcp(node.mac, BALANCER, (47_100, 80), "S", b"");
            edge.rig.world.send_on_vlan(100, &syn);
        } else {
            let outside = Host { ip: WORLD, ..node };
            edge.send(
                "host1",
                &outside.tcp(ROUTER_HOST, NODE_PORTS, (47_100, 30_080), "S", b""),
            );
        }
        let never = std::time::Duration::from_millis(100);
        assert_eq!(edge.rig.world.received_within("web-2", never), None);
        let db = edge.pod("db-1");
        edge.send(
            "db-1",
            &db.tcp(ROUTER_DATA, EXTERNAL, (47_200, 80), "S", b""),
        );
        assert_eq!(ip(&edge.gets("web-2")).0, db.ip);
    }
}

#[test]
fn a_health_check_that_the_kernel_brings_is_the_nodes_own_to_answer() {
    let mut edge = Edge::start(false);
    let node = edge.nodes[0];
    let name = NamespacedName::new("bank", "web");
    let web = edge.rig.state.services.get_mut(&name).unwrap();
    web.routing.external_local = true;
    let web = edge.rig.state.frontends.get_mut(&name).unwrap();
    (web.local, web.health_check) = (true, Some(32_123));
    edge.rig.install();
    let compile = |node| {
        let ports = bank::ports(&edge.rig.state, node);
        flows::compile(&edge.rig.state, node, &ports).answers
    };
    // web-1 with both families, web-2 with one.
    for (node, count) in [("node1", 1), ("node2", 1)] {
        let answers = compile(node);
        let answer = &answers[&32_123];
        assert_eq!(answer.status, 200);
        let body = format!(
            "{{\"service\":{{\"namespace\":\"bank\",\"name\":\"web\"}},\
             \"localEndpoints\":{count},\"serviceProxyHealthy\":true}}"
        );
        assert_eq!(answer.body, body);
    }
    let outside = Host { ip: WORLD, ..node };
    edge.send(
        "host1",
        &outside.tcp(ROUTER_HOST, NODE_PORTS, (48_000, 32_123), "S", b""),
    );
    let syn = edge.gets("host1");
    let (source, to, (6, port, 32_123)) = ip(&syn) else {
        panic!("{syn:?}")
    };
    assert_eq!((source, to), (TRANSIT, node.ip));
    edge.send(
        "host1",
        &node.tcp(ROUTER_HOST, TRANSIT, (32_123, port), "SA", b""),
    );
    assert_eq!(
        ip(&edge.gets("host1")),
        (NODE_PORTS, WORLD, (6, 32_123, 48_000))
    );
}
