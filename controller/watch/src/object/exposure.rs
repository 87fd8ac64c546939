//! How a Service is reached besides its cluster IPs.

use std::collections::BTreeMap;

use cluster::view::Exposure;
use k8s_openapi::api::core::v1 as api;

use super::FieldError;
use super::core::{number, protocol};

/// Reads what concerns node ports, external addresses and load balancers.
pub(super) fn read(
    spec: &api::ServiceSpec,
    status: Option<&api::ServiceStatus>,
) -> Result<Exposure, FieldError> {
    let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
    let is_exposed = matches!(kind, "NodePort" | "LoadBalancer");
    let mut node_ports = BTreeMap::new();
    for (index, port) in spec.ports.iter().flatten().enumerate() {
        let field = format!("spec.ports[{index}]");
        // 0 is "none"; a Service that was exposed once may still say which port it had.
        if let Some(node_port) = port.node_port.filter(|n| *n != 0 && is_exposed) {
            let at = (
                protocol(port.protocol.as_deref(), &field)?,
                number(port.port, &format!("{field}.port"))?,
            );
            node_ports.insert(at, number(node_port, &format!("{field}.nodePort"))?);
        }
    }
    let health = spec.health_check_node_port.filter(|port| *port != 0);
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref());
    Ok(Exposure {
        load_balancer: kind == "LoadBalancer",
        node_ports,
        external_ips: spec.external_ips.clone().unwrap_or_default(),
        external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
        health_check_node_port: health
            .map(|port| number(port, "spec.healthCheckNodePort"))
            .transpose()?,
        load_balancer_class: spec.load_balancer_class.clone(),
        load_balancer_ip: spec.load_balancer_ip.clone().filter(|ip| !ip.is_empty()),
        source_ranges: spec.load_balancer_source_ranges.clone().unwrap_or_default(),
        ingress: ingress
            .into_iter()
            .flatten()
            // An address in mode Proxy is another machine's, which the traffic has to pass first.
            .filter(|entry| entry.ip_mode.as_deref() != Some("Proxy"))
            .filter_map(|entry| entry.ip.clone())
            .collect(),
    })
}
