//! Sessions against a switch that speaks the real protocol over a real socket.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cluster::desired::Rate;
use cluster::{Kind, NamespacedName, ObjectRef};
use common::Controller;
use common::fake::{State, Switch};
use flows::flow::{Flow, PodPort, bucket, output};
use flows::{Changes, Feature, FlowSet, Meter, Origin, Table};
use net::{MeterId, PortNo};
use openflow::error;
use openflow::model::{FlowCommand, GroupType, PORT_NO_FWD, PORT_NO_RECV};
use openflow::msg::{BundleControlType, Message, PortReason};
use openflow::{Action, Field};
use session::{Event, Shared, Timing};

fn origin(pod: &str) -> Origin {
    let name = NamespacedName::new("bank", pod);
    Origin::object(Feature::Output, &ObjectRef::namespaced(Kind::Pod, &name))
}

/// Flows to ports, one pod each, with a meter and a group.
fn some_flows(pods: std::ops::Range<u32>) -> FlowSet {
    let mut set = FlowSet::default();
    let rate = Rate {
        kbps: 1000,
        burst_kbit: 800,
    };
    for pod in pods {
        let origin = origin(&format!("p{pod}"));
        let meter = MeterId(pod);
        set.meters
            .insert(meter, Meter::drop_above(rate, format!("{origin} rate")));
        let buckets = vec![bucket(vec![output(PortNo(pod))])];
        let group = set.add_group(GroupType::Select, format!("{origin} group"), buckets);
        let flow = Flow::new(Table::Output, 100, "to the pod")
            .when(Field::InPort, pod)
            .meter(meter)
            .act(Action::Group(group));
        set.add(&origin, flow);
    }
    set
}

#[tokio::test]
async fn a_new_switch_gets_everything_in_one_bundle_and_after_a_reconnect_nothing() {
    let mut controller = Controller::start(Timing::default()).await;
    controller.want(some_flows(1..40), true);
    let state = State::new("node1");
    let switch = Switch::connect(&controller.target, state.clone()).await;
    let applied = controller.applied().await;
    assert_eq!(
        (applied.node.as_str(), applied.desired, applied.installed),
        ("node1", 39, 39)
    );
    assert_eq!((applied.sent, applied.flows), (3 * 39, (39, 0)));
    {
        let mut state = state.lock().unwrap();
        let commits = state.log.iter().filter(|m| match m {
            Message::BundleControl(control) => control.kind == BundleControlType::CommitRequest,
            _ => false,
        });
        assert_eq!(commits.count(), 1);
        assert_eq!(state.labels.len(), 39);
        assert!(state.labels.values().any(|label| label == "Pod bank/p7"));
        state.log.clear();
    }
    switch.disconnect();
    assert!(matches!(
        controller.next().await,
        Event::Disconnected { .. }
    ));
    let _switch = Switch::connect(&controller.target, state.clone()).await;
    assert_eq!(controller.applied().await.sent, 0);
    assert_eq!(
        state.lock().unwrap().modifications(),
        Vec::<&Message>::new()
    );
}

#[tokio::test]
async fn a_change_sends_its_difference_only_and_keeps_counters_where_it_can() {
    let mut controller = Controller::start(Timing::default()).await;
    controller.want(some_flows(1..20), true);
    let state = State::new("node1");
    let _switch = Switch::connect(&controller.target, state.clone()).await;
    controller.applied().await;
    state.lock().unwrap().log.clear();

    let mut set = some_flows(2..21); // pod 1 goes, pod 20 comes, pod 5's flow changes
    for (id, flow) in &mut set.flows {
        if id.matching.get(Field::InPort).unwrap().value == 5 {
            flow.instructions.goto_table = Some(net::TableId(140));
        }
    }
    controller.want(set, true);
    let applied = controller.applied().await;
    assert_eq!(
        (applied.sent, applied.flows, applied.installed),
        (7, (2, 1), 19)
    );
    let state = state.lock().unwrap();
    let commands: Vec<_> = state
        .log
        .iter()
        .filter_map(|m| match m {
            Message::FlowMod(m) => Some(m.command),
            _ => None,
        })
        .collect();
    use FlowCommand::{Add, DeleteStrict, ModifyStrict};
    assert_eq!(commands, [ModifyStrict, Add, DeleteStrict]);
    assert_eq!(
        state.meters.keys().map(|m| m.0).collect::<Vec<_>>(),
        (2..21).collect::<Vec<_>>()
    );
    assert_eq!(state.groups.len(), 19);
    assert!(!state.labels.values().any(|label| label == "Pod bank/p1"));
}

