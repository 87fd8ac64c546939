//! The rx and tx queues of a port, each in the hands of one thread.

use crate::offload;
use crate::port::DevicePort;
use dpdk_sys as sys;
use packet::{Mbuf, Packet, Pool, free_bulk};
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

/// Packets per call of the driver.
const BURST: usize = 32;

/// One rx queue.
#[derive(Debug)]
pub struct RxQueue {
    port: Arc<DevicePort>,
    queue: u16,
}

impl RxQueue {
    /// Queue number `queue` of a started port.
    ///
    /// # Safety
    /// The port was started with more rx queues than `queue`, and no other `RxQueue` has this number.
    pub(crate) unsafe fn new(port: Arc<DevicePort>, queue: u16) -> RxQueue {
        RxQueue { port, queue }
    }

    /// Hands up to `max` received packets to `take`; False with a packet means that its stripped VLAN
    /// tag could not be put back, for want of a buffer.
    #[inline]
    pub fn receive(&mut self, max: usize, mut take: impl FnMut(Packet, bool)) {
        let mut mbufs: [*mut Mbuf; BURST] = [null_mut(); BURST];
        let max = max.min(BURST) as u16;
        // SAFETY: the port is started and the queue ours (promise of `new`); the array holds `max`.
        let n =
            unsafe { sys::dp_rx_burst(self.port.id(), self.queue, mbufs.as_mut_ptr().cast(), max) };
        for mbuf in mbufs.iter().take(usize::from(n)) {
            let Some(mbuf) = NonNull::new(*mbuf) else {
                continue;
            };
            // SAFETY: the driver gave us the chain; its segments are of the pool given to `start`, whose
            // private area is PRIVATE_SIZE.
            let mut packet = unsafe { Packet::from_fresh_segment(mbuf) };
            packet.prefetch_head();
            let whole = offload::apply_rx(&mut packet);
            take(packet, whole);
        }
    }
}

/// One tx queue. Packets are collected and go out in bursts.
#[derive(Debug)]
pub struct TxQueue {
    port: Arc<DevicePort>,
    queue: u16,
    /// Where packets of other pools are copied to.
    pool: Pool,
    multi_segment: bool,
    mbufs: [*mut Mbuf; BURST],
    count: usize,
    /// Bytes of the collected packets.
    bytes: usize,
    offloads: bool,
}

// SAFETY: the collected packets are owned, and packets may change threads.
unsafe impl Send for TxQueue {}

/// What became of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packets the device took.
    pub packets: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Packets it did not take.
    pub dropped: usize,
}

impl TxQueue {
    /// Queue number `queue` of a started port; `pool` is in DPDK's memory.
    ///
    /// # Safety
    /// The port was started with more tx queues than `queue`, and no other `TxQueue` has this number.
    pub(crate) unsafe fn new(port: Arc<DevicePort>, queue: u16, pool: Pool) -> TxQueue {
        TxQueue {
            multi_segment: port.info().tx_offloads & sys::DP_TX_OFFLOAD_MULTI_SEGS != 0,
            port,
            queue,
            pool,
            mbufs: [null_mut(); BURST],
            count: 0,
            bytes: 0,
            offloads: false,
        }
    }

    /// Sends packets of which each is plain ([`Packet::is_plain`]), at most a burst, behind what was
    /// collected.
    #[inline]
    pub fn send_plain(&mut self, packets: impl Iterator<Item = Packet>, sent: &mut Sent) {
        if self.count != 0 {
            self.flush(sent);
        }
        for packet in packets.take(BURST) {
            self.bytes += packet.len();
            self.mbufs[self.count] = packet.into_raw().as_ptr();
            self.count += 1;
        }
        self.flush(sent);
    }

    /// Adds a packet to the next burst, sending one when it is full. Checksum and segmentation that its
    /// meta data leaves open are asked of the device.
    #[inline]
    pub fn push(&mut self, packet: Packet, sent: &mut Sent) {
        let Some(mut packet) = self.acceptable(packet) else {
            sent.dropped += 1;
            return;
        };
        self.offloads |= offload::request_tx(&mut packet);
        self.bytes += packet.len();
        self.mbufs[self.count] = packet.into_raw().as_ptr();
        self.count += 1;
        if self.count == BURST {
            self.flush(sent);
        }
    }

    /// Sends what was collected.
    #[inline]
    pub fn flush(&mut self, sent: &mut Sent) {
        let mut left = &mut self.mbufs[..std::mem::take(&mut self.count)];
        let bytes = std::mem::take(&mut self.bytes);
        let mut not_sent = 0;
        let (port, queue) = (self.port.id(), self.queue);
        while !left.is_empty() {
            let mut ready = left.len() as u16;
            if self.offloads {
                // SAFETY: as below; it only looks at and writes into the packets.
                ready = unsafe { sys::dp_tx_prepare(port, queue, left.as_mut_ptr().cast(), ready) };
                if ready == 0 {
                    // The device cannot do what this one needs; those behind it are tried again.
                    let (first, rest) = left.split_at_mut(1);
                    not_sent += free(first);
                    sent.dropped += 1;
                    left = rest;
                    continue;
                }
            }
            // SAFETY: the port is started and the queue ours (promise of `new`); the packets are ours and
            // the first `n` are the driver's from here on.
            let n = unsafe { sys::dp_tx_burst(port, queue, left.as_mut_ptr().cast(), ready) };
            let n = usize::from(n);
            sent.packets += n;
            left = &mut left[n..];
            if n == 0 {
                break;
            }
        }
        if !left.is_empty() {
            sent.dropped += left.len();
            not_sent += free(left);
        }
        sent.bytes += bytes - not_sent;
        self.offloads = false;
    }

    /// The packet, or a copy if it is of a pool or a form that the driver cannot take.
    #[inline]
    fn acceptable(&self, packet: Packet) -> Option<Packet> {
        let in_pieces = packet.segment_count() > 1 && !self.multi_segment;
        if packet.mbuf().is_heap() || in_pieces {
            return self.copied(&packet);
        }
        Some(packet)
    }

    #[cold]
    fn copied(&self, packet: &Packet) -> Option<Packet> {
        let copy = packet.copy(&self.pool)?;
        (self.multi_segment || copy.segment_count() == 1).then_some(copy)
    }
}

impl Drop for TxQueue {
    fn drop(&mut self) {
        self.flush(&mut Sent::default());
    }
}

/// Frees packets that the driver did not take; returns their bytes.
#[cold]
fn free(mbufs: &[*mut Mbuf]) -> usize {
    let mut bytes = 0;
    free_bulk(mbufs.iter().filter_map(|&mbuf| {
        // SAFETY: collected by `push` and not taken by the driver, so ours, as `into_raw` left it.
        let packet = NonNull::new(mbuf).map(|mbuf| unsafe { Packet::from_raw(mbuf) })?;
        bytes += packet.len();
        Some(packet)
    }));
    bytes
}
