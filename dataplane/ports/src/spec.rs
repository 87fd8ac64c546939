//! `NAME,ofport=N,dev=DEVARGS` and `NAME,ofport=N,tunnel=geneve`: how an operator spells a port.

use crate::{OuterSpec, Shaping, TestSpec};
use net::{PortNo, VlanId, Vni};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A port as asked for on the command line, in a file, or over the admin socket.
///
/// Keys: `ofport=N` or `ofport=LOCAL`, `closed=true`, `mtu=N`, `vlan=N`, `rate=BITS`, `burst=BYTES`,
/// `queues=0+1+2` (or `0-2`, or with settings: `0:prio=1+1-2:max=1g/min=100m`; see [`Shaping`]),
/// `rxq=N`, `spread=true`, then one of `dev=...` (the last key: everything after it belongs to the device) and
/// `tunnel=geneve|vxlan[,remote=IP|flow][,key=VNI|flow]`, with the keys of [`OuterSpec`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// Name in OpenFlow, 1 to 15 bytes.
    pub name: String,
    /// Number in OpenFlow; None leaves the choice to the switch.
    pub ofport: Option<PortNo>,
    /// Starts with OFPPC_NO_RECV and OFPPC_NO_FWD set, until a controller opens it.
    pub closed: bool,
    /// Largest L3 packet, bytes; None leaves the device as it is.
    pub mtu: Option<u16>,
    /// VLAN that NORMAL puts its untagged packets into; None: it carries all VLANs, tagged.
    pub vlan: Option<VlanId>,
    /// How fast it sends, and its queues.
    pub shaping: Shaping,
    /// Rx queues of its device, which spreads the packets over them by flow; 1 if not given.
    pub rxq: u16,
    /// The worker that polls it spreads its packets over all workers, by flow.
    pub spread: bool,
    /// What carries its packets.
    pub kind: PortKind,
}

/// What carries a port's packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// A tap that the dataplane creates: `dev=tap[,iface=IFNAME]`; the default is the port's name.
    Tap {
        /// The interface's name.
        iface: String,
    },
    /// An existing interface, mostly the host's end of a veth pair: `dev=veth,iface=IFNAME`.
    Veth {
        /// The interface's name.
        iface: String,
    },
    /// Any DPDK device, as DPDK spells it: `dev=0000:3b:00.0`, `dev=net_af_packet0,iface=eth1`.
    Dpdk {
        /// DPDK's device arguments.
        devargs: String,
    },
    /// A device for measurements: `dev=generate[,...]`, `dev=sink`, `dev=echo`.
    Test(TestSpec),
    /// A logical port over a VTEP.
    Tunnel(TunnelSpec),
}

/// A tunnel port: `tunnel=geneve[,remote=IP|flow][,key=VNI|flow]`, and the keys of [`OuterSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelSpec {
    /// Encapsulation.
    pub kind: TunnelKind,
    /// The other end; None: flows set `tun_dst`.
    pub remote: Option<IpAddr>,
    /// The network identifier; None: flows set `tun_id`.
    pub key: Option<Vni>,
    /// The outer header.
    pub outer: OuterSpec,
}

/// Tunnel encapsulations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelKind {
    /// RFC 8926.
    Geneve,
    /// RFC 7348.
    Vxlan,
}

/// A port specification that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("port '{spec}': {reason}")]
pub struct SpecError {
    /// What was given.
    pub spec: String,
    /// What is wrong and what to write instead.
    pub reason: String,
}

/// Longest name of a port or interface, bytes: IFNAMSIZ and OFP_MAX_PORT_NAME_LEN less the zero.
const NAME_MAX: usize = 15;
/// Smallest and largest MTU that may be asked for: RFC 791's minimum, and what an mbuf carries.
const MTU_RANGE: std::ops::RangeInclusive<u16> = 68..=65_000;
/// Most rx queues of a port.
const RXQ_MAX: u16 = 64;
const KEYS: &str = "ofport, closed, mtu, vlan, rate, burst, queues, rxq, spread, dev, tunnel, remote, key, tos, ttl, \
                    df_default, csum";

impl FromStr for PortSpec {
    type Err = SpecError;

    fn from_str(spec: &str) -> Result<PortSpec, SpecError> {
        parse(spec).map_err(|reason| SpecError {
            spec: spec.to_owned(),
            reason,
        })
    }
}

fn parse(spec: &str) -> Result<PortSpec, String> {
    let (name, mut rest) = spec
        .split_once(',')
        .ok_or("needs a name and a device: NAME,ofport=N,dev=DEVARGS")?;
    check_name("port", name)?;
    let mut keys = Keys::default();
    while !rest.is_empty() {
        if let Some(devargs) = rest.strip_prefix("dev=") {
            keys.dev = Some(devargs);
            break;
        }
        let (token, after) = rest.split_once(',').unwrap_or((rest, ""));
        keys.take(token)?;
        rest = after;
    }
    keys.finish(name)
}

