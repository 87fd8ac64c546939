//! One connection: messages out, messages in, echo as the sign of life.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openflow::error::OfError;
use openflow::msg::{
    ErrorMsg, Hello, Message, MultipartReply, MultipartRequest, PacketIn, PortStatus, ReplyBody,
    RequestBody,
};
use openflow::{Version, wire};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use transport::{Stream, explain};

use crate::policylog::is_logged;
use crate::stream::{read_messages, write_messages};
use crate::traffic::Traffic;

/// Time limits of a session.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Silence after which the switch is asked for a sign of life.
    pub probe: Duration,
    /// Silence after which it is given up.
    pub dead: Duration,
    /// How long a request may take.
    pub request: Duration,
    /// How often everything a switch holds is read and compared again.
    pub resync: Duration,
    /// When to try again what it refused.
    pub retry: Duration,
    /// How long a station of a VLAN has to answer, each time a new pod's address is asked for.
    pub answer: Duration,
    /// The pause between two announcements of an address.
    pub announcement: Duration,
    /// How often rules of policies that are in the log are counted.
    pub count: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            probe: Duration::from_secs(5),
            dead: Duration::from_secs(20),
            request: Duration::from_secs(120),
            resync: Duration::from_secs(300),
            retry: Duration::from_secs(30),
            answer: Duration::from_millis(100),
            announcement: Duration::from_secs(1),
            count: Duration::from_secs(10),
        }
    }
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The other side closed, or the system said no.
    #[error("the connection broke: {}", explain(.0))]
    Io(#[from] std::io::Error),
    /// It closed.
    #[error("the switch closed the connection")]
    Closed,
    /// No OpenFlow 1.3.
    #[error("the switch does not speak OpenFlow 1.3; enable it there")]
    NoCommonVersion,
    /// Not even framing.
    #[error("the switch sent something that is not OpenFlow: {0}")]
    NotOpenFlow(String),
    /// It does not answer.
    #[error("the switch did not answer {what} within {seconds} s")]
    Silent {
        /// What was asked.
        what: &'static str,
        /// How long we waited.
        seconds: u64,
    },
    /// It refuses something that every switch must give.
    #[error("the switch refused {what}: {error}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Its error.
        error: OfError,
    },
    /// It is no switch of ours.
    #[error("{0}")]
    Unwanted(String),
}

// Transaction numbers of messages whose bytes are the same for every switch. Those that are counted
// stay below, those of modifications have the highest bit set.
pub(crate) const XID_OPEN: u32 = 0x7fff_0001;
pub(crate) const XID_CLOSE: u32 = 0x7fff_0002;
pub(crate) const XID_COMMIT: u32 = 0x7fff_0003;
pub(crate) const XID_BARRIER: u32 = 0x7fff_0004;
pub(crate) const XID_LABELS: u32 = 0x7fff_0005;
pub(crate) const XID_ANSWERS: u32 = 0x7fff_0006;
const XID_END: u32 = 0x7fff_0000;

/// The version we speak.
pub(crate) const VERSION: Version = Version::V1_3;

/// A message with its transaction number.
pub(crate) type Received = (u32, Message);

/// One connection.
pub(crate) struct Connection {
    outgoing: mpsc::Sender<Bytes>,
    received: mpsc::Receiver<Result<Received, ConnectionError>>,
    traffic: Arc<Traffic>,
    next_xid: u32,
    heard: Instant,
    probed: bool,
    /// Port changes that came while we waited for something else.
    pub port_changes: Vec<PortStatus>,
    /// Packets that came meanwhile; beyond a few, they are forgotten.
    pub packets: Vec<PacketIn>,
    /// Of those that were forgotten, how many the policy log should have heard of.
    pub unheard: u64,
    pub timing: Timing,
}

// A message in flight to us costs at most 64 kB; the switch has to wait at this many unread ones.
const UNREAD: usize = 8192;
// Packets that are kept while nobody has time for them.
const PACKETS: usize = 256;
// Batches in flight from us.
const UNWRITTEN: usize = 8;

