//! What the controller says of objects, as tables.

use std::fmt::Write;

use cluster::query::{Backend, Counted, Node, Pod, Policy, Service, Subnet};

use super::in_force;
use crate::columns::Columns;

/// Pods.
pub fn pods(pods: &[Pod], wide: bool) -> String {
    let mut heads = vec!["NAMESPACE", "NAME", "NODE", "ADDRESSES", "SUBNET", "STATE"];
    if wide {
        heads.extend(["MAC", "PORT", "INGRESS POLICIES", "EGRESS POLICIES"]);
    }
    let mut table = Columns::new(&heads);
    for pod in pods {
        let state = match pod.port_there {
            Some(false) => format!("no port on {} yet", pod.node),
            _ => in_force(&pod.in_force),
        };
        let mut cells = vec![
            pod.namespace.clone(),
            pod.name.clone(),
            pod.node.clone(),
            list(&pod.addresses),
            pod.subnet.clone(),
            state,
        ];
        if wide {
            cells.extend([
                pod.mac.clone(),
                pod.port.clone(),
                pod.ingress_policies.join(", "),
                pod.egress_policies.join(", "),
            ]);
        }
        table.cells(cells);
    }
    let mut text = table.render("");
    for pod in pods {
        problems(
            &mut text,
            &format!("Pod {}/{}", pod.namespace, pod.name),
            &pod.problems,
        );
    }
    text
}

/// Services.
pub fn services(services: &[Service], wide: bool) -> String {
    let heads = [
        "NAMESPACE",
        "NAME",
        "ADDRESSES",
        "PORTS",
        "ENDPOINTS",
        "STATE",
    ];
    let mut table = Columns::new(&heads);
    for service in services {
        let ports = service.ports.iter().map(|port| match port.node_port {
            Some(node_port) => format!("{}:{node_port}/{}", port.port, port.protocol),
            None => format!("{}/{}", port.port, port.protocol),
        });
        let addresses: Vec<_> = service
            .cluster_ips
            .iter()
            .chain(&service.external_ips)
            .collect();
        table.row([
            service.namespace.clone(),
            service.name.clone(),
            list(&addresses),
            ports.collect::<Vec<_>>().join(","),
            endpoints(service),
            in_force(&service.in_force),
        ]);
    }
    let mut text = table.render("");
    for service in services {
        let object = format!("Service {}/{}", service.namespace, service.name);
        if wide {
            for port in &service.ports {
                let name = if port.name.is_empty() { "" } else { " " };
                let _ = writeln!(
                    text,
                    "\n{object} port {}{name}{} {}",
                    port.port, port.name, port.protocol
                );
                text += &backends(&port.backends);
            }
        }
        problems(&mut text, &object, &service.problems);
    }
    text
}

/// How many endpoints of each condition, over all ports.
fn endpoints(service: &Service) -> String {
    let all = || service.ports.iter().flat_map(|port| &port.backends);
    let count = |condition: &str| all().filter(|b| b.condition == condition).count();
    let counts = ["ready", "draining", "not ready"].map(|c| (c, count(c)));
    let some = counts.iter().filter(|(c, n)| *n > 0 || *c == "ready");
    let words: Vec<String> = some
        .map(|(condition, n)| format!("{n} {condition}"))
        .collect();
    words.join(", ")
}

/// Endpoints with what is decided of each.
pub fn backends(backends: &[Backend]) -> String {
    let heads = [
        "ADDRESS",
        "POD",
        "NODE",
        "ZONE",
        "CONDITION",
        ">WEIGHT",
        "NEW CONNECTIONS",
    ];
    let mut table = Columns::new(&heads);
    for backend in backends {
        table.row([
            std::net::SocketAddr::from((backend.address, backend.port)).to_string(),
            backend.pod.clone().unwrap_or_default(),
            backend.node.clone().unwrap_or_default(),
            backend.zone.clone().unwrap_or_default(),
            backend.condition.clone(),
            backend
                .weight
                .map_or(String::new(), |weight| weight.to_string()),
            backend.verdict.clone(),
        ]);
    }
    match table.is_empty() {
        true => "  no endpoint\n".into(),
        false => table.render("  "),
    }
}

/// Policies.
pub fn policies(policies: &[Policy], wide: bool) -> String {
    let heads = [
        "KIND",
        "NAMESPACE",
        "NAME",
        ">PODS",
        ">RULES",
        "ISOLATES",
        "STATE",
    ];
    let mut table = Columns::new(&heads);
    for policy in policies {
        table.row([
            policy.kind.clone(),
            policy.namespace.clone(),
            policy.name.clone(),
            policy.pods.to_string(),
            policy.rules.len().to_string(),
            policy.isolates.join(","),
            in_force(&policy.in_force),
        ]);
    }
    let mut text = table.render("");
    for policy in policies {
        let slash = if policy.namespace.is_empty() { "" } else { "/" };
        let object = format!("{} {}{slash}{}", policy.kind, policy.namespace, policy.name);
        let counted =
            policy.isolation_hits.is_some() || policy.rules.iter().any(|r| r.hits.is_some());
        if wide || counted {
            let _ = writeln!(text, "\n{object}");
            text += &rules(policy);
            let more = policy.pods.saturating_sub(policy.selected.len());
            let and = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            let _ = writeln!(text, "  holds for: {}{and}", list(&policy.selected));
        }
        problems(&mut text, &object, &policy.problems);
    }
    text
}

