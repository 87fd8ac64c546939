//! Random messages that are valid: what the codec must carry without loss.
#![allow(dead_code)] // each test file uses its own part

pub mod later;

use std::net::IpAddr;

use net::{GroupId, MacAddr, MeterId, PortNo, TableId};
use openflow::action::{
    Conjunction, Controller, Ct, CtZone, Learn, LearnSource, LearnSpec, LearnTarget, Nat, NatKind,
    Sample, SampleDirection, SampleId,
};
use openflow::encap::{Encap, EncapProperty, packet_type};
use openflow::field::Prereq;
use openflow::links::{Bundle, BundleAlgorithm, HashFields, Multipath, MultipathAlgorithm};
use openflow::model::*;
use openflow::msg::*;
use openflow::{Action, Field, Instructions, Match, Message, OfError, SubField, Version};
use proptest::prelude::*;
use proptest::sample::select;

fn port() -> impl Strategy<Value = PortNo> {
    prop_oneof![
        (1u32..0xff00).prop_map(PortNo),
        select(vec![
            PortNo::IN_PORT,
            PortNo::NORMAL,
            PortNo::FLOOD,
            PortNo::ALL,
            PortNo::CONTROLLER,
            PortNo::LOCAL,
        ]),
    ]
}

/// Any number made one that a port may have, or none.
fn port_from(n: u32) -> PortNo {
    match n % 8 {
        0 => PortNo::ANY,
        _ => PortNo(1 + n % 0xfe00),
    }
}

fn table() -> impl Strategy<Value = TableId> {
    (0u8..255).prop_map(TableId)
}

/// What must stand before fields of that prerequisite.
fn base(prereq: Prereq) -> Match {
    let ip = |proto: u8| {
        Match::any()
            .with(Field::EthType, 0x800u16)
            .with(Field::IpProto, proto)
    };
    let v6 = || Match::any().with(Field::EthType, 0x86ddu16);
    let icmp6 = |kind: u8| {
        v6().with(Field::IpProto, 58u8)
            .with(Field::Icmpv6Type, kind)
            .with(Field::Icmpv6Code, 0u8)
    };
    match prereq {
        Prereq::None => Match::any(),
        Prereq::InPort => Match::any().with(Field::InPort, 3u8),
        Prereq::Vlan => Match::any().with(Field::VlanVid, 0x1005u16),
        Prereq::Ip | Prereq::Ipv4 => Match::any().with(Field::EthType, 0x800u16),
        Prereq::Ipv6 => v6(),
        Prereq::Arp => Match::any().with(Field::EthType, 0x806u16),
        Prereq::Mpls => Match::any().with(Field::EthType, 0x8847u16),
        Prereq::Pbb => Match::any().with(Field::EthType, 0x88e7u16),
        Prereq::Tcp => ip(6),
        Prereq::Udp => ip(17),
        Prereq::Sctp => ip(132),
        Prereq::Icmpv4 => ip(1),
        Prereq::Icmpv6 => icmp6(128),
        Prereq::Nd | Prereq::NdSolicit => icmp6(135),
        Prereq::NdAdvert => icmp6(136),
    }
}

fn field() -> impl Strategy<Value = Field> {
    select(Field::ALL.to_vec())
}

/// A value of a field that is allowed as text and on the wire.
fn value_of(field: Field, raw: u128) -> u128 {
    let value = raw & field.info().slot.ones();
    match field {
        // Ports of OpenFlow 1.0 are written with the names of today's.
        Field::InPort | Field::InPhyPort | Field::ActsetOutput => value % 0xfe00,
        Field::InPortNxm => value % 0xfe00,
        Field::IpTos => value & 0xfc,
        _ => value,
    }
}

/// Some fields that go together, one of them chosen freely with what it needs.
pub fn matching() -> impl Strategy<Value = Match> {
    let entry = (field(), any::<u128>(), any::<u128>(), any::<bool>());
    (
        entry,
        prop::collection::vec((field(), any::<u128>(), any::<u128>(), any::<bool>()), 0..4),
    )
        .prop_map(|((first, value, mask, masked), others)| {
            let prereq = first.info().prereq;
            let mut matching = base(prereq);
            let mut add = |field: Field, value: u128, mask: u128, masked: bool| {
                let info = field.info();
                if matching.overlaps(field)
                    || (info.prereq != Prereq::None && info.prereq != prereq)
                {
                    return;
                }
                let mask = if masked && info.maskable {
                    mask
                } else {
                    u128::MAX
                };
                matching.set(field, value_of(field, value), mask);
            };
            add(first, value, mask, masked);
            for (field, value, mask, masked) in others {
                add(field, value, mask, masked);
            }
            // Fields whose other values name other protocols must not be set at random.
            if prereq == Prereq::None && !matches!(first, Field::EthType) {
                matching.set(Field::EthType, 0, 0);
            }
            if matching.iter().any(|f| f.field.is_original_tuple()) {
                matching.set(Field::CtState, 0x22, 0x32);
            }
            matching
        })
        .prop_filter("an untagged priority says nothing", |matching| {
            let vid = matching.get(Field::VlanVid);
            matching.get(Field::VlanPcp).is_none()
                || vid.is_none_or(|vid| vid.mask & 0x1000 == 0 || vid.value & 0x1000 != 0)
        })
}

