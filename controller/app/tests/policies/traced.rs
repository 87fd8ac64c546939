//! What a trace says of a connection is what becomes of its packets.

use std::collections::BTreeSet;

use cluster::query::{End, Trace};
use flows::trace::{Ask, Tracer};
use serde_json::json;

use super::bed::{Bed, Receiver};
use super::packets::{PROTOCOLS, packet};
use super::{
    CASES, Try, bank, connected, connects, end, generate, network_policy, parties, toward, with,
};

fn ask(from: &str, to: impl Into<String>) -> Ask {
    Ask {
        from: from.into(),
        to: to.into(),
        ..Ask::default()
    }
}

fn trace(bed: &Bed, ask: &Ask) -> Trace {
    let ports = |node: &str| bed.ports(node);
    let tracer = Tracer::new(&bed.desired, &ports);
    tracer.trace(ask).unwrap()
}

fn receivers(trace: &Trace) -> BTreeSet<Receiver> {
    let ends = trace.paths.iter().flat_map(|path| &path.ends);
    let receiver = |end: &End| match end {
        End::Pod { pod, .. } => Some(Receiver::Pod(pod.clone())),
        End::Node { node, .. } => Some(Receiver::Node(node.clone())),
        End::Outside { .. } => Some(Receiver::Outside),
        _ => None,
    };
    ends.filter_map(receiver).collect()
}

/// Of some of the generated clusters, every pair of parties that a pod is the first of.
#[test]
fn a_trace_says_what_becomes_of_packets_under_policies() {
    let (mut asked, mut allowed) = (0, 0);
    for seed in (0..CASES).step_by(14) {
        let mut bed = Bed::new(&generate::cluster(seed));
        let port = generate::ports()
            .nth(seed as usize % generate::ports().count())
            .unwrap();
        let desired = bed.desired.clone();
        let all_ports: Vec<_> = desired
            .nodes
            .keys()
            .map(|n| (n.clone(), bed.ports(n)))
            .collect();
        let ports = |node: &str| all_ports.iter().find(|(n, _)| n == node)?.1.clone();
        let tracer = Tracer::new(&desired, &ports);
        let mut source = 30_000u16;
        for from in parties(&bed) {
            let Some(pod) = &from.0 else { continue };
            for to in parties(&bed) {
                if !connected(&bed, from.1, to.1) {
                    continue;
                }
                for protocol in PROTOCOLS {
                    source += 1;
                    let text = match to.1.is_ipv4() {
                        true => format!("{}:{port}/{}", to.1, protocol.0),
                        false => format!("[{}]:{port}/{}", to.1, protocol.0),
                    };
                    let mut ask = ask(pod, text);
                    ask.source_port = Some(source);
                    let told = tracer.trace(&ask).unwrap();
                    let attempt = Try {
                        protocol,
                        port,
                        source,
                    };
                    let does = connects(&mut bed, &from, &to, &attempt);
                    assert_eq!(told.delivered, does, "case {seed}: {told:#?}");
                    let blamed = told.paths[0].ends.iter().all(|end| match end {
                        End::Dropped { object, .. } => object.contains("Policy "),
                        end => end.is_delivery(),
                    });
                    assert!(blamed, "case {seed}: {told:#?}");
                    asked += 1;
                    allowed += usize::from(does);
                }
            }
        }
    }
    assert!(
        asked > 500 && allowed * 5 > asked && allowed * 5 < asked * 4,
        "{allowed} of {asked}"
    );
}

#[test]
fn a_trace_names_the_rule_that_counts_the_packet() {
    let some = network_policy(
        "red/some",
        json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [
            {"from": [{"podSelector": {}}], "ports": [{"port": 1}]},
            {"from": [{"podSelector": {}}], "ports": [{"port": "web"}]},
        ]}),
    );
    let mut bed = Bed::new(&with(bank(), &[some]));
    for (port, rule) in [
        (8080, "NetworkPolicy red/some ingress[1]"),
        (80, "NetworkPolicy red/some isolation"),
    ] {
        let told = trace(&bed, &ask("red/client", format!("pod:red/web:{port}")));
        assert_eq!(told.paths[0].ingress_rule.as_deref(), Some(rule));
        let before = bed.hits(rule);
        let (from, to) = (end(&bed, "red/client", 700), end(&bed, "red/web", port));
        bed.send("red/client", &packet(6, from, to, false));
        assert_eq!(bed.hits(rule), before + 1, "{rule}");
        let dropped = matches!(&told.paths[0].ends[0], End::Dropped { node, object, .. } if node == "node1" && object == rule);
        assert_eq!(dropped, !told.delivered, "{told:#?}");
    }
}

