//! Conjunctive matches, as ovs-fields(7) explains them.

use std::net::Ipv4Addr;

use net::{FlowKey, TableId};
use openflow::model::{FlowCommand, FlowMod};
use openflow::text::{self, Names};
use openflow::{Field, Instructions, Match};
use tables::Tables;

struct Bench(Tables);

impl Bench {
    /// Flows as `ovs-ofctl add-flow` takes them.
    fn with(flows: &[&str]) -> Bench {
        let mut bench = Bench(Tables::new());
        flows.iter().for_each(|flow| bench.add(flow));
        bench
    }

    fn add(&mut self, flow: &str) {
        let request = text::parse_flow(flow, FlowCommand::Add, Names::NONE).expect("a flow");
        self.0.flow_mod(&request, 0).expect("is taken");
    }

    /// The cookie of the flow that a TCP packet gets; none without a flow.
    fn cookie(&self, src: &str, dst: &str, port: u16) -> Option<u64> {
        let ip = |text: &str| u32::from(text.parse::<Ipv4Addr>().unwrap());
        let mut key = FlowKey {
            nw_src: ip(src).into(),
            nw_dst: ip(dst).into(),
            nw_proto: 6,
            tp_dst: port.into(),
            ..FlowKey::default()
        };
        key.eth_type = 0x0800.into();
        let found = self
            .0
            .pipeline()
            .lookup(TableId(0), &key, &mut FlowKey::default());
        found.map(|rule| rule.cookie)
    }
}

const POLICY: &[&str] = &[
    "cookie=1,conj_id=1234,actions=controller",
    "ip,ip_src=10.0.0.1,actions=conjunction(1234,1/2)",
    "ip,ip_src=10.0.0.4,actions=conjunction(1234,1/2)",
    "ip,ip_src=10.1.0.0/16,actions=conjunction(1234,1/2)",
    "ip,ip_dst=10.0.0.2,actions=conjunction(1234,2/2)",
    "tcp,tp_dst=80,actions=conjunction(1234,2/2)",
];

#[test]
fn a_packet_that_matches_one_flow_of_each_dimension_matches() {
    let bench = Bench::with(POLICY);
    assert_eq!(bench.cookie("10.0.0.1", "10.0.0.2", 9), Some(1));
    assert_eq!(bench.cookie("10.0.0.4", "10.0.0.9", 80), Some(1));
    assert_eq!(bench.cookie("10.1.2.3", "10.0.0.2", 80), Some(1));
    assert_eq!(bench.cookie("10.0.0.1", "10.0.0.9", 9), None);
    assert_eq!(bench.cookie("10.0.0.9", "10.0.0.2", 80), None);
}

#[test]
fn two_flows_of_one_dimension_are_not_two_dimensions() {
    let bench = Bench::with(&[
        "cookie=1,conj_id=7,actions=drop",
        "ip,ip_src=10.0.0.0/8,actions=conjunction(7,1/2)",
        "ip,ip_src=10.0.0.1,actions=conjunction(7,1/2)",
        "tcp,tp_dst=80,actions=conjunction(7,2/2)",
    ]);
    assert_eq!(bench.cookie("10.0.0.1", "10.0.0.2", 9), None);
    assert_eq!(bench.cookie("10.0.0.1", "10.0.0.2", 80), Some(1));
}

#[test]
fn one_flow_may_be_part_of_several_conjunctions() {
    let bench = Bench::with(&[
        "cookie=1,conj_id=1,actions=drop",
        "cookie=2,conj_id=2,actions=drop",
        "ip,ip_src=10.0.0.1,actions=conjunction(1,1/2)",
        "ip,ip_src=10.0.0.2,actions=conjunction(1,1/2),conjunction(2,1/2)",
        "ip,ip_dst=10.0.0.8,actions=conjunction(1,2/2)",
        "ip,ip_dst=10.0.0.9,actions=conjunction(2,2/2),note:01",
    ]);
    assert_eq!(bench.cookie("10.0.0.2", "10.0.0.8", 1), Some(1));
    assert_eq!(bench.cookie("10.0.0.2", "10.0.0.9", 1), Some(2));
    assert_eq!(bench.cookie("10.0.0.1", "10.0.0.9", 1), None);
}