fn writable() -> impl Strategy<Value = Field> {
    let fields = Field::ALL.iter().copied();
    let fields =
        fields.filter(|f| f.info().writable && !f.is_written_by_ct() && *f != Field::IpTos);
    select(fields.collect::<Vec<_>>())
}

fn range_of(fields: impl Strategy<Value = Field>, most: u8) -> impl Strategy<Value = SubField> {
    (fields, any::<u8>(), any::<u8>()).prop_map(move |(field, a, b)| {
        let width = field.range_bits();
        let (a, b) = (a % width, b % width);
        let (low, high) = (a.min(b), a.max(b).min(a.min(b) + most - 1));
        SubField::range(field, low, high)
    })
}

fn set_field(fields: impl Strategy<Value = Field>) -> impl Strategy<Value = Action> {
    (fields, any::<u128>(), any::<u128>(), any::<bool>()).prop_map(
        |(field, value, mask, masked)| {
            let ones = field.info().slot.ones();
            let mask = if masked && field.info().maskable && mask & ones != 0 {
                mask & ones
            } else {
                ones
            };
            let mut value = value_of(field, value) & mask;
            if field == Field::VlanVid && mask & 0x1000 != 0 {
                value |= 0x1000;
            }
            Action::SetField { field, value, mask }
        },
    )
}

fn load(ranges: impl Strategy<Value = SubField>) -> impl Strategy<Value = Action> {
    (ranges, any::<u64>()).prop_map(|(dst, value)| Action::Load {
        dst,
        value: value & dst.ones() as u64,
    })
}

fn nat() -> impl Strategy<Value = Action> {
    let v4 = (any::<[u8; 4]>(), any::<[u8; 4]>())
        .prop_map(|(a, b)| (IpAddr::from(a.min(b)), IpAddr::from(a.max(b))));
    let v6 = (any::<[u8; 16]>(), any::<[u8; 16]>())
        .prop_map(|(a, b)| (IpAddr::from(a.min(b)), IpAddr::from(a.max(b))));
    let addresses = prop::option::of(prop_oneof![v4, v6]);
    let ports =
        prop::option::of((any::<u16>(), any::<u16>()).prop_map(|(a, b)| (a.min(b), a.max(b))));
    (0..3, addresses, ports, any::<bool>(), 0..3).prop_map(
        |(kind, addresses, ports, persistent, how)| {
            let existing = kind == 0;
            Action::Nat(Nat {
                kind: [NatKind::Existing, NatKind::Src, NatKind::Dst][kind as usize],
                addresses: addresses.filter(|_| !existing),
                ports: ports.filter(|_| !existing),
                persistent: persistent && !existing,
                hash: how == 1 && !existing,
                random: how == 2 && !existing,
            })
        },
    )
}

fn ct() -> impl Strategy<Value = Action> {
    let mark = || select(vec![Field::CtMark, Field::CtLabel]);
    let inner = prop_oneof![set_field(mark()), load(range_of(mark(), 64))];
    let zone = prop_oneof![
        any::<u16>().prop_map(CtZone::Number),
        Just(CtZone::Field(SubField::range(Field::Reg3, 4, 19))),
    ];
    (
        any::<bool>(),
        zone,
        prop::option::of(table()),
        select(vec![0, 21, 69, 554]),
        prop::option::of(nat()),
        prop::collection::vec(inner, 0..3),
    )
        .prop_map(|(force, zone, table, alg, nat, inner)| {
            Action::Ct(Ct {
                commit: force || !inner.is_empty() || nat.is_some(),
                force,
                zone,
                table,
                alg,
                actions: nat.into_iter().chain(inner).collect(),
            })
        })
}

fn learn() -> impl Strategy<Value = Action> {
    let any_range = || range_of(writable(), 64);
    let spec = prop_oneof![
        any_range().prop_map(|r| LearnSpec {
            src: LearnSource::Field(r),
            dst: LearnTarget::Match(r)
        }),
        any_range().prop_map(|r| LearnSpec {
            src: LearnSource::Field(r),
            dst: LearnTarget::Load(r)
        }),
        any_range().prop_map(|r| LearnSpec {
            src: LearnSource::Field(r),
            dst: LearnTarget::Output
        }),
        (any_range(), any::<u128>()).prop_map(|(r, value)| LearnSpec {
            src: LearnSource::Value {
                value: value & r.ones(),
                bits: u16::from(r.bits)
            },
            dst: LearnTarget::Load(r),
        }),
    ];
    (
        any::<[u16; 5]>(),
        any::<u64>(),
        table(),
        prop_oneof![Just(0), any::<u32>()],
        prop::option::of(range_of(select(vec![Field::Reg1, Field::Xxreg2]), 1)),
        prop::collection::vec(spec, 0..4),
        0u16..4,
    )
        .prop_map(|(n, cookie, table, limit, result, specs, flags)| {
            Action::Learn(Box::new(Learn {
                idle_timeout: n[0],
                hard_timeout: n[1],
                fin_idle_timeout: n[2],
                fin_hard_timeout: n[3],
                priority: n[4],
                cookie,
                flags,
                table,
                limit,
                result,
                specs,
            }))
        })
}

