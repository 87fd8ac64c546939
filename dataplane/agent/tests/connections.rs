//! How connections begin, live and end: versions, who hears what, probes, the fail mode, limits.

#[allow(dead_code)] // each test file uses a part of it
mod twin;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use agent::{FailMode, Options, PacketInLimit};
use net::{FlowKey, TableId};
use openflow::msg::*;
use openflow::wire::{self, Framer, Header};
use openflow::{Message, Version};
use twin::Twin;

const LONG: Duration = Duration::from_secs(30);

struct Peer {
    stream: TcpStream,
    framer: Framer,
    version: Version,
}

impl Peer {
    fn new(stream: TcpStream) -> Peer {
        stream.set_read_timeout(Some(LONG)).unwrap();
        Peer {
            stream,
            framer: Framer::new(),
            version: Version::V1_3,
        }
    }

    /// Says which versions it speaks, and gives the switch's first message after its hello.
    fn greet(mut self, versions: &[Version]) -> Peer {
        self.send(&Message::Hello(Hello::offering(versions)));
        assert!(matches!(self.read(), Some((_, Message::Hello(_)))));
        self
    }

    fn send(&mut self, message: &Message) {
        let mut bytes = Vec::new();
        wire::encode(self.version, 7, message, &mut bytes).unwrap();
        self.stream.write_all(&bytes).unwrap();
    }

    fn read(&mut self) -> Option<(u8, Message)> {
        loop {
            if let Some(frame) = self.framer.next_frame().unwrap() {
                let version = Header::read(frame).unwrap().version;
                return Some((version, wire::decode(self.version, frame).unwrap()));
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer).unwrap() {
                0 => return None,
                n => self.framer.push(&buffer[..n]),
            }
        }
    }

    fn ask(&mut self, message: &Message) -> Message {
        self.send(message);
        self.read().unwrap().1
    }
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, format!("tcp:127.0.0.1:{port}"))
}

fn show(twin: &Twin) -> admin::Show {
    let mut admin = admin::Client::connect(&twin.admin, LONG).unwrap();
    match admin.call(&admin::Request::Show).unwrap() {
        admin::Reply::Show(show) => show,
        other => panic!("{other:?}"),
    }
}

fn flows(twin: &Twin) -> Vec<admin::Flow> {
    let mut admin = admin::Client::connect(&twin.admin, LONG).unwrap();
    match admin.call(&admin::Request::Flows { filter: None }).unwrap() {
        admin::Reply::Flows(flows) => flows,
        other => panic!("{other:?}"),
    }
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..600 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what} does not happen");
}

#[test]
fn the_best_common_version_is_spoken_from_then_on() {
    for version in Options::default().versions {
        let options = Options {
            versions: vec![Version::V1_3, version],
            ..Options::default()
        };
        let (listener, target) = listen();
        let twin = Twin::with(&format!("agree-{version}"), &[&target], options);
        let mut peer = Peer::new(listener.accept().unwrap().0).greet(&[Version::V1_3, version]);
        peer.version = version;
        let reply = peer.ask(&Message::BarrierRequest);
        assert_eq!(reply, Message::BarrierReply);
        peer.send(&Message::EchoRequest(Vec::new()));
        assert_eq!(peer.read().unwrap().0, version.to_wire());
        let session = show(&twin).sessions.into_iter().find(|s| s.role.is_some());
        assert_eq!(session.unwrap().version, Some(version.to_string()));
    }
}

#[test]
fn a_version_that_is_not_allowed_is_refused_with_text() {
    let options = Options {
        versions: vec![Version::V1_3],
        ..Options::default()
    };
    let (listener, target) = listen();
    let _twin = Twin::with("refused", &[&target], options);
    let mut peer = Peer::new(listener.accept().unwrap().0);
    peer.version = Version::V1_5;
    peer.stream.write_all(&[6, 0, 0, 8, 0, 0, 0, 1]).unwrap();
    // Without a bitmap the lower of both counts: 1.3 it is.
    assert!(matches!(peer.read(), Some((_, Message::Hello(_)))));
    drop(peer);
    let mut peer = Peer::new(listener.accept().unwrap().0);
    let only_1_5: [u8; 16] = [6, 0, 0, 16, 0, 0, 0, 1, 0, 1, 0, 8, 0, 0, 0, 1 << 6];
    peer.stream.write_all(&only_1_5).unwrap();
    assert!(matches!(peer.read(), Some((_, Message::Hello(_)))));
    let Some((_, Message::Error(error))) = peer.read() else {
        panic!()
    };
    assert_eq!(error.error, openflow::error::OFPHFC_INCOMPATIBLE);
    assert!(String::from_utf8_lossy(&error.data).contains("speaks OpenFlow 1.3"));
    assert_eq!(peer.read(), None);
}

#[test]
fn who_connected_to_the_switch_hears_nothing_until_set_config() {
    let (listener, target) = listen();
    let twin = Twin::start("hears", &[&target, "ptcp:0:127.0.0.1"]);
    let v = &[Version::V1_3];
    let mut primary = Peer::new(listener.accept().unwrap().0).greet(v);
    let service = TcpStream::connect(twin.tcp()).unwrap();
    let mut service = Peer::new(service).greet(v);
    let barrier = |peer: &mut Peer| peer.ask(&Message::BarrierRequest);
    assert_eq!(barrier(&mut primary), Message::BarrierReply);
    assert_eq!(barrier(&mut service), Message::BarrierReply);
    twin.packet_in(packet(1));
    assert!(matches!(primary.read(), Some((_, Message::PacketIn(_)))));
    assert_eq!(barrier(&mut service), Message::BarrierReply);
    service.send(&Message::SetConfig(SwitchConfig {
        flags: 0,
        miss_send_len: 128,
    }));
    assert_eq!(barrier(&mut service), Message::BarrierReply);
    twin.packet_in(packet(1));
    assert!(matches!(service.read(), Some((_, Message::PacketIn(_)))));
}

