//! Reading annotations: both spellings of Kube-OVN's prefix, ours, and those nobody knows.

use std::fmt;

use crate::name::{Kind, ObjectRef};
use crate::problem::Problem;
use crate::view::Meta;

/// Kube-OVN's prefix, and the one older write-ups use.
pub const KUBE_OVN: [&str; 2] = ["ovn.kubernetes.io/", "kube-ovn.io/"];

/// The prefix of what Kube-OVN has no word for.
pub const OURS: &str = "sluice.io/";

/// The prefix of what Kubernetes itself has words for.
pub const KUBERNETES: &str = "kubernetes.io/";

/// What Kube-OVN writes on objects to say what it did; manifests exported from its clusters carry
/// these, and they ask for nothing.
const STATUS: [&str; 17] = [
    "allocated",
    "bgp_status",
    "chassis",
    "cidr",
    "exclude_ips",
    "gateway",
    "host_interface_name",
    "logical_router",
    "pod_nic_type",
    "port_name",
    "provider_network",
    "routed",
    "vlan_id",
    "vpc",
    "vpc_cidrs",
    "network_type",
    "network_types",
];

/// On nodes Kube-OVN writes these too, for its own `ovn0` interface.
const NODE_STATUS: [&str; 3] = ["ip_address", "logical_switch", "mac_address"];

/// What asks for how it is here anyway: pods send from their own addresses only.
const AS_IT_IS: [(&str, &str); 1] = [("port_security", "true")];

/// What Kube-OVN reads of further interfaces, spelt `<nad>.<namespace>.kubernetes.io/<name>`, or
/// with its own prefix there.
const FURTHER_INTERFACES: [&str; 4] = ["ip_address", "ip_pool", "logical_switch", "mac_address"];

/// The annotations of one kind, by their names without the prefix. `docs/kubernetes.md` has a row
/// for each; a test compares the two.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// Read under Kube-OVN's prefixes.
    pub kube_ovn: &'static [&'static str],
    /// Read under [`OURS`].
    pub ours: &'static [&'static str],
    /// Read under [`KUBERNETES`].
    pub kubernetes: &'static [&'static str],
    /// Written by us under [`OURS`]; read by nobody but people and `sluice-cni`.
    pub written: &'static [&'static str],
}

/// The annotations of a kind.
pub const fn of(kind: Kind) -> Known {
    let none = Known {
        kube_ovn: &[],
        ours: &[],
        kubernetes: &[],
        written: &[],
    };
    match kind {
        Kind::Pod => Known {
            kube_ovn: POD,
            ours: POD_OURS,
            kubernetes: POD_KUBERNETES,
            written: POD_WRITTEN,
        },
        Kind::Namespace => Known {
            kube_ovn: NAMESPACE,
            ours: NAMESPACE_OURS,
            ..none
        },
        Kind::Node => Known {
            ours: NODE_OURS,
            ..none
        },
        Kind::NetworkPolicy => Known {
            ours: POLICY_OURS,
            written: NETWORK_POLICY_WRITTEN,
            ..none
        },
        Kind::AdminNetworkPolicy
        | Kind::BaselineAdminNetworkPolicy
        | Kind::ClusterNetworkPolicy => Known {
            ours: POLICY_OURS,
            ..none
        },
        Kind::Subnet => Known {
            ours: SUBNET_OURS,
            ..none
        },
        Kind::Service => Known {
            ours: SERVICE_OURS,
            ..none
        },
        _ => none,
    }
}

/// What is read from Pods.
pub(crate) const POD: &[&str] = &[
    "aaps",
    "egress_burst",
    "egress_rate",
    "ingress_burst",
    "ingress_rate",
    "ip_address",
    "ip_family",
    "ip_pool",
    "jitter",
    "latency",
    "limit",
    "logical_switch",
    "loss",
    "mac_address",
];

/// What is read from Pods that Kubernetes has words for.
pub(crate) const POD_KUBERNETES: &[&str] = &["egress-bandwidth", "ingress-bandwidth"];

/// What is written on Pods under our own prefix, beside what Kube-OVN writes.
pub(crate) const POD_WRITTEN: &[&str] = &["mtu"];

