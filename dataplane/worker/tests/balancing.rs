//! Load balancing with packets: established connections stay where they are when the backends
//! change, nodes choose alike, and clients stay with their backend as long as they come.

mod common;

use std::collections::BTreeMap;

use common::{Rig, SECOND, output, udp};
use net::GroupId;
use openflow::Action;
use openflow::model::{Bucket, FlowCommand, GroupCommand, GroupMod, GroupType};
use openflow::text::Names;
use worker::Config;

const BACKENDS: u32 = 6;

fn group(rig: &mut Rig, command: GroupCommand, buckets: Vec<(Vec<Action>, u16)>) {
    numbered(rig, 1, command, buckets);
}

fn numbered(rig: &mut Rig, id: u32, command: GroupCommand, buckets: Vec<(Vec<Action>, u16)>) {
    let bucket = |(at, (actions, weight)): (usize, (Vec<Action>, u16))| Bucket {
        id: at as u32,
        weight,
        watch_port: net::PortNo::ANY,
        watch_group: GroupId::ANY,
        actions,
        properties: Vec::new(),
    };
    let request = GroupMod {
        command,
        kind: GroupType::Select,
        group: GroupId(id),
        command_bucket_id: 0,
        buckets: buckets.into_iter().enumerate().map(bucket).collect(),
        selection: None,
        properties: Vec::new(),
    };
    rig.tables.group_mod(&request, rig.now).unwrap();
    rig.tables.publish();
}

/// The actions of a bucket as `ovs-ofctl` writes them.
fn actions(text: &str) -> Vec<Action> {
    let flow = format!("ip,actions={text}");
    let request = openflow::text::parse_flow(&flow, FlowCommand::Add, Names::NONE).unwrap();
    request.instructions.apply.to_vec()
}

/// Backend 10.0.0.N behind port N; clients behind port 1.
fn backend(host: u32) -> (Vec<Action>, u16) {
    let to = format!("ct(commit,zone=1,table=2,nat(dst=10.0.0.{host}:8080))");
    (actions(&to), 100)
}

fn service(rig: &mut Rig, hosts: &[u32]) {
    let buckets = hosts.iter().map(|host| backend(*host)).collect();
    group(rig, GroupCommand::Add, buckets);
    rig.add("ip,actions=ct(zone=1,nat,table=1)");
    rig.add(
        "table=1,priority=9,ct_state=+trk+new-dnat,udp,nw_dst=10.0.0.200,tp_dst=80,actions=group:1",
    );
    rig.add("table=1,priority=1,ct_state=+trk-inv,ip,actions=resubmit(,2)");
    for host in 1..=BACKENDS {
        rig.add(&format!(
            "table=2,ip,nw_dst=10.0.0.{host},actions=output:{host}"
        ));
    }
}

fn request(client: u16) -> Vec<u8> {
    udp(1, 200, (client, 80), b"request")
}

/// Which backend each client reaches.
fn reached(rig: &mut Rig, clients: std::ops::Range<u16>) -> BTreeMap<u16, u32> {
    clients
        .map(|client| {
            rig.send(1, &request(client));
            let out = rig.all_out();
            assert_eq!(out.len(), 1, "{}", rig.why());
            (client, out[0].0)
        })
        .collect()
}

#[test]
fn established_connections_keep_their_backend_when_it_leaves_the_group() {
    let mut rig = Rig::new(BACKENDS);
    service(&mut rig, &[2, 3, 4, 5]);
    let before = reached(&mut rig, 1000..1400);
    for (client, host) in &before {
        rig.send(*host, &udp(*host as u8, 1, (8080, *client), b"reply"));
    }
    assert_eq!(rig.out(1).len(), 400);
    // Backend 3 goes, 6 comes.
    let buckets = [2, 4, 5, 6].map(backend).to_vec();
    group(&mut rig, GroupCommand::Modify, buckets);
    assert_eq!(reached(&mut rig, 1000..1400), before);
    // New ones go to those who are there now, all of them.
    let new = reached(&mut rig, 2000..2800);
    let mut hosts: Vec<u32> = new.values().copied().collect();
    hosts.sort_unstable();
    hosts.dedup();
    assert_eq!(hosts, [2, 4, 5, 6]);
}

