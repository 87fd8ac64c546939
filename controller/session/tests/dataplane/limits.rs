//! Connections that are counted, lines that are bad, and limits that change while packets flow.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use cluster::NamespacedName;
use cluster::desired::{Connections, Impairment, Qos, Rate};
use etherparse::PacketBuilder;

use super::common::scenarios::{self, Rig};
use super::common::world::{Host, Mac, SOON, What};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const ROUTER_APPS: Mac = [0x02, 0x5c, 0xff, 0, 0, 1];
const ROUTER_DATA: Mac = [0x02, 0x5c, 0xff, 0, 0, 2];

fn limit(ingress: u32, egress: u32) -> impl Fn(&mut Qos) {
    move |qos| {
        qos.connections = Some(Connections {
            ingress,
            egress,
            owner: 7,
        });
    }
}

impl Rig {
    /// Changes what a pod's annotations say.
    fn annotate(&mut self, pod: &str, change: impl FnOnce(&mut Qos)) {
        let name = NamespacedName::new("bank", pod);
        change(&mut self.state.pods.get_mut(&name).unwrap().qos);
        let node = self.state.pods[&name].node.clone();
        let state = self.state.clone();
        self.controller
            .want_of_nodes(move |node, ports| flows::compile(&state, node, ports));
        // The other node has nothing to do.
        loop {
            let applied = self.runtime.block_on(self.controller.applied());
            assert_eq!(applied.rejected.len(), 0);
            if applied.node == node {
                break;
            }
        }
    }

    /// True if what a pod sends reaches the other.
    fn reaches(&mut self, from: &str, frame: &[u8], to: &str) -> bool {
        self.world.send(from, frame);
        let got = self.world.received_within(to, SOON);
        got.is_some_and(|got| matches!(got.what, What::Ip { .. }))
    }

    /// True if nothing of it gets there.
    fn is_refused(&mut self, from: &str, frame: &[u8]) -> bool {
        self.world.send(from, frame);
        self.world
            .assert_silence(&["web-1", "web-2", "db-1", "db-2"]);
        true
    }
}

/// A segment, with sequence numbers as if the other side had said as much.
fn segment(host: &Host, via: Mac, to: Ipv4Addr, ports: (u16, u16), flags: &str) -> Vec<u8> {
    let (seq, ack) = if flags == "S" || flags == "SA" {
        (1000, 1001)
    } else {
        (1001, 1001)
    };
    let builder = PacketBuilder::ethernet2(host.mac, via)
        .ipv4(host.ip.octets(), to.octets(), 64)
        .tcp(ports.0, ports.1, seq, 8192);
    let builder = match flags {
        "S" => builder.syn(),
        "SA" => builder.syn().ack(ack),
        "R" => builder.rst().ack(ack),
        _ => builder.ack(ack),
    };
    let mut frame = Vec::new();
    builder.write(&mut frame, b"").unwrap();
    frame
}

/// Two pods as ends of connections.
struct Pair<'a> {
    client: (&'a str, Host, Mac),
    server: (&'a str, Host, Mac),
    /// Where the client sends to, and what answers.
    at: Ipv4Addr,
    port: u16,
    target: u16,
}

impl Pair<'_> {
    fn there(&self, port: u16, flags: &str) -> Vec<u8> {
        let (_, host, via) = &self.client;
        segment(host, *via, self.at, (port, self.port), flags)
    }

    fn back(&self, port: u16, flags: &str) -> Vec<u8> {
        let (_, host, via) = &self.server;
        segment(host, *via, self.client.1.ip, (self.target, port), flags)
    }

    /// Opens a connection from that port.
    fn opens(&self, rig: &mut Rig, port: u16) {
        let (client, server) = (self.client.0, self.server.0);
        assert!(
            rig.reaches(client, &self.there(port, "S"), server),
            "{port}"
        );
        assert!(
            rig.reaches(server, &self.back(port, "SA"), client),
            "{port}"
        );
        self.goes_on(rig, port);
    }

    fn goes_on(&self, rig: &mut Rig, port: u16) {
        let (client, server) = (self.client.0, self.server.0);
        assert!(
            rig.reaches(client, &self.there(port, "A"), server),
            "{port}"
        );
        assert!(rig.reaches(server, &self.back(port, "A"), client), "{port}");
    }

    fn is_refused(&self, rig: &mut Rig, port: u16) {
        assert!(rig.is_refused(self.client.0, &self.there(port, "S")));
    }

    fn is_reset(&self, rig: &mut Rig, port: u16) {
        assert!(rig.reaches(self.client.0, &self.there(port, "R"), self.server.0));
    }
}