fn controller() -> impl Strategy<Value = Action> {
    (
        any::<u16>(),
        0u8..6,
        any::<u16>(),
        prop::collection::vec(any::<u8>(), 0..9),
        any::<bool>(),
        prop::option::of(1u32..99),
    )
        .prop_map(|(max_len, reason, controller_id, userdata, pause, meter)| {
            Action::Controller(Controller {
                max_len,
                reason,
                controller_id,
                userdata,
                pause,
                meter_id: meter.map(MeterId),
            })
        })
}

/// Only what Open vSwitch 3.1 knows too: numbers, not fields.
fn sample() -> impl Strategy<Value = Action> {
    let direction = select(vec![
        None,
        Some(SampleDirection::Ingress),
        Some(SampleDirection::Egress),
    ]);
    (
        1u16..,
        any::<[u32; 3]>(),
        prop::option::of(port()),
        direction,
    )
        .prop_map(|(probability, n, port, direction)| {
            Action::Sample(Sample {
                probability,
                collector_set: n[0],
                obs_domain: SampleId::Number(n[1]),
                obs_point: SampleId::Number(n[2]),
                port,
                direction,
            })
        })
}

/// Choices among links, and cut outputs.
fn link() -> impl Strategy<Value = Action> {
    let fields = || select(HashFields::ALL.map(|(fields, _)| fields).to_vec());
    let multipath = (
        fields(),
        any::<u16>(),
        select(MultipathAlgorithm::ALL.map(|(a, _)| a).to_vec()),
        any::<u16>(),
        any::<u32>(),
        range_of(select(vec![Field::Reg1, Field::Xreg2, Field::EthDst]), 64),
    )
        .prop_map(|(fields, basis, algorithm, max_link, arg, dst)| {
            let most = u16::MAX >> 16u8.saturating_sub(dst.bits);
            Action::Multipath(Multipath {
                fields,
                basis,
                algorithm,
                max_link: max_link & most,
                arg,
                dst,
            })
        });
    let member = || {
        prop_oneof![
            8 => (1u32..0xff00).prop_map(PortNo),
            1 => select(vec![PortNo::IN_PORT, PortNo::LOCAL, PortNo::ANY])
        ]
    };
    let bundle = (
        fields(),
        any::<u16>(),
        select(BundleAlgorithm::ALL.map(|(a, _)| a).to_vec()),
        prop::option::of((0u8..17).prop_map(|low| SubField::range(Field::Reg4, low, low + 15))),
        prop::collection::vec(member(), 0..9),
    )
        .prop_map(|(fields, basis, algorithm, dst, members)| {
            Action::Bundle(Box::new(Bundle {
                fields,
                basis,
                algorithm,
                dst,
                members,
            }))
        });
    let cut = (1u32..0xff00, 14u32..).prop_map(|(port, max_len)| Action::OutputTrunc {
        port: PortNo(port),
        max_len,
    });
    prop_oneof![multipath, bundle, cut]
}

/// Headers put on and taken off.
fn headers() -> impl Strategy<Value = Action> {
    let property = prop_oneof![
        (1u8..3).prop_map(EncapProperty::NshMdType),
        (
            any::<u16>(),
            any::<u8>(),
            prop::collection::vec(any::<u8>(), 1..40)
        )
            .prop_map(|(class, kind, mut data)| {
                // Text is a number: what it begins with must not be zero.
                data[0] |= 1;
                EncapProperty::NshTlv { class, kind, data }
            }),
    ];
    let nsh = prop::collection::vec(property, 0..3).prop_map(|p| (packet_type::NSH, p));
    let other = select(vec![
        packet_type::ETHERNET,
        packet_type::MPLS,
        packet_type::MPLS_MULTICAST,
    ]);
    let encap = prop_oneof![nsh, other.prop_map(|kind| (kind, vec![]))].prop_map(
        |(packet_type, properties)| {
            Action::Encap(Box::new(Encap {
                packet_type,
                hdr_size: 0,
                properties,
            }))
        },
    );
    let decap = prop::option::of((0u32..2, 0u32..0xffff)).prop_map(|kind| Action::Decap {
        packet_type: kind
            .map(|(ns, kind)| ns << 16 | kind)
            .filter(|kind| *kind != packet_type::NEXT),
    });
    prop_oneof![encap, decap, Just(Action::DecNshTtl)]
}

