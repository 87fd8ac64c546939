//! Targets of OpenFlow connections, spelled as Open vSwitch does (ovsdb(7), "Connection Methods").

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// The port registered for OpenFlow (IANA).
const DEFAULT_PORT: u16 = 6653;

/// Where to connect to, or to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `tcp:HOST[:PORT]`, `ssl:HOST[:PORT]`: connect.
    Tcp {
        /// Address or name.
        host: String,
        /// Port.
        port: u16,
        /// Through TLS.
        tls: bool,
    },
    /// `unix:PATH`: connect.
    Unix(PathBuf),
    /// `ptcp:[PORT][:HOST]`, `pssl:[PORT][:HOST]`: listen.
    PassiveTcp {
        /// Address to listen on; none: all.
        host: Option<IpAddr>,
        /// Port; 0: any that is free.
        port: u16,
        /// Through TLS.
        tls: bool,
    },
    /// `punix:PATH`: listen.
    PassiveUnix(PathBuf),
}

/// A target that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("target '{text}': {why}")]
pub struct TargetError {
    /// What was given.
    pub text: String,
    /// What is wrong and what to write instead.
    pub why: String,
}

impl Target {
    /// True for targets that are listened on.
    pub fn is_passive(&self) -> bool {
        matches!(self, Target::PassiveTcp { .. } | Target::PassiveUnix(_))
    }

    /// True for `ssl:` and `pssl:`.
    pub fn is_tls(&self) -> bool {
        matches!(
            self,
            Target::Tcp { tls: true, .. } | Target::PassiveTcp { tls: true, .. }
        )
    }

    /// Where a client on this machine finds a TCP listener.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Target::PassiveTcp { host, port, .. } => {
                Some((host.unwrap_or(Ipv4Addr::LOCALHOST.into()), *port).into())
            }
            _ => None,
        }
    }

    /// A listener in clear that names no address is one for this machine only.
    #[must_use]
    pub fn or_loopback(self) -> Self {
        match self {
            Target::PassiveTcp {
                host: None,
                port,
                tls: false,
            } => Target::PassiveTcp {
                host: Some(Ipv4Addr::LOCALHOST.into()),
                port,
                tls: false,
            },
            other => other,
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        parse(text).map_err(|why| TargetError {
            text: text.to_owned(),
            why,
        })
    }
}

fn parse(text: &str) -> Result<Target, String> {
    let kinds = "tcp:HOST[:PORT], ssl:HOST[:PORT], unix:PATH, ptcp:[PORT][:HOST], \
                 pssl:[PORT][:HOST] or punix:PATH";
    let (kind, rest) = text.split_once(':').ok_or(format!("write {kinds}"))?;
    match kind {
        "tcp" | "ssl" => {
            let (host, port) = host_and_port(kind, rest)?;
            let port = port.map_or(Ok(DEFAULT_PORT), |port| match parse_port(port) {
                Ok(0) => Err("'0' is no port to connect to; give 1 to 65535".to_owned()),
                port => port,
            })?;
            let tls = kind == "ssl";
            Ok(Target::Tcp { host, port, tls })
        }
        "ptcp" | "pssl" => {
            let (port, host) = rest.split_once(':').unwrap_or((rest, ""));
            let host = match host.trim_start_matches('[').trim_end_matches(']') {
                "" => None,
                host => Some(host.parse().map_err(|_| {
                    format!("'{host}' is no address to listen on; give an IP address")
                })?),
            };
            let port = match port {
                "" => DEFAULT_PORT,
                port => parse_port(port)?,
            };
            let tls = kind == "pssl";
            Ok(Target::PassiveTcp { host, port, tls })
        }
        "unix" | "punix" if rest.is_empty() => Err(format!("{kind}: needs the socket's path")),
        "unix" => Ok(Target::Unix(rest.into())),
        "punix" => Ok(Target::PassiveUnix(rest.into())),
        _ => Err(format!("unknown kind '{kind}'; write {kinds}")),
    }
}

