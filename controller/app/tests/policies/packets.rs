//! Frames.

use std::net::IpAddr;

use etherparse::{IpNumber, PacketBuilder};

/// TCP, UDP and SCTP by their numbers.
pub const PROTOCOLS: [(&str, u8); 3] = [("TCP", 6), ("UDP", 17), ("SCTP", 132)];

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub mac: [u8; 6],
    pub ip: IpAddr,
    pub port: u16,
}

/// The first packet of a connection (SYN, a datagram, INIT), or with `answer` the one that comes back.
pub fn packet(protocol: u8, from: End, to: End, answer: bool) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(from.mac, to.mac);
    let ip = match (from.ip, to.ip) {
        (IpAddr::V4(a), IpAddr::V4(b)) => ethernet.ipv4(a.octets(), b.octets(), 64),
        (IpAddr::V6(a), IpAddr::V6(b)) => ethernet.ipv6(a.octets(), b.octets(), 64),
        other => panic!("{other:?}"),
    };
    let mut frame = Vec::new();
    match protocol {
        6 => {
            let tcp = ip.tcp(from.port, to.port, 1000, 8192).syn();
            let tcp = if answer { tcp.ack(1001) } else { tcp };
            tcp.write(&mut frame, b"").unwrap();
        }
        17 => ip
            .udp(from.port, to.port)
            .write(&mut frame, b"data")
            .unwrap(),
        132 => {
            let mut sctp = Vec::new();
            sctp.extend(from.port.to_be_bytes());
            sctp.extend(to.port.to_be_bytes());
            sctp.extend([0; 8]);
            // INIT or INIT ACK (RFC 9260, 3.3.2).
            sctp.extend([1 + u8::from(answer), 0, 0, 20]);
            sctp.extend([0; 16]);
            ip.write(&mut frame, IpNumber(132), &sctp).unwrap();
        }
        other => panic!("protocol {other}"),
    }
    frame
}

/// Data on a TCP connection, after the handshake.
pub fn data(from: End, to: End, sequence: u32, acknowledged: u32) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(from.mac, to.mac);
    let (IpAddr::V4(a), IpAddr::V4(b)) = (from.ip, to.ip) else {
        panic!("IPv4 only");
    };
    let tcp = ethernet.ipv4(a.octets(), b.octets(), 64);
    let tcp = tcp
        .tcp(from.port, to.port, sequence, 8192)
        .ack(acknowledged);
    let mut frame = Vec::new();
    tcp.write(&mut frame, b"").unwrap();
    frame
}

/// An echo request, or with `answer` its reply.
pub fn echo(from: End, to: End, answer: bool) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(from.mac, to.mac);
    let (IpAddr::V4(a), IpAddr::V4(b)) = (from.ip, to.ip) else {
        panic!("IPv4 only");
    };
    let ip = ethernet.ipv4(a.octets(), b.octets(), 64);
    let mut frame = Vec::new();
    if answer {
        ip.icmpv4_echo_reply(7, 1).write(&mut frame, b"x").unwrap();
    } else {
        ip.icmpv4_echo_request(7, 1)
            .write(&mut frame, b"x")
            .unwrap();
    }
    frame
}
