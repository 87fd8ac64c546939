//! The condition `sluice.io/drained`: when a pod that goes away may stop.

mod common;

use cluster::desired::Protocol;
use cluster::view::{self, ClusterView, TargetPort};
use cluster::writes::{Concerned, DRAINED, Picture, Reach, waiting_to_drain};
use cluster::{Changes, Kind, ObjectRef, Settings, State, resolve};
use common::*;

struct Cluster {
    view: ClusterView,
    state: State,
    reach: Reach,
    picture: u64,
}

impl Cluster {
    /// Service `bank/web` in front of `bank/web-1` and `bank/web-2`, which have the gate.
    fn new() -> Self {
        let mut view = bank();
        for pod in ["bank/web-1", "bank/web-2"] {
            let pod = add_pod(&mut view, pod, &[]);
            pod.meta.labels.insert("app".into(), "web".into());
            pod.drain_gate = true;
        }
        view.services.insert(
            name("bank/web"),
            view::Service {
                cluster_ips: vec!["10.96.0.10".into()],
                selector: [("app".to_string(), "web".to_string())].into(),
                ports: vec![view::ServicePort {
                    name: String::new(),
                    protocol: Protocol::Tcp,
                    port: 80,
                    target: Some(TargetPort::Number(8080)),
                }],
                ..Default::default()
            },
        );
        Cluster {
            view,
            state: State::default(),
            reach: Reach::default(),
            picture: 0,
        }
    }

    /// The next picture, in which these objects changed, is told to the nodes.
    fn tell(&mut self, changed: &[ObjectRef]) {
        self.picture += 1;
        let changed = match changed {
            [] => Changes::Everything,
            objects => Changes::Objects(objects.iter().cloned().collect()),
        };
        let nodes = Concerned::All(self.view.nodes.keys().collect());
        self.reach.told(self.picture, &changed, nodes);
    }

    fn everybody_acknowledges(&mut self) {
        for node in ["node1", "node2"] {
            self.reach.acknowledged(node, self.picture);
        }
    }

    /// Status, reason and message of the condition of a pod.
    fn drained(&mut self, pod: &str) -> Option<(bool, String, String)> {
        let desired = resolve(&self.view, &Settings::default(), &mut self.state);
        let picture = Picture {
            view: &self.view,
            desired: &desired,
            state: &self.state,
            reach: &self.reach,
            found: &Default::default(),
        };
        let object = ObjectRef::namespaced(Kind::Pod, &name(pod));
        let mut wanted = picture.on(&object)?;
        let condition = wanted.conditions.remove(DRAINED)?;
        let service = name("bank/web");
        let waiting = waiting_to_drain(&picture, &service).any(|o| o == object);
        assert_eq!(waiting, self.view.pods[&name(pod)].meta.deleting);
        Some((condition.status, condition.reason, condition.message))
    }

    fn reason(&mut self, pod: &str) -> (bool, String) {
        let (status, reason, _) = self.drained(pod).expect("a condition");
        (status, reason)
    }
}

fn is(status: bool, reason: &str) -> (bool, String) {
    (status, reason.into())
}

fn service() -> ObjectRef {
    ObjectRef::namespaced(Kind::Service, &name("bank/web"))
}

#[test]
fn a_pod_is_drained_when_every_node_has_acknowledged_that_nothing_new_goes_there() {
    let mut cluster = Cluster::new();
    cluster.tell(&[]);
    assert_eq!(cluster.reason("bank/web-1"), is(true, "InService"));
    cluster.everybody_acknowledges();
    let pod = cluster.view.pods.get_mut(&name("bank/web-1")).unwrap();
    pod.meta.deleting = true;
    cluster.tell(&[
        ObjectRef::namespaced(Kind::Pod, &name("bank/web-1")),
        service(),
    ]);
    let (status, reason, message) = cluster.drained("bank/web-1").unwrap();
    assert_eq!((status, reason.as_str()), (false, "Draining"));
    assert!(message.contains("2 nodes, node1"), "{message}");
    cluster.reach.acknowledged("node1", cluster.picture);
    let (_, _, message) = cluster.drained("bank/web-1").unwrap();
    assert!(message.contains("node2"), "{message}");
    cluster.reach.acknowledged("node2", cluster.picture);
    assert_eq!(cluster.reason("bank/web-1"), is(true, "Drained"));
    assert_eq!(cluster.reason("bank/web-2"), is(true, "InService"));
}

#[test]
fn a_pod_that_is_the_last_to_serve_is_not_drained() {
    let mut cluster = Cluster::new();
    for pod in ["bank/web-1", "bank/web-2"] {
        cluster.view.pods.get_mut(&name(pod)).unwrap().meta.deleting = true;
    }
    cluster.tell(&[]);
    cluster.everybody_acknowledges();
    let (status, _, message) = cluster.drained("bank/web-1").unwrap();
    assert!(
        !status && message.contains("Service bank/web still"),
        "{message}"
    );
    // Another one comes: now both may go, once that is in force.
    let pod = add_pod(&mut cluster.view, "bank/web-3", &[]);
    pod.meta.labels.insert("app".into(), "web".into());
    cluster.tell(&[service()]);
    assert_eq!(cluster.reason("bank/web-1"), is(false, "Draining"));
    cluster.everybody_acknowledges();
    assert_eq!(cluster.reason("bank/web-1"), is(true, "Drained"));
    assert_eq!(cluster.reason("bank/web-2"), is(true, "Drained"));
}

#[test]
fn an_endpoint_that_serves_its_node_alone_is_not_drained() {
    let mut cluster = Cluster::new();
    cluster
        .view
        .services
        .get_mut(&name("bank/web"))
        .unwrap()
        .internal_local = true;
    let other = cluster.view.pods.get_mut(&name("bank/web-2")).unwrap();
    other.node = Some("node2".into());
    cluster
        .view
        .pods
        .get_mut(&name("bank/web-1"))
        .unwrap()
        .meta
        .deleting = true;
    cluster.tell(&[]);
    cluster.everybody_acknowledges();
    assert_eq!(cluster.reason("bank/web-1"), is(false, "Draining"));
    cluster
        .view
        .services
        .get_mut(&name("bank/web"))
        .unwrap()
        .internal_local = false;
    cluster.tell(&[service()]);
    cluster.everybody_acknowledges();
    assert_eq!(cluster.reason("bank/web-1"), is(true, "Drained"));
}

#[test]
fn who_does_not_ask_for_the_gate_gets_none_and_host_pods_are_not_held_back_by_it() {
    let mut cluster = Cluster::new();
    cluster
        .view
        .pods
        .get_mut(&name("bank/web-1"))
        .unwrap()
        .drain_gate = false;
    let host = cluster.view.pods.get_mut(&name("bank/web-2")).unwrap();
    host.host_network = true;
    cluster.tell(&[]);
    assert_eq!(cluster.drained("bank/web-1"), None);
    assert_eq!(cluster.reason("bank/web-2"), is(true, "InService"));
}