#[test]
fn a_group_that_chooses_among_groups_spreads_as_one_group_would() {
    let mut rig = Rig::new(BACKENDS);
    // Two parts of different weight, in proportion to what is in them.
    numbered(&mut rig, 2, GroupCommand::Add, [2, 3].map(backend).to_vec());
    numbered(
        &mut rig,
        3,
        GroupCommand::Add,
        [4, 5, 6].map(backend).to_vec(),
    );
    service(&mut rig, &[2]);
    let parts = [(actions("group:2"), 2), (actions("group:3"), 3)];
    group(&mut rig, GroupCommand::Modify, parts.to_vec());
    let mut shares: BTreeMap<u32, usize> = BTreeMap::new();
    for host in reached(&mut rig, 1000..2000).into_values() {
        *shares.entry(host).or_default() += 1;
    }
    // 200 each; by chance alone, one in a thousand would be off by 40.
    let fair = |share: &usize| (150..250).contains(share);
    assert!(shares.len() == 5 && shares.values().all(fair), "{shares:?}");
}

#[test]
fn a_backend_that_goes_takes_only_its_own_new_connections_along() {
    // Room for one client's share of half-open connections.
    let conns = conntrack::Config::new(100_000, [1, 2]);
    let node = || Rig::with_conns(BACKENDS, Config::default(), conns.clone());
    let (mut whole, mut fewer) = (node(), node());
    service(&mut whole, &[2, 3, 4, 5, 6]);
    service(&mut fewer, &[2, 3, 4, 5]);
    let (before, after) = (
        reached(&mut whole, 1000..5000),
        reached(&mut fewer, 1000..5000),
    );
    let own = before.values().filter(|host| **host == 6).count();
    let others = before
        .iter()
        .filter(|(client, host)| **host != 6 && after[client] != **host);
    let moved = own + others.count();
    // A fifth and one percent of 4000, and what chance adds to a sample of that size (4 sigma).
    assert!(moved <= 800 + 40 + 101, "{moved} of 4000");
}

#[test]
fn two_nodes_that_learnt_of_the_backends_in_another_order_choose_alike() {
    let (mut a, mut b) = (Rig::new(BACKENDS), Rig::new(BACKENDS));
    service(&mut a, &[2, 3, 4, 5, 6]);
    // Another past, and another order.
    service(&mut b, &[6, 2]);
    group(&mut b, GroupCommand::Modify, [3, 4].map(backend).to_vec());
    let last = [6, 4, 2, 5, 3].map(backend).to_vec();
    group(&mut b, GroupCommand::Modify, last);
    assert_eq!(reached(&mut a, 1000..1500), reached(&mut b, 1000..1500));
}

/// What the control thread does once a second.
fn tick(rig: &mut Rig) {
    rig.answer_requests();
    rig.settle();
    rig.tables.expire(rig.now);
    rig.tables.publish();
}

