//! A connection from its first byte to its last: requests in, replies out.
//!
//! Requests are handled in their order. While a long answer is streamed, what the peer sends is
//! read on and kept, up to a bound, and echo requests are answered at once, so that a dump does not
//! look like a dead switch. Each connection works for a short slice of time and then lets the
//! others have theirs.

use std::future::{pending, poll_fn, ready};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use openflow::error::*;
use openflow::msg::{AsyncConfig, ErrorMsg, Hello};
use openflow::wire::{self, FrameError, Framer, Header};
use openflow::{Message, Version};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};
use transport::{Stream, explain};

use crate::session::Session;
use crate::{Options, Switch, handle};

/// Time to write what is left when a connection ends.
const LINGER: Duration = Duration::from_secs(1);
/// Work of one connection before the others have their turn.
const SLICE: Duration = Duration::from_micros(500);
/// Messages after which it is looked at the clock.
const LOOK: u32 = 16;
/// Bytes of further requests that are read while an answer is streamed.
const AHEAD: usize = 1 << 18;

/// Serves a connection to its end; says why it ended. Hello must be through at `hello_by`.
pub(crate) async fn converse(
    switch: &Rc<Switch>,
    session: &Rc<Session>,
    stream: Stream,
    probe: Duration,
    hello_by: Instant,
) -> String {
    let options = switch.options();
    let (reader, mut writer) = tokio::io::split(stream);
    let hello = Hello::offering(&options.versions);
    session.reply(0, &Message::Hello(hello));
    let mut conversation = Conversation {
        switch,
        session,
        options: &options,
        inbox: Inbox::new(reader),
        probe,
        hello_by,
        turn: Instant::now(),
    };
    let write = async {
        loop {
            let bytes = session.out.take().await;
            if let Err(why) = write_all(&mut writer, &bytes, options.stall).await {
                return why;
            }
        }
    };
    let (why, flush) = tokio::select! {
        why = conversation.run() => (why, true),
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

/// Writes all of it; a peer must take something every `stall`.
async fn write_all(
    writer: &mut (impl AsyncWrite + Unpin),
    mut bytes: &[u8],
    stall: Duration,
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot write: {}", explain(&error));
    let late = |_| format!("has read nothing for {} s", stall.as_secs_f32());
    while !bytes.is_empty() {
        let wrote = timeout(stall, writer.write(bytes)).await.map_err(late)?;
        let wrote = wrote.map_err(failed)?;
        if wrote == 0 {
            return Err("cannot write: closed by the peer".into());
        }
        bytes = bytes.get(wrote..).unwrap_or_default();
    }
    let flushed = timeout(stall, writer.flush()).await.map_err(late)?;
    flushed.map_err(failed)
}

/// What has been read and not handled.
struct Inbox<R> {
    reader: R,
    framer: Framer,
    /// Messages that came while an answer was streamed, in their order.
    held: std::collections::VecDeque<Vec<u8>>,
    held_bytes: usize,
}

impl<R: AsyncRead + Unpin> Inbox<R> {
    fn new(reader: R) -> Self {
        Inbox {
            reader,
            framer: Framer::new(),
            held: Default::default(),
            held_bytes: 0,
        }
    }

    /// Reads what there is, through a buffer that all connections share; gives the bytes, 0 at the
    /// end.
    async fn fill(&mut self, switch: &Switch) -> std::io::Result<usize> {
        poll_fn(|context| {
            let mut buffer = switch.read_buffer.borrow_mut();
            let mut buffer = ReadBuf::new(&mut buffer);
            match Pin::new(&mut self.reader).poll_read(context, &mut buffer) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {
                    self.framer.push(buffer.filled());
                    Poll::Ready(Ok(buffer.filled().len()))
                }
            }
        })
        .await
    }

    /// Moves whole messages out of the way, and answers echo requests among them.
    fn set_aside(&mut self, session: &Session, version: Version) {
        // A broken frame is found again, and told, when it is its turn.
        while let Ok(Some(frame)) = self.framer.next_frame() {
            match echo(version, frame) {
                Some((xid, reply)) => session.reply(xid, &reply),
                None => {
                    self.held_bytes += frame.len();
                    self.held.push_back(frame.to_vec());
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        self.held_bytes < AHEAD
    }
}

/// The reply to an echo request; none for anything else.
fn echo(version: Version, frame: &[u8]) -> Option<(u32, Message)> {
    let header = Header::read(frame)?;
    if header.kind != wire::kind::ECHO_REQUEST {
        return None;
    }
    match wire::decode(version, frame) {
        Ok(Message::EchoRequest(data)) => Some((header.xid, Message::EchoReply(data))),
        _ => None,
    }
}

struct Conversation<'a, R> {
    switch: &'a Rc<Switch>,
    session: &'a Rc<Session>,
    options: &'a Options,
    inbox: Inbox<R>,
    /// Silence after which the peer is asked for a sign of life; zero: never.
    probe: Duration,
    hello_by: Instant,
    /// When this connection's turn began.
    turn: Instant,
}

impl<R: AsyncRead + Unpin> Conversation<'_, R> {
    /// Until the connection ends; says why.
    async fn run(&mut self) -> String {
        let mut asked = false;
        loop {
            match self.read(asked).await {
                Ok(true) => asked = false,
                Ok(false) => {
                    asked = true;
                    self.session.reply(0, &Message::EchoRequest(Vec::new()));
                    continue;
                }
                Err(why) => return why,
            }
            if let Err(why) = self.work().await {
                return why;
            }
        }
    }

    /// Reads some bytes; false: nothing came, and the peer is to be asked for a sign of life.
    async fn read(&mut self, asked: bool) -> Result<bool, String> {
        // More input at once is taken before the modifications so far are published.
        let got = self.read_at_once().await;
        if got.is_none() {
            self.switch.publish_soon();
        }
        let got = match got {
            Some(got) => got,
            None => match self.wait(asked).await? {
                Some(got) => got,
                None => return Ok(false),
            },
        };
        match got {
            Ok(0) => Err("closed by the peer".into()),
            Ok(_) => Ok(true),
            Err(error) => Err(format!("cannot read: {}", explain(&error))),
        }
    }

    async fn read_at_once(&mut self) -> Option<std::io::Result<usize>> {
        tokio::select! {
            biased;
            got = self.inbox.fill(self.switch) => Some(got),
            () = ready(()) => None,
        }
    }

    /// Waits for bytes as long as the peer may be silent. None: it is to be asked.
    async fn wait(&mut self, asked: bool) -> Result<Option<std::io::Result<usize>>, String> {
        let greeted = self.session.version.get().is_some();
        let silent = (!self.probe.is_zero()).then(|| Instant::now() + self.probe);
        let silent = if greeted { silent } else { Some(self.hello_by) };
        loop {
            let parts = self.session.parts.borrow().until();
            let until = [silent, parts].into_iter().flatten().min();
            let got = match until {
                Some(until) => timeout_at(until, self.inbox.fill(self.switch)).await.ok(),
                None => Some(self.inbox.fill(self.switch).await),
            };
            match got {
                Some(got) => return Ok(Some(got)),
                None if until != silent => self.give_up_parts(),
                None if !greeted => {
                    let limit = self.options.handshake.as_secs_f32();
                    return Err(format!("no hello within {limit} s"));
                }
                None if asked => {
                    let silence = (self.probe * 2).as_secs_f32();
                    return Err(format!("no sign of life for {silence} s"));
                }
                None => return Ok(None),
            }
        }
    }

    fn give_up_parts(&self) {
        for (xid, head) in self.session.parts.borrow_mut().late(Instant::now()) {
            self.session
                .error(xid, OFPBRC_MULTIPART_REQUEST_TIMEOUT, &head);
        }
    }

    /// Handles the messages that are there.
    async fn work(&mut self) -> Result<(), String> {
        self.switch.read_at.set(self.switch.engine.now());
        let mut since = 0;
        loop {
            since += 1;
            if since % LOOK == 0 && self.turn.elapsed() >= SLICE {
                self.switch.publish_if_overdue();
                self.rest().await;
            }
            if let Some(frame) = self.inbox.held.pop_front() {
                self.inbox.held_bytes -= frame.len();
                self.long_or_short(frame).await?;
                continue;
            }
            match self.inbox.framer.next_frame() {
                Ok(Some(frame)) if is_long(frame) => {
                    let frame = frame.to_vec();
                    self.long(&frame).await?;
                }
                Ok(Some(frame)) => one(self.switch, self.session, frame).await?,
                Ok(None) => break,
                Err(error) => return Err(self.broken(&error)),
            }
        }
        self.switch.publish_if_overdue();
        if self.turn.elapsed() >= SLICE {
            self.rest().await;
        }
        Ok(())
    }

    async fn long_or_short(&mut self, frame: Vec<u8>) -> Result<(), String> {
        match is_long(&frame) {
            true => self.long(&frame).await,
            false => one(self.switch, self.session, &frame).await,
        }
    }

    fn broken(&self, error: &FrameError) -> String {
        self.session.error(error.header.xid, OFPBRC_BAD_LEN, &[]);
        error.to_string()
    }

    /// Lets the others have their turn.
    async fn rest(&mut self) {
        yield_now().await;
        self.turn = Instant::now();
        self.switch.read_at.set(self.switch.engine.now());
    }

    /// Handles a request whose answer may take long, and reads on meanwhile.
    async fn long(&mut self, frame: &[u8]) -> Result<(), String> {
        let Some(version) = self.session.version.get() else {
            return one(self.switch, self.session, frame).await;
        };
        let mut job = pin!(one(self.switch, self.session, frame));
        self.inbox.set_aside(self.session, version);
        loop {
            let (inbox, session) = (&mut self.inbox, self.session);
            let fill = async {
                if !inbox.has_room() {
                    return pending().await;
                }
                // Replies to echo must not pile up either.
                session.out.room().await;
                inbox.fill(self.switch).await
            };
            tokio::select! {
                biased;
                done = &mut job => return done,
                got = fill => match got {
                    Ok(0) => return Err("closed by the peer".into()),
                    Ok(_) => self.inbox.set_aside(self.session, version),
                    Err(error) => return Err(format!("cannot read: {}", explain(&error))),
                },
            }
        }
    }
}

/// True for requests whose answer may be as long as the tables are.
fn is_long(frame: &[u8]) -> bool {
    Header::read(frame).is_some_and(|header| header.kind == wire::kind::MULTIPART_REQUEST)
}

/// Handles one message; an error ends the connection.
async fn one(switch: &Rc<Switch>, session: &Rc<Session>, frame: &[u8]) -> Result<(), String> {
    let header = Header::read(frame).ok_or("a message without a header")?;
    let Some(version) = session.version.get() else {
        return hello(switch, session, header, frame);
    };
    let fast = || {
        handle::fast::flow_mod(switch, session, version, frame)
            .or_else(|| handle::bundle::add_fast(switch, session, version, frame))
    };
    let done = match fast() {
        Some(done) => done,
        None => slower(switch, session, version, header.xid, frame).await,
    };
    if let Err(error) = done {
        session.error(header.xid, error, frame);
    }
    session.out.room().await;
    Ok(())
}

/// A message of any kind.
async fn slower(
    switch: &Rc<Switch>,
    session: &Rc<Session>,
    version: Version,
    xid: u32,
    frame: &[u8],
) -> Result<(), OfError> {
    match wire::decode(version, frame)? {
        Message::MultipartRequest(request) => {
            let whole = session.parts.borrow_mut().take(xid, request, frame)?;
            let Some(whole) = whole else {
                return Ok(());
            };
            let whole = Message::MultipartRequest(whole);
            handle::message(switch, session, xid, frame, whole).await
        }
        message => handle::message(switch, session, xid, frame, message).await,
    }
}

/// The first message: agrees on the version (OpenFlow 1.3.5, 6.3.1).
fn hello(
    switch: &Rc<Switch>,
    session: &Session,
    header: Header,
    frame: &[u8],
) -> Result<(), String> {
    let options = switch.options();
    let offered = match wire::decode(options.newest(), frame) {
        Ok(Message::Hello(hello)) => hello,
        Ok(Message::Error(error)) => return Err(format!("the peer refused us: {}", error.error)),
        Ok(_) | Err(_) => {
            session.error(header.xid, OFPBRC_BAD_VERSION, frame);
            return Err("no hello at the beginning".into());
        }
    };
    match offered.agree(header.version, &options.versions) {
        Some(version) => {
            session.version.set(Some(version));
            session.wants.set(AsyncConfig::initial(version));
            switch.agreed(session);
            Ok(())
        }
        None => {
            let ours: Vec<String> = options.versions.iter().map(|v| v.to_string()).collect();
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