/// What makes one set out of another, where all switches have it alike.
fn changes(before: &FlowSet, after: &FlowSet) -> Changes {
    let mut changes = Changes::default();
    for id in before.flows.keys().chain(after.flows.keys()) {
        let now = after.flows.get(id).cloned();
        changes.flows.insert(id.clone(), now);
    }
    for id in before.groups.keys().chain(after.groups.keys()) {
        changes.groups.insert(*id, after.groups.get(id).cloned());
    }
    for cookie in before.labels.keys().chain(after.labels.keys()) {
        let now = after.labels.get(cookie).cloned();
        changes.labels.insert(*cookie, now);
    }
    changes
}

#[tokio::test]
async fn what_all_have_alike_reaches_every_switch_and_so_does_each_change_of_it() {
    let without_meters = |pods| {
        let mut set = some_flows(pods);
        set.meters.clear();
        for flow in set.flows.values_mut() {
            flow.instructions.meter = None;
        }
        set
    };
    let mut controller = Controller::start(Timing::default()).await;
    let shared = Arc::new(Shared::new());
    let (first, second) = (without_meters(1..40), without_meters(3..41));
    shared.apply(&changes(&FlowSet::default(), &first));
    assert_eq!(shared.problems(), [""; 0]);
    controller.want_shared(&shared);
    let names = ["node1", "node2", "node3"];
    let states: Vec<_> = names.map(State::new).into();
    let mut switches = Vec::new();
    for state in &states[..2] {
        switches.push(Switch::connect(&controller.target, state.clone()).await);
        let applied = controller.applied().await;
        assert_eq!((applied.sent, applied.installed), (2 * 39, 39));
    }
    // One has some of it already, when it connects.
    {
        let mut third = states[2].lock().unwrap();
        let first = states[0].lock().unwrap();
        third.flows.extend(
            first
                .flows
                .iter()
                .take(20)
                .map(|(k, v)| (k.clone(), v.clone())),
        );
        third
            .groups
            .extend(first.groups.iter().map(|(k, v)| (*k, v.clone())));
    }
    switches.push(Switch::connect(&controller.target, states[2].clone()).await);
    assert_eq!(controller.applied().await.sent, 19);

    shared.apply(&changes(&first, &second));
    controller.want_shared(&shared);
    for _ in names {
        let applied = controller.applied().await;
        assert_eq!(
            (applied.sent, applied.flows, applied.installed),
            (6, (1, 2), 38)
        );
    }
    let flows: Vec<_> = states
        .iter()
        .map(|s| s.lock().unwrap().flows.clone())
        .collect();
    assert!(
        flows
            .iter()
            .all(|held| *held == flows[0] && held.len() == 38)
    );
    let wanted: BTreeSet<_> = second.flows.keys().collect();
    assert_eq!(flows[0].keys().collect::<BTreeSet<_>>(), wanted);

    // One refuses: told by object, tried again; and the next change finds it with what it has.
    let refuses = |m: &Message| match m {
        Message::FlowMod(m) if m.matching.get(Field::InPort).unwrap().value == 50 => {
            Some(error::OFPFMFC_TABLE_FULL)
        }
        _ => None,
    };
    states[1].lock().unwrap().refuse = Box::new(refuses);
    let (third, fourth) = (without_meters(3..60), without_meters(4..61));
    for (before, after) in [(&second, &third), (&third, &fourth)] {
        shared.apply(&changes(before, after));
        controller.want_shared(&shared);
        for _ in names {
            let applied = controller.applied().await;
            let rejected: Vec<_> = applied.rejected.iter().map(|r| r.object.as_str()).collect();
            let expected: &[&str] = if applied.node == "node2" {
                &["Pod bank/p50"]
            } else {
                &[]
            };
            assert_eq!(rejected, expected);
        }
    }
    assert_eq!(states[0].lock().unwrap().flows.len(), 57);
    assert_eq!(states[1].lock().unwrap().flows.len(), 56);
}