#[test]
fn a_trace_to_a_service_tells_every_endpoint_that_packets_reach_and_why_not_the_others() {
    let web = json!({"app": "web"});
    let port = json!([{"name": "web", "containerPort": 8080}]);
    let more = [
        generate::pod("red/web-2", 2, "10.16.0.5", web.clone(), port.clone()),
        generate::pod("red/web-3", 1, "10.16.0.6", web.clone(), port),
    ];
    let mut manifests = with(bank(), &more);
    let last = manifests.last_mut().unwrap();
    last["status"]["conditions"][0]["status"] = json!("False");
    let mut bed = Bed::new(&manifests);
    for from in ["red/client", "green/far"] {
        let told = trace(&bed, &ask(from, "service:red/web"));
        assert!(told.delivered, "{told:#?}");
        let mut reached = BTreeSet::new();
        for source in 0..40 {
            let client = end(&bed, from, 20_000 + source);
            let service = toward(&bed, from, "10.96.0.10".parse().unwrap(), 80);
            let got = bed.send(from, &packet(6, client, service, false));
            reached.extend(got.into_iter().map(|(receiver, _)| receiver));
        }
        assert_eq!(receivers(&told), reached, "{told:#?}");
        let verdict = |pod: &str| {
            let found = told.backends.iter().find(|b| b.pod.as_deref() == Some(pod));
            found.map(|b| (b.weight, b.verdict.clone())).unwrap()
        };
        assert!(verdict("red/web").0.is_some() && verdict("red/web-2").0.is_some());
        assert_eq!(verdict("red/web-3"), (None, "not ready".into()));
        let as_what = told.paths[0].ends[0].clone();
        assert!(
            matches!(&as_what, End::Pod { packet, .. } if packet.ends_with(":8080")),
            "{as_what:?}"
        );
    }
}

#[test]
fn what_does_not_exist_is_told_with_what_is_like_it() {
    let bed = Bed::new(&bank());
    let ports = |node: &str| bed.ports(node);
    let tracer = Tracer::new(&bed.desired, &ports);
    for (from, to, says) in [
        (
            "red/cleint",
            "red/web:80",
            "no pod red/cleint; red/client is near",
        ),
        (
            "client",
            "red/wbe:80",
            "no pod and no Service red/wbe; red/web is near",
        ),
        (
            "client",
            "red/web:80",
            "red/web is a pod and a Service: write pod:red/web or service:red/web",
        ),
        (
            "client",
            "service:red/web:81",
            "Service red/web has 80/TCP, and no port 81",
        ),
        (
            "client",
            "pod:red/web/udp",
            "UDP needs a port: NAME:PORT/UDP",
        ),
        (
            "client",
            "10.17.0.2:80/icmp",
            "ICMP has no port 80: leave it out",
        ),
        ("far", "fd00::1", "no address of the same family"),
    ] {
        let error = tracer.trace(&ask(from, to)).unwrap_err();
        assert!(error.contains(says), "{from} {to}: {error}");
    }
    // From one node to the other, without a port, by ICMP; and what no pod has.
    let told = tracer.trace(&ask("client", "far")).unwrap();
    assert!(told.packet.starts_with("ICMP echo 10.16.0.3 -> 10.17.0.2"));
    let nodes: BTreeSet<&str> = told.paths[0]
        .steps
        .iter()
        .map(|s| s.node.as_str())
        .collect();
    assert!(told.delivered && nodes.len() == 2, "{told:#?}");
    let told = tracer.trace(&ask("client", "10.17.0.99")).unwrap();
    assert!(
        matches!(&told.paths[0].ends[0], End::Dropped { object, .. } if object == "Subnet green"),
        "{told:#?}"
    );
    assert!(
        told.verdict.contains("No pod has that address"),
        "{}",
        told.verdict
    );
}
