//! What the policy log hears of, and multicast.

use super::*;

fn logged(mut policy: Value, what: &str) -> Value {
    policy["metadata"]["annotations"] = json!({"sluice.io/log": what});
    policy
}

fn web(log: &str) -> Value {
    let policy = network_policy(
        "red/web",
        json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [
            {"from": [{"podSelector": {}}], "ports": [{"port": 8080}]},
        ]}),
    );
    logged(policy, log)
}

/// So many packets of one connection, from a port of the sender's.
fn knock(bed: &mut Bed, from: &str, protocol: u8, ports: (u16, u16), times: usize) {
    let a = end(bed, from, ports.0);
    let b = toward(bed, from, end(bed, "red/web", ports.1).ip, ports.1);
    let frame = packet(protocol, a, b, false);
    for _ in 0..times {
        sent(bed, from, &frame);
    }
}

const ALLOWED: &str = "node1 allowed ingress NetworkPolicy red/web ingress[0]";
const DENIED: &str = "node1 denied ingress NetworkPolicy red/web isolated";

#[test]
fn the_log_hears_of_each_connection_once_whatever_is_cached() {
    let mut bed = Bed::new(&with(bank(), &[web("denied,allowed")]));
    for source in 700..703 {
        knock(&mut bed, "red/client", 6, (source, 8080), 3);
        assert_eq!(bed.heard(), [ALLOWED], "connection {source}");
        for protocol in [6, 17, 132] {
            knock(&mut bed, "red/client", protocol, (source, 9), 20);
            assert_eq!(bed.heard(), [DENIED], "{protocol} {source}");
            knock(&mut bed, "green/far", protocol, (source, 8080), 20);
            assert_eq!(bed.heard(), [DENIED], "{protocol} {source} from afar");
        }
    }
    let (client, web_end) = (end(&bed, "red/client", 700), end(&bed, "red/web", 8080));
    let to_client = toward(&bed, "red/web", client.ip, 700);
    let answer = packet(6, web_end, to_client, true);
    assert_eq!(sent(&mut bed, "red/web", &answer), pod("red/client"));
    let to_web = toward(&bed, "red/client", web_end.ip, 8080);
    let on = packets::data(client, to_web, 1001, 1001);
    assert_eq!(sent(&mut bed, "red/client", &on), pod("red/web"));
    assert_eq!(bed.heard(), [""; 0], "the connection goes on");

    // It is denied in the middle of its life: once more, and then no more.
    let deny = logged(
        network_policy("red/web", json!({"podSelector": {}})),
        "denied",
    );
    bed.apply(&with(bank(), &[deny]));
    for _ in 0..3 {
        assert_eq!(sent(&mut bed, "red/client", &on), []);
    }
    assert_eq!(bed.heard(), [DENIED]);
}

#[test]
fn the_log_hears_of_what_the_annotations_name_and_of_nothing_else() {
    for (own, namespace, expected) in [
        ("denied", "", vec![DENIED]),
        ("allowed", "", vec![ALLOWED]),
        ("none", "denied,allowed", vec![]),
        ("", "denied", vec![DENIED]),
        ("", "", vec![]),
        ("everything", "allowed", vec![ALLOWED]),
    ] {
        let mut manifests = with(bank(), &[web(own)]);
        let red = |m: &&mut Value| m["kind"] == "Namespace" && m["metadata"]["name"] == "red";
        let red = manifests.iter_mut().find(red).unwrap();
        red["metadata"]["annotations"] = json!({"sluice.io/log": namespace});
        let mut bed = Bed::new(&manifests);
        knock(&mut bed, "red/client", 6, (700, 8080), 2);
        knock(&mut bed, "red/client", 6, (700, 9), 2);
        assert_eq!(bed.heard(), expected, "{own:?} {namespace:?}");
    }
}

#[test]
fn the_log_names_the_rule_and_the_side_that_decided() {
    let far = logged(
        network_policy(
            "green/far",
            json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [
                {"to": [{"ipBlock": {"cidr": "10.99.0.0/16"}}]},
                {"to": [{"namespaceSelector": {}}], "ports": [{"port": 8080}]},
            ]}),
        ),
        "denied,allowed",
    );
    let admin = json!({
        "apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
        "metadata": {"name": "first", "annotations": {"sluice.io/log": "denied"}},
        "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}},
                 "ingress": [{"name": "no-dns", "action": "Deny", "from": [{"namespaces": {}}],
                              "protocols": [{"udp": {"destinationPort": {"number": 53}}}]}]},
    });
    let mut bed = Bed::new(&with(bank(), &[web("denied"), far, admin]));
    knock(&mut bed, "green/far", 6, (700, 8080), 2);
    let egress = "node2 allowed egress NetworkPolicy green/far egress[1]";
    assert_eq!(
        bed.heard(),
        [DENIED, egress],
        "each node says what it decided"
    );
    knock(&mut bed, "green/far", 6, (700, 9), 2);
    let egress = "node2 denied egress NetworkPolicy green/far isolated";
    assert_eq!(bed.heard(), [egress]);
    knock(&mut bed, "red/client", 17, (700, 53), 2);
    let rule = "node1 denied ingress ClusterNetworkPolicy first ingress[0] (no-dns)";
    assert_eq!(bed.heard(), [rule]);
}