#[tokio::test]
async fn a_switch_without_bundles_gets_the_same() {
    let mut controller = Controller::start(Timing::default()).await;
    controller.want(some_flows(1..2500), true);
    let state = State::new("node1");
    state.lock().unwrap().bundles = false;
    let _switch = Switch::connect(&controller.target, state.clone()).await;
    let applied = controller.applied().await;
    assert_eq!((applied.sent, applied.rejected.len()), (3 * 2499, 0));
    assert_eq!(state.lock().unwrap().flows.len(), 2499);
}

#[tokio::test]
async fn what_is_refused_is_told_by_object_stops_nothing_else_and_is_tried_again() {
    let timing = Timing {
        retry: Duration::from_millis(50),
        ..Timing::default()
    };
    let mut controller = Controller::start(timing).await;
    controller.want(some_flows(1..10), true);
    let state = State::new("node1");
    state.lock().unwrap().refuse = Box::new(|m| match m {
        Message::FlowMod(m) if m.matching.get(Field::InPort).unwrap().value == 3 => {
            Some(error::OFPFMFC_TABLE_FULL)
        }
        _ => None,
    });
    let _switch = Switch::connect(&controller.target, state.clone()).await;
    let applied = controller.applied().await;
    assert_eq!(applied.installed, 8);
    let [rejected] = applied.rejected.as_slice() else {
        panic!("{:?}", applied.rejected)
    };
    assert_eq!(rejected.object, "Pod bank/p3");
    assert_eq!(
        rejected.what,
        "to add the flow 100 in_port=3 of table Output"
    );
    assert_eq!(rejected.error, error::OFPFMFC_TABLE_FULL);

    state.lock().unwrap().refuse = Box::new(|_| None);
    while controller.applied().await.installed != 9 {}
}

#[tokio::test]
async fn unknown_flows_stay_until_the_desired_state_is_complete() {
    let mut controller = Controller::start(Timing::default()).await;
    controller.want(some_flows(1..10), true);
    let state = State::new("node1");
    let switch = Switch::connect(&controller.target, state.clone()).await;
    controller.applied().await;
    drop(switch);
    // The controller that the switch meets next has not read everything.
    let mut controller = Controller::start(Timing::default()).await;
    controller.want(some_flows(1..4), false);
    let _switch = Switch::connect(&controller.target, state.clone()).await;
    assert_eq!(controller.applied().await.flows, (0, 0));
    assert_eq!(state.lock().unwrap().flows.len(), 9);
    // What it has read before and is gone now is not unknown.
    controller.want(some_flows(1..3), false);
    assert_eq!(controller.applied().await.flows, (0, 1));
    assert_eq!(state.lock().unwrap().flows.len(), 8);
    controller.want(some_flows(1..3), true);
    assert_eq!(controller.applied().await.flows, (0, 6));
    let state = state.lock().unwrap();
    assert_eq!(
        (state.flows.len(), state.groups.len(), state.meters.len()),
        (2, 2, 2)
    );
}

#[tokio::test]
async fn a_pods_port_opens_when_its_flows_are_in_force_and_not_before() {
    let mut controller = Controller::start(Timing::default()).await;
    controller.want_of_ports(
        |ports| {
            let mut set = FlowSet::default();
            for (name, port) in ports {
                let (origin, label) = (origin(name), format!("Pod bank/{name}"));
                let flow = Flow::new(Table::Output, 100, "to the pod");
                set.add(&origin, flow.when(Field::InPort, port.0).output(*port));
                set.pod_ports.insert(
                    *port,
                    PodPort {
                        label,
                        announce: None,
                    },
                );
            }
            set
        },
        true,
    );
    let state = State::new("node1");
    let switch = Switch::connect(&controller.target, state.clone()).await;
    controller.applied().await;
    let (good, bad) = {
        let mut state = state.lock().unwrap();
        state.refuse = Box::new(|m| match m {
            Message::FlowMod(m) if m.matching.get(Field::InPort).unwrap().value == 12 => {
                Some(error::OFPFMFC_TABLE_FULL)
            }
            _ => None,
        });
        (state.add_port(11, "good"), state.add_port(12, "bad"))
    };
    switch.announce(PortReason::Add, good);
    switch.announce(PortReason::Add, bad);
    while controller.applied().await.desired != 2 {}
    let state = state.lock().unwrap();
    assert_eq!(state.ports[&PortNo(11)].config, 0);
    assert_eq!(state.ports[&PortNo(12)].config, PORT_NO_RECV | PORT_NO_FWD);
    let flow = state
        .log
        .iter()
        .position(|m| matches!(m, Message::FlowMod(_)))
        .unwrap();
    let open = state
        .log
        .iter()
        .position(|m| matches!(m, Message::PortMod(_)))
        .unwrap();
    let between = &state.log[flow..open];
    assert!(
        between.iter().any(|m| matches!(m, Message::BarrierRequest)),
        "{between:?}"
    );
}

