//! Flow monitors: what controllers that follow flows are told.

#[allow(dead_code)] // each test file uses a part of it
mod twin;

use net::{GroupId, PortNo, TableId};
use openflow::error::*;
use openflow::model::*;
use openflow::msg::*;
use openflow::{Action, Field, Instructions, Match, Message, Version};
use twin::Twin;
use twin::controller::Controller;

const EVERYTHING: u16 =
    MONITOR_INITIAL | MONITOR_ADD | MONITOR_REMOVED | MONITOR_MODIFY | MONITOR_INSTRUCTIONS;

fn versions() -> &'static [Version] {
    Version::SUPPORTED
}

fn output(port: u32) -> Instructions {
    Instructions::apply(vec![Action::Output {
        port: PortNo(port),
        max_len: 0,
    }])
}

fn flow(port: u32) -> FlowMod {
    FlowMod {
        cookie: u64::from(port),
        ..FlowMod::add(
            TableId(1),
            5,
            Match::any().with(Field::InPort, port),
            output(2),
        )
    }
}

fn with(command: FlowCommand, request: FlowMod) -> Message {
    Message::FlowMod(FlowMod { command, ..request })
}

fn monitor(id: u32, flags: u16) -> FlowMonitorRequest {
    FlowMonitorRequest {
        id,
        command: MonitorCommand::Add,
        flags,
        out_port: PortNo::ANY,
        out_group: GroupId::ANY,
        table: TableId::ALL,
        matching: Match::any(),
    }
}

fn follow(c: &mut Controller, request: FlowMonitorRequest) -> Vec<FlowUpdate> {
    let parts = c.multipart(RequestBody::FlowMonitor(vec![request]));
    let updates = |body| match body {
        ReplyBody::FlowMonitor(updates) => updates,
        other => panic!("{other:?}"),
    };
    parts.into_iter().flat_map(updates).collect()
}

/// Event and cookie of what was heard, or the number of an own request; in order.
fn told(heard: Vec<Message>) -> Vec<String> {
    let words = |update: FlowUpdate| match update {
        FlowUpdate::Full(full) => match full.reason {
            None => format!("{:?} {}", full.event, full.cookie),
            Some(reason) => format!("{:?} {} {reason:?}", full.event, full.cookie),
        },
        FlowUpdate::Abbrev(xid) => format!("own {xid}"),
        other => format!("{other:?}"),
    };
    let updates = |message| match message {
        Message::MultipartReply(MultipartReply {
            body: ReplyBody::FlowMonitor(updates),
            ..
        }) => updates,
        other => panic!("{other:?}"),
    };
    heard.into_iter().flat_map(updates).map(words).collect()
}

#[test]
fn others_changes_are_told_in_full_and_own_ones_in_short() {
    for version in versions() {
        let twin = Twin::start(&format!("follow-{version}"), &[]);
        let mut a = Controller::connect(&twin, *version);
        let mut b = Controller::connect(&twin, *version);
        b.does(&Message::FlowMod(flow(1)));
        let first = follow(&mut a, monitor(3, EVERYTHING));
        let [FlowUpdate::Full(there)] = &first[..] else {
            panic!("{first:?}")
        };
        let event = match version {
            // 1.3 has no word of its own for what is there.
            Version::V1_3 => FlowEvent::Added,
            _ => FlowEvent::Initial,
        };
        assert_eq!((there.event, there.cookie), (event, 1), "{version}");
        assert_eq!(there.instructions, output(2), "{version}");
        b.does(&Message::FlowMod(flow(2)));
        let to_3 = FlowMod {
            instructions: output(3),
            ..flow(1)
        };
        b.does(&with(FlowCommand::ModifyStrict, to_3));
        b.does(&with(FlowCommand::DeleteStrict, flow(2)));
        assert_eq!(
            told(a.heard()),
            ["Added 2", "Modified 1", "Removed 2 Delete"],
            "{version}"
        );
        let own = a.next_xid();
        a.does(&Message::FlowMod(flow(4)));
        // A request that changes several flows is told once.
        let all = a.next_xid();
        let delete_all = FlowMod {
            matching: Match::any(),
            table: TableId::ALL,
            instructions: Instructions::drop(),
            ..flow(0)
        };
        a.does(&with(FlowCommand::Delete, delete_all));
        assert_eq!(
            told(a.heard()),
            [format!("own {own}"), format!("own {all}")],
            "{version}"
        );
        let timed = FlowMod {
            hard_timeout: 1,
            ..flow(9)
        };
        a.does(&Message::FlowMod(timed));
        a.heard();
        assert_eq!(told(vec![a.hear()]), ["Removed 9 HardTimeout"]);
    }
}

