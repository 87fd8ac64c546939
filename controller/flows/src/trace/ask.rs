//! Who is meant, and the packet that is sent.

use std::net::{IpAddr, SocketAddr};

use cluster::backends::{Client, Scope};
use cluster::desired::{DesiredState, Pod, Protocol, Service, ServicePort, Subnet, Waiting};
use cluster::query::{Backend, DEFAULT_SOURCE_PORT, Report, near};
use cluster::{Family, NamespacedName};
use net::{FlowKey, MacAddr};

use super::track::Tuple;
use crate::feature::host::ROUTER_MAC;
use crate::flow::family as fields_of;
use crate::flow::{IPV4, IPV6};
use crate::view::HOST_PORT;

/// A station of a VLAN of which we know nothing.
const STRANGER: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0xfe]);
/// TCP flag SYN (RFC 9293, 3.1).
const SYN: u16 = 2;
/// Echo requests (RFC 792, RFC 4443 4.1).
const ECHO: (u16, u16) = (8, 128);

/// What is asked; see [`cluster::query::Question::Trace`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Who sends.
    pub from: String,
    /// Who is meant.
    pub to: String,
    /// The source port.
    pub source_port: Option<u16>,
    /// `4` or `6`.
    pub family: Option<u8>,
}

/// The packet, where it begins.
#[derive(Clone, Debug)]
pub struct Packet {
    pub from: String,
    pub to: String,
    pub node: String,
    pub port: String,
    pub key: FlowKey,
    pub backends: Vec<Backend>,
    pub notes: Vec<String>,
}

impl Packet {
    /// The packet in words.
    pub fn text(&self) -> String {
        ends_of(&self.key)
    }

    /// Endpoints that it may get.
    pub fn candidates(&self) -> usize {
        let used = |b: &&Backend| b.weight.is_some();
        self.backends.iter().filter(used).count()
    }
}

/// `TCP 10.16.0.2:40000 -> 10.96.0.10:80`
pub fn ends_of(key: &FlowKey) -> String {
    let Some(tuple) = Tuple::of(key) else {
        return format!("ethertype {:#06x}", key.eth_type.get());
    };
    let protocol = match tuple.protocol {
        6 => "TCP".into(),
        17 => "UDP".into(),
        132 => "SCTP".into(),
        1 | 58 => return format!("ICMP echo {} -> {}", tuple.from.0, tuple.to.0),
        other => format!("protocol {other}"),
    };
    let (from, to) = (SocketAddr::from(tuple.from), SocketAddr::from(tuple.to));
    format!("{protocol} {from} -> {to}")
}

/// The protocol that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Ports(Protocol),
    Icmp,
}

/// Who is meant.
enum To<'a> {
    Pod(&'a Pod),
    Service(&'a Service, &'a ServicePort),
    Address(IpAddr),
}

/// Who sends.
struct From<'a> {
    words: String,
    node: &'a str,
    port: &'a str,
    mac: MacAddr,
    addresses: Vec<IpAddr>,
    pod: Option<&'a Pod>,
}

