//! DPDK devices as ports.
//!
//! Drivers that know no offloads (`net_af_packet`, `net_ring`, `net_pcap`, ...) get finished frames.
//! `net_af_packet` moves frames of at most its `framesz` (2,048 bytes by default): for a larger MTU give
//! `framesz` and `blocksz`. It does not see that a frame from a veth peer has an open checksum or is a
//! large one: switch these off at the peer (`ethtool -K IFACE tx off tso off gso off`), or use `dev=veth`.

use crate::counters::{Counters, Lost};
use crate::egress::Finisher;
use crate::{Burst, Caps, Pools, Port, PortControl, PortError, PortSpec, PortStats, Queues, rss};
use dpdk::{DevicePort, DpdkError, Eal, PortConfig, PortInfo, RxQueue, Sent, TxQueue};
use net::MacAddr;
use packet::Packet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Descriptors per queue: 1,024 packets are 100 us of small ones at 10 Mpps.
const DESCRIPTORS: u16 = 1024;

/// Drivers whose queues come in pairs, or answer to the other side's one by one: as many tx queues
/// are set up as rx queues.
const PAIRED: &[&str] = &[
    "net_af_packet",
    "net_af_xdp",
    "net_memif",
    "net_ring",
    "net_tap",
    "net_vhost",
    "net_virtio",
    "net_virtio_user",
];

/// A port over a DPDK device, or one queue of it.
pub struct DpdkPort {
    /// None in a part that only sends.
    rx: Option<RxQueue>,
    /// None in a part that only receives.
    tx: Option<TxQueue>,
    /// The queues behind the first ones, until it is split.
    more: dpdk::Queues,
    finisher: Finisher,
    /// Of this part; one writer.
    counters: Arc<Counters>,
    state: Arc<DpdkControl>,
    control: Arc<dyn PortControl>,
}

struct DpdkControl {
    name: String,
    device: Arc<DevicePort>,
    caps: Caps,
    /// Of all parts.
    counters: Mutex<Vec<Arc<Counters>>>,
    /// Administratively up; the twin for devices without such a switch.
    up: AtomicBool,
}

impl DpdkPort {
    /// Attaches and starts the device that `devargs` names, with a tx queue for each of so many
    /// workers if it has as many. EAL must be running, and `pools` be in its memory.
    pub fn open(
        spec: &PortSpec,
        devargs: &str,
        pools: &Pools,
        workers: usize,
    ) -> Result<DpdkPort, PortError> {
        Self::try_open(spec, devargs, pools, workers).map_err(|reason| PortError::Open {
            port: spec.name.clone(),
            device: spec.kind.to_string(),
            reason,
        })
    }

    fn try_open(
        spec: &PortSpec,
        devargs: &str,
        pools: &Pools,
        workers: usize,
    ) -> Result<DpdkPort, String> {
        let failed = |error: DpdkError| error.to_string();
        let eal = Eal::running().map_err(failed)?;
        let device = Arc::new(DevicePort::attach(eal, devargs).map_err(failed)?);
        let (rx_queues, tx_queues) = queue_counts(device.info(), spec.rxq, workers)?;
        let config = PortConfig {
            rx_queues,
            tx_queues,
            descriptors: DESCRIPTORS,
            mtu: spec.mtu,
            pool: pools.frames.clone(),
            rss_key: rss::symmetric_key(device.info().rss_key_len.into()),
        };
        let mut queues = device.start(&config).map_err(failed)?;
        let (rx, tx) = (queues.rx.remove(0), queues.tx.remove(0));
        let caps = caps(device.info());
        let state = Arc::new(DpdkControl {
            name: spec.name.clone(),
            device,
            caps,
            counters: Mutex::default(),
            up: AtomicBool::new(true),
        });
        let mut port = Self::part(&state, Some(rx), Some(tx));
        port.more = queues;
        Ok(port)
    }

    fn part(state: &Arc<DpdkControl>, rx: Option<RxQueue>, tx: Option<TxQueue>) -> DpdkPort {
        let counters = Arc::new(Counters::default());
        state.all_counters().push(counters.clone());
        DpdkPort {
            rx,
            tx,
            more: dpdk::Queues {
                rx: Vec::new(),
                tx: Vec::new(),
            },
            finisher: Finisher::new(state.caps),
            counters,
            control: Arc::clone(state) as _,
            state: Arc::clone(state),
        }
    }
}

/// How many rx and tx queues a device gets, when so many rx queues are asked for.
fn queue_counts(info: &PortInfo, rxq: u16, workers: usize) -> Result<(u16, u16), String> {
    let driver = info.driver.as_str();
    let rxq = rxq.max(1);
    if rxq > info.max_rx_queues {
        return Err(format!(
            "rxq={rxq}: {driver} has {} rx queues as it is set up; give fewer, or its own argument \
             for more (qpairs, queues)",
            info.max_rx_queues
        ));
    }
    // The kernel spreads packets over all its sockets, whether they are read or not.
    if driver == "net_af_packet" && rxq != info.max_rx_queues {
        return Err(format!(
            "rxq={rxq}: {driver} receives on all its qpairs; give rxq={}",
            info.max_rx_queues
        ));
    }
    let tx = match u16::try_from(workers) {
        _ if PAIRED.contains(&driver) => rxq.min(info.max_tx_queues),
        Ok(workers) if workers <= info.max_tx_queues => workers.max(1),
        _ => 1,
    };
    Ok((rxq, tx))
}

