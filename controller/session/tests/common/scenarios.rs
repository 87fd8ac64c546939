//! What packets meet in the example cluster, on whatever switches: hosts are played by the test.

use std::net::Ipv4Addr;
use std::time::Duration;

use cluster::{DEFAULT_INTERFACE, DesiredState, port_name};
use session::Timing;

use super::world::{self, BROADCAST, Host, Mac, Node, Seen, What, World, retry};
use super::{Controller, bank};

const ROUTER_APPS: Mac = [0x02, 0x5c, 0xff, 0, 0, 1];
const ROUTER_DATA: Mac = [0x02, 0x5c, 0xff, 0, 0, 2];
const PHYSICAL_GATEWAY: Mac = [0x00, 0x11, 0x22, 0x33, 0x44, 0x55];
const WEB_VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const FEED_VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 20);
pub const LEGACY: Host = Host {
    mac: [0x00, 0xaa, 0xbb, 0xcc, 0xdd, 0xee],
    ip: Ipv4Addr::new(192, 168, 100, 200),
};

pub struct Rig {
    pub state: DesiredState,
    pub nodes: [Box<dyn Node>; 2],
    pub world: World,
    pub controller: Controller,
    pub runtime: tokio::runtime::Runtime,
}

impl Rig {
    /// The example cluster on two switches.
    pub fn start(nodes: [Box<dyn Node>; 2]) -> Rig {
        let state = bank::bank();
        for (name, node) in ["node1", "node2"].iter().zip(&nodes) {
            for (port, number) in bank::ports(&state, name) {
                if number.0 > 2 {
                    node.add_port(&port, number.0);
                }
            }
        }
        let tunnels = nodes[0].tunnel_wire().zip(nodes[1].tunnel_wire());
        let world = World {
            pods: state
                .pods
                .values()
                .map(|pod| {
                    let node = &nodes[usize::from(pod.node == "node2")];
                    (pod.name.name.clone(), node.wire(&pod.port))
                })
                .collect(),
            uplinks: [nodes[0].wire("uplink0"), nodes[1].wire("uplink0")],
            tunnels: tunnels.map(|(a, b)| [a, b]),
            on_vlan: Vec::new(),
            on_tunnel: Vec::new(),
        };
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let controller = runtime.block_on(Controller::start(Timing {
            answer: Duration::from_millis(20),
            announcement: Duration::from_millis(5),
            ..Timing::default()
        }));
        let target = controller.target.to_string().replace("ptcp:", "");
        let (port, host) = target.split_once(':').unwrap();
        for node in &nodes {
            node.set_controller(&format!("tcp:{host}:{port}"));
        }
        let mut rig = Rig {
            state,
            nodes,
            world,
            controller,
            runtime,
        };
        let (sent, rejected) = rig.install();
        assert_eq!(rejected, [""; 0]);
        assert!(sent > 300, "{sent}");
        // Pods on a VLAN are served when nobody else has answered for their addresses.
        for node in &rig.nodes {
            let open = retry(|| {
                let ports = node.ofctl(&["dump-ports-desc"]);
                (!ports.contains("NO_RECV")).then_some(())
            });
            assert!(open.is_some(), "{}", node.ofctl(&["dump-ports-desc"]));
        }
        rig.world.hush();
        rig
    }

    /// Brings both switches to the state; gives what was sent and refused.
    pub fn install(&mut self) -> (usize, Vec<String>) {
        let state = self.state.clone();
        self.controller
            .want_of_nodes(move |node, ports| flows::compile(&state, node, ports));
        let (mut sent, mut rejected, mut nodes) =
            (0, Vec::new(), std::collections::BTreeSet::new());
        while nodes.len() < 2 {
            let applied = self.runtime.block_on(self.controller.applied());
            sent += applied.sent;
            rejected.extend(applied.rejected.iter().map(ToString::to_string));
            nodes.insert(applied.node);
        }
        self.nodes.iter().for_each(|node| node.settle());
        (sent, rejected)
    }