#[test]
fn a_monitor_is_about_what_it_names_until_it_ends() {
    for version in versions() {
        let twin = Twin::start(&format!("names-{version}"), &[]);
        let mut a = Controller::connect(&twin, *version);
        let mut b = Controller::connect(&twin, *version);
        let request = FlowMonitorRequest {
            table: TableId(1),
            out_port: PortNo(2),
            matching: Match::any().with(Field::InPort, 7u32),
            ..monitor(1, MONITOR_ADD | MONITOR_REMOVED | MONITOR_NO_ABBREV)
        };
        assert_eq!(follow(&mut a, request.clone()), []);
        let again = RequestBody::FlowMonitor(vec![request.clone()]);
        let again = MultipartRequest {
            more: false,
            body: again,
        };
        a.refused(&Message::MultipartRequest(again), OFPMOFC_MONITOR_EXISTS);
        b.does(&Message::FlowMod(flow(7)));
        b.does(&Message::FlowMod(flow(8)));
        let elsewhere = FlowMod {
            table: TableId(2),
            ..flow(7)
        };
        b.does(&Message::FlowMod(elsewhere));
        let to_3 = FlowMod {
            instructions: output(3),
            priority: 9,
            ..flow(7)
        };
        b.does(&Message::FlowMod(to_3));
        b.does(&with(FlowCommand::ModifyStrict, flow(7)));
        // Its own, in full: it asked for that.
        a.does(&with(FlowCommand::DeleteStrict, flow(7)));
        assert_eq!(
            told(a.heard()),
            ["Added 7", "Removed 7 Delete"],
            "{version}"
        );
        let end = match version {
            Version::V1_3 => Message::FlowMonitorCancel(1),
            _ => Message::MultipartRequest(MultipartRequest {
                more: false,
                body: RequestBody::FlowMonitor(vec![FlowMonitorRequest {
                    command: MonitorCommand::Delete,
                    ..request
                }]),
            }),
        };
        a.send(&end);
        a.barrier();
        b.does(&Message::FlowMod(flow(7)));
        let told = a.heard();
        let told = told.iter().filter(|m| !matches!(m, Message::MultipartReply(r) if matches!(&r.body, ReplyBody::FlowMonitor(u) if u.is_empty())));
        assert_eq!(told.count(), 0, "{version}");
    }
}

#[test]
fn only_own_changes_are_told_to_who_wants_it_so_but_open_vswitch_means_something_else_by_it() {
    for version in versions().iter().filter(|v| **v >= Version::V1_4) {
        let twin = Twin::start(&format!("own-{version}"), &[]);
        let mut strict = Controller::connect(&twin, *version);
        let mut ovs = Controller::connect(&twin, *version);
        let only_own = MONITOR_ADD | MONITOR_ONLY_OWN;
        follow(&mut strict, monitor(1, only_own | MONITOR_NO_ABBREV));
        // As `ovs-ofctl monitor BRIDGE watch:` asks.
        follow(&mut ovs, monitor(1, EVERYTHING | MONITOR_ONLY_OWN));
        ovs.does(&Message::FlowMod(flow(1)));
        strict.does(&Message::FlowMod(flow(2)));
        assert_eq!(told(strict.heard()), ["Added 2"], "{version}");
        assert_eq!(told(ovs.heard()), ["Added 1", "Added 2"], "{version}");
    }
}

#[test]
fn a_controller_that_does_not_read_is_told_the_difference_later() {
    for version in versions() {
        let twin = Twin::start(&format!("slow-{version}"), &[]);
        let mut slow = Controller::connect(&twin, *version);
        let mut b = Controller::connect(&twin, *version);
        assert_eq!(follow(&mut slow, monitor(1, EVERYTHING)), []);
        // More than any socket's buffer takes.
        const FLOWS: u32 = 40_000;
        for port in 1..=FLOWS {
            b.send(&Message::FlowMod(flow(port)));
        }
        b.barrier();
        // While nothing is told: one more, one less, and one that comes and goes.
        b.does(&Message::FlowMod(flow(FLOWS + 1)));
        b.does(&with(FlowCommand::DeleteStrict, flow(1)));
        b.does(&Message::FlowMod(flow(FLOWS + 2)));
        b.does(&with(FlowCommand::DeleteStrict, flow(FLOWS + 2)));
        let (mut known, mut paused) = (std::collections::BTreeSet::new(), false);
        loop {
            let updates = match slow.hear() {
                Message::MultipartReply(MultipartReply {
                    body: ReplyBody::FlowMonitor(updates),
                    ..
                }) => updates,
                Message::FlowMonitorPaused => vec![FlowUpdate::Paused],
                Message::FlowMonitorResumed => vec![FlowUpdate::Resumed],
                other => panic!("{other:?}"),
            };
            let mut resumed = false;
            for update in updates {
                match update {
                    FlowUpdate::Full(full) if full.event == FlowEvent::Removed => {
                        assert!(known.remove(&full.cookie), "{}", full.cookie);
                    }
                    FlowUpdate::Full(full) => {
                        assert!(known.insert(full.cookie), "{} twice", full.cookie);
                    }
                    FlowUpdate::Paused => paused = true,
                    FlowUpdate::Resumed => resumed = true,
                    FlowUpdate::Abbrev(xid) => panic!("{xid} is not mine"),
                }
            }
            if resumed {
                break;
            }
        }
        assert!(paused, "{version}: it was never held back");
        let all: std::collections::BTreeSet<u64> = (2..=u64::from(FLOWS) + 1).collect();
        assert_eq!(known, all, "{version}");
    }
}
