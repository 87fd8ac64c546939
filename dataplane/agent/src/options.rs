//! How OpenFlow connections are kept.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use openflow::Version;
use transport::Tls;

/// Options of all OpenFlow connections. The defaults are Open vSwitch's where it has such an
/// option (ovs-vswitchd.conf.db(5), table Controller).
#[derive(Clone, Debug)]
pub struct Options {
    /// Versions that may be agreed on.
    pub versions: Vec<Version>,
    /// Certificates for `ssl:` and `pssl:`.
    pub tls: Option<Arc<Tls>>,
    /// Longest pause between attempts to connect to a controller.
    pub max_backoff: Duration,
    /// Silence after which a peer is asked for a sign of life; after as much again it counts as
    /// gone. Zero: never.
    pub inactivity_probe: Duration,
    /// What to do while no controller can be reached.
    pub fail_mode: FailMode,
    /// Time for a connection that somebody made to go through TLS and hello.
    pub handshake: Duration,
    /// Most connections at a time on each target that is listened on.
    pub per_listener: usize,
    /// Most of them from one address, or from one user over a Unix socket.
    pub per_peer: usize,
    /// Bytes that may wait to be read by a peer. Beyond it nothing is sent that was not asked for;
    /// from half of it on, no further requests are read.
    pub queue: usize,
    /// Time in which a peer must read something of what waits for it.
    pub stall: Duration,
    /// Packets per second that each controller gets at most.
    pub packet_in: PacketInLimit,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            versions: protocols(&[]),
            tls: None,
            max_backoff: Duration::from_secs(8),
            inactivity_probe: Duration::from_secs(5),
            fail_mode: FailMode::Secure,
            handshake: Duration::from_secs(5),
            per_listener: 512,
            per_peer: 128,
            queue: 1 << 20,
            stall: Duration::from_secs(60),
            packet_in: PacketInLimit::default(),
        }
    }
}

impl Options {
    /// The newest version allowed: that of a hello.
    pub(crate) fn newest(&self) -> Version {
        self.versions.iter().max().copied().unwrap_or(Version::V1_3)
    }
}

/// What happens to packets without a flow while no controller can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailMode {
    /// What the tables say, and nothing else.
    #[default]
    Secure,
    /// As on an ordinary learning switch.
    Standalone,
}

impl FromStr for FailMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "secure" => Ok(FailMode::Secure),
            "standalone" => Ok(FailMode::Standalone),
            other => Err(format!("fail-mode '{other}': write secure or standalone")),
        }
    }
}

/// A limit of packets to a controller (`controller_rate_limit`, `controller_burst_limit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketInLimit {
    /// Packets per second; 0: no limit.
    pub rate: u32,
    /// Packets that may come at once, and that may wait when more come than may go.
    pub burst: u32,
}

impl Default for PacketInLimit {
    /// Open vSwitch has no limit unless told; ours keeps one controller from costing more than a
    /// part of the control thread's time.
    fn default() -> Self {
        PacketInLimit::of(10_000)
    }
}

impl PacketInLimit {
    /// A limit with a quarter of the rate as its burst, as Open vSwitch has it.
    pub fn of(rate: u32) -> Self {
        PacketInLimit {
            rate,
            burst: (rate / 4).max(1),
        }
    }
}

/// Versions of names as Open vSwitch spells them: `OpenFlow13`, `OpenFlow1.3`; of none, all that
/// the codec knows from 1.3 on.
///
/// # Errors
/// The name that is none, or is of a version that is not spoken.
pub fn parse_protocols(text: &str) -> Result<Vec<Version>, String> {
    let mut versions = Vec::new();
    let words = text.split([',', ' ', '\t']).filter(|word| !word.is_empty());
    for word in words {
        let known = |version: &&Version| {
            let dotted = version.to_string();
            let plain = dotted.replace('.', "");
            word.strip_prefix("OpenFlow")
                .is_some_and(|number| number == dotted || number == plain)
        };
        match protocols(&[]).iter().find(known) {
            Some(version) => versions.push(*version),
            None => {
                let spoken: Vec<String> = protocols(&[])
                    .iter()
                    .map(|version| format!("OpenFlow{}", version.to_string().replace('.', "")))
                    .collect();
                return Err(format!(
                    "protocols '{word}': this switch speaks {}",
                    spoken.join(", ")
                ));
            }
        }
    }
    Ok(protocols(&versions))
}

fn protocols(wanted: &[Version]) -> Vec<Version> {
    let spoken = Version::SUPPORTED.iter().copied();
    spoken
        .filter(|version| *version >= Version::V1_3)
        .filter(|version| wanted.is_empty() || wanted.contains(version))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_spelled_as_open_vswitch_does() {
        assert_eq!(parse_protocols("OpenFlow13"), Ok(vec![Version::V1_3]));
        assert_eq!(parse_protocols("OpenFlow1.3,"), Ok(vec![Version::V1_3]));
        assert_eq!(parse_protocols(""), Ok(Options::default().versions));
        for wrong in ["OpenFlow10", "13", "OpenFlow13,OpenFlow99"] {
            let why = parse_protocols(wrong).unwrap_err();
            assert!(why.contains("speaks OpenFlow13"), "{why}");
        }
    }
}
