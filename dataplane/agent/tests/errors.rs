//! What is refused, and with which error: every version, with the beginning of the offender.

#[allow(dead_code)] // each test file uses a part of it
mod twin;

use net::{GroupId, MacAddr, MeterId, PortNo, TableId};
use openflow::error::*;
use openflow::model::*;
use openflow::msg::*;
use openflow::wire;
use openflow::{Action, Field, Instructions, Match, Message, Version};
use twin::Twin;
use twin::controller::Controller;

const ALL: &[Version] = Version::SUPPORTED;

fn since(version: Version) -> &'static [Version] {
    let at = ALL.iter().position(|v| *v >= version).unwrap_or(ALL.len());
    &ALL[at..]
}

fn before(version: Version) -> &'static [Version] {
    let at = ALL.iter().position(|v| *v >= version).unwrap_or(ALL.len());
    &ALL[..at]
}

fn to(port: PortNo) -> Action {
    Action::Output { port, max_len: 0 }
}

fn apply(action: Action) -> Instructions {
    Instructions::apply(vec![action])
}

fn flow() -> FlowMod {
    FlowMod::add(TableId(3), 5, Match::any(), apply(to(PortNo(1))))
}

fn with(instructions: Instructions) -> Message {
    Message::FlowMod(FlowMod {
        instructions,
        ..flow()
    })
}

fn bucket(id: u32, action: Action) -> Bucket {
    Bucket {
        id,
        weight: 0,
        watch_port: PortNo::ANY,
        watch_group: GroupId::ANY,
        actions: vec![action],
        properties: Vec::new(),
    }
}

fn group(command: GroupCommand, kind: GroupType, id: u32, actions: Vec<Action>) -> GroupMod {
    let buckets = (0u32..).zip(actions);
    GroupMod {
        command,
        kind,
        group: GroupId(id),
        command_bucket_id: BUCKET_ALL,
        buckets: buckets.map(|(id, action)| bucket(id, action)).collect(),
        selection: None,
        properties: Vec::new(),
    }
}

fn meter(command: MeterCommand, id: u32) -> MeterMod {
    MeterMod {
        command,
        flags: METER_KBPS,
        meter: MeterId(id),
        bands: vec![Band {
            kind: BandKind::Drop,
            rate: 1000,
            burst: 0,
        }],
    }
}

fn port_mod() -> PortMod {
    PortMod {
        port: PortNo(1),
        hw_addr: MacAddr::ZERO,
        config: 0,
        mask: 0,
        advertise: 0,
        properties: Vec::new(),
    }
}

fn packet_out() -> PacketOut {
    PacketOut::new(vec![to(PortNo(1))], vec![0; 60])
}

fn multipart(body: RequestBody) -> Message {
    Message::MultipartRequest(MultipartRequest { more: false, body })
}

fn features(change: impl Fn(&mut TableFeatures)) -> Message {
    let mut features = TableFeatures {
        table: TableId(9),
        max_entries: 1000,
        metadata_match: u64::MAX,
        metadata_write: u64::MAX,
        ..TableFeatures::default()
    };
    change(&mut features);
    multipart(RequestBody::TableFeatures(vec![features]))
}

fn bundle(kind: BundleControlType, flags: u16) -> Message {
    Message::BundleControl(BundleControl {
        bundle: 1,
        kind,
        flags,
        properties: Vec::new(),
    })
}

fn in_bundle(message: Message) -> Message {
    Message::BundleAdd(BundleAdd {
        bundle: 9,
        flags: 0,
        xid: 0,
        message: Box::new(message),
        properties: Vec::new(),
    })
}

fn asks_flows(table: u8) -> FlowStatsRequest {
    FlowStatsRequest {
        table: TableId(table),
        ..FlowStatsRequest::default()
    }
}

type Case = (&'static str, Message, OfError, &'static [Version]);

