//! Multipart requests: everything that is read.

use std::rc::Rc;
use std::sync::Arc;

use net::{GroupId, MeterId, PortNo, TableId};
use openflow::error::*;
use openflow::model::{FLOW_NO_BYTE_COUNTS, FLOW_NO_PACKET_COUNTS};
use openflow::msg::{
    AggregateStats, BUNDLE_ATOMIC, BUNDLE_ORDERED, BandStats, BucketStats, BundleFeatures,
    FlowCounters, FlowStats, FlowStatsReason, FlowStatsRequest, GroupDesc, GroupStats, MeterConfig,
    MeterStats, MoreStats, MultipartReply, MultipartRequest, PortStats, ReplyBody, RequestBody,
    SwitchDesc, TableFeatures, TableStats,
};
use openflow::{Message, Version};
use tables::{Counters, FlowFilter, Group, Meter, Pipeline, Rule, Scan, TABLES};

use super::{controllers, features, queues, stream, table, unknown};
use crate::ports::PortRecord;
use crate::session::Session;
use crate::{Switch, monitors};

const NANOS: u64 = 1_000_000_000;
/// A request for bundle features asks about clocks (OFPBF_TIMESTAMP and OFPBF_TIME_SET_SCHED).
const BUNDLE_FEATURES_TIME: u32 = 3;

/// Answers a request. Counters in the answer are exact at some moment between request and reply.
pub(crate) async fn answer(
    switch: &Rc<Switch>,
    session: &Rc<Session>,
    xid: u32,
    request: MultipartRequest,
) -> Result<(), OfError> {
    let version = session.version.get().unwrap_or(Version::V1_3);
    let body = match request.body {
        RequestBody::Desc => ReplyBody::Desc(desc(switch)),
        RequestBody::Flow(request) => {
            switch.settle().await;
            let (flows, now) = (scan(switch, &request)?, switch.engine.now());
            let part = |rules: &[Arc<Rule>]| {
                let each = rules.iter().map(|rule| flow_stats(rule, now));
                ReplyBody::Flow(each.collect())
            };
            stream::flows(session, xid, flows, part).await;
            return Ok(());
        }
        RequestBody::Aggregate(request) => {
            switch.settle().await;
            let mut sum = Sum::default();
            stream::each_flow(scan(switch, &request)?, |rule| sum.add(rule)).await;
            ReplyBody::Aggregate(sum.0)
        }
        RequestBody::Table => {
            switch.settle().await;
            ReplyBody::Table(table_stats(switch))
        }
        RequestBody::PortStats(port) => ReplyBody::PortStats(port_stats(switch, port)?),
        RequestBody::Queue { port, queue } => ReplyBody::Queue(queues::stats(switch, port, queue)?),
        RequestBody::QueueDesc { port, queue } => {
            ReplyBody::QueueDesc(queues::config(switch, port, queue)?)
        }
        RequestBody::Group(id) => {
            switch.settle().await;
            let groups = groups(switch, Some(id));
            let part = |groups: &[Arc<Group>]| {
                let stats = groups.iter().map(|g| group_stats(switch, g));
                ReplyBody::Group(stats.collect())
            };
            stream::list(session, xid, &groups, part).await;
            return Ok(());
        }
        RequestBody::GroupDesc(id) => {
            let groups = groups(switch, Some(id));
            let part = |groups: &[Arc<Group>]| {
                ReplyBody::GroupDesc(groups.iter().map(|g| group_desc(g)).collect())
            };
            stream::list(session, xid, &groups, part).await;
            return Ok(());
        }
        RequestBody::GroupFeatures => {
            ReplyBody::GroupFeatures(features::group_features(&switch.tables.borrow()))
        }
        RequestBody::Meter(id) => {
            let meters = meters(switch, id)?;
            let part = |meters: &[Arc<Meter>]| {
                let stats = meters.iter().map(|m| meter_stats(switch, m));
                ReplyBody::Meter(stats.collect())
            };
            stream::list(session, xid, &meters, part).await;
            return Ok(());
        }
        RequestBody::MeterConfig(id) => {
            let meters = meters(switch, id)?;
            let part = |meters: &[Arc<Meter>]| {
                ReplyBody::MeterConfig(meters.iter().map(|m| meter_config(m)).collect())
            };
            stream::list(session, xid, &meters, part).await;
            return Ok(());
        }
        RequestBody::MeterFeatures => {
            ReplyBody::MeterFeatures(features::meter_features(&switch.tables.borrow()))
        }
        RequestBody::TableFeatures(wanted) => {
            table::set_features(switch, version, &wanted)?;
            switch.tell_vacancy();
            let tables = (0..TABLES).map(TableId);
            let features = tables.map(|table| table_features(switch, version, table));
            ReplyBody::TableFeatures(features.collect())
        }
        RequestBody::PortDesc(port) => {
            let ports = switch.ports.borrow();
            if port != PortNo::ANY && ports.get(port).is_none() {
                return Err(OFPBRC_BAD_PORT);
            }
            let descs = ports.iter().map(PortRecord::desc);
            let wanted = descs.filter(|desc| port == PortNo::ANY || desc.port == port);
            ReplyBody::PortDesc(wanted.collect())
        }
        RequestBody::TableDesc => {
            let tables = switch.tables.borrow();
            let descs = (0..TABLES).map(|id| table::describe(&tables, TableId(id)));
            ReplyBody::TableDesc(descs.collect())
        }
        RequestBody::FlowMonitor(requests) => {
            return monitors::request(switch, session, xid, requests).await;
        }
        RequestBody::FlowCounters(request) => {
            switch.settle().await;
            let (flows, now) = (scan(switch, &request)?, switch.engine.now());
            let part = |rules: &[Arc<Rule>]| {
                let each = rules.iter().map(|rule| flow_counters(rule, now));
                ReplyBody::FlowCounters(each.collect())
            };
            stream::flows(session, xid, flows, part).await;
            return Ok(());
        }
        RequestBody::ControllerStatus => ReplyBody::ControllerStatus(controllers::all(switch)),
        RequestBody::BundleFeatures(request) => {
            if request.flags & BUNDLE_FEATURES_TIME != 0 {
                return Err(OFPBRC_MULTIPART_BAD_SCHED);
            }
            ReplyBody::BundleFeatures(BundleFeatures {
                capabilities: BUNDLE_ATOMIC | BUNDLE_ORDERED,
                properties: Vec::new(),
            })
        }
        RequestBody::Experimenter(request) => return Err(unknown(request.experimenter)),
    };
    reply(session, xid, false, body);
    Ok(())
}

