//! The workers as the control plane has them: threads, and the port map that they share.

mod balancer;
mod link;
mod moves;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Sender;
use net::options::OptionMap;
use net::{MacAddr, PortNo};
use openflow::msg::Continuation;
use packet::Pool;
use ports::{Port, Shaping};

use crate::command::Part;
use crate::port_map::Placement;
use crate::shared::Shared;
use crate::{
    Command, Counter, Device, NeighborEntry, PacketOut, Poll, PortEntry, PortError, PortKind,
    PortMap, PortOptions, PortSlot, Queues, Reply, TunnelPort, Vtep, Worker,
};

use balancer::Balancer;
pub use balancer::Moved;
use link::Link;
use moves::Moves;

/// All workers. Nothing here blocks for longer than a system call, except [`Workers::stop`]; and
/// [`Workers::delete_port`], which waits for workers to take a round each if that port is being moved.
pub struct Workers {
    link: Link,
    moves: Arc<Moves>,
    balancer: Balancer,
    threads: Vec<JoinHandle<()>>,
    ports: Mutex<PortMap>,
}

impl Workers {
    /// Starts one thread for each core of the configuration (one that is not pinned, if it names
    /// none). `setup` runs first on each of them, with the worker's index.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn start(
        shared: Arc<Shared>,
        pool: &Pool,
        hash_seed: [u64; 2],
        setup: impl Fn(usize) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let setup: Arc<dyn Fn(usize) + Send + Sync> = Arc::new(setup);
        let (mut workers, engines) = Self::without_threads(shared, pool, hash_seed);
        for (index, worker) in engines.into_iter().enumerate() {
            let (shared, setup) = (workers.link.shared.clone(), setup.clone());
            let thread = std::thread::Builder::new()
                .name(format!("worker{index}"))
                .stack_size(STACK)
                .spawn(move || {
                    shared.register(index);
                    setup(index);
                    run(worker, &shared, index);
                })?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Workers that somebody else polls, such as a test on its own clock.
    pub fn without_threads(
        shared: Arc<Shared>,
        pool: &Pool,
        hash_seed: [u64; 2],
    ) -> (Self, Vec<Worker>) {
        let (commands, engines): (Vec<_>, _) = (0..shared.workers())
            .map(|index| {
                let (sender, receiver) = crossbeam_channel::unbounded();
                let engine = Worker::new(shared.clone(), index, pool.clone(), receiver, hash_seed);
                (sender, engine)
            })
            .unzip();
        let workers = Workers {
            ports: Mutex::new((*shared.ports()).clone()),
            link: Link {
                commands: commands.into(),
                shared,
            },
            moves: Arc::default(),
            balancer: Balancer::default(),
            threads: Vec::new(),
        };
        (workers, engines)
    }

    /// What the workers share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.link.shared
    }

    /// Adds a port over a device, each of its rx queues on the worker with the fewest.
    ///
    /// # Errors
    /// Name or number are taken or reserved; the device is closed then.
    pub fn add_port(
        &self,
        number: PortNo,
        name: &str,
        config: u32,
        device: Box<dyn Port>,
    ) -> Result<PortSlot, PortError> {
        self.add_port_with(number, name, config, &PortOptions::default(), device)
    }