#[rustfmt::skip] // one case a line
fn flow_mods() -> Vec<Case> {
    use Message::FlowMod as F;
    let table = |id: u8| FlowMod {
        table: TableId(id),
        ..flow()
    };
    let command = |command, id| FlowMod {
        command,
        ..table(id)
    };
    let overlapping = FlowMod {
        flags: FLOW_CHECK_OVERLAP,
        matching: Match::any().with(Field::InPort, 2u32),
        ..flow()
    };
    let goto = |table: u8| with(Instructions::drop().goto(TableId(table)));
    let metered = Instructions {
        meter: Some(MeterId(77)),
        ..Instructions::drop()
    };
    let written = |action| Instructions {
        write: Some(vec![action]),
        ..Instructions::drop()
    };
    let buffered = FlowMod {
        buffer_id: 7,
        ..flow()
    };
    let no_ip = apply(Action::DecNwTtl);
    vec![
        ("a table that is not there", F(table(254)), OFPFMFC_BAD_TABLE_ID, ALL),
        ("add to all tables", F(table(255)), OFPFMFC_BAD_TABLE_ID, ALL),
        ("delete from a table that is not there", F(command(FlowCommand::Delete, 254)), OFPFMFC_BAD_TABLE_ID, ALL),
        ("modify in a table that is not there", F(command(FlowCommand::Modify, 254)), OFPFMFC_BAD_TABLE_ID, ALL),
        ("overlap", F(overlapping), OFPFMFC_OVERLAP, ALL),
        ("a buffer nobody knows", F(buffered), OFPBRC_BUFFER_UNKNOWN, ALL),
        ("goto its own table", goto(3), OFPBIC_BAD_TABLE_ID, ALL),
        ("goto an earlier table", goto(2), OFPBIC_BAD_TABLE_ID, ALL),
        ("goto a table that is not there", goto(254), OFPBIC_BAD_TABLE_ID, ALL),
        ("output to port 0", with(apply(to(PortNo(0)))), OFPBAC_BAD_OUT_PORT, ALL),
        ("output to ANY", with(apply(to(PortNo::ANY))), OFPBAC_BAD_OUT_PORT, ALL),
        ("output to TABLE", with(apply(to(PortNo::TABLE))), OFPBAC_BAD_OUT_PORT, ALL),
        ("a group that is not there", with(apply(Action::Group(GroupId(5)))), OFPBAC_BAD_OUT_GROUP, ALL),
        ("write to a group that is not there", with(written(Action::Group(GroupId(5)))), OFPBAC_BAD_OUT_GROUP, ALL),
        ("a meter that is not there", with(metered), OFPMMFC_INVALID_METER, ALL),
        ("time to live without IP", with(no_ip), OFPBAC_MATCH_INCONSISTENT, ALL),
    ]
}