/// What is written on NetworkPolicies, which have no status.
pub(crate) const NETWORK_POLICY_WRITTEN: &[&str] = &["accepted", "in-force"];

/// What is read from Namespaces.
pub(crate) const NAMESPACE: &[&str] = &["ip_pool", "logical_switch"];

/// What is read from Pods, under our own prefix.
pub(crate) const POD_OURS: &[&str] = &[
    "dscp",
    "egress_connections",
    "egress_packet_burst",
    "egress_packet_rate",
    "ingress_connections",
    "ingress_packet_burst",
    "ingress_packet_rate",
    "priority",
];

/// What is read from Namespaces, under our own prefix.
pub(crate) const NAMESPACE_OURS: &[&str] = &[
    "egress_burst",
    "egress_rate",
    "ingress_burst",
    "ingress_rate",
    "log",
];

/// What is read from policies of every kind, under our own prefix.
pub(crate) const POLICY_OURS: &[&str] = &["log"];

/// What is read from Nodes, under our own prefix.
pub(crate) const NODE_OURS: &[&str] = &["vtep"];

/// What is read from Subnets, under our own prefix.
pub(crate) const SUBNET_OURS: &[&str] = &["lb-pool", "node-network", "vni"];

/// What is read from Services, under our own prefix.
pub(crate) const SERVICE_OURS: &[&str] = &[
    "canary",
    "cell-fallback",
    "lb-ip",
    "lb-pool",
    "topology",
    "zone-weights",
];

/// The label, on Nodes and Pods, that names the cell they are in.
pub const CELL: &str = "sluice.io/cell";

/// An annotation with the key it was found under.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Annotation<'a> {
    key: &'a str,
    pub(crate) value: &'a str,
}

impl Annotation<'_> {
    /// The path for a [`Problem`].
    pub(crate) fn field(&self) -> String {
        field(self.key)
    }
}

fn field(key: impl fmt::Display) -> String {
    format!("metadata.annotations[{key}]")
}

/// An annotation of Kube-OVN's in either spelling. An empty value is no annotation, as there.
pub(crate) fn kube_ovn<'a>(meta: &'a Meta, name: &str) -> Option<Annotation<'a>> {
    KUBE_OVN
        .iter()
        .find_map(|prefix| get(meta, &format!("{prefix}{name}")))
}

/// An annotation of ours.
pub(crate) fn ours<'a>(meta: &'a Meta, name: &str) -> Option<Annotation<'a>> {
    get(meta, &format!("{OURS}{name}"))
}

/// An annotation that Kubernetes has a word for.
pub(crate) fn kubernetes<'a>(meta: &'a Meta, name: &str) -> Option<Annotation<'a>> {
    get(meta, &format!("{KUBERNETES}{name}"))
}

fn get<'a>(meta: &'a Meta, key: &str) -> Option<Annotation<'a>> {
    let (key, value) = meta.annotations.get_key_value(key)?;
    let value = value.trim();
    (!value.is_empty()).then_some(Annotation { key, value })
}

/// Reports every annotation that speaks to us and is not read: unknown ones, those not supported,
/// and the second spelling of one that is there twice.
pub(crate) fn report_unread(object: &ObjectRef, meta: &Meta, problems: &mut Vec<Problem>) {
    let of_kind = of(object.kind);
    for (key, value) in &meta.annotations {
        let as_it_is = |name: &str| AS_IT_IS.contains(&(name, value.as_str()));
        let known = if let Some(name) = key.strip_prefix(OURS) {
            of_kind.ours.contains(&name) || of_kind.written.contains(&name)
        } else if let Some(name) = key.strip_prefix(KUBE_OVN[0]) {
            of_kind.kube_ovn.contains(&name) || is_status(object, name) || as_it_is(name)
        } else if let Some(name) = key.strip_prefix(KUBE_OVN[1]) {
            report_contradiction(object, meta, name, problems);
            of_kind.kube_ovn.contains(&name) || is_status(object, name) || as_it_is(name)
        } else {
            !is_of_further_interface(key)
        };
        if !known {
            problems.push(Problem::ignored(
                object.clone(),
                field(key),
                "this annotation is not supported and has no effect",
                "remove it, or correct its name if another was meant",
            ));
        }
    }
}

