//! What packets ask for, and packets that wait for their controller.

#[allow(dead_code)] // each test file uses a part of it
mod twin;

use std::sync::Arc;

use net::{GroupId, PortNo, TableId};
use openflow::error::*;
use openflow::msg::*;
use openflow::text::{self, Names};
use openflow::{Action, Match, Message, Version};
use tables::Learned;
use twin::controller::Controller;
use twin::{Told, Twin};
use worker::Request;

fn learned(text: &str) -> Arc<Learned> {
    let actions = text::parse_actions(text, &Match::any(), Names::NONE).unwrap();
    let [Action::Learn(learn)] = &*actions else {
        panic!("{text}")
    };
    let key = net::FlowKey {
        in_port: 2.into(),
        ..net::FlowKey::default()
    };
    Arc::new(Learned::new(learn, |src| src.get(&key)))
}

fn flows_in(c: &mut Controller, table: u8) -> Vec<FlowStats> {
    let request = FlowStatsRequest {
        table: TableId(table),
        ..FlowStatsRequest::default()
    };
    let replies = c.multipart(RequestBody::Flow(request));
    let flows = replies.into_iter().flat_map(|body| match body {
        ReplyBody::Flow(flows) => flows,
        other => panic!("{other:?}"),
    });
    flows.collect()
}

#[test]
fn a_barrier_and_statistics_cover_what_packets_asked_for() {
    let twin = Twin::start("learned", &[]);
    let mut c = Controller::connect(&twin, Version::V1_3);
    let first = learned("learn(table=7,cookie=9,idle_timeout=5,in_port=1,output:NXM_OF_IN_PORT[])");
    twin.requests.push(Request::Learn(first));
    let flows = flows_in(&mut c, 7);
    assert_eq!(flows.len(), 1);
    assert_eq!(
        (
            flows[0].cookie,
            flows[0].idle_timeout,
            flows[0].matching.to_string()
        ),
        (9, 5, "in_port=1".to_owned())
    );
    assert_eq!(flows[0].instructions.to_string(), "output:2");
    // One that cannot be is no more than not learned.
    let nowhere = learned("learn(table=254,in_port=1)");
    twin.requests.push(Request::Learn(nowhere));
    c.barrier();
    assert_eq!(flows_in(&mut c, 7).len(), 1);
}

fn paused(frames: Vec<Frame>) -> worker::PacketIn {
    worker::PacketIn {
        reason: 1,
        table: TableId(3),
        cookie: 4,
        total_len: 60,
        data: vec![7; 60],
        key: net::FlowKey {
            in_port: 1.into(),
            metadata: 5.into(),
            ..net::FlowKey::default()
        },
        controller_id: 0,
        userdata: Arc::from([1, 2]),
        rest: Some(Arc::new(Continuation {
            stack: vec![vec![1]],
            frames,
            ..Continuation::default()
        })),
    }
}

#[test]
fn a_packet_that_waited_goes_on_when_it_comes_back_as_it_was() {
    for version in Version::SUPPORTED {
        let twin = Twin::start(&format!("resumed-{version}"), &[]);
        let mut c = Controller::connect(&twin, *version);
        c.does(&Message::SetPacketInFormat(PacketInFormat::Nxt2));
        twin.packet_in(paused(vec![Frame {
            table: TableId(3),
            cookie: 4,
            actions: vec![Action::Exit],
        }]));
        let Message::PacketIn2(waits) = c.hear() else {
            panic!("no packet-in")
        };
        assert_eq!(waits.userdata, [1, 2]);
        twin.told();
        c.does(&Message::Resume(waits.clone()));
        let went_on = |told: &Told| matches!(told, Told::PacketOut(p) if p.in_port == PortNo(1) && p.data == [7; 60]);
        assert!(twin.told().iter().any(went_on));

        let changed = |change: &dyn Fn(&mut PacketIn2, &mut Continuation)| {
            let mut packet = waits.clone();
            let mut rest = packet.continuation.take().expect("it waits");
            change(&mut packet, &mut rest);
            packet.continuation = Some(rest);
            Message::Resume(packet)
        };
        let mut without = waits.clone();
        without.continuation = None;
        c.refused(&Message::Resume(without), NXR_STALE);
        c.refused(&changed(&|_, rest| rest.bridge ^= 1), NXR_STALE);
        c.refused(&changed(&|_, rest| rest.stack.push(vec![1; 17])), NXR_STALE);
        c.refused(
            &changed(&|packet, _| packet.data.truncate(13)),
            OFPBRC_BAD_PACKET,
        );
        c.refused(
            &changed(&|packet, _| packet.matching = Match::any()),
            OFPBRC_BAD_PORT,
        );
        c.refused(
            &changed(&|_, rest| rest.frames[0].table = TableId(254)),
            OFPBRC_BAD_TABLE_ID,
        );
        let group = || vec![Action::Group(GroupId(77))];
        c.refused(
            &changed(&|_, rest| rest.frames[0].actions = group()),
            OFPBAC_BAD_OUT_GROUP,
        );
        c.refused(
            &changed(&|_, rest| rest.action_set = group()),
            OFPBAC_BAD_OUT_GROUP,
        );
        assert!(!twin.told().iter().any(went_on));
    }
}
