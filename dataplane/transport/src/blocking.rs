//! Connecting without a runtime.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

use crate::connect::server_name;
use crate::{ConnectError, Target, Tls};

/// Bytes to and from a peer.
pub trait Io: Read + Write + Send {}
impl<T: Read + Write + Send> Io for T {}

/// A connection, whatever carries it.
pub type Stream = Box<dyn Io>;

/// Connects; that, and each later read and write, may take `limit`.
///
/// # Errors
/// See [`ConnectError`].
pub fn connect(
    target: &Target,
    tls: Option<&Arc<Tls>>,
    limit: Duration,
) -> Result<Stream, ConnectError> {
    match target {
        Target::Unix(path) => {
            let stream = UnixStream::connect(path).map_err(ConnectError::Io)?;
            let timed = stream
                .set_read_timeout(Some(limit))
                .and_then(|()| stream.set_write_timeout(Some(limit)));
            timed.map_err(ConnectError::Io)?;
            Ok(Box::new(stream))
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
            let mut stream = tcp(host, *port, limit).map_err(ConnectError::Io)?;
            let Some(config) = tls else {
                return Ok(Box::new(stream));
            };
            let tls_error = |error| ConnectError::Tls(io::Error::other(error));
            let mut session =
                ClientConnection::new(config, server_name(host)).map_err(tls_error)?;
            while session.is_handshaking() {
                session
                    .complete_io(&mut stream)
                    .map_err(ConnectError::Tls)?;
            }
            Ok(Box::new(StreamOwned::new(session, stream)))
        }
        Target::PassiveTcp { .. } | Target::PassiveUnix(_) => Err(ConnectError::Passive),
    }
}

fn tcp(host: &str, port: u16, limit: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(stream) => {
                stream.set_read_timeout(Some(limit))?;
                stream.set_write_timeout(Some(limit))?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
