//! What Services say of how their connections are spread, and what becomes of what makes no sense.

mod common;

use cluster::desired::{CellRules, CellStep, Distribution, Endpoint, Protocol, Routing};
use cluster::view::{self, ClusterView, TargetPort};
use cluster::{DesiredState, Effect};
use common::*;

/// Service `bank/web` in front of `bank/web-1`, and `bank/web-v2` in front of `bank/web-2`.
fn two() -> ClusterView {
    let mut view = bank();
    for (number, app) in [(1, "web"), (2, "web-v2")] {
        let pod = add_pod(&mut view, &format!("bank/web-{number}"), &[]);
        pod.meta.labels.insert("app".into(), app.into());
        pod.node = Some(format!("node{number}"));
        view.services.insert(
            name(&format!("bank/{app}")),
            view::Service {
                cluster_ips: vec![format!("10.96.0.{number}")],
                selector: [("app".to_string(), app.to_string())].into(),
                ports: vec![view::ServicePort {
                    name: "http".into(),
                    protocol: Protocol::Tcp,
                    port: 80 + number,
                    target: Some(TargetPort::Number(8080)),
                }],
                ..Default::default()
            },
        );
    }
    view
}

fn say(view: &mut ClusterView, key: &str, value: &str) {
    let service = view.services.get_mut(&name("bank/web")).unwrap();
    service.meta.annotations.insert(key.into(), value.into());
}

fn routing(desired: &DesiredState) -> &Routing {
    &desired.services[&name("bank/web")].routing
}

fn endpoints(desired: &DesiredState) -> &[Endpoint] {
    &desired.services[&name("bank/web")].ports[0].endpoints
}

#[test]
fn what_makes_no_sense_is_told_and_the_service_serves_as_if_it_was_not_said() {
    let bad = [
        ("sluice.io/canary", "web-v2"),
        ("sluice.io/canary", "web-v2=101"),
        ("sluice.io/canary", "web-v2=-1"),
        ("sluice.io/canary", "web-v2=1.234"),
        ("sluice.io/canary", "=10"),
        ("sluice.io/canary", "web=10"),
        ("sluice.io/canary", "nobody=10"),
        ("sluice.io/zone-weights", "a"),
        ("sluice.io/zone-weights", "a=1,a=2"),
        ("sluice.io/zone-weights", "a=0,b=0"),
        ("sluice.io/zone-weights", "a=70000"),
        ("sluice.io/topology", "strict"),
        ("sluice.io/topology", "loose"),
        ("sluice.io/cell-fallback", "any, b"),
        ("sluice.io/cell-fallback", "none, b"),
        ("sluice.io/cell-fallback", "a: b; a: c"),
        ("sluice.io/cell-fallback", "b; any"),
        ("sluice.io/cell-fallback", ": b"),
        ("service.kubernetes.io/topology-mode", "Sometimes"),
        ("sluice.io/nonsense", "1"),
    ];
    for (key, value) in bad {
        let mut view = two();
        say(&mut view, key, value);
        let desired = fresh(&view);
        assert_told_once(&desired, &["Service bank/web", key]);
        assert_eq!(
            desired.problems.iter().next().unwrap().effect,
            Effect::Ignored,
            "{key}={value}"
        );
        assert_eq!(*routing(&desired), Routing::default(), "{key}={value}");
        assert_eq!(endpoints(&desired).len(), 1, "{key}={value}");
    }
}

#[test]
fn affinity_has_each_services_own_time_within_what_kubernetes_allows() {
    for (seconds, kept, told) in [
        (1, 1, 0),
        (10_800, 10_800, 0),
        (65_535, 65_535, 0),
        (65_536, 65_535, 1),
        (86_400, 65_535, 1),
        (0, 10_800, 1),
        (86_401, 10_800, 1),
        (-5, 10_800, 1),
    ] {
        let mut view = two();
        view.services.get_mut(&name("bank/web")).unwrap().affinity = Some(seconds);
        let desired = fresh(&view);
        assert_eq!(routing(&desired).affinity, Some(kept), "{seconds}");
        assert_eq!(desired.problems.len(), told, "{seconds}");
    }
}

#[test]
fn distributions_are_those_of_kubernetes_and_zone_weights_come_before_them() {
    for (text, wanted, told) in [
        ("PreferClose", Distribution::SameZone, 0),
        ("PreferSameZone", Distribution::SameZone, 0),
        ("PreferSameNode", Distribution::SameNode, 0),
        ("PreferFar", Distribution::Any, 1),
    ] {
        let mut view = two();
        view.services
            .get_mut(&name("bank/web"))
            .unwrap()
            .traffic_distribution = Some(text.into());
        let desired = fresh(&view);
        assert_eq!(routing(&desired).distribution, wanted);
        assert_eq!(desired.problems.len(), told, "{text}");
        if told == 0 {
            say(&mut view, "sluice.io/topology", "strict");
            let desired = fresh(&view);
            assert!(routing(&desired).strict && desired.problems.is_empty());
            view = two();
            say(&mut view, "sluice.io/zone-weights", "a=3, b=1");
            view.services
                .get_mut(&name("bank/web"))
                .unwrap()
                .traffic_distribution = Some(text.into());
            let desired = fresh(&view);
            assert_told_once(&desired, &["spec.trafficDistribution", "zone-weights"]);
            let weights = &routing(&desired).zone_weights;
            assert_eq!(
                *weights,
                [("a".to_string(), 3), ("b".to_string(), 1)].into()
            );
        }
    }
    let mut view = two();
    say(&mut view, "service.kubernetes.io/topology-mode", "Auto");
    assert_eq!(
        *routing(&fresh(&view)),
        Routing::default(),
        "hints are in slices"
    );
    say(&mut view, "sluice.io/topology", "strict");
    assert_eq!(routing(&fresh(&view)).distribution, Distribution::SameZone);
}