/// Any action that may stand in a packet-out.
pub fn action() -> impl Strategy<Value = Action> {
    let leaf = prop_oneof![
        4 => (port(), any::<u16>()).prop_map(|(port, max_len)| Action::Output { port, max_len }),
        4 => set_field(writable()),
        1 => headers(),
        4 => load(range_of(writable(), 64)),
        2 => (range_of(writable(), 64), range_of(writable(), 64)).prop_map(|(src, dst)| {
            let bits = src.bits.min(dst.bits);
            Action::Move { src: SubField { bits, ..src }, dst: SubField { bits, ..dst } }
        }),
        2 => ct(),
        1 => learn(),
        1 => controller(),
        1 => sample(),
        1 => (range_of(field(), 64), any::<u16>()).prop_map(|(src, max_len)| Action::OutputReg { src, max_len }),
        1 => range_of(field(), 64).prop_map(Action::StackPush),
        1 => range_of(writable(), 64).prop_map(Action::StackPop),
        1 => range_of(writable(), 1).prop_map(|dst| Action::CheckPktLarger { len: 1500, dst }),
        1 => (0u32..=GroupId::MAX.0).prop_map(|group| Action::Group(GroupId(group))),
        1 => any::<u32>().prop_map(Action::SetQueue),
        2 => link(),
        1 => any::<u8>().prop_map(Action::SetNwTtl),
        1 => any::<u8>().prop_map(Action::SetMplsTtl),
        1 => prop::collection::vec(any::<u16>(), 1..5).prop_map(Action::DecNwTtlIds),
        // With the original tuple only where the match says that there is one, not in these lists.
        1 => (prop::option::of(port()), prop::option::of(table()), Just(false))
            .prop_filter("something to look up", |(port, table, _)| {
                *port != Some(PortNo::IN_PORT) && (port.is_some() || table.is_some())
            })
            .prop_map(|(port, table, ct)| Action::Resubmit { port, table, ct }),
        1 => (any::<u32>(), 0u8..9, 9u8..65).prop_map(|(id, clause, n_clauses)| {
            Action::Conjunction(Conjunction { id, clause, n_clauses })
        }),
        1 => (1u16.., any::<u16>()).prop_map(|(idle, hard)| Action::FinTimeout { idle, hard }),
        1 => select(vec![6usize, 14, 22]).prop_flat_map(|n| {
            prop::collection::vec(any::<u8>(), n).prop_map(Action::Note)
        }),
        4 => select(vec![
            Action::PushVlan { tpid: 0x8100 },
            Action::PushVlan { tpid: 0x88a8 },
            Action::PopVlan,
            Action::PushMpls { ethertype: 0x8847 },
            Action::PushMpls { ethertype: 0x8848 },
            Action::PopMpls { ethertype: 0x800 },
            Action::PushPbb { ethertype: 0x88e7 },
            Action::PopPbb,
            Action::DecNwTtl,
            Action::DecMplsTtl,
            Action::CopyTtlIn,
            Action::CopyTtlOut,
            Action::CtClear,
            Action::PopQueue,
            Action::Reject,
            Action::Exit,
        ]),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop::collection::vec(inner, 1..4).prop_map(Action::Clone)
    })
}

/// What is lost, or said otherwise, in text: how much of a packet goes where nothing is cut.
pub fn as_text_says_it(actions: &[Action]) -> Vec<Action> {
    actions
        .iter()
        .map(|action| match action {
            Action::Output { port, .. } if *port != PortNo::CONTROLLER => Action::Output {
                port: *port,
                max_len: 0,
            },
            Action::OutputReg { src, .. } => Action::OutputReg {
                src: *src,
                max_len: 0xffff,
            },
            Action::Controller(c)
                if c.reason == 1
                    && c.controller_id == 0
                    && c.userdata.is_empty()
                    && !c.pause
                    && c.meter_id.is_none() =>
            {
                Action::Output {
                    port: PortNo::CONTROLLER,
                    max_len: c.max_len,
                }
            }
            Action::Clone(inner) => Action::Clone(as_text_says_it(inner)),
            other => other.clone(),
        })
        .collect()
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{0,12}"
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..40)
}

fn instructions() -> impl Strategy<Value = Instructions> {
    // Only actions that need no header: the match is another one's.
    let output =
        || (port(), any::<u16>()).prop_map(|(port, max_len)| Action::Output { port, max_len });
    (
        prop::option::of(1u32..9),
        prop::option::of(prop::collection::vec(output(), 0..4)),
        any::<bool>(),
        prop::option::of(prop::collection::vec(output(), 0..3)),
        prop::option::of(any::<(u64, u64)>()),
        prop::option::of(1u8..255),
    )
        .prop_map(
            |(meter, apply, clear, write, metadata, goto)| Instructions {
                meter: meter.map(MeterId),
                has_apply: apply.is_some(),
                apply: apply.unwrap_or_default(),
                clear,
                write,
                metadata: metadata.map(|(value, mask)| (value & mask, mask)),
                goto_table: goto.map(TableId),
            },
        )
}

pub fn flow_mod() -> impl Strategy<Value = FlowMod> {
    let command = select(vec![
        FlowCommand::Add,
        FlowCommand::Modify,
        FlowCommand::ModifyStrict,
        FlowCommand::Delete,
        FlowCommand::DeleteStrict,
    ]);
    (
        command,
        any::<[u64; 2]>(),
        any::<[u16; 3]>(),
        any::<[u32; 3]>(),
        0u16..32,
        matching(),
        instructions(),
    )
        .prop_map(
            |(command, cookies, n, ids, flags, matching, instructions)| FlowMod {
                command,
                table: TableId(0),
                cookie: cookies[0],
                cookie_mask: cookies[1],
                idle_timeout: n[0],
                hard_timeout: n[1],
                priority: n[2],
                buffer_id: ids[0],
                out_port: port_from(ids[1]),
                out_group: GroupId(ids[2]),
                flags,
                importance: 0,
                matching,
                instructions,
            },
        )
}

