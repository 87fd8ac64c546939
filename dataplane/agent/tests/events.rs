//! What controllers are told unasked, by version, role and configuration.

#[allow(dead_code)] // each test file uses a part of it
mod twin;

use std::time::Duration;

use net::{GroupId, MeterId, PortNo, TableId};
use openflow::error::*;
use openflow::model::*;
use openflow::msg::*;
use openflow::{Action, Field, Instructions, Match, Message, Version};
use twin::Twin;
use twin::controller::Controller;

fn versions_since(first: Version) -> impl Iterator<Item = Version> {
    let all = Version::SUPPORTED.iter().copied();
    all.filter(move |version| *version >= first)
}

fn flow(port: u32) -> FlowMod {
    let output = Action::Output {
        port: PortNo(2),
        max_len: 0,
    };
    FlowMod {
        cookie: u64::from(port),
        flags: FLOW_SEND_REMOVED,
        ..FlowMod::add(
            TableId(0),
            5,
            Match::any().with(Field::InPort, port),
            Instructions::apply(vec![output]),
        )
    }
}

fn wants(kind: AsyncKind, master: u32, slave: u32) -> Message {
    let entry = |slave, mask| AsyncEntry { kind, slave, mask };
    let mut settings = AsyncSettings::from(AsyncConfig::default());
    settings.entries.retain(|entry| entry.kind != kind);
    settings.entries.push(entry(false, master));
    settings.entries.push(entry(true, slave));
    Message::SetAsync(settings)
}

/// Likewise, and nothing else changes (1.4).
fn wants_also(kind: AsyncKind, mask: u32) -> Message {
    let entry = |slave| AsyncEntry { kind, slave, mask };
    Message::SetAsync(AsyncSettings {
        entries: vec![entry(false), entry(true)],
        properties: Vec::new(),
    })
}

fn group(command: GroupCommand, id: u32) -> Message {
    let to_port = Action::Output {
        port: PortNo(1),
        max_len: 0,
    };
    Message::GroupMod(GroupMod {
        command,
        kind: GroupType::All,
        group: GroupId(id),
        command_bucket_id: BUCKET_ALL,
        buckets: match command {
            GroupCommand::Delete => Vec::new(),
            _ => vec![Bucket {
                id: 0,
                weight: 0,
                watch_port: PortNo::ANY,
                watch_group: GroupId::ANY,
                actions: vec![to_port],
                properties: Vec::new(),
            }],
        },
        selection: None,
        properties: Vec::new(),
    })
}

fn meter(command: MeterCommand, id: u32) -> Message {
    Message::MeterMod(MeterMod {
        command,
        flags: METER_KBPS,
        meter: MeterId(id),
        bands: match command {
            MeterCommand::Delete => Vec::new(),
            _ => vec![Band {
                kind: BandKind::Drop,
                rate: 1000,
                burst: 0,
            }],
        },
    })
}

/// Cookies and reasons of flows that are told to have gone.
fn gone(heard: &[Message]) -> Vec<(u64, RemovedReason)> {
    let removed = |message: &Message| match message {
        Message::FlowRemoved(removed) => Some((removed.cookie, removed.reason)),
        _ => None,
    };
    let mut gone: Vec<_> = heard.iter().filter_map(removed).collect();
    gone.sort_by_key(|(cookie, _)| *cookie);
    gone
}