#[rustfmt::skip] // one case a line
fn group_mods() -> Vec<Case> {
    use GroupCommand::{Add, Delete, InsertBucket, Modify, RemoveBucket};
    use GroupType::{All, FastFailover, Indirect, Select};
    let one = || vec![to(PortNo(1))];
    let two = || vec![to(PortNo(1)), to(PortNo(2))];
    let send = |id| vec![Action::Group(GroupId(id))];
    let twice = GroupMod {
        buckets: vec![bucket(4, to(PortNo(1))), bucket(4, to(PortNo(2)))],
        ..group(Add, All, 30, Vec::new())
    };
    let reserved = GroupMod {
        buckets: vec![bucket(BUCKET_LAST, to(PortNo(1)))],
        ..group(Add, All, 30, Vec::new())
    };
    let at = |command, id, command_bucket_id, buckets: &[u32]| GroupMod {
        command,
        group: GroupId(id),
        command_bucket_id,
        buckets: buckets
            .iter()
            .map(|id| bucket(*id, to(PortNo(1))))
            .collect(),
        ..group(Add, All, 30, Vec::new())
    };
    let v1_5 = since(Version::V1_5);
    let cases = [
        ("a group that is there", group(Add, All, 1, one()), OFPGMFC_GROUP_EXISTS, ALL),
        ("a number for all groups", group(Add, All, u32::MAX - 3, one()), OFPGMFC_INVALID_GROUP, ALL),
        ("a reserved number", group(Add, All, 0xffff_ff01, one()), OFPGMFC_INVALID_GROUP, ALL),
        ("two buckets in an indirect group", group(Add, Indirect, 30, two()), OFPGMFC_INVALID_GROUP, ALL),
        ("no bucket in an indirect group", group(Add, Indirect, 30, Vec::new()), OFPGMFC_INVALID_GROUP, ALL),
        ("modify what is not there", group(Modify, All, 30, one()), OFPGMFC_UNKNOWN_GROUP, ALL),
        ("a group that sends to itself", group(Add, All, 30, send(30)), OFPGMFC_LOOP, ALL),
        ("a group that reaches itself", group(Modify, All, 1, send(2)), OFPGMFC_LOOP, ALL),
        ("a bucket's group that is not there", group(Add, All, 30, send(31)), OFPBAC_BAD_OUT_GROUP, ALL),
        ("a bucket's port 0", group(Add, Select, 30, vec![to(PortNo(0))]), OFPBAC_BAD_OUT_PORT, ALL),
        ("fast failover that watches nothing", group(Add, FastFailover, 30, one()), OFPGMFC_BAD_WATCH, ALL),
        ("a group that another sends to", group(Delete, All, 1, Vec::new()), OFPGMFC_CHAINED_GROUP, ALL),
        ("two buckets of one number", twice, OFPGMFC_BAD_BUCKET, v1_5),
        ("a bucket's reserved number", reserved, OFPGMFC_BAD_BUCKET, v1_5),
        ("insert into what is not there", at(InsertBucket, 30, BUCKET_LAST, &[7]), OFPGMFC_UNKNOWN_GROUP, v1_5),
        ("insert behind what is not there", at(InsertBucket, 1, 99, &[7]), OFPGMFC_UNKNOWN_BUCKET, v1_5),
        ("insert what is there", at(InsertBucket, 1, BUCKET_LAST, &[0]), OFPGMFC_BUCKET_EXISTS, v1_5),
        ("remove what is not there", at(RemoveBucket, 1, 99, &[]), OFPGMFC_UNKNOWN_BUCKET, v1_5),
    ];
    cases
        .map(|(what, request, error, versions)| (what, Message::GroupMod(request), error, versions))
        .to_vec()
}

#[rustfmt::skip] // one case a line
fn meter_mods() -> Vec<Case> {
    use MeterCommand::{Add, Modify};
    let both = MeterMod {
        flags: METER_KBPS | METER_PKTPS,
        ..meter(Add, 9)
    };
    let band = meter(Add, 9).bands[0];
    let many = MeterMod {
        bands: vec![band; 17],
        ..meter(Add, 9)
    };
    let cases = [
        ("a meter that is there", meter(Add, 1), OFPMMFC_METER_EXISTS, ALL),
        ("meter 0", meter(Add, 0), OFPMMFC_INVALID_METER, ALL),
        ("a reserved meter", meter(Add, 0xffff_0001), OFPMMFC_INVALID_METER, ALL),
        ("modify a meter that is not there", meter(Modify, 9), OFPMMFC_UNKNOWN_METER, ALL),
        ("kbps and pktps", both, OFPMMFC_BAD_FLAGS, ALL),
        ("too many bands", many, OFPMMFC_OUT_OF_BANDS, ALL),
    ];
    cases
        .map(|(what, request, error, versions)| (what, Message::MeterMod(request), error, versions))
        .to_vec()
}