/// `HOST`, `HOST:PORT`, `[V6]`, `[V6]:PORT`; a bare IPv6 address has no port.
fn host_and_port<'a>(kind: &str, rest: &'a str) -> Result<(String, Option<&'a str>), String> {
    let (host, port) = match rest.strip_prefix('[') {
        Some(v6) => {
            let (host, after) = v6.split_once(']').ok_or("the address lacks its ']'")?;
            (host, after.strip_prefix(':'))
        }
        None => match rest.split_once(':') {
            Some((_, after)) if after.contains(':') => (rest, None),
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    if host.is_empty() {
        return Err(format!("needs a host: {kind}:HOST[:PORT]"));
    }
    Ok((host.to_owned(), port))
}

fn parse_port(port: &str) -> Result<u16, String> {
    let wrong = |_| format!("'{port}' is no port; give 1 to 65535");
    port.parse().map_err(wrong)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tcp = |tls: &bool| if *tls { "ssl" } else { "tcp" };
        match self {
            Target::Tcp { host, port, tls } if host.contains(':') => {
                write!(f, "{}:[{host}]:{port}", tcp(tls))
            }
            Target::Tcp { host, port, tls } => write!(f, "{}:{host}:{port}", tcp(tls)),
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
            Target::PassiveTcp { host, port, tls } => {
                write!(f, "p{}:{port}", tcp(tls))?;
                match host {
                    None => Ok(()),
                    Some(IpAddr::V6(host)) => write!(f, ":[{host}]"),
                    Some(host) => write!(f, ":{host}"),
                }
            }
            Target::PassiveUnix(path) => write!(f, "punix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_spelled_as_open_vswitch_does() {
        for (text, shown) in [
            ("tcp:10.0.0.1:6633", "tcp:10.0.0.1:6633"),
            ("tcp:controller", "tcp:controller:6653"),
            ("tcp:[fd00::1]", "tcp:[fd00::1]:6653"),
            ("tcp:[fd00::1]:7", "tcp:[fd00::1]:7"),
            ("tcp:fd00::1", "tcp:[fd00::1]:6653"),
            ("ssl:10.0.0.1", "ssl:10.0.0.1:6653"),
            ("ssl:[fd00::1]:7", "ssl:[fd00::1]:7"),
            ("ptcp:", "ptcp:6653"),
            ("ptcp:0:127.0.0.1", "ptcp:0:127.0.0.1"),
            ("pssl:", "pssl:6653"),
            ("pssl:6640:127.0.0.1", "pssl:6640:127.0.0.1"),
            ("ptcp:6653:127.0.0.1", "ptcp:6653:127.0.0.1"),
            ("ptcp:6653:[::1]", "ptcp:6653:[::1]"),
            ("unix:/run/c.sock", "unix:/run/c.sock"),
            ("punix:/run/sluice/br.mgmt", "punix:/run/sluice/br.mgmt"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), shown);
            assert_eq!(shown.parse::<Target>().unwrap(), target);
            assert_eq!(target.is_passive(), text.starts_with('p'));
            assert_eq!(target.is_tls(), text.contains("ssl"));
        }
    }

    #[test]
    fn a_wrong_target_says_what_to_write() {
        for (text, hint) in [
            ("6653", "tcp:HOST"),
            ("udp:1.2.3.4", "unknown kind 'udp'"),
            ("tcp:", "needs a host"),
            ("tcp:a:0", "no port"),
            ("ptcp:6653:nowhere", "no address"),
            ("punix:", "path"),
            ("ssl:", "needs a host: ssl:"),
            ("pssl:99999", "no port"),
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(hint) && error.contains(text), "{error}");
        }
    }

    #[test]
    fn only_a_listener_in_clear_falls_back_to_this_machine() {
        let shown = |text: &str| text.parse::<Target>().unwrap().or_loopback().to_string();
        assert_eq!(shown("ptcp:7"), "ptcp:7:127.0.0.1");
        assert_eq!(shown("ptcp:7:10.0.0.1"), "ptcp:7:10.0.0.1");
        assert_eq!(shown("pssl:7"), "pssl:7");
    }
}