#[test]
fn the_reason_why_a_flow_went_is_told_as_far_as_the_version_knows_it() {
    for version in versions_since(Version::V1_3) {
        let twin = Twin::start(&format!("reasons-{version}"), &[]);
        let mut c = Controller::connect(&twin, version);
        c.does(&group(GroupCommand::Add, 1));
        c.does(&meter(MeterCommand::Add, 1));
        let grouped = FlowMod {
            instructions: Instructions::apply(vec![Action::Group(GroupId(1))]),
            ..flow(1)
        };
        let metered = FlowMod {
            instructions: match version {
                Version::V1_5 => Instructions::apply(vec![Action::Meter(MeterId(1))]),
                _ => Instructions {
                    meter: Some(MeterId(1)),
                    ..Instructions::drop()
                },
            },
            ..flow(2)
        };
        let silent = FlowMod {
            flags: 0,
            ..flow(3)
        };
        let timed = FlowMod {
            hard_timeout: 1,
            ..flow(4)
        };
        let idle = FlowMod {
            idle_timeout: 1,
            ..flow(5)
        };
        for request in [grouped, metered, silent, timed, idle, flow(6)] {
            c.does(&Message::FlowMod(request));
        }
        c.does(&group(GroupCommand::Delete, 1));
        c.does(&meter(MeterCommand::Delete, 1));
        let delete = |port| FlowMod {
            command: FlowCommand::DeleteStrict,
            instructions: Instructions::drop(),
            ..flow(port)
        };
        c.does(&Message::FlowMod(delete(3)));
        c.does(&Message::FlowMod(delete(6)));
        let by_meter = match version {
            Version::V1_3 => RemovedReason::Delete,
            _ => RemovedReason::MeterDelete,
        };
        let mut heard = c.heard();
        assert_eq!(
            gone(&heard),
            [
                (1, RemovedReason::GroupDelete),
                (2, by_meter),
                (6, RemovedReason::Delete)
            ],
            "{version}"
        );
        heard.clear();
        while gone(&heard).len() < 2 {
            heard.push(c.hear());
        }
        assert_eq!(
            gone(&heard),
            [
                (4, RemovedReason::HardTimeout),
                (5, RemovedReason::IdleTimeout)
            ]
        );
        for message in &heard {
            let Message::FlowRemoved(removed) = message else {
                continue;
            };
            assert_eq!(removed.duration_sec, 1, "exact to the second");
        }
    }
}

#[test]
fn a_master_that_loses_its_role_is_told_and_slaves_hear_of_ports_only() {
    for version in versions_since(Version::V1_3) {
        let twin = Twin::start(&format!("slaves-{version}"), &[]);
        let mut a = Controller::connect(&twin, version);
        let mut b = Controller::connect(&twin, version);
        // Generations count on beyond the largest number.
        a.become_role(Role::Master, u64::MAX);
        let reply = b.become_role(Role::Master, 1);
        assert!(
            matches!(reply, Message::RoleReply(r) if r.role == Role::Master),
            "{reply:?}"
        );
        let stale = RoleRequest {
            role: Role::Slave,
            generation_id: u64::MAX,
            short_id: 0,
        };
        a.refused(&Message::RoleRequest(stale), OFPRRFC_STALE);
        let heard = a.heard();
        let told: Vec<_> = heard
            .iter()
            .filter_map(|message| match message {
                Message::RoleStatus(status) => Some((status.role, status.reason)),
                _ => None,
            })
            .collect();
        match version {
            Version::V1_3 => assert_eq!(told, []),
            _ => assert_eq!(told, [(Role::Slave, RoleReason::MasterRequest)]),
        }
        // A slave reads, but changes nothing.
        a.refused(&Message::FlowMod(flow(1)), OFPBRC_IS_SLAVE);
        a.refused(&group(GroupCommand::Add, 1), OFPBRC_IS_SLAVE);
        a.refused(&meter(MeterCommand::Add, 1), OFPBRC_IS_SLAVE);
        let features = RequestBody::TableFeatures(vec![TableFeatures::default()]);
        let features = MultipartRequest {
            more: false,
            body: features,
        };
        a.refused(&Message::MultipartRequest(features), OFPBRC_IS_SLAVE);
        assert_eq!(a.multipart(RequestBody::PortDesc(PortNo::ANY)).len(), 1);
        b.does(&Message::FlowMod(flow(1)));
        let delete = FlowMod {
            command: FlowCommand::Delete,
            ..flow(1)
        };
        b.does(&Message::FlowMod(delete));
        let mut admin = admin::Client::connect(&twin.admin, Duration::from_secs(5)).unwrap();
        let add = admin::Request::PortAdd {
            spec: "p7,dev=mem".into(),
        };
        admin.call(&add).unwrap();
        let kinds = |heard: &[Message]| -> Vec<&str> {
            heard
                .iter()
                .map(|message| match message {
                    Message::PortStatus(_) => "port",
                    Message::FlowRemoved(_) => "flow",
                    other => panic!("{other:?}"),
                })
                .collect()
        };
        assert_eq!(kinds(&a.heard()), ["port"], "{version}");
        assert_eq!(kinds(&b.heard()), ["flow", "port"], "{version}");
    }
}