pub(super) fn reply(session: &Session, xid: u32, more: bool, body: ReplyBody) {
    let message = Message::MultipartReply(MultipartReply { more, body });
    session.reply(xid, &message);
}

fn desc(switch: &Switch) -> SwitchDesc {
    SwitchDesc {
        mfr_desc: "Sluice".into(),
        hw_desc: match &switch.identity.dpdk {
            Some(version) => format!("DPDK {version}"),
            None => "built without DPDK".into(),
        },
        sw_desc: switch.identity.version.clone(),
        serial_num: "None".into(),
        dp_desc: switch.identity.name.clone(),
    }
}

/// What a table can do, with the name and size that were set.
fn table_features(switch: &Switch, version: Version, table: TableId) -> TableFeatures {
    let limits = switch.tables.borrow().limits(table).unwrap_or_default();
    TableFeatures {
        name: switch
            .table_names
            .borrow()
            .get(&table)
            .cloned()
            .unwrap_or_default(),
        max_entries: limits.max_entries,
        ..features::table_features(version, table)
    }
}

/// A flow's counters without what it does (1.5).
fn flow_counters(rule: &Rule, now: u64) -> FlowCounters {
    let stats = flow_stats(rule, now);
    FlowCounters {
        table: stats.table,
        reason: FlowStatsReason::Request,
        priority: stats.priority,
        duration_sec: stats.duration_sec,
        duration_nsec: stats.duration_nsec,
        packet_count: stats.packet_count,
        byte_count: stats.byte_count,
        matching: stats.matching,
        more: stats.more,
    }
}

