//! What the specifications of NetworkPolicy, AdminNetworkPolicy, BaselineAdminNetworkPolicy and
//! ClusterNetworkPolicy say of a connection, read from the manifests themselves, rule by rule and
//! as slowly as it gets. It shares nothing with the controller: neither types nor parsing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

type Labels = BTreeMap<String, String>;

/// A cluster, as manifests.
pub struct Spec<'a> {
    objects: &'a [Value],
}

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Party<'a> {
    /// `namespace/name`, if it is a pod.
    pub pod: Option<&'a str>,
    pub ip: IpAddr,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub from: Party<'a>,
    pub to: Party<'a>,
    /// `TCP`, `UDP`, `SCTP`; anything else has no ports.
    pub protocol: &'a str,
    pub port: u16,
}

impl<'a> Spec<'a> {
    pub fn new(objects: &'a [Value]) -> Self {
        Spec { objects }
    }

    /// True if both ends' policies let the connection begin.
    pub fn allows(&self, ask: &Question<'_>) -> bool {
        self.judge(ask, "egress") && self.judge(ask, "ingress")
    }

    fn judge(&self, ask: &Question<'_>, direction: &str) -> bool {
        let (own, other) = match direction {
            "egress" => (ask.from, ask.to),
            _ => (ask.to, ask.from),
        };
        let Some(pod) = own.pod else { return true };
        if let Some(verdict) = self.tier("Admin", pod, other, ask, direction) {
            return verdict;
        }
        if let Some(verdict) = self.network_policies(pod, own, other, ask, direction) {
            return verdict;
        }
        self.tier("Baseline", pod, other, ask, direction)
            .unwrap_or(true)
    }

    fn network_policies(
        &self,
        pod: &str,
        own: Party<'_>,
        other: Party<'_>,
        ask: &Question<'_>,
        direction: &str,
    ) -> Option<bool> {
        let (namespace, _) = pod.split_once('/').unwrap();
        let mut isolated = false;
        for policy in self.of_kind("NetworkPolicy") {
            let spec = &policy["spec"];
            let types = &spec["policyTypes"];
            let in_force = match types.as_array().filter(|types| !types.is_empty()) {
                Some(types) => types
                    .iter()
                    .any(|t| t.as_str().unwrap().to_lowercase() == direction),
                None => direction == "ingress" || !list(&spec["egress"]).is_empty(),
            };
            let holds = policy["metadata"]["namespace"] == namespace
                && in_force
                && selects(&spec["podSelector"], &self.pod_labels(pod));
            if !holds {
                continue;
            }
            isolated = true;
            for rule in list(&spec[direction]) {
                let peers = list(&rule[if direction == "ingress" { "from" } else { "to" }]);
                let peer_fits = peers.is_empty()
                    || peers
                        .iter()
                        .any(|peer| self.np_peer(peer, namespace, other));
                let ports = list(&rule["ports"]);
                let port_fits =
                    ports.is_empty() || ports.iter().any(|port| self.np_port(port, ask));
                if peer_fits && port_fits {
                    return Some(true);
                }
            }
        }
        // "A pod cannot block access to itself."
        let itself = own.pod.is_some() && own.pod == other.pod;
        isolated.then_some(itself)
    }

    fn np_peer(&self, peer: &Value, namespace: &str, other: Party<'_>) -> bool {
        if let Some(block) = peer.get("ipBlock") {
            let inside = |net: &Value| contains(net.as_str().unwrap(), other.ip);
            return inside(&block["cidr"]) && !list(&block["except"]).iter().any(inside);
        }
        let Some(pod) = other.pod else { return false };
        let (its_namespace, _) = pod.split_once('/').unwrap();
        let namespace_fits = match peer.get("namespaceSelector") {
            Some(selector) => selects(selector, &self.namespace_labels(its_namespace)),
            None => its_namespace == namespace,
        };
        let pods = peer.get("podSelector").cloned().unwrap_or(Value::Null);
        namespace_fits && selects(&pods, &self.pod_labels(pod))
    }

