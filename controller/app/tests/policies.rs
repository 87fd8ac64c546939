//! Network policies, from manifests to packets: what the specification says of a connection, by an
//! interpreter of its own ([`spec`]), is what becomes of its packets in real dataplanes ([`bed`]).

#[path = "policies/bed.rs"]
mod bed;
#[path = "policies/dump.rs"]
mod dump;
#[path = "policies/generate.rs"]
mod generate;
#[path = "policies/log.rs"]
mod log;
#[path = "policies/packets.rs"]
mod packets;
#[path = "policies/spec.rs"]
mod spec;
#[path = "policies/traced.rs"]
mod traced;

use std::net::IpAddr;

use bed::{Bed, OUTSIDE, Receiver};
use packets::{End, PROTOCOLS, packet};
use serde_json::{Value, json};
use spec::{Party, Question, Spec};

/// The machine on the VLAN.
const OUTSIDE_IP: &str = "192.168.100.200";

/// Who can be an end of a connection, with an address.
fn parties(bed: &Bed) -> Vec<(Option<String>, IpAddr)> {
    let pods = bed.desired.pods.values();
    let mut all: Vec<_> = pods
        .flat_map(|pod| pod.addresses().map(|ip| (Some(pod.name.to_string()), ip)))
        .collect();
    all.push((None, OUTSIDE_IP.parse().unwrap()));
    all
}

/// True if there is a way from one to the other, policies apart: overlays reach each other, and on
/// the VLAN everybody reaches everybody.
fn connected(bed: &Bed, from: IpAddr, to: IpAddr) -> bool {
    let wire = &bed.desired.subnets["wire"];
    from.is_ipv4() == to.is_ipv4() && from != to && wire.contains(from) == wire.contains(to)
}

