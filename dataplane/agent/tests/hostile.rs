//! Peers that are slow, broken or hostile cost bounded memory and harm no other connection.

#[allow(dead_code)] // each test file uses a part of it
mod twin;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use agent::Options;
use openflow::error::*;
use openflow::model::FlowMod;
use openflow::msg::*;
use openflow::wire::{self, Framer, Header};
use openflow::{Field, Instructions, Match, Message, Version};
use twin::Twin;

const V: Version = Version::V1_3;
/// Long enough for anything on a busy machine.
const LONG: Duration = Duration::from_secs(30);

fn bytes(xid: u32, message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode(V, xid, message, &mut bytes).unwrap();
    bytes
}

fn hello() -> Vec<u8> {
    bytes(1, &Message::Hello(Hello::offering(&[V])))
}

struct Peer {
    stream: UnixStream,
    framer: Framer,
}

impl Peer {
    fn connect(twin: &Twin) -> Peer {
        let mut stream = UnixStream::connect(&twin.openflow).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.write_all(&hello()).unwrap();
        let framer = Framer::new();
        let mut peer = Peer { stream, framer };
        assert!(matches!(peer.read(), Some((_, Message::Hello(_)))));
        peer
    }

    fn send(&mut self, xid: u32, message: &Message) {
        self.stream.write_all(&bytes(xid, message)).unwrap();
    }

    /// The next message; none where the switch has closed.
    fn read(&mut self) -> Option<(u32, Message)> {
        loop {
            if let Some(frame) = self.framer.next_frame().unwrap() {
                let xid = Header::read(frame).unwrap().xid;
                return Some((xid, wire::decode(V, frame).unwrap()));
            }
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => self.framer.push(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return None,
                Err(e) => panic!("{e}"),
            }
        }
    }

    fn echo(&mut self, xid: u32) {
        self.send(xid, &Message::EchoRequest(vec![7; 8]));
        assert_eq!(self.read(), Some((xid, Message::EchoReply(vec![7; 8]))));
    }
}

/// True once the switch has closed the connection.
fn is_closed(mut stream: &UnixStream) -> bool {
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return true,
            Err(_) => return false,
        }
    }
}

fn sessions(twin: &Twin) -> Vec<admin::Session> {
    let mut admin = admin::Client::connect(&twin.admin, LONG).unwrap();
    match admin.call(&admin::Request::Show).unwrap() {
        admin::Reply::Show(show) => show.sessions,
        other => panic!("{other:?}"),
    }
}

fn table_features(more: bool) -> Message {
    Message::MultipartRequest(MultipartRequest {
        more,
        body: RequestBody::TableFeatures(Vec::new()),
    })
}

#[test]
fn who_says_nothing_or_half_a_hello_is_closed_in_time_and_others_go_on() {
    let options = Options {
        handshake: Duration::from_millis(300),
        ..Options::default()
    };
    let twin = Twin::with("half", &[], options);
    let mut good = Peer::connect(&twin);
    for beginning in [&b""[..], b"\x04", b"\x04\x00\xff\xff\x00\x00", b"GET / HT"] {
        let mut stream = UnixStream::connect(&twin.openflow).unwrap();
        stream.write_all(beginning).unwrap();
        assert!(is_closed(&stream), "{beginning:?}");
        good.echo(9);
    }
}

