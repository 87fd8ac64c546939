//! Network policies to the view. A peer or port that is not understood is kept as such, so that its
//! rule can fail closed; a policy whose pods, tier or action are not understood is refused.

use cluster::desired::Protocol;
use cluster::view::{
    Action, ClusterPolicy, ClusterTier, LabelSelector, NetworkPolicy, Peer, PolicyPort, PolicyRule,
    Subject,
};
use cluster::{ObjectRef, Problem};
use k8s_openapi::api::networking::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::core::{meta_of, number, protocol, selector};
use super::crd::Resource;
use super::policy_crd::{self as crd, ClusterPolicySpec};
use super::{FieldError, typed};

/// The highest `spec.priority` (the API's own limit).
const LAST_PRIORITY: i64 = 1000;

pub(super) fn network_policy(
    value: &Value,
    id: &ObjectRef,
    problems: &mut Vec<Problem>,
) -> Result<NetworkPolicy, FieldError> {
    let policy: api::NetworkPolicy = typed::read(value, id, |_, _| false, problems)?;
    let spec = policy.spec.unwrap_or_default();
    let ingress: Vec<_> = spec.ingress.into_iter().flatten().collect();
    let egress: Vec<_> = spec.egress.into_iter().flatten().collect();
    // What the API server fills in: ingress always, egress where there are rules for it.
    let types = spec.policy_types.unwrap_or_default();
    for (index, name) in types.iter().enumerate() {
        if !matches!(name.as_str(), "Ingress" | "Egress") {
            return Err(FieldError::new(
                format!("spec.policyTypes[{index}]"),
                format!("{name:?} is neither Ingress nor Egress"),
            ));
        }
    }
    let isolates = |name: &str, default| match types.as_slice() {
        [] => default,
        types => types.iter().any(|given| given == name),
    };
    let isolates_ingress = isolates("Ingress", true);
    let isolates_egress = isolates("Egress", !egress.is_empty());
    for (isolates, rules, field) in [
        (isolates_ingress, ingress.len(), "ingress"),
        (isolates_egress, egress.len(), "egress"),
    ] {
        if !isolates && rules > 0 {
            problems.push(Problem::ignored(
                id.clone(),
                format!("spec.{field}"),
                "has no effect, because spec.policyTypes does not name this direction",
                "name it there, or remove the rules",
            ));
        }
    }
    let ingress = ingress.into_iter().map(|r| rule(r.from, r.ports));
    let egress = egress.into_iter().map(|r| rule(r.to, r.ports));
    Ok(NetworkPolicy {
        meta: meta_of(policy.metadata),
        pods: selector(spec.pod_selector.unwrap_or_default(), "spec.podSelector")?,
        ingress: isolates_ingress.then(|| ingress.collect()),
        egress: isolates_egress.then(|| egress.collect()),
    })
}

fn rule(
    peers: Option<Vec<api::NetworkPolicyPeer>>,
    ports: Option<Vec<api::NetworkPolicyPort>>,
) -> PolicyRule {
    let peers = peers.filter(|peers| !peers.is_empty());
    let ports = ports.filter(|ports| !ports.is_empty());
    PolicyRule {
        name: String::new(),
        action: Action::Allow,
        peers: peers.map(|peers| peers.into_iter().map(peer).collect()),
        ports: ports.map(|ports| ports.iter().map(port).collect()),
    }
}

fn peer(given: api::NetworkPolicyPeer) -> Peer {
    match (given.ip_block, given.namespace_selector, given.pod_selector) {
        (Some(block), None, None) => Peer::Block {
            cidr: block.cidr,
            except: block.except.unwrap_or_default(),
        },
        (None, None, Some(pods)) => understood(pods, Peer::OwnNamespace),
        (None, Some(namespaces), pods) => {
            subject_peer(Some(namespaces), Some(pods.unwrap_or_default()))
        }
        (Some(_), ..) => Peer::Unknown("ipBlock stands beside a selector".into()),
        (None, None, None) => Peer::Unknown("it names neither pods nor addresses".into()),
    }
}

