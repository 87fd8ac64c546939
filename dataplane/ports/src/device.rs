//! DPDK devices as ports.
//!
//! Drivers that know no offloads (`net_af_packet`, `net_ring`, `net_pcap`, ...) get finished frames.
//! `net_af_packet` moves frames of at most its `framesz` (2,048 bytes by default): for a larger MTU give
//! `framesz` and `blocksz`. It does not see that a frame from a veth peer has an open checksum or is a
//! large one: switch these off at the peer (`ethtool -K IFACE tx off tso off gso off`), or use `dev=veth`.

use crate::counters::{Counters, Lost};
use crate::egress::Finisher;
use crate::{Burst, Caps, Pools, Port, PortControl, PortError, PortSpec, PortStats};
use dpdk::{DevicePort, DpdkError, Eal, PortConfig, PortInfo, RxQueue, Sent, TxQueue};
use net::MacAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Descriptors per queue: 1,024 packets are 100 us of small ones at 10 Mpps.
const DESCRIPTORS: u16 = 1024;

/// A port over a DPDK device.
pub struct DpdkPort {
    rx: RxQueue,
    tx: TxQueue,
    finisher: Finisher,
    state: Arc<DpdkControl>,
    control: Arc<dyn PortControl>,
}

struct DpdkControl {
    name: String,
    device: Arc<DevicePort>,
    caps: Caps,
    counters: Counters,
    /// Administratively up; the twin for devices without such a switch.
    up: AtomicBool,
}

impl DpdkPort {
    /// Attaches and starts the device that `devargs` names. EAL must be running, and `pools` be in its
    /// memory.
    pub fn open(spec: &PortSpec, devargs: &str, pools: &Pools) -> Result<DpdkPort, PortError> {
        Self::try_open(spec, devargs, pools).map_err(|error| PortError::Open {
            port: spec.name.clone(),
            device: spec.kind.to_string(),
            reason: error.to_string(),
        })
    }

    fn try_open(spec: &PortSpec, devargs: &str, pools: &Pools) -> Result<DpdkPort, DpdkError> {
        let device = Arc::new(DevicePort::attach(Eal::running()?, devargs)?);
        let config = PortConfig {
            rx_queues: 1,
            tx_queues: 1,
            descriptors: DESCRIPTORS,
            mtu: spec.mtu,
            pool: pools.frames.clone(),
        };
        let mut queues = device.start(&config)?;
        let (Some(rx), Some(tx)) = (queues.rx.pop(), queues.tx.pop()) else {
            return Err(DpdkError::State("the device has no queues"));
        };
        let caps = caps(device.info());
        let state = Arc::new(DpdkControl {
            name: spec.name.clone(),
            device,
            caps,
            counters: Counters::default(),
            up: AtomicBool::new(true),
        });
        let control: Arc<dyn PortControl> = Arc::clone(&state) as _;
        Ok(DpdkPort {
            rx,
            tx,
            finisher: Finisher::new(caps),
            state,
            control,
        })
    }
}

impl Port for DpdkPort {
    #[inline]
    fn rx(&mut self, burst: &mut Burst) {
        let counters = &self.state.counters;
        let up = self.state.up.load(Relaxed);
        let (mut packets, mut bytes, mut dropped) = (0, 0, 0);
        self.rx
            .receive(burst.remaining_capacity(), |packet, whole| {
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
        let state = &self.state;
        let mut lost = Lost::default();
        if !state.up.load(Relaxed) {
            lost.dropped = burst.len();
            packet::free_bulk(burst.drain(..));
            return state.counters.lose(lost);
        }
        let mut sent = Sent::default();
        let tx = &mut self.tx;
        for packet in burst.drain(..) {
            let finished = self
                .finisher
                .finish(packet, &mut |packet| tx.push(packet, &mut sent));
            lost.add(finished);
        }
        tx.flush(&mut sent);
        state.counters.tx_packets.add(sent.packets);
        state.counters.tx_bytes.add(sent.bytes);
        lost.dropped += sent.dropped;
        state.counters.lose(lost)
    }

    fn control(&self) -> &Arc<dyn PortControl> {
        &self.control
    }
}

impl DpdkControl {
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
        let mut stats = self.counters.read();
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