fn bucket() -> impl Strategy<Value = Bucket> {
    (
        any::<u16>(),
        any::<[u32; 2]>(),
        prop::collection::vec(action(), 0..3),
    )
        .prop_map(|(weight, ids, actions)| Bucket {
            id: 0,
            weight,
            watch_port: PortNo(ids[0] % 0xfe00),
            watch_group: GroupId(ids[1] % 0xffff),
            actions,
            properties: Vec::new(),
        })
}

fn buckets() -> impl Strategy<Value = Vec<Bucket>> {
    prop::collection::vec(bucket(), 0..4).prop_map(|mut buckets| {
        for (at, bucket) in buckets.iter_mut().enumerate() {
            bucket.id = at as u32;
        }
        buckets
    })
}

fn group_mod() -> impl Strategy<Value = GroupMod> {
    let command = select(vec![
        GroupCommand::Add,
        GroupCommand::Modify,
        GroupCommand::Delete,
    ]);
    let kind = select(vec![
        GroupType::All,
        GroupType::Select,
        GroupType::FastFailover,
    ]);
    (command, kind, 0..=GroupId::MAX.0, buckets()).prop_map(|(command, kind, group, buckets)| {
        GroupMod {
            command,
            kind,
            group: GroupId(group),
            command_bucket_id: BUCKET_ALL,
            // A deletion must not have any (OpenFlow 1.3.5, 6.7).
            buckets: match command {
                GroupCommand::Delete => Vec::new(),
                _ => buckets,
            },
            selection: None,
            properties: Vec::new(),
        }
    })
}

fn bands() -> impl Strategy<Value = Vec<Band>> {
    let kind = prop_oneof![
        Just(BandKind::Drop),
        any::<u8>().prop_map(|prec_level| BandKind::DscpRemark { prec_level })
    ];
    let band = (kind, any::<u32>(), any::<u32>()).prop_map(|(kind, rate, burst)| Band {
        kind,
        rate,
        burst,
    });
    prop::collection::vec(band, 0..4)
}

fn port_desc() -> impl Strategy<Value = PortDesc> {
    (any::<[u32; 9]>(), any::<[u8; 6]>(), name()).prop_map(|(n, mac, name)| PortDesc {
        port: port_from(n[0]),
        hw_addr: MacAddr(mac),
        name,
        config: n[1],
        state: n[2],
        curr: n[3],
        advertised: n[4],
        supported: n[5],
        peer: n[6],
        curr_speed: n[7],
        max_speed: n[8],
        properties: Vec::new(),
    })
}

fn packet_in2() -> impl Strategy<Value = PacketIn2> {
    (
        bytes(),
        any::<[Option<u32>; 2]>(),
        prop::option::of(table()),
        any::<Option<u64>>(),
        prop::option::of(0u8..6),
        matching(),
        bytes(),
        prop::option::of(continuation()),
    )
        .prop_map(
            |(data, n, table, cookie, reason, matching, userdata, continuation)| PacketIn2 {
                data,
                full_len: n[0],
                buffer_id: n[1],
                table,
                cookie,
                reason: reason.and_then(PacketInReason::from_wire),
                matching,
                userdata,
                continuation,
            },
        )
}

fn flow_stats() -> impl Strategy<Value = FlowStats> {
    (
        any::<[u32; 2]>(),
        any::<[u16; 3]>(),
        0u16..32,
        any::<[u64; 3]>(),
        matching(),
        instructions(),
    )
        .prop_map(
            |(time, n, flags, counts, matching, instructions)| FlowStats {
                table: TableId(0),
                duration_sec: time[0],
                duration_nsec: time[1],
                priority: n[0],
                idle_timeout: n[1],
                hard_timeout: n[2],
                flags,
                importance: 0,
                cookie: counts[0],
                packet_count: counts[1],
                byte_count: counts[2],
                matching,
                instructions,
                more: openflow::msg::MoreStats::default(),
            },
        )
}

fn table_features() -> impl Strategy<Value = TableFeatures> {
    let oxm = prop_oneof![
        (field(), any::<bool>()).prop_map(|(field, masked)| FeatureOxm::Field { field, masked }),
        Just(FeatureOxm::Unknown {
            header: 0x0001_ff04,
            experimenter: None
        }),
        Just(FeatureOxm::Unknown {
            header: 0xffff_0208,
            experimenter: Some(9)
        }),
    ];
    let oxms = prop::option::of(prop::collection::vec(oxm, 0..20));
    let kinds = prop::option::of(prop::collection::vec(0u16..30, 0..9));
    let tables = prop::option::of(prop::collection::vec(table(), 0..300));
    (
        table(),
        name(),
        any::<[u64; 2]>(),
        any::<[u32; 2]>(),
        kinds,
        tables,
        oxms,
    )
        .prop_map(
            |(table, name, metadata, n, kinds, tables, oxms)| TableFeatures {
                table,
                name,
                metadata_match: metadata[0],
                metadata_write: metadata[1],
                config: n[0],
                max_entries: n[1],
                instructions: kinds.as_ref().map(|kinds| {
                    let standard = kinds.iter().copied().map(FeatureInstruction::Standard);
                    standard
                        .chain([FeatureInstruction::Experimenter(5)])
                        .collect()
                }),
                next_tables: tables.clone(),
                next_tables_miss: tables,
                apply_actions: kinds.map(|kinds| {
                    let standard = kinds.into_iter().map(FeatureAction::Standard);
                    standard.chain([FeatureAction::Experimenter(6)]).collect()
                }),
                matching: oxms.clone(),
                wildcards: oxms.clone(),
                write_setfield: oxms.clone(),
                apply_setfield_miss: oxms,
                ..TableFeatures::default()
            },
        )
}