struct Try {
    protocol: (&'static str, u8),
    port: u16,
    /// Different for every connection.
    source: u16,
}

/// Sends the first packet of a connection; true if it came where it should, and its answer back.
fn connects(
    bed: &mut Bed,
    from: &(Option<String>, IpAddr),
    to: &(Option<String>, IpAddr),
    attempt: &Try,
) -> bool {
    let mac =
        |bed: &Bed, pod: &Option<String>| pod.as_deref().map_or(OUTSIDE, |pod| bed.pod(pod).mac.0);
    let next_hop =
        |bed: &Bed, a: &(Option<String>, IpAddr), b: &(Option<String>, IpAddr)| match &a.0 {
            Some(pod) => bed.next_hop(pod, b.1),
            None => mac(bed, &b.0),
        };
    let receiver = |pod: &Option<String>| match pod {
        Some(pod) => Receiver::Pod(pod.clone()),
        None => Receiver::Outside,
    };
    let mut one_way = |from: &(Option<String>, IpAddr),
                       to: &(Option<String>, IpAddr),
                       ports: (u16, u16),
                       answer| {
        let end = |mac, ip, port| End { mac, ip, port };
        let a = end(mac(bed, &from.0), from.1, ports.0);
        let b = end(next_hop(bed, from, to), to.1, ports.1);
        let frame = packet(attempt.protocol.1, a, b, answer);
        let got = match &from.0 {
            Some(pod) => bed.send(pod, &frame),
            None => bed.send_from_outside(100, &frame),
        };
        // On the VLAN the outside machine's frames reach both nodes; one of them has the pod.
        let got: Vec<Receiver> = got.into_iter().map(|(receiver, _)| receiver).collect();
        match got.as_slice() {
            [] => false,
            [one] if *one == receiver(&to.0) => true,
            other => panic!("{from:?} sent to {to:?}, and {other:?} got it"),
        }
    };
    let there = one_way(from, to, (attempt.source, attempt.port), false);
    if there {
        let back = one_way(to, from, (attempt.port, attempt.source), true);
        assert!(back, "{from:?} reached {to:?}, but the answer was lost");
    }
    there
}

/// Every pair of parties, by every protocol, to every port: packets against the specification.
/// Returns how many connections there were and how many of them came through.
fn judge(seed: u64, manifests: &[Value], ports: &[u16]) -> (usize, usize) {
    let mut bed = Bed::new(manifests);
    let spec = Spec::new(manifests);
    let parties = parties(&bed);
    let (mut asked, mut allowed) = (0, 0);
    let mut source = 20_000u16;
    for from in &parties {
        for to in &parties {
            if !connected(&bed, from.1, to.1) || from.0.is_none() && to.0.is_none() {
                continue;
            }
            for protocol in PROTOCOLS {
                for port in ports {
                    source = source.wrapping_add(1).max(20_000);
                    let party = |(pod, ip): &'_ (Option<String>, IpAddr)| (pod.clone(), *ip);
                    let ((a, a_ip), (b, b_ip)) = (party(from), party(to));
                    let says = spec.allows(&Question {
                        from: Party {
                            pod: a.as_deref(),
                            ip: a_ip,
                        },
                        to: Party {
                            pod: b.as_deref(),
                            ip: b_ip,
                        },
                        protocol: protocol.0,
                        port: *port,
                    });
                    let attempt = Try {
                        protocol,
                        port: *port,
                        source,
                    };
                    let does = connects(&mut bed, from, to, &attempt);
                    let policies: Vec<String> = manifests
                        .iter()
                        .filter(|m| m["kind"].as_str().unwrap().ends_with("Policy"))
                        .map(|m| m.to_string())
                        .collect();
                    assert_eq!(
                        does,
                        says,
                        "case {seed}: {from:?} to {to:?}, {} {port}; pods {:#?}\n{}",
                        protocol.0,
                        bed.desired.policies.pods,
                        policies.join("\n")
                    );
                    asked += 1;
                    allowed += usize::from(does);
                }
            }
        }
    }
    (asked, allowed)
}

/// A part of the generated cases, so that they run side by side.
fn cases(part: u64, of: u64) {
    let mut totals = (0, 0);
    for seed in (0..CASES).filter(|seed| seed % of == part) {
        let manifests = generate::cluster(seed);
        // Each case knocks at some of the ports; all of them at every one.
        let all: Vec<u16> = generate::ports().collect();
        let at = |n: u64| all[(seed + n) as usize % all.len()];
        let (asked, allowed) = judge(seed, &manifests, &[at(0), at(3)]);
        totals = (totals.0 + asked, totals.1 + allowed);
    }
    // A generator whose clusters let everything through, or nothing, would show nothing.
    assert!(
        totals.1 * 4 > totals.0 && totals.1 * 4 < totals.0 * 3,
        "{totals:?}"
    );
}

const CASES: u64 = 168;

macro_rules! parts {
    ($($name:ident $part:literal;)*) => {$(
        #[test]
        fn $name() {
            cases($part, 4);
        }
    )*};
}

parts! {
    generated_policies_do_to_packets_what_the_specification_says_0 0;
    generated_policies_do_to_packets_what_the_specification_says_1 1;
    generated_policies_do_to_packets_what_the_specification_says_2 2;
    generated_policies_do_to_packets_what_the_specification_says_3 3;
}

#[test]
fn without_policies_everybody_reaches_everybody() {
    let mut manifests = generate::frame();
    manifests.push(generate::pod("red/a", 1, "10.16.0.2", json!({}), json!([])));
    manifests.push(generate::pod(
        "green/a",
        2,
        "10.17.0.2",
        json!({}),
        json!([]),
    ));
    let (asked, allowed) = judge(0, &manifests, &[80]);
    assert_eq!((asked, allowed), (6, 6));
}

/// Two pods of a namespace on one node, one of another on the other node, a Service for the first.
fn bank() -> Vec<Value> {
    let mut all = generate::frame();
    let web = json!([{"name": "web", "containerPort": 8080}]);
    all.push(generate::pod(
        "red/web",
        1,
        "10.16.0.2",
        json!({"app": "web"}),
        web,
    ));
    all.push(generate::pod(
        "red/client",
        1,
        "10.16.0.3",
        json!({"app": "client"}),
        json!([]),
    ));
    all.push(generate::pod(
        "green/far",
        2,
        "10.17.0.2",
        json!({"app": "client"}),
        json!([]),
    ));
    all.push(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "red"},
        "spec": {"clusterIP": "10.96.0.10", "selector": {"app": "web"},
                 "ports": [{"port": 80, "targetPort": "web"}]},
    }));
    all
}