/// Makes the packet.
pub fn packet(state: &DesiredState, ask: &Ask) -> Result<Packet, String> {
    let from = sender(state, &ask.from)?;
    let namespace = from.pod.map(|pod| pod.name.namespace.as_str());
    let (to, port, wanted) = receiver(state, namespace, &ask.to)?;
    let addresses: Vec<IpAddr> = match &to {
        To::Pod(pod) => pod.addresses().collect(),
        To::Service(service, _) => service.cluster_ips.clone(),
        To::Address(address) => vec![*address],
    };
    let of_family = |a: &&IpAddr| match ask.family {
        Some(4) => a.is_ipv4(),
        Some(6) => a.is_ipv6(),
        _ => true,
    };
    let both = addresses.iter().filter(of_family).find_map(|to| {
        let same = |from: &&IpAddr| from.is_ipv4() == to.is_ipv4();
        Some((*from.addresses.iter().find(same)?, *to))
    });
    let Some((source, destination)) = both else {
        return Err(format!(
            "{} has {}, {} has {}: no address of the same family{}",
            from.words,
            list(&from.addresses),
            ask.to,
            list(&addresses),
            ask.family.map_or(String::new(), |f| format!(" IPv{f}")),
        ));
    };
    let mut notes = Vec::new();
    let mut key = FlowKey {
        eth_src: from.mac,
        eth_dst: next_hop(state, &from, destination, &mut notes),
        eth_type: fields_of(destination).0.into(),
        nw_ttl: 64,
        ..FlowKey::default()
    };
    let source_port = ask.source_port.unwrap_or(DEFAULT_SOURCE_PORT);
    let protocol = match wanted {
        Wanted::Ports(protocol) => protocol.number(),
        Wanted::Icmp if destination.is_ipv4() => 1,
        Wanted::Icmp => 58,
    };
    key.nw_proto = protocol;
    match wanted {
        Wanted::Icmp if destination.is_ipv4() => key.tp_src = ECHO.0.into(),
        Wanted::Icmp => key.tp_src = ECHO.1.into(),
        Wanted::Ports(protocol) => {
            key.tp_src = source_port.into();
            key.tp_dst = port.into();
            if protocol == Protocol::Tcp {
                key.tcp_flags = SYN.into();
            }
        }
    }
    match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            key.nw_src = from.to_bits().into();
            key.nw_dst = to.to_bits().into();
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            key.ipv6_src = from.octets();
            key.ipv6_dst = to.octets();
        }
        _ => {} // of one family, as found above
    }
    debug_assert!(matches!(key.eth_type.get(), IPV4 | IPV6));
    let service = match &to {
        To::Service(service, port) => Some((*service, *port)),
        To::Address(address) => service_at(state, *address, wanted, port),
        To::Pod(_) => None,
    };
    let backends = service.map_or(Vec::new(), |(service, port)| {
        let mut client = Client::on(state, from.node);
        if let Some(cell) = from.pod.and_then(|pod| pod.cell.as_deref()) {
            client.cell = Some(cell);
        }
        let family = Family::of(destination);
        Report::backends(
            state,
            service,
            port,
            Some((family, Scope::Internal, client)),
        )
    });
    Ok(Packet {
        to: words(state, &to, port, wanted),
        from: from.words,
        node: from.node.into(),
        port: from.port.into(),
        key,
        backends,
        notes,
    })
}

fn list(addresses: &[IpAddr]) -> String {
    let text: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    match text.is_empty() {
        true => "none".into(),
        false => text.join(" and "),
    }
}

fn words(state: &DesiredState, to: &To<'_>, port: u16, wanted: Wanted) -> String {
    let at = match wanted {
        Wanted::Ports(protocol) => format!(" port {port} {protocol}"),
        Wanted::Icmp => String::new(),
    };
    match to {
        To::Pod(pod) => format!("Pod {} on {}{at}", pod.name, pod.node),
        To::Service(service, _) => format!("Service {}{at}", service.name),
        To::Address(address) => {
            let whose = match service_at(state, *address, wanted, port) {
                Some((service, _)) => format!(" of Service {}", service.name),
                None => {
                    owner(state, *address).map_or(String::new(), |p| format!(" of Pod {}", p.name))
                }
            };
            format!("{address}{whose}{at}")
        }
    }
}

fn service_at(
    state: &DesiredState,
    address: IpAddr,
    wanted: Wanted,
    port: u16,
) -> Option<(&Service, &ServicePort)> {
    let mut services = state.services.values();
    let service = services.find(|service| service.cluster_ips.contains(&address))?;
    let is_it = |p: &&ServicePort| wanted == Wanted::Ports(p.protocol) && p.port == port;
    Some((service, service.ports.iter().find(is_it)?))
}

fn owner(state: &DesiredState, address: IpAddr) -> Option<&Pod> {
    let mut pods = state.pods.values();
    pods.find(|pod| pod.addresses().any(|own| own == address))
}

/// Which MAC address the sender's kernel would send to.
fn next_hop(state: &DesiredState, from: &From<'_>, to: IpAddr, notes: &mut Vec<String>) -> MacAddr {
    let Some(pod) = from.pod else {
        return ROUTER_MAC; // what is for pods and Services is routed there
    };
    let Some(subnet) = state.subnets.get(&pod.subnet) else {
        return STRANGER; // the state promises that the subnet is there
    };
    let underlay = matches!(subnet.kind, cluster::desired::SubnetKind::Underlay { .. });
    let routed = |subnet: &Subnet| !underlay || subnet.logical_gateway;
    if !subnet.contains(to) {
        if !routed(subnet) {
            notes.push(
                "the VLAN's gateway is the next hop; its MAC address is not known here".into(),
            );
            return STRANGER;
        }
        return subnet.router_mac;
    }
    let is_gateway = subnet.prefixes().any(|(_, gateway)| gateway == to);
    if let Some(peer) = owner(state, to).filter(|peer| peer.subnet == pod.subnet) {
        return peer.mac;
    }
    let balanced = state.frontends.values().flat_map(|f| &f.balanced);
    let mut balanced = balanced.filter(|b| b.address == to);
    let announced = balanced.find_map(|b| b.announced.as_ref()?.node.as_ref());
    if let Some(host) = announced.and_then(|node| state.hosts.get(node)) {
        return host.mac;
    }
    if is_gateway && routed(subnet) {
        return subnet.router_mac;
    }
    if !underlay {
        notes.push(format!(
            "no pod of Subnet {} has {to}: nobody tells {} its MAC address",
            subnet.name, from.words
        ));
    }
    STRANGER
}

