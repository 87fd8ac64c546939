//! Which endpoint a connection gets, by packets through real dataplanes: drain, clients that move,
//! affinity, zones and cells.

mod common;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use cluster::NamespacedName;
use cluster::desired::{CellRules, Distribution, Endpoint, Protocol, Service};
use common::own::Own;
use common::scenarios::Rig;
use common::world::{Host, Mac, Seen, What};
use common::{Controller, bank};
use flows::FlowSet;
use session::{Applied, Timing};

const ROUTER_DATA: Mac = [0x02, 0x5c, 0xff, 0, 0, 2];
const ROUTER_APPS: Mac = [0x02, 0x5c, 0xff, 0, 0, 1];
const WEB: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 53);
const PODS: [&str; 2] = ["web-1", "web-2"];

/// The example cluster, and what its switches hold.
struct Cluster {
    rig: Rig,
    installed: Option<[(String, FlowSet); 2]>,
}

impl Deref for Cluster {
    type Target = Rig;

    fn deref(&self) -> &Rig {
        &self.rig
    }
}

impl DerefMut for Cluster {
    fn deref_mut(&mut self) -> &mut Rig {
        &mut self.rig
    }
}

/// The example cluster, changed a little before it is installed.
fn rig(change: impl FnOnce(&mut Cluster)) -> Cluster {
    let nodes = [Own::start("node1", 1), Own::start("node2", 2)];
    let rig = Rig::start(nodes.map(|node| Box::new(node) as _));
    let sets = ["node1", "node2"].map(|node| {
        let set = flows::compile(&rig.state, node, &bank::ports(&rig.state, node));
        (node.to_string(), set)
    });
    let mut rig = Cluster {
        rig,
        installed: Some(sets),
    };
    change(&mut rig);
    install(&mut rig);
    rig
}

fn wait(cluster: &mut Cluster) -> Applied {
    let rig = &mut cluster.rig;
    rig.runtime.block_on(rig.controller.applied())
}

/// Brings both switches to the state, and waits for those to which it makes a difference.
fn install(rig: &mut Cluster) {
    let state = rig.state.clone();
    let sets = ["node1", "node2"].map(|node| {
        let set = flows::compile(&state, node, &bank::ports(&state, node));
        assert_eq!(set.conflicts, [""; 0]);
        (node.to_string(), set)
    });
    let before = rig.installed.replace(sets.clone());
    let changed = |(node, set): &(String, FlowSet)| {
        let known = before
            .as_ref()
            .and_then(|b| b.iter().find(|(n, _)| n == node));
        known.is_none_or(|(_, old)| (&old.flows, &old.groups) != (&set.flows, &set.groups))
    };
    let mut waiting: BTreeSet<_> = sets
        .iter()
        .filter(|s| changed(s))
        .map(|s| s.0.clone())
        .collect();
    rig.controller
        .want_of_nodes(move |node, ports| flows::compile(&state, node, ports));
    while !waiting.is_empty() {
        let applied = wait(rig);
        assert!(applied.rejected.is_empty(), "{:?}", applied.rejected);
        waiting.remove(&applied.node);
    }
}

fn service<'r>(rig: &'r mut Cluster, name: &str) -> &'r mut Service {
    let name = NamespacedName::new("bank", name);
    rig.state.services.get_mut(&name).unwrap()
}

fn endpoint<'r>(rig: &'r mut Cluster, name: &str, pod: &str) -> &'r mut Endpoint {
    let ip = rig.host(pod).ip;
    let port = &mut service(rig, name).ports[0];
    port.endpoints.iter_mut().find(|e| e.ip == ip).unwrap()
}

fn drain(rig: &mut Cluster, name: &str, pod: &str) {
    let endpoint = endpoint(rig, name, pod);
    (endpoint.ready, endpoint.serving, endpoint.terminating) = (false, true, true);
}

fn dns(rig: &mut Cluster) {
    let (one, two) = (
        rig.host("web-1").ip.to_string(),
        rig.host("web-2").ip.to_string(),
    );
    let endpoints = [(one.as_str(), 5353, "node1"), (two.as_str(), 5353, "node2")];
    let vip = DNS.to_string();
    bank::service(
        &mut rig.state,
        "dns",
        &[&vip],
        Protocol::Udp,
        53,
        &endpoints,
    );
}