fn network_policy(name: &str, spec: Value) -> Value {
    let (namespace, name) = name.split_once('/').unwrap();
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

fn with(mut manifests: Vec<Value>, more: &[Value]) -> Vec<Value> {
    manifests.extend_from_slice(more);
    manifests
}

/// A pod as an end, and what it has to send to so as to reach another.
fn end(bed: &Bed, pod: &str, port: u16) -> End {
    let pod = bed.pod(pod);
    End {
        mac: pod.mac.0,
        ip: IpAddr::V4(pod.v4.unwrap()),
        port,
    }
}

fn toward(bed: &Bed, from: &str, ip: IpAddr, port: u16) -> End {
    let mac = bed.next_hop(from, ip);
    End { mac, ip, port }
}

/// Who got the frame.
fn sent(bed: &mut Bed, from: &str, frame: &[u8]) -> Vec<Receiver> {
    let got = bed.send(from, frame);
    got.into_iter().map(|(receiver, _)| receiver).collect()
}

fn pod(name: &str) -> Vec<Receiver> {
    vec![Receiver::Pod(name.into())]
}

#[test]
fn a_change_of_policy_holds_for_connections_that_are_there_and_so_does_its_end() {
    let deny = network_policy(
        "red/deny",
        json!({"podSelector": {"matchLabels": {"app": "web"}}}),
    );
    let other = network_policy("grey/other", json!({"podSelector": {}, "ingress": [{}]}));
    for from in ["red/client", "green/far"] {
        let mut bed = Bed::new(&with(bank(), std::slice::from_ref(&other)));
        let client = end(&bed, from, 700);
        let web = end(&bed, "red/web", 8080);
        let to_web = toward(&bed, from, web.ip, 8080);
        let to_client = toward(&bed, "red/web", client.ip, 700);
        let (syn, syn_ack) = (
            packet(6, client, to_web, false),
            packet(6, web, to_client, true),
        );
        assert_eq!(sent(&mut bed, from, &syn), pod("red/web"));
        assert_eq!(sent(&mut bed, "red/web", &syn_ack), pod(from));
        let on = packets::data(client, to_web, 1001, 1001);
        let back = packets::data(web, to_client, 1001, 1001);
        assert_eq!(sent(&mut bed, from, &on), pod("red/web"));
        assert_eq!(sent(&mut bed, "red/web", &back), pod(from));

        bed.apply(&with(bank(), &[other.clone(), deny.clone()]));
        assert_eq!(
            sent(&mut bed, from, &on),
            [],
            "{from}: the policy isolates the server"
        );
        assert_eq!(
            sent(&mut bed, "red/web", &back),
            [],
            "{from}: nor does it answer"
        );

        bed.apply(&with(bank(), std::slice::from_ref(&other)));
        assert_eq!(
            sent(&mut bed, from, &on),
            pod("red/web"),
            "{from}: the policy is gone"
        );
        assert_eq!(sent(&mut bed, "red/web", &back), pod(from));
    }
}

#[test]
fn an_isolated_pod_gets_answers_and_errors_about_its_own_connections_and_nothing_else() {
    let isolated = network_policy(
        "red/isolated",
        json!({"podSelector": {"matchLabels": {"app": "client"}}, "policyTypes": ["Ingress"]}),
    );
    let mut bed = Bed::new(&with(bank(), &[isolated]));
    let client = end(&bed, "red/client", 700);
    let web = end(&bed, "red/web", 5353);
    let to_web = toward(&bed, "red/client", web.ip, 5353);
    let to_client = toward(&bed, "red/web", client.ip, 700);
    let error = |about: &[u8]| {
        // Port unreachable with the packet that it is about (RFC 792).
        let mut frame = Vec::new();
        let (IpAddr::V4(a), IpAddr::V4(b)) = (web.ip, client.ip) else {
            unreachable!()
        };
        etherparse::PacketBuilder::ethernet2(web.mac, to_client.mac)
            .ipv4(a.octets(), b.octets(), 64)
            .icmpv4_raw(3, 3, [0; 4])
            .write(&mut frame, &about[14..])
            .unwrap();
        frame
    };
    let question = packet(17, client, to_web, false);
    assert_eq!(
        sent(&mut bed, "red/web", &error(&question)),
        [],
        "nobody asked"
    );
    assert_eq!(sent(&mut bed, "red/client", &question), pod("red/web"));
    assert_eq!(
        sent(&mut bed, "red/web", &error(&question)),
        pod("red/client")
    );
    let answer = packet(17, web, to_client, true);
    assert_eq!(sent(&mut bed, "red/web", &answer), pod("red/client"));
    let unasked = packet(17, End { port: 5354, ..web }, to_client, false);
    assert_eq!(sent(&mut bed, "red/web", &unasked), []);
    // Protocols without ports are isolated too, and answered alike.
    let request = packets::echo(web, to_client, false);
    assert_eq!(sent(&mut bed, "red/web", &request), []);
    let request = packets::echo(client, to_web, false);
    assert_eq!(sent(&mut bed, "red/client", &request), pod("red/web"));
    let reply = packets::echo(web, to_client, true);
    assert_eq!(sent(&mut bed, "red/web", &reply), pod("red/client"));
}

#[test]
fn behind_a_service_the_endpoint_is_judged_and_every_packet_of_what_is_denied_is_dropped() {
    let egress = |port: u16| {
        network_policy(
            "green/egress",
            json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{
                "to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "web"}}}],
                "ports": [{"port": port}],
            }]}),
        )
    };
    // The port is the endpoint's, not the Service's.
    for (port, through) in [(8080, true), (80, false)] {
        let mut bed = Bed::new(&with(bank(), &[egress(port)]));
        let far = end(&bed, "green/far", 700);
        let service = toward(&bed, "green/far", "10.96.0.10".parse().unwrap(), 80);
        let syn = packet(6, far, service, false);
        for _ in 0..3 {
            let expected = if through { pod("red/web") } else { vec![] };
            assert_eq!(sent(&mut bed, "green/far", &syn), expected);
        }
        // Nor does an answer that nobody could have sent open the connection.
        let web = end(&bed, "red/web", 8080);
        let to_far = toward(&bed, "red/web", far.ip, 700);
        if !through {
            sent(&mut bed, "red/web", &packet(6, web, to_far, true));
            let on = packets::data(far, service, 1001, 1001);
            assert_eq!(sent(&mut bed, "green/far", &on), []);
        }
    }
}