fn pair<'a>(rig: &Rig, client: (&'a str, Mac), server: (&'a str, Mac)) -> Pair<'a> {
    let (from, to) = (rig.host(client.0), rig.host(server.0));
    Pair {
        client: (client.0, from, client.1),
        server: (server.0, to, server.1),
        at: to.ip,
        port: 8080,
        target: 8080,
    }
}

#[test]
fn a_pod_has_as_many_connections_as_it_may_and_a_change_ends_none() {
    let Some(mut rig) = super::rig() else { return };
    let rig = &mut rig;
    let here = pair(rig, ("db-1", ROUTER_DATA), ("web-1", ROUTER_APPS));
    let far = pair(rig, ("db-2", ROUTER_DATA), ("web-1", ROUTER_APPS));
    let own = pair(rig, ("web-1", ROUTER_APPS), ("db-1", ROUTER_DATA));
    // One is there before the limit is.
    here.opens(rig, 100);
    rig.annotate("web-1", limit(3, 2));
    here.goes_on(rig, 100);
    here.opens(rig, 101);
    far.opens(rig, 102);
    here.is_refused(rig, 103);
    far.is_refused(rig, 103);
    // What the pod begins counts by itself.
    own.opens(rig, 200);
    own.opens(rig, 201);
    own.is_refused(rig, 202);
    // Fewer, and all go on; one that ends makes room for one.
    rig.annotate("web-1", limit(2, 1));
    for port in [100, 101] {
        here.goes_on(rig, port);
    }
    far.goes_on(rig, 102);
    own.goes_on(rig, 201);
    here.is_reset(rig, 100);
    here.is_refused(rig, 103);
    far.is_reset(rig, 102);
    here.opens(rig, 103);
    far.is_refused(rig, 104);
    // More, none, and a limit again, below what is there.
    rig.annotate("web-1", limit(3, 1));
    far.opens(rig, 104);
    rig.annotate("web-1", |qos| qos.connections = None);
    far.opens(rig, 105);
    rig.annotate("web-1", limit(1, 1));
    for port in [101, 103] {
        here.goes_on(rig, port);
    }
    far.goes_on(rig, 105);
    far.is_refused(rig, 106);
    // The pod's successor does not pay for it.
    rig.annotate("web-1", |qos| {
        qos.connections.as_mut().unwrap().owner = 8;
    });
    far.opens(rig, 106);
    far.is_refused(rig, 107);
}

#[test]
fn connections_to_a_service_count_once_and_datagrams_and_pings_count_too() {
    let Some(mut rig) = super::rig() else { return };
    let rig = &mut rig;
    rig.annotate("db-1", limit(0, 2));
    let db1 = rig.host("db-1");
    let server = |rig: &mut Rig, port: u16| {
        let frame = segment(&db1, ROUTER_DATA, VIP, (port, 80), "S");
        rig.world.send("db-1", &frame);
        let wait = Duration::from_millis(20);
        let until = Instant::now() + SOON;
        while Instant::now() < until {
            for pod in ["web-1", "web-2"] {
                if rig.world.received_within(pod, wait).is_some() {
                    return Some(pod);
                }
            }
        }
        None
    };
    for port in [300, 301] {
        let pod = server(rig, port).expect("no endpoint got it");
        let mut to_vip = pair(rig, ("db-1", ROUTER_DATA), (pod, ROUTER_APPS));
        (to_vip.at, to_vip.port) = (VIP, 80);
        assert!(rig.reaches(pod, &to_vip.back(port, "SA"), "db-1"));
        to_vip.goes_on(rig, port);
        to_vip.goes_on(rig, port);
    }
    assert_eq!(server(rig, 302), None);
    // Others have no limit with it, and what it answers is not its own.
    let to_it = pair(rig, ("web-1", ROUTER_APPS), ("db-1", ROUTER_DATA));
    for port in 400..404 {
        to_it.opens(rig, port);
    }
    let web1 = rig.host("web-1");
    assert!(rig.reaches("web-1", &web1.ping(ROUTER_APPS, db1.ip), "db-1"));
    assert!(rig.is_refused("db-1", &db1.ping(ROUTER_DATA, web1.ip)));
    assert!(rig.is_refused("db-1", &db1.udp(ROUTER_DATA, web1.ip, (5, 5), b"x")));
    rig.annotate("db-1", limit(0, 3));
    for _ in 0..3 {
        let frame = db1.udp(ROUTER_DATA, web1.ip, (5, 5), b"x");
        assert!(
            rig.reaches("db-1", &frame, "web-1"),
            "one flow of datagrams is one"
        );
    }
    assert!(rig.is_refused("db-1", &db1.ping(ROUTER_DATA, web1.ip)));
}

/// With every connection counted, everything is as it is without.
#[test]
fn pods_whose_connections_are_counted_are_pods_like_others() {
    let Some(mut rig) = super::rig() else { return };
    rig.state.pods.for_each_mut(|_, pod| {
        limit(5000, 5000)(&mut pod.qos);
        pod.qos.impairment = Some(Impairment {
            latency_ms: 1,
            limit: 100,
            ..Impairment::default()
        });
    });
    let (_, rejected) = rig.install();
    assert_eq!(rejected, [""; 0]);
    for scenario in [
        scenarios::pods_of_an_overlay_reach_each_other_here_and_through_the_tunnel,
        scenarios::a_pod_reaches_itself_through_its_service,
        scenarios::services_lead_from_underlay_to_overlay_and_back,
    ] {
        scenario(&mut rig);
        rig.world.hush();
    }
    scenarios::after_a_restart_of_the_controller_not_a_single_flow_is_sent(&mut rig);
}

#[test]
fn packets_to_a_pod_are_late_or_lost_as_it_asks_and_those_from_it_are_not() {
    let Some(mut rig) = super::rig() else { return };
    let rig = &mut rig;
    let (web1, web2) = (rig.host("web-1"), rig.host("web-2"));
    let late = Duration::from_millis(200);
    rig.annotate("web-2", |qos| {
        qos.impairment = Some(Impairment {
            latency_ms: 200,
            limit: 3,
            ..Impairment::default()
        });
    });
    let to = web1.ping(web2.mac, web2.ip);
    let start = Instant::now();
    assert!(rig.reaches("web-1", &to, "web-2"));
    assert!(start.elapsed() >= late, "{:?}", start.elapsed());
    for _ in 0..10 {
        rig.world.send("web-1", &to);
    }
    let came = (0..10).filter(|_| rig.world.received("web-2").is_some());
    assert!((3..10).contains(&came.count()), "the limit holds");
    rig.annotate("web-2", |qos| {
        qos.impairment = Some(Impairment {
            loss_ppm: 1_000_000,
            limit: 1000,
            ..Impairment::default()
        });
    });
    assert!(rig.is_refused("web-1", &to));
    let from = web2.ping(web1.mac, web1.ip);
    assert!(rig.reaches("web-2", &from, "web-1"));
    rig.annotate("web-2", |qos| qos.impairment = None);
    assert!(rig.reaches("web-1", &to, "web-2"));
}

/// Packets within the limit go on, in order, whatever becomes of the limit meanwhile.
#[test]
fn a_rate_that_changes_loses_no_packet_that_is_within_it() {
    let Some(mut rig) = super::rig() else { return };
    let rig = &mut rig;
    let (web1, web2) = (rig.host("web-1"), rig.host("web-2"));
    // The tunnel knows its way afterwards.
    assert!(rig.reaches("web-1", &web1.ping(web2.mac, web2.ip), "web-2"));
    let mut came = Vec::new();
    let mut sent = 0u32;
    for round in 0..8u32 {
        let rate = (round % 4 != 3).then_some(Rate {
            kbps: 100_000 << (round % 3),
            burst_kbit: 80_000,
        });
        for _ in 0..100 {
            let frame = web1.udp(web2.mac, web2.ip, (5, 6), &sent.to_be_bytes());
            rig.world.send("web-1", &frame);
            sent += 1;
        }
        rig.annotate("web-1", |qos| qos.egress = rate);
        rig.annotate("web-2", |qos| qos.ingress = rate);
        while let Some(frame) = rig.world.frame("web-2", Duration::from_millis(30)) {
            came.push(u32::from_be_bytes(frame[42..46].try_into().unwrap()));
        }
    }
    while came.len() < sent as usize {
        let frame = rig.world.frame("web-2", SOON).expect("packets are lost");
        came.push(u32::from_be_bytes(frame[42..46].try_into().unwrap()));
    }
    assert_eq!(came, (0..sent).collect::<Vec<_>>());
}
