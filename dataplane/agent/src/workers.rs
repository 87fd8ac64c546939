//! The real workers as the agent's [`Engine`].

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use conntrack::{Conn, ConnTable, Filter, Tuple};
use net::options::OptionMap;
use net::{MacAddr, PortNo};
use openflow::msg::Continuation;
use ports::Shaping;
use worker::{
    FdbCounts, FdbEntry, NeighborEntry, PacketInQueue, PacketOut, PortKind, Reply, RequestQueue,
    Shared, TunnelPort, Workers,
};

use crate::{Device, Done, Engine, NewPort, PortState, QueueView, RxQueueView, WorkerView};

impl Engine for Workers {
    fn now(&self) -> u64 {
        self.shared().now()
    }

    fn barrier(&self, done: Done<()>) {
        Workers::barrier(self, Reply::to(done));
    }

    fn set_tunnel_options(&self, map: OptionMap) {
        Workers::set_tunnel_options(self, map);
    }

    fn settle(&self, done: Done<()>) {
        Workers::settle(self, Reply::to(done));
    }

    fn packet_out(&self, packet: PacketOut) {
        Workers::packet_out(self, packet);
    }

    fn resume(&self, packet: PacketOut, rest: Continuation) {
        Workers::resume(self, packet, rest);
    }

    fn packet_ins(&self) -> Arc<PacketInQueue> {
        self.shared().packet_ins.clone()
    }

    fn requests(&self) -> Arc<RequestQueue> {
        self.shared().requests.clone()
    }

    fn send_invalid_ttl(&self, wanted: bool) {
        let flag = &self.shared().invalid_ttl_to_controller;
        flag.store(wanted, Ordering::Relaxed);
    }

    fn drop_fragments(&self, drop: bool) {
        Workers::drop_fragments(self, drop);
    }

    fn add_port(&self, port: NewPort) -> Result<(), String> {
        let added = match port.device {
            Device::Port(device) => {
                self.add_port_with(port.number, &port.name, port.config, &port.options, device)
            }
            Device::Tunnel(spec) => {
                let (number, name) = (port.number, port.name);
                self.add_tunnel(&TunnelPort { number, name, spec }, port.config)
            }
        };
        added.map(|_| ()).map_err(|error| error.to_string())
    }

    fn delete_port(&self, number: PortNo, done: Done<()>) -> Result<(), String> {
        // The device is closed here, on whichever thread gives the answer.
        let closed = Reply::to(move |device: Option<worker::Device>| {
            drop(device);
            done(());
        });
        Workers::delete_port(self, number, closed).map_err(|error| error.to_string())
    }

    fn move_port(
        &self,
        number: PortNo,
        queue: u16,
        cpu: u32,
        done: Done<()>,
    ) -> Result<(), String> {
        let cpus = &self.shared().config.cpus;
        let worker = cpus.iter().position(|own| u32::try_from(*own) == Ok(cpu));
        let worker = worker.ok_or_else(|| {
            let list: Vec<String> = cpus.iter().map(usize::to_string).collect();
            match list.is_empty() {
                true => "workers have no cores of their own; start with --cpus".to_owned(),
                false => format!(
                    "no worker is on core {cpu}; they are on {}",
                    list.join(", ")
                ),
            }
        })?;
        Workers::move_port(self, number, queue, worker, Reply::to(done))
            .map_err(|error| error.to_string())
    }

    fn balance(&self) -> Vec<String> {
        let cpus = &self.shared().config.cpus;
        let told = |moved: worker::Moved| {
            let cpu = cpus.get(moved.to).copied().unwrap_or(moved.to);
            let (port, queue) = (moved.port, moved.queue);
            format!("port {port}: rx queue {queue} goes to core {cpu}, which has less to do")
        };
        Workers::balance(self).into_iter().map(told).collect()
    }

    fn ticks_per_second(&self) -> u64 {
        worker::telemetry::ticks_per_second()
    }

    fn set_port(&self, number: PortNo, state: PortState) {
        let updated = self.update_port(number, |entry| {
            entry.config = state.config;
            entry.link_up = state.link_up;
            if let PortKind::Device { .. } = entry.kind {
                entry.mac = state.mac;
                entry.mtu = state.mtu.into();
            }
        });
        if let Err(error) = updated {
            tracing::error!("{error}");
        }
    }