    /// Leaves one endpoint to a Service.
    fn only_endpoint(&mut self, service: &str, ip: Ipv4Addr) {
        let name = cluster::NamespacedName::new("bank", service);
        let bank = bank::bank();
        let mut service = bank.services[&name].clone();
        service.ports[0]
            .endpoints
            .retain(|endpoint| endpoint.ip == ip);
        self.state.services.insert(name, service);
        let (sent, rejected) = self.install();
        assert_eq!(rejected, [""; 0]);
        // The group on each node, what UDP endpoints may keep their clients, and hairpin flows of pods
        // that become endpoints or cease to be.
        assert!((2..=12).contains(&sent), "{sent}");
    }

    pub fn host(&self, pod: &str) -> Host {
        let pod = &self.state.pods[&cluster::NamespacedName::new("bank", pod)];
        Host {
            mac: pod.mac.0,
            ip: pod.v4.unwrap(),
        }
    }

    fn sends(&mut self, pod: &str, frame: &[u8]) {
        self.world.send(pod, frame);
    }

    fn gets(&mut self, pod: &str) -> Seen {
        let got = self.world.received(pod);
        got.unwrap_or_else(|| panic!("{pod} got nothing"))
    }

    /// Packets of the flows of a node that have this cookie's feature in this table.
    fn dropped_as_spoofed(&self, pod: &str) -> u64 {
        let port = bank::ports(&self.state, "node1")[&port_name("bank", pod, DEFAULT_INTERFACE)];
        let filter = format!("table=10,in_port={port}");
        let flows = self.nodes[0].ofctl(&["dump-flows", "--no-names", &filter]);
        let drop = flows
            .lines()
            .find(|l| l.contains("priority=10,"))
            .expect("no drop flow");
        let count = drop.split("n_packets=").nth(1).unwrap();
        count.split(',').next().unwrap().parse().unwrap()
    }
}

/// What an IP packet is, without its payload.
fn ip(seen: &Seen) -> (Ipv4Addr, Ipv4Addr, u8, (u8, u16, u16)) {
    match &seen.what {
        What::Ip {
            src,
            dst,
            ttl,
            l4,
            sound,
            ..
        } => {
            assert!(sound, "a checksum is wrong: {seen:?}");
            (*src, *dst, *ttl, *l4)
        }
        other => panic!("no IP packet: {other:?}"),
    }
}

