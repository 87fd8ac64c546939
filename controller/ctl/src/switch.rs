//! What a switch tells over OpenFlow, in the words of the admin socket.

use std::collections::HashMap;

use admin::{Band, Bucket, Flow, Group, Meter, Port, Session, Show, Table};
use net::{GroupId, MeterId, PortNo};
use openflow::model::{BandKind, GroupType, METER_PKTPS};
use openflow::msg::{
    BucketStats, FlowStats, GroupDesc, GroupStats, MeterConfig, MeterStats, ReplyBody, RequestBody,
};
use openflow::text::{self, Names};

use crate::Failure;
use crate::target::{Switch, nanoseconds, port};

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
        for part in self.multipart(RequestBody::PortDesc(PortNo::ANY))? {
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
                version: Some(self.version().to_string()),
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
    /// OFPMP_FLOW, the request as `ovs-ofctl dump-flows` makes it of the same filter.
    pub fn flows(&mut self, filter: Option<&str>) -> Result<Vec<Flow>, Failure> {
        let request = text::parse_flow_filter(filter.unwrap_or_default(), Names::NONE)
            .map_err(|e| Failure::Usage(format!("flow filter: {e}")))?;
        let mut flows = Vec::new();
        for part in self.multipart(RequestBody::Flow(request))? {
            if let ReplyBody::Flow(stats) = part {
                flows.extend(stats.iter().map(flow));
            }
        }
        Ok(flows)
    }

    /// OFPMP_GROUP_DESC with OFPMP_GROUP.
    pub fn groups(&mut self) -> Result<Vec<Group>, Failure> {
        let mut counters = HashMap::new();
        for part in self.multipart(RequestBody::Group(GroupId::ALL))? {
            if let ReplyBody::Group(stats) = part {
                counters.extend(stats.into_iter().map(|s| (s.group, s)));
            }
        }
        let mut groups = Vec::new();
        for part in self.multipart(RequestBody::GroupDesc(GroupId::ALL))? {
            if let ReplyBody::GroupDesc(descs) = part {
                groups.extend(descs.iter().map(|d| group(d, counters.get(&d.group))));
            }
        }
        Ok(groups)
    }

    /// OFPMP_METER_CONFIG with OFPMP_METER.
    pub fn meters(&mut self) -> Result<Vec<Meter>, Failure> {
        let mut counters = HashMap::new();
        for part in self.multipart(RequestBody::Meter(MeterId::ALL))? {
            if let ReplyBody::Meter(stats) = part {
                counters.extend(stats.into_iter().map(|s| (s.meter, s)));
            }
        }
        let mut meters = Vec::new();
        for part in self.multipart(RequestBody::MeterConfig(MeterId::ALL))? {
            if let ReplyBody::MeterConfig(configs) = part {
                meters.extend(configs.iter().map(|c| meter(c, counters.get(&c.meter))));
            }
        }
        Ok(meters)
    }
}

fn flow(stats: &FlowStats) -> Flow {
    Flow {
        table: stats.table.0,
        priority: stats.priority,
        cookie: stats.cookie,
        object: None,
        duration_ns: nanoseconds(stats.duration_sec, stats.duration_nsec),
        packets: stats.packet_count,
        bytes: stats.byte_count,
        idle_timeout: stats.idle_timeout,
        hard_timeout: stats.hard_timeout,
        matching: stats.matching.to_string(),
        actions: stats.instructions.to_string(),
        text: text::print_flow_stats(stats, Names::NONE),
    }
}

fn group(desc: &GroupDesc, stats: Option<&GroupStats>) -> Group {
    let kind = match desc.kind {
        GroupType::All => "all",
        GroupType::Select => "select",
        GroupType::Indirect => "indirect",
        GroupType::FastFailover => "ff",
    };
    let mut group = Group {
        id: desc.group.0,
        kind: kind.into(),
        text: text::print_group_desc(desc, Names::NONE),
        ..Group::default()
    };
    if let Some(stats) = stats {
        group.references = stats.ref_count;
        group.packets = stats.packet_count;
        group.bytes = stats.byte_count;
        group.duration_ns = nanoseconds(stats.duration_sec, stats.duration_nsec);
        let bucket = |b: &BucketStats| Bucket {
            packets: b.packet_count,
            bytes: b.byte_count,
        };
        group.buckets = stats.buckets.iter().map(bucket).collect();
    }
    group
}

fn meter(config: &MeterConfig, stats: Option<&MeterStats>) -> Meter {
    let counted = stats.map_or(&[][..], |s| &s.bands);
    let unit = if config.flags & METER_PKTPS == 0 {
        "kbps"
    } else {
        "pktps"
    };
    let bands = config.bands.iter().enumerate().map(|(at, band)| Band {
        kind: match band.kind {
            BandKind::Drop => "drop".into(),
            BandKind::DscpRemark { .. } => "dscp_remark".into(),
        },
        rate: band.rate,
        burst: band.burst,
        packets: counted.get(at).map_or(0, |c| c.packet_count),
        bytes: counted.get(at).map_or(0, |c| c.byte_count),
    });
    let mut meter = Meter {
        id: config.meter.0,
        unit: unit.into(),
        bands: bands.collect(),
        text: text::print_meter_config(config),
        ..Meter::default()
    };
    if let Some(stats) = stats {
        meter.flows = stats.flow_count;
        meter.packets = stats.packet_in_count;
        meter.bytes = stats.byte_in_count;
        meter.duration_ns = nanoseconds(stats.duration_sec, stats.duration_nsec);
    }
    meter
}
