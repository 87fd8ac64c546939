//! The reply that may be longer than memory: flows, written as fast as they are read.

use std::io::Result;

use admin::Reply;
use tables::FlowFilter;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::task::yield_now;

use super::show;
use crate::Switch;
use crate::handle::stream::PART;

/// Bytes written at once.
const CHUNK: usize = 1 << 16;

/// Writes `Reply::Flows` for the flows that a filter names.
pub(super) async fn reply(
    switch: &Switch,
    filter: Option<&str>,
    writer: &mut (impl AsyncWrite + Unpin),
) -> Result<()> {
    let filter = match filter.map(|text| show::parse_filter(switch, text)) {
        Some(Err(error)) => {
            let reply = admin::encode_reply(&Reply::Error(error));
            return writer.write_all(&reply).await;
        }
        Some(Ok(filter)) => filter,
        None => FlowFilter::default(),
    };
    switch.settle().await;
    let now = switch.engine.now();
    let mut scan = switch.tables.borrow().scan(&filter);
    let mut text = b"{\"flows\":[".to_vec();
    let (mut part, mut more, mut first) = (Vec::new(), true, true);
    while more {
        more = scan.step(PART, &mut part);
        for rules in part.chunks(PART) {
            for rule in rules {
                if !std::mem::take(&mut first) {
                    text.push(b',');
                }
                serde_json::to_writer(&mut text, &show::flow(switch, rule, now))?;
            }
            if text.len() >= CHUNK {
                writer.write_all(&text).await?;
                text.clear();
            }
            yield_now().await;
        }
        part.clear();
    }
    text.extend_from_slice(b"]}\n");
    writer.write_all(&text).await
}