fn port(given: &api::NetworkPolicyPort) -> PolicyPort {
    let protocol = match protocol(given.protocol.as_deref(), "") {
        Ok(protocol) => protocol,
        Err(error) => return PolicyPort::Unknown(error.message),
    };
    match &given.port {
        None if given.end_port.is_some() => PolicyPort::Unknown("endPort without a port".into()),
        None => PolicyPort::All(protocol),
        Some(IntOrString::String(_)) if given.end_port.is_some() => {
            PolicyPort::Unknown("endPort with a port that is a name".into())
        }
        Some(IntOrString::String(name)) => PolicyPort::Named(Some(protocol), name.clone()),
        Some(IntOrString::Int(first)) => range(protocol, *first, given.end_port),
    }
}

/// A range whose end may be left out.
fn range(protocol: Protocol, first: i32, last: Option<i32>) -> PolicyPort {
    let ends = number(first, "").and_then(|first| {
        let last = last.map_or(Ok(first), |last| number(last, ""));
        last.map(|last| (first, last))
    });
    match ends {
        Ok((first, last)) if first <= last => PolicyPort::Range(protocol, first, last),
        Ok((first, last)) => PolicyPort::Unknown(format!("{last} comes before {first}")),
        Err(error) => PolicyPort::Unknown(error.message),
    }
}

pub(super) fn cluster(
    value: &Value,
    id: &ObjectRef,
    problems: &mut Vec<Problem>,
) -> Result<ClusterPolicy, FieldError> {
    let policy: Resource<ClusterPolicySpec> = typed::read(value, id, |_, _| false, problems)?;
    let tier = match policy.spec.tier.as_deref() {
        Some("Admin") => ClusterTier::Admin,
        Some("Baseline") => ClusterTier::Baseline,
        other => {
            let given = other.unwrap_or_default();
            let message = format!("{given:?} is neither Admin nor Baseline");
            return Err(FieldError::new("spec.tier", message));
        }
    };
    cluster_policy(policy, tier, "Accept")
}

pub(super) fn admin(
    value: &Value,
    id: &ObjectRef,
    problems: &mut Vec<Problem>,
) -> Result<ClusterPolicy, FieldError> {
    let policy: Resource<ClusterPolicySpec> = typed::read(value, id, |_, _| false, problems)?;
    no_tier(&policy)?;
    cluster_policy(policy, ClusterTier::Admin, "Allow")
}

pub(super) fn baseline(
    value: &Value,
    id: &ObjectRef,
    problems: &mut Vec<Problem>,
) -> Result<ClusterPolicy, FieldError> {
    let mut policy: Resource<ClusterPolicySpec> = typed::read(value, id, |_, _| false, problems)?;
    no_tier(&policy)?;
    if id.name != "default" {
        return Err(FieldError::new(
            "metadata.name",
            "there is one BaselineAdminNetworkPolicy, and it is named default",
        ));
    }
    // It has no priority, and needs none; after every ClusterNetworkPolicy of the tier.
    policy.spec.priority.get_or_insert(LAST_PRIORITY);
    cluster_policy(policy, ClusterTier::Baseline, "Allow")
}

fn no_tier(policy: &Resource<ClusterPolicySpec>) -> Result<(), FieldError> {
    match &policy.spec.tier {
        None => Ok(()),
        Some(_) => Err(FieldError::new(
            "spec.tier",
            "is a field of ClusterNetworkPolicy; write that kind, or remove the field",
        )),
    }
}

fn cluster_policy(
    policy: Resource<ClusterPolicySpec>,
    tier: ClusterTier,
    allow: &str,
) -> Result<ClusterPolicy, FieldError> {
    let spec = policy.spec;
    let given = spec.priority.unwrap_or(-1);
    let Some(priority) = u16::try_from(given).ok().filter(|_| given <= LAST_PRIORITY) else {
        return Err(FieldError::new(
            "spec.priority",
            format!("has to be there and in 0..={LAST_PRIORITY}"),
        ));
    };
    let subject = match (spec.subject.namespaces, spec.subject.pods) {
        (Some(namespaces), None) => Subject {
            namespaces: selector(namespaces, "spec.subject.namespaces")?,
            pods: LabelSelector::default(),
        },
        (None, Some(pods)) => Subject {
            namespaces: selector(
                pods.namespace_selector.unwrap_or_default(),
                "spec.subject.pods.namespaceSelector",
            )?,
            pods: selector(
                pods.pod_selector.unwrap_or_default(),
                "spec.subject.pods.podSelector",
            )?,
        },
        _ => {
            return Err(FieldError::new(
                "spec.subject",
                "has to be either namespaces or pods",
            ));
        }
    };
    let rules = |given: Vec<crd::Rule>, direction| -> Result<Vec<_>, FieldError> {
        let mut rules = Vec::with_capacity(given.len());
        for (index, rule) in given.into_iter().enumerate() {
            let field = format!("spec.{direction}[{index}].action");
            rules.push(cluster_rule(rule, allow, &field)?);
        }
        Ok(rules)
    };
    Ok(ClusterPolicy {
        meta: meta_of(policy.metadata),
        tier,
        priority,
        subject,
        ingress: rules(spec.ingress, "ingress")?,
        egress: rules(spec.egress, "egress")?,
    })
}

