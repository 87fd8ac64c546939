//! Kubernetes' own kinds, by the types of `k8s-openapi`.

use std::collections::BTreeMap;

use cluster::desired::Protocol;
use cluster::view::{
    ContainerPort, EndpointSlice, LabelSelector, Meta, Namespace, Node, Operator, Owner, Pod,
    Requirement, Service, ServicePort, SliceEndpoint, SlicePort, StatefulSet, TargetPort,
};
use cluster::writes::DRAINED;
use cluster::{ObjectRef, Problem};
use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::{FieldError, exposure, typed};

/// The label by which a slice says whose it is.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A field that is not known to the types may be from a later Kubernetes; none is neutral.
fn nothing_neutral(_: &str, _: &Value) -> bool {
    false
}

pub(super) fn node(
    value: &Value,
    id: &ObjectRef,
    problems: &mut Vec<Problem>,
) -> Result<Node, FieldError> {
    let node: api::Node = typed::read(value, id, nothing_neutral, problems)?;
    let status = node.status.unwrap_or_default();
    let addresses = status.addresses.unwrap_or_default();
    let mut conditions = status.conditions.iter().flatten();
    let ready = conditions.find(|condition| condition.type_ == "Ready");
    Ok(Node {
        ready: ready.map(|condition| condition.status == "True"),
        meta: meta_of(node.metadata),
        internal_ips: addresses
            .into_iter()
            .filter(|address| address.type_ == "InternalIP")
            .map(|address| address.address)
            .collect(),
    })
}

pub(super) fn namespace(
    value: &Value,
    id: &ObjectRef,
    problems: &mut Vec<Problem>,
) -> Result<Namespace, FieldError> {
    let namespace: api::Namespace = typed::read(value, id, nothing_neutral, problems)?;
    Ok(Namespace {
        meta: meta_of(namespace.metadata),
    })
}

pub(super) fn pod(
    value: &Value,
    id: &ObjectRef,
    problems: &mut Vec<Problem>,
) -> Result<Pod, FieldError> {
    let pod: api::Pod = typed::read(value, id, nothing_neutral, problems)?;
    let spec = pod.spec.unwrap_or_default();
    let host_network = spec.host_network.unwrap_or(false);
    let mut ports = Vec::new();
    // Init containers that run on (sidecars) have ports like any other.
    let sidecars = spec.init_containers.iter().flatten().enumerate();
    let sidecars = sidecars.filter(|(_, c)| c.restart_policy.as_deref() == Some("Always"));
    let containers = spec.containers.iter().enumerate();
    for (list, (at, container)) in containers
        .map(|container| ("containers", container))
        .chain(sidecars.map(|container| ("initContainers", container)))
    {
        for (index, port) in container.ports.iter().flatten().enumerate() {
            let field = format!("spec.{list}[{at}].ports[{index}]");
            if port.host_port.is_some_and(|port| port != 0) && !host_network {
                problems.push(Problem::ignored(
                    id.clone(),
                    format!("{field}.hostPort"),
                    "host ports are not supported; the node does not listen",
                    "use a Service",
                ));
            }
            ports.push(ContainerPort {
                name: port.name.clone(),
                protocol: protocol(port.protocol.as_deref(), &field)?,
                port: number(port.container_port, &format!("{field}.containerPort"))?,
            });
        }
    }
    let status = pod.status.unwrap_or_default();
    Ok(Pod {
        meta: meta_of(pod.metadata),
        node: spec.node_name.filter(|node| !node.is_empty()),
        host_network,
        finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        ready: ready(&status),
        drain_gate: spec
            .readiness_gates
            .iter()
            .flatten()
            .any(|gate| gate.condition_type == DRAINED),
        ports,
    })
}

/// The `Ready` condition; a status without one is that of a pod that has not come so far, and a
/// manifest without a status says nothing.
fn ready(status: &api::PodStatus) -> Option<bool> {
    let conditions = status.conditions.iter().flatten();
    let ready = conditions.clone().find(|c| c.type_ == "Ready");
    match ready {
        Some(condition) => Some(condition.status == "True"),
        None if status.phase.is_some() || conditions.count() > 0 => Some(false),
        None => None,
    }
}

