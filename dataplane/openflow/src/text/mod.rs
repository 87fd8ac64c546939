//! The text form of flows, groups, meters and ports: what `ovs-ofctl` prints and parses.
//!
//! Printing follows `ovs-ofctl -O OpenFlow13 dump-flows` and its kind to the letter, so that both
//! can be compared with `diff`. Parsing takes what `ovs-ofctl add-flow` takes, of what the model
//! holds. `Display` prints without names of ports; the functions of [`print`] take [`Names`].

mod actions_parse;
mod actions_print;
mod arguments;
mod encap;
mod flow;
mod group;
mod learn;
mod links;
mod match_parse;
mod match_print;
mod meter;
mod port;
mod sample;
mod scan;
mod selection;
mod value;

use std::collections::BTreeMap;
use std::fmt;

use net::{PortNo, TableId};

use crate::{Action, Instructions, Match};

pub use actions_parse::{parse_actions, parse_instructions};
pub use flow::{parse_flow, parse_flow_filter, print_flow_mod, print_flow_stats};
pub use group::{parse_group, print_group_desc, print_group_desc_in, print_group_stats};
pub use match_parse::parse_match;
pub use meter::{parse_meter, print_meter_config, print_meter_stats};
pub use port::{print_port_desc, print_port_stats, print_table_stats};

/// What is wrong with a text, in the operator's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TextError(String);

impl TextError {
    fn new(text: impl Into<String>) -> Self {
        TextError(text.into())
    }
}

/// Names of ports and tables, for printing and parsing; empty: numbers only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Names of ports.
    pub ports: BTreeMap<PortNo, String>,
    /// Names of tables.
    pub tables: BTreeMap<TableId, String>,
}

impl Names {
    /// No names at all.
    pub const NONE: &'static Names = &Names {
        ports: BTreeMap::new(),
        tables: BTreeMap::new(),
    };

    /// A port as it is printed: its name, quoted where it could be taken for something else.
    fn port(&self, port: PortNo) -> String {
        match self.ports.get(&port) {
            Some(name) => quote(name),
            None => port.to_string(),
        }
    }

    fn table(&self, table: TableId) -> String {
        match self.tables.get(&table) {
            Some(name) => quote(name),
            None => table.to_string(),
        }
    }

    /// The port of a number, a reserved name, or one of these names.
    fn parse_port(&self, text: &str) -> Result<PortNo, TextError> {
        let name = text.trim_matches('"');
        if let Some((port, _)) = self.ports.iter().find(|(_, known)| *known == name) {
            return Ok(*port);
        }
        match scan::integer(text) {
            // The reserved ports of OpenFlow 1.0 are the low halves of today's.
            Ok(number @ 0xfff8..=0xffff) => Ok(PortNo(number as u32 | 0xffff_0000)),
            Ok(number) => match u32::try_from(number) {
                Ok(port) => Ok(PortNo(port)),
                Err(_) => Err(TextError::new(format!("{text}: not a port number"))),
            },
            Err(_) if text.eq_ignore_ascii_case("none") => Ok(PortNo::ANY),
            Err(_) => text
                .parse()
                .map_err(|error| TextError::new(format!("{text}: {error}"))),
        }
    }

    fn parse_table(&self, text: &str) -> Result<TableId, TextError> {
        let name = text.trim_matches('"');
        if let Some((table, _)) = self.tables.iter().find(|(_, known)| *known == name) {
            return Ok(*table);
        }
        scan::integer(text)
            .ok()
            .and_then(|n| u8::try_from(n).ok())
            .map(TableId)
            .ok_or_else(|| TextError::new(format!("{text}: unknown table, 0 to 254")))
    }
}

/// Port names that are not plain identifiers, or look like keywords, stand in quotes.
fn quote(name: &str) -> String {
    let mut letters = name.chars();
    let starts = letters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let plain = starts && letters.all(|c| c.is_ascii_alphanumeric() || c == '_');
    let reserved = name.parse::<PortNo>().is_ok();
    if plain && !reserved {
        name.to_owned()
    } else {
        format!("\"{}\"", name.escape_default())
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match_print::write(f, self, Names::NONE)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        actions_print::write_action(f, self, Names::NONE)
    }
}

impl fmt::Display for Instructions {
    /// What stands behind `actions=`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        actions_print::write_instructions(f, self, Names::NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FlowCommand;

    #[test]
    fn ports_and_tables_go_by_their_names() {
        let names = Names {
            ports: [(1, "uplink0"), (2, "p-7f"), (3, "local")]
                .map(|(number, name)| (PortNo(number), name.to_owned()))
                .into(),
            tables: [(TableId(5), "routing".to_owned())].into(),
        };
        let text =
            "table=routing,in_port=uplink0,actions=output:\"p-7f\",output:\"local\",output:9";
        let flow = parse_flow(text, FlowCommand::Add, &names).unwrap();
        assert_eq!(print_flow_mod(&flow, &names), text);
        assert_eq!(
            print_flow_mod(&flow, Names::NONE),
            "table=5,in_port=1,actions=output:2,output:3,output:9"
        );
        let error = parse_flow("in_port=nowhere,actions=drop", FlowCommand::Add, &names);
        assert_eq!(
            error.unwrap_err().to_string(),
            "nowhere: not a port number nor a reserved port (IN_PORT, NORMAL, CONTROLLER, LOCAL, ...)"
        );
    }

    #[test]
    fn mistakes_are_told_in_one_line() {
        for (text, message) in [
            ("ip", "the flow has no actions="),
            ("ip,actions=output:x y", "output:x: unknown port"),
            (
                "tp_dst=80,actions=drop",
                "tp_dst: needs a protocol with ports, such as tcp or udp",
            ),
            (
                "tcp_dst=80,actions=drop",
                "tcp_dst: its prerequisite is missing (tcp or tcp6)",
            ),
            (
                "ip,ct_nw_src=1.2.3.4,actions=drop",
                "ct_nw_src: its prerequisite is missing (ct_state with a connection, such as +trk+est)",
            ),
            (
                "tcp,udp,actions=drop",
                "nw_proto is given twice, differently",
            ),
            (
                "ip,nw_src=1.2.3/8,actions=drop",
                "ip_src=1.2.3/8: not an IPv4 address",
            ),
            (
                "ip,nw_src=1.2.3.4/33,actions=drop",
                "/33: a prefix has at most 32 bits",
            ),
            ("vlan=5,actions=drop", "vlan: unknown field"),
            ("table=300,actions=drop", "300: unknown table, 0 to 254"),
            (
                "priority=70000,actions=drop",
                "priority 70000: out of range",
            ),
            ("actions=drop,output:1", "drop must stand alone"),
            (
                "actions=load:256->reg0[0..7]",
                "load:256->reg0[0..7]: the value does not fit into 8 bits",
            ),
            (
                "actions=dec_ttl",
                "the actions do not fit the match: OFPBAC_MATCH_INCONSISTENT: the action cannot \
                 apply to what the flow matches",
            ),
        ] {
            let error = parse_flow(text, FlowCommand::Add, Names::NONE).unwrap_err();
            assert_eq!(error.to_string(), message, "{text}");
        }
    }
}