#[test]
fn a_client_stays_with_its_backend_until_it_is_silent_for_the_idle_timeout() {
    let mut rig = Rig::new(BACKENDS);
    // As a controller does it: the bucket's choice is learnt by the client's address.
    let choose = |host: u32| {
        (
            actions(&format!(
                "learn(table=3,idle_timeout=10,priority=5,eth_type=0x800,NXM_OF_IP_SRC[],load:{host}->NXM_NX_REG0[0..15]),output:{host}"
            )),
            100,
        )
    };
    let buckets = (2..=5).map(choose).collect();
    group(&mut rig, GroupCommand::Add, buckets);
    rig.add("ip,nw_dst=10.0.0.200,actions=resubmit(,3),resubmit(,4)");
    rig.add("table=4,priority=9,reg0=0,actions=group:1");
    for host in 2..=5 {
        rig.add(&format!(
            "table=4,priority=1,reg0={host},actions=output:{host}"
        ));
    }
    let from = |src: u8, port: u16| udp(src, 200, (port, 80), b"x");
    // Clients and the backend each got first.
    let mut homes = BTreeMap::new();
    for client in 10..40u8 {
        rig.send(1, &from(client, 1));
        homes.insert(client, rig.all_out()[0].0);
        tick(&mut rig);
    }
    assert_eq!(rig.flows(3).len(), 30);
    let stay = |rig: &mut Rig, port: u16| {
        for (client, home) in &homes {
            rig.send(1, &from(*client, port));
            let out = rig.all_out();
            assert_eq!((out.len(), out[0].0), (1, *home), "{client}");
        }
    };
    // Other ports, the same client; and the same packet again and again, which the cache answers.
    for port in 0..20 {
        stay(&mut rig, 100 + port);
    }
    for _ in 0..25 {
        rig.advance(9 * SECOND);
        stay(&mut rig, 7);
        tick(&mut rig);
        assert_eq!(rig.flows(3).len(), 30, "used, if only through the cache");
    }
    // A backend more and other weights: who has a home keeps it.
    let more: Vec<_> = (2..=6).map(|h| (choose(h).0, h as u16 * 100)).collect();
    group(&mut rig, GroupCommand::Modify, more);
    rig.flow(
        4,
        1,
        common::any().with(openflow::Field::Reg0, 6u32),
        vec![output(6)],
    );
    stay(&mut rig, 8);
    tick(&mut rig);
    // Silence: a moment before the timeout all are there, at the timeout none.
    let last = rig.now;
    rig.now = last + 10 * SECOND - 1;
    tick(&mut rig);
    assert_eq!(rig.flows(3).len(), 30);
    rig.now = last + 10 * SECOND;
    tick(&mut rig);
    assert_eq!(rig.flows(3), Vec::<String>::new());
}

/// What `sluice.io/canary` promises: of 10,000 connections, the canary's share within one percent of
/// all. Ports one after the other, every second one (as Linux gives them), and from a thousand clients.
#[test]
fn of_ten_thousand_connections_every_weight_gets_its_share_within_one_percent() {
    // Weights, of which the first belong to the canary; how many; and how clients come.
    let cases: [(&[u16], u32, &str); 5] = [
        (&[1, 9], 1, "in turn"),
        (&[1, 9], 1, "every second"),
        (&[1, 1, 9, 9, 9], 2, "a thousand"),
        (&[1, 1], 1, "in turn"),
        (&[20, 7, 7, 7], 1, "every second"),
    ];
    for (weights, canaries, clients) in cases {
        let conns = conntrack::Config::new(100_000, [1, 2]);
        let mut rig = Rig::with_conns(BACKENDS, Config::default(), conns);
        let buckets = (2..)
            .zip(weights)
            .map(|(host, weight)| (backend(host).0, *weight));
        let buckets = buckets.collect();
        service(&mut rig, &[2]);
        group(&mut rig, GroupCommand::Modify, buckets);
        let share = |weights: &[u16]| weights.iter().copied().map(f64::from).sum::<f64>();
        let share = share(&weights[..canaries as usize]) / share(weights);
        let canaries = 2..2 + canaries;
        let mut reached = 0;
        for n in 0..10_000u16 {
            let (source, port) = match clients {
                "in turn" => ([10, 0, 0, 1], 20_000 + n),
                "every second" => ([10, 0, 0, 1], 40_000 + 2 * n),
                _ => {
                    let [a, b] = (n % 1000 + 256).to_be_bytes();
                    ([10, 1, a, b], 40_000 + 2 * (n / 1000))
                }
            };
            let mut frame = Vec::new();
            etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 200])
                .ipv4(source, [10, 0, 0, 200], 64)
                .udp(port, 80)
                .write(&mut frame, b"request")
                .unwrap();
            rig.send(1, &frame);
            let out = rig.all_out();
            assert_eq!(out.len(), 1, "{}", rig.why());
            reached += u32::from(canaries.contains(&out[0].0));
        }
        let wanted = share * 10_000.0;
        let off = (f64::from(reached) - wanted).abs();
        assert!(
            off <= 100.0,
            "{weights:?}, {clients}: {reached}, not {wanted}"
        );
    }
}