fn cluster_rule(rule: crd::Rule, allow: &str, field: &str) -> Result<PolicyRule, FieldError> {
    let action = match rule.action.as_str() {
        name if name == allow => Action::Allow,
        "Deny" => Action::Deny,
        "Pass" => Action::Pass,
        other => {
            let message = format!("{other:?} is none of {allow}, Deny, Pass");
            return Err(FieldError::new(field, message));
        }
    };
    let given: Vec<_> = rule.from.into_iter().chain(rule.to).flatten().collect();
    let peers = if given.is_empty() {
        vec![Peer::Unknown("it names no peer at all".into())]
    } else {
        given.into_iter().flat_map(cluster_peer).collect()
    };
    let ports = match (rule.ports, rule.protocols) {
        (None, None) => None,
        (Some(ports), None) if allow == "Allow" => Some(ports.iter().map(admin_port).collect()),
        (None, Some(protocols)) if allow == "Accept" => {
            Some(protocols.into_iter().map(cluster_port).collect())
        }
        _ => Some(vec![PolicyPort::Unknown(
            "ports is a field of the v1alpha1 kinds, protocols of ClusterNetworkPolicy".into(),
        )]),
    };
    Ok(PolicyRule {
        name: rule.name,
        action,
        peers: Some(peers),
        ports,
    })
}

/// A list of networks is as many peers.
fn cluster_peer(given: crd::Peer) -> Vec<Peer> {
    match given {
        crd::Peer {
            namespaces: Some(namespaces),
            pods: None,
            nodes: None,
            networks: None,
            domain_names: None,
        } => vec![subject_peer(Some(namespaces), None)],
        crd::Peer {
            namespaces: None,
            pods: Some(pods),
            nodes: None,
            networks: None,
            domain_names: None,
        } => vec![subject_peer(pods.namespace_selector, pods.pod_selector)],
        crd::Peer {
            namespaces: None,
            pods: None,
            nodes: Some(nodes),
            networks: None,
            domain_names: None,
        } => vec![understood(nodes, Peer::Nodes)],
        crd::Peer {
            namespaces: None,
            pods: None,
            nodes: None,
            networks: Some(networks),
            domain_names: None,
        } if !networks.is_empty() => networks
            .into_iter()
            .map(|cidr| Peer::Block {
                cidr,
                except: Vec::new(),
            })
            .collect(),
        crd::Peer {
            domain_names: Some(_),
            ..
        } => vec![Peer::Unknown("domainNames are not supported".into())],
        _ => vec![Peer::Unknown(
            "it has to be one of namespaces, pods, nodes, networks".into(),
        )],
    }
}

fn admin_port(given: &crd::AdminPort) -> PolicyPort {
    let of = |name: &Option<String>| protocol(name.as_deref(), "");
    let read = match given {
        crd::AdminPort {
            port_number: Some(port),
            named_port: None,
            port_range: None,
        } => of(&port.protocol).map(|protocol| range(protocol, port.port, None)),
        crd::AdminPort {
            port_number: None,
            named_port: Some(name),
            port_range: None,
        } => Ok(PolicyPort::Named(None, name.clone())),
        crd::AdminPort {
            port_number: None,
            named_port: None,
            port_range: Some(given),
        } => of(&given.protocol).map(|protocol| range(protocol, given.start, Some(given.end))),
        _ => Ok(PolicyPort::Unknown(
            "it has to be one of portNumber, namedPort, portRange".into(),
        )),
    };
    read.unwrap_or_else(|error| PolicyPort::Unknown(error.message))
}

