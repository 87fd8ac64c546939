//! Tells a dataplane of ours which objects cookies stand for.

use std::collections::{HashMap, HashSet};

use flows::FlowSet;
use openflow::msg::{CookieLabels, Message};

use crate::connection::{Connection, ConnectionError};
use crate::inventory::Inventory;

/// Labels in one message; a label is at most a few hundred bytes and a message 64 kB.
const CHUNK: usize = 100;

/// What the switch was told in this session.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    told: HashMap<u64, String>,
    /// It does not know the message.
    refused: bool,
}

impl Labels {
    /// Sends what has changed since last time.
    pub async fn send(
        &mut self,
        connection: &mut Connection,
        desired: &FlowSet,
        held: &Inventory,
    ) -> Result<(), ConnectionError> {
        if self.refused {
            return Ok(());
        }
        let entries = self.difference(desired, held);
        if entries.is_empty() {
            return Ok(());
        }
        let messages = entries.chunks(CHUNK).map(|chunk| {
            Message::CookieLabels(CookieLabels {
                entries: chunk.to_vec(),
            })
        });
        connection.send(messages).await?;
        connection.barrier(|_, _| self.refused = true).await?;
        for (cookie, label) in entries {
            if label.is_empty() {
                self.told.remove(&cookie);
            } else {
                self.told.insert(cookie, label);
            }
        }
        Ok(())
    }

    fn difference(&self, desired: &FlowSet, held: &Inventory) -> Vec<(u64, String)> {
        let is_new = |(cookie, label): &(&u64, &String)| self.told.get(cookie) != Some(label);
        let new = desired.labels.iter().filter(is_new);
        let mut entries: Vec<_> = new.map(|(c, label)| (*c, label.clone())).collect();
        // A label outlives its object as long as flows with its cookie may be left.
        let in_use: HashSet<u64> = held.flows.values().map(|flow| flow.cookie).collect();
        let gone = |c: &&u64| !desired.labels.contains_key(c) && !in_use.contains(c);
        entries.extend(self.told.keys().filter(gone).map(|c| (*c, String::new())));
        entries.sort();
        entries
    }
}