    /// Likewise, with a VLAN or queues.
    ///
    /// # Errors
    /// As [`Workers::add_port`].
    pub fn add_port_with(
        &self,
        number: PortNo,
        name: &str,
        config: u32,
        options: &PortOptions,
        device: Box<dyn Port>,
    ) -> Result<PortSlot, PortError> {
        let control = device.control().clone();
        let mut device = device;
        let parts = device.split();
        let mut ports = self.ports();
        let mut load = self.loads(&ports);
        let workers = load.len();
        let mut placement = Placement::new(match &parts {
            None => vec![take_least(&mut load)],
            // As many as there are, each on the worker with the least to do.
            Some(parts) => parts.rx.iter().map(|_| take_least(&mut load)).collect(),
        });
        placement.is_whole = parts.is_none();
        placement.tx_each = parts.as_ref().is_some_and(|p| p.tx.len() >= workers);
        placement.spread = options.spread && workers > 1;
        let worker = placement.rx.first().map_or(0, |queue| queue.worker());
        let placement = Arc::new(placement);
        let slot = ports.add(PortEntry {
            number,
            name: name.to_owned(),
            slot: PortSlot(0),
            config,
            mac: control.mac(),
            mtu: control.mtu().into(),
            link_up: control.link_up(),
            vlan: options.vlan,
            queues: self.queues(&options.shaping, None),
            kind: PortKind::Device { worker },
            placement: placement.clone(),
            changed: 0,
        })?;
        // What a worker learnt while the last port of that number went away.
        self.link.shared.fdb.flush(Some(number));
        self.link.shared.publish_ports(ports.clone());
        // It does not move before all workers have their parts.
        let arriving = self.moves.arrive(slot).map(Arc::new);
        let attach = |worker: usize, part: Part, device: Box<dyn Port>| {
            let (device, arriving) = (Device(device), arriving.clone());
            let reply = Reply::to(move |()| drop(arriving));
            let attach = Command::Attach {
                slot,
                part,
                device,
                reply,
            };
            self.link.send(worker, attach)
        };
        let all_sent = match parts {
            None => attach(worker, Part::Whole, device),
            Some(parts) => {
                // Who sends is ready before packets come in.
                let senders = match placement.tx_each {
                    true => 0..workers,
                    false => worker..worker + 1,
                };
                let mut sent = true;
                for (worker, device) in senders.zip(parts.tx) {
                    sent &= attach(worker, Part::Tx, device);
                }
                for ((at, queue), device) in (0..).zip(&placement.rx).zip(parts.rx) {
                    sent &= attach(queue.worker(), Part::Rx(at), device);
                }
                sent
            }
        };
        match all_sent {
            true => Ok(slot),
            false => Err(PortError::Stopped(name.to_owned())),
        }
    }

    /// Adds a tunnel port.
    ///
    /// # Errors
    /// Name or number are taken or reserved.
    pub fn add_tunnel(&self, tunnel: &TunnelPort, config: u32) -> Result<PortSlot, PortError> {
        let mut ports = self.ports();
        let slot = ports.add(PortEntry {
            number: tunnel.number,
            name: tunnel.name.clone(),
            slot: PortSlot(0),
            config,
            mac: tunnel_mac(tunnel.number),
            mtu: u16::MAX.into(),
            link_up: true,
            vlan: None,
            queues: Arc::default(),
            kind: PortKind::Tunnel(tunnel.spec),
            placement: Arc::default(),
            changed: 0,
        })?;
        self.link.shared.publish_ports(ports.clone());
        Ok(slot)
    }

    /// Takes a port away; answers with its device when no worker uses it any more.
    ///
    /// # Errors
    /// There is no such port; `done` is not called then.
    pub fn delete_port(
        &self,
        number: PortNo,
        done: Reply<Option<Device>>,
    ) -> Result<(), PortError> {
        let mut ports = self.ports();
        if let Some(slot) = ports.get(number).map(|port| port.slot) {
            // It would be with neither worker.
            drop(ports);
            self.moves.wait(slot);
            ports = self.ports();
        }
        let entry = ports.remove(number)?;
        self.link.shared.publish_ports(ports.clone());
        drop(ports);
        self.link.shared.fdb.flush(Some(number));
        let PortKind::Device { worker } = entry.kind else {
            done.send(None);
            return Ok(());
        };
        let slot = entry.slot;
        let owners = match entry.placement.is_whole {
            true => vec![worker],
            false => (0..self.link.commands.len()).collect(),
        };
        let closed = move |parts: Vec<Vec<Device>>| {
            let mut parts = parts.into_iter().flatten();
            let last = parts.next();
            // The device is closed with its last part.
            parts.for_each(drop);
            done.send(last);
        };
        self.link
            .gather(&owners, Reply::to(closed), |reply| Command::Detach {
                slot,
                reply,
            });
        Ok(())
    }

