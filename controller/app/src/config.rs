//! Flags and the configuration file: every flag is a key of the file, a flag wins over the key.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde::Deserialize;
use session::{Target, TlsFiles};
use watch::{LeaseName, SourceSpec};

use crate::policylog::Place;

/// What the program runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub source: SourceSpec,
    pub kubeconfig: Option<PathBuf>,
    /// Where replicas elect their leader.
    pub lease: Option<LeaseName>,
    pub listen: Vec<Target>,
    pub tls: Option<TlsFiles>,
    pub metrics: Option<SocketAddr>,
    pub socket: PathBuf,
    pub state: PathBuf,
    pub settings: cluster::Settings,
    pub policy_log: Place,
    pub log: String,
}

/// Derives the flows of every node from Kubernetes objects and installs them over OpenFlow.
#[derive(Debug, Default, Parser)]
#[command(name = "sluice-controller", version, about)]
pub struct Flags {
    /// Read these settings first; every flag is a key, without the dashes
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    #[command(flatten)]
    values: Values,
}

/// What can be said by flag and by key.
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Values {
    /// Where objects are read from: kube, an API server, or dir:PATH, a folder of manifests
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// How to reach the API server; left out, by the service account of the pod this runs in
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Lease by which replicas elect who leads, or none for a single controller [default:
    /// sluice-system/sluice-controller]
    #[arg(long, value_name = "NAMESPACE/NAME")]
    lease: Option<String>,
    /// Where switches connect; repeatable [default: ptcp:6653:127.0.0.1]
    #[arg(long, value_name = "TARGET")]
    #[serde(default, deserialize_with = "one_or_many")]
    listen: Vec<String>,
    /// Our private key for pssl:, PEM; read again when it changes
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// Our certificate for pssl:, PEM, and those between it and the CA's
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Certificate of the CA that must have signed the switches', PEM
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// Where metrics are read, or none [default: 127.0.0.1:9652]
    #[arg(long, value_name = "HOST:PORT")]
    metrics: Option<String>,
    /// Socket that sluice-cni asks [default: /run/sluice/controller.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Where addresses given to pods are kept [default: /var/lib/sluice]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// MTU of overlay subnets that name none, bytes of IP [default: 1400]
    #[arg(long, value_name = "BYTES")]
    overlay_mtu: Option<u16>,
    /// MTU of underlay subnets that name none, bytes of IP [default: 1500]
    #[arg(long, value_name = "BYTES")]
    underlay_mtu: Option<u16>,
    /// Addresses that one node's pods have in a row: a power of two, or 1 for none [default: 64]
    #[arg(long, value_name = "ADDRESSES")]
    address_block: Option<u32>,
    /// Where connections are written down that policies with sluice.io/log decide about: a file, or
    /// stdout [default: stdout]
    #[arg(long, value_name = "FILE")]
    policy_log: Option<PathBuf>,
    /// Records of the policy log that one node may cause; what is more is counted [default: 100]
    #[arg(long, value_name = "RECORDS-PER-SECOND")]
    policy_log_rate: Option<u32>,
    /// What is logged: error, warn, info, debug, trace, or by module [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a target or a list of targets")]
    enum Either {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Either::deserialize(from)? {
        Either::One(one) => vec![one],
        Either::Many(many) => many,
    })
}

/// Used wrongly; the text says what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

impl Flags {
    /// Joins file and flags, and checks every value.
    pub fn resolve(self) -> Result<Config, UsageError> {
        let file = match &self.config {
            Some(path) => read(path)?,
            None => Values::default(),
        };
        let given = self.values;
        let source = given.source.or(file.source).ok_or_else(|| {
            UsageError(
                "--source is missing: say where objects are read from, kube or dir:PATH".into(),
            )
        })?;
        let source: SourceSpec = source.parse().map_err(|e| usage("source", &e))?;
        let kubeconfig = given.kubeconfig.or(file.kubeconfig);
        if kubeconfig.is_some() && source != SourceSpec::Kube {
            return Err(UsageError(
                "--kubeconfig is for --source kube; leave it out, or read from the API server"
                    .into(),
            ));
        }
        let lease = lease(given.lease.or(file.lease), &source)?;
        let mut listen = if given.listen.is_empty() {
            file.listen
        } else {
            given.listen
        };
        if listen.is_empty() {
            listen.push("ptcp:6653:127.0.0.1".into());
        }
        let listen = listen.iter().map(|text| passive(text));
        let listen: Vec<Target> = listen.collect::<Result<_, _>>()?;
        let tls = TlsFiles::from_options(
            given.private_key.or(file.private_key),
            given.certificate.or(file.certificate),
            given.ca_cert.or(file.ca_cert),
        );
        let metrics = given.metrics.or(file.metrics);
        let metrics = metrics.unwrap_or_else(|| "127.0.0.1:9652".into());
        let metrics = match metrics.as_str() {
            "none" => None,
            address => Some(address.parse().map_err(|_| {
                UsageError(format!(
                    "--metrics {address}: write it like 127.0.0.1:9652, or none"
                ))
            })?),
        };
        let default = cluster::Settings::default();
        let overlay_mtu = given.overlay_mtu.or(file.overlay_mtu);
        let underlay_mtu = given.underlay_mtu.or(file.underlay_mtu);
        let socket = given.socket.or(file.socket);
        let state = given.state.or(file.state);
        let written_first = source == SourceSpec::Kube;
        Ok(Config {
            source,
            kubeconfig,
            lease,
            listen,
            tls: tls.map_err(UsageError)?,
            metrics,
            socket: socket.unwrap_or_else(|| cluster::podapi::DEFAULT_SOCKET.into()),
            state: state.unwrap_or_else(|| "/var/lib/sluice".into()),
            settings: cluster::Settings {
                overlay_mtu: mtu("overlay-mtu", overlay_mtu.unwrap_or(default.overlay_mtu))?,
                underlay_mtu: mtu("underlay-mtu", underlay_mtu.unwrap_or(default.underlay_mtu))?,
                written_first,
                policy_log_rate: log_rate(given.policy_log_rate.or(file.policy_log_rate))?,
                block_bits: block_bits(given.address_block.or(file.address_block))?,
            },
            policy_log: match given.policy_log.or(file.policy_log) {
                Some(path) if path.as_os_str() != "stdout" => Place::File(path),
                _ => Place::Stdout,
            },
            log: given.log.or(file.log).unwrap_or_else(|| "info".into()),
        })
    }
}

fn passive(text: &str) -> Result<Target, UsageError> {
    let target: Target = text.parse().map_err(|e| usage("listen", &e))?;
    match target.is_passive() {
        true => Ok(target.or_loopback()),
        false => Err(UsageError(format!(
            "--listen {text}: the switch connects to us, not we to it; write p{text}"
        ))),
    }
}

fn usage(flag: &str, error: &dyn std::fmt::Display) -> UsageError {
    UsageError(format!("--{flag} {error}"))
}

/// IPv4 needs 68 bytes (RFC 791), and 1280 for IPv6 (RFC 8200, 5) is checked by subnet.
fn mtu(flag: &str, value: u16) -> Result<u16, UsageError> {
    if (68..=9900).contains(&value) {
        Ok(value)
    } else {
        Err(UsageError(format!(
            "--{flag} {value}: give 68 to 9900 bytes"
        )))
    }
}

/// Only those who read from an API server elect anybody.
fn lease(given: Option<String>, source: &SourceSpec) -> Result<Option<LeaseName>, UsageError> {
    let kube = *source == SourceSpec::Kube;
    let text = match given {
        Some(text) if text == "none" => return Ok(None),
        Some(text) if !kube => {
            return Err(UsageError(format!(
                "--lease {text} is for --source kube; leave it out, or read from the API server"
            )));
        }
        Some(text) => text,
        None if kube => "sluice-system/sluice-controller".into(),
        None => return Ok(None),
    };
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok(Some(LeaseName {
                namespace: namespace.into(),
                name: name.into(),
            }))
        }
        _ => Err(UsageError(format!(
            "--lease {text}: write it like sluice-system/sluice-controller, or none"
        ))),
    }
}