/// The keys seen so far.
#[derive(Default)]
struct Keys<'a> {
    ofport: Option<PortNo>,
    closed: bool,
    mtu: Option<u16>,
    vlan: Option<VlanId>,
    shaping: Shaping,
    rxq: Option<u16>,
    spread: bool,
    dev: Option<&'a str>,
    tunnel: Option<TunnelKind>,
    remote: Option<Option<IpAddr>>,
    key: Option<Option<Vni>>,
    outer: Option<OuterSpec>,
}

impl<'a> Keys<'a> {
    fn take(&mut self, token: &'a str) -> Result<(), String> {
        let (key, value) = token
            .split_once('=')
            .ok_or_else(|| format!("'{token}' is not KEY=VALUE; keys are {KEYS}"))?;
        match key {
            "ofport" => self.ofport = Some(parse_ofport(value)?),
            "tunnel" => self.tunnel = Some(parse_tunnel(value)?),
            "remote" => self.remote = Some(parse_or_flow(value, "an IP address")?),
            "key" => {
                let number: Option<u32> = parse_or_flow(value, "a number")?;
                let vni = number.map(Vni::new).transpose();
                self.key = Some(vni.map_err(|e| e.to_string())?);
            }
            "tos" | "ttl" | "df_default" | "csum" => {
                self.outer.get_or_insert_default().take(key, value)?;
            }
            "closed" | "mtu" | "vlan" | "rate" | "burst" | "queues" | "rxq" | "spread" => {
                self.take_common(key, value)?;
            }
            _ => return Err(format!("unknown key '{key}'; keys are {KEYS}")),
        }
        Ok(())
    }

    fn take_common(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "closed" => {
                self.closed = value
                    .parse()
                    .map_err(|_| format!("closed is true or false, not '{value}'"))?;
            }
            "vlan" => {
                let vlan = value.parse().ok().and_then(|n| VlanId::new(n).ok());
                self.vlan = Some(vlan.ok_or_else(|| format!("vlan '{value}' is not 1 to 4094"))?);
            }
            "rate" | "burst" | "queues" => self.shaping.take(key, value)?,
            "rxq" => {
                let count = value.parse().ok().filter(|n| (1..=RXQ_MAX).contains(n));
                self.rxq =
                    Some(count.ok_or_else(|| format!("rxq '{value}' is not 1 to {RXQ_MAX}"))?);
            }
            "spread" => {
                self.spread = value
                    .parse()
                    .map_err(|_| format!("spread is true or false, not '{value}'"))?;
            }
            _ => {
                let mtu = value.parse().ok().filter(|mtu| MTU_RANGE.contains(mtu));
                let range = format!("{} to {}", MTU_RANGE.start(), MTU_RANGE.end());
                self.mtu = Some(mtu.ok_or_else(|| format!("mtu '{value}' is not {range}"))?);
            }
        }
        Ok(())
    }

    fn finish(mut self, name: &str) -> Result<PortSpec, String> {
        let kind = match (self.dev, self.tunnel) {
            (Some(_), Some(_)) => return Err("has both dev= and tunnel=; keep one".into()),
            (None, None) => return Err("has neither dev= nor tunnel=; give one".into()),
            (Some(devargs), None) => {
                if self.remote.is_some() || self.key.is_some() || self.outer.is_some() {
                    return Err(
                        "remote=, key=, tos=, ttl=, df_default= and csum= belong to tunnel= ports"
                            .into(),
                    );
                }
                self.device(name, devargs)?
            }
            (None, Some(_)) if self.vlan.is_some() || !self.shaping.is_empty() => {
                return Err("vlan=, rate=, burst= and queues= belong to dev= ports".into());
            }
            (None, Some(_)) if self.rxq.is_some() || self.spread => {
                return Err("rxq= and spread= belong to dev= ports".into());
            }
            (None, Some(kind)) => PortKind::Tunnel(TunnelSpec {
                kind,
                remote: self.remote.flatten(),
                key: self.key.flatten(),
                outer: self.outer.unwrap_or_default(),
            }),
        };
        self.shaping.check()?;
        Ok(PortSpec {
            name: name.to_owned(),
            ofport: self.ofport,
            closed: self.closed,
            mtu: self.mtu,
            vlan: self.vlan,
            shaping: self.shaping,
            rxq: self.rxq.unwrap_or(1),
            spread: self.spread,
            kind,
        })
    }

    /// `tap`, `veth`, `generate`, `sink` and `echo` are ours and take keys of ours; all else is DPDK's.
    fn device(&mut self, name: &str, devargs: &str) -> Result<PortKind, String> {
        let (device, rest) = devargs.split_once(',').unwrap_or((devargs, ""));
        if device.is_empty() {
            return Err("dev= is empty; give a PCI address, a DPDK vdev, tap or veth".into());
        }
        let is_test = TestSpec::named(device).is_some();
        if self.rxq.is_some_and(|n| n != 1) && (is_test || device == "tap" || device == "veth") {
            return Err(format!(
                "dev={device} has one rx queue; give spread=true to use several workers"
            ));
        }
        if let Some(mut test) = TestSpec::named(device) {
            for token in rest.split(',').filter(|t| !t.is_empty()) {
                test.take(token)?;
            }
            test.check()?;
            return Ok(PortKind::Test(test));
        }
        if device != "tap" && device != "veth" {
            let devargs = devargs.to_owned();
            return Ok(PortKind::Dpdk { devargs });
        }
        let mut iface = None;
        for token in rest.split(',').filter(|t| !t.is_empty()) {
            match token.split_once('=') {
                Some(("iface", value)) => {
                    check_name("interface", value)?;
                    iface = Some(value.to_owned());
                }
                Some((
                    key @ ("closed" | "mtu" | "vlan" | "rate" | "burst" | "queues" | "spread"),
                    value,
                )) => self.take_common(key, value)?,
                _ => {
                    return Err(format!(
                        "dev={device} takes iface, closed, mtu, vlan, rate, burst, queues, spread; not '{token}'"
                    ));
                }
            }
        }
        match (device, iface) {
            ("tap", iface) => Ok(PortKind::Tap {
                iface: iface.unwrap_or_else(|| name.to_owned()),
            }),
            (_, Some(iface)) => Ok(PortKind::Veth { iface }),
            (_, None) => Err("dev=veth needs iface=IFNAME, an interface that exists".into()),
        }
    }
}

