//! Flows in text and on the wire, compared with `ovs-ofctl`.

mod common;

use openflow::model::{FlowCommand, FlowMod};
use openflow::msg::{FlowStats, MultipartReply, ReplyBody};
use openflow::text::{self, Names};
use openflow::{Message, Version, wire};

/// Flows that `ovs-ofctl add-flow` takes, one for each form that we know.
const FLOWS: &str = include_str!("flows.txt");

fn flows() -> Vec<&'static str> {
    let lines = FLOWS.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

fn parse(line: &str) -> FlowMod {
    text::parse_flow(line, FlowCommand::Add, Names::NONE).unwrap_or_else(|e| panic!("{line}: {e}"))
}

fn stats(flow: &FlowMod) -> FlowStats {
    FlowStats {
        table: flow.table,
        duration_sec: 5,
        duration_nsec: 120_000_000,
        priority: flow.priority,
        idle_timeout: flow.idle_timeout,
        hard_timeout: flow.hard_timeout,
        flags: flow.flags,
        importance: 0,
        cookie: flow.cookie,
        packet_count: 3,
        byte_count: 180,
        matching: flow.matching.clone(),
        instructions: flow.instructions.clone(),
        more: openflow::msg::MoreStats::default(),
    }
}

#[test]
fn flows_print_as_open_vswitch_prints_them() {
    if !common::have_oracle() {
        return;
    }
    let flows: Vec<FlowStats> = flows().iter().map(|line| stats(&parse(line))).collect();
    let reply = |list: &[FlowStats]| {
        common::encode(&Message::MultipartReply(MultipartReply {
            more: false,
            body: ReplyBody::Flow(list.to_vec()),
        }))
    };
    let messages: Vec<u8> = flows
        .iter()
        .flat_map(|flow| reply(std::slice::from_ref(flow)))
        .collect();
    let theirs = common::ofp_parse(&messages);
    let theirs = common::entries(&theirs, "OFPST_FLOW reply (OF1.3) (xid=0x7):");
    let mut differences = common::Differences::default();
    for (at, flow) in flows.iter().enumerate() {
        let ours = format!(" {}", text::print_flow_stats(flow, Names::NONE));
        differences.compare("", &ours, theirs.get(at));
    }
    differences.none();
    assert_eq!(theirs.len(), flows.len());
}

#[test]
fn flows_mean_what_open_vswitch_sends_for_them() {
    if !common::have_oracle() {
        return;
    }
    let lines = flows();
    let (sent, errors) = common::ofctl_sends(&["add-flows"], &lines.join("\n"));
    assert_eq!(sent.len(), lines.len(), "{errors}");
    let mut differences = common::Differences::default();
    for (line, frame) in lines.iter().zip(&sent) {
        let theirs = format!("{:?}", wire::decode(Version::V1_3, frame));
        let ours: Result<_, openflow::OfError> = Ok(Message::FlowMod(parse(line)));
        differences.compare(line, &format!("{ours:?}"), Some(&theirs));
    }
    differences.none();
}

#[test]
fn what_is_printed_parses_to_the_same() {
    for line in flows() {
        let flow = parse(line);
        let printed = text::print_flow_stats(&stats(&flow), Names::NONE);
        assert_eq!(parse(&printed), flow, "{line}\n{printed}");
        let printed = text::print_flow_mod(&flow, Names::NONE);
        assert_eq!(parse(&printed), flow, "{line}\n{printed}");
    }
}
