//! Random messages of every kind: `ovs-ofctl ofp-print` accepts what we encode, and prints random
//! matches as we do.

mod arbitrary;
mod common;

use net::{GroupId, PortNo, TableId};
use openflow::field::Prereq;
use openflow::model::{Bucket, FlowMod, GroupType};
use openflow::msg::{
    FlowStats, GroupDesc, MONITOR_NO_ABBREV, MultipartReply, ReplyBody, RequestBody,
};
use openflow::text::{self, Names};
use openflow::{Action, Field, Instructions, Match, Message, Version};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

/// Fields that Open vSwitch 3.1 does not have, or refuses for reasons of its own.
fn known(matching: &Match) -> bool {
    matching.iter().all(|entry| {
        let field = entry.field;
        let prereq = field.info().prereq;
        !matches!(
            field,
            Field::InPhyPort | Field::PbbIsid | Field::PbbUca | Field::Ipv6Exthdr
            // Of the packet type only Ethernet, or no match.
            | Field::PacketType
            // Printed there only behind a ct_nw_proto.
            | Field::CtTpSrc | Field::CtTpDst
            // Printed there without its mask.
            | Field::TunGbpFlags
        ) && prereq != Prereq::Pbb
            // Combinations without a name.
            && (field != Field::IpFrag || !matches!((entry.value, entry.mask), (2, 2) | (0, 1) | (2, 3)))
    })
}

fn stats(matching: Match, instructions: Instructions) -> FlowStats {
    let flow = FlowMod::add(TableId(0), 1, matching, instructions);
    FlowStats {
        table: TableId(0),
        duration_sec: 1,
        duration_nsec: 0,
        priority: flow.priority,
        idle_timeout: 0,
        hard_timeout: 0,
        flags: 0,
        importance: 0,
        cookie: 0,
        packet_count: 0,
        byte_count: 0,
        matching: flow.matching,
        instructions: flow.instructions,
        more: openflow::msg::MoreStats::default(),
    }
}

fn compare(flows: &[FlowStats]) {
    let mut messages = Vec::new();
    for flow in flows {
        messages.extend(common::encode(&Message::MultipartReply(MultipartReply {
            more: false,
            body: ReplyBody::Flow(vec![flow.clone()]),
        })));
    }
    let theirs = common::ofp_parse(&messages);
    let theirs = common::entries(&theirs, "OFPST_FLOW reply (OF1.3) (xid=0x7):");
    let mut differences = common::Differences::default();
    for (at, flow) in flows.iter().enumerate() {
        let ours = format!(" {}", text::print_flow_stats(flow, Names::NONE));
        differences.compare(&format!("{:?}", flow.matching), &ours, theirs.get(at));
    }
    differences.none();
}

#[test]
fn random_matches_print_as_open_vswitch_prints_them() {
    if !common::have_oracle() {
        return;
    }
    let mut runner = TestRunner::deterministic();
    let matches = arbitrary::matching();
    let flows: Vec<FlowStats> = (0..2000)
        .map(|_| matches.new_tree(&mut runner).unwrap().current())
        .filter(known)
        .map(|matching| stats(matching, Instructions::drop()))
        .collect();
    assert!(flows.len() > 1000);
    compare(&flows);
}

#[test]
fn random_actions_print_as_open_vswitch_prints_them() {
    if !common::have_oracle() {
        return;
    }
    let mut runner = TestRunner::deterministic();
    let actions = arbitrary::action();
    let mut descs = Vec::new();
    while descs.len() < 1000 {
        let action = actions.new_tree(&mut runner).unwrap().current();
        let desc = GroupDesc {
            group: GroupId(1),
            kind: GroupType::Select,
            buckets: vec![Bucket {
                id: 0,
                weight: 1,
                watch_port: PortNo::ANY,
                watch_group: GroupId::ANY,
                actions: vec![action],
                properties: Vec::new(),
            }],
            selection: None,
            properties: Vec::new(),
        };
        if !ours_alone(&group_reply(&desc)) {
            descs.push(desc);
        }
    }
    let stream: Vec<u8> = descs
        .iter()
        .flat_map(|d| common::encode(&group_reply(d)))
        .collect();
    let heading = "OFPST_GROUP_DESC reply (OF1.3) (xid=0x7):";
    let theirs = common::entries(&common::ofp_parse(&stream), heading);
    let mut differences = common::Differences::default();
    for (at, desc) in descs.iter().enumerate() {
        let ours = format!(" {}", text::print_group_desc(desc, Names::NONE));
        differences.compare(
            &format!("{:?}", desc.buckets[0].actions),
            &ours,
            theirs.get(at),
        );
    }
    differences.none();
}

fn group_reply(desc: &GroupDesc) -> Message {
    Message::MultipartReply(MultipartReply {
        more: false,
        body: ReplyBody::GroupDesc(vec![desc.clone()]),
    })
}

