//! What the runtime gets back from a successful ADD (CNI specification 1.1, "Result Types").

use std::net::IpAddr;

use cluster::podapi::Interface;
use ipnet::IpNet;
use serde::Serialize;

/// The attachment as it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    cni_version: String,
    interfaces: Vec<Entry>,
    ips: Vec<Address>,
    routes: Vec<Way>,
    dns: Dns,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Entry {
    name: String,
    mac: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    sandbox: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Address {
    address: IpNet,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    interface: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Way {
    dst: IpNet,
    gw: IpAddr,
}

/// Name resolution is the cluster's matter: always empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Dns {}

/// Every route the interface needs besides the connected one: the defaults first.
pub fn routes(interface: &Interface) -> Vec<(IpNet, IpAddr)> {
    let default = |gateway: &IpAddr| {
        let any = match gateway {
            IpAddr::V4(_) => IpNet::from(IpAddr::from([0u8; 4])),
            IpAddr::V6(_) => IpNet::from(IpAddr::from([0u8; 16])),
        };
        let net = IpNet::new(any.addr(), 0).unwrap_or(any);
        (net, *gateway)
    };
    let more = interface.routes.iter().map(|r| (r.destination, r.gateway));
    interface.gateways.iter().map(default).chain(more).collect()
}

impl Attachment {
    /// For an interface called `name` in the namespace at `sandbox`.
    pub fn new(version: &str, name: &str, sandbox: &str, mtu: u32, made: &Interface) -> Self {
        let gateway_of = |address: &IpNet| {
            let mut same_family = made.gateways.iter();
            same_family
                .find(|g| g.is_ipv4() == address.addr().is_ipv4())
                .copied()
        };
        Attachment {
            cni_version: version.into(),
            interfaces: vec![Entry {
                name: name.into(),
                mac: made.mac.to_string(),
                mtu: (version != "1.0.0").then_some(mtu), // a field of 1.1
                sandbox: sandbox.into(),
            }],
            ips: made
                .addresses
                .iter()
                .map(|address| Address {
                    address: *address,
                    gateway: gateway_of(address),
                    interface: 0,
                })
                .collect(),
            routes: routes(made)
                .into_iter()
                .map(|(dst, gw)| Way { dst, gw })
                .collect(),
            dns: Dns::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_the_one_of_the_specification() {
        let made = Interface {
            addresses: vec![
                "10.16.0.2/16".parse().unwrap(),
                "fd00:10:16::2/64".parse().unwrap(),
            ],
            mac: "02:5c:0a:10:00:02".parse().unwrap(),
            mtu: 1400,
            gateways: vec![
                "10.16.0.1".parse().unwrap(),
                "fd00:10:16::1".parse().unwrap(),
            ],
            routes: vec![],
            node: "node1".into(),
            port: "slabc".into(),
            subnet: "bank-overlay".into(),
        };
        let json = |version| {
            let result = Attachment::new(version, "eth0", "/run/netns/web", 1400, &made);
            serde_json::to_string(&result).unwrap()
        };
        assert_eq!(
            json("1.1.0"),
            concat!(
                r#"{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","mac":"02:5c:0a:10:00:02","#,
                r#""mtu":1400,"sandbox":"/run/netns/web"}],"ips":[{"address":"10.16.0.2/16","#,
                r#""gateway":"10.16.0.1","interface":0},{"address":"fd00:10:16::2/64","#,
                r#""gateway":"fd00:10:16::1","interface":0}],"routes":[{"dst":"0.0.0.0/0","#,
                r#""gw":"10.16.0.1"},{"dst":"::/0","gw":"fd00:10:16::1"}],"dns":{}}"#
            )
        );
        assert!(!json("1.0.0").contains("mtu"));
    }
}