pub(super) fn service(
    value: &Value,
    id: &ObjectRef,
    problems: &mut Vec<Problem>,
) -> Result<Service, FieldError> {
    let service: api::Service = typed::read(value, id, nothing_neutral, problems)?;
    let spec = service.spec.unwrap_or_default();
    let exposure = exposure::read(&spec, service.status.as_ref())?;
    let mut ports = Vec::new();
    for (index, port) in spec.ports.into_iter().flatten().enumerate() {
        let field = format!("spec.ports[{index}]");
        let target_field = format!("{field}.targetPort");
        let target = match port.target_port {
            None | Some(IntOrString::Int(0)) => None,
            Some(IntOrString::Int(port)) => Some(TargetPort::Number(number(port, &target_field)?)),
            Some(IntOrString::String(name)) => match name.parse::<u16>() {
                Ok(number) => Some(TargetPort::Number(number)),
                Err(_) => Some(TargetPort::Name(name)),
            },
        };
        ports.push(ServicePort {
            name: port.name.unwrap_or_default(),
            protocol: protocol(port.protocol.as_deref(), &field)?,
            port: number(port.port, &format!("{field}.port"))?,
            target,
        });
    }
    let primary = spec.cluster_ip.filter(|ip| !ip.is_empty());
    let cluster_ips = match spec.cluster_ips {
        Some(ips) if !ips.is_empty() => ips,
        _ => primary.into_iter().collect(),
    };
    Ok(Service {
        meta: meta_of(service.metadata),
        cluster_ips,
        selector: spec.selector.unwrap_or_default(),
        ports,
        external_name: spec.type_.as_deref() == Some("ExternalName"),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        exposure,
        affinity: affinity(
            spec.session_affinity.as_deref(),
            spec.session_affinity_config,
        )?,
        internal_local: is_local(
            spec.internal_traffic_policy.as_deref(),
            "spec.internalTrafficPolicy",
        )?,
        traffic_distribution: spec.traffic_distribution.filter(|text| !text.is_empty()),
    })
}

/// Seconds that connections of a client stay with an endpoint, if they do.
fn affinity(
    kind: Option<&str>,
    config: Option<api::SessionAffinityConfig>,
) -> Result<Option<i64>, FieldError> {
    match kind {
        None | Some("" | "None") => Ok(None),
        Some("ClientIP") => {
            let seconds = config.and_then(|config| config.client_ip?.timeout_seconds);
            // What the API server fills in (v1.DefaultClientIPServiceAffinitySeconds).
            Ok(Some(seconds.map_or(10_800, i64::from)))
        }
        Some(other) => Err(FieldError::new(
            "spec.sessionAffinity",
            format!("{other:?} is none of None, ClientIP"),
        )),
    }
}

fn is_local(policy: Option<&str>, field: &str) -> Result<bool, FieldError> {
    match policy {
        None | Some("" | "Cluster") => Ok(false),
        Some("Local") => Ok(true),
        Some(other) => Err(FieldError::new(
            field,
            format!("{other:?} is none of Cluster, Local"),
        )),
    }
}

