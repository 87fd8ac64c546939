//! Rules of subnets, gateways that are the switch, and underlays that overlays reach: packets
//! through two dataplanes of ours.

mod common;

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::Command;

use cluster::desired::{Direction, Rule, Term, Verdict};
use common::own::Own;
use common::scenarios::Rig;
use common::world::{NEVER, SOON, What};
use ipnet::IpNet;

fn rig() -> Option<Rig> {
    if Command::new("ovs-ofctl").arg("--version").output().is_err() {
        let _ = writeln!(std::io::stderr(), "skipped: ovs-ofctl is not installed");
        return None;
    }
    let nodes = [Own::start("node1", 1), Own::start("node2", 2)];
    Some(Rig::start(nodes.map(|node| Box::new(node) as _)))
}

const APPS: [u8; 6] = [0x02, 0x5c, 0xff, 0, 0, 1];
const DATA: [u8; 6] = [0x02, 0x5c, 0xff, 0, 0, 2];
const TRADING: [u8; 6] = [0x02, 0x5c, 0xff, 0, 0, 3];

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn rule(priority: u16, direction: Direction, verdict: Verdict, terms: Vec<Term>) -> Rule {
    Rule {
        priority,
        direction,
        verdict,
        terms,
    }
}

fn between(source: &str, destination: &str) -> Term {
    Term {
        sources: vec![net(source)],
        destinations: vec![net(destination)],
        ..Term::default()
    }
}

/// As the controller makes them of `private` and `allowSubnets`.
fn private(own: &str, allowed: &[&str]) -> Vec<Rule> {
    let mut open = vec![between(own, own)];
    for other in allowed {
        open.extend([between(own, other), between(other, own)]);
    }
    vec![
        rule(1001, Direction::Either, Verdict::Allow, open),
        rule(
            1000,
            Direction::Either,
            Verdict::Drop,
            vec![Term::default()],
        ),
    ]
}

fn set_rules(rig: &mut Rig, subnet: &str, rules: Vec<Rule>) {
    rig.state.subnets.get_mut(subnet).unwrap().rules = rules;
    let (_, rejected) = rig.install();
    assert_eq!(rejected, [""; 0]);
}

/// Sends a datagram from one pod to another by way of its router, or its subnet.
fn send(rig: &mut Rig, from: &str, to: &str, ports: (u16, u16)) {
    let (sender, receiver) = (rig.host(from), rig.host(to));
    let subnet_of = |ip: Ipv4Addr| ip.octets()[1];
    let same = subnet_of(sender.ip) == subnet_of(receiver.ip);
    let via = match subnet_of(sender.ip) {
        _ if same => receiver.mac,
        16 => APPS,
        17 => DATA,
        _ => TRADING,
    };
    let frame = sender.udp(via, receiver.ip, ports, b"hello");
    rig.world.send(from, &frame);
}

fn reaches(rig: &mut Rig, from: &str, to: &str, ports: (u16, u16)) -> bool {
    send(rig, from, to, ports);
    let got = rig.world.received_within(to, SOON);
    got.is_some_and(|got| matches!(got.what, What::Ip { .. }))
}

fn is_kept_from(rig: &mut Rig, from: &str, to: &str, ports: (u16, u16)) -> bool {
    send(rig, from, to, ports);
    rig.world.received_within(to, NEVER).is_none()
}

#[test]
fn a_private_subnet_is_closed_both_ways_to_all_that_it_does_not_name() {
    let Some(mut rig) = rig() else { return };
    assert!(reaches(&mut rig, "db-1", "web-1", (1, 1)), "open at first");
    set_rules(&mut rig, "apps", private("10.16.0.0/16", &[]));
    for (from, to) in [
        ("db-1", "web-1"),
        ("db-2", "web-1"),
        ("web-1", "db-1"),
        ("web-1", "db-2"),
    ] {
        assert!(
            is_kept_from(&mut rig, from, to, (2, 2)),
            "{from} reaches {to}"
        );
    }
    assert!(reaches(&mut rig, "web-1", "web-2", (3, 3)));
    assert!(
        reaches(&mut rig, "db-1", "db-2", (3, 3)),
        "nobody else is harmed"
    );
    set_rules(
        &mut rig,
        "apps",
        private("10.16.0.0/16", &["10.17.0.21/32"]),
    );
    assert!(reaches(&mut rig, "db-1", "web-1", (4, 4)));
    assert!(reaches(&mut rig, "web-2", "db-1", (4, 4)));
    assert!(is_kept_from(&mut rig, "db-2", "web-1", (4, 4)));
    // A rule that comes to an end leaves nothing behind.
    set_rules(&mut rig, "apps", Vec::new());
    assert!(reaches(&mut rig, "db-2", "web-1", (5, 5)));
}