fn request() -> impl Strategy<Value = RequestBody> {
    let flows = || {
        (
            any::<[u32; 2]>(),
            any::<[u64; 2]>(),
            matching(),
            any::<u8>(),
        )
            .prop_map(|(ids, cookies, matching, table)| FlowStatsRequest {
                table: TableId(table),
                out_port: port_from(ids[0]),
                out_group: GroupId(ids[1]),
                cookie: cookies[0],
                cookie_mask: cookies[1],
                matching,
            })
    };
    prop_oneof![
        select(vec![
            RequestBody::Desc,
            RequestBody::Table,
            RequestBody::GroupDesc(GroupId::ALL),
            RequestBody::GroupFeatures,
            RequestBody::MeterFeatures,
            RequestBody::PortDesc(PortNo::ANY),
        ]),
        flows().prop_map(RequestBody::Flow),
        flows().prop_map(RequestBody::Aggregate),
        any::<u32>().prop_map(|n| RequestBody::PortStats(port_from(n))),
        any::<(u32, u32)>().prop_map(|(port, queue)| RequestBody::Queue {
            port: port_from(port),
            queue
        }),
        any::<u32>().prop_map(|n| RequestBody::Group(GroupId(n))),
        any::<u32>().prop_map(|n| RequestBody::Meter(MeterId(n))),
        any::<u32>().prop_map(|n| RequestBody::MeterConfig(MeterId(n))),
        prop::collection::vec(table_features(), 0..3).prop_map(RequestBody::TableFeatures),
        (any::<[u32; 2]>(), bytes()).prop_map(|(n, data)| RequestBody::Experimenter(
            ExperimenterMultipart {
                experimenter: n[0],
                exp_type: n[1],
                data,
            }
        )),
    ]
}

fn reply() -> impl Strategy<Value = ReplyBody> {
    let n32 = || any::<[u32; 6]>();
    let n64 = || any::<[u64; 12]>();
    prop_oneof![
        prop::collection::vec(name(), 5).prop_map(|n| ReplyBody::Desc(SwitchDesc {
            mfr_desc: n[0].clone(),
            hw_desc: n[1].clone(),
            sw_desc: n[2].clone(),
            serial_num: n[3].clone(),
            dp_desc: n[4].clone(),
        })),
        prop::collection::vec(flow_stats(), 0..4).prop_map(ReplyBody::Flow),
        (n64(), any::<u32>()).prop_map(|(n, flow_count)| ReplyBody::Aggregate(AggregateStats {
            packet_count: n[0],
            byte_count: n[1],
            flow_count,
        })),
        (n32(), n64(), any::<u8>()).prop_map(|(n, m, table)| ReplyBody::Table(vec![TableStats {
            table: TableId(table),
            active_count: n[0],
            lookup_count: m[0],
            matched_count: m[1],
        }])),
        (n32(), n64()).prop_map(|(n, m)| ReplyBody::PortStats(vec![PortStats {
            port: port_from(n[0]),
            rx_packets: m[0],
            tx_packets: m[1],
            rx_bytes: m[2],
            tx_bytes: m[3],
            rx_dropped: m[4],
            tx_dropped: m[5],
            rx_errors: m[6],
            tx_errors: m[7],
            rx_frame_err: m[8],
            rx_over_err: m[9],
            rx_crc_err: m[10],
            collisions: m[11],
            duration_sec: n[1],
            duration_nsec: n[2],
            properties: Vec::new(),
        }])),
        (n32(), n64()).prop_map(|(n, m)| ReplyBody::Queue(vec![QueueStats {
            port: port_from(n[0]),
            queue: n[1],
            tx_bytes: m[0],
            tx_packets: m[1],
            tx_errors: m[2],
            duration_sec: n[2],
            duration_nsec: n[3],
            properties: Vec::new(),
        }])),
        (n32(), n64()).prop_map(|(n, m)| ReplyBody::Group(vec![GroupStats {
            group: GroupId(n[0]),
            ref_count: n[1],
            packet_count: m[0],
            byte_count: m[1],
            duration_sec: n[2],
            duration_nsec: n[3],
            buckets: vec![BucketStats {
                packet_count: m[2],
                byte_count: m[3]
            }],
        }])),
        buckets().prop_map(|buckets| ReplyBody::GroupDesc(vec![GroupDesc {
            group: GroupId(7),
            kind: GroupType::Select,
            buckets,
            selection: None,
            properties: Vec::new(),
        }])),
        n32().prop_map(|n| ReplyBody::GroupFeatures(GroupFeatures {
            types: n[0],
            capabilities: n[1],
            max_groups: [n[2]; 4],
            actions: [n[3]; 4],
        })),
        (n32(), n64()).prop_map(|(n, m)| ReplyBody::Meter(vec![MeterStats {
            meter: MeterId(n[0]),
            flow_count: n[1],
            packet_in_count: m[0],
            byte_in_count: m[1],
            duration_sec: n[2],
            duration_nsec: n[3],
            bands: vec![
                BandStats {
                    packet_count: m[2],
                    byte_count: m[3]
                };
                2
            ],
        }])),
        (any::<u16>(), bands()).prop_map(|(flags, bands)| ReplyBody::MeterConfig(vec![
            MeterConfig {
                flags,
                meter: MeterId(4),
                bands,
            }
        ])),
        n32().prop_map(|n| ReplyBody::MeterFeatures(MeterFeatures {
            max_meter: n[0],
            band_types: n[1],
            capabilities: n[2],
            max_bands: n[3] as u8,
            max_color: n[4] as u8,
            features: 0,
        })),
        prop::collection::vec(table_features(), 0..3).prop_map(ReplyBody::TableFeatures),
        prop::collection::vec(port_desc(), 0..4).prop_map(ReplyBody::PortDesc),
        (any::<[u32; 2]>(), bytes()).prop_map(|(n, data)| ReplyBody::Experimenter(
            ExperimenterMultipart {
                experimenter: n[0],
                exp_type: n[1],
                data,
            }
        )),
    ]
}