impl Port for DpdkPort {
    #[inline]
    fn rx(&mut self, burst: &mut Burst) {
        let Some(rx) = &mut self.rx else {
            return;
        };
        let counters = &self.counters;
        let up = self.state.up.load(Relaxed);
        let (mut packets, mut bytes, mut dropped) = (0, 0, 0);
        rx.receive(burst.remaining_capacity(), |packet, whole| {
            if up && whole {
                packets += 1;
                bytes += packet.len();
                burst.push(packet);
            } else {
                dropped += 1;
            }
        });
        if packets + dropped > 0 {
            counters.rx_packets.add(packets);
            counters.rx_bytes.add(bytes);
            counters.rx_dropped.add(dropped);
        }
    }

    #[inline]
    fn tx(&mut self, burst: &mut Burst) -> usize {
        let counters = &self.counters;
        let mut lost = Lost::default();
        let tx = match &mut self.tx {
            Some(tx) if self.state.up.load(Relaxed) => tx,
            _ => {
                lost.dropped = burst.len();
                packet::free_bulk(burst.drain(..));
                return counters.lose(lost);
            }
        };
        let mut sent = Sent::default();
        if burst.iter().all(Packet::is_plain) {
            tx.send_plain(burst.drain(..), &mut sent);
        } else {
            for packet in burst.drain(..) {
                let finished = self
                    .finisher
                    .finish(packet, &mut |packet| tx.push(packet, &mut sent));
                lost.add(finished);
            }
            tx.flush(&mut sent);
        }
        counters.tx_packets.add(sent.packets);
        counters.tx_bytes.add(sent.bytes);
        lost.dropped += sent.dropped;
        counters.lose(lost)
    }

    fn control(&self) -> &Arc<dyn PortControl> {
        &self.control
    }

    fn split(&mut self) -> Option<Queues> {
        if self.more.rx.is_empty() && self.more.tx.is_empty() {
            return None;
        }
        let rx = self.rx.take().into_iter().chain(self.more.rx.drain(..));
        let tx = self.tx.take().into_iter().chain(self.more.tx.drain(..));
        let state = &self.state;
        Some(Queues {
            rx: rx
                .map(|queue| Box::new(Self::part(state, Some(queue), None)) as _)
                .collect(),
            tx: tx
                .map(|queue| Box::new(Self::part(state, None, Some(queue))) as _)
                .collect(),
        })
    }
}

impl DpdkControl {
    fn all_counters(&self) -> MutexGuard<'_, Vec<Arc<Counters>>> {
        // Nothing that can fail is done while it is locked.
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_error(&self, what: String, error: &DpdkError) -> PortError {
        PortError::Set {
            port: self.name.clone(),
            what,
            reason: error.to_string(),
        }
    }
}

impl PortControl for DpdkControl {
    fn name(&self) -> &str {
        &self.name
    }

    fn mac(&self) -> MacAddr {
        MacAddr(self.device.mac())
    }

    fn mtu(&self) -> u16 {
        self.device.mtu()
    }

    fn link_up(&self) -> bool {
        self.up.load(Relaxed) && self.device.link().up
    }

    fn speed(&self) -> u32 {
        self.device.link().speed
    }

    fn caps(&self) -> Caps {
        self.caps
    }

    fn stats(&self) -> PortStats {
        let mut stats = PortStats::default();
        for counters in self.all_counters().iter() {
            stats.add(&counters.read());
        }
        let device = self.device.stats();
        stats.rx_dropped += device.rx_missed + device.rx_nombuf;
        stats.rx_errors += device.rx_errors;
        stats.tx_errors += device.tx_errors;
        stats
    }

    fn set_up(&self, up: bool) -> Result<(), PortError> {
        let what = if up { "up" } else { "down" };
        self.device
            .set_link(up)
            .map_err(|e| self.set_error(what.into(), &e))?;
        self.up.store(up, Relaxed);
        Ok(())
    }

    fn set_mtu(&self, mtu: u16) -> Result<(), PortError> {
        let set = self.device.set_mtu(mtu);
        set.map_err(|e| self.set_error(format!("mtu {mtu}"), &e))
    }
}

fn caps(info: &PortInfo) -> Caps {
    let csum = info.finishes_checksums();
    // net_tap of 22.11 refuses segments that fill the MTU, and IPv6.
    let tso = csum && info.segments_tcp() && info.driver != "net_tap";
    Caps {
        csum,
        tso,
        uso: false, // no common name for it in 22.11
    }
}
