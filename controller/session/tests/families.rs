//! Services over IPv6 and by SCTP: from pods, from the node itself and from outside, packets in and
//! packets out. What IPv4 and TCP show in more detail is in `edge.rs`.

mod common;

use std::net::{IpAddr, Ipv6Addr};

use cluster::NamespacedName;
use cluster::desired::{Frontends, Protocol};
use common::bank;
use common::own::Own;
use common::scenarios::Rig;
use common::world::{Mac, SOON};
use etherparse::{IpNumber, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

const ROUTER: Mac = [0x02, 0x5c, 0xff, 0, 0, 1];
const ROUTER_DATA: Mac = [0x02, 0x5c, 0xff, 0, 0, 2];
const ROUTER_HOST: Mac = [0x0a, 0x5c, 0, 0, 0, 1];
const SCTP: u8 = 132;

fn v6(text: &str) -> IpAddr {
    text.parse::<Ipv6Addr>().unwrap().into()
}

/// The example cluster with its edge behind the nodes' kernels.
struct Net {
    rig: Rig,
}

/// A packet as the tests see it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Packet {
    src: IpAddr,
    dst: IpAddr,
    /// Protocol, source and destination port; type and code for ICMP.
    l4: (u8, u16, u16),
    payload: Vec<u8>,
}

impl Net {
    fn start(change: impl FnOnce(&mut Rig)) -> Net {
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
        bank::edge(&mut rig.state, false);
        let name = NamespacedName::new("bank", "web");
        let web = rig.state.frontends.get_mut(&name).unwrap();
        web.external.push(v6("2001:db8:5::5"));
        change(&mut rig);
        let (_, rejected) = rig.install();
        assert_eq!(rejected, [""; 0]);
        Net { rig }
    }

    fn mac(&self, who: &str) -> Mac {
        match who {
            "host1" => self.rig.state.hosts["node1"].mac.0,
            pod => self.rig.host(pod).mac,
        }
    }

    fn send(&mut self, who: &str, via: Mac, packet: &Packet) {
        let frame = frame((self.mac(who), via), packet);
        self.rig.world.send(who, &frame);
    }

    #[track_caller]
    fn gets(&mut self, who: &str) -> Packet {
        let frame = self.rig.world.frame(who, SOON);
        parse(&frame.unwrap_or_else(|| panic!("{who} got nothing")))
    }

    /// A request from `who` to a Service's address, which `server` has to see coming from `seen` (the
    /// client itself if none) and to answer; the answer comes from the Service's address.
    #[track_caller]
    fn asks(
        &mut self,
        (who, via): (&str, Mac),
        question: &Packet,
        (server, endpoint, port): (&str, &str, u16),
        seen: Option<&str>,
    ) {
        self.send(who, via, question);
        let at = self.gets(server);
        let (protocol, from, to) = question.l4;
        let source = seen.map_or(question.src, |text| text.parse().unwrap());
        assert_eq!((at.src, at.dst), (source, endpoint.parse().unwrap()));
        assert_eq!((at.l4.0, at.l4.2), (protocol, port));
        assert_eq!(at.payload, question.payload);
        assert!(seen.is_some() || at.l4.1 == from, "{at:?}");
        let answer = Packet {
            src: at.dst,
            dst: at.src,
            l4: (protocol, port, at.l4.1),
            payload: b"yes".to_vec(),
        };
        self.send(server, ROUTER, &answer);
        let back = self.gets(who);
        assert_eq!((back.src, back.dst), (question.dst, question.src));
        assert_eq!(back.l4, (protocol, to, from));
        assert_eq!(back.payload, b"yes");
    }
}

/// A frame with right checksums.
fn frame(macs: (Mac, Mac), packet: &Packet) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(macs.0, macs.1);
    let ip = match (packet.src, packet.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => ethernet.ipv4(src.octets(), dst.octets(), 64),
        (IpAddr::V6(src), IpAddr::V6(dst)) => ethernet.ipv6(src.octets(), dst.octets(), 64),
        mixed => panic!("{mixed:?}"),
    };
    let (protocol, from, to) = packet.l4;
    let mut frame = Vec::new();
    match protocol {
        6 => ip
            .tcp(from, to, 1000, 8192)
            .syn()
            .write(&mut frame, &packet.payload),
        17 => ip.udp(from, to).write(&mut frame, &packet.payload),
        58 => ip
            .icmpv6_raw(from as u8, to as u8, [0; 4])
            .write(&mut frame, &packet.payload),
        SCTP => {
            // Common header (RFC 9260 3.1), and what stands in it does not matter to us.
            let mut bytes = Vec::new();
            bytes.extend(from.to_be_bytes());
            bytes.extend(to.to_be_bytes());
            bytes.extend([0; 8]);
            bytes.extend(&packet.payload);
            let checksum = net::csum::crc32c(&bytes);
            bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
            return sctp(ip, &bytes);
        }
        other => panic!("{other}"),
    }
    .unwrap();
    frame
}

