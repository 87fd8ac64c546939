//! Two nodes with their pods, the tunnel network and the VLAN between them, and a legacy server on
//! the VLAN that knows nothing of us. The wires end in this process, which plays every host.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, NetSlice, PacketBuilder, SlicedPacket,
    TransportSlice,
};

/// The far end of a port: frames in and out.
pub trait Wire {
    fn send(&mut self, frame: &[u8]);
    /// The next frame that is already here.
    fn receive(&mut self) -> Option<Vec<u8>>;
}

/// A node's switch under test.
pub trait Node {
    /// Adds a pod's port.
    fn add_port(&self, name: &str, number: u32);
    /// The far end of a port.
    fn wire(&self, name: &str) -> Box<dyn Wire>;
    /// The far end of the tunnel's network; none: it is the uplink, untagged.
    fn tunnel_wire(&self) -> Option<Box<dyn Wire>>;
    /// Connects it to a controller, `tcp:HOST:PORT`.
    fn set_controller(&self, target: &str);
    /// Asks it by `ovs-ofctl`; the first argument is the command.
    fn ofctl(&self, args: &[&str]) -> String;
    /// What it knows of cookies.
    fn labels(&self) -> String {
        String::new()
    }
    /// Waits until packets meet the flows that were installed.
    fn settle(&self) {}
}

/// Long enough for a packet to cross two switches of this machine under load.
pub const SOON: Duration = Duration::from_millis(1500);
/// Long enough to believe that nothing comes.
pub const NEVER: Duration = Duration::from_millis(150);

pub type Mac = [u8; 6];

/// A frame, taken apart as far as the tests need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub src: Mac,
    pub dst: Mac,
    /// Tags, outermost first.
    pub vlans: Vec<u16>,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Arp {
        request: bool,
        sender: (Mac, Ipv4Addr),
        target: (Mac, Ipv4Addr),
    },
    Ip {
        src: Ipv4Addr,
        dst: Ipv4Addr,
        ttl: u8,
        /// Protocol with source and destination port; type and code for ICMP.
        l4: (u8, u16, u16),
        /// Both checksums are right.
        sound: bool,
        payload: Vec<u8>,
    },
    Other,
}

pub fn parse(frame: &[u8]) -> Seen {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let ethernet = match packet.link.as_ref().unwrap() {
        etherparse::LinkSlice::Ethernet2(e) => e.clone(),
        other => panic!("{other:?}"),
    };
    let vlans = packet.vlan_ids().iter().map(|id| id.value()).collect();
    let what = match packet.net.as_ref() {
        Some(NetSlice::Arp(arp)) => {
            let mac = |b: &[u8]| Mac::try_from(b).unwrap();
            let ip = |b: &[u8]| Ipv4Addr::from(<[u8; 4]>::try_from(b).unwrap());
            What::Arp {
                request: arp.operation() == ArpOperation::REQUEST,
                sender: (mac(arp.sender_hw_addr()), ip(arp.sender_protocol_addr())),
                target: (mac(arp.target_hw_addr()), ip(arp.target_protocol_addr())),
            }
        }
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header().to_header();
            let sound_ip = header.calc_header_checksum() == header.header_checksum;
            let (src, dst) = (header.source, header.destination);
            let (l4, sound, payload) = match packet.transport.as_ref() {
                Some(TransportSlice::Tcp(tcp)) => (
                    (6, tcp.source_port(), tcp.destination_port()),
                    tcp.calc_checksum_ipv4(src, dst).unwrap() == tcp.checksum(),
                    tcp.payload().to_vec(),
                ),
                Some(TransportSlice::Udp(udp)) => (
                    (17, udp.source_port(), udp.destination_port()),
                    udp.checksum() == 0
                        || udp
                            .to_header()
                            .calc_checksum_ipv4_raw(src, dst, udp.payload())
                            .unwrap()
                            == udp.checksum(),
                    udp.payload().to_vec(),
                ),
                Some(TransportSlice::Icmpv4(icmp)) => {
                    let (kind, code) = (icmp.type_u8(), icmp.code_u8());
                    let sound =
                        icmp.header().icmp_type.calc_checksum(icmp.payload()) == icmp.checksum();
                    (
                        (1, kind.into(), code.into()),
                        sound,
                        icmp.payload().to_vec(),
                    )
                }
                _ => ((header.protocol.0, 0, 0), true, Vec::new()),
            };
            What::Ip {
                src: src.into(),
                dst: dst.into(),
                ttl: header.time_to_live,
                l4,
                sound: sound_ip && sound,
                payload,
            }
        }
        _ => What::Other,
    };
    Seen {
        src: ethernet.source(),
        dst: ethernet.destination(),
        vlans,
        what,
    }
}

/// A host: an address, and a wire or a place on the VLAN.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    pub mac: Mac,
    pub ip: Ipv4Addr,
}

