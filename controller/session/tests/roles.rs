//! Two controllers and one switch: one of them writes, and the other one takes over.

mod common;

use common::Controller;
use common::fake::{State, Switch};
use common::own::Own;
use common::scenarios::Rig;
use flows::flow::Flow;
use flows::{FlowSet, Origin, Table};
use openflow::Field;
use session::{Event, Role, Timing};

fn flows(count: u32) -> FlowSet {
    let mut set = FlowSet::default();
    for port in 1..=count {
        let flow = Flow::new(Table::Output, 100, "a test flow").when(Field::InPort, port);
        set.add(&Origin::table(flows::Feature::Output, Table::Output), flow);
    }
    set
}

async fn next_of(controller: &mut Controller, wanted: fn(&Event) -> bool) -> Event {
    loop {
        let event = controller.next().await;
        if wanted(&event) {
            return event;
        }
    }
}

#[tokio::test]
async fn a_slave_writes_nothing_and_as_master_sends_only_what_differs() {
    let mut first = Controller::start_as(Timing::default(), Role::Master(4)).await;
    let mut second = Controller::start_as(Timing::default(), Role::Slave(4)).await;
    first.want(flows(20), true);
    second.want(flows(20), true);
    let state = State::new("node1");
    let one = Switch::connect(&first.target, state.clone()).await;
    let _two = Switch::connect(&second.target, state.clone()).await;
    assert_eq!(first.applied().await.sent, 20);
    next_of(&mut second, |e| matches!(e, Event::Connected { .. })).await;
    // Both hear of a change; one of them does it.
    first.want(flows(21), true);
    second.want(flows(21), true);
    assert_eq!(first.applied().await.sent, 1);
    assert_eq!(state.lock().unwrap().modifications().len(), 21);
    assert!(state.lock().unwrap().slaves.len() == 1);
    assert!(second.events.try_recv().is_err(), "the slave did something");

    // The first is gone; what it had not done yet the second does, and no more.
    one.disconnect();
    drop(first);
    second.want(flows(22), true);
    second.role.send_replace(Role::Master(5));
    let applied = second.applied().await;
    assert_eq!((applied.sent, applied.installed), (1, 22));
    assert_eq!(state.lock().unwrap().generation, Some(5));
}

#[tokio::test]
async fn a_master_of_the_past_is_refused_by_the_switch_and_says_so() {
    let mut old = Controller::start_as(Timing::default(), Role::Master(1)).await;
    let mut new = Controller::start_as(Timing::default(), Role::Slave(1)).await;
    old.want(flows(5), true);
    new.want(flows(5), true);
    let state = State::new("node1");
    let _one = Switch::connect(&old.target, state.clone()).await;
    let _two = Switch::connect(&new.target, state.clone()).await;
    old.applied().await;
    next_of(&mut new, |e| matches!(e, Event::Connected { .. })).await;
    new.role.send_replace(Role::Master(2));
    new.applied().await;
    // It believes that it is master still.
    old.want(flows(9), true);
    next_of(
        &mut old,
        |e| matches!(e, Event::Applied(a) if !a.rejected.is_empty()),
    )
    .await;
    assert_eq!(state.lock().unwrap().flows.len(), 5);
    // It connects once more.
    let three = Switch::connect(&old.target, state.clone()).await;
    let outranked = next_of(&mut old, |e| matches!(e, Event::Outranked { .. })).await;
    assert!(matches!(outranked, Event::Outranked { generation: 2, .. }));
    assert_eq!(state.lock().unwrap().flows.len(), 5);
    // A later term is its own again.
    old.role.send_replace(Role::Master(3));
    assert_eq!(old.applied().await.sent, 4);
    three.disconnect();
}

/// The whole example on two real dataplanes.
#[test]
fn a_takeover_loses_no_packet_and_sends_no_flow() {
    if std::process::Command::new("ovs-ofctl")
        .arg("--version")
        .output()
        .is_err()
    {
        return;
    }
    let nodes = [Own::start("node1", 1), Own::start("node2", 2)];
    let mut rig = Rig::start(nodes.map(|node| Box::new(node) as _));
    let mut second = rig
        .runtime
        .block_on(Controller::start_as(Timing::default(), Role::Slave(1)));
    rig.controller.role.send_replace(Role::Master(1));
    let target = second.target.to_string().replace("ptcp:", "");
    let (port, host) = target.split_once(':').unwrap();
    for node in &rig.nodes {
        node.set_controller(&format!("tcp:{host}:{port}"));
    }
    let state = rig.state.clone();
    second.want_of_nodes(move |node, ports| flows::compile(&state, node, ports));
    for _ in 0..2 {
        rig.runtime.block_on(next_of(&mut second, |e| {
            matches!(e, Event::Connected { .. })
        }));
    }
    let (web1, web2) = (rig.host("web-1"), rig.host("web-2"));
    let mut lost = Vec::new();
    let mut sent = None;
    for step in 0..200 {
        rig.world.send("web-1", &web1.ping(web2.mac, web2.ip));
        if rig.world.received("web-2").is_none() {
            lost.push(step);
        }
        match step {
            // The second takes over while the first is there, and then the first ends.
            50 => drop(second.role.send_replace(Role::Master(2))),
            100 => {
                let mut count = 0;
                for _ in 0..2 {
                    let applied = rig.runtime.block_on(second.applied());
                    count += applied.sent;
                    assert_eq!(applied.desired, applied.installed);
                }
                sent = Some(count);
            }
            150 => {
                let other = rig.runtime.block_on(Controller::start(Timing::default()));
                drop(std::mem::replace(&mut rig.controller, other));
            }
            _ => {}
        }
    }
    assert_eq!(lost, [0; 0]);
    assert_eq!(sent, Some(0));
}