fn cluster_port(given: crd::ClusterProtocol) -> PolicyPort {
    let unknown = |what: &str| PolicyPort::Unknown(what.into());
    let mut named = [
        (Protocol::Tcp, given.tcp),
        (Protocol::Udp, given.udp),
        (Protocol::Sctp, given.sctp),
    ]
    .into_iter()
    .filter_map(|(protocol, ports)| ports.map(|ports| (protocol, ports)));
    match (named.next(), named.next(), given.destination_named_port) {
        (None, None, Some(name)) => PolicyPort::Named(None, name),
        (Some((protocol, ports)), None, None) => match ports.destination_port {
            None => PolicyPort::All(protocol),
            Some(crd::ClusterPort {
                number: Some(port),
                range: None,
            }) => range(protocol, port, None),
            Some(crd::ClusterPort {
                number: None,
                range: Some(given),
            }) => range(protocol, given.start, Some(given.end)),
            Some(_) => unknown("destinationPort has to be either number or range"),
        },
        _ => unknown("it has to be one of tcp, udp, sctp, destinationNamedPort"),
    }
}

fn subject_peer(
    namespaces: Option<meta::LabelSelector>,
    pods: Option<meta::LabelSelector>,
) -> Peer {
    let namespaces = selector(namespaces.unwrap_or_default(), "namespaceSelector");
    let pods = selector(pods.unwrap_or_default(), "podSelector");
    match (namespaces, pods) {
        (Ok(namespaces), Ok(pods)) => Peer::Pods(Subject { namespaces, pods }),
        (Err(error), _) | (_, Err(error)) => Peer::Unknown(error.message),
    }
}