#[test]
fn a_pod_reaches_itself_through_its_service_whatever_network_policies_say() {
    let nothing = network_policy(
        "red/nothing",
        json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
    );
    let mut bed = Bed::new(&with(bank(), std::slice::from_ref(&nothing)));
    let web = end(&bed, "red/web", 700);
    let service = toward(&bed, "red/web", "10.96.0.10".parse().unwrap(), 80);
    let syn = packet(6, web, service, false);
    assert_eq!(sent(&mut bed, "red/web", &syn), pod("red/web"));
    // A ClusterNetworkPolicy may keep it from that.
    let admin = json!({
        "apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
        "metadata": {"name": "no"},
        "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}},
                 "egress": [{"action": "Deny", "to": [{"namespaces": {}}]}]},
    });
    bed.apply(&with(bank(), &[nothing, admin]));
    let again = packet(6, End { port: 701, ..web }, service, false);
    assert_eq!(sent(&mut bed, "red/web", &again), []);
}

#[test]
fn the_pod_that_gets_the_frame_is_judged_not_the_one_that_the_packet_names() {
    let isolated = network_policy(
        "red/isolated",
        json!({"podSelector": {"matchLabels": {"app": "web"}}}),
    );
    let mut bed = Bed::new(&with(bank(), &[isolated]));
    let (client, web) = (end(&bed, "red/client", 700), end(&bed, "red/web", 80));
    // To the isolated pod's MAC address, and another's IP address.
    let elsewhere = End {
        ip: "10.16.0.99".parse().unwrap(),
        ..web
    };
    assert_eq!(
        sent(
            &mut bed,
            "red/client",
            &packet(17, client, elsewhere, false)
        ),
        []
    );
    assert_eq!(
        sent(&mut bed, "red/client", &packet(17, client, web, false)),
        []
    );
}

