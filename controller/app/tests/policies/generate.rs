//! Clusters with policies, one for each seed.

use serde_json::{Value, json};

/// A generator of numbers: xorshift64*, seeded by splitmix.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Dice((z ^ (z >> 31)) | 1)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

type Labels = &'static [(&'static str, &'static str)];

/// Namespaces, with their labels and subnets; the last one is on a VLAN.
const NAMESPACES: [(&str, Labels, &str); 3] = [
    ("red", &[("team", "red"), ("env", "prod")], "blue"),
    ("green", &[("team", "green"), ("env", "prod")], "green"),
    ("grey", &[("team", "grey")], "wire"),
];

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
const PORTS: [u16; 6] = [53, 80, 81, 443, 8080, 9000];
const NAMES: [&str; 2] = ["web", "dns"];
const BLOCKS: [&str; 11] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.16.0.0/16",
    "10.16.0.0/31",
    "10.16.0.2/31",
    "10.17.0.0/29",
    "192.168.100.0/24",
    "192.168.100.200/32",
    "::/0",
    "fd00:10:16::/64",
    "fd00:10:16::4/127",
];

/// The cluster's frame: nodes, subnets, namespaces.
pub fn frame() -> Vec<Value> {
    let mut all = Vec::new();
    for number in 1..=2 {
        all.push(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": format!("node{number}"), "labels": {"rack": format!("r{number}")}},
            "status": {"addresses": [
                {"type": "InternalIP", "address": format!("172.30.0.{number}")},
            ]},
        }));
    }
    let subnet = |name: &str, cidr: &str, namespaces: Value, vlan: &str| {
        let mut spec = json!({"cidrBlock": cidr, "namespaces": namespaces});
        if !vlan.is_empty() {
            spec["vlan"] = json!(vlan);
        }
        json!({
            "apiVersion": "kubeovn.io/v1", "kind": "Subnet",
            "metadata": {"name": name}, "spec": spec,
        })
    };
    all.push(subnet(
        "blue",
        "10.16.0.0/16,fd00:10:16::/64",
        json!(["red"]),
        "",
    ));
    all.push(subnet("green", "10.17.0.0/16", json!(["green"]), ""));
    all.push(subnet(
        "wire",
        "192.168.100.0/24",
        json!(["grey"]),
        "vlan100",
    ));
    all.push(json!({
        "apiVersion": "kubeovn.io/v1", "kind": "Vlan",
        "metadata": {"name": "vlan100"}, "spec": {"id": 100, "provider": "physical"},
    }));
    all.push(json!({
        "apiVersion": "kubeovn.io/v1", "kind": "ProviderNetwork",
        "metadata": {"name": "physical"}, "spec": {"defaultInterface": "uplink0"},
    }));
    for (name, labels, _) in NAMESPACES {
        let labels: serde_json::Map<_, _> = labels
            .iter()
            .map(|(k, v)| (k.to_string(), json!(v)))
            .collect();
        all.push(json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": labels},
        }));
    }
    all
}