    fn np_port(&self, port: &Value, ask: &Question<'_>) -> bool {
        if port["protocol"].as_str().unwrap_or("TCP") != ask.protocol {
            return false;
        }
        match &port["port"] {
            Value::Null => true,
            Value::String(name) => self.named(ask, Some(ask.protocol), name),
            number => {
                let first = number.as_u64().unwrap();
                let last = port["endPort"].as_u64().unwrap_or(first);
                (first..=last).contains(&u64::from(ask.port))
            }
        }
    }

    /// True if the destination is a pod that has this port under that name.
    fn named(&self, ask: &Question<'_>, protocol: Option<&str>, name: &str) -> bool {
        let Some(pod) = ask.to.pod else { return false };
        let containers = self.pod(pod)["spec"]["containers"].clone();
        list(&containers).iter().any(|container| {
            list(&container["ports"]).iter().any(|port| {
                let its = port["protocol"].as_str().unwrap_or("TCP");
                port["name"] == name
                    && its == ask.protocol
                    && protocol.is_none_or(|protocol| protocol == its)
                    && port["containerPort"] == ask.port
            })
        })
    }

    /// What the cluster-wide policies of a tier say; nothing if none decides.
    fn tier(
        &self,
        tier: &str,
        pod: &str,
        other: Party<'_>,
        ask: &Question<'_>,
        direction: &str,
    ) -> Option<bool> {
        let mut policies: Vec<(u64, &Value)> = Vec::new();
        for policy in self.of_kind("ClusterNetworkPolicy") {
            if policy["spec"]["tier"] == tier {
                policies.push((policy["spec"]["priority"].as_u64().unwrap(), policy));
            }
        }
        match tier {
            "Admin" => {
                for policy in self.of_kind("AdminNetworkPolicy") {
                    policies.push((policy["spec"]["priority"].as_u64().unwrap(), policy));
                }
            }
            _ => policies.extend(
                self.of_kind("BaselineAdminNetworkPolicy")
                    .map(|p| (5000, p)),
            ),
        }
        policies.sort_by_key(|(priority, _)| *priority);
        for (_, policy) in policies {
            let subject = &policy["spec"]["subject"];
            if !self.chosen(subject, pod) {
                continue;
            }
            for rule in list(&policy["spec"][direction]) {
                let peers = list(&rule[if direction == "ingress" { "from" } else { "to" }]);
                if !peers.iter().any(|peer| self.cluster_peer(peer, other)) {
                    continue;
                }
                let ports = [list(&rule["ports"]), list(&rule["protocols"])].concat();
                if !ports.is_empty() && !ports.iter().any(|port| self.cluster_port(port, ask)) {
                    continue;
                }
                return match rule["action"].as_str().unwrap() {
                    "Allow" | "Accept" => Some(true),
                    "Deny" => Some(false),
                    _ => None,
                };
            }
        }
        None
    }

    /// Pods by `namespaces` or `pods`.
    fn chosen(&self, by: &Value, pod: &str) -> bool {
        let (namespace, _) = pod.split_once('/').unwrap();
        let labels = self.namespace_labels(namespace);
        if let Some(selector) = by.get("namespaces") {
            return selects(selector, &labels);
        }
        match by.get("pods") {
            Some(pods) => {
                selects(&pods["namespaceSelector"], &labels)
                    && selects(&pods["podSelector"], &self.pod_labels(pod))
            }
            None => false,
        }
    }

    fn cluster_peer(&self, peer: &Value, other: Party<'_>) -> bool {
        if let Some(networks) = peer.get("networks") {
            let inside = |net: &Value| contains(net.as_str().unwrap(), other.ip);
            return list(networks).iter().any(inside);
        }
        if let Some(selector) = peer.get("nodes") {
            return self.of_kind("Node").any(|node| {
                let addresses = list(&node["status"]["addresses"]).to_vec();
                selects(selector, &labels_of(node))
                    && addresses
                        .iter()
                        .any(|a| a["address"] == other.ip.to_string())
            });
        }
        other.pod.is_some_and(|pod| self.chosen(peer, pod))
    }

