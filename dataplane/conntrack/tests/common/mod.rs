//! What the stories of packets have in common.

#![allow(dead_code)] // Each test file uses some of it.

use conntrack::{Commit, Config, ConnTable, NatRange, NatRequest, TcpInfo, TcpState, Tuple};
use net::key::ct_state::{NEW, TRK};

pub const SECOND: u64 = 1_000_000_000;
pub const ICMP: u8 = 1;
pub const UDP: u8 = 17;
pub const TCP: u8 = 6;

pub fn table() -> ConnTable {
    ConnTable::new(&Config::new(1000, [1, 2])).unwrap()
}

pub fn tuple(proto: u8, src: [u8; 4], src_port: u16, dst: [u8; 4], dst_port: u16) -> Tuple {
    Tuple {
        src: src.into(),
        dst: dst.into(),
        src_port,
        dst_port,
        proto,
    }
}

pub const CLIENT: [u8; 4] = [10, 0, 0, 1];
pub const SERVER: [u8; 4] = [10, 0, 0, 2];
pub const OTHER: [u8; 4] = [10, 0, 0, 3];
pub const VIP: [u8; 4] = [10, 96, 0, 1];

pub fn commit<'a>(tuple: Tuple, tcp: Option<&'a TcpInfo>, nat: NatRequest) -> Commit<'a> {
    Commit {
        zone: 1,
        tuple,
        tcp,
        nat,
        mark: (0, 0),
        label: (0, 0),
        force: false,
    }
}

pub fn to(address: [u8; 4], ports: Option<(u16, u16)>) -> NatRange {
    NatRange {
        addresses: Some((address.into(), address.into())),
        ports,
        ..NatRange::default()
    }
}

pub fn dnat(address: [u8; 4], port: u16) -> NatRequest {
    NatRequest {
        dst: Some(to(address, Some((port, port)))),
        src: None,
    }
}

pub fn segment(flags: u16, seq: u32, ack: u32, payload: u32) -> TcpInfo {
    TcpInfo {
        seq,
        ack,
        window: 1000,
        flags,
        payload,
        scale: None,
    }
}

pub fn tcp_story(table: &ConnTable, story: &[(bool, TcpInfo, u32, TcpState)]) {
    let there = tuple(TCP, CLIENT, 1000, SERVER, 80);
    for (i, (from_client, info, state, tcp)) in story.iter().enumerate() {
        let tuple = if *from_client { there } else { there.reverse() };
        for repeated in [false, true] {
            let mut tracked = table.track(1, &tuple, Some(info), 0);
            if i == 0 && !repeated {
                assert_eq!(tracked.state, TRK | NEW);
                table
                    .commit(&commit(tuple, Some(info), NatRequest::default()), 0)
                    .unwrap();
                tracked = table.track(1, &tuple, Some(info), 0);
            }
            assert_eq!(tracked.state, TRK | state, "segment {i}, again {repeated}");
            let conn = table.iter(0).next().unwrap();
            assert_eq!(conn.tcp, Some(*tcp), "segment {i}, again {repeated}");
        }
    }
}