pub fn pods_of_an_overlay_reach_each_other_here_and_through_the_tunnel(rig: &mut Rig) {
    let (web1, web2) = (rig.host("web-1"), rig.host("web-2"));
    let (db1, db2) = (rig.host("db-1"), rig.host("db-2"));

    // ARP is answered by the switch, for the gateway and for a pod elsewhere.
    for (address, mac) in [
        (Ipv4Addr::new(10, 16, 0, 1), ROUTER_APPS),
        (web2.ip, web2.mac),
    ] {
        rig.sends("web-1", &web1.arp(true, BROADCAST, ([0; 6], address)));
        let reply = rig.gets("web-1");
        assert_eq!((reply.src, reply.dst), (mac, web1.mac));
        let What::Arp {
            request,
            sender,
            target,
        } = reply.what
        else {
            panic!("{reply:?}")
        };
        assert_eq!(
            (request, sender, target),
            (false, (mac, address), (web1.mac, web1.ip))
        );
    }
    // Nobody has this one; and a pod's own address is not answered (duplicate detection).
    for address in [Ipv4Addr::new(10, 16, 9, 9), web1.ip] {
        rig.sends("web-1", &web1.arp(true, BROADCAST, ([0; 6], address)));
    }
    rig.world
        .assert_silence(&["web-1", "web-2", "db-1", "feed-1"]);

    // Same subnet, other node: bridged, unchanged, in Geneve with the subnet's VNI.
    rig.sends("web-1", &web1.ping(web2.mac, web2.ip));
    let got = rig.gets("web-2");
    assert_eq!((got.src, got.dst), (web1.mac, web2.mac));
    assert_eq!(ip(&got), (web1.ip, web2.ip, 64, (1, 8, 0)));
    let carried = rig.world.on_tunnel.pop().unwrap();
    // Ethernet 14, IPv4 20, UDP 8, Geneve 8 of which 4..7 are the VNI (RFC 8926, 3.4).
    assert_eq!(u16::from_be_bytes([carried[36], carried[37]]), 6081);
    assert_eq!(carried[46..49], [0, (1001u16 >> 8) as u8, 1001u16 as u8]);

    // Another subnet: routed, here and there.
    for (pod, to) in [("db-1", db1), ("db-2", db2)] {
        rig.sends("web-1", &web1.udp(ROUTER_APPS, to.ip, (1, 2), b"hello"));
        let got = rig.gets(pod);
        assert_eq!((got.src, got.dst), (ROUTER_DATA, to.mac));
        assert_eq!(ip(&got), (web1.ip, to.ip, 63, (17, 1, 2)));
    }
    // The router answers a ping, and drops what nobody has.
    rig.sends(
        "web-1",
        &web1.ping(ROUTER_APPS, Ipv4Addr::new(10, 16, 0, 1)),
    );
    let pong = rig.gets("web-1");
    assert_eq!(
        ip(&pong),
        (Ipv4Addr::new(10, 16, 0, 1), web1.ip, 64, (1, 0, 0))
    );
    for nowhere in [Ipv4Addr::new(10, 17, 77, 77), Ipv4Addr::new(8, 8, 8, 8)] {
        rig.sends("web-1", &web1.ping(ROUTER_APPS, nowhere));
    }
    // Nor does a frame reach a pod of another subnet by its MAC address, or anybody by broadcast.
    rig.sends("web-1", &web1.ping(db1.mac, db1.ip));
    rig.sends(
        "web-1",
        &web1.udp(BROADCAST, Ipv4Addr::BROADCAST, (68, 67), b"dhcp"),
    );
    rig.world
        .assert_silence(&["web-1", "web-2", "db-1", "db-2", "feed-1"]);
}

pub fn what_a_pod_sends_from_others_addresses_goes_nowhere_and_is_counted_by_its_own_flow(
    rig: &mut Rig,
) {
    let (web1, web2, db1) = (rig.host("web-1"), rig.host("web-2"), rig.host("db-1"));
    let before = rig.dropped_as_spoofed("web-1");
    let other_ip = Host { ip: db1.ip, ..web1 };
    let other_mac = Host {
        mac: db1.mac,
        ..web1
    };
    rig.sends("web-1", &other_ip.ping(web2.mac, web2.ip));
    rig.sends("web-1", &other_mac.ping(web2.mac, web2.ip));
    rig.sends("web-1", &other_ip.arp(true, BROADCAST, ([0; 6], web2.ip)));
    rig.sends(
        "web-1",
        &other_mac.arp(false, web2.mac, (web2.mac, web2.ip)),
    );
    rig.world.assert_silence(&["web-1", "web-2", "db-1"]);
    let counted = retry(|| {
        let now = rig.dropped_as_spoofed("web-1");
        (now == before + 4).then_some(())
    });
    assert!(
        counted.is_some(),
        "{} of 4 counted",
        rig.dropped_as_spoofed("web-1") - before
    );
    // A tag of its own choosing does not help.
    let mut tagged = web1.ping(web2.mac, web2.ip);
    tagged.splice(12..12, [0x81, 0x00, 0x00, 0x64]);
    rig.sends("web-1", &tagged);
    rig.world.assert_silence(&["web-1", "web-2", "feed-1"]);
}