fn config() -> impl Strategy<Value = SwitchConfig> {
    any::<[u16; 2]>().prop_map(|n| SwitchConfig {
        flags: n[0] % 3,
        miss_send_len: n[1],
    })
}

fn role() -> impl Strategy<Value = RoleRequest> {
    let role = select(vec![Role::NoChange, Role::Equal, Role::Master, Role::Slave]);
    (role, any::<u64>()).prop_map(|(role, generation_id)| RoleRequest {
        role,
        generation_id,
        short_id: 0,
    })
}

fn asynchronous() -> impl Strategy<Value = AsyncSettings> {
    any::<[u32; 6]>().prop_map(|masks| AsyncSettings {
        entries: masks
            .into_iter()
            .enumerate()
            .map(|(at, mask)| AsyncEntry {
                kind: AsyncKind::ALL[at / 2],
                slave: at % 2 == 0,
                mask,
            })
            .collect(),
        properties: Vec::new(),
    })
}

fn continuation() -> impl Strategy<Value = Continuation> {
    let list = || prop::collection::vec(action(), 1..3);
    let frame = (table(), any::<u64>(), list()).prop_map(|(table, cookie, actions)| Frame {
        table,
        cookie,
        actions,
    });
    (
        any::<(u128, u32, u32)>(),
        prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..3),
        any::<bool>(),
        prop::collection::vec(frame, 0..3),
        prop_oneof![Just(Vec::new()), list()],
    )
        .prop_map(|(n, stack, conntracked, frames, action_set)| Continuation {
            bridge: n.0,
            stack,
            mirrors: n.1,
            conntracked,
            frames,
            action_set,
            odp_port: n.2,
        })
}

fn changes() -> impl Strategy<Value = Message> {
    prop_oneof![
            4 => flow_mod().prop_map(Message::FlowMod),
            2 => group_mod().prop_map(Message::GroupMod),
            1 => (1..=MeterId::MAX.0, bands(), 0u16..2).prop_map(|(meter, bands, unit)| Message::MeterMod(MeterMod {
                command: MeterCommand::Add,
                flags: METER_KBPS << unit,
                meter: MeterId(meter),
                bands,
            })),
            1 => (any::<[u32; 4]>(), any::<[u8; 6]>()).prop_map(|(n, mac)| Message::PortMod(PortMod {
                port: port_from(n[0]),
                hw_addr: MacAddr(mac),
                config: n[1],
                mask: n[2],
                advertise: n[3],
    properties: Vec::new(),
    })),
            1 => (any::<u8>(), any::<u32>()).prop_map(|(table, config)| Message::TableMod(TableMod {
                table: TableId(table),
                config,
    eviction: None, properties: Vec::new(), vacancy: None,
    })),
            2 => (any::<u32>(), port(), prop::collection::vec(action(), 0..4), bytes())
                .prop_map(|(buffer_id, port, actions, data)| Message::PacketOut(PacketOut {
                    buffer_id,
                    in_port: if port.is_ordinary() { port } else { PortNo::CONTROLLER },
                    actions,
                    data,
                    matching: Match::any(),
                })),
        ]
}

