//! What the configuration says about OpenFlow connections.

use std::path::PathBuf;
use std::time::Duration;

use agent::{FailMode, Options, PacketInLimit, parse_protocols};
use clap::Args;
use transport::TlsFiles;

/// What can be said by flag and by key of the file; the names are Open vSwitch's where it has them.
#[derive(Debug, Default, Args)]
pub struct Connections {
    /// OpenFlow versions that may be agreed on, e.g. OpenFlow13,OpenFlow15 [default: all]
    #[arg(long, value_name = "LIST")]
    pub protocols: Option<String>,
    /// Our private key for ssl: and pssl:, PEM; read again when it changes
    #[arg(long, value_name = "FILE")]
    pub private_key: Option<PathBuf>,
    /// Our certificate for ssl: and pssl:, PEM, and those between it and the CA's
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// Certificate of the CA that must have signed the peer's, PEM
    #[arg(long, value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,
    /// Silence after which a peer is asked for a sign of life, and as long again until it counts
    /// as gone, ms; 0: never [default: 5000]
    #[arg(long, value_name = "MS")]
    pub inactivity_probe: Option<u64>,
    /// Longest pause between attempts to connect to a controller, ms [default: 8000]
    #[arg(long, value_name = "MS")]
    pub max_backoff: Option<u64>,
    /// Without a controller for three probe intervals: secure (what the tables say) or standalone
    /// (also switch by MAC address) [default: secure]
    #[arg(long, value_name = "MODE")]
    pub fail_mode: Option<String>,
    /// Packets per second to a controller; 0: no limit [default: 10000]
    #[arg(long, value_name = "N")]
    pub controller_rate_limit: Option<u32>,
    /// Packets that may go to a controller at once [default: a quarter of the rate]
    #[arg(long, value_name = "N")]
    pub controller_burst_limit: Option<u32>,
    /// Connections at a time on each --listen target [default: 512]
    #[arg(long, value_name = "N")]
    pub max_connections: Option<usize>,
    /// Of these from one address or, over a Unix socket, from one user [default: 128]
    #[arg(long, value_name = "N")]
    pub max_connections_per_peer: Option<usize>,
}

impl Connections {
    /// Each value of `self`, or else that of `other`.
    pub fn or(self, other: Connections) -> Connections {
        Connections {
            protocols: self.protocols.or(other.protocols),
            private_key: self.private_key.or(other.private_key),
            certificate: self.certificate.or(other.certificate),
            ca_cert: self.ca_cert.or(other.ca_cert),
            inactivity_probe: self.inactivity_probe.or(other.inactivity_probe),
            max_backoff: self.max_backoff.or(other.max_backoff),
            fail_mode: self.fail_mode.or(other.fail_mode),
            controller_rate_limit: self.controller_rate_limit.or(other.controller_rate_limit),
            controller_burst_limit: self.controller_burst_limit.or(other.controller_burst_limit),
            max_connections: self.max_connections.or(other.max_connections),
            max_connections_per_peer: self
                .max_connections_per_peer
                .or(other.max_connections_per_peer),
        }
    }

    /// Checks every value. The certificates' files are not read yet.
    pub fn resolve(self) -> Result<(Options, Option<TlsFiles>), String> {
        let files = TlsFiles::from_options(self.private_key, self.certificate, self.ca_cert)?;
        let limit = match self.controller_rate_limit {
            Some(rate) => PacketInLimit::of(rate),
            None => PacketInLimit::default(),
        };
        let most = |name: &str, value: Option<usize>, default: usize| match value {
            Some(0) => Err(format!("{name} 0: nobody could connect; give 1 or more")),
            value => Ok(value.unwrap_or(default)),
        };
        let default = Options::default();
        let milliseconds =
            |value: Option<u64>, default| value.map_or(default, Duration::from_millis);
        let max_backoff = milliseconds(self.max_backoff, default.max_backoff);
        if max_backoff < Duration::from_millis(100) {
            return Err("max-backoff: at least 100 ms".into());
        }
        let options = Options {
            versions: parse_protocols(self.protocols.as_deref().unwrap_or_default())?,
            max_backoff,
            inactivity_probe: milliseconds(self.inactivity_probe, default.inactivity_probe),
            fail_mode: match self.fail_mode {
                Some(mode) => mode.parse()?,
                None => FailMode::default(),
            },
            per_listener: most(
                "max-connections",
                self.max_connections,
                default.per_listener,
            )?,
            per_peer: most(
                "max-connections-per-peer",
                self.max_connections_per_peer,
                default.per_peer,
            )?,
            packet_in: PacketInLimit {
                burst: self.controller_burst_limit.unwrap_or(limit.burst).max(1),
                ..limit
            },
            ..default
        };
        Ok((options, files))
    }
}