pub fn a_service_spreads_connections_and_answers_from_its_own_address(rig: &mut Rig) {
    let (db1, web1, web2) = (rig.host("db-1"), rig.host("web-1"), rig.host("web-2"));
    let mut chosen = [0, 0];
    for port in 20_000..20_040 {
        rig.sends("db-1", &db1.tcp(ROUTER_DATA, WEB_VIP, (port, 80), "S", b""));
        let mut at = None;
        for _ in 0..200 {
            for (number, pod) in ["web-1", "web-2"].iter().enumerate() {
                let wait = Duration::from_millis(10);
                if let Some(seen) = rig.world.received_within(pod, wait) {
                    at = Some((number, seen));
                }
            }
            if at.is_some() {
                break;
            }
        }
        let (number, syn) = at.expect("no endpoint got the connection");
        let (pod, endpoint) = [("web-1", web1), ("web-2", web2)][number];
        assert_eq!((syn.src, syn.dst), (ROUTER_APPS, endpoint.mac));
        assert_eq!(ip(&syn), (db1.ip, endpoint.ip, 63, (6, port, 8080)));
        chosen[number] += 1;
        rig.sends(
            pod,
            &endpoint.tcp(ROUTER_APPS, db1.ip, (8080, port), "SA", b""),
        );
        let reply = rig.gets("db-1");
        assert_eq!((reply.src, reply.dst), (ROUTER_DATA, db1.mac));
        assert_eq!(ip(&reply), (WEB_VIP, db1.ip, 63, (6, 80, port)));
        // And the connection stays where it is.
        rig.sends(
            "db-1",
            &db1.tcp(ROUTER_DATA, WEB_VIP, (port, 80), "A", b"GET"),
        );
        assert_eq!(
            ip(&rig.gets(pod)),
            (db1.ip, endpoint.ip, 63, (6, port, 8080))
        );
    }
    assert!(chosen.iter().all(|n| *n >= 8), "{chosen:?} of 40");
    // A port it does not have, and a Service without endpoints.
    rig.sends("db-1", &db1.tcp(ROUTER_DATA, WEB_VIP, (9, 81), "S", b""));
    let idle = Ipv4Addr::new(10, 96, 0, 30);
    rig.sends("db-1", &db1.tcp(ROUTER_DATA, idle, (9, 443), "S", b""));
    // A switch of ours says so, others let the note that means it do nothing (ADR 38).
    while let Some(frame) = rig.world.frame("db-1", world::NEVER) {
        assert_eq!(frame[47], 0x14, "no reset: {frame:02x?}");
    }
    rig.world
        .assert_silence(&["web-1", "web-2", "db-1", "db-2"]);
}

pub fn a_pod_reaches_itself_through_its_service(rig: &mut Rig) {
    let web1 = rig.host("web-1");
    // Until the choice falls on itself.
    for port in 30_000..30_040 {
        rig.sends(
            "web-1",
            &web1.tcp(ROUTER_APPS, WEB_VIP, (port, 80), "S", b""),
        );
        let Some(syn) = rig
            .world
            .received_within("web-1", Duration::from_millis(300))
        else {
            continue;
        };
        let (source, to, _, l4) = ip(&syn);
        assert_eq!((syn.src, syn.dst), (ROUTER_APPS, web1.mac));
        assert_eq!((to, l4), (web1.ip, (6, port, 8080)));
        assert_eq!(source, flows::feature::hairpin::HAIRPIN_V4);
        rig.sends(
            "web-1",
            &web1.tcp(ROUTER_APPS, source, (8080, port), "SA", b""),
        );
        let (from, to, _, l4) = ip(&rig.gets("web-1"));
        assert_eq!((from, to, l4), (WEB_VIP, web1.ip, (6, 80, port)));
        rig.sends(
            "web-1",
            &web1.tcp(ROUTER_APPS, WEB_VIP, (port, 80), "A", b"GET"),
        );
        let (from, to, _, l4) = ip(&rig.gets("web-1"));
        assert_eq!((from, to, l4), (source, web1.ip, (6, port, 8080)));
        return;
    }
    panic!("the choice never fell on the pod itself");
}

