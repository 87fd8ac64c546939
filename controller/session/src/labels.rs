//! Tells a dataplane of ours which objects cookies stand for.

use std::collections::BTreeMap;

use bytes::Bytes;
use openflow::msg::{CookieLabels, Message};
use openflow::wire;

use crate::connection::{Connection, ConnectionError, VERSION, XID_LABELS};
use crate::shared::{Delta, Shared};

/// Labels in one message; a label is at most a few hundred bytes and a message 64 kB.
const CHUNK: usize = 100;

/// What the switch was told in this session.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    /// Of its own flows.
    told: BTreeMap<u64, String>,
    /// It knows the message.
    known: Option<bool>,
}

impl Labels {
    /// Sends what has changed since last time: of what all have alike, and of its own, if that may
    /// be otherwise than it was. What its own flows do not need any more, those of `shared` may.
    pub async fn send(
        &mut self,
        connection: &mut Connection,
        shared: &Shared,
        alike: Option<&Delta>,
        own: &BTreeMap<u64, String>,
        own_changed: bool,
    ) -> Result<(), ConnectionError> {
        let nothing = !own_changed && alike.is_none_or(|delta| delta.labels.is_empty());
        if self.known == Some(false) || nothing {
            return Ok(());
        }
        let gone: Vec<u64> = alike
            .into_iter()
            .flat_map(|delta| &delta.labels)
            .filter(|(_, label)| label.is_empty())
            .map(|(cookie, _)| *cookie)
            .collect();
        let mut entries: Vec<_> = own
            .iter()
            // Somebody else's flows of that cookie are gone, this node's are not.
            .filter(|(c, label)| self.told.get(c) != Some(label) || gone.contains(c))
            .map(|(c, label)| (*c, label.clone()))
            .collect();
        let left = || self.told.keys().filter(|c| !own.contains_key(c)).copied();
        let mut of_all = shared.labels_of(left());
        entries.extend(left().map(|c| (c, of_all.remove(&c).unwrap_or_default())));
        entries.sort();
        let mut batch = Vec::new();
        let mut messages = 0;
        if let Some(delta) = alike.filter(|delta| !delta.labels_bytes.is_empty()) {
            batch.push(delta.labels_bytes.clone());
            messages += delta.labels.len().div_ceil(CHUNK);
        }
        let wait = self.known.is_none() || !entries.is_empty();
        if !entries.is_empty() {
            batch.push(encode(&entries));
            messages += entries.len().div_ceil(CHUNK);
            self.told.clone_from(own);
        }
        if batch.is_empty() {
            return Ok(());
        }
        connection.send_bytes(batch, messages).await?;
        // What goes to all is small talk: nobody waits for it.
        if wait {
            let mut known = true;
            connection
                .barrier(|xid, _| known &= xid != XID_LABELS)
                .await?;
            self.known = Some(known);
        }
        Ok(())
    }
}

/// As messages, all with the same number.
pub(crate) fn encode(entries: &[(u64, String)]) -> Bytes {
    let mut bytes = Vec::new();
    for chunk in entries.chunks(CHUNK) {
        let entries = chunk.to_vec();
        let message = Message::CookieLabels(CookieLabels { entries });
        // Names have at most a few hundred bytes.
        if let Err(error) = wire::encode(VERSION, XID_LABELS, &message, &mut bytes) {
            tracing::warn!("names of cookies cannot be sent: {error}");
        }
    }
    bytes.into()
}
