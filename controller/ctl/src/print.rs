//! How everything looks: one function per kind of answer, from data to text.

mod cores;
mod ct;

use std::collections::BTreeMap;
use std::fmt::Write;

use admin::{
    Drop, Fdb, Flow, Group, Meter, Neighbor, Port, PortStats, Queue, Session, Show, Table, Version,
};

use crate::args::DumpFlows;
use crate::columns::{Columns, percent, span};

pub use cores::{caches, cores};
pub use ct::{connections, tracker, zone_limits};

/// The object behind each port, by number, where it is known.
pub type Objects = BTreeMap<u32, String>;

/// Reads the objects behind ports off the flows that take their packets in: those of the first table
/// that match the port alone or first of all.
pub fn objects(flows: &[Flow]) -> Objects {
    let mut objects = Objects::new();
    for flow in flows {
        let number = flow
            .matching
            .split(',')
            .find_map(|field| field.strip_prefix("in_port="));
        let (Some(number), Some(object)) = (number.and_then(|n| n.parse().ok()), &flow.object)
        else {
            continue;
        };
        // A port of the node itself carries many objects; a pod's port carries one.
        if object.starts_with("Pod ") {
            objects.entry(number).or_insert_with(|| object.clone());
        }
    }
    objects
}

/// Sorts flows by priority if asked to; otherwise the switch's order stays.
pub fn sort_flows(flows: &mut [Flow], arguments: &DumpFlows) {
    if arguments.sort {
        flows.sort_by_key(|f| (f.priority, f.table));
    } else if arguments.rsort {
        flows.sort_by_key(|f| (std::cmp::Reverse(f.priority), f.table));
    }
}

/// `ovs-ofctl dump-flows`, each flow followed by the object it came from as a comment.
pub fn flows(flows: &[Flow], arguments: &DumpFlows) -> String {
    let mut text = String::new();
    for flow in flows {
        let line = if arguments.no_stats {
            without_stats(flow)
        } else {
            flow.text.clone()
        };
        let object = flow.object.as_deref().filter(|_| !arguments.no_objects);
        annotated(&mut text, &line, object);
    }
    text
}

/// `ovs-ofctl dump-groups`, each group followed by its object.
pub fn groups(groups: &[Group]) -> String {
    let mut text = String::new();
    for group in groups {
        annotated(&mut text, &group.text, group.object.as_deref());
    }
    text
}

fn annotated(text: &mut String, line: &str, object: Option<&str>) {
    let line = line.trim();
    let written = match object {
        Some(object) => writeln!(text, " {line}  # {object}"),
        None => writeln!(text, " {line}"),
    };
    debug_assert!(written.is_ok());
}

/// As `ovs-ofctl --no-stats` prints it: what does not change by itself.
fn without_stats(flow: &Flow) -> String {
    let mut line = String::new();
    let mut part = |text: String| line.push_str(&text);
    if flow.cookie != 0 {
        part(format!("cookie={:#x}, ", flow.cookie));
    }
    if flow.table != 0 {
        part(format!("table={}, ", flow.table));
    }
    for (name, timeout) in [("idle", flow.idle_timeout), ("hard", flow.hard_timeout)] {
        if timeout != 0 {
            part(format!("{name}_timeout={timeout}, "));
        }
    }
    // OFP_DEFAULT_PRIORITY is left out, as ovs-ofctl does.
    let priority = match flow.priority {
        0x8000 => String::new(),
        other => format!("priority={other}"),
    };
    let comma = if priority.is_empty() || flow.matching.is_empty() {
        ""
    } else {
        ","
    };
    part(format!(
        "{priority}{comma}{} actions={}",
        flow.matching, flow.actions
    ));
    line
}

/// Meters and what their bands took.
pub fn meters(meters: &[Meter]) -> String {
    let mut table = Columns::new(&[
        ">METER",
        "BAND",
        ">RATE",
        ">BURST",
        ">PACKETS",
        ">BYTES",
        ">OVER",
        ">OVER BYTES",
        "OBJECT",
    ]);
    for meter in meters {
        let (rate, burst) = match meter.unit.as_str() {
            "pktps" => ("packets/s", "packets"),
            _ => ("kbit/s", "kbit"),
        };
        for band in &meter.bands {
            table.row([
                meter.id.to_string(),
                band.kind.clone(),
                format!("{} {rate}", band.rate),
                match band.burst {
                    0 => String::new(),
                    size => format!("{size} {burst}"),
                },
                meter.packets.to_string(),
                meter.bytes.to_string(),
                band.packets.to_string(),
                band.bytes.to_string(),
                meter.object.clone().unwrap_or_default(),
            ]);
        }
    }
    or_none(&table, "no meters")
}

