//! The switch's state in the admin socket's words.

use std::collections::BTreeMap;

use admin::{
    Band, Bucket, Drop, Fdb, FdbEntry, Flow, Group, Meter, Neighbor, Port, PortStats, Session,
    Show, Table, Version,
};
use net::{GroupId, MeterId};
use openflow::Action;
use openflow::model::{BandKind, GroupType, METER_PKTPS};
use openflow::msg::Role;
use openflow::text::{self, Names};
use tables::{FlowFilter, Rule, TABLES};
use worker::{DropReason, NeighborEntry, NeighborState};

use crate::Switch;
use crate::handle::{multipart, stream};
use crate::ports::{PortRecord, iface, kind_name};

pub(super) fn port(record: &PortRecord) -> Port {
    let kind = record.spec.kind.to_string();
    Port {
        name: record.spec.name.clone(),
        ofport: record.number.0,
        kind: kind_name(&record.spec.kind),
        device: kind.strip_prefix("dev=").unwrap_or(&kind).to_owned(),
        iface: iface(&record.spec.kind).map(str::to_owned),
        mac: record.state.mac.to_string(),
        mtu: record.state.mtu.into(),
        link_up: record.state.link_up,
        open: record.is_open(),
        config: record.state.config,
        error: None,
        stats: record.stats().map(|stats| PortStats {
            rx_packets: stats.rx_packets,
            rx_bytes: stats.rx_bytes,
            rx_drops: stats.rx_dropped,
            rx_errors: stats.rx_errors,
            tx_packets: stats.tx_packets,
            tx_bytes: stats.tx_bytes,
            tx_drops: stats.tx_dropped,
            tx_errors: stats.tx_errors,
            duration_ns: 0,
        }),
    }
}

pub(super) fn ports(switch: &Switch) -> Vec<Port> {
    let now = switch.engine.now();
    let ports = switch.ports.borrow();
    let running = ports.iter().map(|record| {
        let mut shown = port(record);
        if let Some(stats) = &mut shown.stats {
            stats.duration_ns = now.saturating_sub(record.created);
        }
        shown
    });
    let failed = ports.failed().map(|failed| Port {
        name: failed.spec.name.clone(),
        ofport: failed.spec.ofport.map_or(0, |number| number.0),
        kind: kind_name(&failed.spec.kind),
        device: failed.spec.kind.to_string(),
        error: Some(failed.error.clone()),
        ..Port::default()
    });
    running.chain(failed).collect()
}

/// A flow with its counters at `now`.
pub(super) fn flow(switch: &Switch, rule: &Rule, now: u64) -> Flow {
    let labels = switch.labels.borrow();
    let stats = multipart::flow_stats(rule, now);
    Flow {
        table: rule.table.0,
        priority: rule.priority,
        cookie: rule.cookie,
        object: labels.get(rule.cookie).map(str::to_owned),
        duration_ns: now.saturating_sub(rule.created),
        packets: stats.packet_count,
        bytes: stats.byte_count,
        idle_timeout: rule.timeouts().0,
        hard_timeout: rule.timeouts().1,
        matching: stats.matching.to_string(),
        actions: stats.instructions.to_string(),
        text: text::print_flow_stats(&stats, Names::NONE),
    }
}

/// A filter as `ovs-ofctl dump-flows` takes it; ports may be named.
pub(super) fn parse_filter(switch: &Switch, filter: &str) -> Result<FlowFilter, String> {
    let ports = switch.ports.borrow();
    let names = Names {
        ports: ports
            .iter()
            .map(|port| (port.number, port.spec.name.clone()))
            .collect(),
        ..Names::default()
    };
    let request = text::parse_flow_filter(filter, &names);
    let request = request.map_err(|error| format!("filter '{filter}': {error}"))?;
    Ok(multipart::filter(&request))
}

/// Objects that use groups and meters: those of the flows that name them.
#[derive(Default)]
struct Users {
    groups: BTreeMap<GroupId, String>,
    meters: BTreeMap<MeterId, String>,
}