fn is_of_further_interface(key: &str) -> bool {
    let Some((domain, name)) = key.split_once('/') else {
        return false;
    };
    // A name there may end in the interface it is for: `ip_address.net1`.
    let name = name.split('.').next().unwrap_or_default();
    domain.ends_with(".ovn.kubernetes.io")
        || domain.ends_with(".kubernetes.io") && FURTHER_INTERFACES.contains(&name)
}

fn is_status(object: &ObjectRef, name: &str) -> bool {
    STATUS.contains(&name) || object.kind == Kind::Node && NODE_STATUS.contains(&name)
}

fn report_contradiction(object: &ObjectRef, meta: &Meta, name: &str, problems: &mut Vec<Problem>) {
    let [first, second] = KUBE_OVN.map(|prefix| format!("{prefix}{name}"));
    if let (Some(first), Some(second)) = (get(meta, &first), get(meta, &second))
        && first.value != second.value
    {
        problems.push(Problem::ignored(
            object.clone(),
            second.field(),
            format!(
                "{:?} contradicts {} ({:?}), which is followed",
                second.value, first.key, first.value
            ),
            "keep one of the two",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::NamespacedName;

    fn meta(pairs: &[(&str, &str)]) -> Meta {
        Meta {
            annotations: pairs
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect(),
            ..Meta::default()
        }
    }

    fn unread(pairs: &[(&str, &str)]) -> Vec<String> {
        let pod = ObjectRef::namespaced(Kind::Pod, &NamespacedName::new("bank", "web-1"));
        let mut problems = Vec::new();
        report_unread(&pod, &meta(pairs), &mut problems);
        problems.iter().map(|p| p.field.clone()).collect()
    }

    #[test]
    fn both_spellings_are_read_and_an_empty_value_is_none() {
        let value = |pairs| kube_ovn(&meta(pairs), "ip_address").map(|a| a.value.to_string());
        assert_eq!(
            value(&[("ovn.kubernetes.io/ip_address", " 10.0.0.1 ")]),
            Some("10.0.0.1".into())
        );
        assert_eq!(
            value(&[("kube-ovn.io/ip_address", "10.0.0.2")]),
            Some("10.0.0.2".into())
        );
        assert_eq!(value(&[("ovn.kubernetes.io/ip_address", "")]), None);
        assert_eq!(value(&[]), None);
    }

    #[test]
    fn two_spellings_that_disagree_are_reported_and_the_current_one_is_followed() {
        let pairs = [
            ("kube-ovn.io/ip_address", "10.0.0.2"),
            ("ovn.kubernetes.io/ip_address", "10.0.0.1"),
        ];
        assert_eq!(
            kube_ovn(&meta(&pairs), "ip_address").unwrap().value,
            "10.0.0.1"
        );
        assert_eq!(
            unread(&pairs),
            ["metadata.annotations[kube-ovn.io/ip_address]"]
        );
    }

    #[test]
    fn annotations_that_speak_to_us_and_are_not_read_are_reported() {
        assert_eq!(
            unread(&[
                ("ovn.kubernetes.io/vip", "a"),
                ("kube-ovn.io/ip_adress", "typo"),
                ("sluice.io/cell", "b"),
                ("net1.bank.ovn.kubernetes.io/ip_address", "c"),
                ("macvlan.bank.kubernetes.io/ip_address.net2", "d"),
                ("prometheus.io/scrape", "true"),
                ("pod.alpha.kubernetes.io/initialized", "true"),
                ("ovn.kubernetes.io/ip_address", "10.0.0.1"),
                ("ovn.kubernetes.io/allocated", "true"),
            ]),
            [
                "metadata.annotations[kube-ovn.io/ip_adress]",
                "metadata.annotations[macvlan.bank.kubernetes.io/ip_address.net2]",
                "metadata.annotations[net1.bank.ovn.kubernetes.io/ip_address]",
                "metadata.annotations[ovn.kubernetes.io/vip]",
                "metadata.annotations[sluice.io/cell]",
            ]
        );
    }

    #[test]
    fn what_asks_for_how_it_is_anyway_is_not_told() {
        let key = "ovn.kubernetes.io/port_security";
        assert_eq!(unread(&[(key, "true")]), [""; 0]);
        assert_eq!(unread(&[(key, "false")]), [field(key)]);
    }
}
