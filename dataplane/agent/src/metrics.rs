//! What `/metrics` shows.

mod connections;
mod cores;

use prometheus::proto::MetricFamily;
use prometheus::{
    CounterVec, GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry, Result, TextEncoder,
};
use worker::{Counter, CountersSnapshot, DropReason};

use crate::Switch;
use crate::handle::multipart;
use crate::ports::{PortRecord, Ports};

/// A page of metrics; made anew for each reading, since all values live elsewhere.
struct Page(Registry);

impl Page {
    fn counter(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn seconds(&self, name: &str, help: &str, labels: &[&str]) -> Result<CounterVec> {
        let metric = CounterVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn share(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
        let metric = GaugeVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

impl Switch {
    /// All metrics in Prometheus' text form. Counters of flows, groups and tables are as of the
    /// last time somebody asked for them exactly; see [`Switch::settle`].
    ///
    /// # Errors
    /// A metric that is declared wrongly: a defect of this program.
    pub fn metrics(&self) -> Result<String> {
        let page = Page(Registry::new());
        identity(&page, self)?;
        connections::connections(&page, self)?;
        ports(&page, self)?;
        let histograms = workers(&page, self)?;
        tables(&page, self)?;
        let mut families = page.0.gather();
        families.extend(histograms);
        TextEncoder::new().encode_to_string(&families)
    }
}

fn identity(page: &Page, switch: &Switch) -> Result<()> {
    let identity = &switch.identity;
    page.gauge(
        "sluice_build_info",
        "Always 1; the labels tell what runs.",
        &["version", "dpdk", "name"],
    )?
    .with_label_values(&[
        identity.version.as_str(),
        identity.dpdk.as_deref().unwrap_or(""),
        identity.name.as_str(),
    ])
    .set(1);
    let uptime = switch.engine.now().saturating_sub(switch.started);
    page.share(
        "sluice_uptime_seconds",
        "Time since the dataplane started.",
        &[],
    )?
    .with_label_values::<&str>(&[])
    .set(seconds(uptime));
    Ok(())
}

/// One metric per port: name, help, value.
type PortMetric = (&'static str, &'static str, fn(&::ports::PortStats) -> u64);

const PORT_COUNTERS: &[PortMetric] = &[
    (
        "sluice_port_receive_packets_total",
        "Packets received; a large frame carried whole counts once.",
        |s| s.rx_packets,
    ),
    (
        "sluice_port_receive_bytes_total",
        "Bytes received, without frame check sequences.",
        |s| s.rx_bytes,
    ),
    (
        "sluice_port_receive_drops_total",
        "Packets lost on reception: queue full or no buffer.",
        |s| s.rx_dropped,
    ),
    (
        "sluice_port_receive_errors_total",
        "Packets received broken.",
        |s| s.rx_errors,
    ),
    (
        "sluice_port_transmit_packets_total",
        "Packets sent; a large frame carried whole counts once.",
        |s| s.tx_packets,
    ),
    (
        "sluice_port_transmit_bytes_total",
        "Bytes sent, without frame check sequences.",
        |s| s.tx_bytes,
    ),
    (
        "sluice_port_transmit_drops_total",
        "Packets that the device did not take.",
        |s| s.tx_dropped,
    ),
    (
        "sluice_port_transmit_errors_total",
        "Packets that could not be sent for what they are.",
        |s| s.tx_errors,
    ),
];

fn ports(page: &Page, switch: &Switch) -> Result<()> {
    let ports = switch.ports.borrow();
    for (name, help, value) in PORT_COUNTERS {
        let metric = page.counter(name, help, &["port"])?;
        for port in ports.iter() {
            let label = [port.spec.name.as_str()];
            if let Some(stats) = port.stats() {
                metric.with_label_values(&label).inc_by(value(&stats));
            }
        }
    }
    delays(page, &ports)?;
    let state = |name, help, value: fn(&PortRecord) -> bool| -> Result<()> {
        let metric = page.gauge(name, help, &["port"])?;
        for port in ports.iter() {
            let label = [port.spec.name.as_str()];
            metric.with_label_values(&label).set(i64::from(value(port)));
        }
        Ok(())
    };
    state("sluice_port_up", "1 while the port's link is up.", |port| {
        port.state.link_up
    })?;
    state(
        "sluice_port_open",
        "1 while the port lets packets in and out.",
        PortRecord::is_open,
    )?;
    page.gauge(
        "sluice_ports_failed",
        "Configured ports that could not be started.",
        &[],
    )?
    .with_label_values::<&str>(&[])
    .set(ports.failed().count() as i64);
    Ok(())
}

/// What sinks of measurements found in stamped packets; nothing where there is no such port.
fn delays(page: &Page, ports: &Ports) -> Result<()> {
    let found: Vec<_> = ports
        .iter()
        .filter_map(|port| Some((port.spec.name.as_str(), port.control.as_ref()?.delays())))
        .filter(|(_, delays)| !delays.is_empty())
        .collect();
    if found.is_empty() {
        return Ok(());
    }
    let metric = page.counter(
        "sluice_sink_delay_packets_total",
        "Stamped packets by how long they took: less than below_seconds, and not less than the bucket before.",
        &["port", "since", "below_seconds"],
    )?;
    for (port, delays) in found {
        for delay in delays {
            let since = match delay.since {
                ::ports::Since::Due => "due",
                ::ports::Since::Received => "received",
            };
            let below = seconds(delay.below).to_string();
            let labels = [port, since, below.as_str()];
            metric.with_label_values(&labels).inc_by(delay.packets);
        }
    }
    Ok(())
}

/// All that workers count; gives what is not in the registry.
fn workers(page: &Page, switch: &Switch) -> Result<Vec<MetricFamily>> {
    let workers: Vec<(String, crate::WorkerView)> = switch
        .engine
        .workers()
        .into_iter()
        .map(|worker| {
            let cpu = worker.cpu.map_or("none".to_owned(), |cpu| cpu.to_string());
            (cpu, worker)
        })
        .collect();
    let labelled: Vec<(&String, &CountersSnapshot)> = workers
        .iter()
        .map(|(cpu, worker)| (cpu, &worker.counters))
        .collect();
    for counter in Counter::ALL {
        let (name, help) = (counter.name(), counter.explain().trim());
        if let Some(base) = name.strip_suffix("_nanos") {
            let name = format!("sluice_worker_{base}_seconds_total");
            let help = help.replace("Nanoseconds", "Seconds");
            let metric = page.seconds(&name, &help, &["cpu"])?;
            for (cpu, counters) in &labelled {
                let value = seconds(counters.get(*counter));
                metric.with_label_values(&[cpu]).inc_by(value);
            }
        } else if is_level(*counter) {
            let metric = page.gauge(&format!("sluice_{name}"), help, &["cpu"])?;
            for (cpu, counters) in &labelled {
                let value = counters.get(*counter) as i64;
                metric.with_label_values(&[cpu]).set(value);
            }
        } else {
            let prefix = match name.starts_with("cache_") {
                true => "sluice_",
                false => "sluice_worker_",
            };
            let metric = page.counter(&format!("{prefix}{name}_total"), help, &["cpu"])?;
            for (cpu, counters) in &labelled {
                let value = counters.get(*counter);
                metric.with_label_values(&[cpu]).inc_by(value);
            }
        }
    }
    let drops = page.counter(
        "sluice_drops_total",
        "Packets dropped, by reason.",
        &["cpu", "reason"],
    )?;
    for (cpu, counters) in &labelled {
        for reason in DropReason::ALL {
            let label = [cpu.as_str(), reason.name()];
            drops
                .with_label_values(&label)
                .inc_by(counters.dropped(*reason));
        }
    }
    let busy = page.share(
        "sluice_worker_busy_ratio",
        "Share of the last second in which the worker had packets, 0 to 1.",
        &["cpu"],
    )?;
    for (at, (cpu, _)) in labelled.iter().enumerate() {
        let percent = switch.busy.borrow().second(at).busy_percent;
        busy.with_label_values(&[cpu]).set(percent / 100.0);
    }
    cores::times(page, &workers, switch.engine.ticks_per_second())?;
    Ok(cores::histograms(&workers))
}

/// True for counters that go down too.
fn is_level(counter: Counter) -> bool {
    matches!(
        counter,
        Counter::CacheEntries
            | Counter::CachePrograms
            | Counter::CacheCapacity
            | Counter::CacheBytes
    )
}

fn tables(page: &Page, switch: &Switch) -> Result<()> {
    let tables = switch.tables.borrow();
    let pipeline = tables.pipeline();
    let flows = page.gauge("sluice_flows", "Flows in a table.", &["table"])?;
    let lookups = page.counter(
        "sluice_table_lookups_total",
        "Packets looked up in a table.",
        &["table"],
    )?;
    let matched = page.counter(
        "sluice_table_matched_total",
        "Packets that found a flow in a table.",
        &["table"],
    )?;
    for (id, table) in pipeline.tables() {
        let (looked_up, found) = multipart::lookups(pipeline, id);
        if table.is_empty() && looked_up == 0 {
            continue;
        }
        let label = [id.0.to_string()];
        flows.with_label_values(&label).set(table.len() as i64);
        lookups.with_label_values(&label).inc_by(looked_up);
        matched.with_label_values(&label).inc_by(found);
    }
    let tracker = switch.engine.tracker();
    let totals = tracker.totals();
    let ended = page.counter(
        "sluice_conntrack_ended_total",
        "Connections that are tracked no longer.",
        &["why"],
    )?;
    for (why, count) in [
        ("expired", totals.expired),
        ("evicted", totals.evicted),
        ("removed", totals.removed),
    ] {
        ended.with_label_values(&[why]).inc_by(count);
    }
    let created = page.counter(
        "sluice_conntrack_created_total",
        "Connections that were begun to track.",
        &[],
    )?;
    created
        .with_label_values::<&str>(&[])
        .inc_by(totals.created);
    let (connections, most) = switch.engine.connection_count();
    let fdb = switch.engine.fdb_counts();
    for (name, help, value) in [
        ("sluice_groups", "Groups.", pipeline.groups().count() as u64),
        (
            "sluice_group_slot_bytes",
            "Memory of the tables by which select groups choose.",
            pipeline
                .groups()
                .map(|group| group.slot_bytes() as u64)
                .sum(),
        ),
        ("sluice_meters", "Meters.", pipeline.meters().count() as u64),
        (
            "sluice_fdb_entries",
            "MAC addresses that NORMAL has learnt.",
            fdb.entries as u64,
        ),
        (
            "sluice_fdb_entries_max",
            "MAC addresses that it can remember.",
            fdb.capacity as u64,
        ),
        (
            "sluice_conntrack_connections",
            "Tracked connections.",
            connections,
        ),
        (
            "sluice_conntrack_connections_max",
            "Connections that can be tracked at a time.",
            most,
        ),
        (
            "sluice_conntrack_half_open",
            "Tracked connections of which one direction only was seen.",
            tracker.half_open().into(),
        ),
        (
            "sluice_conntrack_half_open_max",
            "Half-open connections beyond which the oldest give way.",
            tracker.config().half_open.into(),
        ),
    ] {
        let metric = page.gauge(name, help, &[])?;
        metric.with_label_values::<&str>(&[]).set(value as i64);
    }
    Ok(())
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
