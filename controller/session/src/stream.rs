//! Bytes to messages and back, each direction by a task of its own.

use std::sync::Arc;

use bytes::Bytes;
use openflow::msg::{ErrorMsg, Message};
use openflow::{Version, wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use transport::Stream;

use crate::connection::{ConnectionError, Received, VERSION};
use crate::traffic::Traffic;

/// Takes messages from the stream until it ends; the last thing sent is why.
pub(crate) async fn read_messages(
    mut read: ReadHalf<Stream>,
    sender: mpsc::Sender<Result<Received, ConnectionError>>,
    traffic: Arc<Traffic>,
) {
    let mut framer = wire::Framer::new();
    let mut buffer = vec![0u8; 1 << 16];
    let mut greeted = false;
    loop {
        let end = match read.read(&mut buffer).await {
            Ok(0) => ConnectionError::Closed,
            // A web browser's length field would have us wait for more for ever.
            Ok(_)
                if !greeted && Version::from_wire(buffer[0]).is_none() && framer.pending() == 0 =>
            {
                ConnectionError::NotOpenFlow("no OpenFlow version in the first byte".into())
            }
            Ok(bytes) => {
                framer.push(&buffer[..bytes]);
                match forward(&mut framer, &mut greeted, &sender, &traffic).await {
                    Ok(()) => continue,
                    Err(end) => end,
                }
            }
            Err(error) => error.into(),
        };
        // Nobody listens any more: the session has ended for another reason.
        let _ = sender.send(Err(end)).await;
        return;
    }
}

/// Writes batches until there are no more, or nobody reads.
pub(crate) async fn write_messages(
    mut write: WriteHalf<Stream>,
    mut batches: mpsc::Receiver<Bytes>,
) {
    while let Some(bytes) = batches.recv().await {
        // Reading will find the connection broken too, and say so.
        if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
            return;
        }
    }
    let _ = write.shutdown().await;
}

async fn forward(
    framer: &mut wire::Framer,
    greeted: &mut bool,
    sender: &mpsc::Sender<Result<Received, ConnectionError>>,
    traffic: &Traffic,
) -> Result<(), ConnectionError> {
    loop {
        let frame = framer.next_frame();
        let Some(frame) = frame.map_err(|e| ConnectionError::NotOpenFlow(e.to_string()))? else {
            return Ok(());
        };
        let Some(header) = wire::Header::read(frame) else {
            continue;
        };
        traffic.note_received(frame.len());
        match wire::decode(VERSION, frame) {
            Ok(Message::Hello(hello)) => {
                if hello.agree(header.version, &[VERSION]).is_none() {
                    return Err(ConnectionError::NoCommonVersion);
                }
                *greeted = true;
                let _ = sender.send(Ok((header.xid, Message::Hello(hello)))).await;
            }
            // Before hello anything else is a client that speaks something else.
            Ok(message) if *greeted || matches!(message, Message::Error(_)) => {
                if sender.send(Ok((header.xid, message))).await.is_err() {
                    return Err(ConnectionError::Closed);
                }
            }
            Ok(_) => return Err(ConnectionError::NotOpenFlow("no hello first".into())),
            // As if the switch had refused: whoever waits for this message hears of it at once.
            Err(error) if *greeted => {
                tracing::warn!(
                    "a message of type {} from the switch is not understood: {error}",
                    header.kind
                );
                let about = Message::Error(ErrorMsg::about(error, frame));
                let _ = sender.send(Ok((header.xid, about))).await;
            }
            Err(error) => return Err(ConnectionError::NotOpenFlow(error.to_string())),
        }
    }
}