#[test]
fn a_flood_is_heard_of_as_fast_as_the_rate_allows_and_takes_no_room_beyond_that() {
    let mut bed = Bed::new(&with(bank(), &[web("denied")]));
    let before = bed.connections();
    for source in 1000..3000 {
        knock(&mut bed, "green/far", 17, (source, 9), 1);
    }
    let heard = bed.heard().len();
    let remembered = bed.connections() - before;
    // No time passes here, so it is the burst, which is the rate.
    assert!((90..=110).contains(&heard), "{heard}");
    // The sender's node allows them, and remembers each; of what is denied, as many are remembered
    // as the zone has room for.
    assert_eq!(remembered, 2000 + bed::DENIED_LIMIT as usize);
    // One that is remembered stays silent.
    knock(&mut bed, "green/far", 17, (1000, 9), 5);
    assert_eq!(bed.heard(), [""; 0]);
}

/// Two pods on the first node's part of the VLAN, one on the second's.
fn vlan() -> Vec<Value> {
    let mut all = bank();
    for (name, node, last) in [("a", 1, 2), ("b", 1, 3), ("c", 2, 4)] {
        all.push(generate::pod(
            &format!("grey/{name}"),
            node,
            &format!("192.168.100.{last}"),
            json!({"app": name}),
            json!([]),
        ));
    }
    all
}

const GROUP: [u8; 6] = [0x01, 0x00, 0x5e, 0, 0, 0xfb];
const EVERYBODY: [u8; 6] = [0xff; 6];

#[test]
fn multicast_and_broadcast_are_judged_at_the_sender_and_at_each_receiver() {
    let isolated = |name: &str, spec: Value| {
        let mut spec = spec;
        spec["podSelector"] = json!({"matchLabels": {"app": name}});
        network_policy(&format!("grey/{name}"), spec)
    };
    let both = [pod("grey/b"), pod("grey/c")].concat();
    let all = |bed: &mut Bed, mac: [u8; 6], ip: [u8; 4], port: u16| {
        let to = End {
            mac,
            ip: IpAddr::from(ip),
            port,
        };
        let frame = packet(17, end(bed, "grey/a", 700), to, false);
        let mut got = sent(bed, "grey/a", &frame);
        got.sort();
        got
    };
    let mdns = |bed: &mut Bed| all(bed, GROUP, [224, 0, 0, 251], 5353);
    let dhcp = |bed: &mut Bed| all(bed, EVERYBODY, [255; 4], 67);

    let elsewhere = network_policy("red/x", json!({"podSelector": {}}));
    let mut bed = Bed::new(&with(vlan(), std::slice::from_ref(&elsewhere)));
    assert_eq!(
        (mdns(&mut bed), dhcp(&mut bed)),
        (both.clone(), both.clone())
    );

    // One of the receivers takes it from one sender, on one port.
    let ingress = isolated(
        "b",
        json!({"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "a"}}}],
                            "ports": [{"port": 5353, "protocol": "UDP"}]}]}),
    );
    bed.apply(&with(vlan(), &[elsewhere.clone(), ingress]));
    assert_eq!(
        (mdns(&mut bed), dhcp(&mut bed)),
        (both.clone(), pod("grey/c"))
    );
    let nothing = isolated("b", json!({}));
    bed.apply(&with(vlan(), &[elsewhere.clone(), nothing.clone()]));
    assert_eq!(mdns(&mut bed), pod("grey/c"));

    // The sender's policies see the group's address.
    let egress = isolated(
        "a",
        json!({"policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "224.0.0.0/4"}}]}]}),
    );
    bed.apply(&with(vlan(), &[elsewhere.clone(), egress]));
    assert_eq!((mdns(&mut bed), dhcp(&mut bed)), (both, vec![]));

    // What keeps the network going passes all the same.
    let silent = isolated("a", json!({"policyTypes": ["Ingress", "Egress"]}));
    bed.apply(&with(vlan(), &[elsewhere, nothing, silent]));
    assert_eq!((mdns(&mut bed), dhcp(&mut bed)), (vec![], vec![]));
    let mac = bed.pod("grey/a").mac;
    let gratuitous = net::arp::announce(mac, [192, 168, 100, 2]);
    let got = sent(&mut bed, "grey/a", &gratuitous);
    assert_eq!(got, [pod("grey/b"), pod("grey/c")].concat());
}
