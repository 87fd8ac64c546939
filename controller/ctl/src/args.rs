//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use cluster::query::{Question, Selection};

/// Looks into a Sluice dataplane and changes it, and asks the controller about the whole cluster.
#[derive(Debug, Parser)]
#[command(name = "sluicectl", version)]
pub struct Cli {
    /// Speak OpenFlow to a switch instead: tcp:HOST[:PORT], ssl:HOST[:PORT], unix:PATH
    #[arg(long, value_name = "TARGET", global = true, conflicts_with = "admin")]
    pub target: Option<String>,
    /// Admin socket of the dataplane
    #[arg(long, value_name = "PATH", global = true, default_value = admin::DEFAULT_PATH)]
    pub admin: PathBuf,
    /// Socket of the controller: for get, trace, diff and explain
    #[arg(long, value_name = "PATH", global = true, default_value = cluster::podapi::DEFAULT_SOCKET)]
    pub controller: PathBuf,
    /// Our private key for ssl: targets, PEM
    #[arg(long, value_name = "FILE", global = true)]
    pub private_key: Option<PathBuf>,
    /// Our certificate for ssl: targets, PEM
    #[arg(long, value_name = "FILE", global = true)]
    pub certificate: Option<PathBuf>,
    /// Certificate of the CA that must have signed the switch's, PEM
    #[arg(long, value_name = "FILE", global = true)]
    pub ca_cert: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Seconds to wait for an answer
    #[arg(long, value_name = "SECONDS", global = true, default_value_t = 10)]
    pub timeout: u64,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Certificates, where they are given.
    pub fn tls_files(&self) -> Result<Option<transport::TlsFiles>, String> {
        transport::TlsFiles::from_options(
            self.private_key.clone(),
            self.certificate.clone(),
            self.ca_cert.clone(),
        )
    }
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Flows with their counters and the object each came from
    DumpFlows(DumpFlows),
    /// Groups, as ovs-ofctl prints them, and the object each came from
    DumpGroups {
        /// Only this group
        group: Option<u32>,
    },
    /// Meters: rates, counters and the object each came from
    DumpMeters {
        /// Only this meter; as a number or as meter=N
        meter: Option<String>,
    },
    /// Counters of ports
    DumpPorts {
        /// Only this port; name or number
        port: Option<String>,
    },
    /// Flow tables that hold flows or saw packets
    DumpTables,
    /// The switch in one picture
    Show,
    /// Tracked connections
    Ct(Ct),
    /// MAC addresses that the NORMAL action has learnt
    Fdb(Fdb),
    /// Dropped packets by reason
    Drops,
    /// What each worker does: how busy it is, where its time goes, what it polls. Busy shares and
    /// packets per second are of the last second and minute; cycles (of the time stamp counter) per
    /// packet by stage, batches and residence (from a port's reception to the call that sends, of
    /// sampled packets) are of the last minute
    Cores,
    /// Flow caches of the workers: how full, how much memory, how often they know a packet's flow
    Cache,
    /// Underlay next hops
    #[command(subcommand)]
    Neighbor(Neighbor),
    /// Ports: add, remove, list
    #[command(subcommand)]
    Port(Port),
    /// Versions of this program and of the dataplane
    Version,
    /// Pods, Services, policies, subnets and nodes as the controller sees them, and how far each
    /// has come on the nodes
    Get(Get),
    /// What would become of a connection's first packet: each flow that it meets, the rule and the
    /// endpoint that decide, and who gets it
    Trace(TraceArgs),
    /// What switches have against what they shall have; exit status 1 where something is otherwise
    Diff {
        /// Only this node
        node: Option<String>,
        /// As JSON
        #[arg(short, long, value_name = "FORM")]
        output: Option<Form>,
    },
    /// Why things are as they are
    #[command(subcommand)]
    Explain(Explain),
    /// Live rates (comes in a later version)
    #[command(trailing_var_arg = true)]
    Top {
        /// Not yet
        arguments: Vec<String>,
    },
    /// Mirrors (comes in a later version)
    #[command(trailing_var_arg = true)]
    Mirror {
        /// Not yet
        arguments: Vec<String>,
    },
    /// Packet capture (comes in a later version)
    #[command(trailing_var_arg = true)]
    Capture {
        /// Not yet
        arguments: Vec<String>,
    },
}