#[rustfmt::skip] // one case a line
fn switch_settings(mac: MacAddr) -> Vec<Case> {
    let port = |change: fn(&mut PortMod)| {
        let mut request = PortMod {
            hw_addr: mac,
            ..port_mod()
        };
        change(&mut request);
        Message::PortMod(request)
    };
    let table = |table: u8, config: u32| {
        Message::TableMod(TableMod {
            table: TableId(table),
            config,
            ..TableMod::default()
        })
    };
    let vacancy = |down, up| {
        Message::TableMod(TableMod {
            config: TABLE_VACANCY_EVENTS,
            vacancy: Some(Vacancy {
                down,
                up,
                current: 0,
            }),
            ..TableMod::default()
        })
    };
    let evict = Message::TableMod(TableMod {
        config: TABLE_EVICTION,
        eviction: Some(8),
        ..TableMod::default()
    });
    let frags = |flags| {
        Message::SetConfig(SwitchConfig {
            flags,
            miss_send_len: 0,
        })
    };
    let role = Message::RoleRequest(RoleRequest {
        role: Role::Slave,
        generation_id: 99,
        short_id: 0,
    });
    let wants = |kind, mask| {
        Message::SetAsync(AsyncSettings {
            entries: vec![AsyncEntry {
                kind,
                slave: false,
                mask,
            }],
            properties: Vec::new(),
        })
    };
    let v1_4 = since(Version::V1_4);
    vec![
        ("no such port", port(|p| p.port = PortNo(9)), OFPPMFC_BAD_PORT, ALL),
        ("a reserved port", port(|p| p.port = PortNo::ALL), OFPPMFC_BAD_PORT, ALL),
        ("another port's address", port(|p| p.hw_addr = MacAddr::ZERO), OFPPMFC_BAD_HW_ADDR, ALL),
        ("unknown port bits", port(|p| p.mask = 1 << 20), OFPPMFC_BAD_CONFIG, ALL),
        ("speeds to advertise", port(|p| p.advertise = 1), OFPPMFC_BAD_ADVERTISE, ALL),
        ("no such table", table(254, 0), OFPTMFC_BAD_TABLE, ALL),
        ("unknown table bits", table(1, 16), OFPTMFC_BAD_CONFIG, ALL),
        ("eviction on 1.3", table(1, TABLE_EVICTION), OFPTMFC_BAD_CONFIG, before(Version::V1_4)),
        ("unknown eviction", evict, OFPBPC_BAD_VALUE, v1_4),
        ("down above up", vacancy(60, 50), OFPBPC_BAD_VALUE, v1_4),
        ("over 100 percent", vacancy(60, 101), OFPBPC_BAD_VALUE, v1_4),
        ("reassembly", frags(2), OFPSCFC_BAD_FLAGS, ALL),
        ("unknown flags", frags(8), OFPSCFC_BAD_FLAGS, ALL),
        ("an old election", role, OFPRRFC_STALE, ALL),
        ("unknown reasons", wants(AsyncKind::PortStatus, 1 << 7), OFPACFC_INVALID, v1_4),
    ]
}

#[rustfmt::skip] // one case a line
fn readings() -> Vec<Case> {
    let queue = |port, queue| RequestBody::Queue {
        port: PortNo(port),
        queue,
    };
    let monitor = |command, flags, table| {
        RequestBody::FlowMonitor(vec![FlowMonitorRequest {
            id: 5,
            command,
            flags,
            out_port: PortNo::ANY,
            out_group: GroupId::ANY,
            table: TableId(table),
            matching: Match::any(),
        }])
    };
    let v1_4 = since(Version::V1_4);
    let v1_5 = since(Version::V1_5);
    let cases = [
        ("flows of no table", RequestBody::Flow(asks_flows(254)), OFPBRC_BAD_TABLE_ID, ALL),
        ("sum of no table", RequestBody::Aggregate(asks_flows(254)), OFPBRC_BAD_TABLE_ID, ALL),
        ("counters of no table", RequestBody::FlowCounters(asks_flows(254)), OFPBRC_BAD_TABLE_ID, v1_5),
        ("no such port's", RequestBody::PortStats(PortNo(9)), OFPBRC_BAD_PORT, ALL),
        ("no such port", RequestBody::PortDesc(PortNo(9)), OFPBRC_BAD_PORT, v1_5),
        ("no such port's queues", queue(9, u32::MAX), OFPQOFC_BAD_PORT, ALL),
        ("no such queue", queue(1, 5), OFPQOFC_BAD_QUEUE, ALL),
        ("no such meter's", RequestBody::Meter(MeterId(9)), OFPMMFC_UNKNOWN_METER, ALL),
        ("no such meter", RequestBody::MeterConfig(MeterId(9)), OFPMMFC_UNKNOWN_METER, ALL),
        ("no such monitor", monitor(MonitorCommand::Modify, MONITOR_ADD, 0), OFPMOFC_UNKNOWN_MONITOR, v1_4),
        ("no such monitor to end", monitor(MonitorCommand::Delete, 0, 0), OFPMOFC_UNKNOWN_MONITOR, v1_4),
        ("unknown flags of a monitor", monitor(MonitorCommand::Add, 1 << 9 | 2, 0), OFPMOFC_BAD_FLAGS, v1_4),
        ("a monitor of no table", monitor(MonitorCommand::Add, MONITOR_ADD, 254), OFPMOFC_BAD_TABLE_ID, v1_4),
        ("another type of Nicira's", RequestBody::Experimenter(ExperimenterMultipart {
            experimenter: NICIRA,
            exp_type: 777,
            data: Vec::new(),
        }), OFPBRC_BAD_EXP_TYPE, ALL),
        ("an experimenter's", RequestBody::Experimenter(ExperimenterMultipart { experimenter: 0x1234, exp_type: 1, data: Vec::new(), }), OFPBRC_BAD_EXPERIMENTER, ALL),
    ];
    let mut cases: Vec<Case> = cases
        .map(|(what, body, error, versions)| (what, multipart(body), error, versions))
        .to_vec();
    let early = before(Version::V1_4);
    let old = Message::QueueGetConfigRequest(PortNo(9));
    cases.push(("queues of no port", old, OFPQOFC_BAD_PORT, early));
    cases
}