/// Counters of ports.
pub fn port_counters(ports: &[Port]) -> String {
    let mut table = Columns::new(&[
        ">PORT",
        "NAME",
        ">RX PACKETS",
        ">RX BYTES",
        ">RX DROPS",
        ">RX ERRORS",
        ">TX PACKETS",
        ">TX BYTES",
        ">TX DROPS",
        ">TX ERRORS",
    ]);
    for port in ports {
        // Columns render an empty cell as "-": not counted.
        let count = |value: fn(&PortStats) -> u64| {
            port.stats
                .as_ref()
                .map_or_else(String::new, |s| value(s).to_string())
        };
        table.row([
            port.ofport.to_string(),
            port.name.clone(),
            count(|s| s.rx_packets),
            count(|s| s.rx_bytes),
            count(|s| s.rx_drops),
            count(|s| s.rx_errors),
            count(|s| s.tx_packets),
            count(|s| s.tx_bytes),
            count(|s| s.tx_drops),
            count(|s| s.tx_errors),
        ]);
    }
    or_none(&table, "no ports")
}

/// What ports are and whether they work.
pub fn ports(ports: &[Port], objects: &Objects) -> String {
    or_none(&port_columns(ports, objects), "no ports") + &failures(ports)
}

fn port_columns(ports: &[Port], objects: &Objects) -> Columns {
    let mut table = Columns::new(&[">PORT", "NAME", "KIND", "STATE", "MAC", "OBJECT", "DEVICE"]);
    for port in ports {
        table.row([
            port.ofport.to_string(),
            port.name.clone(),
            port.kind.clone(),
            port_state(port),
            port.mac.clone(),
            objects.get(&port.ofport).cloned().unwrap_or_default(),
            port.device.clone(),
        ]);
    }
    table
}

fn port_state(port: &Port) -> String {
    match (&port.error, port.open, port.link_up) {
        (Some(_), _, _) => "failed".into(),
        (None, false, _) => "closed".into(),
        (None, true, false) => "open, no link".into(),
        (None, true, true) => "open".into(),
    }
}

/// Below the ports, a line for each that failed: the reason would make a column too wide.
fn failures(ports: &[Port]) -> String {
    let errors = ports.iter().filter_map(|port| port.error.as_deref());
    errors.map(|error| format!("{error}\n")).collect()
}

/// Flow tables.
pub fn tables(tables: &[Table]) -> String {
    let mut table = Columns::new(&[
        ">TABLE", "NAME", ">FLOWS", "TEMPLATE", ">MASKS", ">PROBES", ">MEMORY", ">LOOKUPS",
        ">MATCHED", ">SHARE",
    ]);
    for t in tables {
        table.row([
            t.id.to_string(),
            // A switch that was told no name gives the number.
            if t.name == t.id.to_string() {
                String::new()
            } else {
                t.name.clone()
            },
            t.active.to_string(),
            t.template.clone(),
            inside(t, t.masks.into()),
            inside(t, t.probes.into()),
            inside(t, t.memory),
            t.lookups.to_string(),
            t.matched.to_string(),
            percent(t.matched, t.lookups),
        ]);
    }
    or_none(&table, "no table holds a flow")
}

/// What only a switch that tells how a table is searched knows.
fn inside(table: &Table, value: u64) -> String {
    match table.template.is_empty() {
        true => String::new(),
        false => value.to_string(),
    }
}