/// Arguments of dump-flows, as ovs-ofctl takes them.
#[derive(Debug, Args)]
pub struct DumpFlows {
    /// Only flows this one covers, e.g. "table=0,ip,nw_dst=10.16.0.0/16"
    pub filter: Option<String>,
    /// Leave out duration and counters
    #[arg(long)]
    pub no_stats: bool,
    /// Sort by rising priority over all tables
    #[arg(long, conflicts_with = "rsort")]
    pub sort: bool,
    /// Sort by falling priority over all tables
    #[arg(long)]
    pub rsort: bool,
    /// Leave out the object each flow came from
    #[arg(long)]
    pub no_objects: bool,
}

/// Arguments of ct.
#[derive(Debug, Args)]
pub struct Ct {
    /// What to do; without it, connections are listed
    #[command(subcommand)]
    pub command: Option<CtCommand>,
    /// Only this zone
    #[arg(long, global = true)]
    pub zone: Option<u16>,
}

/// Commands of ct.
#[derive(Clone, Debug, Subcommand)]
pub enum CtCommand {
    /// Forget connections
    Flush {
        /// Which, as for ovs-ofctl ct-flush: [zone=N] [mark=V/M] [labels=V/M] [ORIGINAL [REPLY]], where a
        /// tuple is like ct_nw_src=10.0.0.1,ct_nw_proto=6,ct_tp_dst=80
        filter: Vec<String>,
    },
    /// Settings and totals of the tracker
    Show,
    /// Most connections of zones
    Limits {
        /// What to do; without it, limits are listed
        #[command(subcommand)]
        command: Option<LimitsCommand>,
    },
}

/// Commands of ct limits.
#[derive(Clone, Debug, Subcommand)]
pub enum LimitsCommand {
    /// Set limits, as ovs-dpctl ct-set-limits does
    Set {
        /// default=LIMIT or zone=ZONE,limit=LIMIT; 0: no limit
        #[arg(required = true)]
        limits: Vec<String>,
    },
    /// Take zones' own limits away, so that the default holds
    Del {
        /// Zones, as numbers or as zone=ZONE
        #[arg(required = true, value_parser = zone)]
        zones: Vec<u16>,
    },
}

fn zone(text: &str) -> Result<u16, String> {
    let number = text.strip_prefix("zone=").unwrap_or(text);
    number
        .parse()
        .map_err(|_| "a zone is 0 to 65535".to_owned())
}

/// Arguments of fdb.
#[derive(Debug, Args)]
pub struct Fdb {
    /// What to do; without it, addresses are listed
    #[command(subcommand)]
    pub command: Option<FdbCommand>,
}

/// Commands of fdb.
#[derive(Clone, Debug, Subcommand)]
pub enum FdbCommand {
    /// Forget addresses
    Flush {
        /// Only those behind this port
        port: Option<String>,
    },
}

/// Commands of neighbor.
#[derive(Debug, Subcommand)]
pub enum Neighbor {
    /// Every next hop
    List,
    /// Pin a next hop
    Set {
        /// IPv4 or IPv6 address
        ip: std::net::IpAddr,
        /// Ethernet address
        mac: net::MacAddr,
    },
    /// Forget a next hop
    Del {
        /// IPv4 or IPv6 address
        ip: std::net::IpAddr,
    },
}

/// Commands of port.
#[derive(Debug, Subcommand)]
pub enum Port {
    /// Add a port
    Add {
        /// As in --port of sluice-dataplane, e.g. uplink0,ofport=1,dev=net_af_packet0,iface=eth1
        spec: String,
    },
    /// Remove a port
    Del {
        /// Its name
        name: String,
    },
    /// Say how fast a port may send, and its queues
    Set {
        /// Its name
        name: String,
        /// As in --port of sluice-dataplane, e.g. rate=10g,queues=0+1:max=1g/min=100m/prio=1, or none
        shaping: String,
    },
    /// Queues with their counters
    Queues {
        /// Only those of this port
        name: Option<String>,
    },
    /// Every port
    List,
    /// Have another worker poll a port; no packet is lost or overtakes another of its flow
    Move {
        /// Its name
        name: String,
        /// Core of the worker, one of those in `sluicectl cores`
        core: u32,
        /// Which rx queue, of a port with several
        #[arg(long, default_value_t = 0)]
        rxq: u16,
    },
}

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// More columns
    Wide,
    /// JSON, whose fields keep their names
    Json,
}

/// What there is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// With addresses, node, subnet, and what they wait for
    #[value(aliases = ["pod", "po"])]
    Pods,
    /// With their endpoints, and why each is used or not
    #[value(aliases = ["service", "svc"])]
    Services,
    /// With the pods they hold for, their rules and what these have decided
    #[value(aliases = ["policy", "netpol", "networkpolicies", "networkpolicy"])]
    Policies,
    /// With addresses used and left
    #[value(alias = "subnet")]
    Subnets,
    /// With their switches
    #[value(aliases = ["node", "no"])]
    Nodes,
}

