//! What a switch tells over OpenFlow, in the words of the admin socket.

use std::collections::HashMap;

use admin::{Flow, Group, Meter, Port, Session, Show, Table};
use net::PortNo;
use openflow::msg::{ReplyBody, RequestBody};

use crate::Failure;
use crate::target::{Switch, port};

impl Switch {
    /// OFPMP_PORT_DESC with OFPMP_PORT_STATS.
    pub fn ports(&mut self) -> Result<Vec<Port>, Failure> {
        let mut counters = HashMap::new();
        for part in self.multipart(RequestBody::PortStats(PortNo::ANY))? {
            if let ReplyBody::PortStats(stats) = part {
                counters.extend(stats.into_iter().map(|s| (s.port, s)));
            }
        }
        let mut ports = Vec::new();
        for part in self.multipart(RequestBody::PortDesc)? {
            if let ReplyBody::PortDesc(descs) = part {
                ports.extend(descs.iter().map(|d| port(d, counters.get(&d.port))));
            }
        }
        Ok(ports)
    }

    /// OFPMP_TABLE, without tables that are empty and unused.
    pub fn tables(&mut self) -> Result<Vec<Table>, Failure> {
        let mut tables = Vec::new();
        for part in self.multipart(RequestBody::Table)? {
            if let ReplyBody::Table(stats) = part {
                let used = stats
                    .iter()
                    .filter(|t| t.active_count > 0 || t.lookup_count > 0);
                tables.extend(used.map(|t| Table {
                    id: t.table.0,
                    active: t.active_count,
                    lookups: t.lookup_count,
                    matched: t.matched_count,
                    ..Table::default()
                }));
            }
        }
        Ok(tables)
    }

    /// OFPT_FEATURES, OFPMP_DESC and counts of what it holds.
    pub fn show(&mut self) -> Result<Show, Failure> {
        let features = self.features()?;
        let mut show = Show {
            dpid: features.datapath_id,
            tables: features.n_tables,
            sessions: vec![Session {
                target: self.target().to_owned(),
                state: "connected".into(),
                role: None,
            }],
            ports: self.ports()?,
            ..Show::default()
        };
        for part in self.multipart(RequestBody::Desc)? {
            if let ReplyBody::Desc(desc) = part {
                show.name = desc.dp_desc;
                show.version = format!("{} {}", desc.hw_desc, desc.sw_desc);
            }
        }
        show.flows = self.tables()?.iter().map(|t| u64::from(t.active)).sum();
        show.groups = self.groups()?.len() as u64;
        show.meters = self.meters()?.len() as u64;
        Ok(show)
    }
}

impl Switch {
    /// Flows, once the codec has them.
    pub fn flows(&mut self, _filter: Option<&str>) -> Result<Vec<Flow>, Failure> {
        Err(unread("flows"))
    }

    /// Groups, once the codec has them.
    pub fn groups(&mut self) -> Result<Vec<Group>, Failure> {
        Err(unread("groups"))
    }

    /// Meters, once the codec has them.
    pub fn meters(&mut self) -> Result<Vec<Meter>, Failure> {
        Err(unread("meters"))
    }
}

fn unread(what: &str) -> Failure {
    Failure::Usage(format!(
        "{what} are read over the admin socket only so far: leave out --target"
    ))
}
