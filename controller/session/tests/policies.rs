//! Policies in switches that run, each with its own threads and sessions: in force after the barrier,
//! and not sent again after a restart of the controller.

mod common;

use std::io::Write;
use std::process::Command;
use std::sync::Arc;

use cluster::desired::Protocol;
use cluster::policy::{Block, Peers, PodPolicy, Policies, PolicySet, Ports, Scope, SetRule, Tier};
use cluster::view::Action;
use cluster::{Kind, NamespacedName, ObjectRef};
use common::own::Own;
use common::scenarios::{self, LEGACY, Rig};

const ALLOWED: u32 = 77;
const SET: u32 = 5;
const SENDS_NOTHING: u32 = 6;

fn name(pod: &str) -> NamespacedName {
    NamespacedName::new("bank", pod)
}

fn rule(policy: &ObjectRef, tier: Tier, action: Action, peers: Peers, ports: Ports) -> SetRule {
    SetRule {
        policy: policy.clone(),
        part: "ingress[0]".into(),
        tier,
        action,
        log: false,
        scopes: vec![Scope {
            peers: Arc::new(peers),
            ports: Some(vec![ports]),
        }],
    }
}

/// web-1 gets TCP 8080 from web-2, and UDP 53 from the data subnet, but not from db-2. feed-1 only
/// answers.
fn policies() -> Policies {
    let ports = |protocol, first, last| Ports {
        protocol,
        first,
        last,
    };
    let web2 = Peers {
        identities: vec![ALLOWED],
        ..Peers::default()
    };
    let data = Peers {
        blocks: vec![Block {
            cidr: "10.17.0.0/16".parse().unwrap(),
            except: vec!["10.17.0.22/32".parse().unwrap()],
        }],
        ..Peers::default()
    };
    let own = ObjectRef::namespaced(Kind::NetworkPolicy, &name("web"));
    let admin = ObjectRef::cluster(Kind::ClusterNetworkPolicy, "first");
    let tcp = ports(Protocol::Tcp, 8000, 8099);
    let set = PolicySet {
        isolated_by: vec![own.clone()],
        isolation_logged_by: vec![],
        rules: vec![
            rule(&admin, Tier::Admin, Action::Pass, web2.clone(), tcp),
            rule(&admin, Tier::Admin, Action::Deny, web2.clone(), tcp),
            rule(
                &own,
                Tier::Namespace,
                Action::Allow,
                web2,
                ports(Protocol::Tcp, 8080, 8080),
            ),
            rule(
                &own,
                Tier::Namespace,
                Action::Allow,
                data,
                ports(Protocol::Udp, 53, 53),
            ),
        ],
    };
    let nothing = PolicySet {
        isolated_by: vec![own.clone()],
        isolation_logged_by: vec![],
        rules: vec![],
    };
    let pod = |identity, ingress| PodPolicy {
        identity,
        ingress,
        egress: None,
    };
    let answers_only = PodPolicy {
        egress: Some(SENDS_NOTHING),
        ..pod(2, None)
    };
    Policies {
        active: true,
        pods: [
            (name("web-1"), pod(1, Some(SET))),
            (name("web-2"), pod(ALLOWED, None)),
            (name("feed-1"), answers_only),
        ]
        .into(),
        sets: [(SET, Arc::new(set)), (SENDS_NOTHING, Arc::new(nothing))].into(),
        members: [((1, name("web-1")), ()), ((ALLOWED, name("web-2")), ())].into(),
        ..Policies::default()
    }
}

#[test]
fn policies_hold_after_the_barrier_and_are_not_sent_twice() {
    if Command::new("ovs-ofctl").arg("--version").output().is_err() {
        let _ = writeln!(std::io::stderr(), "skipped: ovs-ofctl is not installed");
        return;
    }
    let nodes = [Own::start("node1", 1), Own::start("node2", 2)];
    let mut rig = Rig::start(nodes.map(|node| Box::new(node) as _));
    let hosts = ["web-1", "web-2", "db-1", "db-2"].map(|pod| rig.host(pod));
    let [web1, web2, db1, db2] = hosts;
    let router = [0x02, 0x5c, 0xff, 0, 0, 2];

    // Without policies everybody is heard.
    rig.world
        .send("db-2", &db2.udp(router, web1.ip, (700, 53), b"?"));
    assert!(rig.world.received("web-1").is_some());

    rig.state.policies = policies();
    let (sent, rejected) = rig.install();
    assert_eq!(rejected, [""; 0]);
    assert!(sent > 20, "{sent}");

    rig.world
        .send("web-2", &web2.tcp(web1.mac, web1.ip, (700, 8080), "S", b""));
    assert!(
        rig.world.received("web-1").is_some(),
        "passed on, then allowed"
    );
    rig.world.send(
        "web-1",
        &web1.tcp(web2.mac, web2.ip, (8080, 700), "SA", b""),
    );
    assert!(rig.world.received("web-2").is_some(), "the answer");
    rig.world
        .send("db-1", &db1.udp(router, web1.ip, (700, 53), b"?"));
    assert!(rig.world.received("web-1").is_some(), "in the block");
    for frame in [
        web2.tcp(web1.mac, web1.ip, (701, 8081), "S", b""),
        web2.udp(web1.mac, web1.ip, (701, 53), b"?"),
    ] {
        rig.world.send("web-2", &frame);
    }
    rig.world
        .send("db-2", &db2.udp(router, web1.ip, (701, 53), b"?"));
    rig.world
        .send("db-1", &db1.tcp(router, web1.ip, (701, 8080), "S", b""));
    rig.world.assert_silence(&["web-1"]);
    only_what_came_for_a_pod_is_answered(&mut rig);
    let labels = rig.nodes[0].labels();
    assert!(
        labels.contains("NetworkPolicy bank/web ingress[0]"),
        "{labels}"
    );

    scenarios::after_a_restart_of_the_controller_not_a_single_flow_is_sent(&mut rig);
}

/// A frame that a VLAN floods to a node that does not have its MAC address leaves no connection
/// there: when the pod with that address moves to that node, what it sends is no answer.
fn only_what_came_for_a_pod_is_answered(rig: &mut Rig) {
    let feed1 = rig.host("feed-1");
    let elsewhere = [0x02, 0x5c, 0, 0, 0, 0x77];
    for (mac, port) in [(elsewhere, 702), (feed1.mac, 703)] {
        let asked = LEGACY.udp(mac, feed1.ip, (port, 53), b"?");
        rig.world.send_on_vlan(100, &asked);
        if mac == elsewhere {
            rig.world.assert_silence(&["feed-1"]);
        } else {
            assert!(rig.world.received("feed-1").is_some(), "open to everybody");
        }
        rig.world.hush();
        let said = feed1.udp(LEGACY.mac, LEGACY.ip, (53, port), b"!");
        rig.world.send("feed-1", &said);
        if mac == elsewhere {
            rig.world.assert_silence(&[]);
        } else {
            let seen = rig.world.seen_on_vlan().expect("no answer");
            assert_eq!((seen.src, seen.dst), (feed1.mac, LEGACY.mac));
        }
    }
}