#[test]
fn a_silent_controller_is_asked_dropped_and_connected_again() {
    let options = Options {
        inactivity_probe: Duration::from_millis(200),
        max_backoff: Duration::from_millis(100),
        ..Options::default()
    };
    let (listener, target) = listen();
    let twin = Twin::with("silent", &[&target], options);
    let mut peer = Peer::new(listener.accept().unwrap().0).greet(&[Version::V1_3]);
    let asked = peer.read();
    assert!(
        matches!(asked, Some((_, Message::EchoRequest(_)))),
        "{asked:?}"
    );
    assert_eq!(peer.read(), None, "not answered");
    let mut peer = Peer::new(listener.accept().unwrap().0).greet(&[Version::V1_3]);
    // Answers keep it.
    for _ in 0..4 {
        let (_, Message::EchoRequest(data)) = peer.read().unwrap() else {
            panic!()
        };
        peer.send(&Message::EchoReply(data));
    }
    let shown = show(&twin).sessions;
    let target = shown
        .iter()
        .find(|s| s.target == target && s.role.is_none());
    assert_eq!(target.unwrap().state, "connected");
}

#[test]
fn standalone_switches_by_itself_until_a_controller_is_there() {
    let options = Options {
        inactivity_probe: Duration::from_millis(100),
        max_backoff: Duration::from_millis(100),
        fail_mode: FailMode::Standalone,
        ..Options::default()
    };
    let (listener, target) = listen();
    let twin = Twin::with("standalone", &[&target], options);
    let mut peer = Peer::new(listener.accept().unwrap().0).greet(&[Version::V1_3]);
    // The controller's own flow for everything else.
    let drop_all = openflow::model::FlowMod {
        cookie: 0x77,
        ..openflow::model::FlowMod::add(
            TableId(0),
            0,
            openflow::Match::any(),
            openflow::Instructions::default(),
        )
    };
    peer.send(&Message::FlowMod(drop_all));
    assert_eq!(peer.ask(&Message::BarrierRequest), Message::BarrierReply);
    let cookies = || flows(&twin).iter().map(|f| f.cookie).collect::<Vec<_>>();
    assert_eq!(cookies(), [0x77]);
    drop((peer, listener));
    wait("standalone", || cookies() != [0x77]);
    let alone = flows(&twin);
    assert_eq!(alone.len(), 1);
    assert_eq!(alone[0].object.as_deref(), Some("fail-mode standalone"));
    assert!(alone[0].text.contains("NORMAL"), "{}", alone[0].text);
    let state = show(&twin).sessions;
    let state = state.iter().find(|s| s.target == target).unwrap();
    assert!(state.state.starts_with("trying: "), "{}", state.state);

    let listener = TcpListener::bind(target.trim_start_matches("tcp:")).unwrap();
    let mut peer = Peer::new(listener.accept().unwrap().0).greet(&[Version::V1_3]);
    assert_eq!(peer.ask(&Message::BarrierRequest), Message::BarrierReply);
    assert_eq!(cookies(), [0x77], "the controller's flow is back");
}

#[test]
fn without_controllers_standalone_begins_at_once_and_secure_never() {
    let options = |fail_mode| Options {
        fail_mode,
        ..Options::default()
    };
    let twin = Twin::with("alone", &[], options(FailMode::Standalone));
    wait("standalone", || flows(&twin).len() == 1);
    let secure = Twin::with("secure", &[], options(FailMode::Secure));
    std::thread::sleep(Duration::from_millis(600));
    assert!(flows(&secure).is_empty());
}

#[test]
fn a_flood_of_packets_is_limited_for_each_controller_and_shared_by_ports() {
    let options = Options {
        // One in 100 s beyond the burst: nothing more comes in this test.
        packet_in: PacketInLimit { rate: 1, burst: 5 },
        inactivity_probe: Duration::ZERO,
        ..Options::default()
    };
    let (listener, target) = listen();
    let twin = Twin::with("limit", &[&target], options);
    let mut peer = Peer::new(listener.accept().unwrap().0).greet(&[Version::V1_3]);
    assert_eq!(peer.ask(&Message::BarrierRequest), Message::BarrierReply);
    for _ in 0..30 {
        twin.packet_in(packet(1));
    }
    twin.packet_in(packet(2));
    let mut ports = Vec::new();
    while ports.len() < 8 {
        let (_, Message::PacketIn(packet)) = peer.read().unwrap() else {
            panic!()
        };
        let port = packet.matching.get(openflow::Field::InPort);
        ports.push(port.unwrap().value as u32);
    }
    assert_eq!(ports[..5], [1; 5], "the burst");
    assert!(
        ports[5..].contains(&2),
        "port 2 has to wait for port 1: {ports:?}"
    );
}

fn packet(port: u32) -> worker::PacketIn {
    worker::PacketIn {
        reason: 1,
        table: TableId(0),
        cookie: 0,
        total_len: 60,
        data: vec![0; 60],
        key: FlowKey {
            in_port: port.into(),
            ..FlowKey::default()
        },
        controller_id: 0,
        userdata: std::sync::Arc::from([]),
        rest: None,
    }
}
