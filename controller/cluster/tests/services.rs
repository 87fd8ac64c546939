//! Virtual addresses and where they lead.

mod common;

use std::collections::BTreeMap;

use cluster::desired::{Endpoint, Protocol};
use cluster::view::{self, ClusterView, ContainerPort, SliceEndpoint, SlicePort, TargetPort};
use cluster::{DesiredState, Effect};
use common::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    owned.collect()
}

/// Pods `bank/web-1` on node1 and `bank/web-2` on node2, label app=web, with a TCP port `http`,
/// and in front of them the Service `bank/web`, 10.96.0.10:80.
fn web() -> ClusterView {
    let mut view = bank();
    for number in 1..=2 {
        let pod = add_pod(&mut view, &format!("bank/web-{number}"), &[]);
        pod.node = Some(format!("node{number}"));
        pod.meta.labels = labels(&[("app", "web")]);
        pod.ports = vec![ContainerPort {
            name: Some("http".into()),
            protocol: Protocol::Tcp,
            port: 8080,
        }];
    }
    view.services.insert(
        name("bank/web"),
        view::Service {
            cluster_ips: vec!["10.96.0.10".into()],
            selector: labels(&[("app", "web")]),
            ports: vec![port(Protocol::Tcp, 80, Some(TargetPort::Number(8080)))],
            ..Default::default()
        },
    );
    view
}

fn port(protocol: Protocol, port: u16, target: Option<TargetPort>) -> view::ServicePort {
    view::ServicePort {
        name: String::new(),
        protocol,
        port,
        target,
    }
}

fn service(view: &mut ClusterView) -> &mut view::Service {
    view.services.get_mut(&name("bank/web")).unwrap()
}

/// The endpoints of the only port, each as text; not ready ones in brackets.
fn endpoints(desired: &DesiredState) -> Vec<String> {
    let [port] = desired.services[&name("bank/web")].ports.as_slice() else {
        panic!("one port");
    };
    let text = |e: &Endpoint| {
        let text = format!(
            "{}:{} on {}",
            e.ip,
            e.port,
            e.node.as_deref().unwrap_or("?")
        );
        if e.ready { text } else { format!("({text})") }
    };
    port.endpoints.iter().map(text).collect()
}

fn slice(service: &str) -> view::EndpointSlice {
    view::EndpointSlice {
        service: Some(service.into()),
        ports: vec![SlicePort {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: Some(9000),
        }],
        ..Default::default()
    }
}

fn slice_endpoint(address: &str) -> SliceEndpoint {
    SliceEndpoint {
        addresses: vec![address.into()],
        ..Default::default()
    }
}

#[test]
fn without_slices_a_service_leads_to_the_pods_it_selects() {
    let mut view = web();
    add_pod(&mut view, "bank/other", &[]);
    add_pod(&mut view, "shop/web-9", &[]).meta.labels = labels(&[("app", "web")]);
    let desired = fresh(&view);
    assert_eq!(
        endpoints(&desired),
        ["10.16.0.3:8080 on node1", "10.16.0.64:8080 on node2"]
    );
    assert_eq!(desired.problems, []);
}

#[test]
fn a_selector_of_several_labels_selects_pods_that_have_all_of_them() {
    let mut view = web();
    let second = view.pods.get_mut(&name("bank/web-2")).unwrap();
    second.meta.labels = labels(&[("app", "web"), ("tier", "front")]);
    add_pod(&mut view, "bank/db", &[]).meta.labels = labels(&[("app", "db"), ("tier", "front")]);
    service(&mut view).selector = labels(&[("app", "web"), ("tier", "front")]);
    assert_eq!(endpoints(&fresh(&view)), ["10.16.0.64:8080 on node2"]);
    service(&mut view).selector = labels(&[("app", "web"), ("tier", "back")]);
    assert_eq!(endpoints(&fresh(&view)), [""; 0]);
}

#[test]
fn a_named_target_is_what_each_pod_calls_so_for_that_protocol() {
    let mut view = web();
    service(&mut view).ports[0].target = Some(TargetPort::Name("http".into()));
    let second = view.pods.get_mut(&name("bank/web-2")).unwrap();
    second.ports[0].port = 9999;
    second.ports.insert(
        0,
        ContainerPort {
            name: Some("http".into()),
            protocol: Protocol::Udp,
            port: 1,
        },
    );
    assert_eq!(
        endpoints(&fresh(&view)),
        ["10.16.0.2:8080 on node1", "10.16.0.64:9999 on node2"]
    );
    service(&mut view).ports[0].target = Some(TargetPort::Name("htpp".into()));
    let desired = fresh(&view);
    assert_eq!(endpoints(&desired), [""; 0]);
    assert_told_once(
        &desired,
        &[
            "Service bank/web: spec.ports[0].targetPort",
            "no selected pod has a TCP port called \"htpp\"",
        ],
    );
}

