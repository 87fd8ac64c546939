//! What waits to be written to a connection.

use std::cell::{Cell, RefCell};

use openflow::{Message, Version, wire};
use tokio::sync::Notify;

/// Encoded messages in their order. Bounded: replies by not reading further requests, messages
/// nobody asked for by leaving them out.
#[derive(Debug)]
pub(crate) struct Outbox {
    bytes: RefCell<Vec<u8>>,
    /// Bytes above which messages nobody asked for are left out; half of it is where a session
    /// stops to read requests.
    mark: usize,
    filled: Notify,
    drained: Notify,
    closing: Cell<bool>,
    left_out: Cell<u64>,
}

impl Outbox {
    /// An empty one, for so many bytes.
    pub fn new(mark: usize) -> Self {
        Outbox {
            bytes: RefCell::default(),
            mark,
            filled: Notify::new(),
            drained: Notify::new(),
            closing: Cell::new(false),
            left_out: Cell::new(0),
        }
    }

    /// Appends a reply.
    pub fn reply(&self, version: Version, xid: u32, message: &Message) {
        let encoded = wire::encode(version, xid, message, &mut self.bytes.borrow_mut());
        if let Err(error) = encoded {
            tracing::error!("a reply cannot be encoded: {error}");
        }
        self.filled.notify_one();
    }

    /// Appends a message nobody asked for, unless the peer is slow to read; false: left out.
    pub fn offer(&self, version: Version, message: &Message) -> bool {
        if self.bytes.borrow().len() >= self.mark {
            self.left_out.set(self.left_out.get() + 1);
            return false;
        }
        self.reply(version, 0, message);
        true
    }

    /// Messages left out so far.
    pub fn left_out(&self) -> u64 {
        self.left_out.get()
    }

    /// Bytes that wait.
    pub fn waiting(&self) -> usize {
        self.bytes.borrow().len()
    }

    /// Waits until there is room for more replies.
    pub async fn room(&self) {
        while self.bytes.borrow().len() >= self.mark / 2 && !self.closing.get() {
            self.drained.notified().await;
        }
    }

    /// What is there to be written; waits for something.
    pub async fn take(&self) -> Vec<u8> {
        loop {
            let bytes = self.take_now();
            if !bytes.is_empty() {
                return bytes;
            }
            self.filled.notified().await;
        }
    }

    /// What is there to be written.
    pub fn take_now(&self) -> Vec<u8> {
        let bytes = std::mem::take(&mut *self.bytes.borrow_mut());
        self.drained.notify_waiters();
        bytes
    }

    /// Asks for the connection to be closed once everything is written.
    pub fn close(&self) {
        self.closing.set(true);
        self.filled.notify_one();
        self.drained.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn all_who_wait_for_room_go_on_when_there_is_some() {
        let out = Outbox::new(16);
        let more = || out.reply(Version::V1_3, 1, &Message::EchoReply(vec![0; 8]));
        more();
        let drain = async {
            tokio::task::yield_now().await;
            assert_eq!(out.take_now().len(), 16);
        };
        let all = async { tokio::join!(out.room(), out.room(), drain) };
        let done = tokio::time::timeout(Duration::from_secs(20), all).await;
        assert!(done.is_ok(), "somebody waits for ever");
    }
}