    /// Changes a port's configuration bits (`openflow::model::PORT_*`), link, MTU and address;
    /// true if anything is different now.
    ///
    /// # Errors
    /// There is no such port.
    pub fn update_port(
        &self,
        number: PortNo,
        change: impl FnOnce(&mut PortEntry),
    ) -> Result<bool, PortError> {
        let mut ports = self.ports();
        let changed = ports.update(number, change)?;
        if changed {
            self.link.shared.publish_ports(ports.clone());
        }
        Ok(changed)
    }

    /// Changes how fast a port sends, and its queues. Packets that wait in a queue that stays, stay.
    ///
    /// # Errors
    /// There is no such port.
    pub fn shape_port(&self, number: PortNo, shaping: &Shaping) -> Result<(), PortError> {
        self.update_port(number, |entry| {
            if entry.queues.shaping() != shaping {
                entry.queues = self.queues(shaping, Some(&entry.queues));
            }
        })
        .map(|_| ())
    }

    /// Says whether IP fragments are dropped before the tables see them.
    pub fn drop_fragments(&self, drop: bool) {
        let mut ports = self.ports();
        if ports.drop_fragments(drop) {
            self.link.shared.publish_ports(ports.clone());
        }
    }

    /// Sets this node's tunnel endpoints. One whose uplink does not exist yet waits for it.
    pub fn set_vteps(&self, vteps: Vec<Vtep>) {
        let mut ports = self.ports();
        ports.set_vteps(vteps);
        self.link.shared.publish_ports(ports.clone());
    }

    /// Says which tunnel options are fields.
    pub fn set_tunnel_options(&self, map: OptionMap) {
        let mut ports = self.ports();
        ports.set_tunnel_options(map);
        self.link.shared.publish_ports(ports.clone());
    }

    /// Sends a packet of the controller's, after what was published before.
    pub fn packet_out(&self, packet: PacketOut) {
        self.link
            .send(self.owner(packet.in_port), Command::PacketOut(packet));
    }

    /// Goes on with a packet that waited for a controller, likewise.
    pub fn resume(&self, packet: PacketOut, rest: Continuation) {
        let owner = self.owner(packet.in_port);
        self.link
            .send(owner, Command::Resume(packet, Box::new(rest)));
    }

    /// The worker that polls a port: what it does stays in order with that port's packets.
    fn owner(&self, port: PortNo) -> usize {
        match self.link.shared.ports().get(port).map(|port| &port.kind) {
            Some(PortKind::Device { worker }) => *worker,
            _ => 0,
        }
    }

    /// Answers when every worker works with what was published before: the next packet sees it.
    ///
    /// A worker that sleeps and has no command waiting takes over the newest tables when it wakes,
    /// before it takes a packet. It is let sleep: waking it costs more than all the rest.
    pub fn barrier(&self, done: Reply<()>) {
        let awake = |worker: &usize| {
            let idle = self.link.commands.get(*worker).is_none_or(Sender::is_empty);
            !idle || !self.link.shared.is_asleep(*worker)
        };
        let awake: Vec<usize> = (0..self.link.commands.len()).filter(awake).collect();
        self.link.ask(&awake, done, Command::Barrier);
    }

    /// As [`Workers::barrier`], and what workers counted is in the counters of rules, groups and
    /// tables.
    pub fn settle(&self, done: Reply<()>) {
        self.link.ask_all(done, Command::Sync);
    }

    /// Empties the flow caches.
    pub fn flush_caches(&self, done: Reply<()>) {
        self.link.ask_all(done, Command::FlushCache);
    }

    /// Next hops of tunnels.
    pub fn neighbors(&self) -> Vec<NeighborEntry> {
        let ports = self.link.shared.ports();
        self.link
            .shared
            .neighbors
            .list(&ports, self.link.shared.now())
    }

    /// Sets a next hop for good; false if no tunnel endpoint could use it.
    pub fn set_neighbor(&self, address: IpAddr, mac: MacAddr) -> bool {
        let (ports, now) = (self.link.shared.ports(), self.link.shared.now());
        self.link.shared.neighbors.set(&ports, address, mac, now)
    }