#[test]
fn a_flow_that_matches_by_itself_wins_at_the_same_priority_and_loses_below() {
    let mut bench = Bench::with(POLICY);
    bench.add("cookie=5,priority=1,actions=drop");
    assert_eq!(bench.cookie("10.0.0.1", "10.0.0.2", 9), Some(1));
    assert_eq!(bench.cookie("10.0.0.1", "10.0.0.9", 9), Some(5));
    bench.add("cookie=6,ip,actions=drop");
    assert_eq!(bench.cookie("10.0.0.1", "10.0.0.2", 9), Some(6));
}

#[test]
fn without_a_flow_for_its_number_a_conjunction_has_not_matched() {
    let mut bench = Bench::with(&POLICY[1..]);
    assert_eq!(bench.cookie("10.0.0.1", "10.0.0.2", 9), None);
    bench.add("cookie=7,conj_id=1234,udp,actions=drop");
    assert_eq!(bench.cookie("10.0.0.1", "10.0.0.2", 9), None);
    bench.add("cookie=8,conj_id=1234,tcp,tp_dst=80,actions=drop");
    assert_eq!(bench.cookie("10.0.0.1", "10.0.0.2", 80), Some(8));
    assert_eq!(bench.cookie("10.0.0.1", "10.0.0.2", 9), None);
}

#[test]
fn what_fails_at_one_priority_is_tried_at_the_next() {
    let bench = Bench::with(&[
        "cookie=1,priority=5,conj_id=1,actions=drop",
        "cookie=2,priority=5,conj_id=2,actions=drop",
        // The same matches at two priorities: the higher ones lack a dimension.
        "priority=20,ip,ip_src=10.0.0.1,actions=conjunction(1,1/3)",
        "priority=20,tcp,tp_dst=80,actions=conjunction(1,2/3)",
        "priority=10,ip,ip_src=10.0.0.1,actions=conjunction(2,1/2)",
        "priority=10,tcp,tp_dst=80,actions=conjunction(2,2/2)",
    ]);
    assert_eq!(bench.cookie("10.0.0.1", "10.0.0.2", 80), Some(2));
}

#[test]
fn flows_that_lose_their_clauses_answer_for_themselves() {
    let mut bench = Bench::with(POLICY);
    bench.add("cookie=9,ip,ip_src=10.0.0.1,actions=drop");
    assert_eq!(bench.cookie("10.0.0.1", "10.0.0.2", 80), Some(9));
    assert_eq!(bench.cookie("10.0.0.4", "10.0.0.2", 80), Some(1));
}

#[test]
fn a_thousand_sources_times_a_thousand_destinations_take_two_thousand_flows() {
    let mut tables = Tables::new();
    let add = |tables: &mut Tables, field: Field, n: u32, clause: u8| {
        let matching = Match::any().with(Field::EthType, 0x0800u16).with(field, n);
        let clause = format!("conjunction(9,{clause}/2)");
        let actions = text::parse_actions(&clause, &matching, Names::NONE).unwrap();
        let request = FlowMod::add(TableId(0), 100, matching, Instructions::apply(actions));
        tables.flow_mod(&request, 0).unwrap();
    };
    for n in 0..1000 {
        add(&mut tables, Field::Ipv4Src, n, 1);
        add(&mut tables, Field::Ipv4Dst, n, 2);
    }
    let matching = Match::any().with(Field::ConjId, 9u32);
    let answer = FlowMod::add(TableId(0), 100, matching, Instructions::drop());
    tables.flow_mod(&answer, 0).unwrap();
    let bench = Bench(tables);
    let ip = |n: u32| Ipv4Addr::from(n).to_string();
    for n in 0..1000 {
        assert_eq!(bench.cookie(&ip(n), &ip(999 - n), 1), Some(0));
        assert_eq!(bench.cookie(&ip(n), &ip(1000 + n), 1), None);
    }
}