/// Which of the two web pods gets what was sent.
fn arrives(rig: &mut Cluster) -> (usize, Seen) {
    for _ in 0..300 {
        for (at, pod) in PODS.iter().enumerate() {
            if let Some(seen) = rig.world.received_within(pod, Duration::from_millis(5)) {
                return (at, seen);
            }
        }
    }
    panic!("nobody got it");
}

/// db-1 is told, and nobody else hears of it.
fn is_refused(rig: &mut Cluster) {
    let reset = rig.world.frame("db-1", common::world::SOON);
    let reset = reset.expect("db-1 is not told");
    assert_eq!((reset[47], &reset[26..30]), (0x14, &WEB.octets()[..]));
    rig.world
        .assert_silence(&["web-1", "web-2", "db-1", "db-2"]);
}

/// A SYN from db-1; which pod gets it.
fn syn(rig: &mut Cluster, port: u16) -> usize {
    let client = rig.host("db-1");
    rig.world
        .send("db-1", &client.tcp(ROUTER_DATA, WEB, (port, 80), "S", b""));
    arrives(rig).0
}

fn reply(rig: &mut Cluster, at: usize, port: u16, flags: &str) {
    let (client, pod) = (rig.host("db-1"), rig.host(PODS[at]));
    let frame = pod.tcp(ROUTER_APPS, client.ip, (8080, port), flags, b"");
    rig.world.send(PODS[at], &frame);
    assert!(rig.world.received("db-1").is_some(), "no reply");
}

fn data(rig: &mut Cluster, port: u16, flags: &str) -> usize {
    let client = rig.host("db-1");
    rig.world.send(
        "db-1",
        &client.tcp(ROUTER_DATA, WEB, (port, 80), flags, b"GET"),
    );
    arrives(rig).0
}

/// Client and web-1 close a connection of [`connect`], the client first.
fn close(rig: &mut Cluster, port: u16) {
    let (client, web1) = (rig.host("db-1"), rig.host("web-1"));
    let fin = |from: Host, via: Mac, to: Ipv4Addr, ports: (u16, u16), numbers: (u32, u32), fin| {
        let builder = etherparse::PacketBuilder::ethernet2(from.mac, via)
            .ipv4(from.ip.octets(), to.octets(), 64)
            .tcp(ports.0, ports.1, numbers.0, 8192)
            .ack(numbers.1);
        let builder = if fin { builder.fin() } else { builder };
        let mut frame = Vec::new();
        builder.write(&mut frame, b"").unwrap();
        frame
    };
    // The client has sent 1000..1003 and the pod its SYN, 1000.
    let first = fin(client, ROUTER_DATA, WEB, (port, 80), (1003, 1001), true);
    rig.world.send("db-1", &first);
    assert_eq!(arrives(rig).0, 0);
    let second = fin(
        web1,
        ROUTER_APPS,
        client.ip,
        (8080, port),
        (1001, 1004),
        true,
    );
    rig.world.send("web-1", &second);
    assert!(rig.world.received("db-1").is_some());
    let last = fin(client, ROUTER_DATA, WEB, (port, 80), (1004, 1002), false);
    rig.world.send("db-1", &last);
    assert_eq!(arrives(rig).0, 0);
}

/// A connection that the pod has answered.
fn connect(rig: &mut Cluster, port: u16) -> usize {
    let at = syn(rig, port);
    reply(rig, at, port, "SA");
    assert_eq!(data(rig, port, "A"), at);
    at
}