fn scan(switch: &Switch, request: &FlowStatsRequest) -> Result<Scan, OfError> {
    if request.table != TableId::ALL && request.table.0 >= TABLES {
        return Err(OFPBRC_BAD_TABLE_ID);
    }
    Ok(switch.tables.borrow().scan(&filter(request)))
}

/// The flows that a request is about.
pub(crate) fn filter(request: &FlowStatsRequest) -> FlowFilter {
    FlowFilter {
        table: request.table,
        matching: request.matching.clone(),
        cookie: request.cookie,
        cookie_mask: request.cookie_mask,
        out_port: request.out_port,
        out_group: request.out_group,
    }
}

/// A flow with its counters at `now`.
pub(crate) fn flow_stats(rule: &Rule, now: u64) -> FlowStats {
    let (duration_sec, duration_nsec) = age(rule.created, now);
    let counters = counters_of(rule);
    FlowStats {
        table: rule.table,
        duration_sec,
        duration_nsec,
        priority: rule.priority,
        idle_timeout: rule.timeouts().0,
        hard_timeout: rule.timeouts().1,
        flags: rule.flags,
        importance: rule.importance,
        cookie: rule.cookie,
        packet_count: counters.packets,
        byte_count: counters.bytes,
        matching: rule.matching(),
        instructions: (*rule.instructions).clone(),
        more: MoreStats {
            idle: Some(age(rule.stats.used(), now)),
            flow_count: None,
        },
    }
}

/// A flow's counters; all ones where it is not to be counted (OpenFlow 1.3.5, 5.8).
fn counters_of(rule: &Rule) -> Counters {
    let counters = rule.stats.counters();
    let unless = |flag: u16, count: u64| match rule.flags & flag {
        0 => count,
        _ => u64::MAX,
    };
    Counters {
        packets: unless(FLOW_NO_PACKET_COUNTS, counters.packets),
        bytes: unless(FLOW_NO_BYTE_COUNTS, counters.bytes),
    }
}

/// Whole seconds and nanoseconds since `created`.
fn age(created: u64, now: u64) -> (u32, u32) {
    let age = now.saturating_sub(created);
    ((age / NANOS) as u32, (age % NANOS) as u32)
}

/// Of many flows together.
#[derive(Default)]
struct Sum(AggregateStats);

impl Sum {
    fn add(&mut self, rule: &Rule) {
        // What is not to be counted counts as nothing here.
        let counters = rule.stats.counters();
        let unless = |flag: u16, count| if rule.flags & flag == 0 { count } else { 0 };
        self.0.packet_count += unless(FLOW_NO_PACKET_COUNTS, counters.packets);
        self.0.byte_count += unless(FLOW_NO_BYTE_COUNTS, counters.bytes);
        self.0.flow_count += 1;
    }
}

fn table_stats(switch: &Switch) -> Vec<TableStats> {
    let tables = switch.tables.borrow();
    let pipeline = tables.pipeline();
    let stats = pipeline.tables().map(|(table, rules)| {
        let (lookup_count, matched_count) = lookups(pipeline, table);
        TableStats {
            table,
            active_count: rules.len() as u32,
            lookup_count,
            matched_count,
        }
    });
    stats.collect()
}

/// Packets looked up in a table, and of these those that found a flow.
pub(crate) fn lookups(pipeline: &Pipeline, table: TableId) -> (u64, u64) {
    let stats = pipeline.table_stats(table);
    stats.map_or((0, 0), |stats| (stats.lookups(), stats.matched()))
}

/// What is not counted is all ones (OpenFlow 1.3.5, A.3.5.6).
const NOT_COUNTED: ports::PortStats = ports::PortStats {
    rx_packets: u64::MAX,
    tx_packets: u64::MAX,
    rx_bytes: u64::MAX,
    tx_bytes: u64::MAX,
    rx_dropped: u64::MAX,
    tx_dropped: u64::MAX,
    rx_errors: u64::MAX,
    tx_errors: u64::MAX,
};