#[tokio::test]
async fn a_port_whose_address_changes_under_our_hands_opens_all_the_same() {
    let mut controller = Controller::start(Timing::default()).await;
    controller.want_of_ports(
        |ports| {
            let mut set = FlowSet::default();
            for (name, port) in ports {
                let label = format!("Pod bank/{name}");
                let flow = Flow::new(Table::Output, 100, "to the pod");
                set.add(
                    &origin(name),
                    flow.when(Field::InPort, port.0).output(*port),
                );
                set.pod_ports.insert(
                    *port,
                    PodPort {
                        label,
                        announce: None,
                    },
                );
            }
            set
        },
        true,
    );
    let state = State::new("node1");
    let switch = Switch::connect(&controller.target, state.clone()).await;
    controller.applied().await;
    // Announced with one address, it has another by now, as while a pod is attached.
    let announced = state.lock().unwrap().add_port(11, "pod");
    let new = net::MacAddr([2, 0, 0, 9, 9, 9]);
    state
        .lock()
        .unwrap()
        .ports
        .get_mut(&PortNo(11))
        .unwrap()
        .hw_addr = new;
    switch.announce(PortReason::Add, announced);
    while controller.applied().await.desired != 1 {}
    assert_eq!(state.lock().unwrap().ports[&PortNo(11)].config, 0);
}

#[tokio::test]
async fn a_silent_switch_is_given_up_and_a_living_one_is_not() {
    let timing = Timing {
        probe: Duration::from_millis(50),
        dead: Duration::from_millis(200),
        ..Timing::default()
    };
    let mut controller = Controller::start(timing).await;
    controller.want(some_flows(1..3), true);
    let state = State::new("node1");
    let _switch = Switch::connect(&controller.target, state.clone()).await;
    controller.applied().await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(
        controller.events.try_recv().is_err(),
        "a living switch was given up"
    );
    state.lock().unwrap().mute = true;
    let Event::Disconnected { why, .. } = controller.next().await else {
        panic!()
    };
    assert!(why.contains("echo"), "{why}");
}

#[tokio::test]
async fn a_second_switch_under_a_nodes_name_is_refused_and_the_first_may_come_again() {
    let mut controller = Controller::start(Timing::default()).await;
    controller.want(some_flows(1..3), true);
    let first = State::new("node1");
    let _one = Switch::connect(&controller.target, first.clone()).await;
    controller.applied().await;
    let impostor = State::new("node1");
    impostor.lock().unwrap().datapath = 2;
    let _two = Switch::connect(&controller.target, impostor.clone()).await;
    let _three = Switch::connect(&controller.target, first.clone()).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match controller.next().await {
            Event::Disconnected { why, .. } => seen.push(why),
            Event::Connected { datapath, .. } => seen.push(format!("connected {datapath}")),
            _ => {}
        }
    }
    seen.sort();
    assert_eq!(seen, ["connected 1", "the switch has connected again"]);
    assert!(impostor.lock().unwrap().flows.is_empty());
}

#[tokio::test]
async fn what_is_not_openflow_1_3_is_turned_away() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut controller = Controller::start(Timing::default()).await;
    controller.want(some_flows(1..3), true);
    let address = controller.target.local_address().unwrap();
    let only_1_0: &[u8] = &[1, 0, 0, 8, 0, 0, 0, 1];
    for hello in [
        only_1_0,
        b"GET / HTTP/1.1\r\n\r\n",
        &[4, 0, 0, 3, 0, 0, 0, 1],
    ] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(hello).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest));
        ended.await.expect("still open").unwrap();
    }
    assert!(controller.events.try_recv().is_err());
}
