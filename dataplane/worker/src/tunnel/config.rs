//! What an operator says about tunnels: `--vtep` and `--port ...,tunnel=...`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use net::{MacAddr, PortNo, VlanId};
use ports::TunnelSpec;

/// A tunnel port: packets sent to it are wrapped, unwrapped packets come in on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelPort {
    /// OpenFlow number.
    pub number: PortNo,
    /// Name.
    pub name: String,
    /// Header, other end and key.
    pub spec: TunnelSpec,
}

/// This node's tunnel endpoint: an address on an uplink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vtep {
    /// Our address.
    pub address: IpAddr,
    /// Length of the prefix that is on link.
    pub prefix: u8,
    /// Name of the port it is reached through.
    pub port: String,
    /// 802.1Q tag of the underlay, if any.
    pub vlan: Option<VlanId>,
    /// Next hop of what is off link.
    pub gateway: Option<IpAddr>,
    /// Our link-layer address; none: the port's.
    pub mac: Option<MacAddr>,
}

impl Vtep {
    /// True if an address can be reached without a gateway.
    pub fn on_link(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let shift = 32 - u32::from(self.prefix.min(32));
                (u64::from(ours.to_bits()) >> shift) == (u64::from(theirs.to_bits()) >> shift)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let differ = ours.to_bits() ^ theirs.to_bits();
                differ.leading_zeros() >= u32::from(self.prefix.min(128))
            }
            _ => false,
        }
    }
}

/// A `--vtep` that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("vtep `{text}`: {why}; write ADDRESS/LEN,port=UPLINK[,vlan=N][,gateway=IP][,mac=MAC]")]
pub struct VtepError {
    /// What was written.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl FromStr for Vtep {
    type Err = VtepError;

    fn from_str(text: &str) -> Result<Self, VtepError> {
        parse(text).map_err(|why| VtepError {
            text: text.to_owned(),
            why,
        })
    }
}

impl fmt::Display for Vtep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{},port={}", self.address, self.prefix, self.port)?;
        if let Some(vlan) = self.vlan {
            write!(f, ",vlan={vlan}")?;
        }
        if let Some(gateway) = self.gateway {
            write!(f, ",gateway={gateway}")?;
        }
        match self.mac {
            Some(mac) => write!(f, ",mac={mac}"),
            None => Ok(()),
        }
    }
}

fn parse(text: &str) -> Result<Vtep, String> {
    let mut parts = text.split(',');
    let first = parts.next().unwrap_or_default();
    let (address, prefix) = first
        .split_once('/')
        .ok_or_else(|| format!("`{first}` is not ADDRESS/LEN"))?;
    let address: IpAddr = address
        .parse()
        .map_err(|_| format!("`{address}` is not an IP address"))?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix.parse::<u8>() {
        Ok(bits) if bits <= longest => bits,
        _ => {
            return Err(format!("prefix length `{prefix}` is outside 0..={longest}"));
        }
    };
    let mut vtep = Vtep {
        address,
        prefix,
        port: String::new(),
        vlan: None,
        gateway: None,
        mac: None,
    };
    for part in parts {
        let (key, value) = part
            .split_once('=')
            .ok_or_else(|| format!("`{part}` is not KEY=VALUE"))?;
        match key {
            "port" => vtep.port = value.to_owned(),
            "vlan" => vtep.vlan = Some(parse_vlan(value)?),
            "gateway" => vtep.gateway = Some(parse_gateway(value, &vtep)?),
            "mac" => {
                let mac = value
                    .parse()
                    .map_err(|_| format!("`{value}` is not a MAC address"))?;
                vtep.mac = Some(mac);
            }
            _ => return Err(format!("unknown key `{key}`")),
        }
    }
    if vtep.port.is_empty() {
        return Err("port= is missing".to_owned());
    }
    Ok(vtep)
}

fn parse_vlan(value: &str) -> Result<VlanId, String> {
    let number = value
        .parse()
        .map_err(|_| format!("`{value}` is not a VLAN"))?;
    VlanId::new(number).map_err(|e| e.to_string())
}

fn parse_gateway(value: &str, vtep: &Vtep) -> Result<IpAddr, String> {
    let gateway = value
        .parse()
        .map_err(|_| format!("gateway `{value}` is not an IP address"))?;
    if !vtep.on_link(gateway) {
        return Err(format!(
            "gateway {gateway} is not inside {}/{}",
            vtep.address, vtep.prefix
        ));
    }
    Ok(gateway)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vtep_is_read_and_printed_as_the_contract_spells_it() {
        let text = "172.30.0.1/24,port=uplink0,vlan=7,gateway=172.30.0.254,mac=02:00:00:00:00:01";
        let vtep: Vtep = text.parse().unwrap();
        assert_eq!(vtep.to_string(), text);
        assert!(vtep.on_link("172.30.0.9".parse().unwrap()));
        assert!(!vtep.on_link("172.30.1.9".parse().unwrap()));
        let six: Vtep = "fd00::1/64,port=u".parse().unwrap();
        assert!(six.on_link("fd00::ffff".parse().unwrap()));
        assert!(!six.on_link("fd00:1::1".parse().unwrap()));
        let all: Vtep = "10.0.0.1/0,port=u".parse().unwrap();
        assert!(all.on_link("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn a_wrong_vtep_says_what_is_wrong() {
        for (text, why) in [
            ("172.30.0.1", "not ADDRESS/LEN"),
            ("172.30.0.1/33,port=u", "outside 0..=32"),
            ("172.30.0.1/24", "port= is missing"),
            ("172.30.0.1/24,port=u,vlan=5000", "VLAN 5000"),
            ("172.30.0.1/24,port=u,gateway=10.0.0.1", "not inside"),
            ("172.30.0.1/24,port=u,colour=red", "unknown key `colour`"),
        ] {
            let error = text.parse::<Vtep>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