#[test]
fn each_controller_has_its_own_wishes() {
    for version in versions_since(Version::V1_3) {
        let twin = Twin::start(&format!("wishes-{version}"), &[]);
        let mut a = Controller::connect(&twin, version);
        let mut b = Controller::connect(&twin, version);
        a.does(&wants(AsyncKind::FlowRemoved, 0b100, 0));
        b.does(&wants(AsyncKind::FlowRemoved, 0b1000, 0));
        let Message::GetAsyncReply(reply) = a.ask(&Message::GetAsyncRequest) else {
            panic!()
        };
        let mut config = AsyncConfig::initial(version);
        config.apply(&reply);
        let expected = AsyncMasks {
            master: 0b100,
            slave: 0,
        };
        assert_eq!(config.flow_removed, expected);
        a.does(&group(GroupCommand::Add, 1));
        let grouped = FlowMod {
            instructions: Instructions::apply(vec![Action::Group(GroupId(1))]),
            ..flow(1)
        };
        a.does(&Message::FlowMod(grouped));
        a.does(&Message::FlowMod(flow(2)));
        a.does(&group(GroupCommand::Delete, 1));
        let delete = FlowMod {
            command: FlowCommand::Delete,
            ..flow(2)
        };
        a.does(&Message::FlowMod(delete));
        assert_eq!(gone(&a.heard()), [(2, RemovedReason::Delete)]);
        assert_eq!(gone(&b.heard()), [(1, RemovedReason::GroupDelete)]);
    }
}

#[test]
fn a_full_table_evicts_and_tells_of_its_free_space() {
    for version in versions_since(Version::V1_4) {
        let twin = Twin::start(&format!("evicts-{version}"), &[]);
        let mut c = Controller::connect(&twin, version);
        c.does(&wants_also(AsyncKind::TableStatus, 0b1_1000));
        let smaller = TableFeatures {
            max_entries: 4,
            metadata_match: u64::MAX,
            metadata_write: u64::MAX,
            ..TableFeatures::default()
        };
        c.multipart(RequestBody::TableFeatures(vec![smaller]));
        c.does(&Message::TableMod(TableMod {
            config: TABLE_EVICTION | TABLE_VACANCY_EVENTS,
            eviction: Some(EVICT_IMPORTANCE),
            vacancy: Some(Vacancy {
                down: 30,
                up: 60,
                current: 0,
            }),
            ..TableMod::default()
        }));
        let important = |port, importance| {
            Message::FlowMod(FlowMod {
                importance,
                ..flow(port)
            })
        };
        for (port, importance) in [(1, 4), (2, 1), (3, 3), (4, 2)] {
            c.does(&important(port, importance));
        }
        let heard = c.heard();
        let [Message::TableStatus(status)] = &heard[..] else {
            panic!("{heard:?}")
        };
        assert_eq!(status.reason, TableReason::VacancyDown);
        let vacancy = status.desc.vacancy.unwrap();
        assert_eq!((vacancy.down, vacancy.up, vacancy.current), (30, 60, 25));
        c.does(&important(5, 9));
        c.does(&important(6, 9));
        assert_eq!(
            gone(&c.heard()),
            [(2, RemovedReason::Eviction), (4, RemovedReason::Eviction)]
        );
        let reply = c.multipart(RequestBody::TableDesc);
        let ReplyBody::TableDesc(descs) = &reply[0] else {
            panic!()
        };
        assert_eq!(descs[0].config, TABLE_EVICTION | TABLE_VACANCY_EVENTS);
        assert_eq!(descs[0].eviction, Some(EVICT_IMPORTANCE));
        assert_eq!(descs[1].config, 0);
        let delete_all = FlowMod {
            command: FlowCommand::Delete,
            matching: Match::any(),
            flags: 0,
            ..flow(0)
        };
        c.does(&Message::FlowMod(delete_all));
        let heard = c.heard();
        let up = heard.iter().any(|message| {
            matches!(message, Message::TableStatus(s) if s.reason == TableReason::VacancyUp)
        });
        assert!(up, "{heard:?}");
        let mut flows = c.multipart(RequestBody::Flow(FlowStatsRequest::default()));
        assert_eq!(flows.pop(), Some(ReplyBody::Flow(Vec::new())));
    }
}

