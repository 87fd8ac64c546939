//! One OpenFlow connection: its state, and the loop that reads requests and writes replies.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use openflow::error::{OFPBRC_BAD_LEN, OFPBRC_BAD_VERSION, OFPHFC_INCOMPATIBLE, OfError};
use openflow::msg::{AsyncConfig, ErrorMsg, Hello, PacketInFormat, Role};
use openflow::wire::{self, Framer, Header};
use openflow::{Message, Version};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::Switch;
use crate::handle::{self, bundle::Bundle};
use crate::monitors::Monitors;
use crate::outbox::Outbox;

/// Time for the hello.
const HELLO_TIME: Duration = Duration::from_secs(5);
/// Time to write what is left when a connection ends.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes read at once.
const READ: usize = 1 << 16;

/// State of a connection.
pub(crate) struct Session {
    /// Number, for the registry.
    pub id: u64,
    /// Target or peer.
    pub peer: String,
    /// What waits to be written.
    pub out: Outbox,
    /// Agreed version, once there is one.
    pub version: Cell<Option<Version>>,
    /// Role.
    pub role: Cell<Role>,
    /// Which messages it wants unasked.
    pub wants: Cell<AsyncConfig>,
    /// How it wants packet-ins.
    pub packet_in_format: Cell<PacketInFormat>,
    /// Number that controller actions name.
    pub controller_id: Cell<u16>,
    /// As set; only given back, since 1.3 names a length in each action.
    pub miss_send_len: Cell<u16>,
    /// The controller's name for itself (1.5); 0: none.
    pub short_id: Cell<u16>,
    /// Flows that it follows.
    pub monitors: Monitors,
    /// Bundles that are being filled.
    pub bundles: RefCell<HashMap<u32, Bundle>>,
}

impl Session {
    pub fn new(id: u64, peer: String) -> Self {
        Session {
            id,
            peer,
            out: Outbox::default(),
            version: Cell::new(None),
            role: Cell::new(Role::Equal),
            wants: Cell::new(AsyncConfig::default()),
            packet_in_format: Cell::new(PacketInFormat::Standard),
            controller_id: Cell::new(0),
            miss_send_len: Cell::new(128),
            short_id: Cell::new(0),
            monitors: Monitors::default(),
            bundles: RefCell::default(),
        }
    }

    /// Appends a reply.
    pub fn reply(&self, xid: u32, message: &Message) {
        let version = self.version.get().unwrap_or(Version::V1_3);
        self.out.reply(version, xid, message);
    }

    /// Appends an error about a request.
    pub fn error(&self, xid: u32, error: OfError, request: &[u8]) {
        tracing::debug!(peer = %self.peer, xid, "refused: {error}");
        let about = ErrorMsg::about(error, request);
        self.reply(xid, &Message::Error(about));
    }
}

/// How long a silent peer is waited for before it is asked, and then until it counts as gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Silence after which an echo request is sent.
    pub ask: Duration,
    /// Silence after that.
    pub give_up: Duration,
}

impl Patience {
    /// For controllers that we connect to: as Open vSwitch.
    pub const ACTIVE: Patience = Patience {
        ask: Duration::from_secs(5),
        give_up: Duration::from_secs(5),
    };
    /// For those who connect to us: only to find dead ones some time.
    pub const PASSIVE: Patience = Patience {
        ask: Duration::from_secs(60),
        give_up: Duration::from_secs(60),
    };
}

/// Serves a connection to its end; says why it ended.
pub(crate) async fn serve(
    switch: &Rc<Switch>,
    session: &Rc<Session>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    patience: Patience,
) -> String {
    let (mut reader, mut writer) = tokio::io::split(stream);
    session.out.reply(
        Version::V1_3,
        0,
        &Message::Hello(Hello::offering(Version::SUPPORTED)),
    );
    let read = read_loop(switch, session, &mut reader, patience);
    let write = async {
        loop {
            let bytes = session.out.take().await;
            if let Err(error) = writer.write_all(&bytes).await {
                return format!("cannot write: {error}");
            }
        }
    };
    let (why, flush) = tokio::select! {
        why = read => (why, true),
        why = write => (why, false),
    };
    session.out.close();
    // What was read before the end counts, published or not.
    switch.publish();
    if flush {
        let last = session.out.take_now();
        let write = async { writer.write_all(&last).await.and(writer.shutdown().await) };
        if let Ok(Err(error)) = timeout(LINGER, write).await {
            tracing::debug!(peer = %session.peer, "last bytes not written: {error}");
        }
    }
    why
}

