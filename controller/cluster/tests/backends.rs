//! Which endpoints a client gets: tables of cases, of which those about conditions, policies and hints
//! say what Kubernetes' own proxies do.

mod common;

use cluster::Family;
use cluster::backends::{Client, Nobody, Scope, Verdict, choose, depends_on_place, in_use};
use cluster::desired::{
    CellRules, CellStep, Distribution, Endpoint, Protocol, Routing, Service, ServicePort,
};
use common::name;

/// Endpoints in a few words: `number condition node zone [cell=..] [zones=..] [nodes=..] [canary]`,
/// a semicolon between; the condition is ready, drain, dead or new (neither ready nor serving).
fn endpoints(text: &str) -> Vec<Endpoint> {
    let endpoint = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        let number: u8 = words[0].parse().unwrap();
        let mut e = Endpoint::ready([10, 16, 0, number].into(), 8080);
        (e.ready, e.serving, e.terminating) = match words[1] {
            "ready" => (true, true, false),
            "drain" => (false, true, true),
            "dead" => (false, false, true),
            "new" => (false, false, false),
            // publishNotReadyAddresses: ready while it terminates.
            "published" => (true, true, true),
            other => panic!("{other}"),
        };
        let known = |word: &str| (word != "-").then(|| word.to_string());
        e.node = known(words[2]);
        e.zone = known(words[3]);
        for word in &words[4..] {
            let list = |text: &str| text.split(',').map(str::to_string).collect();
            match word.split_once('=') {
                Some(("cell", cell)) => e.cell = Some(cell.into()),
                Some(("zones", zones)) => e.for_zones = list(zones),
                Some(("nodes", nodes)) => e.for_nodes = list(nodes),
                _ => e.canary = true,
            }
        }
        e
    };
    text.split(';').map(endpoint).collect()
}

fn service(list: &str, routing: Routing) -> Service {
    let mut endpoints = endpoints(list);
    endpoints.sort();
    Service {
        name: name("bank/web"),
        cluster_ips: vec!["10.96.0.10".parse().unwrap()],
        ports: vec![ServicePort {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: 80,
            endpoints,
        }],
        routing,
    }
}