/// A pod with a fixed address.
pub fn pod(name: &str, node: usize, ip: &str, labels: Value, ports: Value) -> Value {
    let (namespace, name) = name.split_once('/').unwrap();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": namespace, "labels": labels,
            "annotations": {"ovn.kubernetes.io/ip_address": ip},
        },
        "spec": {"nodeName": format!("node{node}"), "containers": [{"name": "c", "ports": ports}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// A cluster with pods and policies.
pub fn cluster(seed: u64) -> Vec<Value> {
    let dice = &mut Dice::new(seed);
    let mut all = frame();
    for (number, (namespace, _, subnet)) in (0..).zip(NAMESPACES) {
        let pods = if number < 2 { 2 + dice.below(2) } else { 2 };
        for index in 0..pods {
            let host = 2 + index;
            let ip = match subnet {
                "blue" => format!("10.16.0.{host},fd00:10:16::{host:x}"),
                "green" => format!("10.17.0.{host}"),
                _ => format!("192.168.100.{host}"),
            };
            let mut labels = json!({"app": dice.pick(&["a", "b", "c"])});
            if dice.chance(50) {
                labels["tier"] = json!(dice.pick(&["front", "back"]));
            }
            if dice.chance(50) {
                labels["pod-template-hash"] = json!(format!("{index}"));
            }
            let mut ports = Vec::new();
            for name in NAMES {
                if dice.chance(60) {
                    let protocol = if name == "web" { "TCP" } else { "UDP" };
                    ports.push(json!({
                        "name": name, "protocol": protocol, "containerPort": dice.pick(&PORTS),
                    }));
                }
            }
            let (node, name) = (1 + dice.below(2), format!("{namespace}/p{index}"));
            all.push(pod(&name, node, &ip, labels, json!(ports)));
        }
    }
    for index in 0..1 + dice.below(4) {
        all.push(network_policy(dice, index));
    }
    // Most clusters have the older kinds or the newer one or neither.
    match dice.below(5) {
        0 | 1 => {
            let mut priorities: Vec<usize> = (0..8).collect();
            for index in 0..1 + dice.below(3) {
                let at = dice.below(priorities.len());
                let priority = priorities.remove(at) * 100;
                all.push(cluster_policy(dice, index, priority));
            }
        }
        2 => {
            all.push(admin_policy(dice, Some(10)));
            if dice.chance(60) {
                all.push(admin_policy(dice, Some(5)));
            }
            if dice.chance(60) {
                all.push(admin_policy(dice, None));
            }
        }
        _ => {}
    }
    all
}

/// Every port that somebody speaks of, and one that nobody does.
pub fn ports() -> impl Iterator<Item = u16> {
    PORTS.into_iter().chain([82])
}

fn selector(dice: &mut Dice, keys: &[(&str, &[&str])]) -> Value {
    if dice.chance(20) {
        return json!({});
    }
    let (key, values) = dice.pick(keys);
    let value = dice.pick(values);
    match dice.below(7) {
        0..=2 => json!({"matchLabels": {key: value}}),
        3 => {
            let other = dice.pick(values);
            json!({"matchExpressions": [{"key": key, "operator": "In", "values": [value, other]}]})
        }
        4 => json!({"matchExpressions": [{"key": key, "operator": "NotIn", "values": [value]}]}),
        5 => json!({"matchExpressions": [{"key": key, "operator": "Exists"}]}),
        _ => json!({"matchExpressions": [{"key": key, "operator": "DoesNotExist"}]}),
    }
}

fn pods(dice: &mut Dice) -> Value {
    let keys: [(&str, &[&str]); 3] = [
        ("app", &["a", "b", "c"]),
        ("tier", &["front", "back"]),
        ("pod-template-hash", &["0", "1"]),
    ];
    // What controllers write on pods is asked for now and then only.
    let some = if dice.chance(10) {
        &keys[..]
    } else {
        &keys[..2]
    };
    selector(dice, some)
}

fn namespaces(dice: &mut Dice) -> Value {
    let keys: [(&str, &[&str]); 3] = [
        ("team", &["red", "green", "grey"]),
        ("env", &["prod"]),
        ("kubernetes.io/metadata.name", &["red", "green", "grey"]),
    ];
    selector(dice, &keys)
}

fn network_policy(dice: &mut Dice, index: usize) -> Value {
    let (namespace, ..) = dice.pick(&NAMESPACES);
    let mut spec = json!({"podSelector": pods(dice)});
    match dice.below(4) {
        0 => {}
        1 => spec["policyTypes"] = json!(["Ingress"]),
        2 => spec["policyTypes"] = json!(["Egress"]),
        _ => spec["policyTypes"] = json!(["Ingress", "Egress"]),
    }
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        if dice.chance(25) {
            continue;
        }
        let rules: Vec<Value> = (0..dice.below(4)).map(|_| np_rule(dice, peers)).collect();
        spec[direction] = json!(rules);
    }
    // Rules of a direction that policyTypes leaves out would be reported, as they should.
    for (direction, name) in [("ingress", "Ingress"), ("egress", "Egress")] {
        let types = spec["policyTypes"].as_array().cloned();
        if types.is_some_and(|types| !types.contains(&json!(name))) && dice.chance(80) {
            spec.as_object_mut().unwrap().remove(direction);
        }
    }
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": format!("np{index}"), "namespace": namespace}, "spec": spec,
    })
}

fn np_rule(dice: &mut Dice, peers: &str) -> Value {
    let mut rule = json!({});
    if dice.chance(80) {
        let list: Vec<Value> = (0..1 + dice.below(3)).map(|_| np_peer(dice)).collect();
        rule[peers] = json!(list);
    } else if dice.chance(50) {
        rule[peers] = json!([]);
    }
    if dice.chance(65) {
        let list: Vec<Value> = (0..1 + dice.below(3)).map(|_| np_port(dice)).collect();
        rule["ports"] = json!(list);
    }
    rule
}

fn np_peer(dice: &mut Dice) -> Value {
    match dice.below(5) {
        0 => json!({"podSelector": pods(dice)}),
        1 => json!({"namespaceSelector": namespaces(dice)}),
        2 => json!({"namespaceSelector": namespaces(dice), "podSelector": pods(dice)}),
        _ => {
            let cidr = dice.pick(&BLOCKS);
            let mut block = json!({"cidr": cidr});
            let inside: Vec<&str> = BLOCKS
                .into_iter()
                .filter(|other| *other != cidr && is_inside(other, cidr))
                .collect();
            if !inside.is_empty() && dice.chance(50) {
                let except: Vec<&str> =
                    (0..1 + dice.below(2)).map(|_| dice.pick(&inside)).collect();
                block["except"] = json!(except);
            }
            json!({"ipBlock": block})
        }
    }
}