pub(super) fn endpoint_slice(
    value: &Value,
    id: &ObjectRef,
    problems: &mut Vec<Problem>,
) -> Result<EndpointSlice, FieldError> {
    let slice: discovery::EndpointSlice = typed::read(value, id, nothing_neutral, problems)?;
    let meta = meta_of(slice.metadata);
    let mut ports = Vec::new();
    for (index, port) in slice.ports.into_iter().flatten().enumerate() {
        let field = format!("ports[{index}]");
        let number_field = format!("{field}.port");
        ports.push(SlicePort {
            name: port.name.unwrap_or_default(),
            protocol: protocol(port.protocol.as_deref(), &field)?,
            port: port.port.map(|p| number(p, &number_field)).transpose()?,
        });
    }
    Ok(EndpointSlice {
        service: meta.labels.get(SERVICE_NAME).cloned(),
        meta,
        fqdn: slice.address_type == "FQDN",
        endpoints: slice
            .endpoints
            .into_iter()
            .map(|endpoint| {
                let conditions = endpoint.conditions.unwrap_or_default();
                let hints = endpoint.hints.unwrap_or_default();
                let zones = hints.for_zones.into_iter().flatten();
                let nodes = hints.for_nodes.into_iter().flatten();
                SliceEndpoint {
                    addresses: endpoint.addresses,
                    node: endpoint.node_name,
                    ready: conditions.ready,
                    serving: conditions.serving,
                    terminating: conditions.terminating,
                    zone: endpoint.zone.filter(|zone| !zone.is_empty()),
                    for_zones: zones.map(|zone| zone.name).collect(),
                    for_nodes: nodes.map(|node| node.name).collect(),
                }
            })
            .collect(),
        ports,
    })
}

/// How many pods it has and where their numbers begin; its template is read as pods are.
pub(super) fn stateful_set(
    value: &Value,
    id: &ObjectRef,
    problems: &mut Vec<Problem>,
) -> Result<StatefulSet, FieldError> {
    let set: apps::StatefulSet = typed::read(value, id, nothing_neutral, problems)?;
    let spec = set.spec.unwrap_or_default();
    Ok(StatefulSet {
        meta: meta_of(set.metadata),
        replicas: spec.replicas.map_or(1, i64::from),
        start: spec.ordinals.and_then(|o| o.start).map_or(0, i64::from),
    })
}

/// What every object has.
pub(super) fn meta_of(meta: meta::ObjectMeta) -> Meta {
    Meta {
        uid: meta.uid,
        created: meta.creation_timestamp.map(|time| time.0.as_second()),
        deleting: meta.deletion_timestamp.is_some(),
        labels: meta.labels.unwrap_or_default(),
        annotations: meta.annotations.unwrap_or_default(),
        owners: meta
            .owner_references
            .into_iter()
            .flatten()
            .map(|owner| Owner {
                api_version: owner.api_version,
                kind: owner.kind,
                name: owner.name,
                uid: owner.uid,
            })
            .collect(),
    }
}

/// A label selector, if every part of it can be understood.
pub(super) fn selector(
    selector: meta::LabelSelector,
    field: &str,
) -> Result<LabelSelector, FieldError> {
    let mut match_expressions = Vec::new();
    let requirements = selector.match_expressions.into_iter().flatten();
    for (index, requirement) in requirements.enumerate() {
        let values = requirement.values.unwrap_or_default().into_iter().collect();
        let operator = match requirement.operator.as_str() {
            "In" => Operator::In(values),
            "NotIn" => Operator::NotIn(values),
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => {
                return Err(FieldError::new(
                    format!("{field}.matchExpressions[{index}].operator"),
                    format!("{other:?} is none of In, NotIn, Exists, DoesNotExist"),
                ));
            }
        };
        let key = requirement.key;
        match_expressions.push(Requirement { key, operator });
    }
    let match_labels: BTreeMap<_, _> = selector.match_labels.unwrap_or_default();
    Ok(LabelSelector {
        match_labels,
        match_expressions,
    })
}

/// A protocol that has ports.
pub(super) fn protocol(name: Option<&str>, field: &str) -> Result<Protocol, FieldError> {
    match name.unwrap_or("TCP") {
        "TCP" => Ok(Protocol::Tcp),
        "UDP" => Ok(Protocol::Udp),
        "SCTP" => Ok(Protocol::Sctp),
        other => Err(FieldError::new(
            format!("{field}.protocol"),
            format!("{other:?} is none of TCP, UDP, SCTP"),
        )),
    }
}

/// A port number.
pub(super) fn number(port: i32, field: &str) -> Result<u16, FieldError> {
    match u16::try_from(port) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(FieldError::new(
            field,
            format!("{port} is outside 1..=65535"),
        )),
    }
}
