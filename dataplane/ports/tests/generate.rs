//! Generators make the packets they are asked for, sinks say how long they took, echoes answer.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use packet::Packet;
use ports::{Burst, Pools, Port, PortKind, PortSpec, Since};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

fn open(device: &str) -> Box<dyn Port> {
    let spec: PortSpec = format!("p,dev={device}").parse().unwrap();
    assert!(matches!(spec.kind, PortKind::Test(_)), "{device}");
    ports::open(&spec, &Pools::heap()).unwrap()
}

fn take(port: &mut dyn Port, packets: usize) -> Vec<Packet> {
    let mut taken = Vec::new();
    while taken.len() < packets {
        let mut burst = Burst::new();
        port.rx(&mut burst);
        assert!(!burst.is_empty(), "nothing after {}", taken.len());
        taken.extend(burst);
    }
    taken.truncate(packets);
    taken
}

type Flow = ([u8; 4], [u8; 4], u16, u16);

/// Addresses and ports; checks lengths and checksums on the way.
fn flow(packet: &Packet) -> Flow {
    let bytes = packet.to_vec();
    let sliced = SlicedPacket::from_ethernet(&bytes).unwrap();
    let Some(NetSlice::Ipv4(ip)) = &sliced.net else {
        panic!("no IPv4: {bytes:02x?}");
    };
    let header = ip.header();
    assert_eq!(
        header.header_checksum(),
        header.to_header().calc_header_checksum()
    );
    let (src, dst) = (header.source(), header.destination());
    match &sliced.transport {
        Some(TransportSlice::Udp(udp)) => (src, dst, udp.source_port(), udp.destination_port()),
        Some(TransportSlice::Tcp(tcp)) => {
            let sum = tcp.calc_checksum_ipv4(src, dst).unwrap();
            assert_eq!(tcp.checksum(), sum);
            assert!(tcp.payload().is_empty());
            (src, dst, tcp.source_port(), tcp.destination_port())
        }
        other => panic!("neither UDP nor TCP: {other:?}"),
    }
}

fn flows(packets: &[Packet]) -> Vec<Flow> {
    packets.iter().map(flow).collect()
}

#[test]
fn each_flow_comes_once_in_a_round() {
    let mut port = open("generate,flows=1000,src=192.168.0.0/24,dst=10.9.0.1,dsts=7,port=53");
    let packets = take(&mut *port, 3000);
    assert!(packets.iter().all(|p| p.len() == 60));
    let flows = flows(&packets);
    let first: HashSet<_> = flows[..1000].iter().collect();
    assert_eq!(first.len(), 1000);
    assert_eq!(flows[..1000], flows[1000..2000]);
    let destinations: HashSet<_> = flows.iter().map(|f| f.1).collect();
    assert_eq!(destinations.len(), 7);
    assert!(flows.iter().all(|f| f.0[..3] == [192, 168, 0] && f.3 == 53));
    assert_eq!(port.control().stats().rx_packets, 3008);
}

#[test]
fn replies_are_the_same_flow_in_the_other_direction() {
    let mut port = open("generate,flows=10,replies=true");
    let flows = flows(&take(&mut *port, 40));
    for pair in flows.chunks(2) {
        let (src, dst, from, to) = pair[0];
        assert_eq!(pair[1], (dst, src, to, from));
    }
    assert_eq!(flows.iter().collect::<HashSet<_>>().len(), 20);
}

#[test]
fn new_flows_do_not_repeat_and_a_count_ends_them() {
    let mut port = open("generate,mode=new,count=10000");
    let packets = take(&mut *port, 10_000);
    let flows: HashSet<_> = flows(&packets).into_iter().collect();
    assert_eq!(flows.len(), 10_000);
    let mut burst = Burst::new();
    port.rx(&mut burst);
    assert!(burst.is_empty());
}

#[test]
fn zipf_gives_its_share_to_each_rank() {
    let mut port = open("generate,mode=zipf,flows=50000");
    let mut counts: HashMap<Flow, usize> = HashMap::new();
    let draws = 40_000;
    for flow in flows(&take(&mut *port, draws)) {
        *counts.entry(flow).or_default() += 1;
    }
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let total: f64 = (1..=50_000).map(|rank| f64::from(rank).powf(-1.1)).sum();
    for rank in [1, 2, 3, 10] {
        let expected = f64::from(rank).powf(-1.1) / total * draws as f64;
        let got = counts[rank as usize - 1] as f64;
        assert!(
            (got / expected - 1.0).abs() < 0.2,
            "rank {rank}: {got} of {expected}"
        );
    }
}

#[test]
fn a_rate_is_kept_and_what_nobody_takes_is_lost() {
    let mut port = open("generate,rate=100000,flows=4");
    let start = Instant::now();
    let mut taken = 0;
    let poll = |port: &mut dyn Port| {
        let mut burst = Burst::new();
        port.rx(&mut burst);
        burst.len()
    };
    while start.elapsed() < Duration::from_millis(50) {
        taken += poll(&mut *port);
    }
    let lost = |port: &dyn Port| port.control().stats().rx_dropped as usize;
    // Nothing is due after the time has passed, and what was due was taken or lost.
    let due = (start.elapsed().as_secs_f64() * 100_000.0) as usize;
    assert!(taken + lost(&*port) <= due && taken > 0, "{taken} of {due}");
    let before = lost(&*port);
    std::thread::sleep(Duration::from_millis(50));
    poll(&mut *port);
    // 5,000 were due, and the ring holds 1,024.
    assert!(lost(&*port) - before >= 3500, "{}", lost(&*port) - before);
}

