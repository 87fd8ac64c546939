//! How much has gone over the connections of all switches.

use std::sync::atomic::{AtomicU64, Ordering};

/// Messages and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// OpenFlow messages.
    pub messages: u64,
    /// Their bytes, without those of TLS.
    pub bytes: u64,
}

/// What has been sent and received since the start.
#[derive(Debug, Default)]
pub struct Traffic {
    sent: Counter,
    received: Counter,
}

#[derive(Debug, Default)]
struct Counter {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    fn add(&self, messages: usize, bytes: usize) {
        self.messages.fetch_add(messages as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn read(&self) -> Volume {
        Volume {
            messages: self.messages.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

impl Traffic {
    /// To switches; what waits to be written counts.
    pub fn sent(&self) -> Volume {
        self.sent.read()
    }

    /// From switches.
    pub fn received(&self) -> Volume {
        self.received.read()
    }

    pub(crate) fn note_sent(&self, messages: usize, bytes: usize) {
        self.sent.add(messages, bytes);
    }

    pub(crate) fn note_received(&self, bytes: usize) {
        self.received.add(1, bytes);
    }
}
