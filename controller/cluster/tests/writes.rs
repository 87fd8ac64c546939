//! What stands on objects: what is written there, and what a successor reads there.

mod common;

use cluster::podapi::{Reply, Request, answer};
use cluster::view::ClusterView;
use cluster::writes::{Concerned, Picture, Reach, Wanted, interface};
use cluster::{Changes, DesiredState, Kind, ObjectRef, Settings, State, resolve};
use common::*;

fn all(desired: &DesiredState) -> Concerned<'_> {
    Concerned::All(desired.nodes.keys().collect())
}

/// A cluster whose objects bear what is written on them.
struct Cluster {
    view: ClusterView,
    state: State,
    reach: Reach,
}

impl Cluster {
    fn new(view: ClusterView) -> Self {
        let state = State::from_objects(&view);
        let reach = Reach::default();
        Cluster { view, state, reach }
    }

    fn resolve(&mut self) -> DesiredState {
        let settings = Settings {
            written_first: true,
            ..Settings::default()
        };
        self.state.confirm_written(&self.view, &Changes::Everything);
        resolve(&self.view, &settings, &mut self.state)
    }

    fn wanted(&self, desired: &DesiredState, object: &ObjectRef) -> Option<Wanted> {
        let picture = Picture {
            view: &self.view,
            desired,
            state: &self.state,
            reach: &self.reach,
            found: &Default::default(),
        };
        picture.on(object)
    }

    /// Writes what shall stand on every Pod and Subnet.
    fn write(&mut self, desired: &DesiredState) {
        let mut view = self.view.clone();
        view.pods.for_each_mut(|name, pod| {
            let object = ObjectRef::namespaced(Kind::Pod, name);
            if let Some(wanted) = self.wanted(desired, &object) {
                pod.meta.annotations.extend(wanted.annotations);
            }
        });
        view.subnets.for_each_mut(|name, subnet| {
            let object = ObjectRef::cluster(Kind::Subnet, name);
            let status = self.wanted(desired, &object).unwrap().status;
            subnet.in_force = status.get("inForce").cloned();
            let key = status.get("tunnelKey").and_then(|key| key.as_u64());
            subnet.tunnel_key = key.map(|key| key as u32);
        });
        self.view = view;
    }
}

fn pod(text: &str) -> ObjectRef {
    ObjectRef::namespaced(Kind::Pod, &name(text))
}

#[test]
fn a_pod_is_told_to_switches_when_its_address_stands_on_it_and_a_successor_finds_all_of_it() {
    let mut view = bank();
    add_pod(&mut view, "bank/b", &[]);
    add_pod(&mut view, "bank/a", &[("ip_address", "10.16.0.9")]);
    let mut cluster = Cluster::new(view);
    let first = cluster.resolve();
    assert_eq!(first.pods, [].into(), "nothing stands on them yet");
    assert_eq!(first.waiting.len(), 2);
    cluster.write(&first);
    let second = cluster.resolve();
    assert_eq!(ip(&second, "bank/b"), "10.16.0.2");
    assert_eq!(ip(&second, "bank/a"), "10.16.0.9");
    assert_eq!(
        told(&second),
        [] as [&str; 0],
        "our own annotations ask for nothing"
    );
    cluster.write(&second);

    // Others take no address that somebody holds, and nobody's changes.
    add_pod(&mut cluster.view, "bank/0", &[]);
    let mut successor = Cluster::new(cluster.view.clone());
    let third = successor.resolve();
    for name in ["bank/a", "bank/b"] {
        assert_eq!(ip(&third, name), ip(&second, name));
    }
    assert_eq!(third.subnets, second.subnets, "the VNI too");
    successor.write(&third);
    assert_eq!(ip(&successor.resolve(), "bank/0"), "10.16.0.3");
}