fn rules(policy: &Policy) -> String {
    let mut table = Columns::new(&["RULE", "ACTION", "PEERS", "PORTS", ">PACKETS", ">BYTES"]);
    let figures = |hits: Option<Counted>| match hits {
        Some(hits) => [hits.packets.to_string(), hits.bytes.to_string()],
        None => [String::new(), String::new()],
    };
    for rule in &policy.rules {
        let [packets, bytes] = figures(rule.hits);
        table.row([
            rule.rule.clone(),
            rule.action.clone(),
            rule.peers.clone(),
            rule.ports.clone(),
            packets,
            bytes,
        ]);
    }
    if !policy.isolates.is_empty() {
        let [packets, bytes] = figures(policy.isolation_hits);
        table.row([
            "isolation".into(),
            "deny".into(),
            "whoever no rule allows".into(),
            "any".into(),
            packets,
            bytes,
        ]);
    }
    table.render("  ")
}

/// Subnets.
pub fn subnets(subnets: &[Subnet], wide: bool) -> String {
    let mut heads = vec![
        "NAME",
        "KIND",
        "RANGES",
        ">USED",
        ">AVAILABLE",
        ">PODS",
        "STATE",
    ];
    if wide {
        heads.extend(["NETWORK", "GATEWAYS", ">MTU"]);
    }
    let mut table = Columns::new(&heads);
    for subnet in subnets {
        let room = |figure: fn(&cluster::query::Room) -> &String| {
            subnet
                .room
                .iter()
                .map(|room| figure(room).as_str())
                .collect::<Vec<_>>()
                .join(",")
        };
        let mut cells = vec![
            subnet.name.clone(),
            subnet.kind.clone(),
            subnet.ranges.join(","),
            room(|room| &room.used),
            room(|room| &room.available),
            subnet.pods.to_string(),
            in_force(&subnet.in_force),
        ];
        if wide {
            let network = match (&subnet.provider, subnet.vlan, subnet.vni) {
                (Some(provider), Some(vlan), _) => format!("{provider} VLAN {vlan}"),
                (Some(provider), None, _) => format!("{provider} untagged"),
                (None, _, Some(vni)) => format!("VNI {vni}"),
                (None, _, None) => String::new(),
            };
            cells.extend([network, list(&subnet.gateways), subnet.mtu.to_string()]);
        }
        table.cells(cells);
    }
    let mut text = table.render("");
    for subnet in subnets {
        problems(
            &mut text,
            &format!("Subnet {}", subnet.name),
            &subnet.problems,
        );
    }
    text
}

/// Nodes.
pub fn nodes(nodes: &[Node], wide: bool) -> String {
    let mut heads = vec![
        "NAME",
        "ADDRESSES",
        ">PODS",
        "SWITCH",
        ">FLOWS",
        ">WANTED",
        "STATE",
    ];
    if wide {
        heads.extend(["VTEP", "ZONE", "SESSION"]);
    }
    let mut table = Columns::new(&heads);
    for node in nodes {
        let switch = if node.connected {
            "connected"
        } else {
            "not connected"
        };
        let state = match node.picture {
            picture if picture == node.latest => "has everything".into(),
            0 => "has acknowledged nothing".into(),
            picture => format!("{} changes behind", node.latest.saturating_sub(picture)),
        };
        let mut cells = vec![
            node.name.clone(),
            list(&node.addresses),
            node.pods.to_string(),
            switch.into(),
            node.flows_installed.to_string(),
            node.flows_desired.to_string(),
            state,
        ];
        if wide {
            cells.extend([
                node.vtep.map_or(String::new(), |vtep| vtep.to_string()),
                node.zone.clone().unwrap_or_default(),
                node.session.clone(),
            ]);
        }
        table.cells(cells);
    }
    let mut text = table.render("");
    for node in nodes {
        let object = format!("Node {}", node.name);
        if !node.connected && !wide {
            let _ = writeln!(text, "{object}: {}", node.session);
        }
        problems(&mut text, &object, &node.problems);
    }
    text
}

fn problems(text: &mut String, object: &str, problems: &[String]) {
    for problem in problems {
        // Those of switches name their object themselves.
        let _ = match problem.starts_with(object) {
            true => writeln!(text, "{problem}"),
            false => writeln!(text, "{object}: {problem}"),
        };
    }
}

fn list<T: ToString>(things: &[T]) -> String {
    let words: Vec<String> = things.iter().map(ToString::to_string).collect();
    words.join(",")
}