#[test]
fn a_count_ends_on_time_whether_the_packets_were_taken_or_not() {
    let mut port = open("generate,rate=1000000,count=5000");
    let mut taken = 0;
    let start = Instant::now();
    loop {
        let mut burst = Burst::new();
        port.rx(&mut burst);
        taken += burst.len() as u64;
        let stats = port.control().stats();
        assert_eq!(stats.rx_packets, taken);
        assert!(taken + stats.rx_dropped <= 5000);
        if taken + stats.rx_dropped == 5000 {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{stats:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(5));
    let mut burst = Burst::new();
    port.rx(&mut burst);
    assert!(burst.is_empty());
}

#[test]
fn a_sink_tells_how_long_stamped_packets_took() {
    let (mut source, mut sink) = (open("generate,rate=1000000"), open("sink"));
    let mut packets = 0;
    while packets < 100 {
        let mut burst = Burst::new();
        source.rx(&mut burst);
        packets += burst.len();
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(sink.tx(&mut burst), 0);
    }
    let delays = sink.control().delays();
    let below = |since, ns| -> u64 {
        let counted = delays.iter().filter(|d| d.since == since && d.below <= ns);
        counted.map(|d| d.packets).sum()
    };
    for since in [Since::Due, Since::Received] {
        assert_eq!(below(since, u64::MAX), packets as u64);
        assert_eq!(below(since, 900_000), 0, "they took a millisecond at least");
    }
    assert_eq!(sink.control().stats().tx_packets, packets as u64);
}

#[test]
fn unstamped_packets_have_no_delay() {
    let (mut source, mut sink) = (open("generate"), open("sink"));
    let mut burst = Burst::new();
    source.rx(&mut burst);
    sink.tx(&mut burst);
    assert_eq!(sink.control().stats().tx_packets, 32);
    assert_eq!(sink.control().delays(), []);
}

/// SYN, ACK, FIN, sequence number, acknowledgement.
type Segment = (bool, bool, bool, u32, u32);

fn tcp(packet: &Packet) -> Segment {
    let bytes = packet.to_vec();
    let sliced = SlicedPacket::from_ethernet(&bytes).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else {
        panic!("no TCP");
    };
    let (seq, ack) = (tcp.sequence_number(), tcp.acknowledgment_number());
    (tcp.syn(), tcp.ack(), tcp.fin(), seq, ack)
}

#[test]
fn client_and_echo_carry_tcp_connections_from_beginning_to_end() {
    let (mut client, mut server) = (open("generate,mode=tcp,flows=100000"), open("echo"));
    let mut seen: HashMap<Flow, Vec<Segment>> = HashMap::new();
    let mut note = |packets: &Burst| {
        for packet in packets {
            let (src, dst, from, to) = flow(packet);
            let key = match to {
                80 => (src, dst, from, to),
                _ => (dst, src, to, from),
            };
            seen.entry(key).or_default().push(tcp(packet));
        }
    };
    for _ in 0..200 {
        let (mut requests, mut answers) = (Burst::new(), Burst::new());
        client.rx(&mut requests);
        note(&requests);
        server.tx(&mut requests);
        server.rx(&mut answers);
        note(&answers);
    }
    let whole: Vec<_> = seen.values().filter(|packets| packets.len() == 6).collect();
    assert!(whole.len() > 100, "{}", whole.len());
    for packets in whole {
        let kinds: Vec<_> = packets.iter().map(|(s, a, f, _, _)| (*s, *a, *f)).collect();
        let (syn, syn_ack, ack, fin) = (
            (true, false, false),
            (true, true, false),
            (false, true, false),
            (false, true, true),
        );
        assert_eq!(kinds, [syn, syn_ack, ack, fin, fin, ack]);
        // Each side acknowledges what the other sent.
        let (client, server) = (packets[0].3, packets[1].3);
        assert_eq!(packets[1].4, client + 1);
        assert_eq!((packets[2].3, packets[2].4), (client + 1, server + 1));
        assert_eq!((packets[4].3, packets[4].4), (server + 1, client + 2));
        assert_eq!((packets[5].3, packets[5].4), (client + 2, server + 2));
    }
}

#[test]
fn an_echo_sends_udp_back_and_swallows_the_rest() {
    let (mut client, mut server) = (open("generate,size=100"), open("echo"));
    let mut burst = Burst::new();
    client.rx(&mut burst);
    let (src, dst, from, to) = flow(&burst[0]);
    server.tx(&mut burst);
    let back = take(&mut *server, 32);
    assert_eq!(flow(&back[0]), (dst, src, to, from));
    assert_eq!(back[0].len(), 100);

    let mut fragments = open("generate,mode=fragments");
    let mut other = Burst::new();
    let arp = [&[0xff; 12][..], &[8, 6], &[0; 46]].concat();
    other.push(Packet::from_slice(&Pools::heap().frames, &arp).unwrap());
    server.tx(&mut other);
    let mut none = Burst::new();
    server.rx(&mut none);
    assert!(none.is_empty());
    fragments.rx(&mut none);
    for packet in &none {
        let bytes = packet.to_vec();
        assert_eq!(bytes[20] & 0x20, 0x20, "more fragments follow");
    }
}

#[test]
fn a_port_that_is_down_is_silent() {
    let mut port = open("generate");
    port.control().set_up(false).unwrap();
    let mut burst = Burst::new();
    port.rx(&mut burst);
    assert!(burst.is_empty());
}