/// A block of addresses as a power of two.
fn block_bits(addresses: Option<u32>) -> Result<u8, UsageError> {
    let Some(addresses) = addresses else {
        return Ok(cluster::Settings::default().block_bits);
    };
    if addresses.is_power_of_two() && addresses <= 65_536 {
        Ok(addresses.trailing_zeros() as u8)
    } else {
        Err(UsageError(format!(
            "--address-block {addresses}: give a power of two up to 65536, or 1 for no blocks"
        )))
    }
}

/// Packets a second of the meter in front of the controller.
fn log_rate(given: Option<u32>) -> Result<u32, UsageError> {
    match given {
        None => Ok(cluster::Settings::default().policy_log_rate),
        Some(rate) if (1..=10_000).contains(&rate) => Ok(rate),
        Some(rate) => Err(UsageError(format!(
            "--policy-log-rate {rate}: give 1 to 10000 records a second"
        ))),
    }
}

fn read(path: &Path) -> Result<Values, UsageError> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| {
        UsageError(format!(
            "--config {shown}: {e}; name a file that can be read"
        ))
    })?;
    toml::from_str(&text).map_err(|error| {
        let before = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = 1 + text.get(..before).map_or(0, |t| t.matches('\n').count());
        let message = error.message().replace('\n', " ");
        UsageError(format!("{shown}:{line}: {message}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(args: &[&str]) -> Result<Config, UsageError> {
        let args = ["sluice-controller"].iter().chain(args);
        Flags::try_parse_from(args).unwrap().resolve()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = file("source = 'dir:/a'\nlisten = 'punix:/x'\noverlay-mtu = 1300\n");
        let path = file.path().to_str().unwrap();
        let config = flags(&["--config", path, "--source", "dir:/b"]).unwrap();
        assert_eq!(config.source.to_string(), "dir:/b");
        assert_eq!(config.listen, ["punix:/x".parse().unwrap()]);
        assert_eq!(
            (config.settings.overlay_mtu, config.settings.underlay_mtu),
            (1300, 1500)
        );
        assert_eq!(config.metrics, Some("127.0.0.1:9652".parse().unwrap()));
    }

    #[test]
    fn every_flag_is_a_key() {
        use clap::CommandFactory;
        let command = Flags::command();
        let long = command.get_arguments().filter_map(|a| a.get_long());
        for name in long.filter(|name| *name != "config") {
            let is_number =
                name.ends_with("mtu") || name.ends_with("-rate") || name == "address-block";
            let value = if is_number { "1400" } else { "'x'" };
            toml::from_str::<Values>(&format!("{name} = {value}")).unwrap();
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_name_and_a_remedy() {
        let unknown = file("source = 'dir:/a'\n\nlissen = 'x'\n");
        let path = unknown.path().to_str().unwrap();
        let error = flags(&["--config", path]).unwrap_err().to_string();
        assert!(error.starts_with(&format!(
            "{path}:3: unknown field `lissen`, expected one of"
        )));
        for (args, says) in [
            (vec![], "--source is missing"),
            (
                vec!["--source", "dir:/a", "--kubeconfig", "x"],
                "is for --source kube",
            ),
            (vec!["--source", "x"], "dir:PATH"),
            (
                vec!["--source", "dir:/a", "--listen", "tcp:1.2.3.4:5"],
                "the switch connects to us",
            ),
            (
                vec!["--source", "dir:/a", "--ca-cert", "x"],
                "give --private-key and --certificate too",
            ),
            (
                vec!["--source", "dir:/a", "--lease", "a/b"],
                "--lease a/b is for --source kube",
            ),
            (
                vec!["--source", "kube", "--lease", "a"],
                "sluice-system/sluice-controller",
            ),
            (
                vec!["--source", "dir:/a", "--metrics", "9652"],
                "127.0.0.1:9652",
            ),
            (
                vec!["--source", "dir:/a", "--overlay-mtu", "10"],
                "68 to 9900",
            ),
            (
                vec!["--source", "dir:/a", "--policy-log-rate", "0"],
                "1 to 10000",
            ),
            (vec!["--config", "/nowhere"], "name a file that can be read"),
        ] {
            let error = flags(&args).unwrap_err().to_string();
            assert!(error.contains(says), "{args:?}: {error}");
        }
    }
}