/// The switch in one picture.
pub fn show(show: &Show, objects: &Objects) -> String {
    let mut text = String::new();
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            let written = writeln!(text, "{name:<12} {value}");
            debug_assert!(written.is_ok());
        }
    };
    fact("switch", show.name.clone());
    fact("datapath id", format!("{:016x}", show.dpid));
    fact("version", show.version.clone());
    if show.uptime_s > 0 {
        fact("up for", span(show.uptime_s * 1000));
    }
    let cpus: Vec<String> = show.cpus.iter().map(u32::to_string).collect();
    fact(
        "workers on",
        if cpus.is_empty() {
            String::new()
        } else {
            format!("cpu {}", cpus.join(", "))
        },
    );
    fact("vtep", show.vtep.clone().unwrap_or_default());
    let count = |n: u64, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    let mut contents = vec![
        count(show.flows, "flow", "flows"),
        count(show.groups, "group", "groups"),
        count(show.meters, "meter", "meters"),
    ];
    // OpenFlow does not tell how many, and has no list of workers either.
    if !show.cpus.is_empty() || show.connections > 0 {
        contents.push(count(show.connections, "connection", "connections"));
    }
    fact("holds", contents.join(", "));

    if !show.sessions.is_empty() {
        let mut sessions = Columns::new(&["OPENFLOW", "STATE", "VERSION", "ROLE"]);
        for session in sessions_once(&show.sessions) {
            sessions.row([
                session.target.clone(),
                session.state.clone(),
                session.version.clone().unwrap_or_default(),
                session.role.clone().unwrap_or_default(),
            ]);
        }
        text.push('\n');
        text.push_str(&sessions.render(""));
    }
    if !show.ports.is_empty() {
        text.push('\n');
        text.push_str(&port_columns(&show.ports, objects).render(""));
        text.push_str(&failures(&show.ports));
    }
    text
}

/// A target that is connected is listed as target and as connection: the latter says more.
fn sessions_once(sessions: &[Session]) -> impl Iterator<Item = &Session> {
    let connected = |target: &str| {
        let mut all = sessions.iter();
        all.any(|s| s.target == target && s.role.is_some())
    };
    sessions
        .iter()
        .filter(move |s| s.role.is_some() || !connected(&s.target))
}

/// Drops, summed over the workers.
pub fn drops(drops: &[Drop]) -> String {
    let mut sums: Vec<(&str, &str, u64)> = Vec::new();
    for drop in drops.iter().filter(|d| d.packets > 0) {
        match sums.iter_mut().find(|(reason, ..)| *reason == drop.reason) {
            Some((.., packets)) => *packets += drop.packets,
            None => sums.push((&drop.reason, &drop.explanation, drop.packets)),
        }
    }
    sums.sort_by_key(|(reason, _, packets)| (std::cmp::Reverse(*packets), *reason));
    let mut table = Columns::new(&[">PACKETS", "REASON", "MEANING"]);
    for (reason, explanation, packets) in sums {
        table.row([packets.to_string(), reason.into(), explanation.into()]);
    }
    or_none(&table, "nothing was dropped")
}

/// The flows that drop, with what they dropped since they were added: which object it was, where
/// the reason is only that a flow said so. Empty if none did.
pub fn dropping_flows(flows: &[Flow]) -> String {
    let did = |f: &&Flow| f.actions == "drop" && f.packets > 0;
    let mut dropping: Vec<&Flow> = flows.iter().filter(did).collect();
    if dropping.is_empty() {
        return String::new();
    }
    dropping.sort_by_key(|f| (std::cmp::Reverse(f.packets), f.table));
    let mut table = Columns::new(&[">PACKETS", ">TABLE", "OBJECT", "DROPPED BY THE FLOW FOR"]);
    for flow in dropping {
        let matching = match flow.matching.as_str() {
            "" => "everything else in its table",
            some => some,
        };
        table.row([
            flow.packets.to_string(),
            flow.table.to_string(),
            flow.object.clone().unwrap_or_default(),
            matching.into(),
        ]);
    }
    format!("\n{}", table.render(""))
}

/// Underlay next hops.
pub fn neighbors(list: &[Neighbor]) -> String {
    let mut table = Columns::new(&["ADDRESS", "MAC", "STATE", "PORT", ">AGE"]);
    for n in list {
        table.row([
            n.ip.clone(),
            n.mac.clone().unwrap_or_default(),
            n.state.clone(),
            n.port.clone(),
            match n.state.as_str() {
                "static" => String::new(),
                _ => span(n.age_ms),
            },
        ]);
    }
    or_none(&table, "no neighbors")
}

/// Queues of ports.
pub fn queues(queues: &[Queue]) -> String {
    let mut table = Columns::new(&[
        "PORT", ">QUEUE", ">MIN", ">MAX", ">PRIO", ">WEIGHT", ">PACKETS", ">BYTES", ">DROPPED",
    ]);
    let rate = |rate: Option<u64>| rate.map_or("-".to_owned(), |rate| rate.to_string());
    for queue in queues {
        table.row([
            queue.port.clone(),
            queue.id.to_string(),
            rate(queue.min_rate),
            rate(queue.max_rate),
            queue.priority.to_string(),
            queue.weight.to_string(),
            queue.packets.to_string(),
            queue.bytes.to_string(),
            queue.dropped.to_string(),
        ]);
    }
    or_none(&table, "no queues")
}