    fn queues(&self, number: PortNo) -> Vec<QueueView> {
        let ports = self.shared().ports();
        let queues = ports.get(number).map(|port| port.queues.clone());
        let view = |queue: &Arc<worker::Queue>| {
            let (packets, bytes) = queue.sent();
            QueueView {
                spec: queue.spec,
                created: queue.created,
                packets,
                bytes,
                dropped: queue.dropped(),
            }
        };
        queues.unwrap_or_default().iter().map(view).collect()
    }

    fn shape_port(&self, number: PortNo, shaping: &Shaping) -> Result<(), String> {
        let shaped = Workers::shape_port(self, number, shaping);
        shaped.map_err(|error| error.to_string())
    }

    fn fdb(&self) -> Vec<FdbEntry> {
        let shared = self.shared();
        shared.fdb.list(shared.now())
    }

    fn fdb_counts(&self) -> FdbCounts {
        self.shared().fdb.counts()
    }

    fn flush_fdb(&self, port: Option<PortNo>) -> usize {
        self.shared().fdb.flush(port)
    }

    fn workers(&self) -> Vec<WorkerView> {
        let shared: &Shared = self.shared();
        let ports = shared.ports();
        let view = |index: usize| {
            let mut polled = Vec::new();
            for port in ports.iter() {
                for (at, queue) in (0..).zip(&port.placement.rx) {
                    if queue.worker() == index {
                        polled.push(RxQueueView {
                            port: port.name.clone(),
                            queue: at,
                            packets: queue.packets(),
                            ticks: queue.ticks(),
                            spread: port.placement.spread,
                        });
                    }
                }
            }
            let mut names: Vec<String> = polled.iter().map(|q| q.port.clone()).collect();
            names.dedup();
            WorkerView {
                cpu: shared.config.cpus.get(index).copied(),
                ports: names,
                counters: shared.counters(index).snapshot(),
                telemetry: shared.telemetry(index).snapshot(),
                queues: polled,
            }
        };
        (0..shared.workers()).map(view).collect()
    }

    fn tracker(&self) -> Arc<ConnTable> {
        self.shared().conns.clone()
    }

    fn connections(&self, zone: Option<u16>) -> Vec<admin::Connection> {
        let shared = self.shared();
        let wanted = |conn: &Conn| zone.is_none_or(|zone| zone == conn.zone);
        let conns = shared.conns.iter(shared.now()).filter(wanted);
        conns.map(|conn| connection(&conn)).collect()
    }

    fn connection_count(&self) -> (u64, u64) {
        let conns = &self.shared().conns;
        (conns.len().into(), conns.capacity().into())
    }

    fn flush_connections(&self, filter: &Filter, part: u32) -> (u64, bool) {
        /// Places in a part.
        const PLACES: u32 = 4096;
        let conns = &self.shared().conns;
        let start = part.saturating_mul(PLACES);
        let end = start.saturating_add(PLACES);
        let all = conns.places();
        let flushed = conns.flush_places(filter, start..end.min(all));
        (flushed.into(), end < all)
    }

    fn neighbors(&self) -> Vec<NeighborEntry> {
        Workers::neighbors(self)
    }

    fn set_neighbor(&self, address: IpAddr, mac: MacAddr) -> bool {
        Workers::set_neighbor(self, address, mac)
    }

    fn delete_neighbor(&self, address: IpAddr) -> bool {
        self.forget_neighbor(address)
    }
}

fn connection(conn: &Conn) -> admin::Connection {
    let tuple = |tuple: &Tuple| admin::Tuple {
        src: tuple.src.to_string(),
        dst: tuple.dst.to_string(),
        sport: tuple.src_port,
        dport: tuple.dst_port,
    };
    admin::Connection {
        zone: conn.zone,
        protocol: match conn.original.proto {
            1 => "icmp".to_owned(),
            6 => "tcp".to_owned(),
            17 => "udp".to_owned(),
            58 => "icmpv6".to_owned(),
            132 => "sctp".to_owned(),
            other => other.to_string(),
        },
        state: conn
            .tcp
            .map(|state| state.to_string().to_ascii_lowercase())
            .unwrap_or_default(),
        original: tuple(&conn.original),
        reply: tuple(&conn.reply),
        mark: conn.mark,
        label: match conn.label {
            0 => String::new(),
            label => format!("{label:#x}"),
        },
        expires_ms: u64::try_from(conn.left.as_millis()).unwrap_or(u64::MAX),
    }
}