fn sender<'a>(state: &'a DesiredState, text: &str) -> Result<From<'a>, String> {
    if let Some(node) = text.strip_prefix("node:") {
        let Some((node, host)) = state.hosts.get_key_value(node) else {
            return Err(format!("no node {node}{}", like(node, state.nodes.keys())));
        };
        return Ok(From {
            words: format!("Node {node}"),
            node,
            port: HOST_PORT,
            mac: host.mac,
            addresses: host.addresses.clone(),
            pod: None,
        });
    }
    let pod = find_pod(state, text.strip_prefix("pod:").unwrap_or(text))?;
    Ok(From {
        words: format!("Pod {} on {}", pod.name, pod.node),
        node: &pod.node,
        port: &pod.port,
        mac: pod.mac,
        addresses: pod.addresses().collect(),
        pod: Some(pod),
    })
}

/// The pod of that name; `namespace/name`, or a name that only one pod has.
///
/// # Errors
/// Why there is none, and what is like it.
pub fn find_pod<'a>(state: &'a DesiredState, text: &str) -> Result<&'a Pod, String> {
    let name = full_name(
        text,
        None,
        state.pods.keys().chain(state.waiting.keys()),
        "pod",
    )?;
    if let Some(pod) = state.pods.get(&name) {
        return Ok(pod);
    }
    match state.waiting.get(&name) {
        Some(Waiting::For(what)) => Err(format!(
            "Pod {name} has no place in the network yet: it waits for {what}"
        )),
        Some(Waiting::Refused(why)) => {
            Err(format!("Pod {name} has no place in the network: {why}"))
        }
        None => {
            let names = state.pods.keys().chain(state.waiting.keys());
            let names = names.map(ToString::to_string);
            Err(format!(
                "no pod {name}{}",
                like(&name.to_string(), &names.collect::<Vec<_>>())
            ))
        }
    }
}

/// `; X is near`, where something is.
fn like<'a>(wanted: &str, names: impl IntoIterator<Item = &'a String>) -> String {
    match near(wanted, names.into_iter().map(String::as_str)).as_slice() {
        [] => String::new(),
        [one] => format!("; {one} is near"),
        more => format!("; {} are near", more.join(", ")),
    }
}

/// A name with its namespace: the one it says, `home`'s, or the only one that has it.
fn full_name<'a>(
    text: &str,
    home: Option<&str>,
    known: impl Iterator<Item = &'a NamespacedName>,
    what: &str,
) -> Result<NamespacedName, String> {
    if let Ok(name) = text.parse() {
        return Ok(name);
    }
    let mut found: Vec<&NamespacedName> = known.filter(|name| name.name == text).collect();
    if let Some(own) = found
        .iter()
        .find(|name| Some(name.namespace.as_str()) == home)
    {
        return Ok((*own).clone());
    }
    found.sort();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Ok(NamespacedName::new(home.unwrap_or("default"), text)),
        several => {
            let names: Vec<String> = several.iter().take(3).map(ToString::to_string).collect();
            Err(format!(
                "{what} {text} is in {} namespaces: say which, as {}",
                several.len(),
                names.join(" or ")
            ))
        }
    }
}

