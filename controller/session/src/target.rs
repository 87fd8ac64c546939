//! Where to listen, spelled as Open vSwitch does.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::str::FromStr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

/// Port that OpenFlow has from IANA.
const OPENFLOW_PORT: u16 = 6653;

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `ptcp:[PORT][:HOST]`; loopback unless a host is given.
    Tcp(SocketAddr),
    /// `punix:PATH`
    Unix(PathBuf),
}

/// The text is no place to listen at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}: {why}; write it like ptcp:6653:127.0.0.1 or punix:/run/sluice/openflow.sock")]
pub struct ParseTargetError {
    text: String,
    why: &'static str,
}

impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, ParseTargetError> {
        let refuse = |why| ParseTargetError {
            text: text.into(),
            why,
        };
        let Some((method, rest)) = text.split_once(':') else {
            return Err(refuse("no method before a colon"));
        };
        match method {
            "punix" if rest.is_empty() => Err(refuse("no path")),
            "punix" => Ok(Target::Unix(rest.into())),
            "ptcp" => {
                let (port, host) = rest.split_once(':').unwrap_or((rest, ""));
                let port = match port {
                    "" => OPENFLOW_PORT,
                    port => port.parse().map_err(|_| refuse("not a port number"))?,
                };
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let host = match host {
                    "" => IpAddr::V4(Ipv4Addr::LOCALHOST),
                    host => host
                        .parse()
                        .map_err(|_| refuse("the host is not an IP address"))?,
                };
                Ok(Target::Tcp(SocketAddr::new(host, port)))
            }
            "pssl" => Err(refuse("TLS is not built yet")),
            "tcp" | "unix" | "ssl" => Err(refuse("the switch connects to us, not we to it")),
            _ => Err(refuse("unknown method")),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(SocketAddr::V4(a)) => write!(f, "ptcp:{}:{}", a.port(), a.ip()),
            Target::Tcp(SocketAddr::V6(a)) => write!(f, "ptcp:{}:[{}]", a.port(), a.ip()),
            Target::Unix(path) => write!(f, "punix:{}", path.display()),
        }
    }
}

/// A stream of bytes to and from a switch.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A bound [`Target`].
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix stream.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Binds. A Unix socket that a dead process left behind is replaced; ours is 0660.
    pub async fn bind(target: &Target) -> std::io::Result<Listener> {
        match target {
            Target::Tcp(address) => TcpListener::bind(address).await.map(Listener::Tcp),
            Target::Unix(path) => {
                let is_socket = |m: std::fs::Metadata| m.file_type().is_socket();
                let stale = std::fs::symlink_metadata(path).is_ok_and(is_socket)
                    && std::os::unix::net::UnixStream::connect(path).is_err();
                if stale {
                    std::fs::remove_file(path)?;
                }
                let listener = UnixListener::bind(path)?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
                Ok(Listener::Unix(listener, path.clone()))
            }
        }
    }

    /// The address it is bound to, with the real port where 0 was asked for.
    pub fn local(&self) -> std::io::Result<Target> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(Target::Tcp),
            Listener::Unix(_, path) => Ok(Target::Unix(path.clone())),
        }
    }

    pub(crate) async fn accept(&self) -> std::io::Result<(Box<dyn Stream>, String)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Box::new(stream), format!("tcp:{peer}")))
            }
            Listener::Unix(listener, path) => {
                let (stream, _) = listener.accept().await?;
                Ok((Box::new(stream), format!("unix:{}", path.display())))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = self {
            // Best effort: a left-over socket is replaced at the next start anyway.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_spelled_as_open_vswitch_does() {
        for (text, means) in [
            ("ptcp:6653:127.0.0.1", "ptcp:6653:127.0.0.1"),
            ("ptcp:", "ptcp:6653:127.0.0.1"),
            ("ptcp:7000", "ptcp:7000:127.0.0.1"),
            ("ptcp:0:[::1]", "ptcp:0:[::1]"),
            ("punix:/run/x.sock", "punix:/run/x.sock"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), means);
        }
        for (bad, why) in [
            ("6653", "no method before a colon"),
            ("ptcp:x", "not a port number"),
            ("ptcp:1:localhost", "the host is not an IP address"),
            ("tcp:1.2.3.4:5", "the switch connects to us, not we to it"),
            ("punix:", "no path"),
        ] {
            assert_eq!(bad.parse::<Target>().unwrap_err().why, why);
        }
    }
}