#[rustfmt::skip] // one case a line
fn table_features() -> Vec<Case> {
    let v1_5 = since(Version::V1_5);
    let unknown = || Some(vec![FeatureAction::Standard(99)]);
    vec![
        ("features of no table", features(|f| f.table = TableId(254)), OFPTFFC_BAD_TABLE, ALL),
        ("an action that nobody knows", features(|f| f.apply_actions = unknown()), OFPTFFC_BAD_ARGUMENT, ALL),
        ("an earlier table to go to", features(|f| f.next_tables = Some(vec![TableId(2)])), OFPTFFC_BAD_ARGUMENT, ALL),
        ("too large a table", features(|f| f.max_entries = 2_000_001), OFPTFFC_BAD_ARGUMENT, before(Version::V1_5)),
        ("too large a table", features(|f| f.max_entries = 2_000_001), OFPTFFC_BAD_MAX_ENT, v1_5),
        ("an egress table", features(|f| f.features = TABLE_EGRESS), OFPTFFC_BAD_FEATURES, v1_5),
        ("switching a table off", features(|f| f.command = FeaturesCommand::Disable), OFPTFFC_EPERM, v1_5),
    ]
}

#[rustfmt::skip] // one case a line
fn packets_and_bundles() -> Vec<Case> {
    use BundleControlType::{CloseRequest, CommitRequest, DiscardRequest, OpenRequest};
    let out = |change: fn(&mut PacketOut)| {
        let mut request = packet_out();
        change(&mut request);
        Message::PacketOut(request)
    };
    let v1_5 = since(Version::V1_5);
    vec![
        ("a buffer nobody knows", out(|p| p.buffer_id = 3), OFPBRC_BUFFER_UNKNOWN, ALL),
        ("from a port that cannot be", out(|p| p.in_port = PortNo::FLOOD), OFPBRC_BAD_PORT, ALL),
        ("no packet at all", out(|p| p.data.clear()), OFPBRC_BAD_PACKET, ALL),
        ("to port 0", out(|p| p.actions = vec![to(PortNo(0))]), OFPBAC_BAD_OUT_PORT, ALL),
        ("to no group", out(|p| p.actions = vec![Action::Group(GroupId(5))]), OFPBAC_BAD_OUT_GROUP, ALL),
        ("commit of nothing", bundle(CommitRequest, 0), OFPBFC_BAD_ID, ALL),
        ("close of nothing", bundle(CloseRequest, 0), OFPBFC_BAD_ID, ALL),
        ("discard of nothing", bundle(DiscardRequest, 0), OFPBFC_BAD_ID, ALL),
        ("unknown flags of a bundle", bundle(OpenRequest, 64), OFPBFC_BAD_FLAGS, ALL),
        ("a bundle at a given time", bundle(OpenRequest, BUNDLE_TIME), OFPBFC_SCHED_NOT_SUPPORTED, v1_5),
        ("a bundle at a time before there was one", bundle(OpenRequest, BUNDLE_TIME), OFPBFC_BAD_FLAGS, before(Version::V1_5)),
        ("a question in a bundle", in_bundle(Message::BarrierRequest), OFPBFC_MSG_UNSUP, ALL),
        ("a reply as a request", Message::BarrierReply, OFPBRC_BAD_TYPE, ALL),
        ("an experimenter nobody knows", Message::Experimenter { experimenter: 0x1234, exp_type: 1, data: Vec::new(), }, OFPBRC_BAD_EXPERIMENTER, ALL),
    ]
}

