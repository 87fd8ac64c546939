//! The agent on the wire: malformed input, roles, what is sent unasked.

#[allow(dead_code)] // each test file uses a part of it
mod twin;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use net::{GroupId, MeterId, PortNo, TableId};
use openflow::error::*;
use openflow::model::*;
use openflow::msg::*;
use openflow::wire::{self, Framer, Header};
use openflow::{Action, Field, Instructions, Match, Message, Version};
use twin::{Told, Twin};

/// A controller that speaks OpenFlow 1.3.
struct Controller {
    stream: UnixStream,
    framer: Framer,
    xid: u32,
}

impl Controller {
    fn connect(twin: &Twin) -> Controller {
        Self::over(UnixStream::connect(&twin.openflow).unwrap())
    }

    fn over(stream: UnixStream) -> Controller {
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let (framer, xid) = (Framer::new(), 0);
        let mut controller = Controller {
            stream,
            framer,
            xid,
        };
        assert!(matches!(controller.read().1, Message::Hello(_)));
        controller.send(&Message::Hello(Hello::offering(&[Version::V1_3])));
        // Who connects to the switch hears nothing unasked before.
        controller.send(&Message::SetConfig(SwitchConfig {
            flags: 0,
            miss_send_len: 0xffff,
        }));
        controller
    }

    fn send(&mut self, message: &Message) -> u32 {
        self.xid += 1;
        let mut bytes = Vec::new();
        wire::encode(Version::V1_3, self.xid, message, &mut bytes).unwrap();
        self.stream.write_all(&bytes).unwrap();
        self.xid
    }

    fn read(&mut self) -> (u32, Message) {
        loop {
            if let Some(frame) = self.framer.next_frame().unwrap() {
                let xid = Header::read(frame).unwrap().xid;
                return (xid, wire::decode(Version::V1_3, frame).unwrap());
            }
            let mut buffer = [0; 4096];
            let n = self.stream.read(&mut buffer).unwrap();
            assert!(n > 0, "the switch closed the connection");
            self.framer.push(&buffer[..n]);
        }
    }

    /// The answer to a request; what comes unasked in between is left out.
    fn ask(&mut self, message: &Message) -> Message {
        let xid = self.send(message);
        loop {
            let (of, reply) = self.read();
            if of == xid {
                return reply;
            }
        }
    }

    fn error(&mut self, message: &Message) -> OfError {
        match self.ask(message) {
            Message::Error(error) => error.error,
            other => panic!("no error: {other:?}"),
        }
    }

    fn barrier(&mut self) {
        assert_eq!(self.ask(&Message::BarrierRequest), Message::BarrierReply);
    }

    fn become_role(&mut self, role: Role, generation_id: u64) -> Message {
        self.ask(&Message::RoleRequest(RoleRequest {
            role,
            generation_id,
            short_id: 0,
        }))
    }
}

fn flow(matching: Match, instructions: Instructions) -> FlowMod {
    FlowMod::add(TableId(0), 5, matching, instructions)
}

fn output(port: u32) -> Instructions {
    let port = PortNo(port);
    Instructions::apply(vec![Action::Output { port, max_len: 0 }])
}

#[test]
fn malformed_messages_are_answered_and_the_connection_stays() {
    let twin = Twin::start("malformed", &[]);
    let mut controller = Controller::connect(&twin);
    // Wrong version, unknown type, a flow-mod cut short, an unknown multipart, an unknown experimenter.
    let cases: [(&[u8], OfError); 5] = [
        (&[1, 5, 0, 8, 0, 0, 0, 1], OFPBRC_BAD_VERSION),
        (&[4, 99, 0, 8, 0, 0, 0, 2], OFPBRC_BAD_TYPE),
        (&[4, 14, 0, 12, 0, 0, 0, 3, 1, 2, 3, 4], OFPBRC_BAD_LEN),
        (
            &[4, 18, 0, 16, 0, 0, 0, 4, 0, 99, 0, 0, 0, 0, 0, 0],
            OFPBRC_BAD_MULTIPART,
        ),
        (
            &[4, 4, 0, 16, 0, 0, 0, 5, 0, 1, 2, 3, 0, 0, 0, 9],
            OFPBRC_BAD_EXPERIMENTER,
        ),
    ];
    for (bytes, expected) in cases {
        controller.stream.write_all(bytes).unwrap();
        let (xid, reply) = controller.read();
        let about = ErrorMsg::about(expected, bytes);
        assert_eq!((xid, reply), (u32::from(bytes[7]), Message::Error(about)));
    }
    controller.barrier();
}