#[test]
fn two_subnets_have_to_agree_each_by_its_own_rules() {
    let Some(mut rig) = rig() else { return };
    rig.state.subnets.get_mut("data").unwrap().rules = private("10.17.0.0/16", &["10.16.0.0/16"]);
    set_rules(&mut rig, "apps", private("10.16.0.0/16", &[]));
    assert!(is_kept_from(&mut rig, "db-1", "web-1", (1, 1)));
    assert!(is_kept_from(&mut rig, "web-1", "db-2", (1, 1)));
    set_rules(&mut rig, "apps", private("10.16.0.0/16", &["10.17.0.0/16"]));
    assert!(reaches(&mut rig, "db-1", "web-1", (2, 2)));
    assert!(reaches(&mut rig, "web-1", "db-2", (2, 2)));
}

#[test]
fn a_pod_of_a_private_subnet_reaches_services_whose_endpoints_are_open_to_it() {
    let Some(mut rig) = rig() else { return };
    let vip = Ipv4Addr::new(10, 96, 0, 10);
    let web = cluster::NamespacedName::new("bank", "web");
    let web2 = rig.host("web-2");
    let service = rig.state.services.get_mut(&web).unwrap();
    service.ports[0].endpoints.retain(|e| e.ip == web2.ip);
    set_rules(&mut rig, "apps", private("10.16.0.0/16", &[]));
    let (web1, db1) = (rig.host("web-1"), rig.host("db-1"));
    rig.world
        .send("web-1", &web1.tcp(APPS, vip, (700, 80), "S", b""));
    assert!(
        rig.world.received("web-2").is_some(),
        "the endpoint is in the subnet"
    );
    rig.world.send(
        "web-2",
        &web2.tcp(web1.mac, web1.ip, (8080, 700), "SA", b""),
    );
    assert!(rig.world.received("web-1").is_some(), "and answers");
    rig.world
        .send("db-1", &db1.tcp(DATA, vip, (701, 80), "S", b""));
    let got = rig.world.received_within("web-2", NEVER);
    assert!(got.is_none(), "not for others");
}

#[test]
fn the_highest_rule_that_matches_decides_and_answers_of_what_passed_pass() {
    let Some(mut rig) = rig() else { return };
    let to = |address: &str| Term {
        destinations: vec![net(address)],
        ..Term::default()
    };
    let from = |address: &str| Term {
        sources: vec![net(address)],
        ..Term::default()
    };
    let ports = |first, last| Term {
        protocol: Some(17),
        destination_ports: vec![(first, last)],
        ..Term::default()
    };
    // Kube-OVN's own example: one pod may begin, none may begin with it; and a range of ports.
    set_rules(
        &mut rig,
        "apps",
        vec![
            rule(
                2000,
                Direction::ToPod,
                Verdict::Allow,
                vec![ports(5000, 5009)],
            ),
            rule(
                1002,
                Direction::ToPod,
                Verdict::Drop,
                vec![to("10.16.0.11/32")],
            ),
            rule(
                1002,
                Direction::FromPod,
                Verdict::Allow,
                vec![from("10.16.0.11/32")],
            ),
            rule(
                900,
                Direction::FromPod,
                Verdict::Drop,
                vec![to("10.17.0.22/32")],
            ),
        ],
    );
    for (from, to) in [("db-1", "web-1"), ("db-2", "web-1"), ("web-2", "web-1")] {
        assert!(
            is_kept_from(&mut rig, from, to, (1, 1)),
            "{from} reaches {to}"
        );
        assert!(is_kept_from(&mut rig, from, to, (1, 5010)));
        assert!(
            reaches(&mut rig, from, to, (1, 5009)),
            "{from} does not reach {to}"
        );
    }
    assert!(reaches(&mut rig, "web-1", "db-1", (7, 7)));
    assert!(reaches(&mut rig, "db-1", "web-1", (7, 7)), "the answer");
    assert!(
        reaches(&mut rig, "web-1", "db-2", (7, 7)),
        "a higher rule allows it"
    );
    assert!(
        reaches(&mut rig, "db-2", "web-1", (7, 7)),
        "the answer, through the tunnel"
    );
    assert!(is_kept_from(&mut rig, "web-2", "db-2", (7, 7)));
    assert!(
        reaches(&mut rig, "db-2", "web-2", (8, 8)),
        "no rule speaks of it"
    );
}

