//! Bundles: all or nothing, gone with their connection, in every version.

#[allow(dead_code)] // each test file uses a part of it
mod twin;

use net::{GroupId, PortNo, TableId};
use openflow::error::*;
use openflow::model::*;
use openflow::msg::*;
use openflow::{Action, Field, Instructions, Match, Message, Version};
use twin::Twin;
use twin::controller::Controller;

fn flow(port: u32, actions: Vec<Action>) -> Message {
    let matching = Match::any().with(Field::InPort, port);
    let does = Instructions::apply(actions);
    Message::FlowMod(FlowMod::add(TableId(0), 5, matching, does))
}

fn to(port: u32) -> Vec<Action> {
    vec![Action::Output {
        port: PortNo(port),
        max_len: 0,
    }]
}

fn control(bundle: u32, kind: BundleControlType, flags: u16) -> Message {
    Message::BundleControl(BundleControl {
        bundle,
        kind,
        flags,
        properties: Vec::new(),
    })
}

fn add(c: &Controller, bundle: u32, message: Message) -> Message {
    Message::BundleAdd(BundleAdd {
        bundle,
        flags: BUNDLE_ATOMIC | BUNDLE_ORDERED,
        xid: c.next_xid(),
        message: Box::new(message),
        properties: Vec::new(),
    })
}

const FLAGS: u16 = BUNDLE_ATOMIC | BUNDLE_ORDERED;

fn flows(c: &mut Controller) -> usize {
    let parts = c.multipart(RequestBody::Flow(FlowStatsRequest::default()));
    let count = |part: &ReplyBody| match part {
        ReplyBody::Flow(flows) => flows.len(),
        other => panic!("{other:?}"),
    };
    parts.iter().map(count).sum()
}

fn group(id: u32) -> Message {
    Message::GroupMod(GroupMod {
        command: GroupCommand::Add,
        kind: GroupType::Indirect,
        group: GroupId(id),
        command_bucket_id: BUCKET_ALL,
        buckets: vec![Bucket {
            id: 0,
            weight: 0,
            watch_port: PortNo::ANY,
            watch_group: GroupId::ANY,
            actions: to(1),
            properties: Vec::new(),
        }],
        selection: None,
        properties: Vec::new(),
    })
}

#[test]
fn messages_of_several_kinds_take_effect_together_in_their_order() {
    use BundleControlType::{CloseRequest, CommitRequest, OpenRequest};
    for version in Version::SUPPORTED {
        let twin = Twin::start(&format!("together-{version}"), &[]);
        let mut c = Controller::connect(&twin, *version);
        let reply = c.ask(&control(4, OpenRequest, FLAGS));
        assert_eq!(reply, control(4, BundleControlType::OpenReply, FLAGS));
        let parts = [
            group(3),
            flow(1, vec![Action::Group(GroupId(3))]),
            flow(2, to(2)),
        ];
        for part in parts {
            let add = add(&c, 4, part);
            c.does(&add);
        }
        assert_eq!(flows(&mut c), 0, "{version}");
        let reply = c.ask(&control(4, CloseRequest, FLAGS));
        assert_eq!(reply, control(4, BundleControlType::CloseReply, FLAGS));
        let late = add(&c, 4, flow(9, to(1)));
        c.refused(&late, OFPBFC_BUNDLE_CLOSED);
        let reply = c.ask(&control(4, CommitRequest, FLAGS));
        assert_eq!(reply, control(4, BundleControlType::CommitReply, FLAGS));
        assert_eq!(flows(&mut c), 2, "{version}");
        c.refused(&control(4, CommitRequest, FLAGS), OFPBFC_BAD_ID);
    }
}

