//! A port made of two queues: packets in and out of a worker without a device.

use crate::counters::{Counters, Lost};
use crate::egress::Finisher;
use crate::{Burst, Caps, Port, PortControl, PortError, PortStats, Queues};
use crossbeam_queue::ArrayQueue;
use net::MacAddr;
use packet::Packet;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// Packets each queue holds; more are dropped and counted.
pub const QUEUE: usize = 4096;

/// A port over queues in memory, or one queue of it.
pub struct MemPort {
    rx: Arc<ArrayQueue<Packet>>,
    tx: Arc<ArrayQueue<Packet>>,
    /// All queues of a port with several of them, until it is split.
    all: Option<(Fifos, Fifos)>,
    /// Of this part; one writer.
    counters: Arc<Counters>,
    state: Arc<MemControl>,
    control: Arc<dyn PortControl>,
    finisher: Finisher,
}

/// The other side of a [`MemPort`]: what the wire is to a device.
#[derive(Clone)]
pub struct MemWire {
    to_port: Arc<ArrayQueue<Packet>>,
    from_port: Arc<ArrayQueue<Packet>>,
    state: Arc<MemControl>,
}

type Fifos = Vec<Arc<ArrayQueue<Packet>>>;

struct MemControl {
    name: String,
    mac: MacAddr,
    caps: Caps,
    mtu: AtomicU16,
    up: AtomicBool,
    /// Of all parts.
    counters: Mutex<Vec<Arc<Counters>>>,
}

impl MemPort {
    /// A port and the wire it hangs on. The port's address is made from its name.
    pub fn new(name: &str, caps: Caps) -> (MemPort, MemWire) {
        let to_port = Arc::new(ArrayQueue::new(QUEUE));
        let from_port = Arc::new(ArrayQueue::new(QUEUE));
        let port = Self::over(name, caps, Arc::clone(&to_port), Arc::clone(&from_port));
        let state = Arc::clone(&port.state);
        let wire = MemWire {
            to_port,
            from_port,
            state,
        };
        (port, wire)
    }

    /// A port of a device with so many rx and tx queues, and a wire for each pair of them; a queue
    /// that has no partner hangs on a wire that is dead in the other direction. Which rx queue a packet
    /// comes in by is for the wires' owner to choose.
    pub fn with_queues(name: &str, caps: Caps, rx: usize, tx: usize) -> (MemPort, Vec<MemWire>) {
        let make = |_| Arc::new(ArrayQueue::new(QUEUE));
        let all: (Fifos, Fifos) = ((0..rx).map(make).collect(), (0..tx).map(make).collect());
        let nth = |fifos: &Fifos, at: usize| fifos.get(at).cloned().unwrap_or_else(|| make(0));
        let mut port = Self::over(name, caps, nth(&all.0, 0), nth(&all.1, 0));
        let wires = (0..rx.max(tx)).map(|at| MemWire {
            to_port: nth(&all.0, at),
            from_port: nth(&all.1, at),
            state: Arc::clone(&port.state),
        });
        let wires = wires.collect();
        port.all = Some(all);
        (port, wires)
    }

    /// Two ports joined by a cable.
    pub fn pair(a: &str, b: &str, caps: Caps) -> (MemPort, MemPort) {
        let a_to_b = Arc::new(ArrayQueue::new(QUEUE));
        let b_to_a = Arc::new(ArrayQueue::new(QUEUE));
        (
            Self::over(a, caps, Arc::clone(&b_to_a), Arc::clone(&a_to_b)),
            Self::over(b, caps, a_to_b, b_to_a),
        )
    }

    fn over(
        name: &str,
        caps: Caps,
        rx: Arc<ArrayQueue<Packet>>,
        tx: Arc<ArrayQueue<Packet>>,
    ) -> MemPort {
        let state = Arc::new(MemControl {
            name: name.to_owned(),
            mac: mac_for(name),
            caps,
            mtu: AtomicU16::new(1500),
            up: AtomicBool::new(true),
            counters: Mutex::default(),
        });
        Self::part(&state, rx, tx)
    }