/// The gateway of the VLAN, a machine that knows no overlay.
const PHYSICAL: [u8; 6] = [0x00, 0x11, 0x22, 0x33, 0x44, 0x55];

/// A datagram from one pod to another by way of a MAC; true if it arrives.
fn arrives(rig: &mut Rig, from: &str, via: [u8; 6], to: &str, port: u16) -> bool {
    let (sender, receiver) = (rig.host(from), rig.host(to));
    let frame = sender.udp(via, receiver.ip, (port, port), b"hello");
    rig.world.send(from, &frame);
    let got = rig
        .world
        .received_within(to, if port == 0 { NEVER } else { SOON });
    got.is_some()
}

#[test]
fn a_connected_underlay_and_overlays_reach_each_other_by_the_physical_gateways_address() {
    let Some(mut rig) = rig() else { return };
    assert!(!arrives(&mut rig, "web-1", APPS, "feed-1", 0));
    rig.state.subnets.get_mut("trading").unwrap().interconnected = true;
    rig.install();
    for (pod, port) in [("web-1", 1), ("web-2", 2), ("db-2", 3)] {
        assert!(
            arrives(&mut rig, "feed-1", PHYSICAL, pod, port),
            "feed-1 to {pod}"
        );
        let via = if pod.starts_with("web") { APPS } else { DATA };
        assert!(
            arrives(&mut rig, pod, via, "feed-1", port),
            "{pod} to feed-1"
        );
    }
    assert!(
        arrives(&mut rig, "web-2", APPS, "feed-1", 9),
        "begun by the overlay"
    );
    assert!(
        arrives(&mut rig, "feed-1", PHYSICAL, "web-2", 9),
        "the answer"
    );
    // The rest of the world is still behind the gateway.
    let feed1 = rig.host("feed-1");
    let outside = feed1.udp(PHYSICAL, Ipv4Addr::new(8, 8, 8, 8), (1, 53), b"?");
    rig.world.send("feed-1", &outside);
    assert_eq!(
        rig.world.seen_on_vlan().expect("nothing on the VLAN").dst,
        PHYSICAL
    );
}

#[test]
fn where_a_vlan_has_no_gateway_the_switch_is_the_gateway_of_pods() {
    let Some(mut rig) = rig() else { return };
    rig.state
        .subnets
        .get_mut("trading")
        .unwrap()
        .logical_gateway = true;
    rig.install();
    let (feed1, gateway) = (rig.host("feed-1"), Ipv4Addr::new(192, 168, 100, 1));
    rig.world
        .send("feed-1", &feed1.arp(true, [0xff; 6], ([0; 6], gateway)));
    let answer = rig.world.received("feed-1").expect("no answer");
    let What::Arp {
        request, sender, ..
    } = answer.what
    else {
        panic!("{answer:?}");
    };
    assert!(!request);
    assert_eq!(sender, (TRADING, gateway));
    rig.world.send("feed-1", &feed1.ping(TRADING, gateway));
    assert!(
        rig.world.received("feed-1").is_some(),
        "it answers when pinged"
    );
    for (pod, via, port) in [("web-1", APPS, 1), ("web-2", APPS, 2), ("db-2", DATA, 3)] {
        assert!(
            arrives(&mut rig, "feed-1", TRADING, pod, port),
            "feed-1 to {pod}"
        );
        assert!(
            arrives(&mut rig, pod, via, "feed-1", port),
            "{pod} to feed-1"
        );
    }
    let outside = feed1.udp(TRADING, Ipv4Addr::new(8, 8, 8, 8), (1, 53), b"?");
    rig.world.send("feed-1", &outside);
    rig.world.assert_silence(&["web-1", "db-1"]);
    assert!(
        rig.world.on_vlan.is_empty(),
        "the router's address is no secret of ours to tell"
    );
}