impl Connection {
    /// Starts reading.
    pub fn new(stream: Stream, timing: Timing, traffic: Arc<Traffic>) -> Self {
        let (read, write) = tokio::io::split(stream);
        let (sender, received) = mpsc::channel(UNREAD);
        let (outgoing, to_write) = mpsc::channel(UNWRITTEN);
        // Reading never waits for writing, or two full socket buffers would stop both sides; and a
        // message that is given up while it waits is never half written.
        tokio::spawn(read_messages(read, sender, traffic.clone()));
        tokio::spawn(write_messages(write, to_write));
        Connection {
            outgoing,
            received,
            traffic,
            next_xid: 1,
            heard: Instant::now(),
            probed: false,
            port_changes: Vec::new(),
            packets: Vec::new(),
            unheard: 0,
            timing,
        }
    }

    /// Says hello and agrees on a version (OpenFlow 1.3.5, 6.3.1).
    pub async fn hello(&mut self) -> Result<(), ConnectionError> {
        self.send([Message::Hello(Hello::offering(&[VERSION]))])
            .await?;
        let until = Instant::now() + self.timing.request.min(Duration::from_secs(10));
        loop {
            match self.receive_until(until, "hello").await? {
                (_, Message::Hello(_)) => return Ok(()),
                (_, Message::Error(error)) => {
                    return Err(ConnectionError::Refused {
                        what: "hello",
                        error: error.error,
                    });
                }
                _ => {}
            }
        }
    }

    /// Sends messages and gives the first one's transaction number; the others follow it.
    pub async fn send(
        &mut self,
        messages: impl IntoIterator<Item = Message>,
    ) -> Result<u32, ConnectionError> {
        let first = self.next_xid;
        let mut bytes = Vec::new();
        let mut count = 0;
        for message in messages {
            count += 1;
            let xid = self.take_xid();
            if let Err(error) = wire::encode(VERSION, xid, &message, &mut bytes) {
                return Err(ConnectionError::Unwanted(format!(
                    "a message cannot be written in OpenFlow 1.3: {error}"
                )));
            }
        }
        self.write(bytes.into(), count).await?;
        Ok(first)
    }

    /// Sends so many messages that are encoded already.
    pub async fn send_bytes(
        &self,
        batch: Vec<Bytes>,
        messages: usize,
    ) -> Result<(), ConnectionError> {
        self.traffic.note_sent(messages, 0);
        for bytes in batch {
            self.write(bytes, 0).await?;
        }
        Ok(())
    }

    /// A number not used lately.
    fn take_xid(&mut self) -> u32 {
        let xid = self.next_xid;
        self.next_xid = if xid + 1 < XID_END { xid + 1 } else { 1 };
        xid
    }

    /// The next message that concerns the session; echo is answered on the way. Ends after
    /// `timing.dead` of silence. May be dropped while it waits.
    pub async fn receive(&mut self) -> Result<Received, ConnectionError> {
        loop {
            let silence = if self.probed {
                self.timing.dead
            } else {
                self.timing.probe
            };
            match timeout_at(self.heard + silence, self.received.recv()).await {
                Ok(Some(received)) => {
                    self.heard = Instant::now();
                    self.probed = false;
                    match received? {
                        (xid, Message::EchoRequest(data)) => self.echo(xid, data).await?,
                        (_, Message::EchoReply(_)) => {}
                        other => return Ok(other),
                    }
                }
                Ok(None) => return Err(ConnectionError::Closed),
                Err(_) if self.probed => {
                    return Err(ConnectionError::Silent {
                        what: "an echo request",
                        seconds: self.timing.dead.as_secs(),
                    });
                }
                Err(_) => {
                    self.send([Message::EchoRequest(Vec::new())]).await?;
                    self.probed = true;
                }
            }
        }
    }

    /// The next message that is already here.
    pub fn try_receive(&mut self) -> Option<Result<Received, ConnectionError>> {
        self.received.try_recv().ok()
    }

    async fn receive_until(
        &mut self,
        until: Instant,
        what: &'static str,
    ) -> Result<Received, ConnectionError> {
        let waited = until.saturating_duration_since(Instant::now());
        match timeout_at(until, self.receive()).await {
            Ok(received) => received,
            Err(_) => Err(ConnectionError::Silent {
                what,
                seconds: waited.as_secs(),
            }),
        }
    }

