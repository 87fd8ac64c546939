//! Listening on a target.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use crate::{Stream, Target, Tls, explain, listen_unix};

/// A target that cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {cause}{hint}")]
pub struct ListenError {
    what: String,
    cause: String,
    hint: &'static str,
}

impl ListenError {
    /// With a remedy, where there is a usual one.
    pub fn new(target: impl fmt::Display, cause: &io::Error) -> Self {
        ListenError {
            what: format!("listen on {target}"),
            hint: match cause.kind() {
                io::ErrorKind::AddrInUse => "; choose another port or path, or stop who has it",
                io::ErrorKind::PermissionDenied => "; run as root or choose another port or path",
                _ => "",
            },
            cause: cause.to_string(),
        }
    }

    /// `ssl:` or `pssl:` without certificates.
    pub fn no_certificates(target: &Target) -> Self {
        let verb = match target.is_passive() {
            true => "listen on",
            false => "connect to",
        };
        ListenError {
            what: format!("{verb} {target}"),
            cause: "it needs certificates".into(),
            hint: "; give --private-key, --certificate and --ca-cert",
        }
    }
}

/// Whose connection it is, for limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A machine.
    Host(IpAddr),
    /// A user of this machine, over a Unix socket.
    User(u32),
}

/// A target that is listened on.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    target: Target,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener, Option<Arc<Tls>>),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Listens. A socket file that a former process left behind is replaced; ours has mode 0660
    /// and the group `sluice`, where there is one.
    ///
    /// # Errors
    /// What, why, and what to do.
    pub async fn bind(target: &Target, tls: Option<&Arc<Tls>>) -> Result<Listener, ListenError> {
        let failed = |cause: io::Error| ListenError::new(target, &cause);
        let socket = match target {
            Target::PassiveTcp {
                host,
                port,
                tls: wanted,
            } => {
                let tls = match (wanted, tls) {
                    (true, Some(tls)) => Some(tls.clone()),
                    (false, _) => None,
                    (true, None) => return Err(ListenError::no_certificates(target)),
                };
                let listener = bind_tcp(*host, *port).await.map_err(failed)?;
                if tls.is_none() && !host.is_some_and(|host| host.is_loopback()) {
                    tracing::warn!(
                        "{target}: reachable from other machines, and not encrypted; pssl: is"
                    );
                }
                Socket::Tcp(listener, tls)
            }
            Target::PassiveUnix(path) => {
                let listener = listen_unix(path).map_err(failed)?;
                Socket::Unix(listener, path.clone())
            }
            Target::Tcp { .. } | Target::Unix(_) => {
                return Err(ListenError {
                    what: format!("listen on {target}"),
                    cause: "it is one to connect to".into(),
                    hint: "; write it with a p in front",
                });
            }
        };
        let target = target.clone();
        Ok(Listener { socket, target })
    }

    /// What is listened on, with the real port where 0 was asked for.
    ///
    /// # Errors
    /// What the system says.
    pub fn local(&self) -> io::Result<Target> {
        match (&self.socket, &self.target) {
            (Socket::Tcp(listener, tls), Target::PassiveTcp { host, .. }) => {
                Ok(Target::PassiveTcp {
                    host: *host,
                    port: listener.local_addr()?.port(),
                    tls: tls.is_some(),
                })
            }
            _ => Ok(self.target.clone()),
        }
    }

    /// The next connection, before any of its bytes.
    ///
    /// # Errors
    /// What the system says; mostly that there are no more file descriptors.
    pub async fn accept(&self) -> io::Result<Incoming> {
        match &self.socket {
            Socket::Tcp(listener, tls) => {
                let (stream, peer) = listener.accept().await?;
                // Messages are small and waited for.
                drop(stream.set_nodelay(true));
                let kind = if tls.is_some() { "ssl" } else { "tcp" };
                Ok(Incoming {
                    peer: format!("{kind}:{peer}"),
                    origin: Origin::Host(peer.ip().to_canonical()),
                    raw: Raw::Tcp(stream, tls.clone()),
                })
            }
            Socket::Unix(listener, path) => {
                let (stream, _) = listener.accept().await?;
                let user = stream.peer_cred().map_or(u32::MAX, |who| who.uid());
                Ok(Incoming {
                    peer: format!("unix:{}", path.display()),
                    origin: Origin::User(user),
                    raw: Raw::Unix(stream),
                })
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Socket::Unix(_, path) = &self.socket {
            // A left-over socket is replaced at the next start anyway.
            drop(std::fs::remove_file::<&Path>(path));
        }
    }
}

async fn bind_tcp(host: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    // The unspecified IPv6 address takes IPv4 connections too, where the system has IPv6.
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match host {
        Some(host) => TcpListener::bind((host, port)).await,
        None => match TcpListener::bind(any).await {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind(("0.0.0.0", port)).await
            }
            bound => bound,
        },
    }
}

/// A connection that somebody has made.
#[derive(Debug)]
pub struct Incoming {
    peer: String,
    origin: Origin,
    raw: Raw,
}

#[derive(Debug)]
enum Raw {
    Tcp(TcpStream, Option<Arc<Tls>>),
    Unix(UnixStream),
}

impl Incoming {
    /// Who it is, for people.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Who it is, for limits.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Goes through TLS's handshake, where the target asks for it; to be bounded by the caller.
    ///
    /// # Errors
    /// One line.
    pub async fn open(self) -> Result<Stream, String> {
        match self.raw {
            Raw::Tcp(stream, None) => Ok(Box::new(stream)),
            Raw::Unix(stream) => Ok(Box::new(stream)),
            Raw::Tcp(stream, Some(tls)) => {
                let accepting = TlsAcceptor::from(tls.server()).accept(stream);
                match accepting.await {
                    Ok(stream) => Ok(Box::new(stream)),
                    Err(error) => Err(explain(&error)),
                }
            }
        }
    }
}
