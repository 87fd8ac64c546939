//! The controller's local socket: one JSON line asked, one JSON line answered, over a Unix stream.
//!
//! `sluice-cni` asks it for what a pod's interface shall be, when the Pod's annotations are not
//! there to say it.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use net::MacAddr;
use serde::{Deserialize, Serialize};

use crate::desired::{DesiredState, Waiting};
use crate::name::NamespacedName;
use crate::portname::DEFAULT_INTERFACE;

/// Where the controller listens if nothing else is said.
pub const DEFAULT_SOCKET: &str = "/run/sluice/controller.sock";

/// Asks what one interface of one pod shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The interface's name inside the pod, as the container runtime gives it in `CNI_IFNAME`.
    pub interface: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The interface as it shall be.
    Ready(Interface),
    /// Not yet: ask again; the text completes "waiting for ...".
    Waiting(String),
    /// Never, as things are: what is wrong and what to do.
    Refused(String),
}

/// One interface of one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Addresses with the subnet's prefix length, IPv4 first.
    pub addresses: Vec<IpNet>,
    /// The interface's Ethernet address.
    #[serde(with = "crate::text")]
    pub mac: MacAddr,
    /// Bytes of L3 payload.
    pub mtu: u16,
    /// Default gateways, at most one of each family.
    pub gateways: Vec<IpAddr>,
    /// More routes than the connected one and the default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// The node the pod is scheduled to.
    pub node: String,
    /// The port's name, [`crate::port_name`].
    pub port: String,
    /// The subnet the addresses are from.
    pub subnet: String,
}

/// A route inside the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// By which neighbour.
    pub gateway: IpAddr,
}

/// Answers a request from the desired state.
pub fn answer(state: &DesiredState, request: &Request) -> Reply {
    let name = NamespacedName::new(&request.namespace, &request.pod);
    if request.interface != DEFAULT_INTERFACE {
        return Reply::Refused(format!(
            "interface {} of Pod {name}: only {DEFAULT_INTERFACE} is served so far; \
             attach this network with another plugin",
            request.interface
        ));
    }
    let Some(pod) = state.pods.get(&name) else {
        return match state.waiting.get(&name) {
            Some(Waiting::For(what)) => Reply::Waiting(what.clone()),
            Some(Waiting::Refused(why)) => Reply::Refused(why.clone()),
            None => Reply::Waiting(format!("Pod {name} to appear in the source of manifests")),
        };
    };
    let Some(subnet) = state.subnets.get(&pod.subnet) else {
        return Reply::Waiting(format!("Subnet {}", pod.subnet));
    };
    let v4 = pod.v4.zip(subnet.v4).map(|(address, prefix)| {
        let address = Ipv4Net::new_assert(address, prefix.cidr.prefix_len());
        (IpNet::V4(address), IpAddr::V4(prefix.gateway))
    });
    let v6 = pod.v6.zip(subnet.v6).map(|(address, prefix)| {
        let address = Ipv6Net::new_assert(address, prefix.cidr.prefix_len());
        (IpNet::V6(address), IpAddr::V6(prefix.gateway))
    });
    let (addresses, gateways) = v4.into_iter().chain(v6).unzip();
    Reply::Ready(Interface {
        addresses,
        mac: pod.mac,
        mtu: subnet.mtu,
        gateways,
        routes: Vec::new(),
        node: pod.node.clone(),
        port: pod.port.clone(),
        subnet: pod.subnet.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_lines_a_shell_script_can_read() {
        let ready = Reply::Ready(Interface {
            addresses: vec!["10.16.0.2/16".parse().unwrap()],
            mac: MacAddr([2, 0x5c, 10, 16, 0, 2]),
            mtu: 1400,
            gateways: vec!["10.16.0.1".parse().unwrap()],
            routes: vec![],
            node: "node1".into(),
            port: "slabc".into(),
            subnet: "bank-overlay".into(),
        });
        let line = serde_json::to_string(&ready).unwrap();
        assert_eq!(
            line,
            r#"{"ready":{"addresses":["10.16.0.2/16"],"mac":"02:5c:0a:10:00:02","mtu":1400,"gateways":["10.16.0.1"],"node":"node1","port":"slabc","subnet":"bank-overlay"}}"#
        );
        assert_eq!(serde_json::from_str::<Reply>(&line).unwrap(), ready);
        let waiting = Reply::Waiting("Pod bank/web-1 to appear in the source".into());
        let line = serde_json::to_string(&waiting).unwrap();
        assert_eq!(serde_json::from_str::<Reply>(&line).unwrap(), waiting);
    }
}