#[test]
fn a_message_that_never_comes_whole_is_dropped_when_the_peer_falls_silent() {
    let options = Options {
        inactivity_probe: Duration::from_millis(200),
        ..Options::default()
    };
    let twin = Twin::with("whole", &["ptcp:0:127.0.0.1"], options);
    let mut stream = std::net::TcpStream::connect(twin.tcp()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(&hello()).unwrap();
    // 65,535 bytes announced, ten sent.
    stream
        .write_all(&[4, 14, 0xff, 0xff, 0, 0, 0, 1, 0, 0])
        .unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let mut framer = Framer::new();
    framer.push(&all);
    framer.next_frame().unwrap().unwrap();
    let probe = wire::decode(V, framer.next_frame().unwrap().unwrap());
    assert!(matches!(probe, Ok(Message::EchoRequest(_))), "{probe:?}");
}

#[test]
fn a_crowd_is_refused_beyond_the_limit_and_leaves_no_trace() {
    let options = Options {
        per_peer: 40,
        ..Options::default()
    };
    let twin = Twin::with("crowd", &["ptcp:0:127.0.0.1"], options);
    let mut good = Peer::connect(&twin);
    let address = twin.tcp();
    let crowd: Vec<_> = (0..400)
        .map(|_| {
            let stream = std::net::TcpStream::connect(&address).unwrap();
            stream.set_read_timeout(Some(LONG)).unwrap();
            stream
        })
        .collect();
    let mut open = 0;
    for mut stream in &crowd {
        let mut first = [0; 1];
        // Those that are let in get a hello, the others an end.
        match stream.read(&mut first) {
            Ok(1) => open += 1,
            Ok(_) => {}
            Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset),
        }
    }
    assert_eq!(open, 40);
    good.echo(3);
    drop(crowd);
    // Places come back.
    let mut again = None;
    for _ in 0..200 {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        if matches!(stream.read(&mut [0; 1]), Ok(1)) {
            again = Some(stream);
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(again.is_some());
}

#[test]
fn a_multipart_request_that_never_ends_is_refused() {
    let twin = Twin::start("endless", &[]);
    let mut peer = Peer::connect(&twin);
    let mut errors = 0;
    for xid in 0..50 {
        peer.send(xid, &table_features(true));
    }
    peer.send(99, &Message::BarrierRequest);
    loop {
        match peer.read().unwrap() {
            (_, Message::Error(e)) if e.error == OFPBRC_MULTIPART_BUFFER_OVERFLOW => errors += 1,
            (99, Message::BarrierReply) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(errors, 46, "four may be unfinished at a time");
    // One of them can still be finished.
    peer.send(2, &table_features(false));
    let (xid, reply) = peer.read().unwrap();
    assert!(xid == 2 && matches!(reply, Message::MultipartReply(_)));
}

#[test]
fn who_never_reads_is_not_read_any_further_and_closed_at_last() {
    let options = Options {
        stall: Duration::from_secs(1),
        ..Options::default()
    };
    let twin = Twin::with("unread", &[], options);
    let mut good = Peer::connect(&twin);
    let deaf = Peer::connect(&twin);
    send_echo_until_it_is_not_taken(&deaf);
    good.echo(4);
    deaf.stream.set_nonblocking(false).unwrap();
    // It says nothing more and reads nothing: gone, though it never closed.
    for _ in 0..600 {
        if sessions(&twin).iter().filter(|s| s.role.is_some()).count() == 1 {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("still there: {:?}", sessions(&twin));
}

#[test]
fn who_never_reads_a_dump_is_not_read_any_further_either() {
    let twin = Twin::start("unread-dump", &[]);
    let mut good = Peer::connect(&twin);
    let mut deaf = Peer::connect(&twin);
    deaf.stream.write_all(&flows(20_000)).unwrap();
    deaf.send(1, &dump());
    // It has begun.
    assert!(matches!(deaf.read(), Some((1, Message::MultipartReply(_)))));
    send_echo_until_it_is_not_taken(&deaf);
    good.echo(4);
}

/// Until the switch takes no more: its queue and two socket buffers are full.
fn send_echo_until_it_is_not_taken(deaf: &Peer) {
    deaf.stream.set_nonblocking(true).unwrap();
    let request = bytes(5, &Message::EchoRequest(vec![1; 60_000]));
    let (mut sent, mut tries) = (0, 0);
    while tries < 50 {
        match (&deaf.stream).write(&request[sent % request.len()..]) {
            Ok(n) => (sent, tries) = (sent + n, 0),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            // Closed for not reading.
            Err(_) => break,
        }
        assert!(sent < 64 << 20, "the switch takes whatever comes");
    }
}

/// Flow-mods that add so many flows.
fn flows(count: u32) -> Vec<u8> {
    let add = |n: u32| {
        let matching = Match::any()
            .with(Field::EthType, 0x0800u16)
            .with(Field::Ipv4Dst, n);
        let add = FlowMod::add(net::TableId(0), 5, matching, Instructions::default());
        bytes(n, &Message::FlowMod(add))
    };
    (0..count).flat_map(add).collect()
}

/// A request for all flows.
fn dump() -> Message {
    let body = RequestBody::Flow(FlowStatsRequest::default());
    Message::MultipartRequest(MultipartRequest { more: false, body })
}

#[test]
fn a_flood_of_one_connection_leaves_others_their_turn() {
    let twin = Twin::start("flood", &[]);
    let mut good = Peer::connect(&twin);
    let stop = Arc::new(AtomicBool::new(false));
    let (began, begins) = std::sync::mpsc::channel();
    let mut flooder = Peer::connect(&twin);
    let flood = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let mut batch = Vec::new();
            for n in 0..500u32 {
                let matching = Match::any()
                    .with(Field::EthType, 0x0800u16)
                    .with(Field::Ipv4Dst, n);
                let add = FlowMod::add(net::TableId(1), 5, matching, Instructions::default());
                batch.extend(bytes(n, &Message::FlowMod(add)));
            }
            while !stop.load(Relaxed) {
                flooder.stream.write_all(&batch).unwrap();
                // Nobody listens any more after the first time.
                let _ = began.send(());
            }
        })
    };
    begins.recv().unwrap();
    for xid in 0..100 {
        good.echo(xid);
        assert!(!flood.is_finished());
    }
    stop.store(true, Relaxed);
    flood.join().unwrap();
}

#[test]
fn echo_overtakes_a_dump_and_a_barrier_does_not() {
    let twin = Twin::start("overtake", &[]);
    let mut peer = Peer::connect(&twin);
    let count = 20_000u32;
    peer.stream.write_all(&flows(count)).unwrap();
    peer.send(1, &dump());
    peer.send(2, &Message::BarrierRequest);
    peer.send(3, &Message::EchoRequest(Vec::new()));
    let (mut flows, mut echoed, mut done) = (0, None, false);
    loop {
        match peer.read().unwrap() {
            (1, Message::MultipartReply(reply)) => {
                let ReplyBody::Flow(part) = reply.body else {
                    panic!()
                };
                flows += part.len() as u32;
                done = !reply.more;
            }
            (3, Message::EchoReply(_)) => echoed = Some(flows),
            (2, Message::BarrierReply) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(done && flows == count, "the barrier came after {flows}");
    assert!(echoed.unwrap() < count, "the echo had to wait for the dump");
}