    fn cluster_port(&self, port: &Value, ask: &Question<'_>) -> bool {
        let is = |number: &Value| number.as_u64() == Some(ask.port.into());
        let within = |range: &Value| {
            let (start, end) = (range["start"].as_u64(), range["end"].as_u64());
            (start.unwrap()..=end.unwrap()).contains(&ask.port.into())
        };
        let of = |port: &Value| port["protocol"].as_str().unwrap_or("TCP") == ask.protocol;
        if let Some(number) = port.get("portNumber") {
            return of(number) && is(&number["port"]);
        }
        if let Some(range) = port.get("portRange") {
            return of(range) && within(range);
        }
        if let Some(name) = port.get("namedPort").or(port.get("destinationNamedPort")) {
            return self.named(ask, None, name.as_str().unwrap());
        }
        let Some(port) = port.get(ask.protocol.to_lowercase()) else {
            return false;
        };
        let port = &port["destinationPort"];
        match port.get("range") {
            Some(range) => within(range),
            None => port.is_null() || is(&port["number"]),
        }
    }

    fn of_kind(&self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |o| o["kind"] == kind)
    }

    fn pod(&self, name: &str) -> &'a Value {
        let (namespace, name) = name.split_once('/').unwrap();
        let mut pods = self.of_kind("Pod");
        pods.find(|pod| {
            pod["metadata"]["namespace"] == namespace && pod["metadata"]["name"] == name
        })
        .unwrap()
    }

    fn pod_labels(&self, name: &str) -> Labels {
        labels_of(self.pod(name))
    }

    fn namespace_labels(&self, name: &str) -> Labels {
        let mut all = self.of_kind("Namespace");
        let given = all.find(|namespace| namespace["metadata"]["name"] == name);
        let mut labels = given.map_or_else(Labels::new, labels_of);
        labels.insert("kubernetes.io/metadata.name".into(), name.into());
        labels
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn labels_of(object: &Value) -> Labels {
    let labels = object["metadata"]["labels"].as_object();
    let labels = labels.into_iter().flatten();
    labels
        .map(|(key, value)| (key.clone(), value.as_str().unwrap().to_string()))
        .collect()
}

/// metav1.LabelSelector; one that is absent selects everything, as one that is empty.
fn selects(selector: &Value, labels: &Labels) -> bool {
    let wanted = selector["matchLabels"].as_object();
    let equal = wanted
        .into_iter()
        .flatten()
        .all(|(key, value)| labels.get(key).map(String::as_str) == value.as_str());
    equal
        && list(&selector["matchExpressions"]).iter().all(|one| {
            let has = labels.get(one["key"].as_str().unwrap());
            let among = has.is_some_and(|has| list(&one["values"]).iter().any(|v| v == has));
            match one["operator"].as_str().unwrap() {
                "In" => among,
                "NotIn" => !among,
                "Exists" => has.is_some(),
                "DoesNotExist" => has.is_none(),
                other => panic!("{other}"),
            }
        })
}

/// Bit by bit.
fn contains(prefix: &str, address: IpAddr) -> bool {
    let (net, length) = prefix.split_once('/').unwrap();
    let bits = |address: IpAddr| -> Vec<bool> {
        let bytes = match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let bit = |n: usize| bytes[n / 8] >> (7 - n % 8) & 1 == 1;
        (0..bytes.len() * 8).map(bit).collect()
    };
    let (net, address) = (bits(net.parse().unwrap()), bits(address));
    let length: usize = length.parse().unwrap();
    net.len() == address.len() && net[..length] == address[..length]
}