#[test]
fn a_header_that_lies_about_its_length_ends_the_connection() {
    let twin = Twin::start("lies", &[]);
    let mut controller = Controller::connect(&twin);
    controller
        .stream
        .write_all(&[4, 2, 0, 7, 0, 0, 0, 9])
        .unwrap();
    assert!(matches!(controller.read(), (9, Message::Error(e)) if e.error == OFPBRC_BAD_LEN));
    assert_eq!(controller.stream.read(&mut [0; 8]).unwrap(), 0);
    Controller::connect(&twin).barrier();
}

#[test]
fn a_peer_without_a_common_version_is_told_which_we_speak() {
    let twin = Twin::start("version", &[]);
    let mut stream = UnixStream::connect(&twin.openflow).unwrap();
    stream.write_all(&[1, 0, 0, 8, 0, 0, 0, 1]).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let mut framer = Framer::new();
    framer.push(&all);
    framer.next_frame().unwrap().unwrap();
    let error = wire::decode(Version::V1_3, framer.next_frame().unwrap().unwrap()).unwrap();
    let Message::Error(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(error.error, OFPHFC_INCOMPATIBLE);
    assert!(String::from_utf8_lossy(&error.data).contains("1.3"));
}

#[test]
fn refusals_have_the_specified_errors() {
    let twin = Twin::start("refusals", &[]);
    let mut c = Controller::connect(&twin);
    let base = || flow(Match::any(), output(1));
    let cases = [
        (
            Message::FlowMod(FlowMod {
                buffer_id: 7,
                ..base()
            }),
            OFPBRC_BUFFER_UNKNOWN,
        ),
        (
            Message::FlowMod(FlowMod {
                table: TableId(254),
                ..base()
            }),
            OFPFMFC_BAD_TABLE_ID,
        ),
        (
            Message::FlowMod(flow(Match::any(), output(0))),
            OFPBAC_BAD_OUT_PORT,
        ),
        (
            Message::PortMod(PortMod {
                port: PortNo(9),
                hw_addr: net::MacAddr::ZERO,
                config: 0,
                mask: 0,
                advertise: 0,
                properties: Vec::new(),
            }),
            OFPPMFC_BAD_PORT,
        ),
        (
            Message::PortMod(PortMod {
                port: PortNo(1),
                hw_addr: net::MacAddr::ZERO,
                config: 0,
                mask: 0,
                advertise: 0,
                properties: Vec::new(),
            }),
            OFPPMFC_BAD_HW_ADDR,
        ),
        (
            Message::PacketOut(PacketOut::new(vec![Action::Exit], vec![1, 2, 3])),
            OFPBRC_BAD_PACKET,
        ),
        (
            Message::PacketOut(PacketOut {
                in_port: PortNo::FLOOD,
                ..PacketOut::new(Vec::new(), vec![0; 60])
            }),
            OFPBRC_BAD_PORT,
        ),
        (Message::QueueGetConfigRequest(PortNo(9)), OFPQOFC_BAD_PORT),
        (
            Message::BundleControl(BundleControl {
                bundle: 1,
                kind: BundleControlType::CommitRequest,
                flags: 0,
                properties: Vec::new(),
            }),
            OFPBFC_BAD_ID.for_version(Version::V1_3),
        ),
        (
            Message::MeterMod(MeterMod {
                command: MeterCommand::Modify,
                flags: METER_KBPS,
                meter: MeterId(4),
                bands: Vec::new(),
            }),
            OFPMMFC_UNKNOWN_METER,
        ),
        (Message::BarrierReply, OFPBRC_BAD_TYPE),
    ];
    for (request, expected) in cases {
        let error = c.error(&request);
        assert_eq!(error.for_version(Version::V1_3), expected, "{request:?}");
    }
    c.barrier();
}

#[test]
fn roles_follow_elections() {
    let twin = Twin::start("roles", &[]);
    let (mut a, mut b) = (Controller::connect(&twin), Controller::connect(&twin));
    let role = |role, generation_id| {
        Message::RoleReply(RoleRequest {
            role,
            generation_id,
            short_id: 0,
        })
    };
    assert_eq!(
        a.become_role(Role::NoChange, 0),
        role(Role::Equal, u64::MAX)
    );
    assert_eq!(a.become_role(Role::Master, 7), role(Role::Master, 7));
    assert_eq!(b.become_role(Role::Master, 8), role(Role::Master, 8));
    assert_eq!(a.become_role(Role::NoChange, 0), role(Role::Slave, 8));
    let stale = RoleRequest {
        role: Role::Master,
        generation_id: 7,
        short_id: 0,
    };
    assert_eq!(a.error(&Message::RoleRequest(stale)), OFPRRFC_STALE);
    let add = Message::FlowMod(flow(Match::any(), output(1)));
    assert_eq!(a.error(&add), OFPBRC_IS_SLAVE);
    b.send(&add);
    b.barrier();
    assert_eq!(a.become_role(Role::Equal, 0), role(Role::Equal, 8));
    a.send(&add);
    a.barrier();
}

#[test]
fn removed_flows_and_ports_are_told_to_those_who_want_it() {
    let twin = Twin::start("told", &[]);
    let (mut a, mut b) = (Controller::connect(&twin), Controller::connect(&twin));
    b.send(&Message::SetAsync(
        AsyncConfig {
            flow_removed: AsyncMasks {
                master: 0,
                slave: 0,
            },
            ..AsyncConfig::default()
        }
        .into(),
    ));
    b.barrier();
    let timed = FlowMod {
        cookie: 0x42,
        hard_timeout: 1,
        flags: FLOW_SEND_REMOVED,
        ..flow(Match::any().with(Field::InPort, 1u32), output(2))
    };
    a.send(&Message::FlowMod(timed));
    a.barrier();
    match a.read().1 {
        Message::FlowRemoved(removed) => {
            assert_eq!(
                (removed.cookie, removed.reason),
                (0x42, RemovedReason::HardTimeout)
            );
            assert_eq!(removed.duration_sec, 1);
            assert_eq!(removed.matching, Match::any().with(Field::InPort, 1u32));
        }
        other => panic!("{other:?}"),
    }
    let mut admin = admin::Client::connect(&twin.admin, Duration::from_secs(5)).unwrap();
    let add = admin::Request::PortAdd {
        spec: "p3,closed=true,dev=mem".into(),
    };
    admin.call(&add).unwrap();
    for controller in [&mut a, &mut b] {
        match controller.read().1 {
            Message::PortStatus(status) => {
                assert_eq!(status.reason, PortReason::Add);
                assert_eq!((status.desc.port, status.desc.config), (PortNo(1000), 36));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn workers_are_told_whether_anyone_wants_packets_whose_ttl_ran_out() {
    use std::sync::atomic::Ordering::Relaxed;
    let twin = Twin::start("ttl", &[]);
    let mut c = Controller::connect(&twin);
    c.barrier();
    assert!(!twin.invalid_ttl.load(Relaxed), "not by default");
    c.send(&Message::SetAsync(
        AsyncConfig {
            packet_in: AsyncMasks {
                master: 0b111,
                slave: 0,
            },
            ..AsyncConfig::default()
        }
        .into(),
    ));
    c.barrier();
    assert!(twin.invalid_ttl.load(Relaxed));
    c.become_role(Role::Slave, 1);
    assert!(
        !twin.invalid_ttl.load(Relaxed),
        "a slave does not want them"
    );
}

#[test]
fn a_large_dump_comes_in_parts_and_whole() {
    let twin = Twin::start("large", &[]);
    let mut c = Controller::connect(&twin);
    for n in 0..3000u32 {
        let matching = Match::any()
            .with(Field::EthType, 0x0800u16)
            .with(Field::Ipv4Dst, n);
        c.send(&Message::FlowMod(flow(matching, output(1))));
    }
    let body = RequestBody::Flow(FlowStatsRequest::default());
    c.send(&Message::MultipartRequest(MultipartRequest {
        more: false,
        body,
    }));
    let (mut flows, mut parts) = (0, 0);
    loop {
        let Message::MultipartReply(reply) = c.read().1 else {
            panic!()
        };
        let ReplyBody::Flow(part) = reply.body else {
            panic!()
        };
        (flows, parts) = (flows + part.len(), parts + 1);
        if !reply.more {
            break;
        }
    }
    assert_eq!(flows, 3000);
    assert!(parts > 4);
}

#[test]
fn a_bundle_is_gone_with_its_connection_and_errors_name_the_inner_message() {
    let twin = Twin::start("bundle", &[]);
    let mut c = Controller::connect(&twin);
    let control = |kind| {
        Message::BundleControl(BundleControl {
            bundle: 3,
            kind,
            flags: BUNDLE_ATOMIC,
            properties: Vec::new(),
        })
    };
    c.ask(&control(BundleControlType::OpenRequest));
    let add = |message| {
        Message::BundleAdd(BundleAdd {
            bundle: 3,
            flags: BUNDLE_ATOMIC,
            xid: 77,
            message: Box::new(message),
            properties: Vec::new(),
        })
    };
    let to_group = Instructions::apply(vec![Action::Group(GroupId(5))]);
    c.xid = 76;
    c.send(&add(Message::FlowMod(flow(Match::any(), to_group))));
    let commit = c.send(&control(BundleControlType::CommitRequest));
    let (inner, Message::Error(first)) = c.read() else {
        panic!()
    };
    let (outer, Message::Error(second)) = c.read() else {
        panic!()
    };
    assert_eq!((inner, outer), (77, commit));
    assert_eq!(first.error, OFPBAC_BAD_OUT_GROUP);
    assert_eq!(first.data[1], wire::kind::FLOW_MOD);
    assert_eq!(second.error.from_version(Version::V1_3), OFPBFC_MSG_FAILED);

    c.ask(&control(BundleControlType::OpenRequest));
    drop(c);
    let mut c = Controller::connect(&twin);
    let error = c.error(&control(BundleControlType::CommitRequest));
    assert_eq!(error.from_version(Version::V1_3), OFPBFC_BAD_ID);
}

#[test]
fn a_bundle_of_like_flows_is_all_or_nothing() {
    let twin = Twin::start("like", &[]);
    let mut c = Controller::connect(&twin);
    let control = |kind| {
        Message::BundleControl(BundleControl {
            bundle: 3,
            kind,
            flags: BUNDLE_ATOMIC,
            properties: Vec::new(),
        })
    };
    let from = |port: u32| Match::any().with(Field::InPort, port);
    let fill = |c: &mut Controller, last: Instructions| {
        c.ask(&control(BundleControlType::OpenRequest));
        for port in 1..=100 {
            let output = Instructions::apply(vec![Action::Output {
                port: PortNo(7),
                max_len: 0,
            }]);
            let message = Box::new(Message::FlowMod(flow(from(port), output)));
            let (flags, properties) = (BUNDLE_ATOMIC, Vec::new());
            let xid = c.xid + 1;
            c.send(&Message::BundleAdd(BundleAdd {
                bundle: 3,
                flags,
                xid,
                message,
                properties,
            }));
        }
        let message = Box::new(Message::FlowMod(flow(from(101), last)));
        let (flags, properties) = (BUNDLE_ATOMIC, Vec::new());
        let xid = c.xid + 1;
        c.send(&Message::BundleAdd(BundleAdd {
            bundle: 3,
            flags,
            xid,
            message,
            properties,
        }));
        xid
    };
    // Well formed, and refused when its turn comes.
    let last = fill(&mut c, Instructions::apply(vec![Action::Group(GroupId(5))]));
    c.send(&control(BundleControlType::CommitRequest));
    let (xid, Message::Error(error)) = c.read() else {
        panic!()
    };
    assert_eq!((xid, error.error), (last, OFPBAC_BAD_OUT_GROUP));
    assert!(matches!(c.read(), (_, Message::Error(_))));
    assert_eq!(count(&mut c), 0);
    fill(&mut c, Instructions::drop());
    assert_eq!(count(&mut c), 0);
    c.ask(&control(BundleControlType::CommitRequest));
    assert_eq!(count(&mut c), 101);
}

/// Number of flows.
fn count(c: &mut Controller) -> u32 {
    let all = FlowStatsRequest::default();
    let request = MultipartRequest {
        more: false,
        body: RequestBody::Aggregate(all),
    };
    match c.ask(&Message::MultipartRequest(request)) {
        Message::MultipartReply(MultipartReply {
            body: ReplyBody::Aggregate(all),
            ..
        }) => all.flow_count,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_switch_connects_again_to_a_controller_that_went_away() {
    let path = std::env::temp_dir().join(format!("sluice-ctl-{}", std::process::id()));
    drop(std::fs::remove_file(&path));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let twin = Twin::start("again", &[&format!("unix:{}", path.display())]);
    for _ in 0..2 {
        let (stream, _) = listener.accept().unwrap();
        let mut controller = Controller::over(stream);
        controller.barrier();
    }
    std::fs::remove_file(path).unwrap();
    drop(twin);
}

#[test]
fn connections_can_be_flushed_by_zone() {
    let twin = Twin::start("flush", &[]);
    let mut c = Controller::connect(&twin);
    c.barrier();
    drop(twin.told());
    c.send(&Message::CtFlushZone(9));
    c.barrier();
    assert_eq!(
        twin.told(),
        [Told::Flushed(conntrack::Filter {
            zone: Some(9),
            ..conntrack::Filter::default()
        })]
    );
}

#[test]
fn a_worker_that_has_ended_is_noticed_without_anyone_asking() {
    let twin = Twin::start("dead", &[]);
    assert!(
        twin.ended
            .recv_timeout(Duration::from_millis(1500))
            .is_err()
    );
    twin.dead.store(true, std::sync::atomic::Ordering::Relaxed);
    twin.ended.recv_timeout(Duration::from_secs(10)).unwrap();
}

#[test]
fn packets_reach_the_controllers_they_are_for_in_the_form_they_asked_for() {
    let twin = Twin::start("packet-in", &[]);
    let (mut plain, mut rich) = (Controller::connect(&twin), Controller::connect(&twin));
    rich.send(&Message::SetPacketInFormat(PacketInFormat::Nxt2));
    rich.barrier();
    plain.barrier();
    let key = net::FlowKey {
        in_port: 2.into(),
        metadata: 7.into(),
        ..net::FlowKey::default()
    };
    let packet_for = |controller_id, reason| worker::PacketIn {
        reason,
        table: TableId(3),
        cookie: 0x99,
        total_len: 100,
        data: vec![1; 60],
        key,
        controller_id,
        userdata: std::sync::Arc::from([5, 6]),
        rest: None,
    };
    // Reason 4 (a group, from 1.4 on) is an action's on 1.3.
    twin.packet_in(packet_for(9, 1));
    twin.packet_in(packet_for(0, 4));
    let matching = Match::any()
        .with(Field::InPort, 2u32)
        .with(Field::Metadata, 7u64);
    let Message::PacketIn(packet) = plain.read().1 else {
        panic!();
    };
    assert_eq!((packet.table, packet.cookie), (TableId(3), 0x99));
    assert_eq!((packet.total_len, packet.data.len()), (100, 60));
    assert_eq!(packet.reason, PacketInReason::Action);
    assert_eq!(packet.matching, matching);
    let Message::PacketIn2(packet) = rich.read().1 else {
        panic!();
    };
    assert_eq!((packet.full_len, packet.userdata), (Some(100), vec![5, 6]));
    assert_eq!(packet.matching, matching);
    // The one for controller 9 went to nobody.
    plain.barrier();
    rich.send(&Message::SetControllerId(9));
    rich.barrier();
    twin.packet_in(packet_for(9, 1));
    assert!(matches!(rich.read().1, Message::PacketIn2(_)));
}
