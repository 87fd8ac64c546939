//! What 1.4 and 1.5 and the extensions add, as `ovs-ofctl ofp-print` understands it: the values that
//! were put in come out in its words.

mod arbitrary;
mod common;

use net::{GroupId, MacAddr, MeterId, PortNo, TableId};
use openflow::model::*;
use openflow::msg::*;
use openflow::text::{self, Names};
use openflow::{Action, Field, Instructions, Match, Message, Version, wire};

fn reply(body: ReplyBody) -> Message {
    Message::MultipartReply(MultipartReply { more: false, body })
}

fn ask(body: RequestBody) -> Message {
    Message::MultipartRequest(MultipartRequest { more: false, body })
}

fn ip() -> Match {
    Match::any()
        .with(Field::EthType, 0x800u16)
        .with(Field::Ipv4Dst, 0x0a00_0001u32)
}

fn output(port: u32) -> Action {
    Action::Output {
        port: PortNo(port),
        max_len: 0,
    }
}

fn table_desc() -> TableDesc {
    TableDesc {
        table: TableId(9),
        config: TABLE_EVICTION | TABLE_VACANCY_EVENTS,
        eviction: Some(EVICT_IMPORTANCE | EVICT_LIFETIME),
        vacancy: Some(Vacancy {
            down: 20,
            up: 80,
            current: 55,
        }),
        properties: Vec::new(),
    }
}

fn port_desc() -> PortDesc {
    PortDesc {
        port: PortNo(5),
        hw_addr: MacAddr([2, 0, 0, 0, 0, 5]),
        name: "eth5".into(),
        config: PORT_NO_FWD,
        state: PORT_STATE_LIVE,
        curr: 0x2840,
        advertised: 0x2000,
        supported: 0x0800,
        peer: 0x0040,
        curr_speed: 10_000_000,
        max_speed: 25_000_000,
        properties: Vec::new(),
    }
}

fn flow_stats() -> FlowStats {
    FlowStats {
        table: TableId(3),
        duration_sec: 12,
        duration_nsec: 345_000_000,
        priority: 77,
        idle_timeout: 60,
        hard_timeout: 600,
        flags: FLOW_SEND_REMOVED,
        importance: 8,
        cookie: 0xabc,
        packet_count: 10,
        byte_count: 640,
        matching: ip(),
        instructions: Instructions {
            meter: Some(MeterId(4)),
            ..Instructions::apply(vec![output(2)])
        },
        more: MoreStats {
            idle: Some((3, 0)),
            flow_count: None,
        },
    }
}

fn bucket(id: u32, weight: u16) -> Bucket {
    Bucket {
        id,
        weight,
        watch_port: PortNo::ANY,
        watch_group: GroupId::ANY,
        actions: vec![output(id)],
        properties: Vec::new(),
    }
}

fn selection() -> Selection {
    let fields = Match::any().with(Field::Ipv4Src, u32::MAX).with_masked(
        Field::Ipv4Dst,
        0xffff_ff00u32,
        0xffff_ff00u32,
    );
    Selection {
        method: "hash".into(),
        param: 7,
        fields,
    }
}

fn group(command: GroupCommand, command_bucket_id: u32) -> Message {
    let remove = command == GroupCommand::RemoveBucket;
    let make = command == GroupCommand::Add;
    Message::GroupMod(GroupMod {
        command,
        kind: GroupType::Select,
        group: GroupId(6),
        command_bucket_id,
        buckets: if remove {
            Vec::new()
        } else {
            vec![bucket(11, 5), bucket(12, 1)]
        },
        selection: make.then(selection),
        properties: Vec::new(),
    })
}

fn monitored(event: FlowEvent) -> FlowUpdate {
    FlowUpdate::Full(FlowUpdateFull {
        event,
        reason: (event == FlowEvent::Removed).then_some(RemovedReason::Eviction),
        table: TableId(2),
        idle_timeout: 3,
        hard_timeout: 4,
        priority: 99,
        cookie: 0x77,
        matching: ip(),
        instructions: Instructions::apply(vec![output(9)]),
    })
}