fn is_inside(inner: &str, outer: &str) -> bool {
    let net = |text: &str| -> (Vec<u8>, usize) {
        let (address, length) = text.split_once('/').unwrap();
        let bytes = match address.parse().unwrap() {
            std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
            std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        (bytes, length.parse().unwrap())
    };
    let ((inner, inner_length), (outer, length)) = (net(inner), net(outer));
    let bit = |bytes: &[u8], n: usize| bytes[n / 8] >> (7 - n % 8) & 1;
    inner.len() == outer.len()
        && inner_length >= length
        && (0..length).all(|n| bit(&inner, n) == bit(&outer, n))
}

fn np_port(dice: &mut Dice) -> Value {
    let protocol = dice.pick(&PROTOCOLS);
    match dice.below(6) {
        0 => json!({"protocol": protocol}),
        1 => json!({"port": dice.pick(&PORTS)}),
        2 => {
            let name = dice.pick(&NAMES);
            json!({"protocol": if name == "web" { "TCP" } else { "UDP" }, "port": name})
        }
        3 => {
            let first = dice.pick(&PORTS);
            json!({"protocol": protocol, "port": first, "endPort": first + dice.pick(&[0u16, 1, 400, 9000])})
        }
        _ => json!({"protocol": protocol, "port": dice.pick(&PORTS)}),
    }
}

fn subject(dice: &mut Dice) -> Value {
    match dice.below(2) {
        0 => json!({"namespaces": namespaces(dice)}),
        _ => json!({"pods": {"namespaceSelector": namespaces(dice), "podSelector": pods(dice)}}),
    }
}

/// Peers, and whether they are pods, which have named ports.
fn cluster_peers(dice: &mut Dice, egress: bool) -> (Vec<Value>, bool) {
    let mut only_pods = true;
    let list = (0..1 + dice.below(2))
        .map(|_| match dice.below(if egress { 4 } else { 2 }) {
            0 | 1 => subject(dice),
            2 => {
                only_pods = false;
                json!({"networks": [dice.pick(&BLOCKS)]})
            }
            _ => {
                only_pods = false;
                json!({"nodes": {}})
            }
        })
        .collect();
    (list, only_pods)
}

fn cluster_rules(dice: &mut Dice, egress: bool, new: bool, pass: bool) -> Vec<Value> {
    (0..dice.below(4))
        .map(|index| {
            let allow = if new { "Accept" } else { "Allow" };
            let actions = if pass {
                [allow, "Deny", "Pass"]
            } else {
                [allow, "Deny", allow]
            };
            let (peers, only_pods) = cluster_peers(dice, egress);
            let mut rule = json!({"name": format!("r{index}"), "action": dice.pick(&actions)});
            rule[if egress { "to" } else { "from" }] = json!(peers);
            if dice.chance(60) {
                let named = only_pods && dice.chance(30);
                let port = if new {
                    new_port(dice, named)
                } else {
                    old_port(dice, named)
                };
                rule[if new { "protocols" } else { "ports" }] = json!([port]);
            }
            rule
        })
        .collect()
}

fn new_port(dice: &mut Dice, named: bool) -> Value {
    if named {
        return json!({"destinationNamedPort": dice.pick(&NAMES)});
    }
    let protocol = dice.pick(&["tcp", "udp", "sctp"]);
    let first = dice.pick(&PORTS);
    let port = if dice.chance(60) {
        json!({"number": first})
    } else {
        json!({"range": {"start": first, "end": first + 50}})
    };
    json!({protocol: {"destinationPort": port}})
}

fn old_port(dice: &mut Dice, named: bool) -> Value {
    let (protocol, first) = (dice.pick(&PROTOCOLS), dice.pick(&PORTS));
    match named {
        true => json!({"namedPort": dice.pick(&NAMES)}),
        false if dice.chance(60) => json!({"portNumber": {"protocol": protocol, "port": first}}),
        false => json!({"portRange": {"protocol": protocol, "start": first, "end": first + 50}}),
    }
}

fn cluster_policy(dice: &mut Dice, index: usize, priority: usize) -> Value {
    json!({
        "apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
        "metadata": {"name": format!("cnp{index}")},
        "spec": {
            "tier": dice.pick(&["Admin", "Baseline"]), "priority": priority,
            "subject": subject(dice),
            "ingress": cluster_rules(dice, false, true, true),
            "egress": cluster_rules(dice, true, true, true),
        },
    })
}

/// With a priority an AdminNetworkPolicy, without one the BaselineAdminNetworkPolicy.
fn admin_policy(dice: &mut Dice, priority: Option<usize>) -> Value {
    let mut spec = json!({
        "subject": subject(dice),
        "ingress": cluster_rules(dice, false, false, priority.is_some()),
        "egress": cluster_rules(dice, true, false, priority.is_some()),
    });
    let (kind, name) = match priority {
        Some(priority) => {
            spec["priority"] = json!(priority);
            ("AdminNetworkPolicy", format!("anp{priority}"))
        }
        None => ("BaselineAdminNetworkPolicy", "default".to_string()),
    };
    json!({
        "apiVersion": "policy.networking.k8s.io/v1alpha1", "kind": kind,
        "metadata": {"name": name}, "spec": spec,
    })
}