fn port_stats(switch: &Switch, wanted: PortNo) -> Result<Vec<PortStats>, OfError> {
    let now = switch.engine.now();
    let ports = switch.ports.borrow();
    if wanted != PortNo::ANY && ports.get(wanted).is_none() {
        return Err(OFPBRC_BAD_PORT);
    }
    let stats = ports
        .iter()
        .filter(|port| wanted == PortNo::ANY || port.number == wanted)
        .map(|port| {
            let (duration_sec, duration_nsec) = age(port.created, now);
            let stats = port.stats().unwrap_or(NOT_COUNTED);
            PortStats {
                port: port.number,
                rx_packets: stats.rx_packets,
                tx_packets: stats.tx_packets,
                rx_bytes: stats.rx_bytes,
                tx_bytes: stats.tx_bytes,
                rx_dropped: stats.rx_dropped,
                tx_dropped: stats.tx_dropped,
                rx_errors: stats.rx_errors,
                tx_errors: stats.tx_errors,
                rx_frame_err: 0,
                rx_over_err: 0,
                rx_crc_err: 0,
                collisions: 0,
                duration_sec,
                duration_nsec,
                properties: Vec::new(),
            }
        });
    Ok(stats.collect())
}

/// A group's statistics; for one that does not exist none (OpenFlow 1.3.5, A.3.5.8).
pub(crate) fn groups(switch: &Switch, wanted: Option<GroupId>) -> Vec<Arc<Group>> {
    let tables = switch.tables.borrow();
    let pipeline = tables.pipeline();
    let mut groups: Vec<_> = match wanted {
        None | Some(GroupId::ALL) => pipeline.groups().cloned().collect(),
        Some(id) => pipeline.group(id).cloned().into_iter().collect(),
    };
    groups.sort_by_key(|group| group.id);
    groups
}

pub(crate) fn group_stats(switch: &Switch, group: &Group) -> GroupStats {
    let (duration_sec, duration_nsec) = age(group.created, switch.engine.now());
    let bucket = |counters: Counters| BucketStats {
        packet_count: counters.packets,
        byte_count: counters.bytes,
    };
    let counters = group.stats.counters();
    GroupStats {
        group: group.id,
        ref_count: switch.tables.borrow().group_references(group.id) as u32,
        packet_count: counters.packets,
        byte_count: counters.bytes,
        duration_sec,
        duration_nsec,
        buckets: group
            .buckets
            .iter()
            .map(|b| bucket(b.stats.counters()))
            .collect(),
    }
}

pub(crate) fn group_desc(group: &Group) -> GroupDesc {
    GroupDesc {
        group: group.id,
        kind: group.kind,
        buckets: group.buckets.iter().map(|b| b.bucket.clone()).collect(),
        selection: group.selection.clone(),
        properties: Vec::new(),
    }
}

pub(crate) fn meters(switch: &Switch, wanted: MeterId) -> Result<Vec<Arc<Meter>>, OfError> {
    let tables = switch.tables.borrow();
    let pipeline = tables.pipeline();
    let mut meters: Vec<_> = match wanted {
        MeterId::ALL => pipeline.meters().cloned().collect(),
        id => vec![pipeline.meter(id).cloned().ok_or(OFPMMFC_UNKNOWN_METER)?],
    };
    meters.sort_by_key(|meter| meter.id);
    Ok(meters)
}

pub(crate) fn meter_stats(switch: &Switch, meter: &Meter) -> MeterStats {
    let (duration_sec, duration_nsec) = age(meter.created, switch.engine.now());
    let input = meter.input();
    let band = |counters: Counters| BandStats {
        packet_count: counters.packets,
        byte_count: counters.bytes,
    };
    MeterStats {
        meter: meter.id,
        flow_count: switch.tables.borrow().meter_references(meter.id) as u32,
        packet_in_count: input.packets,
        byte_in_count: input.bytes,
        duration_sec,
        duration_nsec,
        bands: meter.bands().map(|(_, counters)| band(counters)).collect(),
    }
}

pub(crate) fn meter_config(meter: &Meter) -> MeterConfig {
    MeterConfig {
        flags: meter.flags,
        meter: meter.id,
        bands: meter.bands().map(|(band, _)| *band).collect(),
    }
}