fn monitor(out_group: GroupId) -> FlowMonitorRequest {
    FlowMonitorRequest {
        id: 17,
        command: MonitorCommand::Add,
        flags: MONITOR_INITIAL | MONITOR_ADD | MONITOR_REMOVED,
        out_port: PortNo(4),
        out_group,
        table: TableId(2),
        matching: ip(),
    }
}

fn continuation() -> Continuation {
    Continuation {
        bridge: 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff,
        stack: vec![vec![1, 2, 3, 4], vec![9]],
        mirrors: 5,
        conntracked: true,
        frames: vec![
            Frame {
                table: TableId(3),
                cookie: 0x33,
                actions: vec![output(31)],
            },
            Frame {
                table: TableId(0),
                cookie: 0x44,
                actions: vec![output(44), Action::DecNwTtl],
            },
        ],
        action_set: vec![output(7)],
        odp_port: 6,
    }
}

fn packet_in2() -> PacketIn2 {
    PacketIn2 {
        data: vec![0; 60],
        full_len: Some(100),
        buffer_id: None,
        table: Some(TableId(4)),
        cookie: Some(0x55),
        reason: Some(PacketInReason::Group),
        matching: Match::any()
            .with(Field::InPort, 3u32)
            .with(Field::Reg2, 8u8),
        userdata: vec![1, 2, 3],
        continuation: Some(continuation()),
    }
}

fn flow_removed() -> FlowRemoved {
    FlowRemoved {
        cookie: 0x99,
        priority: 5,
        reason: RemovedReason::Eviction,
        table: TableId(6),
        duration_sec: 3,
        duration_nsec: 500_000_000,
        idle_timeout: 10,
        hard_timeout: 0,
        packet_count: 4,
        byte_count: 256,
        matching: ip(),
        more: MoreStats::default(),
    }
}

fn port_stats() -> PortStats {
    PortStats {
        port: PortNo(5),
        rx_packets: 1,
        tx_packets: 2,
        rx_bytes: 3,
        tx_bytes: 4,
        rx_dropped: 5,
        tx_dropped: 6,
        rx_errors: 7,
        tx_errors: 8,
        rx_frame_err: 9,
        rx_over_err: 10,
        rx_crc_err: 11,
        collisions: 12,
        duration_sec: 13,
        duration_nsec: 140_000_000,
        properties: Vec::new(),
    }
}