/// Any message of 1.3 with the extensions.
pub fn message() -> impl Strategy<Value = Message> {
    let simple = select(vec![
        Message::Hello(Hello { versions: None }),
        Message::Hello(Hello {
            versions: Some(0x52),
        }),
        Message::FeaturesRequest,
        Message::GetConfigRequest,
        Message::BarrierRequest,
        Message::BarrierReply,
        Message::GetAsyncRequest,
        Message::SetPacketInFormat(PacketInFormat::Nxt2),
    ]);
    let errors = select(openflow::error::ALL.to_vec());
    prop_oneof![
            2 => simple,
            1 => (errors, bytes()).prop_map(|((error, _, _), data)| Message::Error(ErrorMsg { error, data })),
            1 => (any::<u32>(), any::<u16>(), bytes()).prop_map(|(id, kind, data)| Message::Error(ErrorMsg {
                error: OfError::of_experimenter(id, kind),
                data,
            })),
            1 => bytes().prop_map(Message::EchoRequest),
            1 => bytes().prop_map(Message::EchoReply),
            1 => bytes().prop_map(|data| Message::Experimenter { experimenter: 0x99, exp_type: 3, data }),
            1 => (any::<u64>(), any::<[u32; 2]>(), any::<[u8; 2]>()).prop_map(|(datapath_id, n, m)| {
                Message::FeaturesReply(SwitchFeatures {
                    datapath_id,
                    n_buffers: n[0],
                    n_tables: m[0],
                    auxiliary_id: m[1],
                    capabilities: n[1],
                })
            }),
            1 => config().prop_map(Message::GetConfigReply),
            1 => config().prop_map(Message::SetConfig),
            2 => (any::<u32>(), any::<u16>(), 0u8..3, any::<u8>(), any::<u64>(), matching(), bytes())
                .prop_map(|(buffer_id, total_len, reason, table, cookie, matching, data)| {
                    Message::PacketIn(PacketIn {
                        buffer_id,
                        total_len,
                        reason: PacketInReason::from_wire(reason).unwrap(),
                        table: TableId(table),
                        cookie,
                        matching,
                        data,
                    })
                }),
            1 => (any::<[u64; 3]>(), any::<[u16; 3]>(), any::<[u32; 2]>(), 0u8..6, matching())
                .prop_map(|(counts, n, time, reason, matching)| Message::FlowRemoved(FlowRemoved {
                    cookie: counts[0],
                    priority: n[0],
                    reason: RemovedReason::from_wire(reason).unwrap(),
                    table: TableId(3),
                    duration_sec: time[0],
                    duration_nsec: time[1],
                    idle_timeout: n[1],
                    hard_timeout: n[2],
                    packet_count: counts[1],
                    byte_count: counts[2],
                    matching,
    more: openflow::msg::MoreStats::default(),
    })),
            1 => (select(vec![PortReason::Add, PortReason::Delete, PortReason::Modify]), port_desc())
                .prop_map(|(reason, desc)| Message::PortStatus(PortStatus { reason, desc })),
            6 => changes(),
            4 => (any::<bool>(), request()).prop_map(|(more, body)| {
                Message::MultipartRequest(MultipartRequest { more, body })
            }),
            6 => (any::<bool>(), reply()).prop_map(|(more, body)| Message::MultipartReply(MultipartReply { more, body })),
            1 => any::<u32>().prop_map(|n| Message::QueueGetConfigRequest(port_from(n))),
            1 => (any::<[Option<u16>; 2]>(), any::<u32>()).prop_map(|(rates, queue)| Message::QueueGetConfigReply {
                port: PortNo(1),
                queues: vec![PacketQueue { queue, port: PortNo(1), min_rate: rates[0], max_rate: rates[1],
    properties: Vec::new(),
    }],
            }),
            1 => role().prop_map(Message::RoleRequest),
            1 => role().prop_map(Message::RoleReply),
            1 => asynchronous().prop_map(Message::GetAsyncReply),
            1 => asynchronous().prop_map(Message::SetAsync),
            1 => (any::<u32>(), 0u16..8, 0u16..4).prop_map(|(bundle, kind, flags)| Message::BundleControl(BundleControl {
                bundle,
                kind: BundleControlType::from_wire(kind).unwrap(),
                flags,
    properties: Vec::new(),
    })),
            3 => (any::<u32>(), 0u16..4, changes()).prop_map(|(bundle, flags, message)| Message::BundleAdd(BundleAdd {
                bundle,
                flags,
                xid: 7,
                message: Box::new(message),
    properties: Vec::new(),
    })),
            1 => any::<u16>().prop_map(Message::SetControllerId),
            1 => packet_in2().prop_map(Message::PacketIn2),
            1 => packet_in2().prop_map(Message::Resume),
            1 => any::<u16>().prop_map(Message::CtFlushZone),
            1 => prop::collection::vec((any::<u64>(), name()), 0..5)
                .prop_map(|entries| Message::CookieLabels(CookieLabels { entries })),
            1 => prop::collection::vec(zone_limit(), 0..5).prop_map(Message::ZoneLimits),
            1 => Just(Message::ZoneLimitsRequest),
            1 => prop::collection::vec(impairment(), 0..5).prop_map(Message::Impairments),
            1 => Just(Message::ImpairmentsRequest),
        ]
}

fn zone_limit() -> impl Strategy<Value = ZoneLimit> {
    (any::<u16>(), any::<Option<u32>>(), any::<u64>()).prop_map(|(zone, limit, owner)| ZoneLimit {
        zone,
        limit,
        owner,
    })
}

fn impairment() -> impl Strategy<Value = Impairment> {
    any::<(u32, u32, u32, u32, u32)>().prop_map(|(port, delay_us, jitter_us, loss_ppm, limit)| {
        Impairment {
            port: PortNo(port),
            delay_us,
            jitter_us,
            loss_ppm,
            limit,
        }
    })
}
