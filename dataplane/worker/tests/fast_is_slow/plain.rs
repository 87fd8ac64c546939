//! Rules that look at a part of a packet only.

use net::TableId;
use openflow::{Action, Field, Instructions, Match, SubField};
use proptest::prelude::*;

use crate::common::{mac, output, set};
use crate::{PORTS, TUNNEL, small};

/// Actions of a switch that looks at a part of a packet only.
fn plain_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (1..=PORTS).prop_map(output),
        1 => Just(output(TUNNEL)),
        1 => small(&[7u64, 8]).prop_map(|id| set(Field::TunId, id)),
        1 => (1..=3u8).prop_map(|host| set(Field::EthDst, net::MacAddr(mac(host)).to_u64())),
        1 => (1..=3u8).prop_map(|host| set(Field::EthSrc, net::MacAddr(mac(host)).to_u64())),
        1 => (1..=3u32).prop_map(|host| set(Field::Ipv4Dst, 0x0a00_0000 + host)),
        1 => (80..83u16).prop_map(|port| set(Field::UdpDst, port)),
        1 => (0..3u8).prop_map(|dscp| set(Field::IpDscp, dscp)),
        1 => small(&[Field::Ipv4Src, Field::UdpSrc, Field::EthSrc]).prop_map(|field| Action::Move {
            src: SubField::range(field, 0, 1),
            dst: SubField::range(Field::Reg0, 0, 1),
        }),
        1 => (0..3u64).prop_map(|value| Action::Load {
            dst: SubField::range(Field::Ipv4Src, 0, 1),
            value,
        }),
        2 => Just(Action::DecNwTtl),
        1 => Just(Action::PushVlan { tpid: 0x8100 }),
        1 => Just(Action::PopVlan),
        1 => (10..14u16).prop_map(|vid| set(Field::VlanVid, 0x1000 | vid)),
        1 => Just(output(net::PortNo::NORMAL.0)),
        1 => (1..=2u8).prop_map(|table| Action::Resubmit {
            port: None,
            table: Some(TableId(table)),
            ct: false,
        }),
    ]
}

/// Rules that look at one field each.
pub fn plain_rule() -> impl Strategy<Value = (u8, u16, Match, Instructions)> {
    let v4 = || Match::any().with(Field::EthType, 0x0800u16);
    let udp = move || v4().with(Field::IpProto, 17u8);
    let prefix = small(&[8u32, 16, 24, 31, 32]);
    let matching = prop_oneof![
        3 => Just(Match::any()),
        2 => (1..=PORTS).prop_map(|port| Match::any().with(Field::InPort, port)),
        1 => (1..=3u8)
            .prop_map(|host| Match::any().with(Field::EthDst, net::MacAddr(mac(host)).to_u64())),
        2 => (1..=3u32, prefix).prop_map(move |(host, len)| {
            let mask = u32::MAX << (32 - len);
            v4().with_masked(Field::Ipv4Dst, (0x0a00_0000 + host) & mask, mask)
        }),
        1 => (1..=3u32).prop_map(move |host| v4().with(Field::Ipv4Src, 0x0a00_0000 + host)),
        1 => (80..83u16).prop_map(move |port| udp().with(Field::UdpDst, port)),
        1 => (1000..1003u16).prop_map(move |port| udp().with(Field::UdpSrc, port)),
        1 => (0..3u32).prop_map(|reg| Match::any().with(Field::Reg0, reg)),
        1 => (1..=3u8).prop_map(|host| {
            let v6 = Match::any().with(Field::EthType, 0x86ddu16);
            v6.with(Field::Ipv6Dst, u128::from_be_bytes([host; 16]))
        }),
    ];
    let actions = proptest::collection::vec(plain_action(), 0..4);
    let next = proptest::option::of(1..3u8);
    (0..3u8, 0..4u16, matching, actions, next).prop_map(
        |(table, priority, matching, actions, next)| {
            let mut instructions = Instructions::apply(actions);
            instructions.goto_table = next.filter(|next| *next > table).map(TableId);
            (table, priority, matching, instructions)
        },
    )
}
