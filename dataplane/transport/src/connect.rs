//! Connecting to a target.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::{Stream, Target, Tls, explain};

/// Time for a connection to be made, TLS included, where the caller has no other opinion.
pub const CONNECT_TIME: Duration = Duration::from_secs(5);

/// No connection; one line.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The system says no.
    #[error("{0}")]
    Io(io::Error),
    /// Connected, but TLS failed.
    #[error("{}", explain(.0))]
    Tls(io::Error),
    /// Nobody answered in time.
    #[error("no connection within {} s", .0.as_secs_f32())]
    Late(Duration),
    /// `ssl:` without certificates.
    #[error("needs certificates: give --private-key, --certificate and --ca-cert")]
    NoCertificates,
    /// A target that is listened on.
    #[error("is a target to listen on; write it without the p")]
    Passive,
}

/// Connects, within `limit`.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(
    target: &Target,
    tls: Option<&Arc<Tls>>,
    limit: Duration,
) -> Result<Stream, ConnectError> {
    let late = |_| ConnectError::Late(limit);
    timeout(limit, establish(target, tls)).await.map_err(late)?
}

async fn establish(target: &Target, tls: Option<&Arc<Tls>>) -> Result<Stream, ConnectError> {
    match target {
        Target::Unix(path) => {
            let stream = UnixStream::connect(path).await;
            Ok(Box::new(stream.map_err(ConnectError::Io)?))
        }
        Target::Tcp {
            host,
            port,
            tls: wanted,
        } => {
            let tls = match (wanted, tls) {
                (true, None) => return Err(ConnectError::NoCertificates),
                (true, Some(tls)) => Some(tls.client()),
                (false, _) => None,
            };
            let stream = TcpStream::connect((host.as_str(), *port)).await;
            let stream = stream.map_err(ConnectError::Io)?;
            // Messages are small and waited for.
            drop(stream.set_nodelay(true));
            let Some(config) = tls else {
                return Ok(Box::new(stream));
            };
            let connecting = TlsConnector::from(config).connect(server_name(host), stream);
            let stream = connecting.await.map_err(ConnectError::Tls)?;
            Ok(Box::new(stream))
        }
        Target::PassiveTcp { .. } | Target::PassiveUnix(_) => Err(ConnectError::Passive),
    }
}

/// What is told to the server as its name; it is not checked against the certificate.
pub(crate) fn server_name(host: &str) -> ServerName<'static> {
    ServerName::try_from(host.to_owned())
        .unwrap_or_else(|_| ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()))
}
