//! The little of a controller that reading a switch over OpenFlow 1.3 needs.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use openflow::model::{PORT_DOWN, PORT_NO_FWD, PORT_NO_RECV, PORT_STATE_LINK_DOWN, PortDesc};
use openflow::msg::{
    Hello, MultipartReply, MultipartRequest, ReplyBody, RequestBody, SwitchFeatures,
};
use openflow::wire::{Framer, Header};
use openflow::{Message, Version, wire};

use crate::Failure;

/// IANA's port of OpenFlow.
const DEFAULT_PORT: u16 = 6653;

/// A connection to a switch, greetings exchanged.
pub struct Switch {
    target: String,
    stream: Box<dyn Stream>,
    framer: Framer,
    xid: u32,
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Switch {
    /// Connects to `tcp:HOST[:PORT]` or `unix:PATH`.
    pub fn connect(target: &str, timeout: Duration) -> Result<Self, Failure> {
        let failed = |e: std::io::Error| {
            let text = format!("cannot reach the switch at {target}: {e}; does it listen there?");
            Failure::Failed(text)
        };
        let stream: Box<dyn Stream> = match target.split_once(':') {
            Some(("tcp", address)) => Box::new(tcp(address, timeout).map_err(failed)?),
            Some(("unix", path)) => {
                let stream = UnixStream::connect(path).map_err(failed)?;
                stream.set_read_timeout(Some(timeout)).map_err(failed)?;
                stream.set_write_timeout(Some(timeout)).map_err(failed)?;
                Box::new(stream)
            }
            _ => {
                let text = format!("target {target:?} is neither tcp:HOST[:PORT] nor unix:PATH");
                return Err(Failure::Usage(text));
            }
        };
        let mut switch = Switch {
            target: target.to_owned(),
            stream,
            framer: Framer::new(),
            xid: 0,
        };
        switch.greet()?;
        Ok(switch)
    }

    fn greet(&mut self) -> Result<(), Failure> {
        self.send(&Message::Hello(Hello::offering(&[Version::V1_3])))?;
        match self.receive()? {
            (_, Message::Hello(_)) => Ok(()),
            (_, Message::Error(e)) => Err(self.failed(format!("it refused version 1.3: {e:?}"))),
            (_, other) => Err(self.failed(format!("it greeted with {other:?}"))),
        }
    }

    fn failed(&self, what: impl std::fmt::Display) -> Failure {
        Failure::Failed(format!("switch at {}: {what}", self.target))
    }

    fn send(&mut self, message: &Message) -> Result<u32, Failure> {
        self.xid += 1;
        let mut bytes = Vec::new();
        wire::encode(Version::V1_3, self.xid, message, &mut bytes)
            .map_err(|e| self.failed(format!("cannot ask in OpenFlow 1.3: {e}")))?;
        self.stream
            .write_all(&bytes)
            .map_err(|e| self.failed(format!("connection lost: {e}")))?;
        Ok(self.xid)
    }

    /// The next message that is not an echo request, which is answered here.
    fn receive(&mut self) -> Result<(u32, Message), Failure> {
        loop {
            let frame = match self.framer.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    self.fill()?;
                    continue;
                }
                Err(e) => return Err(self.failed(e)),
            };
            let xid = Header::read(frame).map_or(0, |header| header.xid);
            match wire::decode(Version::V1_3, frame) {
                Ok(Message::EchoRequest(data)) => {
                    self.send(&Message::EchoReply(data))?;
                }
                Ok(message) => return Ok((xid, message)),
                Err(e) => return Err(self.failed(format!("cannot read its answer: {e:?}"))),
            }
        }
    }

    fn fill(&mut self) -> Result<(), Failure> {
        let mut bytes = [0; 65536];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(self.failed("it closed the connection")),
            Ok(count) => {
                self.framer.push(bytes.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            Err(e) => Err(self.failed(format!("no answer: {e}"))),
        }
    }

    /// Asks and waits for the answer to it; whatever else the switch tells meanwhile is skipped.
    fn call(&mut self, request: &Message) -> Result<Message, Failure> {
        let asked = self.send(request)?;
        loop {
            match self.receive()? {
                (xid, Message::Error(e)) if xid == asked => {
                    return Err(self.failed(format!("it refused: {}", e.error)));
                }
                (xid, message) if xid == asked => return Ok(message),
                _ => {}
            }
        }
    }

    /// Every part of a multipart answer.
    pub fn multipart(&mut self, body: RequestBody) -> Result<Vec<ReplyBody>, Failure> {
        let request = MultipartRequest { more: false, body };
        let asked = self.send(&Message::MultipartRequest(request))?;
        let mut parts = Vec::new();
        loop {
            match self.receive()? {
                (xid, Message::MultipartReply(MultipartReply { more, body })) if xid == asked => {
                    parts.push(body);
                    if !more {
                        return Ok(parts);
                    }
                }
                (xid, Message::Error(e)) if xid == asked => {
                    return Err(self.failed(format!("it refused: {}", e.error)));
                }
                _ => {}
            }
        }
    }

    /// As it was given.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// OFPT_FEATURES_REQUEST.
    pub fn features(&mut self) -> Result<SwitchFeatures, Failure> {
        match self.call(&Message::FeaturesRequest)? {
            Message::FeaturesReply(features) => Ok(features),
            other => Err(self.failed(format!("unexpected answer {other:?}"))),
        }
    }
}

fn tcp(address: &str, timeout: Duration) -> std::io::Result<TcpStream> {
    let with_port = address.rsplit_once(':').is_some_and(|(host, port)| {
        let whole_v6 = host.contains(':') && !host.starts_with('[');
        !whole_v6 && port.parse::<u16>().is_ok()
    });
    let resolved = if with_port {
        address.to_socket_addrs()?.next()
    } else {
        let host = address.trim_start_matches('[').trim_end_matches(']');
        (host, DEFAULT_PORT).to_socket_addrs()?.next()
    };
    let nowhere = || std::io::Error::other("the name has no address");
    let stream = TcpStream::connect_timeout(&resolved.ok_or_else(nowhere)?, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What a port's description and counters tell, as the admin socket would.
pub fn port(desc: &PortDesc, stats: Option<&openflow::msg::PortStats>) -> admin::Port {
    admin::Port {
        name: desc.name.clone(),
        ofport: desc.port.0,
        mac: desc.hw_addr.to_string(),
        link_up: desc.state & PORT_STATE_LINK_DOWN == 0,
        open: desc.config & (PORT_DOWN | PORT_NO_RECV | PORT_NO_FWD) == 0,
        config: desc.config,
        // All ones: not counted.
        stats: stats
            .filter(|s| s.rx_packets != u64::MAX)
            .map(|s| admin::PortStats {
                rx_packets: s.rx_packets,
                rx_bytes: s.rx_bytes,
                rx_drops: s.rx_dropped,
                rx_errors: s.rx_errors,
                tx_packets: s.tx_packets,
                tx_bytes: s.tx_bytes,
                tx_drops: s.tx_dropped,
                tx_errors: s.tx_errors,
                duration_ns: nanoseconds(s.duration_sec, s.duration_nsec),
            }),
        ..admin::Port::default()
    }
}

/// One count from OpenFlow's two.
pub fn nanoseconds(seconds: u32, nanoseconds: u32) -> u64 {
    u64::from(seconds) * 1_000_000_000 + u64::from(nanoseconds)
}