#[test]
fn a_draining_endpoint_keeps_what_it_has_and_gets_nothing_new_not_even_from_a_port_it_knows() {
    let mut rig = rig(|_| ());
    let [mut on_first, mut waiting] = [None, None];
    for port in 20_000..20_060 {
        if connect(&mut rig, port) == 0 {
            on_first = Some(port);
            break;
        }
    }
    let kept = on_first.expect("web-1 never chosen");
    // Another one that web-1 has not answered yet, and one that is closed by both sides.
    for port in 21_000..21_060 {
        if syn(&mut rig, port) == 0 {
            waiting = Some(port);
            break;
        }
    }
    let waiting = waiting.expect("web-1 never chosen");
    let closed = (22_000..22_060)
        .find(|port| connect(&mut rig, *port) == 0)
        .unwrap();
    close(&mut rig, closed);

    drain(&mut rig, "web", "web-1");
    install(&mut rig);
    assert_eq!(data(&mut rig, kept, "A"), 0, "established");
    reply(&mut rig, 0, kept, "A");
    assert_eq!(
        syn(&mut rig, waiting),
        1,
        "a SYN sent again, that nobody answered"
    );
    assert_eq!(
        syn(&mut rig, closed),
        1,
        "the port of a connection that is closed"
    );
    for port in 23_000..23_040 {
        assert_eq!(syn(&mut rig, port), 1, "a new connection");
    }
    // A draining pod keeps its own way out.
    let (web1, db2) = (rig.host("web-1"), rig.host("db-2"));
    rig.world
        .send("web-1", &web1.udp(ROUTER_APPS, db2.ip, (1, 2), b"out"));
    assert!(rig.world.received("db-2").is_some());
    // It is gone: what it had goes nowhere else.
    service(&mut rig, "web").ports[0]
        .endpoints
        .retain(|e| e.ip != web1.ip);
    install(&mut rig);
    assert_eq!(data(&mut rig, kept, "A"), 0);
}

#[test]
fn draining_endpoints_serve_where_nobody_else_does() {
    let mut rig = rig(|rig| {
        drain(rig, "web", "web-1");
        endpoint(rig, "web", "web-2").ready = false;
        endpoint(rig, "web", "web-2").serving = false;
    });
    for port in 20_000..20_010 {
        assert_eq!(connect(&mut rig, port), 0);
    }
    endpoint(&mut rig, "web", "web-1").serving = false;
    install(&mut rig);
    let client = rig.host("db-1");
    rig.world
        .send("db-1", &client.tcp(ROUTER_DATA, WEB, (9, 80), "S", b""));
    is_refused(&mut rig);
}

#[test]
fn a_udp_client_with_a_fixed_port_moves_with_its_next_datagram() {
    let mut rig = rig(dns);
    let client = rig.host("db-1");
    let ask = |rig: &mut Cluster, port: u16| {
        rig.world
            .send("db-1", &client.udp(ROUTER_DATA, DNS, (port, 53), b"?"));
        let (at, seen) = arrives(rig);
        let What::Ip { dst, l4, sound, .. } = seen.what else {
            panic!("{seen:?}")
        };
        assert!(sound);
        assert_eq!((dst, l4), (rig.host(PODS[at]).ip, (17, port, 5353)));
        at
    };
    let answer = |rig: &mut Cluster, at: usize, port: u16| {
        let pod = rig.host(PODS[at]);
        rig.world.send(
            PODS[at],
            &pod.udp(ROUTER_APPS, client.ip, (5353, port), b"!"),
        );
        let seen = rig.world.received("db-1").expect("no answer");
        let What::Ip { src, l4, sound, .. } = seen.what else {
            panic!("{seen:?}")
        };
        assert!(sound);
        assert_eq!((src, l4), (DNS, (17, 53, port)));
    };
    let clients: Vec<u16> = (7_000..7_020).collect();
    let before: Vec<usize> = clients.iter().map(|port| ask(&mut rig, *port)).collect();
    assert!(before.contains(&0) && before.contains(&1), "{before:?}");
    // Every second one is answered; the others are not, which must not matter.
    for (port, at) in clients.iter().zip(&before).step_by(2) {
        answer(&mut rig, *at, *port);
    }
    drain(&mut rig, "dns", "web-1");
    install(&mut rig);
    for (port, at) in clients.iter().zip(&before) {
        assert_eq!(ask(&mut rig, *port), 1, "it was at {at}");
        answer(&mut rig, 1, *port);
    }
    // Back, and the other one gone altogether.
    let web2 = rig.host("web-2").ip;
    *endpoint(&mut rig, "dns", "web-1") = Endpoint::ready(rig.host("web-1").ip.into(), 5353);
    install(&mut rig);
    assert_eq!(ask(&mut rig, 7_000), 1, "nobody is moved without need");
    service(&mut rig, "dns").ports[0]
        .endpoints
        .retain(|e| e.ip != web2);
    install(&mut rig);
    for port in &clients {
        assert_eq!(ask(&mut rig, *port), 0);
        answer(&mut rig, 0, *port);
    }
}

