//! Tells a dataplane of ours what ports of its machine answer to health checks.

use std::collections::BTreeMap;

use flows::flow::HealthAnswer;
use openflow::msg::{HttpAnswers, Message};
use openflow::wire;

use crate::connection::{Connection, ConnectionError, VERSION, XID_ANSWERS};

/// Answers in one message; a body is at most a few hundred bytes and a message 64 kB.
const CHUNK: usize = 80;

/// What the switch was told in this session; none: nothing yet.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    told: Option<BTreeMap<u16, HealthAnswer>>,
    /// It does not know the message.
    refused: bool,
}

impl Answers {
    /// Sends all of them where one is different from last time.
    pub async fn send(
        &mut self,
        connection: &mut Connection,
        wanted: &BTreeMap<u16, HealthAnswer>,
    ) -> Result<(), ConnectionError> {
        if self.refused || self.told.as_ref() == Some(wanted) {
            return Ok(());
        }
        let all: Vec<_> = wanted
            .iter()
            .map(|(port, answer)| (*port, answer.status, answer.body.clone()))
            .collect();
        let mut bytes = Vec::new();
        let mut chunks = all.chunks(CHUNK);
        let mut first = true;
        let mut next = Some(chunks.next().unwrap_or_default());
        while let Some(entries) = next {
            let message = Message::HttpAnswers(HttpAnswers {
                first,
                entries: entries.to_vec(),
            });
            if let Err(error) = wire::encode(VERSION, XID_ANSWERS, &message, &mut bytes) {
                tracing::warn!("answers to health checks cannot be sent: {error}");
            }
            (first, next) = (false, chunks.next());
        }
        let messages = all.len().div_ceil(CHUNK).max(1);
        connection.send_bytes(vec![bytes.into()], messages).await?;
        let refused = &mut self.refused;
        connection
            .barrier(|xid, _| *refused |= xid == XID_ANSWERS)
            .await?;
        self.told = Some(wanted.clone());
        Ok(())
    }
}