impl Host {
    /// A TCP segment without options; SYN, or data where there is some.
    pub fn tcp(
        &self,
        via: Mac,
        to: Ipv4Addr,
        ports: (u16, u16),
        flags: &str,
        data: &[u8],
    ) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2(self.mac, via)
            .ipv4(self.ip.octets(), to.octets(), 64)
            .tcp(ports.0, ports.1, 1000, 8192);
        let builder = match flags {
            "S" => builder.syn(),
            "SA" => builder.syn().ack(1001),
            _ => builder.ack(1001),
        };
        let mut frame = Vec::new();
        builder.write(&mut frame, data).unwrap();
        frame
    }

    pub fn udp(&self, via: Mac, to: Ipv4Addr, ports: (u16, u16), data: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(self.mac, via)
            .ipv4(self.ip.octets(), to.octets(), 64)
            .udp(ports.0, ports.1)
            .write(&mut frame, data)
            .unwrap();
        frame
    }

    pub fn ping(&self, via: Mac, to: Ipv4Addr) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(self.mac, via)
            .ipv4(self.ip.octets(), to.octets(), 64)
            .icmpv4_echo_request(7, 1)
            .write(&mut frame, b"are you there?")
            .unwrap();
        frame
    }

    pub fn arp(&self, request: bool, to: Mac, target: (Mac, Ipv4Addr)) -> Vec<u8> {
        let operation = if request {
            ArpOperation::REQUEST
        } else {
            ArpOperation::REPLY
        };
        let arp = ArpPacket::new(
            ArpHardwareId::ETHERNET,
            EtherType::IPV4,
            operation,
            &self.mac,
            &self.ip.octets(),
            &target.0,
            &target.1.octets(),
        );
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(self.mac, to)
            .arp(arp.unwrap())
            .write(&mut frame)
            .unwrap();
        frame
    }
}

pub const BROADCAST: Mac = [0xff; 6];

/// Everything between the hosts: wires of pods by name, of both uplinks and of both tunnel ports.
pub struct World {
    pub pods: BTreeMap<String, Box<dyn Wire>>,
    pub uplinks: [Box<dyn Wire>; 2],
    pub tunnels: Option<[Box<dyn Wire>; 2]>,
    /// What crossed the VLAN, as it was on the wire.
    pub on_vlan: Vec<Vec<u8>>,
    /// What crossed the tunnel network.
    pub on_tunnel: Vec<Vec<u8>>,
}

impl World {
    /// Carries frames between the nodes until none moves for `quiet`, at most `within`, or until
    /// `done` says so of what a pod got.
    fn carry(&mut self, within: Duration, mut done: impl FnMut(&mut World) -> bool) {
        let until = Instant::now() + within;
        while Instant::now() < until {
            for side in 0..2 {
                if let Some(tunnels) = &mut self.tunnels {
                    while let Some(frame) = tunnels[side].receive() {
                        tunnels[1 - side].send(&frame);
                        self.on_tunnel.push(frame);
                    }
                }
                while let Some(frame) = self.uplinks[side].receive() {
                    self.uplinks[1 - side].send(&frame);
                    let tagged = frame[12..14] == [0x81, 0x00];
                    let network = if tagged {
                        &mut self.on_vlan
                    } else {
                        &mut self.on_tunnel
                    };
                    network.push(frame);
                }
            }
            if done(self) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn send(&mut self, pod: &str, frame: &[u8]) {
        self.pods.get_mut(pod).unwrap().send(frame);
    }

    /// The legacy server sends, tagged.
    pub fn send_on_vlan(&mut self, vlan: u16, frame: &[u8]) {
        let mut tagged = frame[..12].to_vec();
        tagged.extend([0x81, 0x00]);
        tagged.extend(vlan.to_be_bytes());
        tagged.extend(&frame[12..]);
        for uplink in &mut self.uplinks {
            uplink.send(&tagged);
        }
    }

    /// What the pod gets next.
    pub fn received(&mut self, pod: &str) -> Option<Seen> {
        self.received_within(pod, SOON)
    }

    pub fn received_within(&mut self, pod: &str, within: Duration) -> Option<Seen> {
        self.frame(pod, within).map(|frame| parse(&frame))
    }

    /// What the pod gets next, as it is.
    pub fn frame(&mut self, pod: &str, within: Duration) -> Option<Vec<u8>> {
        let mut got = None;
        self.carry(within, |world| {
            got = world.pods.get_mut(pod).unwrap().receive();
            got.is_some()
        });
        got
    }

    /// What crosses the VLAN next.
    pub fn seen_on_vlan(&mut self) -> Option<Seen> {
        self.on_vlan.clear();
        self.carry(SOON, |world| !world.on_vlan.is_empty());
        self.on_vlan.first().map(|frame| parse(frame))
    }

    /// Lets everybody finish, and forgets what was said.
    pub fn hush(&mut self) {
        self.carry(NEVER, |_| false);
        for wire in self.pods.values_mut() {
            while wire.receive().is_some() {}
        }
        self.on_vlan.clear();
    }

    /// Nothing at all reaches any of these pods, nor the VLAN.
    pub fn assert_silence(&mut self, pods: &[&str]) {
        self.on_vlan.clear();
        self.carry(NEVER, |_| false);
        for pod in pods {
            let got = self.pods.get_mut(*pod).unwrap().receive();
            assert_eq!(got.map(|f| parse(&f)), None, "{pod} got something");
        }
        assert!(self.on_vlan.is_empty(), "{:?}", parse(&self.on_vlan[0]));
    }
}

/// Tries for five seconds.
pub fn retry<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        match attempt() {
            Some(done) => return Some(done),
            None if Instant::now() > until => return None,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