/// A controller with what the cases need: a flow, group 2 that sends to group 1, meter 1.
fn prepared(twin: &Twin, version: Version) -> (Controller, MacAddr) {
    let mut c = Controller::connect(twin, version);
    let desc = c.multipart(RequestBody::PortDesc(PortNo::ANY));
    let [ReplyBody::PortDesc(ports)] = &desc[..] else {
        panic!("{desc:?}")
    };
    let mac = ports[0].hw_addr;
    c.does(&Message::FlowMod(flow()));
    let kind = GroupType::All;
    let first = group(GroupCommand::Add, kind, 1, vec![to(PortNo(1))]);
    c.does(&Message::GroupMod(first));
    let second = vec![Action::Group(GroupId(1))];
    let second = group(GroupCommand::Add, kind, 2, second);
    c.does(&Message::GroupMod(second));
    c.does(&Message::MeterMod(meter(MeterCommand::Add, 1)));
    c.become_role(Role::Master, 100);
    (c, mac)
}

/// What the switch holds, to see that a refusal changes nothing.
fn state(c: &mut Controller) -> String {
    let flows = c.multipart(RequestBody::Flow(FlowStatsRequest::default()));
    let ReplyBody::Flow(flows) = &flows[0] else {
        panic!()
    };
    let flows: Vec<_> = flows
        .iter()
        .map(|f| {
            (
                f.table,
                f.cookie,
                f.matching.clone(),
                f.instructions.clone(),
            )
        })
        .collect();
    let groups = c.multipart(RequestBody::GroupDesc(GroupId::ALL));
    let meters = c.multipart(RequestBody::MeterConfig(MeterId::ALL));
    let ports = c.multipart(RequestBody::PortDesc(PortNo::ANY));
    let config = c.ask(&Message::GetConfigRequest);
    format!("{flows:?} {groups:?} {meters:?} {ports:?} {config:?}")
}

#[test]
fn each_refusal_has_its_error_and_the_beginning_of_the_offender_and_changes_nothing() {
    for version in ALL {
        let twin = Twin::start(&format!("errors-{version}"), &[]);
        let (mut c, mac) = prepared(&twin, *version);
        let before = state(&mut c);
        let cases = [
            flow_mods(),
            group_mods(),
            meter_mods(),
            switch_settings(mac),
            readings(),
            table_features(),
            packets_and_bundles(),
        ];
        let mut tried = 0;
        for (what, message, expected, versions) in cases.concat() {
            if !versions.contains(version) {
                continue;
            }
            tried += 1;
            let xid = c.next_xid();
            let message = match message {
                Message::BundleAdd(add) => Message::BundleAdd(BundleAdd { xid, ..add }),
                message => message,
            };
            let mut sent = Vec::new();
            wire::encode(*version, xid, &message, &mut sent).unwrap_or_else(|e| {
                panic!("{version}: {what}: {e}");
            });
            sent.truncate(64);
            let error = c.error(&message);
            assert_eq!(
                error.error,
                expected.for_version(*version).from_version(*version),
                "{version}: {what}"
            );
            assert!(error.data.starts_with(&sent), "{version}: {what}");
        }
        assert!(tried > 60, "{tried}");
        assert_eq!(state(&mut c), before, "{version}");
    }
}