fn understood(given: meta::LabelSelector, peer: impl Fn(LabelSelector) -> Peer) -> Peer {
    match selector(given, "selector") {
        Ok(selector) => peer(selector),
        Err(error) => Peer::Unknown(error.message),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Content, Object, Reading, read};
    use super::*;

    fn object(value: Value) -> Object {
        match read(&value) {
            Reading::Object(object) => *object,
            other => panic!("{other:?}"),
        }
    }

    fn network_policy(spec: Value) -> (NetworkPolicy, Vec<Problem>) {
        let object = object(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "p", "namespace": "bank"}, "spec": spec,
        }));
        let Content::NetworkPolicy(policy) = object.content else {
            panic!("{:?}", object.content);
        };
        (policy, object.problems)
    }

    fn app(name: &str) -> LabelSelector {
        LabelSelector {
            match_labels: [("app".to_string(), name.to_string())].into(),
            ..LabelSelector::default()
        }
    }

    #[test]
    fn directions_are_isolated_as_the_api_server_defaults_them() {
        let isolated = |spec| {
            let (policy, problems) = network_policy(spec);
            (
                policy.ingress.map(|rules| rules.len()),
                policy.egress.map(|rules| rules.len()),
                problems.len(),
            )
        };
        assert_eq!(isolated(json!({"podSelector": {}})), (Some(0), None, 0));
        assert_eq!(
            isolated(json!({"podSelector": {}, "egress": [{}]})),
            (Some(0), Some(1), 0)
        );
        assert_eq!(
            isolated(json!({"podSelector": {}, "policyTypes": ["Egress"], "ingress": [{}]})),
            (None, Some(0), 1),
            "rules without effect are told"
        );
    }

    #[test]
    fn what_a_rule_leaves_out_is_everything_and_what_is_not_understood_is_kept_as_such() {
        let (policy, problems) = network_policy(json!({
            "podSelector": {"matchLabels": {"app": "web"}},
            "ingress": [
                {"from": [], "ports": []},
                {"from": [
                    {"podSelector": {"matchLabels": {"app": "a"}}},
                    {"namespaceSelector": {}},
                    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
                    {"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}},
                    {},
                ], "ports": [
                    {"port": 80}, {"protocol": "UDP", "port": "dns"}, {"protocol": "SCTP"},
                    {"port": 5, "endPort": 7}, {"port": 7, "endPort": 5}, {"protocol": "ICMP"},
                ]},
            ],
        }));
        assert_eq!(problems, []);
        assert_eq!(policy.pods, app("web"));
        let rules = policy.ingress.unwrap();
        assert_eq!((&rules[0].peers, &rules[0].ports), (&None, &None));
        let everything = Subject::default();
        assert_eq!(
            rules[1].peers.as_deref().unwrap()[..3],
            [
                Peer::OwnNamespace(app("a")),
                Peer::Pods(everything),
                Peer::Block {
                    cidr: "10.0.0.0/8".into(),
                    except: vec!["10.1.0.0/16".into()],
                },
            ]
        );
        let unknown = |peer: &Peer| matches!(peer, Peer::Unknown(_));
        assert!(rules[1].peers.as_deref().unwrap()[3..].iter().all(unknown));
        let ports = rules[1].ports.as_deref().unwrap();
        assert_eq!(
            ports[..4],
            [
                PolicyPort::Range(Protocol::Tcp, 80, 80),
                PolicyPort::Named(Some(Protocol::Udp), "dns".into()),
                PolicyPort::All(Protocol::Sctp),
                PolicyPort::Range(Protocol::Tcp, 5, 7),
            ]
        );
        let unknown = |port: &PolicyPort| matches!(port, PolicyPort::Unknown(_));
        assert!(ports[4..].iter().all(unknown));
    }

    #[test]
    fn the_kinds_for_the_whole_cluster_read_alike() {
        let new = object(json!({
            "apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
            "metadata": {"name": "p"},
            "spec": {"tier": "Admin", "priority": 7, "subject": {"namespaces": {}}, "egress": [{
                "name": "r", "action": "Accept",
                "to": [{"pods": {"podSelector": {"matchLabels": {"app": "a"}}}},
                       {"networks": ["10.0.0.0/8", "fd00::/8"]}, {"domainNames": ["a.b"]}],
                "protocols": [{"tcp": {"destinationPort": {"number": 80}}},
                              {"udp": {"destinationPort": {"range": {"start": 5, "end": 7}}}},
                              {"destinationNamedPort": "web"}],
            }]},
        }));
        let old = object(json!({
            "apiVersion": "policy.networking.k8s.io/v1alpha1", "kind": "AdminNetworkPolicy",
            "metadata": {"name": "p"},
            "spec": {"priority": 7, "subject": {"namespaces": {}}, "egress": [{
                "name": "r", "action": "Allow",
                "to": [{"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "a"}}}},
                       {"networks": ["10.0.0.0/8", "fd00::/8"]}, {"domainNames": ["a.b"]}],
                "ports": [{"portNumber": {"protocol": "TCP", "port": 80}},
                          {"portRange": {"protocol": "UDP", "start": 5, "end": 7}},
                          {"namedPort": "web"}],
            }]},
        }));
        let (Content::ClusterNetworkPolicy(new), Content::AdminNetworkPolicy(old)) =
            (new.content, old.content)
        else {
            panic!("other kinds");
        };
        assert_eq!(new, old);
        assert_eq!((new.tier, new.priority), (ClusterTier::Admin, 7));
        let peers = new.egress[0].peers.as_deref().unwrap();
        assert_eq!(peers.len(), 4);
        assert!(matches!(peers[3], Peer::Unknown(_)));
    }

    #[test]
    fn a_policy_that_does_not_say_what_it_holds_for_is_refused() {
        let fields = [
            json!({"tier": "Middle", "priority": 1, "subject": {"namespaces": {}}}),
            json!({"tier": "Admin", "priority": 1001, "subject": {"namespaces": {}}}),
            json!({"tier": "Admin", "priority": 1, "subject": {}}),
            json!({"tier": "Admin", "priority": 1, "subject": {"namespaces": {}},
                   "ingress": [{"action": "Allow", "from": []}]}),
        ]
        .map(|spec| {
            let value = json!({
                "apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
                "metadata": {"name": "p"}, "spec": spec,
            });
            match read(&value) {
                Reading::Bad(bad) => bad.field,
                other => panic!("{other:?}"),
            }
        });
        let expected = [
            "spec.tier",
            "spec.priority",
            "spec.subject",
            "spec.ingress[0].action",
        ];
        assert_eq!(fields, expected);
    }
}