#[test]
fn a_canary_adds_the_other_services_endpoints_by_name_or_number_of_the_port() {
    let mut view = two();
    say(&mut view, "sluice.io/canary", "web-v2=12.5");
    let desired = fresh(&view);
    assert_eq!(routing(&desired).canary, Some(1250));
    let canaries: Vec<_> = endpoints(&desired).iter().map(|e| e.canary).collect();
    assert_eq!(canaries, [false, true]);
    // No port of that name, but one of that number.
    let other = view.services.get_mut(&name("bank/web-v2")).unwrap();
    (other.ports[0].name, other.ports[0].port) = ("web".into(), 81);
    assert_eq!(endpoints(&fresh(&view)).len(), 2);
    let other = view.services.get_mut(&name("bank/web-v2")).unwrap();
    other.ports[0].port = 99;
    let desired = fresh(&view);
    assert_eq!(endpoints(&desired).len(), 1);
    assert_told_once(&desired, &["sluice.io/canary", "no port like TCP 81"]);
    // Who is in both is no canary.
    let mut view = two();
    say(&mut view, "sluice.io/canary", "web-v2=10");
    let other = view.services.get_mut(&name("bank/web-v2")).unwrap();
    other.selector = [("app".to_string(), "web".to_string())].into();
    let desired = fresh(&view);
    assert_eq!(endpoints(&desired).iter().filter(|e| e.canary).count(), 0);
}

#[test]
fn rules_of_cells_are_read_in_order() {
    let then = |by_cell: &[(&str, &[&str])], others: &[&str]| {
        let steps = |names: &[&str]| {
            let step = |name: &&str| match *name {
                "any" => CellStep::Any,
                cell => CellStep::Cell(cell.into()),
            };
            names.iter().map(step).collect::<Vec<_>>()
        };
        CellRules::Then {
            by_cell: by_cell
                .iter()
                .map(|(c, s)| (c.to_string(), steps(s)))
                .collect(),
            others: steps(others),
        }
    };
    for (text, wanted) in [
        ("any", CellRules::default()),
        ("ignore", CellRules::Ignored),
        ("none", then(&[], &[])),
        ("b, c, any", then(&[], &["b", "c", "any"])),
        (
            "a: b, any; d: none; *: c",
            then(&[("a", &["b", "any"]), ("d", &[])], &["c"]),
        ),
        ("a: b", then(&[("a", &["b"])], &["any"])),
    ] {
        let mut view = two();
        say(&mut view, "sluice.io/cell-fallback", text);
        let desired = fresh(&view);
        assert_eq!(routing(&desired).cells, wanted, "{text}");
        assert_eq!(desired.problems, [], "{text}");
    }
}

#[test]
fn a_pods_cell_is_its_label_or_else_its_nodes_and_zones_are_of_slices_or_else_of_nodes() {
    let mut view = two();
    let label = |meta: &mut view::Meta, key: &str, value: &str| {
        meta.labels.insert(key.into(), value.into());
    };
    let node = &mut view.nodes.get_mut("node1").unwrap().meta;
    label(node, "sluice.io/cell", "blue");
    label(node, "topology.kubernetes.io/zone", "a");
    let of = |view: &ClusterView| {
        let desired = fresh(view);
        let endpoint = &endpoints(&desired)[0];
        (endpoint.cell.clone(), endpoint.zone.clone())
    };
    assert_eq!(of(&view), (Some("blue".into()), Some("a".into())));
    let pod = &mut view.pods.get_mut(&name("bank/web-1")).unwrap().meta;
    label(pod, "sluice.io/cell", "green");
    assert_eq!(of(&view), (Some("green".into()), Some("a".into())));
    view.endpoint_slices.insert(
        name("bank/web-abc"),
        view::EndpointSlice {
            service: Some("web".into()),
            endpoints: vec![view::SliceEndpoint {
                addresses: vec![ip(&fresh(&view), "bank/web-1")],
                zone: Some("b".into()),
                for_zones: vec!["c".into()],
                ..Default::default()
            }],
            ports: vec![view::SlicePort {
                name: "http".into(),
                protocol: Protocol::Tcp,
                port: Some(8080),
            }],
            ..Default::default()
        },
    );
    assert_eq!(of(&view), (Some("green".into()), Some("b".into())));
    let desired = fresh(&view);
    assert_eq!(endpoints(&desired)[0].for_zones, ["c"]);
    assert_eq!(endpoints(&desired)[0].node.as_deref(), Some("node1"));
}