#[test]
fn modifications_of_groups_and_meters_are_forwarded_to_other_controllers() {
    for version in versions_since(Version::V1_4) {
        let twin = Twin::start(&format!("forward-{version}"), &[]);
        let mut a = Controller::connect(&twin, version);
        let mut b = Controller::connect(&twin, version);
        a.does(&wants_also(AsyncKind::RequestForward, 0b11));
        b.does(&wants_also(AsyncKind::RequestForward, 0b11));
        let request = group(GroupCommand::Add, 1);
        let group_xid = a.next_xid();
        a.does(&request);
        let metering = meter(MeterCommand::Add, 1);
        let meter_xid = a.next_xid();
        a.does(&metering);
        a.refused(&group(GroupCommand::Add, 1), OFPGMFC_GROUP_EXISTS);
        let forwarded = |xid, request: Message| {
            let request = Box::new(request);
            Message::RequestForward(RequestForward { xid, request })
        };
        assert_eq!(
            b.heard(),
            [
                forwarded(group_xid, request),
                forwarded(meter_xid, metering)
            ]
        );
        assert_eq!(a.heard(), [], "not to the one that asked");
    }
}

#[test]
fn controllers_are_told_of_each_other() {
    for version in versions_since(Version::V1_5) {
        // One that cannot be reached.
        let away = "unix:/nonexistent/controller";
        let twin = Twin::start(&format!("others-{version}"), &[away]);
        let mut a = Controller::connect(&twin, version);
        a.does(&wants_also(AsyncKind::ControllerStatus, 0b111_1111));
        let mut b = Controller::connect(&twin, version);
        let named = |role, short_id| RoleRequest {
            role,
            generation_id: 5,
            short_id,
        };
        let reply = b.ask(&Message::RoleRequest(named(Role::Master, 7)));
        assert_eq!(reply, Message::RoleReply(named(Role::Master, 7)));
        let taken = Message::RoleRequest(named(Role::Equal, 7));
        a.refused(&taken, OFPRRFC_ID_IN_USE);
        let reply = a.multipart(RequestBody::ControllerStatus);
        let ReplyBody::ControllerStatus(all) = &reply[0] else {
            panic!()
        };
        let seen: Vec<_> = all.iter().map(|c| (c.short_id, c.role, c.up)).collect();
        assert_eq!(
            seen,
            [
                (0, Role::Equal, true),
                (7, Role::Master, true),
                (0, Role::Equal, false)
            ]
        );
        assert_eq!(all[2].uri.as_deref(), Some(away));
        let told = |heard: Vec<Message>| -> Vec<(u16, ControllerReason, bool)> {
            heard
                .into_iter()
                .map(|message| match message {
                    Message::ControllerStatus(c) => (c.short_id, c.reason, c.up),
                    other => panic!("{other:?}"),
                })
                .collect()
        };
        assert_eq!(
            told(a.heard()),
            [
                (0, ControllerReason::ChannelStatus, true),
                (7, ControllerReason::ShortId, true),
                (7, ControllerReason::Role, true)
            ]
        );
        drop(b);
        assert_eq!(
            told(vec![a.hear()]),
            [(7, ControllerReason::ChannelStatus, false)]
        );
    }
}