#[test]
fn over_ipv6_a_udp_client_is_remembered_and_moves_alike() {
    let vip: Ipv6Addr = "fd00:10:96::53".parse().unwrap();
    let (one, two): (Ipv6Addr, Ipv6Addr) = (
        "fd00:10:16::11".parse().unwrap(),
        "fd00:10:16::12".parse().unwrap(),
    );
    // Two ports of one pod are two endpoints.
    let mut rig = rig(|rig| {
        let (two, vip) = (two.to_string(), vip.to_string());
        let endpoints = [(two.as_str(), 5353, "node2"), (two.as_str(), 5454, "node2")];
        bank::service(
            &mut rig.state,
            "dns6",
            &[&vip],
            Protocol::Udp,
            53,
            &endpoints,
        );
        service(rig, "dns6").routing.affinity = Some(600);
    });
    let client = rig.host("web-1");
    let ask = |rig: &mut Cluster, port: u16| {
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ethernet2(client.mac, ROUTER_APPS)
            .ipv6(one.octets(), vip.octets(), 64)
            .udp(port, 53)
            .write(&mut frame, b"?")
            .unwrap();
        rig.world.send("web-1", &frame);
        let got = rig
            .world
            .frame("web-2", common::world::SOON)
            .expect("nobody got it");
        assert_eq!(got[38..54], two.octets());
        // Behind Ethernet and IPv6: source and destination port.
        assert_eq!(u16::from_be_bytes([got[54], got[55]]), port);
        u16::from_be_bytes([got[56], got[57]])
    };
    let first = ask(&mut rig, 7_000);
    for port in 7_001..7_020 {
        assert_eq!(ask(&mut rig, port), first, "remembered");
    }
    let port = &mut service(&mut rig, "dns6").ports[0];
    let drains = port.endpoints.iter_mut().find(|e| e.port == first).unwrap();
    (drains.ready, drains.terminating) = (false, true);
    install(&mut rig);
    let other = if first == 5353 { 5454 } else { 5353 };
    for port in 7_000..7_020 {
        assert_eq!(ask(&mut rig, port), other, "moved");
    }
}

#[test]
fn affinity_holds_for_its_time_after_the_last_connection_and_not_beyond_an_endpoints_life() {
    let mut rig = rig(|rig| {
        service(rig, "web").routing.affinity = Some(2);
        dns(rig);
        service(rig, "dns").routing.affinity = Some(600);
    });
    let remembered_for = |rig: &Cluster, seconds: &str| {
        let flows = rig.nodes[0].ofctl(&["dump-flows", "--no-names", "table=41"]);
        let timeout = format!("idle_timeout={seconds},");
        flows.lines().filter(|line| line.contains(&timeout)).count()
    };
    let remembered = |rig: &Cluster| remembered_for(rig, "2");
    // The same client of another Service, which remembers longer.
    let client = rig.host("db-1");
    let ask = client.udp(ROUTER_DATA, DNS, (7_000, 53), b"?");
    rig.world.send("db-1", &ask);
    arrives(&mut rig);
    let first = connect(&mut rig, 20_000);
    for port in 20_001..20_030 {
        assert_eq!(syn(&mut rig, port), first);
    }
    assert_eq!(remembered(&rig), 1);
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(syn(&mut rig, 20_030), first);
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(
        syn(&mut rig, 20_031),
        first,
        "2.4 s after the first, 1.2 s after the last"
    );
    drain(&mut rig, "web", PODS[first]);
    install(&mut rig);
    let other = 1 - first;
    for port in 20_040..20_060 {
        assert_eq!(syn(&mut rig, port), other);
    }
    assert_eq!(
        data(&mut rig, 20_000, "A"),
        first,
        "an established connection stays"
    );
    // It comes back: the client stays with the one that it has by now.
    let back = endpoint(&mut rig, "web", PODS[first]);
    (back.ready, back.terminating) = (true, false);
    install(&mut rig);
    for port in 20_060..20_070 {
        assert_eq!(syn(&mut rig, port), other);
    }
    let gone = common::world::retry(|| (remembered(&rig) == 0).then_some(()));
    assert!(gone.is_some(), "remembered for ever");
    assert_eq!(remembered_for(&rig, "600"), 1, "by the other Service");
    let again: Vec<_> = (20_100..20_110).map(|port| syn(&mut rig, port)).collect();
    assert!(
        again.iter().all(|at| *at == again[0]),
        "and sticks anew: {again:?}"
    );
}