/// Messages that say the same in every version, with what must be read in them.
fn in_every_version() -> Vec<(Message, Vec<&'static str>)> {
    let maps = vec![TlvMap {
        class: 0x102,
        kind: 0x80,
        len: 4,
        index: 3,
    }];
    let flush = CtFlush {
        proto: 6,
        original: CtTuple {
            src: Some([10, 0, 0, 1].into()),
            dst: Some([10, 0, 0, 2].into()),
            src_port: Some(1000),
            dst_port: Some(80),
            ..CtTuple::default()
        },
        zone: Some(9),
        ..CtFlush::default()
    };
    vec![
        (
            Message::RoleStatus(RoleStatus {
                role: Role::Slave,
                reason: RoleReason::MasterRequest,
                generation_id: 31,
                properties: Vec::new(),
            }),
            vec![
                "ROLE_STATUS",
                "role=secondary",
                "generation_id=31",
                "reason=primary_request",
            ],
        ),
        (
            Message::RoleReply(RoleRequest {
                role: Role::Master,
                generation_id: 5,
                short_id: 0,
            }),
            vec!["ROLE_REPLY", "role=primary", "generation_id=5"],
        ),
        (
            Message::NxtRoleReply(Role::Master),
            vec!["ROLE_REPLY", "role=primary"],
        ),
        (
            reply(ReplyBody::PortStats(vec![port_stats()])),
            vec![
                "port  5: rx pkts=1, bytes=3, drop=5, errs=7, frame=9, over=10, crc=11",
                "tx pkts=2, bytes=4, drop=6, errs=8, coll=12",
                "duration=13.140s",
            ],
        ),
        (
            reply(ReplyBody::Queue(vec![QueueStats {
                port: PortNo(5),
                queue: 2,
                tx_bytes: 300,
                tx_packets: 30,
                tx_errors: 3,
                duration_sec: 4,
                duration_nsec: 500_000_000,
                properties: Vec::new(),
            }])),
            vec!["port 5 queue 2: bytes=300, pkts=30, errors=3, duration=4.500s"],
        ),
        (
            reply(ReplyBody::PortDesc(vec![port_desc()])),
            vec![
                "5(eth5): addr:02:00:00:00:00:05",
                "NO_FWD",
                "state:      LIVE",
                "speed: 10000 Mbps now, 25000 Mbps max",
            ],
        ),
        (
            Message::PortStatus(PortStatus {
                reason: PortReason::Modify,
                desc: port_desc(),
            }),
            vec![
                "PORT_STATUS",
                "MOD",
                "5(eth5): addr:02:00:00:00:00:05",
                "current:",
            ],
        ),
        (
            Message::PortMod(PortMod {
                port: PortNo(5),
                hw_addr: MacAddr([2, 0, 0, 0, 0, 5]),
                config: PORT_DOWN,
                mask: PORT_DOWN,
                advertise: 0x2000,
                properties: Vec::new(),
            }),
            vec![
                "port: 5: addr:02:00:00:00:00:05",
                "config: PORT_DOWN",
                "advertise: AUTO_NEG",
            ],
        ),
        (
            Message::FlowRemoved(flow_removed()),
            vec![
                "ip,nw_dst=10.0.0.1",
                "table_id=6",
                "cookie:0x99",
                "duration3.500s",
                "pkts4 bytes256",
            ],
        ),
        (
            Message::NxtFlowRemoved(flow_removed()),
            vec![
                "FLOW_REMOVED",
                "table_id=6",
                "cookie:0x99",
                "idle10",
                "pkts4 bytes256",
            ],
        ),
        (
            Message::NxtPacketIn(PacketIn {
                buffer_id: NO_BUFFER,
                total_len: 60,
                reason: PacketInReason::Action,
                table: TableId(7),
                cookie: 0x66,
                matching: Match::any()
                    .with(Field::InPort, 3u32)
                    .with(Field::Reg2, 8u8),
                data: vec![0; 60],
            }),
            vec![
                "NXT_PACKET_IN",
                "table_id=7 cookie=0x66 total_len=60 reg2=0x8,in_port=3",
            ],
        ),
        (
            Message::PacketIn2(packet_in2()),
            vec![
                "table_id=4 cookie=0x55 total_len=100 reg2=0x8,in_port=3 (via group)",
                "userdata=01.02.03",
                "continuation.bridge=",
                "continuation.stack=(top) 0x1020304 0x9 (bottom)",
                "continuation.mirrors=0x5",
                "continuation.conntracked=true",
                "continuation.actions=unroll_xlate(table=3, cookie=51),output:31,unroll_xlate(table=0, cookie=68),output:44,dec_ttl",
                "continuation.action_set=output:7",
                "continuation.odp_port=6",
            ],
        ),
        (
            Message::Resume(packet_in2()),
            vec![
                "NXT_RESUME",
                "continuation.stack=(top) 0x1020304 0x9 (bottom)",
            ],
        ),
        (
            Message::TlvTableReply(TlvTable {
                max_space: 256,
                max_fields: 64,
                maps: maps.clone(),
            }),
            vec![
                "max option space=256 max fields=64",
                "allocated option space=4",
                "0x102  0x80       4  tun_metadata3",
            ],
        ),
        (
            Message::TlvTableMod(TlvTableMod {
                command: TlvCommand::Add,
                maps,
            }),
            vec!["ADD mapping table", "0x102  0x80       4  tun_metadata3"],
        ),
        (
            Message::CtFlush(flush),
            vec![
                "zone=9",
                "ct_nw_src=10.0.0.1,ct_nw_dst=10.0.0.2,ct_tp_src=1000,ct_tp_dst=80,ct_nw_proto=6",
            ],
        ),
        (Message::CtFlushZone(4), vec!["zone_id=4"]),
        (
            ask(RequestBody::FlowMonitor(vec![monitor(GroupId::ANY)])),
            vec!["id=17 flags=initial,add,delete out_port=4 table=2 ip,nw_dst=10.0.0.1"],
        ),
        (
            reply(ReplyBody::FlowMonitor(vec![
                monitored(FlowEvent::Added),
                monitored(FlowEvent::Removed),
                FlowUpdate::Abbrev(0x1234),
            ])),
            vec![
                "event=ADDED table=2 idle_timeout=3 hard_timeout=4 cookie=0x77 ip,nw_dst=10.0.0.1 actions=output:9",
                "event=DELETED reason=eviction table=2",
                "event=ABBREV xid=0x1234",
            ],
        ),
        (
            Message::RequestForward(RequestForward {
                xid: 7,
                request: Box::new(group(GroupCommand::Modify, BUCKET_ALL)),
            }),
            vec![
                "REQUESTFORWARD",
                "reason=group_mod",
                "MOD group_id=6,type=select",
            ],
        ),
        (
            Message::BundleControl(BundleControl {
                bundle: 3,
                kind: BundleControlType::CommitReply,
                flags: BUNDLE_ATOMIC | BUNDLE_ORDERED,
                properties: Vec::new(),
            }),
            vec![
                "BUNDLE_CONTROL",
                "bundle_id=0x3 type=COMMIT_REPLY flags=atomic ordered",
            ],
        ),
        (
            Message::BundleAdd(BundleAdd {
                bundle: 3,
                flags: BUNDLE_ATOMIC,
                xid: 7,
                message: Box::new(Message::FlowMod(FlowMod::add(
                    TableId(1),
                    9,
                    ip(),
                    Instructions::apply(vec![output(5)]),
                ))),
                properties: Vec::new(),
            }),
            vec![
                "bundle_id=0x3 flags=atomic",
                "ADD table:1 priority=9,ip,nw_dst=10.0.0.1 actions=output:5",
            ],
        ),
        (
            reply(ReplyBody::Aggregate(AggregateStats {
                packet_count: 70,
                byte_count: 7000,
                flow_count: 7,
            })),
            vec!["packet_count=70 byte_count=7000 flow_count=7"],
        ),
        (
            reply(ReplyBody::MeterFeatures(MeterFeatures {
                max_meter: 1000,
                band_types: 6,
                capabilities: 15,
                max_bands: 8,
                max_color: 0,
                features: 0,
            })),
            vec![
                "max_meter:1000 max_bands:8 max_color:0",
                "band_types: drop dscp_remark",
                "capabilities: kbps pktps burst stats",
            ],
        ),
    ]
}