#[test]
fn every_random_message_is_accepted() {
    if !common::have_oracle() {
        return;
    }
    let mut refused = Vec::new();
    for version in Version::ALL {
        refused.extend(refused_of(*version, 400));
    }
    let count = refused.len();
    assert!(refused.is_empty(), "{count}:\n{}", refused.join("\n"));
}

/// Of so many random messages of a version, those that the oracle refuses.
fn refused_of(version: Version, count: usize) -> Vec<String> {
    let mut runner = TestRunner::deterministic();
    let messages = arbitrary::later::message_in(version);
    let (mut refused, mut kept) = (Vec::new(), Vec::new());
    while kept.len() < count {
        let message = messages.new_tree(&mut runner).unwrap().current();
        if !ours_alone(&message) {
            kept.push(message);
        }
    }
    // Halves, until the culprits are alone.
    let mut waiting = vec![kept.as_slice()];
    while let Some(part) = waiting.pop() {
        let encode = |message| common::encode_in(version, message);
        let stream: Vec<u8> = part.iter().flat_map(encode).collect();
        let text = common::ofp_parse(&stream);
        let Some(error) = text.lines().find(|line| line.contains("***decode error")) else {
            continue;
        };
        if part.len() == 1 {
            refused.push(format!("{version}: {error}\n {:?}", part[0]));
        } else {
            let (a, b) = part.split_at(part.len() / 2);
            waiting.extend([a, b]);
        }
    }
    refused
}

/// Messages with parts that Open vSwitch does not have or does not print.
fn ours_alone(message: &Message) -> bool {
    match message {
        // What goes on is the switch's own; data of errors is a message.
        Message::PacketIn2(m) | Message::Resume(m)
            if m.continuation.is_some() || m.data.is_empty() =>
        {
            return true;
        }
        // They came after Open vSwitch 3.1, if at all.
        Message::ControllerStatus(_) => return true,
        Message::SetAsync(m) if m.entries.iter().any(|e| e.kind.since() > Version::V1_4) => {
            return true;
        }
        Message::RequestForward(m) => return ours_alone(&m.request),
        Message::MultipartRequest(m) => match &m.body {
            RequestBody::ControllerStatus
            | RequestBody::BundleFeatures(_)
            | RequestBody::FlowCounters(_) => return true,
            // A flag that it takes on 1.3 only.
            RequestBody::FlowMonitor(list)
                if list.iter().any(|m| m.flags & MONITOR_NO_ABBREV != 0) =>
            {
                return true;
            }
            _ => {}
        },
        Message::MultipartReply(m) => match &m.body {
            ReplyBody::ControllerStatus(_)
            | ReplyBody::BundleFeatures(_)
            | ReplyBody::FlowCounters(_) => return true,
            // Features of 1.5.1, which it does not know.
            ReplyBody::MeterFeatures(m) if m.features != 0 => return true,
            // Not even told of a stranger's property there.
            ReplyBody::GroupDesc(_) if format!("{m:?}").contains("RawProperty") => return true,
            // There is always a table.
            ReplyBody::TableDesc(list) if list.is_empty() => return true,
            _ => {}
        },
        Message::Error(_) => return true,
        // Weights there are for select groups only.
        Message::GroupMod(m) if m.kind != GroupType::Select => return true,
        Message::BundleAdd(add) => {
            return matches!(*add.message, Message::MeterMod(_) | Message::TableMod(_))
                || ours_alone(&add.message);
        }
        _ => {}
    }
    let text = format!("{message:?}");
    // A request with a stranger's property is refused there too.
    let told = matches!(
        message,
        Message::MultipartReply(_)
            | Message::PortStatus(_)
            | Message::TableStatus(_)
            | Message::RoleStatus(_)
    );
    if !told && text.contains("RawProperty") {
        return true;
    }
    let unknown = [
        "PbbIsid",
        "PbbUca",
        "Ipv6Exthdr",
        "InPhyPort",
        "PacketType",
        "Pbb",
        "CopyTtl",
        "Experimenter",
        "CookieLabels",
        "ZoneLimits",
        "Impairments",
        // Only in flows, and alone; here they are anywhere.
        "Conjunction",
        // Printed there without `ct`, and without what there is no range for.
        "table: None, ct: true",
        "Src, addresses: None",
        "Dst, addresses: None",
        // Not written there.
        "InPort, shift",
        "InPort, value",
        "EthType, shift",
        "EthType, value",
        "IpProto, shift",
        "IpProto, value",
        "MplsBos, shift",
        "MplsBos, value",
        // Only fields that exist there.
        "TableFeatures",
    ];
    unknown.iter().any(|word| text.contains(word))
}

#[test]
fn actions_of_ours_alone_are_few() {
    // What the list above leaves out must not hide the ordinary.
    let flow = stats(Match::any(), Instructions::apply(vec![Action::DecNwTtl]));
    assert!(!ours_alone(&Message::MultipartReply(MultipartReply {
        more: false,
        body: ReplyBody::Flow(vec![flow]),
    })));
}