/// A message with some bytes changed.
fn changed(version: Version, xid: u32, message: &Message, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut sent = Vec::new();
    wire::encode(version, xid, message, &mut sent).unwrap();
    sent[at..at + bytes.len()].copy_from_slice(bytes);
    sent
}

#[test]
#[rustfmt::skip] // one case a line
fn numbers_that_nobody_knows_have_their_errors() {
    let role = Message::RoleRequest(RoleRequest {
        role: Role::Equal,
        generation_id: 0,
        short_id: 0,
    });
    let add = || Message::FlowMod(flow());
    let add_group = Message::GroupMod(group(
        GroupCommand::Add,
        GroupType::All,
        40,
        vec![to(PortNo(1))],
    ));
    let add_meter = Message::MeterMod(meter(MeterCommand::Add, 40));
    // Byte that is changed, new value.
    let cases: [(&str, Message, usize, &[u8], OfError); 13] = [
        ("message type", Message::BarrierRequest, 1, &[99], OFPBRC_BAD_TYPE),
        ("version", Message::BarrierRequest, 0, &[1], OFPBRC_BAD_VERSION),
        ("multipart type", multipart(RequestBody::Desc), 8, &[0x55, 0x55], OFPBRC_BAD_MULTIPART),
        ("flow command", add(), 25, &[9], OFPFMFC_BAD_COMMAND),
        ("flow flags", add(), 44, &[0x80, 0], OFPFMFC_BAD_FLAGS),
        // Behind the empty match: instructions.
        ("instruction", add(), 56, &[0, 99], OFPBIC_UNKNOWN_INST),
        ("action", add(), 64, &[0, 99], OFPBAC_BAD_TYPE),
        ("group command", add_group.clone(), 8, &[0, 77], OFPGMFC_BAD_COMMAND),
        ("group type", add_group, 10, &[9], OFPGMFC_BAD_TYPE),
        ("meter command", add_meter.clone(), 8, &[0, 9], OFPMMFC_BAD_COMMAND),
        ("meter flags", add_meter.clone(), 10, &[0x40, 1], OFPMMFC_BAD_FLAGS),
        ("band type", add_meter, 16, &[0, 9], OFPMMFC_BAD_BAND),
        ("role", role, 8, &[0, 0, 0, 9], OFPRRFC_BAD_ROLE),
    ];
    for version in ALL {
        let twin = Twin::start(&format!("numbers-{version}"), &[]);
        let mut c = Controller::connect(&twin, *version);
        for (what, message, at, bytes, expected) in &cases {
            let xid = 7_000_000;
            let sent = changed(*version, xid, message, *at, bytes);
            c.send_bytes(&sent);
            let error = c.error_about(xid, what);
            assert_eq!(error.error, *expected, "{version}: {what}");
            assert!(
                error.data.starts_with(&sent[..sent.len().min(64)]),
                "{what}"
            );
        }
    }
}

#[test]
fn a_full_table_group_table_or_meter_leaves_what_was_there() {
    for version in ALL {
        let twin = Twin::start(&format!("full-{version}"), &[]);
        let mut c = Controller::connect(&twin, *version);
        let mut smaller = TableFeatures {
            table: TableId(3),
            max_entries: 2,
            metadata_match: u64::MAX,
            metadata_write: u64::MAX,
            ..TableFeatures::default()
        };
        smaller.name = "small".into();
        c.multipart(RequestBody::TableFeatures(vec![smaller]));
        let numbered = |n: u32| {
            Message::FlowMod(FlowMod {
                matching: Match::any().with(Field::InPort, n),
                ..flow()
            })
        };
        c.does(&numbered(1));
        c.does(&numbered(2));
        c.refused(&numbered(3), OFPFMFC_TABLE_FULL);
        c.does(&numbered(2));
        let reply = c.multipart(RequestBody::Aggregate(asks_flows(3)));
        assert!(matches!(&reply[0], ReplyBody::Aggregate(sum) if sum.flow_count == 2));
    }
}