/// Who is meant, the port there, and the protocol.
fn receiver<'a>(
    state: &'a DesiredState,
    home: Option<&str>,
    text: &str,
) -> Result<(To<'a>, u16, Wanted), String> {
    let (text, protocol) = match text.rsplit_once('/') {
        Some((rest, word)) if !is_name(state, text) => match protocol(word) {
            Some(protocol) => (rest, Some(protocol)),
            None => (text, None),
        },
        _ => (text, None),
    };
    let (name, port) = split_port(text);
    if let Ok(address) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
        let port = port.map(number).transpose()?;
        let wanted = protocol.unwrap_or(match port {
            Some(_) => Wanted::Ports(Protocol::Tcp),
            None => Wanted::Icmp,
        });
        return Ok((To::Address(address), needs_port(wanted, port)?, wanted));
    }
    let (only, name) = match name.split_once(':') {
        Some((kind @ ("pod" | "service"), name)) => (Some(kind), name),
        _ => (None, name),
    };
    let pods = state.pods.keys().chain(state.waiting.keys());
    let pod = full_name(name, home, pods, "pod");
    let service = full_name(name, home, state.services.keys(), "service");
    let is_service = service
        .as_ref()
        .is_ok_and(|name| state.services.contains_key(name));
    let is_pod = match &pod {
        Ok(name) => state.pods.contains_key(name) || state.waiting.contains_key(name),
        Err(_) => true,
    };
    match (only, is_pod, is_service) {
        (None, true, true) => Err(format!(
            "{name} is a pod and a Service: write pod:{name} or service:{name}"
        )),
        (Some("service"), ..) | (None, false, true) => {
            let name = service?;
            let Some(service) = state.services.get(&name) else {
                let names: Vec<_> = state.services.keys().map(ToString::to_string).collect();
                return Err(format!(
                    "no Service {name}{}",
                    like(&name.to_string(), &names)
                ));
            };
            let port = service_port(service, port, protocol)?;
            let wanted = Wanted::Ports(port.protocol);
            Ok((To::Service(service, port), port.port, wanted))
        }
        (None, false, false) => {
            let wanted = pod?.to_string();
            let names = state.pods.keys().chain(state.services.keys());
            let names: Vec<_> = names.map(ToString::to_string).collect();
            Err(format!(
                "no pod and no Service {wanted}{}",
                like(&wanted, &names)
            ))
        }
        _ => {
            let pod = find_pod(state, &pod?.to_string())?;
            let port = port.map(number).transpose()?;
            let wanted = protocol.unwrap_or(match port {
                Some(_) => Wanted::Ports(Protocol::Tcp),
                None => Wanted::Icmp,
            });
            Ok((To::Pod(pod), needs_port(wanted, port)?, wanted))
        }
    }
}

fn is_name(state: &DesiredState, text: &str) -> bool {
    text.parse().is_ok_and(|name: NamespacedName| {
        state.pods.contains_key(&name) || state.services.contains_key(&name)
    })
}

fn protocol(word: &str) -> Option<Wanted> {
    Some(match word.to_ascii_lowercase().as_str() {
        "tcp" => Wanted::Ports(Protocol::Tcp),
        "udp" => Wanted::Ports(Protocol::Udp),
        "sctp" => Wanted::Ports(Protocol::Sctp),
        "icmp" => Wanted::Icmp,
        _ => return None,
    })
}

/// `NAME:PORT`, `10.0.0.1:80`, `[fd00::1]:80`; a bare IPv6 address has no port.
fn split_port(text: &str) -> (&str, Option<&str>) {
    if text.parse::<IpAddr>().is_ok() {
        return (text, None);
    }
    match text.rsplit_once(':') {
        // `pod:NAME` and `service:NAME`
        Some(("pod" | "service", _)) => (text, None),
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (text, None),
    }
}

fn number(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| format!("port {text:?} is not a number from 1 to 65535"))
}

fn needs_port(wanted: Wanted, port: Option<u16>) -> Result<u16, String> {
    match (wanted, port) {
        (Wanted::Icmp, Some(port)) => Err(format!("ICMP has no port {port}: leave it out")),
        (Wanted::Icmp, None) => Ok(0),
        (Wanted::Ports(_), Some(port)) => Ok(port),
        (Wanted::Ports(protocol), None) => {
            Err(format!("{protocol} needs a port: NAME:PORT/{protocol}"))
        }
    }
}

fn service_port<'a>(
    service: &'a Service,
    port: Option<&str>,
    protocol: Option<Wanted>,
) -> Result<&'a ServicePort, String> {
    let of_protocol =
        |p: &&ServicePort| protocol.is_none_or(|wanted| wanted == Wanted::Ports(p.protocol));
    let mut ports = service.ports.iter().filter(of_protocol);
    let found = match port {
        Some(text) => {
            let number = text.parse::<u16>().ok();
            ports.find(|p| p.name == text || Some(p.port) == number)
        }
        None if service.ports.len() == 1 => ports.next(),
        None => None,
    };
    found.ok_or_else(|| {
        let all = service.ports.iter().map(|p| match p.name.as_str() {
            "" => format!("{}/{}", p.port, p.protocol),
            name => format!("{name} ({}/{})", p.port, p.protocol),
        });
        let all: Vec<String> = all.collect();
        let has = format!("Service {} has {}", service.name, all.join(", "));
        match port {
            Some(port) => format!("{has}, and no port {port}"),
            None => format!("{has}: say which, as NAME:PORT"),
        }
    })
}
