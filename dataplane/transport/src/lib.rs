//! How OpenFlow's bytes travel: targets as Open vSwitch spells them, listeners, connections, TLS.
//!
//! A [`Target`] is a word of the configuration. [`Listener::bind`] and [`connect`] make a
//! [`Stream`] of it, in clear or through TLS ([`Tls`], both sides' certificates checked), and
//! [`blocking::connect`] does the same for a program without a runtime. [`Backoff`] says how long
//! to wait before the next attempt. Nothing here knows OpenFlow.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod backoff;
pub mod blocking;
mod connect;
mod explain;
mod listener;
mod stamp;
mod target;
mod tls;
mod unix;
mod verify;

pub use backoff::Backoff;
pub use connect::{CONNECT_TIME, ConnectError, connect};
pub use explain::explain;
pub use listener::{Incoming, ListenError, Listener, Origin};
pub use target::{Target, TargetError};
pub use tls::{Tls, TlsError, TlsFiles};
pub use unix::listen as listen_unix;

use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes to and from a peer.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection, whatever carries it.
pub type Stream = Box<dyn Io>;
