//! The little of a controller that reading a switch over OpenFlow 1.3 needs.

use std::io::{Read, Write};
use std::time::Duration;

use openflow::model::{PORT_DOWN, PORT_NO_FWD, PORT_NO_RECV, PORT_STATE_LINK_DOWN, PortDesc};
use openflow::msg::{
    Hello, MultipartReply, MultipartRequest, ReplyBody, RequestBody, SwitchFeatures,
};
use openflow::wire::{Framer, Header};
use openflow::{Message, Version, wire};

use transport::blocking::Stream;
use transport::{ConnectError, Target, TargetError, Tls, TlsFiles, explain};

use crate::Failure;

/// Versions that we read, best first: Sluice and others describe flows alike in all of them.
const VERSIONS: &[Version] = &[Version::V1_3];

/// A connection to a switch, greetings exchanged.
pub struct Switch {
    target: String,
    stream: Stream,
    framer: Framer,
    xid: u32,
    version: Version,
}

impl Switch {
    /// Connects to `tcp:HOST[:PORT]`, `ssl:HOST[:PORT]` or `unix:PATH`.
    pub fn connect(text: &str, tls: Option<TlsFiles>, limit: Duration) -> Result<Self, Failure> {
        let target: Target = text.parse().map_err(usage)?;
        let tls = tls.map(Tls::load).transpose();
        let tls = tls.map_err(|e| Failure::Failed(e.to_string()))?;
        let failed = |e: ConnectError| match e {
            ConnectError::NoCertificates | ConnectError::Passive => {
                Failure::Usage(format!("target {text}: {e}"))
            }
            ConnectError::Tls(_) => Failure::Failed(format!("switch at {text}: {e}")),
            e => Failure::Failed(format!(
                "cannot reach the switch at {text}: {e}; does it listen there?"
            )),
        };
        let stream = transport::blocking::connect(&target, tls.as_ref(), limit).map_err(failed)?;
        let mut switch = Switch {
            target: text.to_owned(),
            stream,
            framer: Framer::new(),
            xid: 0,
            version: Version::V1_3,
        };
        switch.greet()?;
        Ok(switch)
    }

    fn greet(&mut self) -> Result<(), Failure> {
        self.send(&Message::Hello(Hello::offering(VERSIONS)))?;
        match self.receive()? {
            (header, Message::Hello(hello)) => match hello.agree(header.version, VERSIONS) {
                Some(version) => {
                    self.version = version;
                    Ok(())
                }
                None => Err(self.failed("it does not speak OpenFlow 1.3; enable it there")),
            },
            (_, Message::Error(e)) => Err(self.failed(format!("it refused us: {}", e.error))),
            (_, other) => Err(self.failed(format!("it greeted with {other:?}"))),
        }
    }

    /// The version agreed on.
    pub fn version(&self) -> Version {
        self.version
    }

    fn failed(&self, what: impl std::fmt::Display) -> Failure {
        Failure::Failed(format!("switch at {}: {what}", self.target))
    }

    fn send(&mut self, message: &Message) -> Result<u32, Failure> {
        self.xid += 1;
        let mut bytes = Vec::new();
        wire::encode(self.version, self.xid, message, &mut bytes)
            .map_err(|e| self.failed(format!("cannot ask in OpenFlow {}: {e}", self.version)))?;
        self.stream
            .write_all(&bytes)
            .and_then(|()| self.stream.flush())
            .map_err(|e| self.failed(format!("connection lost: {}", explain(&e))))?;
        Ok(self.xid)
    }

    /// The next message that is not an echo request, which is answered here.
    fn receive(&mut self) -> Result<(Header, Message), Failure> {
        loop {
            let frame = match self.framer.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    self.fill()?;
                    continue;
                }
                Err(e) => return Err(self.failed(e)),
            };
            let Some(header) = Header::read(frame) else {
                continue;
            };
            match wire::decode(self.version, frame) {
                Ok(Message::EchoRequest(data)) => {
                    self.send(&Message::EchoReply(data))?;
                }
                Ok(message) => return Ok((header, message)),
                Err(e) => return Err(self.failed(format!("cannot read its answer: {e}"))),
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
            Err(e) => Err(self.failed(format!("no answer: {}", explain(&e)))),
        }
    }

    /// Asks and waits for the answer to it; whatever else the switch tells meanwhile is skipped.
    fn call(&mut self, request: &Message) -> Result<Message, Failure> {
        let asked = self.send(request)?;
        loop {
            match self.receive()? {
                (h, Message::Error(e)) if h.xid == asked => {
                    return Err(self.failed(format!("it refused: {}", e.error)));
                }
                (h, message) if h.xid == asked => return Ok(message),
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
                (h, Message::MultipartReply(MultipartReply { more, body })) if h.xid == asked => {
                    parts.push(body);
                    if !more {
                        return Ok(parts);
                    }
                }
                (h, Message::Error(e)) if h.xid == asked => {
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

fn usage(error: TargetError) -> Failure {
    Failure::Usage(error.to_string())
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