#[test]
fn what_the_plugin_reads_on_a_pod_is_what_the_controller_would_answer() {
    let mut view = bank();
    add_subnet(&mut view, "dual", "10.17.0.0/16,fd00:17::/64");
    add_vlan100(&mut view);
    add_subnet(&mut view, "vlan", "10.100.0.0/24").vlan = "vlan100".into();
    add_pod(&mut view, "bank/one", &[]);
    add_pod(&mut view, "bank/two", &[("logical_switch", "dual")]);
    add_pod(&mut view, "bank/three", &[("logical_switch", "vlan")]);
    let mut cluster = Cluster::new(view);
    let desired = cluster.resolve();
    cluster.write(&desired);
    let desired = cluster.resolve();
    for pod in ["one", "two", "three"] {
        let request = Request {
            namespace: "bank".into(),
            pod: pod.into(),
            interface: "eth0".into(),
        };
        let full = name(&format!("bank/{pod}"));
        let annotations = &cluster.view.pods[&full].meta.annotations;
        let read = interface(&full, "node1", annotations).unwrap().unwrap();
        assert_eq!(answer(&desired, &request), Reply::Ready(read));
    }
    let annotations = &cluster.view.pods[&name("bank/three")].meta.annotations;
    let ovn = |key: &str| annotations[&format!("ovn.kubernetes.io/{key}")].as_str();
    assert_eq!(
        [
            ovn("allocated"),
            ovn("cidr"),
            ovn("gateway"),
            ovn("logical_switch"),
            ovn("pod_nic_type"),
            ovn("provider_network"),
            ovn("routed"),
            ovn("vlan_id"),
        ],
        [
            "true",
            "10.100.0.0/24",
            "10.100.0.1",
            "vlan",
            "veth-pair",
            "physnet",
            "true",
            "100"
        ]
    );
}

#[test]
fn what_cannot_be_read_on_a_pod_is_told_by_its_name() {
    let mut annotations = [
        ("allocated", "true"),
        ("routed", "true"),
        ("ip_address", "10.16.0.2"),
        ("cidr", "10.16.0.0/24"),
        ("gateway", "10.16.0.1"),
        ("mac_address", "02:5c:0a:10:00:02"),
    ]
    .map(|(key, value)| (format!("ovn.kubernetes.io/{key}"), value.to_string()))
    .into_iter()
    .collect::<std::collections::BTreeMap<_, _>>();
    let read = |annotations: &_| interface(&name("bank/a"), "node1", annotations);
    assert!(read(&annotations).unwrap_err().contains("mtu"));
    annotations.insert("sluice.io/mtu".into(), "1400".into());
    assert!(read(&annotations).unwrap().is_some());
    let cidr = "ovn.kubernetes.io/cidr".to_string();
    annotations.insert(cidr, "10.17.0.0/24".into());
    assert!(
        read(&annotations)
            .unwrap_err()
            .contains("10.16.0.2 is not in")
    );
    annotations.remove("ovn.kubernetes.io/allocated");
    assert_eq!(read(&annotations), Ok(None), "nothing is given yet");
}

#[test]
fn a_copied_pod_does_not_take_the_address_of_the_one_it_was_copied_from() {
    let mut view = bank();
    let original = add_pod(&mut view, "bank/z", &[]);
    original.meta.created = Some(1);
    let mut cluster = Cluster::new(view);
    let desired = cluster.resolve();
    cluster.write(&desired);
    let mut copy = cluster.view.pods[&name("bank/z")].clone();
    copy.meta.created = Some(2);
    cluster.view.pods.insert(name("bank/a"), copy);
    let mut successor = Cluster::new(cluster.view.clone());
    let desired = successor.resolve();
    assert_eq!(ip(&desired, "bank/z"), "10.16.0.2");
    assert_eq!(ip(&desired, "bank/a"), "");
    assert_told_once(&desired, &["Pod bank/a", "ip_address"]);
    let wanted = successor.wanted(&desired, &pod("bank/a")).unwrap();
    assert_eq!(
        wanted.annotations,
        [].into(),
        "what it does not hold is taken off"
    );
    let condition = &wanted.conditions["sluice.io/Accepted"];
    assert_eq!(
        (condition.status, condition.reason.as_str()),
        (false, "Refused")
    );
    assert!(condition.message.contains("bank/z"), "{condition:?}");
}

