//! The connection tracker.

use std::fmt::Write;

use admin::{Connection, Tracker, Tuple, ZoneLimit, ZoneLimits};

use super::or_none;
use crate::columns::{Columns, span};

/// Tracked connections.
pub fn connections(list: &[Connection]) -> String {
    let mut table = Columns::new(&[
        ">ZONE", "PROTO", "STATE", "ORIGINAL", "REPLY", ">MARK", ">EXPIRES",
    ]);
    for c in list {
        let icmp = c.protocol.starts_with("icmp");
        table.row([
            c.zone.to_string(),
            c.protocol.clone(),
            c.state.clone(),
            direction(&c.original, icmp),
            direction(&c.reply, icmp),
            match c.mark {
                0 => String::new(),
                mark => format!("{mark:#x}"),
            },
            span(c.expires_ms),
        ]);
    }
    or_none(&table, "no connections")
}

fn direction(tuple: &Tuple, icmp: bool) -> String {
    let host = |ip: &str| match ip.contains(':') {
        true => format!("[{ip}]"),
        false => ip.to_owned(),
    };
    let (src, dst) = (host(&tuple.src), host(&tuple.dst));
    if icmp {
        format!("{src} > {dst} id {}", tuple.sport)
    } else {
        format!("{src}:{} > {dst}:{}", tuple.sport, tuple.dport)
    }
}

/// Settings and totals of the connection tracker.
pub fn tracker(tracker: &Tracker) -> String {
    let mut text = String::new();
    let Tracker {
        connections,
        connections_max,
        half_open,
        half_open_max,
        ..
    } = tracker;
    let share = match tracker.half_open_per_source {
        0 => "no limit".to_owned(),
        share => share.to_string(),
    };
    let tcp = if tracker.strict { "strict" } else { "liberal" };
    let pickup = if tracker.pickup { "" } else { " not" };
    let memory = tracker.memory >> 20;
    let _ = writeln!(
        text,
        "connections: {connections} of {connections_max} ({memory} MiB when full)"
    );
    let _ = writeln!(
        text,
        "half open: {half_open} of {half_open_max}, {share} per source"
    );
    let _ = writeln!(
        text,
        "since start: {} created, {} expired, {} half open gave way, {} removed",
        tracker.created, tracker.expired, tracker.evicted, tracker.removed
    );
    let _ = writeln!(
        text,
        "tcp: {tcp}, connections under way are{pickup} taken up"
    );
    let _ = writeln!(text, "timeouts in seconds:");
    for (name, seconds) in &tracker.timeouts {
        let _ = writeln!(text, "  {name}={seconds}");
    }
    text
}

/// Limits of zones, as `ovs-dpctl ct-get-limits` prints them.
pub fn zone_limits(limits: &ZoneLimits) -> String {
    let mut text = format!("default limit={}\n", limits.default);
    for limit in &limits.zones {
        let ZoneLimit { zone, limit, count } = limit;
        let _ = writeln!(text, "zone={zone},limit={limit},count={count}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_icmp_connection_shows_its_identifier() {
        let tuple = Tuple {
            src: "fd00::1".into(),
            dst: "fd00::2".into(),
            sport: 77,
            dport: 0x8000,
        };
        assert_eq!(direction(&tuple, true), "[fd00::1] > [fd00::2] id 77");
        assert_eq!(direction(&tuple, false), "[fd00::1]:77 > [fd00::2]:32768");
    }
}
