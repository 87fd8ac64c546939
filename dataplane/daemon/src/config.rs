//! Flags and the configuration file: the same keys, and a flag wins over the file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use agent::{Options, Target};
use clap::Parser;
use ports::PortSpec;
use serde::Deserialize;
use transport::TlsFiles;
use worker::{Poll, Vtep};

use crate::balance::AutoBalance;
use crate::connections::Connections;
use crate::cpus;
use crate::fragments::Fragments;
use crate::sizes::Sizes;
use crate::tracking::{Resolved, Tracking};

/// The switch of a node: forwards packets between ports by OpenFlow tables, on DPDK.
#[derive(Debug, Default, Parser)]
#[command(name = "sluice-dataplane", version)]
struct Flags {
    /// Read these keys from a TOML file too; a flag wins over its key
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Datapath id, decimal or 0x...; by default made of the name
    #[arg(long, value_name = "N")]
    dpid: Option<String>,
    /// The node's name (dp_desc); by default the host's
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A port: NAME[,ofport=N|LOCAL][,closed=true][,mtu=N][,vlan=N][,rate=10g][,burst=BYTES][,queues=0+1:max=1g/min=100m/prio=1/weight=2][,rxq=N][,spread=true],dev=DEVARGS, where DEVARGS is everything after dev=, as
    /// DPDK spells it, or tap[,iface=IF], or veth,iface=IF, or (for measurements) generate[,mode=M][,flows=N][,rate=PPS]..., sink, echo; or
    /// NAME[,ofport=N],tunnel=geneve|vxlan[,remote=IP|flow][,key=VNI|flow]
    /// [,tos=N|inherit][,ttl=N|inherit][,df_default=true|false][,csum=true|false]
    #[arg(long, value_name = "SPEC")]
    port: Vec<String>,
    /// This node's tunnel endpoint: ADDRESS/LEN,port=UPLINK[,vlan=N][,gateway=IP][,mac=MAC]
    #[arg(long, value_name = "SPEC")]
    vtep: Vec<String>,
    /// Listen for OpenFlow controllers: ptcp:[PORT][:HOST], pssl:[PORT][:HOST] or punix:PATH
    /// [default: punix:/run/sluice/br.mgmt, unless there is a controller]
    #[arg(long, value_name = "TARGET")]
    listen: Vec<String>,
    /// Connect to an OpenFlow controller: tcp:HOST[:PORT], ssl:HOST[:PORT] or unix:PATH
    #[arg(long, value_name = "TARGET")]
    controller: Vec<String>,
    /// Cores for workers, e.g. 1 or 2-5; by default one worker that is not pinned
    #[arg(long, value_name = "LIST")]
    cpus: Option<String>,
    /// Most MAC addresses that the NORMAL action learns [default: 8192]
    #[arg(long, value_name = "N")]
    mac_table_size: Option<u32>,
    /// Seconds after which it forgets one that sends nothing [default: 300]
    #[arg(long, value_name = "SECONDS")]
    mac_aging_time: Option<u32>,
    /// How workers wait for packets: adaptive or busy [default: adaptive]
    #[arg(long, value_name = "MODE")]
    poll: Option<String>,
    /// Flows that each worker's cache holds, rounded up to a power of two; 0: every packet goes
    /// through the tables [default: 1048576]
    #[arg(long, value_name = "FLOWS")]
    cache_entries: Option<usize>,
    /// Packet memory in MiB [default: 256]
    #[arg(long, value_name = "MiB")]
    memory: Option<u32>,
    /// Run without hugepages
    #[arg(long)]
    no_huge: bool,
    /// More EAL arguments, passed on
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    eal: Option<String>,
    /// Admin socket [default: /run/sluice/admin.sock]
    #[arg(long, value_name = "PATH")]
    admin: Option<PathBuf>,
    /// Serve /metrics there, or none [default: 127.0.0.1:9651]
    #[arg(long, value_name = "HOST:PORT")]
    metrics: Option<String>,
    #[command(flatten)]
    connections: Connections,
    #[command(flatten)]
    sizes: Sizes,
    #[command(flatten)]
    fragments: Fragments,
    #[command(flatten)]
    tracking: Tracking,
    #[command(flatten)]
    balance: AutoBalance,
}

/// One value or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a text or a list of texts")]
enum Texts {
    One(String),
    Many(Vec<String>),
}

