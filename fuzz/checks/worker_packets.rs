//! What must hold for any packets that come into a node that does everything to every packet. Shared
//! by the fuzz target and by the test that replays the corpus; `common` is the worker's test rig.
//!
//! An input is frames one after the other: a byte that says which port, whether it comes out of a
//! peer's tunnel and whether metadata follow (9 bytes: kinds, then four numbers, big endian), a byte
//! for its length, its bytes.

use net::{MeterId, TableId};
use openflow::action::{Ct, CtZone, Nat, NatKind};
use openflow::{Action, Field, Instructions, Match};
use packet::{Csum, Gso, Packet};
use ports::{Caps, TunnelKind};
use worker::{Counter, DropReason};

use super::common::{self, Rig, in_port, output, set, udp};

pub const UPLINK: u32 = 1;
const TUNNEL: u32 = 2;
pub const POD: u32 = 3;

/// A node that does everything to every packet.
pub fn node() -> Rig {
    let mut rig = Rig::new(0);
    rig.port(UPLINK, Caps::default());
    rig.port(POD, Caps::default());
    rig.tunnel(TUNNEL, TunnelKind::Geneve);
    for vtep in ["172.30.0.1/24,port=p1", "fd00::1/64,port=p1"] {
        rig.workers.set_vteps(vec![vtep.parse().unwrap()]);
    }
    let both = ["172.30.0.1/24,port=p1", "fd00::1/64,port=p1"];
    let vteps = both.iter().map(|vtep| vtep.parse().unwrap()).collect();
    rig.workers.set_vteps(vteps);
    rig.poll();
    rig.meter(1, 1000, 1000);
    let translate = Action::Nat(Nat {
        kind: NatKind::Src,
        addresses: Some(([10, 9, 9, 9].into(), [10, 9, 9, 10].into())),
        ports: None,
        persistent: false,
        hash: false,
        random: false,
    });
    let ct = Action::Ct(Ct {
        commit: true,
        zone: CtZone::Number(1),
        table: Some(TableId(1)),
        actions: vec![translate],
        ..Ct::default()
    });
    let mut first = Instructions::apply(vec![ct]);
    first.meter = Some(MeterId(1));
    rig.rule(0, 1, Match::any(), first);
    let everything = vec![
        set(Field::EthSrc, 1u64),
        set(Field::Ipv4Dst, 7u32),
        set(Field::Ipv6Src, 9u128),
        set(Field::IpDscp, 46u8),
        set(Field::IpEcn, 2u8),
        set(Field::TcpDst, 99u16),
        set(Field::UdpSrc, 98u16),
        set(Field::SctpDst, 97u16),
        set(Field::IcmpCode, 5u8),
        set(Field::Icmpv6Type, 6u8),
        set(Field::ArpSpa, 8u32),
        set(Field::ArpTha, 4u64),
        set(Field::NdTarget, 5u128),
        set(Field::NdSll, 3u64),
        set(Field::NdTll, 2u64),
        set(Field::Ipv6Label, 2u32),
        Action::PushVlan { tpid: 0x88a8 },
        set(Field::VlanVid, 0x1abc_u16),
        output(POD),
        Action::PopVlan,
        Action::PopVlan,
        Action::DecNwTtl,
        set(Field::TunId, 5u64),
        set(Field::TunDst, 0xac1e_0002_u32),
        output(TUNNEL),
        output(net::PortNo::FLOOD.0),
        output(net::PortNo::CONTROLLER.0),
    ];
    rig.flow(1, 1, in_port(UPLINK), everything.clone());
    rig.flow(1, 1, in_port(TUNNEL), everything.clone());
    rig.flow(1, 1, in_port(POD), everything);
    rig
}

/// What a device or a guest says of a packet; it need not be true.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// Lowest bit: the checksum is there; the next two: which kind of large frame.
    pub kinds: u8,
    /// `csum_start`, `csum_offset`, `gso_size`, `hdr_len`.
    pub numbers: [u16; 4],
}

/// Sends a frame into the node, and takes out whatever comes.
pub fn feed(rig: &mut Rig, port: u32, frame: &[u8], meta: Option<Meta>) {
    let mut packet = Packet::from_slice(&rig.pool, frame).expect("memory for one packet");
    if let Some(Meta { kinds, numbers }) = meta {
        let meta = packet.meta_mut();
        meta.csum = if kinds & 1 == 0 {
            Csum::Partial
        } else {
            Csum::Valid
        };
        meta.gso = [Gso::None, Gso::Tcp4, Gso::Tcp6, Gso::Udp][usize::from(kinds >> 1 & 3)];
        [
            meta.csum_start,
            meta.csum_offset,
            meta.gso_size,
            meta.hdr_len,
        ] = numbers;
    }
    rig.send_packet(port, packet);
    rig.advance(common::MILLISECOND);
    while rig.packet_in().is_some() {}
    rig.all_out();
}

/// Panics unless the node still forwards, takes packets out of their tunnel, and has lost no memory.
pub fn still_works(rig: &mut Rig) {
    let (before, taken_out) = (
        rig.count(Counter::TxPackets),
        rig.count(Counter::TunnelDecap),
    );
    let good = wrapped(rig, &udp(1, 2, (77, 78), b"good"));
    rig.advance(common::SECOND);
    rig.send(UPLINK, &good);
    assert_eq!(rig.count(Counter::TunnelDecap), taken_out + 1);
    assert!(rig.count(Counter::TxPackets) > before);
    assert_eq!(rig.dropped(DropReason::NoMemory), 0);
}

/// Panics if something that must hold does not.
pub fn check(mut input: &[u8]) {
    let mut rig = node();
    while let Some((&what, rest)) = input.split_first() {
        let mut rest = rest;
        let mut meta = None;
        if what & 4 != 0
            && let Some((bytes, after)) = rest.split_first_chunk::<9>()
        {
            let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            meta = Some(Meta {
                kinds: bytes[0],
                numbers: [number(1), number(3), number(5), number(7)],
            });
            rest = after;
        }
        let Some((&length, after)) = rest.split_first() else {
            break;
        };
        let (frame, after) = after.split_at(usize::from(length).min(after.len()));
        input = after;
        if frame.is_empty() {
            continue;
        }
        let port = if what & 1 == 0 { UPLINK } else { POD };
        if what & 2 == 0 {
            feed(&mut rig, port, frame, meta);
        } else {
            let outer = wrapped(&rig, frame);
            feed(&mut rig, port, &outer, meta);
        }
    }
    still_works(&mut rig);
}

/// The same, as they come out of a peer's tunnel. The endpoint's address is the uplink's.
pub fn wrapped(rig: &Rig, inner: &[u8]) -> Vec<u8> {
    let ports = rig.workers.shared().ports();
    let uplink = ports.named("p1").unwrap().mac;
    let mut payload = vec![0, 0, 0x65, 0x58, 0, 0, 5, 0];
    payload.extend_from_slice(inner);
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2([2, 2, 2, 2, 2, 2], uplink.0)
        .ipv4([172, 30, 0, 2], [172, 30, 0, 1], 64)
        .udp(50_000, 6081)
        .write(&mut frame, &payload)
        .unwrap();
    frame
}