/// Learnt addresses.
pub fn fdb(fdb: &Fdb) -> String {
    let mut table = Columns::new(&["PORT", ">VLAN", "MAC", ">AGE"]);
    for e in &fdb.entries {
        table.row([
            e.port.clone(),
            e.vlan.to_string(),
            e.mac.clone(),
            format!("{}s", e.age),
        ]);
    }
    let counts = format!(
        "{} of {} addresses; since the start {} learned, {} moved, {} expired, {} evicted\n",
        fdb.entries.len(),
        fdb.capacity,
        fdb.learned,
        fdb.moved,
        fdb.expired,
        fdb.evicted
    );
    or_none(&table, "no addresses learnt") + &counts
}

/// Versions.
pub fn version(own: &str, dataplane: Option<&Version>) -> String {
    let mut text = format!("sluicectl         {own}\n");
    match dataplane {
        None => text.push_str("sluice-dataplane  not reached\n"),
        Some(version) => {
            text.push_str(&format!("sluice-dataplane  {}\n", version.version));
            let dpdk = version.dpdk.as_deref().unwrap_or("not built in");
            text.push_str(&format!("DPDK              {dpdk}\n"));
            text.push_str(&format!(
                "OpenFlow          {}\n",
                version.openflow.join(", ")
            ));
        }
    }
    text
}