#[test]
fn every_rule_counts_what_it_decided_under_the_name_of_its_policy() {
    let some = network_policy(
        "red/some",
        json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [
            {"from": [{"podSelector": {}}], "ports": [{"port": 1}]},
            {"from": [{"podSelector": {}}], "ports": [{"port": "web"}]},
        ]}),
    );
    let mut bed = Bed::new(&with(bank(), &[some]));
    let client = end(&bed, "red/client", 700);
    for (port, times) in [(8080, 3), (1, 1), (2, 2)] {
        let to = toward(&bed, "red/client", end(&bed, "red/web", port).ip, port);
        for n in 0..times {
            let from = End {
                port: 700 + n,
                ..client
            };
            sent(&mut bed, "red/client", &packet(6, from, to, false));
        }
    }
    assert_eq!(bed.hits("NetworkPolicy red/some ingress[1]"), 3);
    assert_eq!(bed.hits("NetworkPolicy red/some ingress[0]"), 1);
    assert_eq!(bed.hits("NetworkPolicy red/some isolation"), 2);
}

#[test]
fn a_pod_that_comes_is_known_to_policies_everywhere_with_its_first_packet() {
    let policies = [network_policy(
        "green/some",
        json!({"podSelector": {}, "ingress": [{"from": [{
            "namespaceSelector": {"matchLabels": {"team": "red"}},
            "podSelector": {"matchLabels": {"app": "late"}},
        }]}]}),
    )];
    let mut bed = Bed::new(&with(bank(), &policies));
    let late =
        |app: &str| generate::pod("red/late", 1, "10.16.0.77", json!({"app": app}), json!([]));
    for (app, through) in [("late", true), ("later", false)] {
        bed.apply(&with(with(bank(), &policies), &[late(app)]));
        let from = end(&bed, "red/late", if through { 700 } else { 701 });
        let to = toward(&bed, "red/late", end(&bed, "green/far", 80).ip, 80);
        let expected = if through { pod("green/far") } else { vec![] };
        assert_eq!(
            sent(&mut bed, "red/late", &packet(6, from, to, false)),
            expected
        );
    }
    // A pod that comes under a policy is so from its own first packet.
    let sealed = network_policy(
        "red/sealed",
        json!({"podSelector": {"matchLabels": {"app": "late"}}, "policyTypes": ["Egress"]}),
    );
    bed.apply(&with(with(bank(), &policies), &[sealed, late("late")]));
    let from = end(&bed, "red/late", 702);
    let to = toward(&bed, "red/late", end(&bed, "green/far", 80).ip, 80);
    assert_eq!(sent(&mut bed, "red/late", &packet(6, from, to, false)), []);
}