fn sctp(ip: etherparse::PacketBuilderStep<etherparse::IpHeaders>, bytes: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    ip.write(&mut frame, IpNumber::SCTP, bytes).unwrap();
    frame
}

/// Takes a frame apart; its checksums have to be right.
fn parse(frame: &[u8]) -> Packet {
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let (src, dst, payload, number): (IpAddr, IpAddr, &[u8], u8) = match sliced.net.as_ref() {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let right = header.to_header().calc_header_checksum();
            assert_eq!(header.header_checksum(), right);
            let payload = ip.payload().payload;
            let ends = (header.source().into(), header.destination().into());
            (ends.0, ends.1, payload, header.protocol().0)
        }
        Some(NetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let ends = (header.source().into(), header.destination().into());
            let payload = ip.payload().payload;
            (ends.0, ends.1, payload, header.next_header().0)
        }
        other => panic!("{other:?}"),
    };
    let pseudo = |len: usize| match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            net::csum::pseudo_ipv4(src.octets(), dst.octets(), number, len as u32)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            net::csum::pseudo_ipv6(&src.octets(), &dst.octets(), number, len as u32)
        }
        mixed => panic!("{mixed:?}"),
    };
    let ports = || {
        let port = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
        (number, port(0), port(2))
    };
    let sum_is_right = || pseudo(payload.len()).bytes(payload).checksum() == 0;
    let (l4, data) = match sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            assert!(sum_is_right(), "TCP");
            (ports(), tcp.payload().to_vec())
        }
        Some(TransportSlice::Udp(udp)) => {
            assert!(sum_is_right(), "UDP");
            (ports(), udp.payload().to_vec())
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            assert!(sum_is_right(), "ICMPv6");
            let kind = (number, icmp.type_u8().into(), icmp.code_u8().into());
            (kind, icmp.payload().to_vec())
        }
        None if number == SCTP => {
            let mut zeroed = payload.to_vec();
            zeroed[8..12].fill(0);
            let right = net::csum::crc32c(&zeroed).to_le_bytes();
            assert_eq!(payload[8..12], right, "SCTP");
            (ports(), payload[12..].to_vec())
        }
        other => panic!("{other:?}"),
    };
    Packet {
        src,
        dst,
        l4,
        payload: data,
    }
}

fn question(src: &str, dst: &str, l4: (u8, u16, u16)) -> Packet {
    Packet {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        l4,
        payload: b"anybody?".to_vec(),
    }
}

#[test]
fn over_ipv6_a_service_is_reached_from_everywhere_as_over_ipv4() {
    let mut net = Net::start(|_| ());
    // The Service's only IPv6 endpoint is web-1, on node1.
    let server = ("web-1", "fd00:10:16::11", 8080);
    let (host, pod) = (("host1", ROUTER_HOST), ("web-2", ROUTER));
    let (vip, external) = ("fd00:10:96::10", "2001:db8:5::5");
    for (number, address) in [vip, external].into_iter().enumerate() {
        let port = 40_000 + number as u16;
        let from_pod = question("fd00:10:16::12", address, (6, port, 80));
        net.asks(pod, &from_pod, server, None);
        let from_node = question("fd00:30::1", address, (6, port, 80));
        net.asks(host, &from_node, server, None);
    }
    // By a node port: the kernel brings it, and the endpoint answers the node.
    let node_ports = "fd53:4c43::3";
    let outside = question("2001:db8::9", node_ports, (6, 41_000, 30_080));
    net.asks(host, &outside, server, Some("fd00:30::1"));
    let node = question("fd00:30::1", node_ports, (6, 41_001, 30_080));
    net.asks(host, &node, server, None);
    let by_pod = question("fd00:10:16::12", "fd00:30::1", (6, 41_002, 30_080));
    // web-2 is on node2, where this is another node's port: that node's kernel brings it.
    net.send("web-2", ROUTER, &by_pod);
    let out = net.gets("host2");
    assert_eq!(out.dst, by_pod.dst);
    // A pod reaches itself.
    let hairpin = question("fd00:10:16::11", vip, (6, 42_000, 80));
    net.send("web-1", ROUTER, &hairpin);
    let itself = net.gets("web-1");
    assert_eq!(itself.dst, hairpin.src);
    assert_ne!(itself.src, hairpin.src, "it would not answer itself");
    let answer = Packet {
        src: itself.dst,
        dst: itself.src,
        l4: (6, 8080, itself.l4.1),
        payload: Vec::new(),
    };
    net.send("web-1", ROUTER, &answer);
    let back = net.gets("web-1");
    assert_eq!(
        (back.src, back.dst, back.l4),
        (v6(vip), hairpin.src, (6, 80, 42_000))
    );
    // No such port: refused, by a reset and by ICMPv6.
    let who = "fd00:10:16::12";
    net.send("web-2", ROUTER, &question(who, vip, (6, 43_000, 81)));
    let reset = net.gets("web-2");
    assert_eq!((reset.src, reset.l4), (v6(vip), (6, 81, 43_000)));
    net.send("web-2", ROUTER, &question(who, vip, (17, 43_000, 81)));
    let error = net.gets("web-2");
    assert_eq!((error.src, error.l4), (v6(vip), (58, 1, 4)));
}

