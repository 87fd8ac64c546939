//! Targets of OpenFlow connections, spelled as Open vSwitch does (ovsdb(7), "Connection Methods").

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// The port registered for OpenFlow (IANA).
pub const DEFAULT_PORT: u16 = 6653;

/// Where to connect to, or to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `tcp:HOST[:PORT]`: connect.
    Tcp {
        /// Address or name.
        host: String,
        /// Port.
        port: u16,
    },
    /// `unix:PATH`: connect.
    Unix(PathBuf),
    /// `ptcp:[PORT][:HOST]`: listen.
    PassiveTcp {
        /// Address to listen on; none: all.
        host: Option<IpAddr>,
        /// Port.
        port: u16,
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
    let kinds = "tcp:HOST[:PORT], ptcp:[PORT][:HOST], unix:PATH or punix:PATH";
    let (kind, rest) = text.split_once(':').ok_or(format!("write {kinds}"))?;
    match kind {
        "tcp" => {
            let (host, port) = host_and_port(rest)?;
            let port = port.map_or(Ok(DEFAULT_PORT), parse_port)?;
            Ok(Target::Tcp { host, port })
        }
        "ptcp" => {
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
            Ok(Target::PassiveTcp { host, port })
        }
        "unix" | "punix" if rest.is_empty() => Err(format!("{kind}: needs the socket's path")),
        "unix" => Ok(Target::Unix(rest.into())),
        "punix" => Ok(Target::PassiveUnix(rest.into())),
        "ssl" | "pssl" => Err(format!(
            "{kind}: is not built in yet; use {}tcp: on a loopback or management address",
            &kind[..kind.len() - 3]
        )),
        _ => Err(format!("unknown kind '{kind}'; write {kinds}")),
    }
}

/// `HOST`, `HOST:PORT`, `[V6]`, `[V6]:PORT`.
fn host_and_port(rest: &str) -> Result<(String, Option<&str>), String> {
    let (host, port) = match rest.strip_prefix('[') {
        Some(v6) => {
            let (host, after) = v6.split_once(']').ok_or("the address lacks its ']'")?;
            (host, after.strip_prefix(':'))
        }
        None => match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    if host.is_empty() {
        return Err("needs a host: tcp:HOST[:PORT]".into());
    }
    Ok((host.to_owned(), port))
}

fn parse_port(port: &str) -> Result<u16, String> {
    match port.parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(format!("'{port}' is no port; give 1 to 65535")),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Target::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
            Target::PassiveTcp { host: None, port } => write!(f, "ptcp:{port}"),
            Target::PassiveTcp {
                host: Some(IpAddr::V6(host)),
                port,
            } => write!(f, "ptcp:{port}:[{host}]"),
            Target::PassiveTcp {
                host: Some(host),
                port,
            } => write!(f, "ptcp:{port}:{host}"),
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
            ("ptcp:", "ptcp:6653"),
            ("ptcp:6653:127.0.0.1", "ptcp:6653:127.0.0.1"),
            ("ptcp:6653:[::1]", "ptcp:6653:[::1]"),
            ("unix:/run/c.sock", "unix:/run/c.sock"),
            ("punix:/run/sluice/br.mgmt", "punix:/run/sluice/br.mgmt"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), shown);
            assert_eq!(shown.parse::<Target>().unwrap(), target);
            assert_eq!(target.is_passive(), text.starts_with('p'));
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
            ("pssl:6640", "use ptcp:"),
            ("ssl:h", "use tcp:"),
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(hint) && error.contains(text), "{error}");
        }
    }
}