fn or_none(table: &Columns, none: &str) -> String {
    if table.is_empty() {
        format!("{none}\n")
    } else {
        table.render("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use admin::Band;
    use clap::Parser;

    fn dump_flows(arguments: &[&str]) -> DumpFlows {
        let cli = Cli::parse_from([&["sluicectl", "dump-flows"], arguments].concat());
        match cli.command {
            Command::DumpFlows(arguments) => arguments,
            _ => panic!("another command"),
        }
    }

    fn flow(table: u8, priority: u16, object: Option<&str>) -> Flow {
        Flow {
            table,
            priority,
            cookie: 0x2a,
            object: object.map(str::to_owned),
            matching: "in_port=1000".into(),
            actions: "goto_table:1".into(),
            text: format!(
                "cookie=0x2a, duration=1.000s, table={table}, n_packets=3, n_bytes=294, \
                 priority={priority},in_port=1000 actions=goto_table:1"
            ),
            ..Flow::default()
        }
    }

    #[test]
    fn a_flow_is_the_line_of_ovs_ofctl_and_then_names_its_object() {
        let list = [flow(0, 100, Some("Pod bank/web-1")), flow(1, 7, None)];
        assert_eq!(
            flows(&list, &dump_flows(&[])),
            " cookie=0x2a, duration=1.000s, table=0, n_packets=3, n_bytes=294, \
             priority=100,in_port=1000 actions=goto_table:1  # Pod bank/web-1\n \
             cookie=0x2a, duration=1.000s, table=1, n_packets=3, n_bytes=294, \
             priority=7,in_port=1000 actions=goto_table:1\n"
        );
        assert_eq!(
            flows(&list[..1], &dump_flows(&["--no-stats", "--no-objects"])),
            " cookie=0x2a, priority=100,in_port=1000 actions=goto_table:1\n"
        );
    }

    #[test]
    fn flows_sort_by_priority_over_all_tables() {
        let order = |argument: &str| {
            let mut list = [flow(0, 5, None), flow(1, 9, None), flow(2, 1, None)];
            sort_flows(&mut list, &dump_flows(&[argument]));
            list.map(|f| f.priority)
        };
        assert_eq!(order("--sort"), [1, 5, 9]);
        assert_eq!(order("--rsort"), [9, 5, 1]);
    }

    #[test]
    fn show_is_one_calm_picture() {
        let show_ = Show {
            dpid: 1,
            name: "node1".into(),
            version: "0.1.0".into(),
            flows: 42,
            groups: 1,
            cpus: vec![1],
            vtep: Some("172.30.0.1/24 on uplink0".into()),
            uptime_s: 61,
            sessions: [None, Some("equal".to_owned())]
                .map(|role| Session {
                    target: "tcp:127.0.0.1:6653".into(),
                    state: "connected".into(),
                    version: role.is_some().then(|| "1.3".into()),
                    role,
                })
                .into(),
            ports: vec![Port {
                name: "uplink0".into(),
                ofport: 1,
                kind: "dpdk".into(),
                mac: "02:00:00:00:00:01".into(),
                mtu: 1500,
                open: true,
                link_up: true,
                device: "net_af_packet0,iface=eth1".into(),
                ..Port::default()
            }],
            ..Show::default()
        };
        let wanted = "\
switch       node1
datapath id  0000000000000001
version      0.1.0
up for       1m 1s
workers on   cpu 1
vtep         172.30.0.1/24 on uplink0
holds        42 flows, 1 group, 0 meters, 0 connections

OPENFLOW            STATE      VERSION  ROLE
tcp:127.0.0.1:6653  connected  1.3      equal

PORT  NAME     KIND  STATE  MAC                OBJECT          DEVICE
   1  uplink0  dpdk  open   02:00:00:00:00:01  Pod bank/web-1  net_af_packet0,iface=eth1
";
        let flows = [Flow {
            matching: "ip,in_port=1".into(),
            object: Some("Pod bank/web-1".into()),
            ..Flow::default()
        }];
        assert_eq!(show(&show_, &objects(&flows)), wanted);
    }

    #[test]
    fn flows_that_dropped_are_named_with_their_objects() {
        let flow = |table, packets, matching: &str, actions: &str| Flow {
            table,
            packets,
            matching: matching.into(),
            actions: actions.into(),
            object: Some("Pod bank/web-1".into()),
            ..Flow::default()
        };
        let list = [
            flow(10, 3, "in_port=7", "drop"),
            flow(20, 9, "in_port=8", "goto_table:30"),
            flow(60, 5, "", "drop"),
            flow(70, 0, "", "drop"),
        ];
        assert_eq!(
            dropping_flows(&list),
            "\nPACKETS  TABLE  OBJECT          DROPPED BY THE FLOW FOR\n      \
             5     60  Pod bank/web-1  everything else in its table\n      \
             3     10  Pod bank/web-1  in_port=7\n"
        );
        assert_eq!(dropping_flows(&list[1..2]), "");
    }

    #[test]
    fn drops_of_all_cores_are_summed_the_most_first() {
        let drop = |cpu, reason: &str, packets| Drop {
            cpu: Some(cpu),
            reason: reason.into(),
            explanation: format!("about {reason}"),
            packets,
        };
        let list = [
            drop(0, "no_match", 2),
            drop(0, "ttl", 3),
            drop(1, "no_match", 5),
        ];
        assert_eq!(
            drops(&list),
            "PACKETS  REASON    MEANING\n      7  no_match  about no_match\n      \
             3  ttl       about ttl\n"
        );
        assert_eq!(drops(&[]), "nothing was dropped\n");
    }

    #[test]
    fn a_meter_tells_rates_in_its_unit_and_what_was_over() {
        let meter = Meter {
            id: 7,
            object: Some("Pod bank/slow".into()),
            packets: 100,
            bytes: 150_000,
            unit: "kbps".into(),
            bands: vec![Band {
                kind: "drop".into(),
                rate: 50_000,
                burst: 40_000,
                packets: 9,
                bytes: 13_500,
            }],
            ..Meter::default()
        };
        let text = meters(&[meter]);
        let row = text.lines().nth(1).unwrap();
        let cells: Vec<_> = row
            .split("  ")
            .filter(|c| !c.is_empty())
            .map(str::trim)
            .collect();
        let wanted = [
            "7",
            "drop",
            "50000 kbit/s",
            "40000 kbit",
            "100",
            "150000",
            "9",
            "13500",
            "Pod bank/slow",
        ];
        assert_eq!(cells, wanted);
    }

    #[test]
    fn what_is_not_counted_is_no_zero() {
        let tunnel = Port {
            ofport: 7,
            name: "geneve".into(),
            ..Port::default()
        };
        let counted = Port {
            stats: Some(PortStats::default()),
            ..tunnel.clone()
        };
        let zeros = |port| {
            let text = port_counters(&[port]);
            text.matches(" 0").count()
        };
        assert_eq!((zeros(tunnel), zeros(counted)), (0, 8));
    }

    #[test]
    fn a_failed_port_says_why_and_a_closed_one_that_it_is() {
        let port = Port::default();
        assert_eq!(port_state(&port), "closed");
        let failed = Port {
            error: Some("no such device".into()),
            stats: None,
            ..port
        };
        assert_eq!(port_state(&failed), "failed");
        let text = ports(&[failed], &Objects::new());
        assert_eq!(text.lines().last(), Some("no such device"));
    }
}
