//! A blocking OpenFlow 1.3 connection: one thread writes, another reads.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context as _, Result, bail};
use openflow::msg::Hello;
use openflow::wire::{Framer, Header};
use openflow::{Message, OfError, Version, wire};

/// Transaction number of barriers; flow-mods use others.
const BARRIER: u32 = u32::MAX;
/// Bytes given to one `write`.
const CHUNK: usize = 1 << 18;

/// What the reading thread tells.
enum Heard {
    Barrier,
    Error(OfError),
    End(String),
}

/// An open connection that has agreed on 1.3.
pub(crate) struct Connection {
    writer: Box<dyn Write>,
    heard: Receiver<Heard>,
}

impl Connection {
    /// Connects to `unix:PATH` or `tcp:HOST:PORT` and says hello.
    pub(crate) fn open(target: &str) -> Result<Self> {
        let (writer, reader): (Box<dyn Write>, Box<dyn Read + Send>) =
            if let Some(path) = target.strip_prefix("unix:") {
                let stream = UnixStream::connect(path)?;
                (Box::new(stream.try_clone()?), Box::new(stream))
            } else if let Some(address) = target.strip_prefix("tcp:") {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                (Box::new(stream.try_clone()?), Box::new(stream))
            } else {
                bail!("a target is unix:PATH or tcp:HOST:PORT");
            };
        let (tell, heard) = channel();
        thread::spawn(move || {
            let why = read(reader, &tell).err();
            let why = why.map_or_else(|| "closed by the switch".to_owned(), |e| format!("{e:#}"));
            // Nobody listens any more at the end.
            let _ = tell.send(Heard::End(why));
        });
        let mut connection = Connection { writer, heard };
        let mut hello = Vec::new();
        let offered = Message::Hello(Hello::offering(&[Version::V1_3]));
        wire::encode(Version::V1_3, 0, &offered, &mut hello)?;
        connection.write(&hello)?;
        connection.barrier()?;
        Ok(connection)
    }

    /// Writes bytes as fast as the switch takes them.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for chunk in bytes.chunks(CHUNK) {
            self.writer.write_all(chunk).context("cannot write")?;
        }
        Ok(())
    }

    /// Sends a barrier request and waits for its reply; gives the errors that came before it.
    pub(crate) fn barrier(&mut self) -> Result<Vec<OfError>> {
        let mut request = Vec::new();
        wire::encode(
            Version::V1_3,
            BARRIER,
            &Message::BarrierRequest,
            &mut request,
        )?;
        self.write(&request)?;
        let mut errors = Vec::new();
        loop {
            match self.heard.recv()? {
                Heard::Barrier => return Ok(errors),
                Heard::Error(error) => errors.push(error),
                Heard::End(why) => bail!("the connection ended: {why}"),
            }
        }
    }
}

fn read(mut reader: Box<dyn Read + Send>, tell: &Sender<Heard>) -> Result<()> {
    let mut framer = Framer::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = reader.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        framer.push(buffer.get(..n).unwrap_or_default());
        while let Some(frame) = framer.next_frame()? {
            let is_barrier = Header::read(frame).is_some_and(|header| header.xid == BARRIER);
            match wire::decode(Version::V1_3, frame) {
                Ok(Message::Error(error)) => tell.send(Heard::Error(error.error))?,
                Ok(Message::BarrierReply) if is_barrier => tell.send(Heard::Barrier)?,
                // Hello, replies to bundle controls, what nobody asked for.
                _ => {}
            }
        }
    }
}