fn since_1_4() -> Vec<(Message, Vec<&'static str>)> {
    vec![
        (
            reply(ReplyBody::Flow(vec![flow_stats()])),
            vec![
                "cookie=0xabc, duration=12.345s, table=3, n_packets=10, n_bytes=640, idle_timeout=60, hard_timeout=600",
                "send_flow_rem importance=8, ",
                " priority=77,ip,nw_dst=10.0.0.1 actions=meter:4,output:2",
            ],
        ),
        (
            reply(ReplyBody::TableDesc(vec![table_desc()])),
            vec![
                "table 9:",
                "eviction=on eviction_flags=IMPORTANCE|LIFETIME",
                "vacancy=on vacancy_down=20% vacancy_up=80% vacancy=55%",
            ],
        ),
        (
            Message::TableStatus(TableStatus {
                reason: TableReason::VacancyDown,
                desc: table_desc(),
            }),
            vec![
                "reason=VACANCY_DOWN",
                "table_desc:-",
                "vacancy_down=20% vacancy_up=80% vacancy=55%",
            ],
        ),
        (
            Message::TableMod(TableMod {
                table: TableId(4),
                config: TABLE_EVICTION | TABLE_VACANCY_EVENTS,
                vacancy: Some(Vacancy {
                    down: 10,
                    up: 90,
                    current: 0,
                }),
                ..TableMod::default()
            }),
            vec!["table_id=4", "eviction=on", "vacancy=on vacancy:10,90"],
        ),
        (
            reply(ReplyBody::QueueDesc(vec![PacketQueue {
                queue: 7,
                port: PortNo(5),
                min_rate: Some(100),
                max_rate: Some(900),
                properties: Vec::new(),
            }])),
            vec!["port=5", "queue 7: min_rate:10.0% max_rate:90.0%"],
        ),
        (
            ask(RequestBody::FlowMonitor(vec![monitor(GroupId(33))])),
            vec!["id=17", "out_port=4", "out_group=33"],
        ),
        (
            reply(ReplyBody::FlowMonitor(vec![
                monitored(FlowEvent::Initial),
                FlowUpdate::Paused,
                FlowUpdate::Resumed,
            ])),
            vec!["event=INITIAL table=2", "event=PAUSED", "event=RESUMED"],
        ),
        (
            Message::GetAsyncReply(AsyncConfig::initial(Version::V1_5).into()),
            vec![
                "PACKET_IN: no_match action action_set group packet_out",
                "FLOW_REMOVED: idle hard delete group_delete meter_delete eviction",
                "TABLE_STATUS: (off)",
            ],
        ),
        (
            Message::PacketIn(PacketIn {
                buffer_id: NO_BUFFER,
                total_len: 60,
                reason: PacketInReason::ActionSet,
                table: TableId(7),
                cookie: 0x66,
                matching: Match::any().with(Field::InPort, 3u32),
                data: vec![0; 60],
            }),
            vec!["table_id=7 cookie=0x66 total_len=60 in_port=3 (via action_set)"],
        ),
    ]
}