#[test]
fn timeouts_are_exact_and_counts_that_are_not_kept_are_all_ones() {
    for version in versions_since(Version::V1_3) {
        let twin = Twin::start(&format!("exact-{version}"), &[]);
        let mut c = Controller::connect(&twin, version);
        let hard = FlowMod {
            hard_timeout: 300,
            flags: FLOW_SEND_REMOVED | FLOW_NO_PACKET_COUNTS | FLOW_NO_BYTE_COUNTS,
            ..flow(1)
        };
        let idle = FlowMod {
            idle_timeout: 310,
            ..flow(2)
        };
        c.does(&Message::FlowMod(hard));
        c.does(&Message::FlowMod(idle));
        twin.later(299);
        c.barrier();
        let mut reply = c.multipart(RequestBody::Flow(FlowStatsRequest::default()));
        let Some(ReplyBody::Flow(flows)) = reply.pop() else {
            panic!()
        };
        assert!(
            flows.iter().all(|flow| flow.duration_sec == 299),
            "{flows:?}"
        );
        let counts: Vec<_> = flows
            .iter()
            .map(|f| (f.packet_count, f.byte_count))
            .collect();
        assert_eq!(counts, [(u64::MAX, u64::MAX), (0, 0)], "{version}");
        twin.later(1);
        assert_eq!(gone(&[c.hear()]), [(1, RemovedReason::HardTimeout)]);
        twin.later(9);
        assert_eq!(c.heard(), [], "{version}: not before its time");
        twin.later(1);
        let Message::FlowRemoved(removed) = c.hear() else {
            panic!()
        };
        assert_eq!(removed.reason, RemovedReason::IdleTimeout);
        assert_eq!(removed.duration_sec, 310);
    }
}

#[test]
fn the_meter_of_packets_to_controllers_holds_them_back_and_counts_them() {
    for version in versions_since(Version::V1_3) {
        let twin = Twin::start(&format!("metered-{version}"), &[]);
        let mut c = Controller::connect(&twin, version);
        let limit = MeterMod {
            command: MeterCommand::Add,
            flags: METER_PKTPS | METER_BURST,
            meter: MeterId::CONTROLLER,
            bands: vec![Band {
                kind: BandKind::Drop,
                rate: 1,
                burst: 3,
            }],
        };
        c.does(&Message::MeterMod(limit));
        for _ in 0..10 {
            twin.packet_in(worker::PacketIn {
                reason: 1,
                table: TableId(0),
                cookie: 0,
                total_len: 60,
                data: vec![0; 60],
                key: net::FlowKey::default(),
                controller_id: 0,
                userdata: std::sync::Arc::from([]),
                rest: None,
            });
        }
        let (mut passed, mut held_back) = (0, 0);
        while passed + held_back < 10 {
            let heard = c.heard();
            passed += heard
                .iter()
                .filter(|m| matches!(m, Message::PacketIn(_)))
                .count() as u64;
            let mut reply = c.multipart(RequestBody::Meter(MeterId::CONTROLLER));
            let Some(ReplyBody::Meter(meters)) = reply.pop() else {
                panic!()
            };
            held_back = meters[0].bands[0].packet_count;
            assert!(meters[0].packet_in_count <= 10);
        }
        assert!(
            held_back >= 5,
            "{version}: {passed} passed, {held_back} did not"
        );
        let delete = MeterMod {
            command: MeterCommand::Delete,
            flags: 0,
            meter: MeterId::ALL,
            bands: Vec::new(),
        };
        c.does(&Message::MeterMod(delete));
        c.refused(
            &meter(MeterCommand::Add, 0xffff_fffd),
            OFPMMFC_INVALID_METER,
        );
    }
}