#[test]
fn over_ipv6_errors_reach_who_is_behind_a_translation() {
    let mut net = Net::start(|_| ());
    // A pod leaves the cluster, and a router on the way complains.
    let asks = question("fd00:10:16::11", "2001:db8::9", (17, 5000, 53));
    net.send("web-1", ROUTER, &asks);
    let out = net.gets("host1");
    assert_eq!((out.src, out.dst), (v6("fd53:4c43::2"), asks.dst));
    let about = |packet: &Packet| frame(([0; 6], [0; 6]), packet)[14..].to_vec();
    let error = Packet {
        src: v6("2001:db8::1"),
        dst: out.src,
        l4: (58, 1, 0),
        payload: about(&out),
    };
    net.send("host1", ROUTER_HOST, &error);
    let told = net.gets("web-1");
    assert_eq!(
        (told.src, told.dst, told.l4),
        (error.src, asks.src, (58, 1, 0))
    );
    // What is quoted is what the pod has sent: its own address and port.
    assert_eq!(told.payload[8..24], address(asks.src));
    assert_eq!(told.payload[40..42], 5000u16.to_be_bytes());
    // An endpoint complains about what a client sent to the Service.
    let asks = question("fd00:10:16::12", "fd00:10:96::10", (6, 44_000, 80));
    net.send("web-2", ROUTER, &asks);
    let at = net.gets("web-1");
    let error = Packet {
        src: at.dst,
        dst: at.src,
        l4: (58, 1, 1),
        payload: about(&at),
    };
    net.send("web-1", ROUTER, &error);
    let told = net.gets("web-2");
    assert_eq!(told.l4, (58, 1, 1));
    assert_eq!(told.payload[24..40], address(asks.dst), "the Service's");
    assert_eq!(told.payload[42..44], 80u16.to_be_bytes());
}

fn address(of: IpAddr) -> [u8; 16] {
    match of {
        IpAddr::V6(v6) => v6.octets(),
        IpAddr::V4(v4) => panic!("{v4}"),
    }
}

#[test]
fn sctp_is_served_to_pods_nodes_and_clients_outside_over_both_families() {
    let mut net = Net::start(|rig| {
        bank::service(
            &mut rig.state,
            "swift",
            &["10.96.0.40", "fd00:10:96::40"],
            Protocol::Sctp,
            3868,
            &[
                ("10.16.0.11", 9868, "node1"),
                ("fd00:10:16::11", 9868, "node1"),
            ],
        );
        let frontends = Frontends {
            node_ports: [((Protocol::Sctp, 3868), 30_868)].into(),
            external: vec!["203.0.113.6".parse().unwrap(), v6("2001:db8:5::6")],
            ..Frontends::default()
        };
        let name = NamespacedName::new("bank", "swift");
        rig.state.frontends.insert(name, frontends);
    });
    let host = ("host1", ROUTER_HOST);
    let v4 = ("web-1", "10.16.0.11", 9868);
    for (port, to) in [(50_000, "10.96.0.40"), (50_001, "203.0.113.6")] {
        let pod = question("10.17.0.21", to, (SCTP, port, 3868));
        net.asks(("db-1", ROUTER_DATA), &pod, v4, None);
        let node = question("192.0.2.1", to, (SCTP, port, 3868));
        net.asks(host, &node, v4, None);
    }
    let outside = question("198.51.100.9", "169.254.83.3", (SCTP, 50_002, 30_868));
    net.asks(host, &outside, v4, Some("192.0.2.1"));
    let six = ("web-1", "fd00:10:16::11", 9868);
    for (port, to) in [(50_003, "fd00:10:96::40"), (50_004, "2001:db8:5::6")] {
        let pod = question("fd00:10:16::12", to, (SCTP, port, 3868));
        net.asks(("web-2", ROUTER), &pod, six, None);
    }
    let outside = question("2001:db8::9", "fd53:4c43::3", (SCTP, 50_005, 30_868));
    net.asks(host, &outside, six, Some("fd00:30::1"));
}