fn since_1_5() -> Vec<(Message, Vec<&'static str>)> {
    let desc = GroupDesc {
        group: GroupId(6),
        kind: GroupType::Select,
        buckets: vec![bucket(11, 5)],
        selection: Some(selection()),
        properties: Vec::new(),
    };
    vec![
        (
            reply(ReplyBody::Flow(vec![flow_stats()])),
            vec!["idle_age=3"],
        ),
        (
            group(GroupCommand::Add, BUCKET_ALL),
            vec![
                "ADD group_id=6,type=select,selection_method=hash,selection_method_param=7",
                "fields(ip_src,ip_dst=255.255.255.0)",
                "bucket=bucket_id:11,weight:5,actions=output:11",
                "bucket=bucket_id:12,actions=output:12",
            ],
        ),
        (
            group(GroupCommand::InsertBucket, 4),
            vec!["INSERT_BUCKET command_bucket_id:4,group_id=6"],
        ),
        (
            group(GroupCommand::RemoveBucket, BUCKET_LAST),
            vec!["REMOVE_BUCKET command_bucket_id:last,group_id=6"],
        ),
        (
            reply(ReplyBody::GroupDesc(vec![desc])),
            vec![
                "group_id=6,type=select,selection_method=hash",
                "bucket=bucket_id:11,weight:5",
            ],
        ),
        (
            Message::PacketOut(PacketOut {
                in_port: PortNo(3),
                matching: Match::any()
                    .with(Field::Reg1, 5u8)
                    .with(Field::Metadata, 9u8),
                ..PacketOut::new(vec![output(2)], vec![0; 60])
            }),
            vec![
                "reg1=0x5",
                "metadata=0x9",
                "in_port=3",
                "actions=output:2 data_len=60",
            ],
        ),
        (
            Message::FlowMod(FlowMod::add(
                TableId(0),
                1,
                ip(),
                Instructions::apply(vec![
                    Action::SetField {
                        field: Field::Reg3,
                        value: 0x10,
                        mask: 0xf0,
                    },
                    Action::Load {
                        dst: openflow::SubField::range(Field::Reg4, 8, 15),
                        value: 7,
                    },
                    Action::Move {
                        src: openflow::SubField::whole(Field::Reg0),
                        dst: openflow::SubField::whole(Field::Reg1),
                    },
                    Action::Meter(MeterId(6)),
                ]),
            )),
            vec![
                "set_field:0x10/0xf0->reg3,set_field:0x700/0xff00->reg4",
                "move:NXM_NX_REG0[]->NXM_NX_REG1[]",
            ],
        ),
    ]
}