async fn users(switch: &Switch) -> Users {
    let mut users = Users::default();
    let all = switch.tables.borrow().scan(&FlowFilter::default());
    stream::each_flow(all, |rule| {
        let labels = switch.labels.borrow();
        let Some(label) = labels.get(rule.cookie) else {
            return;
        };
        if let Some(meter) = rule.instructions.meter {
            users.meters.entry(meter).or_insert(label.to_owned());
        }
        let written = rule.instructions.write.iter().flatten();
        for action in rule.instructions.apply.iter().chain(written) {
            match action {
                Action::Group(group) => {
                    users.groups.entry(*group).or_insert(label.to_owned());
                }
                Action::Meter(meter) => {
                    users.meters.entry(*meter).or_insert(label.to_owned());
                }
                _ => {}
            }
        }
    })
    .await;
    users
}

/// Queues of one port, or of all.
pub(super) fn queues(switch: &Switch, port: Option<&str>) -> Result<Vec<admin::Queue>, String> {
    let ports = switch.ports.borrow();
    if let Some(name) = port.filter(|name| ports.named(name).is_none()) {
        return Err(format!(
            "no port {name}; `sluicectl port list` shows what there is"
        ));
    }
    let meant = ports
        .iter()
        .filter(|record| port.is_none_or(|name| name == record.spec.name));
    let queues = meant.flat_map(|record| {
        let queues = switch.engine.queues(record.number).into_iter();
        queues.map(|queue| admin::Queue {
            port: record.spec.name.clone(),
            id: queue.spec.id,
            min_rate: queue.spec.min,
            max_rate: queue.spec.max,
            priority: queue.spec.priority,
            weight: queue.spec.weight,
            packets: queue.packets,
            bytes: queue.bytes,
            dropped: queue.dropped,
        })
    });
    Ok(queues.collect())
}

pub(super) async fn groups(switch: &Switch) -> Vec<Group> {
    let mut users = users(switch).await;
    let now = switch.engine.now();
    let group = |group: &std::sync::Arc<tables::Group>| {
        let stats = multipart::group_stats(switch, group);
        Group {
            id: group.id.0,
            kind: match group.kind {
                GroupType::All => "all",
                GroupType::Select => "select",
                GroupType::Indirect => "indirect",
                GroupType::FastFailover => "ff",
            }
            .to_owned(),
            object: users.groups.remove(&group.id),
            references: stats.ref_count,
            packets: stats.packet_count,
            bytes: stats.byte_count,
            duration_ns: now.saturating_sub(group.created),
            buckets: stats
                .buckets
                .iter()
                .map(|bucket| Bucket {
                    packets: bucket.packet_count,
                    bytes: bucket.byte_count,
                })
                .collect(),
            text: text::print_group_desc(&multipart::group_desc(group), Names::NONE),
        }
    };
    multipart::groups(switch, None).iter().map(group).collect()
}

pub(super) async fn meters(switch: &Switch) -> Vec<Meter> {
    let mut users = users(switch).await;
    let now = switch.engine.now();
    let all = multipart::meters(switch, MeterId::ALL).unwrap_or_default();
    let meter = |meter: &std::sync::Arc<tables::Meter>| {
        let stats = multipart::meter_stats(switch, meter);
        Meter {
            id: meter.id.0,
            object: users.meters.remove(&meter.id),
            flows: stats.flow_count,
            packets: stats.packet_in_count,
            bytes: stats.byte_in_count,
            duration_ns: now.saturating_sub(meter.created),
            unit: match meter.flags & METER_PKTPS {
                0 => "kbps",
                _ => "pktps",
            }
            .to_owned(),
            bands: meter
                .bands()
                .map(|(band, counters)| Band {
                    kind: match band.kind {
                        BandKind::Drop => "drop",
                        BandKind::DscpRemark { .. } => "dscp_remark",
                    }
                    .to_owned(),
                    rate: band.rate,
                    burst: band.burst,
                    packets: counters.packets,
                    bytes: counters.bytes,
                })
                .collect(),
            text: text::print_meter_config(&multipart::meter_config(meter))
                .trim_end()
                .to_owned(),
        }
    };
    all.iter().map(meter).collect()
}

pub(super) fn tables(switch: &Switch) -> Vec<Table> {
    let tables = switch.tables.borrow();
    let pipeline = tables.pipeline();
    let names = switch.table_names.borrow();
    let table = |(id, table): (net::TableId, &tables::Table)| {
        let (lookups, matched) = multipart::lookups(pipeline, id);
        let seen = !table.is_empty() || lookups != 0;
        let shape = seen.then(|| table.shape())?;
        Some(Table {
            id: id.0,
            name: names.get(&id).cloned().unwrap_or(id.0.to_string()),
            active: table.len() as u32,
            lookups,
            matched,
            max_entries: tables.limits(id).unwrap_or_default().max_entries,
            template: shape.template.to_string(),
            masks: shape.masks as u32,
            probes: shape.probes as u32,
            memory: shape.memory as u64,
        })
    };
    pipeline.tables().filter_map(table).collect()
}

