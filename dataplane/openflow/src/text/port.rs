//! Ports and tables in text.

use std::fmt::{self, Write};

use super::Names;
use super::flow::write_duration;
use crate::model::{PORT_DOWN, PORT_NO_FWD, PORT_NO_PACKET_IN, PORT_NO_RECV, PortDesc};
use crate::msg::{PortStats, TableStats};

/// Configuration bits (OFPPC_*).
const CONFIG: &[(u32, &str)] = &[
    (PORT_DOWN, "PORT_DOWN"),
    (PORT_NO_RECV, "NO_RECV"),
    (PORT_NO_FWD, "NO_FWD"),
    (PORT_NO_PACKET_IN, "NO_PACKET_IN"),
];

/// State bits (OFPPS_*).
const STATE: &[(u32, &str)] = &[(1, "LINK_DOWN"), (2, "BLOCKED"), (4, "LIVE")];

/// Features (OFPPF_*).
const FEATURES: &[(u32, &str)] = &[
    (1, "10MB-HD"),
    (1 << 1, "10MB-FD"),
    (1 << 2, "100MB-HD"),
    (1 << 3, "100MB-FD"),
    (1 << 4, "1GB-HD"),
    (1 << 5, "1GB-FD"),
    (1 << 6, "10GB-FD"),
    (1 << 7, "40GB-FD"),
    (1 << 8, "100GB-FD"),
    (1 << 9, "1TB-FD"),
    (1 << 10, "OTHER"),
    (1 << 11, "COPPER"),
    (1 << 12, "FIBER"),
    (1 << 13, "AUTO_NEG"),
    (1 << 14, "AUTO_PAUSE"),
    (1 << 15, "AUTO_PAUSE_ASYM"),
];

/// A port of `dump-ports-desc`: several lines.
pub fn print_port_desc(port: &PortDesc, names: &Names) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_desc(&mut text, port, names);
    text
}

fn write_desc(f: &mut String, port: &PortDesc, _names: &Names) -> fmt::Result {
    writeln!(f, " {}({}): addr:{}", port.port, port.name, port.hw_addr)?;
    writeln!(f, "     config:     {}", bits(port.config, CONFIG))?;
    writeln!(f, "     state:      {}", bits(port.state, STATE))?;
    for (name, features) in [
        ("current:    ", port.curr),
        ("advertised: ", port.advertised),
        ("supported:  ", port.supported),
        ("peer:       ", port.peer),
    ] {
        if features != 0 {
            writeln!(f, "     {name}{}", bits(features, FEATURES))?;
        }
    }
    writeln!(
        f,
        "     speed: {} Mbps now, {} Mbps max",
        port.curr_speed / 1000,
        port.max_speed / 1000
    )
}

/// Names of the bits that are set; what has none as a number; 0 for nothing.
fn bits(value: u32, names: &[(u32, &str)]) -> String {
    let mut left = value;
    let mut parts = Vec::new();
    for (bit, name) in names.iter().filter(|(bit, _)| value & bit != 0) {
        parts.push((*name).to_owned());
        left &= !bit;
    }
    if left != 0 {
        parts.push(format!("{left:#x}"));
    }
    match parts.is_empty() {
        true => "0".to_owned(),
        false => parts.join(" "),
    }
}

/// A port of `dump-ports`: three lines.
pub fn print_port_stats(port: &PortStats, names: &Names) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_stats(&mut text, port, names);
    text
}

fn write_stats(f: &mut String, port: &PortStats, names: &Names) -> fmt::Result {
    write!(f, "  port {:>2}: rx ", names.port(port.port))?;
    counters(
        f,
        &[
            ("pkts", port.rx_packets),
            ("bytes", port.rx_bytes),
            ("drop", port.rx_dropped),
            ("errs", port.rx_errors),
            ("frame", port.rx_frame_err),
            ("over", port.rx_over_err),
            ("crc", port.rx_crc_err),
        ],
    )?;
    write!(f, "\n           tx ")?;
    counters(
        f,
        &[
            ("pkts", port.tx_packets),
            ("bytes", port.tx_bytes),
            ("drop", port.tx_dropped),
            ("errs", port.tx_errors),
            ("coll", port.collisions),
        ],
    )?;
    if port.duration_sec != u32::MAX {
        write!(f, "\n           duration=")?;
        write_duration(f, port.duration_sec, port.duration_nsec)?;
    }
    f.push('\n');
    Ok(())
}

/// `name=number` between commas; `?` for what is not counted.
fn counters(f: &mut String, list: &[(&str, u64)]) -> fmt::Result {
    for (at, (name, number)) in list.iter().enumerate() {
        if at > 0 {
            f.push_str(", ");
        }
        match *number {
            u64::MAX => write!(f, "{name}=?")?,
            number => write!(f, "{name}={number}")?,
        }
    }
    Ok(())
}

/// A table of `dump-tables`: two lines.
pub fn print_table_stats(table: &TableStats, names: &Names) -> String {
    format!(
        "  table {}:\n    active={}, lookup={}, matched={}\n",
        names.table(table.table),
        table.active_count,
        table.lookup_count,
        table.matched_count
    )
}