    fn part(
        state: &Arc<MemControl>,
        rx: Arc<ArrayQueue<Packet>>,
        tx: Arc<ArrayQueue<Packet>>,
    ) -> MemPort {
        let counters = Arc::new(Counters::default());
        let mut all = state
            .counters
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.push(counters.clone());
        drop(all);
        MemPort {
            rx,
            tx,
            all: None,
            counters,
            control: Arc::clone(state) as _,
            state: Arc::clone(state),
            finisher: Finisher::new(state.caps),
        }
    }
}

impl Port for MemPort {
    fn rx(&mut self, burst: &mut Burst) {
        let counters = &self.counters;
        while !burst.is_full() {
            let Some(packet) = self.rx.pop() else { break };
            counters.rx_packets.add(1);
            counters.rx_bytes.add(packet.len());
            burst.push(packet);
        }
    }

    fn tx(&mut self, burst: &mut Burst) -> usize {
        let counters = &self.counters;
        let mut lost = Lost::default();
        for packet in burst.drain(..) {
            let finished = self.finisher.finish(packet, &mut |packet| {
                let bytes = packet.len();
                if self.state.up.load(Relaxed) && self.tx.push(packet).is_ok() {
                    counters.tx_packets.add(1);
                    counters.tx_bytes.add(bytes);
                } else {
                    lost.dropped += 1;
                }
            });
            lost.add(finished);
        }
        counters.lose(lost)
    }

    fn control(&self) -> &Arc<dyn PortControl> {
        &self.control
    }

    fn split(&mut self) -> Option<Queues> {
        let (rx, tx) = self.all.take()?;
        let nothing = || Arc::new(ArrayQueue::new(1));
        let rx = rx
            .into_iter()
            .map(|rx| Self::part(&self.state, rx, nothing()));
        let tx = tx
            .into_iter()
            .map(|tx| Self::part(&self.state, nothing(), tx));
        Some(Queues {
            rx: rx.map(|part| Box::new(part) as _).collect(),
            tx: tx.map(|part| Box::new(part) as _).collect(),
        })
    }
}

impl MemWire {
    /// Sends a packet to the port; gives it back if the port's queue is full.
    pub fn inject(&self, packet: Packet) -> Result<(), Packet> {
        self.to_port.push(packet)
    }

    /// The next packet the port sent.
    pub fn collect(&self) -> Option<Packet> {
        self.from_port.pop()
    }

    /// All packets the port has sent so far.
    pub fn collect_all(&self) -> Vec<Packet> {
        std::iter::from_fn(|| self.collect()).collect()
    }

    /// Packets not yet taken by the port.
    pub fn pending(&self) -> usize {
        self.to_port.len()
    }

    /// Sets the port's carrier.
    pub fn set_link(&self, up: bool) {
        self.state.up.store(up, Relaxed);
    }
}

impl PortControl for MemControl {
    fn name(&self) -> &str {
        &self.name
    }

    fn mac(&self) -> MacAddr {
        self.mac
    }

    fn mtu(&self) -> u16 {
        self.mtu.load(Relaxed)
    }

    fn link_up(&self) -> bool {
        self.up.load(Relaxed)
    }

    fn speed(&self) -> u32 {
        0
    }

    fn caps(&self) -> Caps {
        self.caps
    }

    fn stats(&self) -> PortStats {
        let mut stats = PortStats::default();
        let all = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        for counters in all.iter() {
            stats.add(&counters.read());
        }
        stats
    }

    fn set_up(&self, up: bool) -> Result<(), PortError> {
        self.up.store(up, Relaxed);
        Ok(())
    }

    fn set_mtu(&self, mtu: u16) -> Result<(), PortError> {
        self.mtu.store(mtu, Relaxed);
        Ok(())
    }
}

/// A locally administered address that differs between names (FNV-1a, 32 bits).
pub(crate) fn mac_for(name: &str) -> MacAddr {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |h, b| {
        (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
    });
    let [a, b, c, d] = hash.to_be_bytes();
    MacAddr([0x02, 0x51, a, b, c, d])
}