#[test]
fn without_a_target_the_port_is_the_same_number() {
    let mut view = web();
    service(&mut view).ports[0].target = None;
    assert_eq!(endpoints(&fresh(&view))[0], "10.16.0.2:80 on node1");
}

#[test]
fn pods_that_are_not_ready_or_leaving_are_carried_as_such() {
    let mut view = web();
    view.pods.get_mut(&name("bank/web-1")).unwrap().ready = Some(false);
    view.pods
        .get_mut(&name("bank/web-2"))
        .unwrap()
        .meta
        .deleting = true;
    let desired = fresh(&view);
    let port = &desired.services[&name("bank/web")].ports[0];
    let conditions: Vec<_> = port
        .endpoints
        .iter()
        .map(|e| (e.ready, e.serving, e.terminating))
        .collect();
    assert_eq!(conditions, [(false, false, false), (false, true, true)]);
    service(&mut view).publish_not_ready = true;
    assert!(
        fresh(&view).services[&name("bank/web")].ports[0]
            .endpoints
            .iter()
            .all(|e| e.ready)
    );
}

#[test]
fn pods_without_an_address_or_finished_ones_are_no_endpoints() {
    let mut view = web();
    view.pods.get_mut(&name("bank/web-1")).unwrap().finished = true;
    annotate(&mut view, "bank/web-2", "ip_address", "192.168.0.1");
    assert_eq!(endpoints(&fresh(&view)), [""; 0]);
}

#[test]
fn a_selected_pod_on_the_host_network_is_told_of() {
    let mut view = web();
    view.pods.get_mut(&name("bank/web-1")).unwrap().host_network = true;
    let desired = fresh(&view);
    assert_eq!(endpoints(&desired), ["10.16.0.2:8080 on node2"]);
    assert_told_once(
        &desired,
        &[
            "Service bank/web",
            "Pod bank/web-1 is on its node's own network",
        ],
    );
}

#[test]
fn slices_are_followed_where_there_are_any() {
    let mut view = web();
    let mut one = slice("web");
    one.endpoints = vec![slice_endpoint("10.16.0.2"), slice_endpoint("192.168.7.7")];
    one.endpoints[1].ready = Some(false);
    one.endpoints[1].serving = Some(true);
    one.endpoints[1].terminating = Some(true);
    let mut two = slice("web");
    two.endpoints = vec![slice_endpoint("10.16.0.2"), slice_endpoint("10.16.0.99")];
    two.endpoints[1].node = Some("node2".into());
    view.endpoint_slices.insert(name("bank/web-x"), one);
    view.endpoint_slices.insert(name("bank/web-y"), two);
    view.endpoint_slices
        .insert(name("shop/web-z"), slice("web"));
    let desired = fresh(&view);
    assert_eq!(
        endpoints(&desired),
        [
            "10.16.0.2:9000 on node1",
            "10.16.0.99:9000 on node2",
            "(192.168.7.7:9000 on ?)"
        ]
    );
    let leaving = &desired.services[&name("bank/web")].ports[0].endpoints[2];
    assert!(leaving.serving && leaving.terminating);
    assert_eq!(desired.problems, []);
}

#[test]
fn an_empty_slice_means_no_endpoints_whatever_the_selector() {
    let mut view = web();
    view.endpoint_slices
        .insert(name("bank/web-x"), slice("web"));
    assert_eq!(endpoints(&fresh(&view)), [""; 0]);
}

#[test]
fn slices_belong_to_ports_by_name_and_protocol() {
    let mut view = web();
    service(&mut view).ports = vec![
        view::ServicePort {
            name: "a".into(),
            ..port(Protocol::Tcp, 80, None)
        },
        view::ServicePort {
            name: "b".into(),
            ..port(Protocol::Udp, 80, None)
        },
    ];
    let mut both = slice("web");
    both.endpoints = vec![slice_endpoint("10.16.0.2")];
    both.ports = vec![
        SlicePort {
            name: "a".into(),
            protocol: Protocol::Tcp,
            port: Some(1),
        },
        SlicePort {
            name: "b".into(),
            protocol: Protocol::Udp,
            port: Some(2),
        },
        SlicePort {
            name: "b".into(),
            protocol: Protocol::Tcp,
            port: Some(3),
        },
    ];
    view.endpoint_slices.insert(name("bank/web-x"), both);
    let desired = fresh(&view);
    let ports = &desired.services[&name("bank/web")].ports;
    let numbers: Vec<Vec<u16>> = ports
        .iter()
        .map(|p| p.endpoints.iter().map(|e| e.port).collect())
        .collect();
    assert_eq!(numbers, [[1], [2]]);
}

