//! A controller that speaks one version.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use openflow::error::OfError;
use openflow::msg::{
    ErrorMsg, Hello, MultipartReply, MultipartRequest, ReplyBody, RequestBody, Role, RoleRequest,
    SwitchConfig,
};
use openflow::wire::{self, Framer, Header};
use openflow::{Message, Version};

use super::Twin;

pub struct Controller {
    pub version: Version,
    stream: UnixStream,
    framer: Framer,
    xid: u32,
    /// Came while an answer was waited for.
    unasked: Vec<Message>,
}

impl Controller {
    pub fn connect(twin: &Twin, version: Version) -> Controller {
        let stream = UnixStream::connect(&twin.openflow).unwrap();
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).unwrap();
        let mut controller = Controller {
            version,
            stream,
            framer: Framer::new(),
            xid: 0,
            unasked: Vec::new(),
        };
        let mut hello = Vec::new();
        let offer = Message::Hello(Hello::offering(&[version]));
        wire::encode(version, 0, &offer, &mut hello).unwrap();
        controller.stream.write_all(&hello).unwrap();
        assert!(matches!(controller.frame().1, Message::Hello(_)));
        // Who connects to the switch is told nothing unasked before it has said this.
        controller.does(&Message::SetConfig(SwitchConfig {
            flags: 0,
            miss_send_len: 128,
        }));
        controller
    }

    pub fn send(&mut self, message: &Message) -> u32 {
        self.xid += 1;
        let mut bytes = Vec::new();
        wire::encode(self.version, self.xid, message, &mut bytes)
            .unwrap_or_else(|e| panic!("{:?}: {message:?}: {e}", self.version));
        self.stream.write_all(&bytes).unwrap();
        self.xid
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The number that the next message gets.
    pub fn next_xid(&self) -> u32 {
        self.xid + 1
    }

    /// The next message, whatever it is.
    pub fn frame(&mut self) -> (u32, Message) {
        let (xid, message, _) = self.frame_with_bytes();
        (xid, message)
    }

    fn frame_with_bytes(&mut self) -> (u32, Message, Vec<u8>) {
        loop {
            if let Some(frame) = self.framer.next_frame().unwrap() {
                let header = Header::read(frame).unwrap();
                // A hello may be of another version.
                let version = Version::from_wire(header.version).unwrap();
                let message = wire::decode(version, frame);
                let message = message.unwrap_or_else(|e| panic!("{version}: {e}: {frame:02x?}"));
                return (header.xid, message, frame.to_vec());
            }
            let mut buffer = [0; 65536];
            let n = self.stream.read(&mut buffer).unwrap();
            assert!(n > 0, "the switch closed the connection");
            self.framer.push(&buffer[..n]);
        }
    }

    /// The answer to a request.
    pub fn answer(&mut self, xid: u32) -> Message {
        loop {
            match self.frame() {
                (of, message) if of == xid => return message,
                (_, Message::EchoRequest(_)) => {}
                (_, message) => self.unasked.push(message),
            }
        }
    }

    pub fn ask(&mut self, message: &Message) -> Message {
        let xid = self.send(message);
        self.answer(xid)
    }

    /// The next message that nobody asked for.
    pub fn hear(&mut self) -> Message {
        match self.unasked.is_empty() {
            true => self.frame().1,
            false => self.unasked.remove(0),
        }
    }

    /// What came unasked up to a barrier.
    pub fn heard(&mut self) -> Vec<Message> {
        self.barrier();
        std::mem::take(&mut self.unasked)
    }

    pub fn barrier(&mut self) {
        assert_eq!(self.ask(&Message::BarrierRequest), Message::BarrierReply);
    }

    /// Sends what must be carried out.
    pub fn does(&mut self, message: &Message) {
        let xid = self.send(message);
        let barrier = self.send(&Message::BarrierRequest);
        loop {
            match self.frame() {
                (of, _) if of == barrier => return,
                (of, Message::Error(error)) if of == xid => panic!("{message:?}: {}", error.error),
                (_, Message::EchoRequest(_)) => {}
                (_, message) => self.unasked.push(message),
            }
        }
    }

    /// The error for a message that must be refused.
    pub fn error(&mut self, message: &Message) -> ErrorMsg {
        let xid = self.send(message);
        self.error_about(xid, &format!("{message:?}"))
    }

    /// The error for number `xid`, which must come before a barrier's reply.
    pub fn error_about(&mut self, xid: u32, what: &str) -> ErrorMsg {
        let barrier = self.send(&Message::BarrierRequest);
        let mut found = None;
        loop {
            match self.frame() {
                (of, _) if of == barrier => {
                    return found
                        .unwrap_or_else(|| panic!("{}: not refused: {what}", self.version));
                }
                (of, Message::Error(error)) if of == xid => found = Some(error),
                (_, Message::EchoRequest(_)) => {}
                (_, message) => self.unasked.push(message),
            }
        }
    }

    pub fn refused(&mut self, message: &Message, expected: OfError) {
        let error = self.error(message).error;
        assert_eq!(
            error,
            expected
                .for_version(self.version)
                .from_version(self.version),
            "{}: {message:?}",
            self.version
        );
    }

    /// The whole answer to a multipart request.
    pub fn multipart(&mut self, body: RequestBody) -> Vec<ReplyBody> {
        let request = MultipartRequest { more: false, body };
        let xid = self.send(&Message::MultipartRequest(request));
        let mut parts = Vec::new();
        loop {
            match self.answer(xid) {
                Message::MultipartReply(MultipartReply { more, body }) => {
                    parts.push(body);
                    if !more {
                        return parts;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    pub fn become_role(&mut self, role: Role, generation_id: u64) -> Message {
        self.ask(&Message::RoleRequest(RoleRequest {
            role,
            generation_id,
            short_id: 0,
        }))
    }
}