/// A number, or a text with one.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a number, or a text like \"0x1a\"")]
enum Number {
    Number(u64),
    Text(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    dpid: Option<Number>,
    name: Option<String>,
    port: Option<Texts>,
    vtep: Option<Texts>,
    listen: Option<Texts>,
    controller: Option<Texts>,
    cpus: Option<Number>,
    mac_table_size: Option<u32>,
    mac_aging_time: Option<u32>,
    poll: Option<String>,
    cache_entries: Option<usize>,
    memory: Option<u32>,
    no_huge: Option<bool>,
    eal: Option<String>,
    admin: Option<PathBuf>,
    metrics: Option<String>,
    protocols: Option<String>,
    private_key: Option<PathBuf>,
    certificate: Option<PathBuf>,
    ca_cert: Option<PathBuf>,
    inactivity_probe: Option<u64>,
    max_backoff: Option<u64>,
    fail_mode: Option<String>,
    controller_rate_limit: Option<u32>,
    controller_burst_limit: Option<u32>,
    max_connections: Option<usize>,
    max_connections_per_peer: Option<usize>,
    max_flows: Option<usize>,
    max_flows_per_table: Option<u32>,
    max_groups: Option<usize>,
    max_meters: Option<usize>,
    fragment_datagrams: Option<usize>,
    fragment_packets: Option<usize>,
    fragment_memory: Option<usize>,
    fragment_timeout: Option<u64>,
    ct_max: Option<u32>,
    ct_half_open: Option<u32>,
    ct_half_open_per_source: Option<u32>,
    ct_zone_limit: Option<Texts>,
    ct_tcp: Option<String>,
    ct_pickup: Option<bool>,
    ct_timeout: Option<Texts>,
    auto_balance: Option<String>,
    auto_balance_interval: Option<u64>,
    auto_balance_load: Option<u8>,
    auto_balance_improvement: Option<u8>,
}

impl Texts {
    fn list(self) -> Vec<String> {
        match self {
            Texts::One(text) => vec![text],
            Texts::Many(texts) => texts,
        }
    }
}

impl File {
    /// What it says about moving ports between cores.
    fn balance(&mut self) -> AutoBalance {
        AutoBalance {
            auto_balance: self.auto_balance.take(),
            auto_balance_interval: self.auto_balance_interval,
            auto_balance_load: self.auto_balance_load,
            auto_balance_improvement: self.auto_balance_improvement,
        }
    }

    /// What it says about connection tracking.
    fn tracking(&mut self) -> Tracking {
        Tracking {
            ct_max: self.ct_max,
            ct_half_open: self.ct_half_open,
            ct_half_open_per_source: self.ct_half_open_per_source,
            ct_zone_limit: self.ct_zone_limit.take().map_or_else(Vec::new, Texts::list),
            ct_tcp: self.ct_tcp.take(),
            ct_pickup: self.ct_pickup,
            ct_timeout: self.ct_timeout.take().map_or_else(Vec::new, Texts::list),
        }
    }

    /// What it says about the tables' size.
    fn sizes(&self) -> Sizes {
        Sizes {
            max_flows: self.max_flows,
            max_flows_per_table: self.max_flows_per_table,
            max_groups: self.max_groups,
            max_meters: self.max_meters,
        }
    }

    /// What it says about fragments.
    fn fragments(&self) -> Fragments {
        Fragments {
            fragment_datagrams: self.fragment_datagrams,
            fragment_packets: self.fragment_packets,
            fragment_memory: self.fragment_memory,
            fragment_timeout: self.fragment_timeout,
        }
    }