#[test]
fn what_is_not_understood_fails_closed_for_its_rule_only_and_is_told() {
    let np = network_policy(
        "red/some",
        json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [
            {"from": [{"ipBlock": {"cidr": "10.0.0.0/33"}}, {"podSelector": {}}],
             "ports": [{"port": 1}, {"protocol": "ICMP"}, {"port": 3, "endPort": 2}],
             "sauce": "a field that nobody knows"},
            {"from": [{"ipBlock": {"cidr": "10.16.0.0/16", "except": ["10.99.0.0/16"]}}],
             "ports": [{"port": 2}]},
            {"from": [{"podSelector": {}}], "ports": [{"port": "nobody-has-it"}]},
            {"from": [{"podSelector": {"matchLabels": {"app": "nobody"}}}]},
        ]}),
    );
    let cluster = json!({
        "apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
        "metadata": {"name": "names"},
        "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {"matchLabels": {"team": "green"}}},
                 "egress": [{"action": "Deny", "to": [{"domainNames": ["example.com"]}]}]},
    });
    let mut bed = Bed::new(&with(bank(), &[np, cluster]));
    let told: Vec<(String, String)> = bed
        .desired
        .problems
        .iter()
        .map(|p| (p.object.to_string(), p.field.clone()))
        .collect();
    let policy = "NetworkPolicy red/some";
    for field in [
        "spec.ingress[0].from[0]",
        "spec.ingress[0].ports[1]",
        "spec.ingress[0].ports[2]",
        "spec.ingress[0].sauce",
        "spec.ingress[1].from[0]",
        "spec.ingress[2].ports",
        "spec.ingress[3].from[0]",
    ] {
        assert!(
            told.contains(&(policy.into(), field.into())),
            "{field} of {told:?}"
        );
    }
    let cluster = (
        "ClusterNetworkPolicy names".to_string(),
        "spec.egress[0].to[0]".to_string(),
    );
    assert!(told.contains(&cluster), "{told:?}");
    let client = end(&bed, "red/client", 700);
    for (port, through) in [(1, true), (2, false), (3, false)] {
        let to = toward(&bed, "red/client", end(&bed, "red/web", port).ip, port);
        let expected = if through { pod("red/web") } else { vec![] };
        let got = sent(&mut bed, "red/client", &packet(6, client, to, false));
        assert_eq!(got, expected, "port {port}");
    }
    // A denial that is not understood denies everything.
    let far = end(&bed, "green/far", 700);
    let to = toward(&bed, "green/far", client.ip, 9);
    assert_eq!(sent(&mut bed, "green/far", &packet(6, far, to, false)), []);
}

#[test]
fn a_pods_own_node_reaches_it_and_is_reached_whatever_network_policies_say() {
    let nothing = network_policy(
        "red/nothing",
        json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
    );
    let mut bed = Bed::new(&with(bank(), &[nothing]));
    let web = end(&bed, "red/web", 8080);
    let node = |number: u8, port| End {
        mac: [0x0a, 0x5c, 172, 30, 0, number],
        ip: IpAddr::from([172, 30, 0, number]),
        port,
    };
    let router = flows::feature::host::ROUTER_MAC.0;
    let to_web = End { mac: router, ..web };
    let mut from_node = |number: u8, frame: &[u8]| -> Vec<Receiver> {
        let got = bed.send_from_node(usize::from(number) - 1, frame);
        got.into_iter().map(|(receiver, _)| receiver).collect()
    };
    let probe = packet(6, node(1, 700), to_web, false);
    assert_eq!(from_node(1, &probe), pod("red/web"), "its own node");
    let other = packet(6, node(2, 700), to_web, false);
    assert_eq!(from_node(2, &other), [], "another node");
    // Through its own node, but from elsewhere.
    let outside = End {
        ip: "192.0.2.7".parse().unwrap(),
        ..node(1, 700)
    };
    assert_eq!(from_node(1, &packet(6, outside, to_web, false)), []);

    let answer = toward(&bed, "red/web", node(1, 0).ip, 700);
    let frame = packet(6, web, answer, true);
    let kernel = [Receiver::Node("node1".into())];
    assert_eq!(sent(&mut bed, "red/web", &frame), kernel);
    let of_node = toward(&bed, "red/web", node(1, 0).ip, 10250);
    let frame = packet(6, End { port: 701, ..web }, of_node, false);
    assert_eq!(sent(&mut bed, "red/web", &frame), kernel);
    let of_other = toward(&bed, "red/web", node(2, 0).ip, 10250);
    let frame = packet(6, End { port: 701, ..web }, of_other, false);
    assert_eq!(sent(&mut bed, "red/web", &frame), []);
}