/// Arguments of get.
#[derive(Debug, Args)]
pub struct Get {
    /// Which kind
    pub what: What,
    /// Only this one: NAME or NAMESPACE/NAME
    pub name: Option<String>,
    /// Only those of this namespace
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// As this node sees them: its pods; endpoints as clients there get them; in force there
    #[arg(long)]
    pub node: Option<String>,
    /// Ask the switches what the rules of policies have decided
    #[arg(long)]
    pub hits: bool,
    /// More columns, or JSON
    #[arg(short, long, value_name = "FORM")]
    pub output: Option<Form>,
}

impl Get {
    /// What the controller is asked.
    pub fn question(&self) -> Question {
        let which = Selection {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            node: self.node.clone(),
        };
        match self.what {
            What::Pods => Question::Pods(which),
            What::Services => Question::Services(which),
            What::Policies => Question::Policies {
                which,
                hits: self.hits,
            },
            What::Subnets => Question::Subnets(which),
            What::Nodes => Question::Nodes(which),
        }
    }
}

/// Arguments of trace.
#[derive(Clone, Debug, Args)]
pub struct TraceArgs {
    /// Who sends: POD, NAMESPACE/POD, or node:NAME for the node itself
    pub from: String,
    /// Who is meant: a pod, a Service or an address, as bank/api:80, bank/api:http, 10.96.0.10:53/udp,
    /// bank/db-0/icmp; pod:NAME or service:NAME where both have the name
    pub to: Option<String>,
    /// Source port [default: 40000]
    #[arg(long, value_name = "PORT")]
    pub source_port: Option<u16>,
    /// 4 or 6, where both ends have addresses of both
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u8).range(4..=6))]
    pub family: Option<u8>,
    /// Every flow with its match and actions, or JSON
    #[arg(short, long, value_name = "FORM")]
    pub output: Option<Form>,
}

/// What can be explained.
#[derive(Debug, Subcommand)]
pub enum Explain {
    /// A drop reason, all of them, or why what a pod sends to a destination is dropped
    Drop(ExplainDrop),
}

/// Arguments of explain drop.
#[derive(Debug, Args)]
pub struct ExplainDrop {
    /// A reason, as `sluicectl drops` names it; or who sends, as for trace
    #[arg(value_name = "REASON|POD")]
    pub what: Option<String>,
    /// Who is meant, as for trace
    #[arg(value_name = "DESTINATION")]
    pub to: Option<String>,
    /// Source port [default: 40000]
    #[arg(long, value_name = "PORT")]
    pub source_port: Option<u16>,
    /// 4 or 6, where both ends have addresses of both
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u8).range(4..=6))]
    pub family: Option<u8>,
    /// JSON
    #[arg(short, long, value_name = "FORM")]
    pub output: Option<Form>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn options_may_follow_the_command() {
        let cli = Cli::parse_from(["sluicectl", "dump-flows", "table=0,ip", "--json", "--rsort"]);
        assert!(cli.json);
        let Command::DumpFlows(arguments) = cli.command else {
            panic!("another command");
        };
        assert_eq!(arguments.filter.as_deref(), Some("table=0,ip"));
        assert!(arguments.rsort && !arguments.sort);
    }

    #[test]
    fn target_and_admin_exclude_each_other() {
        let both = ["sluicectl", "--target", "tcp:::1", "--admin", "/x", "show"];
        assert!(Cli::try_parse_from(both).is_err());
    }

    /// Commands that do something themselves, with their parents' names before them.
    fn commands(command: &clap::Command, before: &str, all: &mut Vec<String>) {
        let name = format!("{before} {}", command.get_name());
        let children: Vec<_> = command.get_subcommands().collect();
        if children.is_empty() || !command.is_subcommand_required_set() {
            all.push(name.trim().to_owned());
        }
        for child in children {
            commands(child, &name, all);
        }
    }

    #[test]
    fn the_manual_has_every_command_and_no_other() {
        use clap::CommandFactory;
        let manual = include_str!("../../../docs/sluicectl.md");
        let headings = manual.lines().filter_map(|line| line.strip_prefix("### "));
        let mut described: Vec<String> = headings.map(str::to_owned).collect();
        let mut all = Vec::new();
        for command in Cli::command().get_subcommands() {
            commands(command, "sluicectl", &mut all);
        }
        described.sort();
        all.sort();
        assert_eq!(described, all);
        for long in [
            "--controller",
            "--admin",
            "--target",
            "--json",
            "--hits",
            "--node",
            "--source-port",
        ] {
            assert!(manual.contains(long), "{long}");
        }
    }
}