pub(super) fn switch(switch: &Switch) -> Show {
    let identity = &switch.identity;
    let workers = switch.engine.workers();
    let cpus = workers.iter().filter_map(|w| w.cpu.map(|cpu| cpu as u32));
    let tables = switch.tables.borrow();
    let pipeline = tables.pipeline();
    Show {
        dpid: identity.dpid,
        name: identity.name.clone(),
        version: identity.version.clone(),
        tables: TABLES,
        flows: pipeline.rules() as u64,
        groups: pipeline.groups().count() as u64,
        meters: pipeline.meters().count() as u64,
        connections: switch.engine.connection_count().0,
        cpus: cpus.collect(),
        vtep: match identity.vteps.is_empty() {
            true => None,
            false => Some(identity.vteps.join(", ")),
        },
        sessions: sessions(switch),
        ports: ports(switch),
        uptime_s: switch.engine.now().saturating_sub(switch.started) / 1_000_000_000,
    }
}

fn sessions(switch: &Switch) -> Vec<Session> {
    let targets = switch.links.each().into_iter();
    let targets = targets.map(|(target, link)| Session {
        target,
        state: link.state(),
        role: None,
        version: None,
    });
    let connected = switch.sessions.borrow();
    let connected = connected.values().map(|session| Session {
        target: session.peer.clone(),
        state: "connected".to_owned(),
        version: session.version.get().map(|version| version.to_string()),
        role: Some(
            match session.role.get() {
                Role::Equal | Role::NoChange => "equal",
                Role::Master => "master",
                Role::Slave => "slave",
            }
            .to_owned(),
        ),
    });
    targets.chain(connected).collect()
}

pub(super) fn cpu(worker: &crate::WorkerView) -> Option<u32> {
    worker.cpu.and_then(|cpu| u32::try_from(cpu).ok())
}

pub(super) fn drops(switch: &Switch) -> Vec<Drop> {
    let mut drops = Vec::new();
    for worker in switch.engine.workers() {
        for reason in DropReason::ALL {
            let packets = worker.counters.dropped(*reason);
            if packets != 0 {
                drops.push(Drop {
                    cpu: cpu(&worker),
                    reason: reason.name().to_owned(),
                    explanation: reason.explain().trim().to_owned(),
                    packets,
                });
            }
        }
    }
    drops
}

pub(super) fn neighbors(switch: &Switch, entries: Vec<NeighborEntry>) -> Vec<Neighbor> {
    let ports = switch.ports.borrow();
    let neighbor = |entry: NeighborEntry| Neighbor {
        ip: entry.address.to_string(),
        mac: entry.mac.map(|mac| mac.to_string()),
        state: match entry.state {
            NeighborState::Permanent => "static",
            state => state.name(),
        }
        .to_owned(),
        port: match ports.get(entry.port) {
            Some(port) => port.spec.name.clone(),
            None => entry.port.to_string(),
        },
        age_ms: entry.age_ms,
    };
    entries.into_iter().map(neighbor).collect()
}

pub(super) fn version(switch: &Switch) -> Version {
    Version {
        version: switch.identity.version.clone(),
        dpdk: switch.identity.dpdk.clone(),
        openflow: openflow::Version::SUPPORTED
            .iter()
            .map(|version| version.to_string())
            .collect(),
    }
}

/// Addresses that NORMAL has learnt.
pub(super) fn fdb(switch: &Switch) -> Fdb {
    let ports = switch.ports.borrow();
    let name = |number| match ports.get(number) {
        Some(port) => port.spec.name.clone(),
        None => number.to_string(),
    };
    let (entries, counts) = (switch.engine.fdb(), switch.engine.fdb_counts());
    let entry = |entry: worker::FdbEntry| FdbEntry {
        port: name(entry.port),
        vlan: entry.vlan,
        mac: entry.mac.to_string(),
        age: entry.age,
    };
    Fdb {
        entries: entries.into_iter().map(entry).collect(),
        capacity: counts.capacity as u64,
        learned: counts.learned,
        moved: counts.moved,
        expired: counts.expired,
        evicted: counts.evicted,
    }
}