pub fn a_pod_on_a_vlan_is_a_station_like_any_other(rig: &mut Rig) {
    let (feed1, feed2) = (rig.host("feed-1"), rig.host("feed-2"));
    // It asks for the legacy server: on the VLAN, with that tag and no other.
    rig.sends("feed-1", &feed1.arp(true, BROADCAST, ([0; 6], LEGACY.ip)));
    let asked = rig.world.seen_on_vlan().expect("nothing on the VLAN");
    assert_eq!(
        (asked.vlans.as_slice(), asked.src),
        ([100].as_slice(), feed1.mac)
    );
    // The other node's pod heard it too, untagged.
    let heard = rig.gets("feed-2");
    assert_eq!(
        (heard.vlans.len(), heard.src, heard.dst),
        (0, feed1.mac, BROADCAST)
    );
    // The server answers, and both talk.
    rig.world
        .send_on_vlan(100, &LEGACY.arp(false, feed1.mac, (feed1.mac, feed1.ip)));
    let reply = rig.gets("feed-1");
    assert_eq!(
        (reply.src, reply.dst, reply.vlans.len()),
        (LEGACY.mac, feed1.mac, 0)
    );
    rig.sends("feed-1", &feed1.ping(LEGACY.mac, LEGACY.ip));
    let out = rig.world.seen_on_vlan().unwrap();
    assert_eq!(
        (out.src, out.dst, out.vlans.as_slice()),
        (feed1.mac, LEGACY.mac, [100].as_slice())
    );
    assert_eq!(ip(&out), (feed1.ip, LEGACY.ip, 64, (1, 8, 0)));
    rig.world
        .send_on_vlan(100, &LEGACY.ping(feed1.mac, feed1.ip));
    assert_eq!(
        ip(&rig.gets("feed-1")),
        (LEGACY.ip, feed1.ip, 64, (1, 8, 0))
    );
    // ARP from the VLAN reaches the pod it is for; the others on the VLAN hear it, as they must hear
    // of a station that moves.
    rig.world
        .send_on_vlan(100, &LEGACY.arp(true, BROADCAST, ([0; 6], feed2.ip)));
    let asked = rig.gets("feed-2");
    assert!(
        matches!(asked.what, What::Arp { request: true, .. }),
        "{asked:?}"
    );
    assert_eq!(rig.gets("feed-1").what, asked.what);
    // Another VLAN, another MAC address: not for us. And the overlay is not reached.
    rig.world
        .send_on_vlan(101, &LEGACY.ping(feed1.mac, feed1.ip));
    rig.world
        .send_on_vlan(100, &LEGACY.ping([2, 2, 2, 2, 2, 2], feed1.ip));
    rig.world
        .assert_silence(&["feed-1", "feed-2", "web-1", "db-1"]);
}