#[test]
fn values_come_out_in_the_words_of_open_vswitch() {
    if !common::have_oracle() {
        return;
    }
    let mut wrong = Vec::new();
    for version in Version::ALL {
        let mut cases = in_every_version();
        if *version >= Version::V1_4 {
            cases.extend(since_1_4());
        }
        if *version >= Version::V1_5 {
            cases.extend(since_1_5());
        }
        for (message, expected) in cases {
            let text = common::ofp_parse(&common::encode_in(*version, &message));
            let missing = expected.iter().filter(|part| !text.contains(**part));
            let missing: Vec<_> = missing.collect();
            if !missing.is_empty() || text.contains("***decode error") {
                wrong.push(format!("{version}: no {missing:?} in\n{text}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

const GROUPS: &[&str] = &[
    "group_id=1,type=select,selection_method=hash,fields(ip_src,ip_dst=255.255.255.0),bucket=output:1",
    "group_id=2,type=select,selection_method=hash,fields=eth_src,bucket=bucket_id:7,weight:5,output:1",
    "group_id=3,type=select,selection_method=dp_hash,selection_method_param=9,bucket=bucket_id=1,output:1",
    "group_id=4,type=select,selection_method=hash,fields(tcp_dst,ipv6_dst=ffff::),bucket=output:1",
    "group_id=5,type=ff,bucket=bucket_id:3,watch_port:1,output:1,bucket=bucket_id:4,watch_group:5,group:5",
    "group_id=6,type=all,bucket=bucket_id:9,output:1,bucket=bucket_id:2,drop",
];

/// Single buckets: the verb, its text.
const CHANGES: &[(&str, GroupCommand, &str)] = &[
    (
        "insert-buckets",
        GroupCommand::InsertBucket,
        "group_id=1,command_bucket_id=last,bucket=bucket_id:3,weight:2,output:3",
    ),
    (
        "insert-buckets",
        GroupCommand::InsertBucket,
        "group_id=1,command_bucket_id=12,bucket=bucket_id=3,output:3",
    ),
    (
        "remove-buckets",
        GroupCommand::RemoveBucket,
        "group_id=1,command_bucket_id=first",
    ),
    (
        "remove-buckets",
        GroupCommand::RemoveBucket,
        "group_id=1,command_bucket_id=all",
    ),
];

#[test]
fn groups_of_1_5_mean_and_print_as_in_open_vswitch() {
    if !common::have_oracle() {
        return;
    }
    let version = Version::V1_5;
    let mut differences = common::Differences::default();
    let adds = GROUPS
        .iter()
        .map(|line| ("add-group", GroupCommand::Add, *line));
    for (verb, command, line) in adds.chain(CHANGES.iter().copied()) {
        let (sent, errors) = common::ofctl_sends_in(version, &[verb], &[line]);
        assert_eq!(sent.len(), 1, "{line}: {errors}");
        let group =
            text::parse_group(line, command, Names::NONE).unwrap_or_else(|e| panic!("{line}: {e}"));
        let theirs = wire::decode(version, &sent[0]);
        let ours = format!(
            "{:?}",
            Ok::<_, openflow::OfError>(Message::GroupMod(group.clone()))
        );
        differences.compare(line, &ours, Some(&format!("{theirs:?}")));
        if command != GroupCommand::Add {
            continue;
        }
        let desc = GroupDesc {
            group: group.group,
            kind: group.kind,
            buckets: group.buckets,
            selection: group.selection,
            properties: Vec::new(),
        };
        let printed = text::print_group_desc_in(version, &desc, Names::NONE);
        let message = reply(ReplyBody::GroupDesc(vec![desc]));
        let theirs = common::ofp_parse(&common::encode_in(version, &message));
        let heading = "OFPST_GROUP_DESC reply (OF1.5) (xid=0x7):";
        let theirs = common::entries(&theirs, heading);
        differences.compare(line, &format!(" {printed}"), theirs.first());
    }
    differences.none();
}
