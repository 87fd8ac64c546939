//! Packet counters with one writer and any number of readers.

use crate::egress::Unsent;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Totals of a port, as OpenFlow reports them (OpenFlow 1.3.5, A.3.5.6).
///
/// A large frame carried whole counts as one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received, from the Ethernet header to the end of the payload.
    pub rx_bytes: u64,
    /// Packets lost on reception: queue full or no buffer.
    pub rx_dropped: u64,
    /// Packets received broken.
    pub rx_errors: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets the device did not take.
    pub tx_dropped: u64,
    /// Packets that could not be sent for what they are.
    pub tx_errors: u64,
}

impl PortStats {
    /// Adds those of another queue.
    pub(crate) fn add(&mut self, other: &PortStats) {
        self.rx_packets += other.rx_packets;
        self.rx_bytes += other.rx_bytes;
        self.rx_dropped += other.rx_dropped;
        self.rx_errors += other.rx_errors;
        self.tx_packets += other.tx_packets;
        self.tx_bytes += other.tx_bytes;
        self.tx_dropped += other.tx_dropped;
        self.tx_errors += other.tx_errors;
    }
}

/// The counters behind [`PortStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub rx_packets: Counter,
    pub rx_bytes: Counter,
    pub rx_dropped: Counter,
    pub rx_errors: Counter,
    pub tx_packets: Counter,
    pub tx_bytes: Counter,
    pub tx_dropped: Counter,
    pub tx_errors: Counter,
}

impl Counters {
    /// Counts what one burst lost; returns how many frames that were.
    #[inline]
    pub(crate) fn lose(&self, lost: Lost) -> usize {
        if lost.dropped + lost.errors == 0 {
            return 0;
        }
        self.tx_dropped.add(lost.dropped);
        self.tx_errors.add(lost.errors);
        lost.dropped + lost.errors
    }

    pub(crate) fn read(&self) -> PortStats {
        PortStats {
            rx_packets: self.rx_packets.get(),
            rx_bytes: self.rx_bytes.get(),
            rx_dropped: self.rx_dropped.get(),
            rx_errors: self.rx_errors.get(),
            tx_packets: self.tx_packets.get(),
            tx_bytes: self.tx_bytes.get(),
            tx_dropped: self.tx_dropped.get(),
            tx_errors: self.tx_errors.get(),
        }
    }
}

/// Frames of one burst that did not go out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lost {
    /// The device had no room, or there was no buffer.
    pub dropped: usize,
    /// They cannot be sent for what they are.
    pub errors: usize,
}

impl Lost {
    #[inline]
    pub(crate) fn add(&mut self, finished: Result<(), Unsent>) {
        match finished {
            Ok(()) => {}
            Err(Unsent::Buffers) => self.dropped += 1,
            Err(Unsent::Frame) => self.errors += 1,
        }
    }
}

/// One total, written by the port's worker only.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds without a locked instruction: there is one writer.
    #[inline]
    pub(crate) fn add(&self, n: usize) {
        self.0
            .store(self.0.load(Relaxed).wrapping_add(n as u64), Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