    /// Forgets what is known of a next hop; false if nothing was.
    pub fn forget_neighbor(&self, address: IpAddr) -> bool {
        self.link
            .shared
            .neighbors
            .forget(address, self.link.shared.now())
    }

    /// Ends all workers and waits for them; their devices are closed.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        for worker in 0..self.link.commands.len() {
            self.link.send(worker, Command::Stop);
        }
        for thread in self.threads.drain(..) {
            // A worker that panicked has said so on stderr; the others end in order.
            let _ = thread.join();
        }
    }

    fn queues(&self, shaping: &Shaping, old: Option<&Queues>) -> Arc<Queues> {
        let (workers, now) = (self.link.shared.workers(), self.link.shared.now());
        Arc::new(Queues::new(shaping, workers, now, old))
    }

    fn ports(&self) -> MutexGuard<'_, PortMap> {
        // The map is changed by whole, valid steps: a panic elsewhere does not spoil it.
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rx queues of each worker.
    fn loads(&self, ports: &PortMap) -> Vec<usize> {
        let mut loads = vec![0; self.link.commands.len()];
        for queue in ports.iter().flat_map(|port| port.placement.rx.iter()) {
            if let Some(load) = loads.get_mut(queue.worker()) {
                *load += 1;
            }
        }
        loads
    }
}

/// The place with the least, which has one more now.
fn take_least(loads: &mut [usize]) -> usize {
    let least = (0..loads.len()).min_by_key(|at| loads.get(*at).copied());
    let at = least.unwrap_or(0);
    if let Some(load) = loads.get_mut(at) {
        *load += 1;
    }
    at
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Bytes of a worker's stack: a walk nests as deep as the tables say, up to a limit.
const STACK: usize = 16 << 20;
/// First sleep of an adaptive worker.
const SHORTEST: Duration = Duration::from_micros(5);
/// Not worth a sleep.
const BRIEF: Duration = Duration::from_micros(1);
/// How long an adaptive worker goes on polling after the last packet, in nanoseconds: the answer
/// to what was just sent is often on its way.
const LINGER: u64 = 500_000;

/// A worker's thread.
fn run(mut worker: Worker, shared: &Shared, index: usize) {
    let counters = shared.counters(index);
    // Without it sleeps are longer than asked for, which is no reason not to run.
    let _ = os::sleep_exactly();
    let mut nap = SHORTEST;
    let mut now = shared.now();
    let mut last_packet = now;
    while !worker.is_stopped() {
        let packets = worker.poll(now);
        let after = shared.now();
        if packets > 0 {
            counters.add(Counter::BusyPolls, 1);
            counters.add(Counter::BusyNanos, after.saturating_sub(now));
            last_packet = after;
            nap = SHORTEST;
        } else {
            counters.add(Counter::IdlePolls, 1);
        }
        now = after;
        let Poll::Adaptive { cap } = shared.config.poll else {
            continue;
        };
        let idle = after.saturating_sub(last_packet);
        let until_due = worker.due().map(|due| due.saturating_sub(after));
        let longest = until_due.map_or(cap, |wait| cap.min(Duration::from_nanos(wait)));
        if idle > LINGER && longest >= BRIEF {
            shared.set_asleep(index, true);
            // Whoever hands packets over wakes only who sleeps.
            if !shared.has_handovers(index) {
                std::thread::park_timeout(nap.min(longest));
            }
            shared.set_asleep(index, false);
            nap = (nap * 5 / 4).min(cap);
            now = shared.now();
            counters.add(Counter::SleepNanos, now.saturating_sub(after));
        } else if packets == 0 {
            // Leaves the core to whoever waits for it; nobody does on a core of our own.
            std::thread::yield_now();
        }
    }
}

/// A tunnel port has no device; OpenFlow wants an address all the same.
fn tunnel_mac(number: PortNo) -> MacAddr {
    let [a, b, c, d] = number.0.to_be_bytes();
    MacAddr([0x02, 0x54, a, b, c, d])
}
