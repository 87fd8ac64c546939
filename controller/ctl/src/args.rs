//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Looks into a Sluice dataplane and changes it.
#[derive(Debug, Parser)]
#[command(name = "sluicectl", version)]
pub struct Cli {
    /// Speak OpenFlow to a switch instead: tcp:HOST[:PORT], ssl:HOST[:PORT], unix:PATH
    #[arg(long, value_name = "TARGET", global = true, conflicts_with = "admin")]
    pub target: Option<String>,
    /// Admin socket of the dataplane
    #[arg(long, value_name = "PATH", global = true, default_value = admin::DEFAULT_PATH)]
    pub admin: PathBuf,
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
    /// What the tables would do with a packet (comes in a later version)
    #[command(trailing_var_arg = true)]
    Trace {
        /// A flow, as ovs-ofctl writes it
        arguments: Vec<String>,
    },
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
}