fn check_name(what: &str, name: &str) -> Result<(), String> {
    let graphic = name.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
    if name.is_empty() || name.len() > NAME_MAX || !graphic || name.contains([',', '=']) {
        let rule = "1 to 15 printable characters without ',', '=' and '/'";
        return Err(format!("{what} name '{name}' must be {rule}"));
    }
    Ok(())
}

fn parse_ofport(value: &str) -> Result<PortNo, String> {
    if value.eq_ignore_ascii_case("local") {
        return Ok(PortNo::LOCAL);
    }
    let number = value.parse().ok().map(PortNo).filter(|n| n.is_ordinary());
    number.ok_or_else(|| {
        format!(
            "ofport '{value}' is not a number from 1 to {}, nor LOCAL",
            PortNo::MAX.0 - 1
        )
    })
}

fn parse_tunnel(value: &str) -> Result<TunnelKind, String> {
    match value {
        "geneve" => Ok(TunnelKind::Geneve),
        "vxlan" => Ok(TunnelKind::Vxlan),
        _ => Err(format!("tunnel '{value}' is not geneve or vxlan")),
    }
}

fn parse_or_flow<T: FromStr>(value: &str, what: &str) -> Result<Option<T>, String> {
    if value == "flow" {
        return Ok(None);
    }
    let parsed = value.parse().map(Some);
    parsed.map_err(|_| format!("'{value}' is neither {what} nor 'flow'"))
}

impl fmt::Display for TunnelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TunnelKind::Geneve => "geneve",
            TunnelKind::Vxlan => "vxlan",
        })
    }
}

impl fmt::Display for PortKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortKind::Tap { iface } => write!(f, "dev=tap,iface={iface}"),
            PortKind::Veth { iface } => write!(f, "dev=veth,iface={iface}"),
            PortKind::Dpdk { devargs } => write!(f, "dev={devargs}"),
            PortKind::Test(test) => write!(f, "dev={test}"),
            PortKind::Tunnel(tunnel) => {
                write!(f, "tunnel={}", tunnel.kind)?;
                if let Some(remote) = tunnel.remote {
                    write!(f, ",remote={remote}")?;
                }
                if let Some(key) = tunnel.key {
                    write!(f, ",key={key}")?;
                }
                write!(f, "{}", tunnel.outer)
            }
        }
    }
}

/// The spelling that [`PortSpec::from_str`] reads back.
impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(ofport) = self.ofport {
            match ofport {
                PortNo::LOCAL => f.write_str(",ofport=LOCAL")?,
                number => write!(f, ",ofport={}", number.0)?,
            }
        }
        if self.closed {
            f.write_str(",closed=true")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, ",mtu={mtu}")?;
        }
        if let Some(vlan) = self.vlan {
            write!(f, ",vlan={vlan}")?;
        }
        if !self.shaping.is_empty() {
            write!(f, ",{}", self.shaping)?;
        }
        if self.rxq > 1 {
            write!(f, ",rxq={}", self.rxq)?;
        }
        if self.spread {
            f.write_str(",spread=true")?;
        }
        write!(f, ",{}", self.kind)
    }
}