    /// What it says about OpenFlow connections.
    fn connections(&mut self) -> Connections {
        Connections {
            protocols: self.protocols.take(),
            private_key: self.private_key.take(),
            certificate: self.certificate.take(),
            ca_cert: self.ca_cert.take(),
            inactivity_probe: self.inactivity_probe.take(),
            max_backoff: self.max_backoff.take(),
            fail_mode: self.fail_mode.take(),
            controller_rate_limit: self.controller_rate_limit.take(),
            controller_burst_limit: self.controller_burst_limit.take(),
            max_connections: self.max_connections.take(),
            max_connections_per_peer: self.max_connections_per_peer.take(),
        }
    }
}

/// What to run.
#[derive(Debug)]
pub struct Config {
    /// Datapath id.
    pub dpid: u64,
    /// The node's name.
    pub name: String,
    /// Ports, in order.
    pub ports: Vec<PortSpec>,
    /// Tunnel endpoints.
    pub vteps: Vec<Vtep>,
    /// OpenFlow targets, passive and active.
    pub targets: Vec<Target>,
    /// How OpenFlow connections are kept.
    pub openflow: Options,
    /// Certificates for those through TLS.
    pub tls: Option<TlsFiles>,
    /// How much the tables may hold.
    pub sizes: Sizes,
    /// How connections are tracked.
    pub tracking: Resolved,
    /// How much is kept of fragments that are tracked.
    pub fragments: worker::FragmentLimits,
    /// When ports go to other cores.
    pub balance: Option<worker::Balance>,
    /// Cores of workers; empty: one worker, not pinned.
    pub cpus: Vec<usize>,
    /// Most MAC addresses that NORMAL learns.
    pub mac_table_size: u32,
    /// Seconds after which it forgets one.
    pub mac_aging_time: u32,
    /// How workers wait.
    pub poll: Poll,
    /// Flows that each worker's cache holds.
    pub cache_entries: usize,
    /// Packet memory, MiB.
    pub memory: u32,
    /// No hugepages.
    pub no_huge: bool,
    /// More EAL arguments.
    pub eal: Vec<String>,
    /// Admin socket.
    pub admin: PathBuf,
    /// Where `/metrics` is served.
    pub metrics: Option<String>,
}

/// Why there is no configuration.
#[derive(Debug, PartialEq, Eq)]
pub enum Usage {
    /// Help or version was asked for.
    Help(String),
    /// Used wrongly; one line.
    Wrong(String),
}

const DEFAULT_LISTEN: &str = "punix:/run/sluice/br.mgmt";
const DEFAULT_METRICS: &str = "127.0.0.1:9651";
const DEFAULT_MEMORY: u32 = 256;
/// Least memory that a port's queues fit in.
const LEAST_MEMORY: u32 = 64;

/// Reads flags and, where there is one, the file.
pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Config, Usage> {
    let flags = Flags::try_parse_from(arguments).map_err(|error| {
        use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
        match error.kind() {
            DisplayHelp | DisplayVersion => Usage::Help(error.render().to_string()),
            _ => Usage::Wrong(one_line(&error.render().to_string())),
        }
    })?;
    let file = match &flags.config {
        Some(path) => read_file(path)?,
        None => File::default(),
    };
    merge(flags, file).map_err(Usage::Wrong)
}

/// What clap says, without usage and hints.
fn one_line(error: &str) -> String {
    let lines = error.lines().map(str::trim);
    let said: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
    let said = said.join(" ");
    let said = said.strip_prefix("error: ").unwrap_or(&said);
    format!("{said}; see --help")
}

fn read_file(path: &Path) -> Result<File, Usage> {
    let wrong = |why: String| Usage::Wrong(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    toml::from_str(&text).map_err(|error: toml::de::Error| {
        let line = error.span().map(|span| {
            let before = text.get(..span.start).unwrap_or_default();
            let key = text.get(span.clone()).unwrap_or_default();
            let key = key.lines().next().unwrap_or_default();
            format!("line {}, `{key}`: ", before.matches('\n').count() + 1)
        });
        let why = error.message().replace('\n', " ");
        wrong(format!("{}{why}", line.unwrap_or_default()))
    })
}

fn merge(flags: Flags, mut file: File) -> Result<Config, String> {
    let (openflow, tls) = flags.connections.or(file.connections()).resolve()?;
    let sizes = flags.sizes.or(file.sizes()).check()?;
    let tracking = flags.tracking.or(file.tracking()).resolve()?;
    let balance = flags.balance.or(file.balance()).resolve()?;
    let fragments = flags.fragments.or(file.fragments()).limits()?;
    let name = match flags.name.or(file.name) {
        Some(name) => name,
        None => host_name(),
    };
    if name.is_empty() || name.len() > 255 {
        return Err(format!("name '{name}': 1 to 255 bytes"));
    }
    let dpid = match flags.dpid.map(Number::Text).or(file.dpid) {
        Some(dpid) => parse_dpid(&dpid)?,
        None => dpid_for(&name),
    };
    let texts = |flag: Vec<String>, key: Option<Texts>| match (flag.is_empty(), key) {
        (true, Some(texts)) => texts.list(),
        (_, _) => flag,
    };
    let ports = texts(flags.port, file.port);
    let ports = ports.iter().map(|text| text.parse().map_err(text_of));
    let ports: Vec<PortSpec> = ports.collect::<Result<_, _>>()?;
    let vteps = texts(flags.vtep, file.vtep);
    let vteps = vteps.iter().map(|text| text.parse().map_err(text_of));
    let vteps: Vec<Vtep> = vteps.collect::<Result<_, _>>()?;
    check_names(&ports, &vteps)?;

    let listen = texts(flags.listen, file.listen);
    let controller = texts(flags.controller, file.controller);
    let targets = targets(listen, &controller)?;
    let cpus = match (flags.cpus, file.cpus) {
        (Some(list), _) | (None, Some(Number::Text(list))) => cpus::parse(&list)?,
        (None, Some(Number::Number(cpu))) => cpus::parse(&cpu.to_string())?,
        (None, None) => Vec::new(),
    };
    let poll = match flags.poll.or(file.poll).as_deref() {
        None | Some("adaptive") => Poll::default(),
        Some("busy") => Poll::Busy,
        Some(other) => return Err(format!("poll '{other}': write adaptive or busy")),
    };
    let mac_table_size = flags.mac_table_size.or(file.mac_table_size).unwrap_or(8192);
    if !(10..=1 << 20).contains(&mac_table_size) {
        return Err(format!("mac-table-size {mac_table_size}: 10 to 1048576"));
    }
    let mac_aging_time = flags.mac_aging_time.or(file.mac_aging_time).unwrap_or(300);
    if !(15..=3600).contains(&mac_aging_time) {
        return Err(format!(
            "mac-aging-time {mac_aging_time}: 15 to 3600 seconds"
        ));
    }
    let cache_entries = flags.cache_entries.or(file.cache_entries);
    let cache_entries = cache_entries.unwrap_or_else(|| worker::Config::default().cache_entries);
    if cache_entries > worker::MAX_CACHE_ENTRIES {
        return Err(format!(
            "cache-entries {cache_entries}: at most {}; one takes about 80 bytes per worker",
            worker::MAX_CACHE_ENTRIES
        ));
    }
    let memory = flags.memory.or(file.memory).unwrap_or(DEFAULT_MEMORY);
    if memory < LEAST_MEMORY {
        return Err(format!("memory {memory}: at least {LEAST_MEMORY} MiB"));
    }
    let eal = flags.eal.or(file.eal).unwrap_or_default();
    let metrics = flags.metrics.or(file.metrics);
    Ok(Config {
        dpid,
        name,
        ports,
        vteps,
        targets,
        openflow,
        tls,
        sizes,
        tracking,
        fragments,
        balance,
        cpus,
        mac_table_size,
        mac_aging_time,
        poll,
        cache_entries,
        memory,
        no_huge: flags.no_huge || file.no_huge.unwrap_or(false),
        eal: eal.split_whitespace().map(str::to_owned).collect(),
        admin: flags
            .admin
            .or(file.admin)
            .unwrap_or_else(|| admin::DEFAULT_PATH.into()),
        metrics: match metrics.as_deref() {
            Some("none") => None,
            Some(address) => Some(check_address(address)?),
            None => Some(DEFAULT_METRICS.to_owned()),
        },
    })
}

fn text_of(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn targets(listen: Vec<String>, controller: &[String]) -> Result<Vec<Target>, String> {
    let listen = match listen.is_empty() && controller.is_empty() {
        true => vec![DEFAULT_LISTEN.to_owned()],
        false => listen,
    };
    let mut targets = Vec::new();
    for (texts, passive) in [(&listen[..], true), (controller, false)] {
        for text in texts {
            let target: Target = text.parse().map_err(text_of)?;
            if target.is_passive() != passive {
                let right = if passive { "--controller" } else { "--listen" };
                return Err(format!("target '{text}': that is one for {right}"));
            }
            targets.push(target);
        }
    }
    Ok(targets)
}

/// Names and numbers are unique, and an endpoint's uplink is one of the ports.
fn check_names(ports: &[PortSpec], vteps: &[Vtep]) -> Result<(), String> {
    for (at, port) in ports.iter().enumerate() {
        for other in ports.iter().take(at) {
            if other.name == port.name {
                return Err(format!(
                    "port {}: given twice; choose another name",
                    port.name
                ));
            }
            if other.ofport.is_some() && other.ofport == port.ofport {
                return Err(format!(
                    "port {}: has the same ofport as port {}; choose another number",
                    port.name, other.name
                ));
            }
        }
    }
    for vtep in vteps {
        if !ports.iter().any(|port| port.name == vtep.port) {
            return Err(format!(
                "vtep {}: there is no port {}; name one of the --port options",
                vtep.address, vtep.port
            ));
        }
    }
    Ok(())
}

fn check_address(address: &str) -> Result<String, String> {
    let wrong = || format!("metrics '{address}': write HOST:PORT, like 127.0.0.1:9651, or none");
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    match port.parse::<u16>() {
        Ok(port) if port != 0 && !host.is_empty() => Ok(address.to_owned()),
        _ => Err(wrong()),
    }
}

fn parse_dpid(dpid: &Number) -> Result<u64, String> {
    let text = match dpid {
        Number::Number(dpid) => return Ok(*dpid),
        Number::Text(text) => text,
    };
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("dpid '{text}': write a number, like 1 or 0x1a"))
}

/// 48 bits of a name's hash, so that two nodes differ without being told.
fn dpid_for(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash >> 16).max(1)
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "sluice".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Config, Usage> {
        let words = words.split_whitespace();
        read(
            std::iter::once("sluice-dataplane")
                .chain(words)
                .map(OsString::from),
        )
    }

    fn wrong(words: &str) -> String {
        match parse(words) {
            Err(Usage::Wrong(why)) => {
                assert!(!why.contains('\n'), "{why}");
                why
            }
            other => panic!("{words}: {other:?}"),
        }
    }

    #[test]
    fn the_contracts_flags_are_understood() {
        let config = parse(
            "--dpid 0x1a --name n1 --port uplink0,ofport=1,dev=net_af_packet0,iface=eth1 \
             --port geneve0,ofport=2,tunnel=geneve --vtep 172.30.0.1/24,port=uplink0 \
             --listen ptcp:6653:127.0.0.1 --controller tcp:10.0.0.1:6653 --cpus 1-2 --poll busy \
             --cache-entries 4096 --memory 128 --no-huge --eal --log-level=8 --admin /tmp/a.sock --metrics [::1]:9",
        )
        .unwrap();
        assert_eq!((config.dpid, config.name.as_str()), (0x1a, "n1"));
        assert_eq!(config.ports.len(), 2);
        assert_eq!(config.targets.len(), 2);
        assert_eq!((config.cpus, config.poll), (vec![1, 2], Poll::Busy));
        assert_eq!((config.memory, config.no_huge), (128, true));
        assert_eq!(config.cache_entries, 4096);
        assert_eq!(config.eal, ["--log-level=8"]);
        assert_eq!(config.metrics.as_deref(), Some("[::1]:9"));
        let plain = parse("--name n1").unwrap();
        assert_eq!(plain.targets, [DEFAULT_LISTEN.parse().unwrap()]);
        assert_ne!(plain.dpid, parse("--name n2").unwrap().dpid);
        assert!(matches!(parse("--help"), Err(Usage::Help(_))));
        assert!(matches!(parse("--version"), Err(Usage::Help(_))));
    }

    #[test]
    fn wrong_use_is_told_in_one_line() {
        for (words, hint) in [
            ("--colour red", "--colour"),
            ("--dpid x", "dpid 'x'"),
            ("--port p,dev=", "port 'p,dev='"),
            ("--port p,dev=tap --port p,dev=tap", "given twice"),
            (
                "--port p,ofport=1,dev=tap --port q,ofport=1,dev=tap",
                "same ofport as port p",
            ),
            ("--vtep 1.2.3.4/24,port=up", "no port up"),
            ("--vtep 1.2.3.4,port=up", "vtep"),
            ("--listen tcp:a", "one for --controller"),
            ("--controller ptcp:", "one for --listen"),
            ("--controller pssl:", "one for --listen"),
            ("--private-key k", "give --certificate and --ca-cert too"),
            ("--protocols OpenFlow10", "speaks OpenFlow13"),
            ("--fail-mode open", "secure or standalone"),
            ("--max-connections 0", "nobody could connect"),
            ("--max-backoff 5", "at least 100 ms"),
            ("--cpus 1-", "cpus '1-'"),
            ("--ct-max 0", "ct-max 0"),
            ("--ct-timeout udp=1", "no timeout 'udp'"),
            ("--poll lazy", "poll 'lazy'"),
            ("--cache-entries 99999999", "at most 67108864"),
            ("--memory 1", "at least 64"),
            ("--metrics here", "HOST:PORT"),
            ("--config /nonexistent.toml", "/nonexistent.toml"),
        ] {
            assert!(wrong(words).contains(hint), "{words}: {}", wrong(words));
        }
    }

    fn with_file(name: &str, text: &str, words: &str) -> Result<Config, Usage> {
        let path = std::env::temp_dir().join(format!("sluice-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let config = parse(&format!("--config {} {words}", path.display()));
        std::fs::remove_file(path).unwrap();
        config
    }

    #[test]
    fn what_is_a_flag_may_be_a_key_and_the_flag_wins() {
        let text = r#"
            dpid = "0x2"
            name = "file"
            port = ["p,ofport=1,dev=tap", "q,dev=tap"]
            vtep = "1.2.3.4/24,port=p"
            listen = "ptcp:6653"
            controller = ["tcp:a"]
            cpus = 1
            poll = "busy"
            memory = 100
            no-huge = true
            eal = "--no-pci -v"
            admin = "/tmp/x"
            metrics = "none"
            protocols = "OpenFlow13"
            inactivity-probe = 0
            max-backoff = 4000
            fail-mode = "standalone"
            controller-rate-limit = 400
            max-connections = 9
            max-connections-per-peer = 3
        "#;
        let config = with_file(
            "all",
            text,
            "--name flag --port r,dev=tap --vtep 1.1.1.1/8,port=r --max-connections 10",
        )
        .unwrap();
        assert_eq!((config.dpid, config.name.as_str()), (2, "flag"));
        assert_eq!(config.ports.len(), 1);
        assert_eq!(config.eal, ["--no-pci", "-v"]);
        assert_eq!((config.cpus, config.memory), (vec![1], 100));
        assert!(config.no_huge && config.metrics.is_none());
        let openflow = config.openflow;
        assert_eq!((openflow.per_listener, openflow.per_peer), (10, 3));
        assert_eq!(
            (openflow.packet_in.rate, openflow.packet_in.burst),
            (400, 100)
        );
        assert_eq!(openflow.fail_mode, agent::FailMode::Standalone);
        assert!(openflow.inactivity_probe.is_zero());
        assert_eq!(openflow.max_backoff.as_secs(), 4);
    }

    #[test]
    fn the_example_that_is_installed_is_understood_with_all_its_suggestions() {
        let folder = env!("CARGO_MANIFEST_DIR");
        let text =
            std::fs::read_to_string(format!("{folder}/../../deploy/dataplane.toml")).unwrap();
        let config = with_file("example", &text, "").unwrap();
        assert!(!config.ports.is_empty() && !config.targets.is_empty());
        let suggests = |line: &str| {
            let line = line.trim_start().strip_prefix("# ")?;
            let (key, _) = line.split_once(" = ")?;
            let is_key = key.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            (is_key || line.starts_with("\"uplink0,ofport=1,dev=net_af")).then(|| line.to_owned())
        };
        let all: Vec<String> = text
            .lines()
            .map(|line| suggests(line).unwrap_or_else(|| line.to_owned()))
            .map(|line| {
                line.replacen(
                    "# \"uplink0,ofport=1,dev=net_af",
                    "\"uplink0,ofport=1,dev=net_af",
                    1,
                )
            })
            .collect();
        let config = with_file("example-all", &all.join("\n"), "").unwrap();
        assert!(config.no_huge && config.vteps.len() == 1 && config.name == "node1");
    }

    #[test]
    fn every_flag_is_a_key_of_the_example_that_is_installed() {
        use clap::CommandFactory;
        let folder = env!("CARGO_MANIFEST_DIR");
        let example =
            std::fs::read_to_string(format!("{folder}/../../deploy/dataplane.toml")).unwrap();
        let command = Flags::command();
        let flags = command.get_arguments().filter_map(|flag| flag.get_long());
        for flag in flags.filter(|flag| *flag != "config") {
            // Of whatever type it is: it is known.
            if let Err(error) = toml::from_str::<File>(&format!("{flag} = []")) {
                assert!(!error.message().contains("unknown field"), "{error}");
            }
            let told = |line: &str| {
                let line = line.strip_prefix("# ").unwrap_or(line);
                line.strip_prefix(flag)
                    .is_some_and(|rest| rest.starts_with(" = "))
            };
            assert!(example.lines().any(told), "{flag}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_file_and_line() {
        let error = with_file("unknown", "dpid = 1\ncolour = \"red\"\n", "").unwrap_err();
        let Usage::Wrong(why) = error else { panic!() };
        assert!(
            why.contains("unknown.toml: line 2, `colour`: unknown field"),
            "{why}"
        );
        let error = with_file("type", "memory = \"much\"\n", "").unwrap_err();
        let Usage::Wrong(why) = error else { panic!() };
        assert!(
            why.contains("line 1") && why.contains("invalid type"),
            "{why}"
        );
        assert!(!why.contains('\n'));
    }
}
