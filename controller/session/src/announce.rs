//! Addresses of pods on VLANs: asked for before they are used for the first time (RFC 5227 2.1; the
//! like for IPv6), announced when they are (RFC 5227 2.3, RFC 4861 7.2.6).
//!
//! A pod's port stays closed while its addresses are asked for. Who answers has them already: then
//! it stays closed, the operator is told whose MAC address answered, and it is asked again later.
//! Ports that are open when we come have been asked for by whoever opened them.
//!
//! Addresses of load balancers are announced by the node that answers for them from now on, so that
//! neighbours which know another node's MAC address learn of the move: when it is chosen, and when a
//! session begins, since nobody knows what happened meanwhile.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use flows::Problem;
use flows::flow::{Announcement, PodPort};
use net::{MacAddr, PortNo, arp, nd};
use openflow::Action;
use openflow::msg::{Message, PacketOut};
use tokio::time::Instant;

use crate::connection::Timing;

/// How often an address is asked for.
const ASKED: u8 = 3;
/// How often it is announced: a switch may lose one.
const TOLD: u8 = 2;
/// When an address that somebody has is asked for again.
const AGAIN: Duration = Duration::from_secs(10);

/// The addresses on VLANs of one switch: its pods', and the load balancers' that it answers for.
#[derive(Debug, Default)]
pub(crate) struct Announcer {
    pods: BTreeMap<PortNo, Entry>,
    taken: BTreeMap<IpAddr, Entry>,
}

#[derive(Debug)]
struct Entry {
    what: Announcement,
    stage: Stage,
    /// Who else was heard with one of the addresses.
    other: Option<(IpAddr, MacAddr)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Asking { sent: u8, due: Instant },
    Taken { due: Instant },
    Telling { left: u8, due: Instant },
    Quiet,
}

impl Announcer {
    /// Brings the pods up to date; those whose ports are closed are asked for.
    pub fn follow(
        &mut self,
        pods: &BTreeMap<PortNo, PodPort>,
        is_closed: impl Fn(PortNo) -> bool,
        now: Instant,
    ) {
        let announced = |port: &PortNo| pods.get(port).and_then(|pod| pod.announce.as_ref());
        self.pods.retain(|port, _| announced(port).is_some());
        for (port, pod) in pods {
            let Some(what) = &pod.announce else { continue };
            let known = self.pods.get(port);
            if known.is_some_and(|entry| entry.what == *what) {
                continue;
            }
            let stage = match (is_closed(*port), known) {
                (true, _) => Stage::Asking { sent: 0, due: now },
                // It runs, and has another address or uplink than a moment ago.
                (false, Some(_)) => Stage::Telling {
                    left: TOLD,
                    due: now,
                },
                (false, None) => Stage::Quiet,
            };
            let entry = Entry {
                what: what.clone(),
                stage,
                other: None,
            };
            self.pods.insert(*port, entry);
        }
    }