#[test]
fn a_pod_may_use_an_address_that_it_is_allowed_beside_its_own() {
    let Some(mut rig) = rig() else { return };
    let shared = Ipv4Addr::new(192, 168, 100, 50);
    let as_shared = |rig: &Rig| common::world::Host {
        ip: shared,
        ..rig.host("feed-1")
    };
    let frame = as_shared(&rig).udp(PHYSICAL, Ipv4Addr::new(8, 8, 8, 8), (1, 1), b"");
    rig.world.send("feed-1", &frame);
    rig.world.assert_silence(&[]);
    assert!(rig.world.on_vlan.is_empty());
    // Keepalived and its like run on several nodes.
    for pod in ["feed-1", "feed-2"] {
        let pod = cluster::NamespacedName::new("bank", pod);
        rig.state.pods.get_mut(&pod).unwrap().allowed = vec![shared.into()];
    }
    rig.install();
    rig.world.send("feed-1", &frame);
    assert!(rig.world.seen_on_vlan().is_some());
    let announcement = as_shared(&rig).arp(true, [0xff; 6], ([0; 6], shared));
    rig.world.send("feed-1", &announcement);
    let seen = rig
        .world
        .seen_on_vlan()
        .expect("the VLAN does not hear of it");
    assert!(
        matches!(seen.what, What::Arp { request: true, .. }),
        "{seen:?}"
    );
}

/// A pod that comes to the VLAN on node1, with its port; gives the port's name.
fn late_feed(rig: &mut Rig, address: &str) -> String {
    common::bank::pod(&mut rig.state, "feed-9", "node1", "trading", address, None);
    let state = rig.state.clone();
    rig.controller
        .want_of_nodes(move |node, ports| flows::compile(&state, node, ports));
    let port = cluster::port_name("bank", "feed-9", cluster::DEFAULT_INTERFACE);
    rig.nodes[0].add_port(&port, 99);
    let wire = rig.nodes[0].wire(&port);
    rig.world.pods.insert("feed-9".into(), wire);
    port
}

fn is_open(rig: &Rig) -> bool {
    let ports = rig.nodes[0].ofctl(&["dump-ports-desc"]);
    let own = ports.split("\n 99(").nth(1);
    own.is_some_and(|own| !own.contains("NO_RECV"))
}

/// What the VLAN hears next of a pod's address: who says it, and whose address it is said to be.
fn next_arp(rig: &mut Rig, about: Ipv4Addr) -> (Ipv4Addr, [u8; 6]) {
    loop {
        let seen = rig.world.seen_on_vlan().expect("the VLAN hears nothing");
        if let What::Arp { sender, target, .. } = seen.what
            && target.1 == about
        {
            assert_eq!(seen.vlans, [100]);
            return (sender.1, sender.0);
        }
    }
}

#[test]
fn a_new_pod_on_a_vlan_asks_for_its_address_and_then_says_that_it_has_it() {
    let Some(mut rig) = rig() else { return };
    late_feed(&mut rig, "192.168.100.39");
    let own = rig.host("feed-9");
    assert!(!is_open(&rig), "not before it has asked");
    assert_eq!(next_arp(&mut rig, own.ip), (Ipv4Addr::UNSPECIFIED, own.mac));
    let told = std::iter::repeat_with(|| next_arp(&mut rig, own.ip).0);
    let told = told.take(10).find(|sender| !sender.is_unspecified());
    assert_eq!(told, Some(own.ip));
    assert!(is_open(&rig));
    rig.world.send(
        "feed-9",
        &own.udp(PHYSICAL, Ipv4Addr::new(8, 8, 8, 8), (1, 1), b""),
    );
    let mut seen = std::iter::repeat_with(|| rig.world.seen_on_vlan());
    assert!(seen.any(|seen| matches!(seen.expect("nothing").what, What::Ip { .. })));
}

#[test]
fn an_address_that_a_station_of_the_vlan_has_is_not_used_and_its_mac_is_told() {
    let Some(mut rig) = rig() else { return };
    late_feed(&mut rig, "192.168.100.39");
    let own = rig.host("feed-9");
    next_arp(&mut rig, own.ip);
    let squatter = common::world::Host {
        mac: [0x00, 0xaa, 0xbb, 0xcc, 0xdd, 0x01],
        ip: own.ip,
    };
    let answer = squatter.arp(false, own.mac, (own.mac, Ipv4Addr::UNSPECIFIED));
    rig.world.send_on_vlan(100, &answer);
    let told = loop {
        let applied = rig.runtime.block_on(rig.controller.applied());
        if let Some(problem) = applied.problems.first() {
            break problem.to_string();
        }
    };
    for words in [
        "Pod bank/feed-9",
        "00:aa:bb:cc:dd:01",
        "192.168.100.39",
        "stays closed",
    ] {
        assert!(told.contains(words), "{told}");
    }
    std::thread::sleep(SOON);
    assert!(!is_open(&rig));
    assert!(
        reaches(&mut rig, "web-1", "web-2", (1, 1)),
        "nobody else is harmed"
    );
}