async fn read_loop(
    switch: &Rc<Switch>,
    session: &Rc<Session>,
    reader: &mut (impl AsyncRead + Unpin),
    patience: Patience,
) -> String {
    let mut framer = Framer::new();
    let mut buffer = vec![0u8; READ];
    let hello_by = Instant::now() + HELLO_TIME;
    let mut asked = false;
    loop {
        // More input at once is taken before the modifications so far are published.
        let mut got = timeout(Duration::ZERO, reader.read(&mut buffer)).await;
        if got.is_err() {
            switch.publish_soon();
            let wait = match session.version.get() {
                None => hello_by.saturating_duration_since(Instant::now()),
                Some(_) if asked => patience.give_up,
                Some(_) => patience.ask,
            };
            got = timeout(wait, reader.read(&mut buffer)).await;
        }
        let bytes = match got {
            Ok(Ok(0)) => return "closed by the peer".into(),
            Ok(Ok(n)) => buffer.get(..n).unwrap_or_default(),
            Ok(Err(error)) => return format!("cannot read: {error}"),
            Err(_) if session.version.get().is_none() => return "no hello within 5 s".into(),
            Err(_) if asked => {
                let silence = (patience.ask + patience.give_up).as_secs();
                return format!("no sign of life for {silence} s");
            }
            Err(_) => {
                asked = true;
                session.reply(0, &Message::EchoRequest(Vec::new()));
                continue;
            }
        };
        asked = false;
        framer.push(bytes);
        loop {
            match framer.next_frame() {
                Ok(Some(frame)) => {
                    if let Err(why) = one(switch, session, frame).await {
                        return why;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    session.error(error.header.xid, OFPBRC_BAD_LEN, &[]);
                    return error.to_string();
                }
            }
        }
        switch.publish_if_overdue();
    }
}

/// Handles one message; an error ends the connection.
async fn one(switch: &Rc<Switch>, session: &Rc<Session>, frame: &[u8]) -> Result<(), String> {
    let header = Header::read(frame).ok_or("a message without a header")?;
    let Some(version) = session.version.get() else {
        return hello(session, header, frame);
    };
    let done = match handle::fast::flow_mod(switch, session, version, frame) {
        Some(done) => done,
        None => match wire::decode(version, frame) {
            Ok(message) => handle::message(switch, session, header.xid, frame, message).await,
            Err(error) => Err(error),
        },
    };
    if let Err(error) = done {
        session.error(header.xid, error, frame);
    }
    session.out.room().await;
    Ok(())
}

/// The first message: agrees on the version (OpenFlow 1.3.5, 6.3.1).
fn hello(session: &Session, header: Header, frame: &[u8]) -> Result<(), String> {
    let offered = match wire::decode(Version::V1_3, frame) {
        Ok(Message::Hello(hello)) => hello,
        Ok(Message::Error(error)) => return Err(format!("the peer refused us: {}", error.error)),
        Ok(_) | Err(_) => {
            session.error(header.xid, OFPBRC_BAD_VERSION, frame);
            return Err("no hello at the beginning".into());
        }
    };
    match offered.agree(header.version, Version::SUPPORTED) {
        Some(version) => {
            session.version.set(Some(version));
            session.wants.set(AsyncConfig::initial(version));
            Ok(())
        }
        None => {
            let ours: Vec<String> = Version::SUPPORTED.iter().map(|v| v.to_string()).collect();
            let text = format!("this switch speaks OpenFlow {}", ours.join(", "));
            let error = ErrorMsg {
                error: OFPHFC_INCOMPATIBLE,
                data: text.clone().into_bytes(),
            };
            session.reply(header.xid, &Message::Error(error));
            Err(format!("{text}, the peer does not"))
        }
    }
}