    async fn echo(&mut self, xid: u32, data: Vec<u8>) -> Result<(), ConnectionError> {
        let mut bytes = Vec::new();
        let reply = Message::EchoReply(data);
        if wire::encode(VERSION, xid, &reply, &mut bytes).is_ok() {
            self.write(bytes.into(), 1).await?;
        }
        Ok(())
    }

    async fn write(&self, bytes: Bytes, messages: usize) -> Result<(), ConnectionError> {
        self.traffic.note_sent(messages, bytes.len());
        let sent = self.outgoing.send(bytes).await;
        sent.map_err(|_| ConnectionError::Closed)
    }

    /// Keeps a message that nobody waits for, if it is of use later.
    pub fn keep(&mut self, message: Message) {
        match message {
            Message::PortStatus(status) => self.port_changes.push(status),
            Message::PacketIn(packet) if self.packets.len() < PACKETS => self.packets.push(packet),
            Message::PacketIn(packet) => self.unheard += u64::from(is_logged(&packet)),
            Message::Error(error) => note_stray(&error),
            _ => {}
        }
    }

    /// Waits for the reply to a request; what comes unasked is kept, errors about other requests
    /// go to `on_error`.
    pub async fn wait_for(
        &mut self,
        xid: u32,
        what: &'static str,
        mut on_error: impl FnMut(u32, ErrorMsg),
    ) -> Result<Message, ConnectionError> {
        let until = Instant::now() + self.timing.request;
        loop {
            match self.receive_until(until, what).await? {
                (about, Message::Error(error)) if about == xid => {
                    return Err(ConnectionError::Refused {
                        what,
                        error: error.error,
                    });
                }
                (about, Message::Error(error)) => on_error(about, error),
                (about, message) if about == xid && !is_unasked(&message) => return Ok(message),
                (_, message) => self.keep(message),
            }
        }
    }

    /// Asks one thing.
    pub async fn ask(
        &mut self,
        request: Message,
        what: &'static str,
    ) -> Result<Message, ConnectionError> {
        let xid = self.send([request]).await?;
        self.wait_for(xid, what, |_, error| note_stray(&error))
            .await
    }

    /// Asks for a multipart reply, all its parts.
    pub async fn ask_parts(
        &mut self,
        body: RequestBody,
        what: &'static str,
    ) -> Result<Vec<ReplyBody>, ConnectionError> {
        let mut parts = Vec::new();
        self.ask_each(body, what, |part| parts.push(part)).await?;
        Ok(parts)
    }

    /// Asks for a multipart reply, whose parts are taken as they come.
    pub async fn ask_each(
        &mut self,
        body: RequestBody,
        what: &'static str,
        mut take: impl FnMut(ReplyBody),
    ) -> Result<(), ConnectionError> {
        let request = MultipartRequest { more: false, body };
        let xid = self.send([Message::MultipartRequest(request)]).await?;
        loop {
            let reply = self
                .wait_for(xid, what, |_, error| note_stray(&error))
                .await?;
            let Message::MultipartReply(MultipartReply { more, body }) = reply else {
                return Err(ConnectionError::NotOpenFlow(format!(
                    "an answer to {what} of another kind"
                )));
            };
            take(body);
            if !more {
                return Ok(());
            }
        }
    }

    /// Waits until the switch has done everything so far; errors go to `on_error`.
    pub async fn barrier(
        &mut self,
        on_error: impl FnMut(u32, ErrorMsg),
    ) -> Result<(), ConnectionError> {
        let xid = self.send([Message::BarrierRequest]).await?;
        let reply = self.wait_for(xid, "a barrier", on_error).await;
        reply.map(|_| ())
    }

    /// Waits until the switch has done everything so far; gives errors by transaction number.
    pub async fn barrier_errors(&mut self) -> Result<HashMap<u32, OfError>, ConnectionError> {
        let mut errors = HashMap::new();
        self.barrier(|xid, error| {
            errors.insert(xid, error.error);
        })
        .await?;
        Ok(errors)
    }
}

fn note_stray(error: &ErrorMsg) {
    tracing::warn!(
        "the switch reports an error about something sent earlier: {}",
        error.error
    );
}

fn is_unasked(message: &Message) -> bool {
    matches!(
        message,
        Message::PortStatus(_)
            | Message::PacketIn(_)
            | Message::PacketIn2(_)
            | Message::FlowRemoved(_)
    )
}