    /// Brings the addresses of load balancers up to date; what is new is announced.
    pub fn take(&mut self, taken: &BTreeMap<IpAddr, Announcement>, now: Instant) {
        self.taken.retain(|address, _| taken.contains_key(address));
        for (address, what) in taken {
            let known = self.taken.get(address);
            if known.is_none_or(|entry| entry.what != *what) {
                let entry = Entry {
                    what: what.clone(),
                    stage: Stage::Telling {
                        left: TOLD,
                        due: now,
                    },
                    other: None,
                };
                self.taken.insert(*address, entry);
            }
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.pods.values().chain(self.taken.values())
    }

    /// True unless the pod's addresses are being asked for, or are somebody else's.
    pub fn may_open(&self, port: PortNo) -> bool {
        let stage = self.pods.get(&port).map(|entry| entry.stage);
        !matches!(stage, Some(Stage::Asking { .. } | Stage::Taken { .. }))
    }

    /// When there is something to do next.
    pub fn next(&self) -> Option<Instant> {
        let due = self.entries().filter_map(|entry| match entry.stage {
            Stage::Asking { due, .. } | Stage::Taken { due } | Stage::Telling { due, .. } => {
                Some(due)
            }
            Stage::Quiet => None,
        });
        due.min()
    }

    /// What is to be sent now. Afterwards more ports may be opened than before.
    pub fn due(&mut self, timing: &Timing, now: Instant) -> Vec<Message> {
        let mut messages = Vec::new();
        for entry in self.pods.values_mut().chain(self.taken.values_mut()) {
            entry.stage = match entry.stage {
                Stage::Asking { sent, due } if due <= now && sent < ASKED => {
                    messages.extend(entry.what.addresses.iter().map(|a| ask(&entry.what, *a)));
                    Stage::Asking {
                        sent: sent + 1,
                        due: now + timing.answer,
                    }
                }
                Stage::Asking { due, .. } if due <= now => {
                    entry.other = None;
                    // In the next turn, when the port is open.
                    Stage::Telling {
                        left: TOLD,
                        due: now,
                    }
                }
                Stage::Taken { due } if due <= now => Stage::Asking { sent: 0, due: now },
                Stage::Telling { left, due } if due <= now => {
                    messages.extend(entry.what.addresses.iter().map(|a| tell(&entry.what, *a)));
                    match left {
                        0 | 1 => Stage::Quiet,
                        _ => Stage::Telling {
                            left: left - 1,
                            due: now + timing.announcement,
                        },
                    }
                }
                stage => stage,
            };
        }
        messages
    }

    /// Hears what a station of a VLAN says of itself; true if that is news.
    pub fn hear(&mut self, frame: &[u8], now: Instant) -> bool {
        let Some((address, mac)) = claimed(frame) else {
            return false;
        };
        let mut news = false;
        for entry in self.pods.values_mut() {
            if !entry.what.addresses.contains(&address) || entry.what.mac == mac {
                continue;
            }
            if matches!(entry.stage, Stage::Asking { .. }) {
                entry.stage = Stage::Taken { due: now + AGAIN };
            }
            news |= entry.other.replace((address, mac)) != Some((address, mac));
        }
        news
    }

    /// Addresses that others have.
    pub fn problems(&self) -> Vec<Problem> {
        let told = self.pods.values().filter_map(|entry| {
            let (address, mac) = entry.other?;
            let waits = !matches!(entry.stage, Stage::Telling { .. } | Stage::Quiet);
            let consequence = match waits {
                true => "its port stays closed until the address is free",
                false => "both have it, and packets for it go astray",
            };
            Some(Problem::refused(
                entry.what.object.clone(),
                "",
                format!("the station {mac} of the VLAN has the address {address}; {consequence}"),
                "take the address from that station, or exclude it by spec.excludeIps of the \
                 Subnet and re-create the pod",
            ))
        });
        told.collect()
    }
}

fn ask(what: &Announcement, address: IpAddr) -> Message {
    let frame = match address {
        IpAddr::V4(v4) => arp::request(what.mac, [0; 4], v4.octets()).to_vec(),
        IpAddr::V6(v6) => {
            // From the link-local address: what comes from none must not say its MAC address, and
            // is answered to all.
            let own = flows::feature::spoof_guard::link_local(what.mac);
            nd::solicitation(what.mac, own.octets(), v6.octets()).to_vec()
        }
    };
    send(what, frame)
}

fn tell(what: &Announcement, address: IpAddr) -> Message {
    let frame = match address {
        IpAddr::V4(v4) => arp::announce(what.mac, v4.octets()).to_vec(),
        IpAddr::V6(v6) => nd::announce(what.mac, v6.octets(), false).to_vec(),
    };
    send(what, frame)
}

fn send(what: &Announcement, mut frame: Vec<u8>) -> Message {
    if let Some(vlan) = what.vlan {
        let [high, low] = vlan.get().to_be_bytes();
        frame.splice(12..12, [0x81, 0x00, high, low]);
    }
    let out = Action::Output {
        port: what.uplink,
        max_len: 0,
    };
    Message::PacketOut(PacketOut::new(vec![out], frame))
}

/// Which address a frame says its sender has: the sender of an ARP packet, or the target of a
/// neighbour advertisement.
fn claimed(frame: &[u8]) -> Option<(IpAddr, MacAddr)> {
    let bytes = |at: usize, length: usize| frame.get(at..at + length);
    let mac = |at: usize| Some(MacAddr(bytes(at, 6)?.try_into().ok()?));
    match bytes(12, 2)? {
        [0x08, 0x06] => {
            let address: [u8; 4] = bytes(28, 4)?.try_into().ok()?;
            Some((IpAddr::from(address), mac(22)?))
        }
        [0x86, 0xdd] if bytes(20, 1)? == [58] && bytes(54, 1)? == [136] => {
            let address: [u8; 16] = bytes(62, 16)?.try_into().ok()?;
            Some((IpAddr::from(address), mac(6)?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::VlanId;

    const TIMING: Timing = Timing {
        probe: Duration::from_secs(5),
        dead: Duration::from_secs(20),
        request: Duration::from_secs(120),
        resync: Duration::from_secs(300),
        retry: Duration::from_secs(30),
        answer: Duration::from_millis(100),
        announcement: Duration::from_secs(1),
        count: Duration::from_secs(10),
    };

    const PORT: PortNo = PortNo(11);
    const POD: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    fn pods(addresses: &[&str]) -> BTreeMap<PortNo, PodPort> {
        let object = flows::Problem::refused(
            cluster::ObjectRef::cluster(cluster::Kind::Node, "n"),
            "",
            "",
            "",
        );
        let announce = Announcement {
            object: object.object,
            uplink: PortNo(1),
            vlan: Some(VlanId::new(100).unwrap()),
            mac: POD,
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        };
        let pod = PodPort {
            label: "Pod a/b".into(),
            announce: Some(announce),
        };
        BTreeMap::from([(PORT, pod)])
    }

    fn frames(messages: Vec<Message>) -> Vec<Vec<u8>> {
        let frame = |message| match message {
            Message::PacketOut(out) => {
                assert_eq!(out.data[12..16], [0x81, 0, 0, 100]);
                let mut data = out.data;
                data.drain(12..16);
                data
            }
            other => panic!("{other:?}"),
        };
        messages.into_iter().map(frame).collect()
    }

    #[test]
    fn a_new_pods_addresses_are_asked_for_three_times_then_told_twice() {
        let mut announcer = Announcer::default();
        let start = Instant::now();
        announcer.follow(&pods(&["10.0.0.5", "fd00::5"]), |_| true, start);
        let mut now = start;
        for _ in 0..ASKED {
            assert!(!announcer.may_open(PORT));
            let asked = frames(announcer.due(&TIMING, now));
            assert_eq!(asked[0], arp::request(POD, [0; 4], [10, 0, 0, 5]));
            assert_eq!(asked[1][54], 135);
            now = announcer.next().unwrap();
        }
        assert_eq!(now, start + TIMING.answer * 3);
        assert_eq!(announcer.due(&TIMING, now).len(), 0);
        assert!(announcer.may_open(PORT));
        for _ in 0..TOLD {
            let told = frames(announcer.due(&TIMING, now));
            assert_eq!(told[0], arp::announce(POD, [10, 0, 0, 5]));
            assert_eq!(claimed(&told[1]), Some(("fd00::5".parse().unwrap(), POD)));
            now = announcer.next().unwrap_or(now);
        }
        assert_eq!(announcer.next(), None);
        assert_eq!(announcer.problems(), []);
    }

    #[test]
    fn an_address_that_a_node_takes_over_is_told_twice_and_again_when_it_comes_back() {
        let mut announcer = Announcer::default();
        let start = Instant::now();
        let pods = pods(&["192.168.100.240"]);
        let what = pods[&PORT].announce.clone().unwrap();
        let taken = BTreeMap::from([(what.addresses[0], what)]);
        let mut told = 0;
        for _ in 0..2 {
            announcer.take(&taken, start);
            let mut now = start;
            for _ in 0..TOLD {
                let frames = frames(announcer.due(&TIMING, now));
                assert_eq!(frames, [arp::announce(POD, [192, 168, 100, 240])]);
                told += 1;
                // What stays is not told anew.
                announcer.take(&taken, now);
                now = announcer.next().unwrap_or(now);
            }
            assert_eq!(announcer.next(), None);
            announcer.take(&BTreeMap::new(), now);
        }
        assert_eq!(told, 4);
    }

    #[test]
    fn who_answers_has_the_address_and_is_told_by_its_mac_until_it_lets_go() {
        let mut announcer = Announcer::default();
        let start = Instant::now();
        announcer.follow(&pods(&["10.0.0.5"]), |_| true, start);
        announcer.due(&TIMING, start);
        assert!(
            !announcer.hear(&arp::announce(POD, [10, 0, 0, 5]), start),
            "itself"
        );
        assert!(
            !announcer.hear(&arp::announce(OTHER, [10, 0, 0, 6]), start),
            "not it"
        );
        let answer = arp::reply(OTHER, [10, 0, 0, 5], POD, [0; 4]);
        assert!(announcer.hear(&answer, start));
        assert!(!announcer.hear(&answer, start), "no news");
        assert!(!announcer.may_open(PORT));
        let told = announcer.problems()[0].to_string();
        assert!(
            told.contains(&OTHER.to_string()) && told.contains("10.0.0.5"),
            "{told}"
        );
        // Asked again later; nobody answers any more.
        let mut now = announcer.next().unwrap();
        assert_eq!(now, start + AGAIN);
        while !announcer.may_open(PORT) {
            announcer.due(&TIMING, now);
            now = announcer.next().unwrap();
        }
        assert_eq!(announcer.problems(), []);
    }

    #[test]
    fn open_ports_are_left_in_peace_and_what_is_heard_of_them_is_told() {
        let mut announcer = Announcer::default();
        let now = Instant::now();
        announcer.follow(&pods(&["10.0.0.5"]), |_| false, now);
        assert_eq!(announcer.next(), None);
        assert!(announcer.may_open(PORT));
        assert!(announcer.hear(&arp::announce(OTHER, [10, 0, 0, 5]), now));
        assert!(announcer.problems()[0].message.contains("both have it"));
        // Cut short or of another kind: nothing is heard, nothing breaks.
        let whole = arp::announce(OTHER, [10, 0, 0, 5]);
        for length in 0..whole.len() {
            claimed(&whole[..length]);
        }
        announcer.follow(&BTreeMap::new(), |_| false, now);
        assert_eq!(announcer.problems(), []);
    }
}