#[test]
fn a_pod_that_is_no_concern_of_ours_is_left_as_it_is() {
    let mut view = bank();
    add_pod(&mut view, "bank/host", &[]).host_network = true;
    add_pod(&mut view, "bank/done", &[]).finished = true;
    let mut cluster = Cluster::new(view);
    let desired = cluster.resolve();
    assert_eq!(cluster.wanted(&desired, &pod("bank/host")), None);
    assert_eq!(cluster.wanted(&desired, &pod("bank/done")), None);
    assert_eq!(cluster.wanted(&desired, &pod("bank/none")), None);
}

#[test]
fn a_subnets_status_says_how_full_it_is_and_whether_it_is_in_force_everywhere() {
    let mut view = bank();
    add_subnet(&mut view, "v6", "fd00:16::/64");
    add_subnet(&mut view, "bad", "10.16.0.0/33");
    add_pod(&mut view, "bank/a", &[]);
    let mut cluster = Cluster::new(view);
    let desired = cluster.resolve();
    cluster.reach.told(1, &Changes::Everything, all(&desired));
    let subnet = |name: &str| ObjectRef::cluster(Kind::Subnet, name);
    let wanted = cluster.wanted(&desired, &subnet("overlay")).unwrap();
    assert_eq!(wanted.status["v4usingIPs"], 1);
    assert_eq!(wanted.status["v4availableIPs"], 252);
    assert_eq!(wanted.status["v4usingIPrange"], "10.16.0.2");
    assert_eq!(wanted.status["v4availableIPrange"], "10.16.0.3-10.16.0.254");
    assert_eq!(wanted.status["v6usingIPs"], 0);
    assert_eq!(wanted.status["v6availableIPrange"], "");
    let state = |wanted: &Wanted, name: &str| {
        let condition = &wanted.conditions[name];
        (condition.status, condition.reason.clone())
    };
    assert_eq!(state(&wanted, "Validated"), (true, "Accepted".into()));
    assert!(
        wanted.unknown.contains("Ready"),
        "what a predecessor wrote stays"
    );
    let object = subnet("overlay");
    let changed = Changes::Objects([object].into());
    cluster.reach.told(2, &changed, all(&desired));
    let wanted = cluster.wanted(&desired, &subnet("overlay")).unwrap();
    assert_eq!(state(&wanted, "Ready"), (false, "Pending".into()));
    for node in ["node1", "node2"] {
        cluster.reach.acknowledged(node, 2);
    }
    let wanted = cluster.wanted(&desired, &subnet("overlay")).unwrap();
    assert_eq!(state(&wanted, "Ready"), (true, "InForce".into()));
    let v6 = cluster.wanted(&desired, &subnet("v6")).unwrap();
    assert!(v6.status["v6availableIPs"].as_f64().unwrap() > 1e19);
    let bad = cluster.wanted(&desired, &subnet("bad")).unwrap();
    assert_eq!(state(&bad, "Validated"), (false, "Refused".into()));
    assert_eq!(state(&bad, "Ready"), (false, "Refused".into()));
    assert!(
        bad.conditions["Validated"]
            .message
            .starts_with("spec.cidrBlock: ")
    );
}

#[test]
fn a_subnet_that_was_spoilt_keeps_its_last_good_version_under_a_successor() {
    let mut view = bank();
    add_pod(&mut view, "bank/a", &[]);
    let mut cluster = Cluster::new(view);
    let first = cluster.resolve();
    cluster.write(&first);
    cluster.view.subnets.get_mut("overlay").unwrap().cidr_block = "nonsense".into();
    let mut successor = Cluster::new(cluster.view.clone());
    let desired = successor.resolve();
    assert_eq!(desired.subnets, first.subnets);
    assert_eq!(ip(&desired, "bank/a"), "10.16.0.2");
    assert_told_once(&desired, &["Subnet overlay", "nonsense"]);
}
