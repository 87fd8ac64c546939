//! Our flows in our own dataplane, packets in and packets out: what Open vSwitch does with them, ours
//! does too, without any pause after the barrier.

mod common;
#[path = "dataplane/limits.rs"]
mod limits;

use std::io::Write;
use std::net::Ipv6Addr;
use std::process::Command;

use common::own::Own;
use common::scenarios::{self, Rig};
use common::world::{BROADCAST, SOON, What};
use net::{MacAddr, nd};

/// The example cluster on two nodes of ours; none where `ovs-ofctl`, which reads their counters, is
/// not installed.
fn rig() -> Option<Rig> {
    if Command::new("ovs-ofctl").arg("--version").output().is_err() {
        let _ = writeln!(std::io::stderr(), "skipped: ovs-ofctl is not installed");
        return None;
    }
    let nodes = [Own::start("node1", 1), Own::start("node2", 2)];
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

/// Open vSwitch 3.1 cannot turn a solicitation into an advertisement, so this is for ours alone.
#[test]
fn the_switch_answers_neighbour_discovery_for_the_gateway_and_for_pods() {
    let Some(mut rig) = rig() else { return };
    let (web1, web2) = (rig.host("web-1"), rig.host("web-2"));
    let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    let (own, asker) = (address("fd00:10:16::11"), MacAddr(web1.mac));
    let router = MacAddr([0x02, 0x5c, 0xff, 0, 0, 1]);
    for (wanted, mac) in [
        (address("fd00:10:16::1"), router),
        (address("fd00:10:16::12"), MacAddr(web2.mac)),
    ] {
        rig.world
            .send("web-1", &nd::solicitation(asker, own, wanted));
        let answer = rig.world.frame("web-1", SOON).expect("no advertisement");
        assert_eq!(answer, nd::advertisement(mac, wanted, asker, own, false));
    }
    // Not for itself (duplicate address detection), nor for what nobody has, nor from another.
    let nobody = address("fd00:10:16::99");
    rig.world.send("web-1", &nd::solicitation(asker, own, own));
    rig.world
        .send("web-1", &nd::solicitation(asker, own, nobody));
    rig.world.send(
        "web-1",
        &nd::solicitation(asker, address("fd00:10:16::12"), own),
    );
    rig.world.send(
        "web-1",
        &nd::announce(asker, address("fd00:10:16::12"), false),
    );
    rig.world.assert_silence(&["web-1", "web-2", "db-1"]);
}

/// The block's flow has no pod's address in it: all of it comes from the question.
#[test]
fn the_switch_answers_for_a_block_of_pods_with_the_mac_of_the_one_that_is_asked_for() {
    let Some(mut rig) = rig() else { return };
    for (number, name) in [(80u8, "web-8"), (81, "web-9")] {
        let (v4, v6) = (
            format!("10.16.0.{number}"),
            format!("fd00:10:16::{number:x}"),
        );
        common::bank::pod(&mut rig.state, name, "node2", "apps", &v4, Some(&v6));
    }
    let (_, rejected) = rig.install();
    assert_eq!(rejected, [""; 0]);
    let web1 = rig.host("web-1");
    let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    let (own, asker) = (address("fd00:10:16::11"), MacAddr(web1.mac));
    for number in [80u8, 81] {
        let mac = MacAddr([0x02, 0x5c, 10, 16, 0, number]);
        let wanted = address(&format!("fd00:10:16::{number:x}"));
        rig.world
            .send("web-1", &nd::solicitation(asker, own, wanted));
        let answer = rig.world.frame("web-1", SOON).expect("no advertisement");
        assert_eq!(answer, nd::advertisement(mac, wanted, asker, own, false));
        let ip = std::net::Ipv4Addr::new(10, 16, 0, number);
        rig.world
            .send("web-1", &web1.arp(true, BROADCAST, ([0; 6], ip)));
        let answer = rig.world.received("web-1").expect("no ARP reply");
        let expected = What::Arp {
            request: false,
            sender: (mac.0, ip),
            target: (web1.mac, web1.ip),
        };
        assert_eq!((answer.src, answer.what), (mac.0, expected));
    }
}

#[test]
fn a_service_works_over_ipv6_too() {
    use etherparse::PacketBuilder;
    let Some(mut rig) = rig() else { return };
    let (web1, web2) = (rig.host("web-1"), rig.host("web-2"));
    let router = [0x02, 0x5c, 0xff, 0, 0, 1];
    let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    let (one, two) = (address("fd00:10:16::11"), address("fd00:10:16::12"));
    let vip = address("fd00:10:96::10");
    let tcp = |macs: ([u8; 6], [u8; 6]), ips: ([u8; 16], [u8; 16]), ports: (u16, u16), ttl| {
        let builder = PacketBuilder::ethernet2(macs.0, macs.1)
            .ipv6(ips.0, ips.1, ttl)
            .tcp(ports.0, ports.1, 1, 2)
            .syn();
        let mut frame = Vec::new();
        builder.write(&mut frame, b"").unwrap();
        frame
    };
    // The Service's only IPv6 endpoint is web-1, on the other node; web-2 is the client.
    rig.world
        .send("web-2", &tcp((web2.mac, router), (two, vip), (700, 80), 64));
    let there = rig.world.frame("web-1", SOON).expect("no connection");
    assert_eq!(there, tcp((router, web1.mac), (two, one), (700, 8080), 63));
    rig.world.send(
        "web-1",
        &tcp((web1.mac, web2.mac), (one, two), (8080, 700), 64),
    );
    let back = rig.world.frame("web-2", SOON).expect("no reply");
    assert_eq!(back, tcp((web1.mac, web2.mac), (vip, two), (80, 700), 64));
}

#[test]
fn flows_are_named_by_their_objects_and_ports_open_by_themselves() {
    let Some(mut rig) = rig() else { return };
    let labels = rig.nodes[0].labels();
    assert!(labels.contains("Pod bank/web-1"), "{labels}");
    assert!(labels.contains("Service bank/feed"), "{labels}");
    // A pod that comes later: its port is closed until its flows are in force.
    let mut state = rig.state.clone();
    common::bank::pod(&mut state, "late-1", "node1", "apps", "10.16.0.77", None);
    rig.state = state;
    rig.install();
    let (late, web1) = (rig.host("late-1"), rig.host("web-1"));
    let port = cluster::port_name("bank", "late-1", cluster::DEFAULT_INTERFACE);
    rig.nodes[0].add_port(&port, 99);
    let wire = rig.nodes[0].wire(&port);
    rig.world.pods.insert("late-1".into(), wire);
    let opened = common::world::retry(|| {
        let ports = rig.nodes[0].ofctl(&["dump-ports-desc"]);
        let mine = ports.split("\n 99(").nth(1)?;
        (!mine.contains("NO_RECV") && mine.contains("config")).then_some(())
    });
    assert!(
        opened.is_some(),
        "{}",
        rig.nodes[0].ofctl(&["dump-ports-desc"])
    );
    rig.world.send("late-1", &late.ping(web1.mac, web1.ip));
    let got = rig.world.received("web-1").expect("the ping is lost");
    assert!(matches!(got.what, What::Ip { .. }), "{got:?}");
}

#[test]
fn a_pod_sends_no_more_packets_than_it_may_and_with_its_own_code_point() {
    let Some(mut rig) = rig() else { return };
    let (web1, web2) = (rig.host("web-1"), rig.host("web-2"));
    let name = cluster::NamespacedName::new("bank", "web-1");
    let mut state = rig.state.clone();
    let pod = state.pods.get_mut(&name).unwrap();
    pod.qos.dscp = Some(34);
    pod.qos.egress_packets = Some(cluster::desired::PacketRate { pps: 1, burst: 5 });
    let other = cluster::NamespacedName::new("bank", "web-2");
    let other = state.pods.get_mut(&other).unwrap();
    other.qos.priority = cluster::desired::Priority::Low;
    rig.state = state;
    rig.install();
    for _ in 0..30 {
        let frame = web1.udp(web2.mac, web2.ip, (5, 6), b"data");
        rig.world.send("web-1", &frame);
    }
    let mut frames = Vec::new();
    while let Some(frame) = rig.world.frame("web-2", SOON) {
        frames.push(frame);
    }
    // The burst, and one for each second that the test took.
    assert!((5..20).contains(&frames.len()), "{} of 30", frames.len());
    let code_points: Vec<u8> = frames.iter().map(|frame| frame[15] >> 2).collect();
    assert!(
        code_points.iter().all(|dscp| *dscp == 34),
        "{code_points:?}"
    );
    // Nobody else is held back, or marked.
    for _ in 0..30 {
        let frame = web2.udp(web1.mac, web1.ip, (6, 5), b"data");
        rig.world.send("web-2", &frame);
        let got = rig.world.frame("web-1", SOON).expect("web-2 has no limit");
        assert_eq!(got[15], 0);
    }
}