#[test]
fn a_controller_that_starts_anew_leaves_alone_what_clients_are_remembered_by() {
    let mut rig = rig(|rig| service(rig, "web").routing.affinity = Some(600));
    let first = syn(&mut rig, 20_000);
    let remembered = |rig: &Cluster| {
        let flows = rig.nodes[0].ofctl(&["dump-flows", "--no-names", "table=41"]);
        flows
            .lines()
            .filter(|line| line.contains("idle_timeout=600"))
            .count()
    };
    assert_eq!(remembered(&rig), 1);
    let Cluster { rig: inner, .. } = &mut rig;
    inner.controller = inner.runtime.block_on(Controller::start(Timing::default()));
    let target = inner.controller.target.to_string().replace("ptcp:", "");
    let (port, host) = target.split_once(':').unwrap();
    for node in &inner.nodes {
        node.set_controller(&format!("tcp:{host}:{port}"));
    }
    assert_eq!(inner.install(), (0, vec![]));
    assert_eq!(remembered(&rig), 1);
    for port in 20_001..20_020 {
        assert_eq!(syn(&mut rig, port), first);
    }
}

#[test]
fn a_zone_serves_its_own_and_fails_over_when_it_has_nobody() {
    let mut rig = rig(|rig| {
        for (node, zone) in [("node1", "a"), ("node2", "b")] {
            rig.state.nodes.get_mut(node).unwrap().zone = Some(zone.into());
        }
        service(rig, "web").routing.distribution = Distribution::SameZone;
        endpoint(rig, "web", "web-1").zone = Some("a".into());
        endpoint(rig, "web", "web-2").zone = Some("b".into());
        for e in service(rig, "web").ports[0]
            .endpoints
            .iter_mut()
            .filter(|e| e.ip.is_ipv6())
        {
            e.zone = Some("a".into());
        }
    });
    for port in 20_000..20_020 {
        assert_eq!(syn(&mut rig, port), 0, "db-1 is in zone a");
    }
    endpoint(&mut rig, "web", "web-1").ready = false;
    endpoint(&mut rig, "web", "web-1").serving = false;
    install(&mut rig);
    assert_eq!(syn(&mut rig, 21_000), 1);
    service(&mut rig, "web").routing.strict = true;
    install(&mut rig);
    let client = rig.host("db-1");
    rig.world
        .send("db-1", &client.tcp(ROUTER_DATA, WEB, (9, 80), "S", b""));
    is_refused(&mut rig);
}

#[test]
fn clients_of_one_node_reach_endpoints_of_their_own_cells() {
    let mut rig = rig(|rig| {
        let pod = |rig: &mut Cluster, pod: &str, cell: &str| {
            let pod = rig
                .state
                .pods
                .get_mut(&NamespacedName::new("bank", pod))
                .unwrap();
            pod.cell = Some(cell.into());
        };
        pod(rig, "db-1", "blue");
        rig.state.nodes.get_mut("node1").unwrap().cell = Some("green".into());
        endpoint(rig, "web", "web-1").cell = Some("green".into());
        endpoint(rig, "web", "web-2").cell = Some("blue".into());
    });
    let feed = rig.host("feed-1");
    let of_node = |rig: &mut Cluster, port: u16| {
        // feed-1 has no cell of its own, so it is in its node's.
        let gateway = [0x00, 0x11, 0x22, 0x33, 0x44, 0x55];
        rig.world
            .send("feed-1", &feed.tcp(gateway, WEB, (port, 80), "S", b""));
        arrives(rig).0
    };
    for port in 20_000..20_020 {
        assert_eq!(syn(&mut rig, port), 1, "blue");
        assert_eq!(of_node(&mut rig, port), 0, "green");
    }
    endpoint(&mut rig, "web", "web-2").ready = false;
    endpoint(&mut rig, "web", "web-2").serving = false;
    install(&mut rig);
    assert_eq!(syn(&mut rig, 21_000), 0, "any other cell rather than none");
    service(&mut rig, "web").routing.cells = CellRules::Then {
        by_cell: [("blue".to_string(), Vec::new())].into(),
        others: Vec::new(),
    };
    install(&mut rig);
    assert_eq!(of_node(&mut rig, 21_001), 0);
    let client = rig.host("db-1");
    rig.world
        .send("db-1", &client.tcp(ROUTER_DATA, WEB, (9, 80), "S", b""));
    is_refused(&mut rig);
}