#[test]
fn what_makes_no_sense_in_a_slice_is_told_and_the_rest_of_it_holds() {
    let mut view = web();
    let mut bad = slice("web");
    bad.endpoints = vec![
        slice_endpoint("10.16.0.2"),
        slice_endpoint("not an address"),
        slice_endpoint("127.0.0.1"),
    ];
    view.endpoint_slices.insert(name("bank/web-x"), bad);
    let mut orphan = slice("web");
    orphan.service = None;
    view.endpoint_slices.insert(name("bank/web-y"), orphan);
    let desired = fresh(&view);
    assert_eq!(endpoints(&desired), ["10.16.0.2:9000 on node1"]);
    let fields: Vec<_> = desired.problems.iter().map(|p| p.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "endpoints[1].addresses[0]",
            "endpoints[2].addresses[0]",
            "metadata.labels[kubernetes.io/service-name]"
        ]
    );
}

#[test]
fn headless_services_and_aliases_are_left_alone() {
    let mut view = web();
    service(&mut view).cluster_ips = vec!["None".into()];
    assert!(fresh(&view).services.is_empty());
    service(&mut view).cluster_ips.clear();
    service(&mut view).external_name = true;
    let desired = fresh(&view);
    assert!(desired.services.is_empty());
    assert_eq!(desired.problems, []);
}

#[test]
fn a_service_can_have_an_address_of_each_family() {
    let mut view = web();
    view.subnets.get_mut("overlay").unwrap().cidr_block = "10.16.0.0/24,fd00::/64".into();
    service(&mut view).cluster_ips = vec!["fd01::10".into(), "10.96.0.10".into()];
    let desired = fresh(&view);
    let ips: Vec<_> = desired.services[&name("bank/web")]
        .cluster_ips
        .iter()
        .map(|ip| ip.to_string())
        .collect();
    assert_eq!(ips, ["fd01::10", "10.96.0.10"], "the primary first");
    assert_eq!(endpoints(&desired).len(), 4);
}

#[test]
fn an_address_that_a_service_cannot_have_is_refused_with_the_reason() {
    for (ips, why) in [
        (vec!["10.96.0"], "is not an address that a Service can have"),
        (
            vec!["224.0.0.1"],
            "is not an address that a Service can have",
        ),
        (vec!["10.16.0.200"], "is inside Subnet overlay"),
        (vec![], "has no address"),
    ] {
        let mut view = web();
        service(&mut view).cluster_ips = ips.iter().map(|ip| ip.to_string()).collect();
        let desired = fresh(&view);
        assert!(desired.services.is_empty());
        assert_told_once(&desired, &["Service bank/web: spec.clusterIPs[0]", why]);
    }
    let mut view = web();
    service(&mut view).cluster_ips = vec!["10.96.0.10".into(), "10.96.0.11".into()];
    let desired = fresh(&view);
    assert_eq!(desired.services[&name("bank/web")].cluster_ips.len(), 1);
    assert_told_once(
        &desired,
        &["spec.clusterIPs[1]", "is the second IPv4 address"],
    );
}

#[test]
fn two_services_cannot_have_one_address_and_the_older_keeps_it() {
    let mut view = web();
    service(&mut view).meta.created = Some(200);
    let mut older = view.services[&name("bank/web")].clone();
    older.meta.created = Some(100);
    view.services.insert(name("shop/older"), older);
    let desired = fresh(&view);
    assert!(desired.services.contains_key(&name("shop/older")));
    assert_told_once(
        &desired,
        &[
            "Service bank/web",
            "10.96.0.10 is Service shop/older's already",
        ],
    );
}

#[test]
fn a_port_given_twice_is_told_and_another_protocol_is_another_port() {
    let mut view = web();
    service(&mut view).ports = vec![
        port(Protocol::Tcp, 80, None),
        port(Protocol::Udp, 80, None),
        port(Protocol::Tcp, 80, Some(TargetPort::Number(1))),
    ];
    let desired = fresh(&view);
    assert_eq!(desired.services[&name("bank/web")].ports.len(), 2);
    assert_told_once(&desired, &["spec.ports[2].port", "TCP 80 is there twice"]);
}

#[test]
fn a_service_without_selector_and_slices_is_there_and_leads_nowhere() {
    let mut view = web();
    service(&mut view).selector.clear();
    let desired = fresh(&view);
    assert_eq!(endpoints(&desired), [""; 0]);
    assert_eq!(desired.problems, []);
}

#[test]
fn limits_and_stray_annotations_of_a_pod_are_read_and_told() {
    let mut view = bank();
    add_pod(
        &mut view,
        "bank/a",
        &[
            ("egress_rate", "50"),
            ("ingress_rate", "fast"),
            ("vip", "a"),
        ],
    );
    let desired = fresh(&view);
    let qos = desired.pods[&name("bank/a")].qos;
    assert_eq!(qos.egress.map(|rate| rate.kbps), Some(50_000));
    assert_eq!(qos.ingress, None);
    let effects: Vec<_> = desired
        .problems
        .iter()
        .map(|p| (p.field.as_str(), p.effect))
        .collect();
    assert_eq!(
        effects,
        [
            (
                "metadata.annotations[ovn.kubernetes.io/ingress_rate]",
                Effect::Refused
            ),
            (
                "metadata.annotations[ovn.kubernetes.io/vip]",
                Effect::Ignored
            ),
        ]
    );
}