/// A client `node zone cell`.
fn client(text: &'static str) -> Client<'static> {
    let mut words = text.split(' ').map(|word| (word != "-").then_some(word));
    Client {
        node: words.next().flatten().unwrap_or(""),
        zone: words.next().flatten(),
        cell: words.next().flatten(),
    }
}

/// The chosen ones as `number` or `number*weight`.
fn chosen(service: &Service, scope: Scope, client: &Client<'_>) -> String {
    let choice = choose(service, &service.ports[0], Family::V4, scope, client);
    assert_eq!(choice.verdicts.len(), service.ports[0].endpoints.len());
    let text = |(e, weight): (&Endpoint, u16)| {
        let number = e.ip.to_string().rsplit('.').next().unwrap().to_string();
        if weight == 1 {
            number
        } else {
            format!("{number}*{weight}")
        }
    };
    let list: Vec<_> = choice.backends().map(text).collect();
    match choice.nobody() {
        Some(Nobody::Anywhere) => "reject".into(),
        Some(Nobody::Here) => "drop".into(),
        None => list.join(" "),
    }
}

fn local() -> Routing {
    Routing {
        internal_local: true,
        ..Routing::default()
    }
}

fn prefer(distribution: Distribution) -> Routing {
    Routing {
        distribution,
        ..Routing::default()
    }
}

fn strict(distribution: Distribution) -> Routing {
    Routing {
        strict: true,
        ..prefer(distribution)
    }
}

#[test]
fn conditions_policies_and_hints_count_as_in_kubernetes_own_proxies() {
    use Distribution::{Any, SameNode, SameZone};
    // Routing, endpoints, client, chosen. Nodes n1, n2 in zone a, n3 in b.
    let cases: &[(Routing, &str, &str, &str)] = &[
        // Conditions (KEP-1669).
        (prefer(Any), "1 ready n1 a;2 ready n3 b", "n1 a -", "1 2"),
        (prefer(Any), "1 ready n1 a;2 drain n3 b", "n3 b -", "1"),
        (prefer(Any), "1 drain n1 a;2 drain n3 b", "n1 a -", "1 2"),
        (
            prefer(Any),
            "1 dead n1 a;2 drain n3 b;3 new n1 a",
            "n1 a -",
            "2",
        ),
        (prefer(Any), "1 dead n1 a;2 new n3 b", "n1 a -", "reject"),
        (prefer(Any), "1 published n1 a;2 drain n3 b", "n1 a -", "1"),
        // Local: ready ones here, else draining ones here, else none (KEP-2086).
        (local(), "1 ready n1 a;2 ready n2 a", "n1 a -", "1"),
        (local(), "1 drain n1 a;2 ready n2 a", "n1 a -", "1"),
        (local(), "1 drain n1 a;2 ready n1 a", "n1 a -", "2"),
        (local(), "1 dead n1 a;2 ready n2 a", "n1 a -", "drop"),
        (local(), "1 dead n1 a;2 drain n2 a", "n1 a -", "drop"),
        (local(), "1 dead n1 a;2 new n2 a", "n1 a -", "reject"),
        (local(), "1 ready - -;2 ready n1 a", "n1 a -", "2"),
        // Zone hints: all ready ones have them, and one is for us (KEP-2433).
        (
            prefer(Any),
            "1 ready n1 a zones=a;2 ready n3 b zones=b",
            "n1 a -",
            "1",
        ),
        (
            prefer(Any),
            "1 ready n1 a zones=b;2 ready n3 b zones=b",
            "n1 a -",
            "1 2",
        ),
        (
            prefer(Any),
            "1 ready n1 a zones=a;2 ready n3 b",
            "n1 a -",
            "1 2",
        ),
        (
            prefer(Any),
            "1 ready n1 a zones=a;2 ready n3 b zones=a,b",
            "n3 b -",
            "2",
        ),
        (
            prefer(Any),
            "1 ready n1 a zones=a;2 drain n3 b",
            "n1 a -",
            "1",
        ),
        (
            prefer(Any),
            "1 ready n1 a zones=a;2 ready n3 b zones=b",
            "n9 - -",
            "1 2",
        ),
        (
            prefer(Any),
            "1 drain n1 a zones=a;2 drain n3 b zones=b",
            "n1 a -",
            "1 2",
        ),
        // Node hints before zone hints (KEP-4444 and PreferSameNode).
        (
            prefer(Any),
            "1 ready n1 a zones=a nodes=n1;2 ready n2 a zones=a nodes=n2",
            "n2 a -",
            "2",
        ),
        (
            prefer(Any),
            "1 ready n1 a zones=a nodes=n1;2 ready n3 b zones=b nodes=n3",
            "n2 a -",
            "1",
        ),
        (
            prefer(Any),
            "1 ready n1 a zones=a nodes=n1;2 ready n2 a zones=a",
            "n1 a -",
            "1 2",
        ),
        // Where nobody wrote hints, what the controller would write.
        (prefer(SameZone), "1 ready n1 a;2 ready n3 b", "n2 a -", "1"),
        (
            prefer(SameZone),
            "1 ready n1 a;2 ready n3 b",
            "n9 c -",
            "1 2",
        ),
        (
            prefer(SameZone),
            "1 ready n1 a;2 ready n3 -",
            "n2 a -",
            "1 2",
        ),
        (
            prefer(SameNode),
            "1 ready n1 a;2 ready n2 a;3 ready n3 b",
            "n2 a -",
            "2",
        ),
        (
            prefer(SameNode),
            "1 ready n1 a;2 ready n1 a;3 ready n3 b",
            "n2 a -",
            "1 2",
        ),
        (
            prefer(SameNode),
            "1 ready n1 a;2 ready n2 a;3 ready n3 b",
            "n9 c -",
            "1 2 3",
        ),
        (prefer(SameZone), "1 drain n1 a;2 ready n3 b", "n1 a -", "2"),
        // Hints say nothing under a Local policy.
        (
            local(),
            "1 ready n1 a zones=b;2 ready n2 a zones=a",
            "n1 a -",
            "1",
        ),
        // Ours: rather nobody than beyond the preference.
        (strict(SameZone), "1 ready n1 a;2 ready n3 b", "n2 a -", "1"),
        (
            strict(SameZone),
            "1 ready n1 a;2 ready n3 b",
            "n9 c -",
            "reject",
        ),
        (
            strict(SameZone),
            "1 ready n1 a;2 ready n3 b",
            "n9 - -",
            "reject",
        ),
        (strict(SameZone), "1 drain n1 a;2 drain n3 b", "n1 a -", "1"),
        (
            strict(SameNode),
            "1 ready n1 a;2 ready n2 a",
            "n3 b -",
            "reject",
        ),
        (strict(SameNode), "1 ready n1 a;2 ready n2 a", "n1 a -", "1"),
    ];
    for (routing, list, who, wanted) in cases {
        let service = service(list, routing.clone());
        let found = chosen(&service, Scope::Internal, &client(who));
        assert_eq!(found, *wanted, "{list} for {who}, {routing:?}");
    }
}

#[test]
fn the_policies_of_the_two_scopes_do_not_mix() {
    let mut service = service("1 ready n1 a;2 ready n2 a", Routing::default());
    service.routing.external_local = true;
    assert_eq!(chosen(&service, Scope::Internal, &client("n1 a -")), "1 2");
    assert_eq!(chosen(&service, Scope::External, &client("n1 a -")), "1");
    assert_eq!(chosen(&service, Scope::External, &client("n3 b -")), "drop");
}

#[test]
fn cells_come_first_and_their_fall_back_in_order() {
    let rules = |by_cell: &[(&str, &[&str])], others: &[&str]| {
        let step = |name: &&str| match *name {
            "any" => CellStep::Any,
            cell => CellStep::Cell(cell.into()),
        };
        let steps = |names: &[&str]| names.iter().map(step).collect::<Vec<_>>();
        CellRules::Then {
            by_cell: by_cell
                .iter()
                .map(|(c, s)| (c.to_string(), steps(s)))
                .collect(),
            others: steps(others),
        }
    };
    let three = "1 ready n1 a cell=x;2 ready n1 a cell=y;3 ready n3 b cell=z";
    let x_drains = "1 drain n1 a cell=x;2 ready n1 a cell=y;3 ready n3 b cell=z";
    let all_drain = "1 drain n1 a cell=x;2 drain n1 a cell=y";
    let cases: &[(CellRules, &str, &str, &str)] = &[
        (CellRules::default(), three, "n1 a x", "1"),
        (CellRules::default(), three, "n1 a -", "1 2 3"),
        (CellRules::default(), three, "n1 a other", "1 2 3"),
        (CellRules::default(), x_drains, "n1 a x", "2 3"),
        (CellRules::default(), all_drain, "n1 a x", "1"),
        (CellRules::Ignored, three, "n1 a x", "1 2 3"),
        (rules(&[], &[]), x_drains, "n1 a x", "1"),
        (rules(&[], &[]), "2 ready n1 a cell=y", "n1 a x", "reject"),
        (rules(&[], &[]), "2 ready n1 a", "n1 a x", "reject"),
        (rules(&[("x", &["z", "y"])], &[]), x_drains, "n1 a x", "3"),
        (
            rules(&[("x", &["w", "y"])], &["any"]),
            x_drains,
            "n1 a x",
            "2",
        ),
        (rules(&[("y", &["z"])], &["any"]), x_drains, "n1 a x", "2 3"),
    ];
    for (cells, list, who, wanted) in cases {
        let routing = Routing {
            cells: cells.clone(),
            ..Routing::default()
        };
        let found = chosen(&service(list, routing), Scope::Internal, &client(who));
        assert_eq!(found, *wanted, "{list} for {who}, {cells:?}");
    }
    // Zones within the cell.
    let list = "1 ready n1 a cell=x;2 ready n3 b cell=x;3 ready n1 a cell=y";
    let service = service(list, prefer(Distribution::SameZone));
    assert_eq!(chosen(&service, Scope::Internal, &client("n1 a x")), "1");
    assert_eq!(chosen(&service, Scope::Internal, &client("n9 c x")), "1 2");
}

#[test]
fn zones_and_canaries_get_their_shares_and_leave_them_where_they_have_nobody() {
    let zones = |list: &[(&str, u16)]| Routing {
        zone_weights: list.iter().map(|(z, w)| (z.to_string(), *w)).collect(),
        ..Routing::default()
    };
    let canary = |share: u16| Routing {
        canary: Some(share),
        ..Routing::default()
    };
    let both = Routing {
        zone_weights: [("a".to_string(), 3), ("b".to_string(), 1)].into(),
        ..canary(5_000)
    };
    let cases: &[(Routing, &str, &str)] = &[
        (
            zones(&[("a", 80), ("b", 20)]),
            "1 ready n1 a;2 ready n3 b",
            "1*4 2",
        ),
        (
            zones(&[("a", 80), ("b", 20)]),
            "1 ready n1 a;2 ready n2 a;3 ready n3 b",
            "1*2 2*2 3",
        ),
        (
            zones(&[("a", 80), ("b", 20)]),
            "1 ready n1 a;3 drain n3 b",
            "1",
        ),
        (
            zones(&[("a", 1), ("b", 0)]),
            "1 ready n1 a;2 ready n3 b;3 ready n4 c",
            "1",
        ),
        (zones(&[("b", 1)]), "1 ready n1 a;2 ready n4 c", "1 2"),
        (canary(1_000), "1 ready n1 a;2 ready n3 b canary", "1*9 2"),
        (
            canary(1_000),
            "1 ready n1 a;2 ready n1 a;3 ready n3 b canary",
            "1*9 2*9 3*2",
        ),
        (canary(1), "1 ready n1 a;2 ready n3 b canary", "1*9999 2"),
        (canary(0), "1 ready n1 a;2 ready n3 b canary", "1"),
        (canary(10_000), "1 ready n1 a;2 ready n3 b canary", "2"),
        (canary(1_000), "1 ready n1 a;2 drain n3 b canary", "1"),
        (canary(1_000), "1 drain n1 a;2 ready n3 b canary", "2"),
        (canary(0), "1 drain n1 a;2 ready n3 b canary", "2"),
        // Half to the canary, whose only zone has all of that; of the rest three to one.
        (
            both,
            "1 ready n1 a;2 ready n3 b;3 ready n1 a canary",
            "1*3 2 3*4",
        ),
    ];
    for (routing, list, wanted) in cases {
        let service = service(list, routing.clone());
        let found = chosen(&service, Scope::Internal, &client("n1 a -"));
        assert_eq!(found, *wanted, "{list}, {routing:?}");
        assert!(!depends_on_place(&service));
    }
}

#[test]
fn every_endpoint_is_told_why_it_is_not_used() {
    let list = "1 ready n1 a;2 ready n3 b;3 drain n1 a;4 new n1 a";
    let mut service = service(list, prefer(Distribution::SameZone));
    service.ports[0]
        .endpoints
        .push(Endpoint::ready("fd00::5".parse().unwrap(), 8080));
    let choice = choose(
        &service,
        &service.ports[0],
        Family::V4,
        Scope::Internal,
        &client("n1 a -"),
    );
    let verdicts: Vec<_> = choice.verdicts.iter().map(|(_, v)| *v).collect();
    assert_eq!(
        verdicts,
        [
            Verdict::Used { weight: 1 },
            Verdict::OtherZone,
            Verdict::Draining,
            Verdict::NotReady,
            Verdict::OtherFamily
        ]
    );
    assert_eq!(choice.variant, "for zone a");
    assert_eq!(
        verdicts[2].to_string(),
        "draining: established connections only"
    );
}

#[test]
fn clients_whose_choices_have_the_same_text_have_the_same_choice() {
    let list = "1 ready n1 a cell=x;2 ready n2 a cell=y;3 drain n3 b;4 ready n3 b cell=x";
    for routing in [
        Routing::default(),
        prefer(Distribution::SameZone),
        prefer(Distribution::SameNode),
        strict(Distribution::SameZone),
        local(),
    ] {
        let service = service(list, routing);
        assert!(depends_on_place(&service));
        let mut known: std::collections::BTreeMap<String, _> = Default::default();
        for node in ["n1", "n2", "n3", "n9"] {
            for zone in [Some("a"), Some("b"), Some("c"), None] {
                for cell in [Some("x"), Some("y"), Some("w"), None] {
                    let who = Client { node, zone, cell };
                    for scope in [Scope::Internal, Scope::External] {
                        let choice = choose(&service, &service.ports[0], Family::V4, scope, &who);
                        let first = known
                            .entry(choice.variant.clone())
                            .or_insert(choice.clone());
                        assert_eq!(
                            first.verdicts, choice.verdicts,
                            "{who:?}: {:?}",
                            choice.variant
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn connections_stay_with_what_is_ready_chosen_or_not_and_with_what_serves_alone() {
    let numbers = |service: &Service, who| {
        let used = in_use(service, &service.ports[0], &client(who));
        let last = |e: &&Endpoint| e.ip.to_string().rsplit('.').next().unwrap().to_string();
        used.iter().map(last).collect::<Vec<_>>().join(" ")
    };
    let list = "1 ready n1 a;2 ready n3 b;3 drain n3 b;4 dead n1 a";
    assert_eq!(
        numbers(&service(list, prefer(Distribution::SameZone)), "n1 a -"),
        "1 2"
    );
    assert_eq!(numbers(&service(list, local()), "n3 b -"), "1 2");
    let list = "1 ready n1 a;3 drain n3 b";
    assert_eq!(numbers(&service(list, local()), "n3 b -"), "1 3");
    assert_eq!(numbers(&service(list, Routing::default()), "n3 b -"), "1");
}