#[test]
fn one_bad_message_spoils_all_and_is_named_by_its_own_number() {
    use BundleControlType::{CommitRequest, OpenRequest};
    for version in Version::SUPPORTED {
        let twin = Twin::start(&format!("spoils-{version}"), &[]);
        let mut c = Controller::connect(&twin, *version);
        c.does(&flow(7, to(1)));
        c.ask(&control(1, OpenRequest, FLAGS));
        let good = add(&c, 1, flow(1, to(1)));
        c.does(&good);
        let inner = c.next_xid();
        let bad = add(&c, 1, flow(2, vec![Action::Group(GroupId(77))]));
        c.does(&bad);
        let delete_all = Message::FlowMod(FlowMod {
            command: FlowCommand::Delete,
            ..FlowMod::add(TableId::ALL, 0, Match::any(), Instructions::drop())
        });
        let delete = add(&c, 1, delete_all);
        c.does(&delete);
        let commit = c.send(&control(1, CommitRequest, FLAGS));
        let (first_xid, first) = c.frame();
        let (second_xid, second) = c.frame();
        assert_eq!((first_xid, second_xid), (inner, commit), "{version}");
        let (Message::Error(first), Message::Error(second)) = (first, second) else {
            panic!()
        };
        assert_eq!(first.error, OFPBAC_BAD_OUT_GROUP);
        // The inner message itself, from its header on.
        assert_eq!(first.data[..2], [*version as u8, 14], "{version}");
        assert_eq!(second.error, OFPBFC_MSG_FAILED);
        assert_eq!(flows(&mut c), 1, "{version}");
        c.refused(&control(1, CommitRequest, FLAGS), OFPBFC_BAD_ID);
    }
}

#[test]
fn a_bundle_is_gone_with_its_connection_or_when_it_is_opened_again() {
    use BundleControlType::{CommitRequest, DiscardRequest, OpenRequest};
    for version in Version::SUPPORTED {
        let twin = Twin::start(&format!("gone-{version}"), &[]);
        let mut c = Controller::connect(&twin, *version);
        c.ask(&control(1, OpenRequest, FLAGS));
        let part = add(&c, 1, flow(1, to(1)));
        c.does(&part);
        drop(c);
        let mut c = Controller::connect(&twin, *version);
        c.refused(&control(1, CommitRequest, FLAGS), OFPBFC_BAD_ID);
        c.ask(&control(1, OpenRequest, FLAGS));
        c.refused(&control(1, CommitRequest, BUNDLE_ATOMIC), OFPBFC_BAD_FLAGS);
        c.ask(&control(1, OpenRequest, FLAGS));
        c.refused(&control(1, OpenRequest, FLAGS), OFPBFC_BUNDLE_EXIST);
        c.ask(&control(1, OpenRequest, FLAGS));
        let reply = c.ask(&control(1, DiscardRequest, FLAGS));
        assert_eq!(reply, control(1, BundleControlType::DiscardReply, FLAGS));
        for id in 0..64 {
            c.ask(&control(id, OpenRequest, FLAGS));
        }
        c.refused(&control(64, OpenRequest, FLAGS), OFPBFC_OUT_OF_BUNDLES);
        assert_eq!(flows(&mut c), 0);
    }
}

#[test]
fn a_bundle_of_which_nothing_is_heard_is_given_up() {
    use BundleControlType::{CommitRequest, OpenRequest};
    for version in Version::SUPPORTED {
        let twin = Twin::start(&format!("idle-{version}"), &[]);
        let mut c = Controller::connect(&twin, *version);
        c.ask(&control(1, OpenRequest, FLAGS));
        twin.later(9);
        let last = c.next_xid();
        let part = add(&c, 1, flow(1, to(1)));
        c.does(&part);
        twin.later(9);
        // It was heard of 9 seconds ago.
        c.ask(&control(2, OpenRequest, FLAGS));
        twin.later(2);
        let Message::Error(error) = c.answer(last) else {
            panic!()
        };
        assert_eq!(error.error, OFPBFC_TIMEOUT, "{version}");
        c.refused(&control(1, CommitRequest, FLAGS), OFPBFC_BAD_ID);
        let reply = c.ask(&control(2, CommitRequest, FLAGS));
        assert_eq!(reply, control(2, BundleControlType::CommitReply, FLAGS));
    }
}