pub fn services_lead_from_underlay_to_overlay_and_back(rig: &mut Rig) {
    let (feed1, feed2) = (rig.host("feed-1"), rig.host("feed-2"));
    let (web1, web2, db1) = (rig.host("web-1"), rig.host("web-2"), rig.host("db-1"));

    // From the VLAN's pod, by way of its physical gateway's MAC address, to endpoints on both nodes.
    let mut seen = [false, false];
    for port in 40_000..40_030 {
        let syn = feed1.tcp(PHYSICAL_GATEWAY, WEB_VIP, (port, 80), "S", b"");
        rig.sends("feed-1", &syn);
        let here = rig
            .world
            .received_within("web-1", Duration::from_millis(300));
        let (number, got) = match here {
            Some(got) => (0, got),
            None => (1, rig.gets("web-2")),
        };
        let (pod, endpoint) = [("web-1", web1), ("web-2", web2)][number];
        assert_eq!(ip(&got), (feed1.ip, endpoint.ip, 63, (6, port, 8080)));
        rig.sends(
            pod,
            &endpoint.tcp(ROUTER_APPS, feed1.ip, (8080, port), "SA", b""),
        );
        let reply = rig.gets("feed-1");
        assert_eq!(reply.dst, feed1.mac);
        assert_eq!(ip(&reply), (WEB_VIP, feed1.ip, 63, (6, 80, port)));
        rig.sends(
            "feed-1",
            &feed1.tcp(PHYSICAL_GATEWAY, WEB_VIP, (port, 80), "A", b"GET"),
        );
        assert_eq!(
            ip(&rig.gets(pod)),
            (feed1.ip, endpoint.ip, 63, (6, port, 8080))
        );
        seen[number] = true;
        if seen == [true, true] {
            break;
        }
    }
    assert_eq!(seen, [true, true]);

    // From an overlay pod to an endpoint on the VLAN, here and there; replies go to the physical
    // gateway's MAC address, and come back all the same. (Open vSwitch hashes UDP by address only,
    // so the choice is made for it.)
    for (pod, endpoint, port) in [("feed-1", feed1, 41_000), ("feed-2", feed2, 41_001)] {
        rig.only_endpoint("feed", endpoint.ip);
        rig.sends(
            "db-1",
            &db1.udp(ROUTER_DATA, FEED_VIP, (port, 53), b"tick?"),
        );
        let got = rig.gets(pod);
        assert_eq!(ip(&got), (db1.ip, endpoint.ip, 63, (17, port, 5300)));
        rig.sends(
            pod,
            &endpoint.udp(PHYSICAL_GATEWAY, db1.ip, (5300, port), b"tick!"),
        );
        let reply = rig.gets("db-1");
        assert_eq!(ip(&reply), (FEED_VIP, db1.ip, 63, (17, 53, port)));
    }

    // Within the VLAN: straight to the other pod, tagged, from the pod's own MAC address.
    let port = 42_000;
    rig.sends(
        "feed-1",
        &feed1.udp(PHYSICAL_GATEWAY, FEED_VIP, (port, 53), b"tick?"),
    );
    let got = rig.gets("feed-2");
    assert_eq!((got.src, got.dst), (feed1.mac, feed2.mac));
    assert_eq!(ip(&got), (feed1.ip, feed2.ip, 64, (17, port, 5300)));
    let crossed = world::parse(rig.world.on_vlan.last().unwrap());
    assert_eq!(
        (crossed.vlans.as_slice(), crossed.src),
        ([100].as_slice(), feed1.mac)
    );
    rig.sends(
        "feed-2",
        &feed2.udp(feed1.mac, feed1.ip, (5300, port), b"tick!"),
    );
    let reply = rig.gets("feed-1");
    assert_eq!(reply.src, feed2.mac);
    assert_eq!(ip(&reply), (FEED_VIP, feed1.ip, 64, (17, 53, port)));

    // But without a Service the overlay does not reach the underlay, nor the other way round.
    rig.sends("db-1", &db1.ping(ROUTER_DATA, feed1.ip));
    rig.world.assert_silence(&["feed-1", "feed-2"]);
    rig.sends("feed-1", &feed1.ping(PHYSICAL_GATEWAY, db1.ip));
    let out = rig
        .world
        .seen_on_vlan()
        .expect("the physical gateway is asked");
    assert_eq!(out.dst, PHYSICAL_GATEWAY);
    rig.world.assert_silence(&["db-1", "web-1"]);
}

pub fn after_a_restart_of_the_controller_not_a_single_flow_is_sent(rig: &mut Rig) {
    let before = rig.nodes[0].ofctl(&["dump-flows", "--no-names", "--no-stats"]);
    rig.controller = rig.runtime.block_on(Controller::start(Timing::default()));
    let target = rig.controller.target.to_string().replace("ptcp:", "");
    let (port, host) = target.split_once(':').unwrap();
    for node in &rig.nodes {
        node.set_controller(&format!("tcp:{host}:{port}"));
    }
    assert_eq!(rig.install(), (0, vec![]));
    assert_eq!(
        before,
        rig.nodes[0].ofctl(&["dump-flows", "--no-names", "--no-stats"])
    );

    // A pod goes: its flows go, others stay.
    let gone = cluster::NamespacedName::new("bank", "web-2");
    rig.state.pods.remove(&gone);
    let (sent, rejected) = rig.install();
    assert_eq!(rejected, [""; 0]);
    assert!((5..80).contains(&sent), "{sent}");
}
