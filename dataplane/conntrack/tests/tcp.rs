//! Two correct TCP hosts talk through a strict table over a network that loses, repeats and
//! reorders: not one of their segments may be called invalid.

use conntrack::{Commit, Config, ConnTable, NatRequest, TcpInfo, TcpState, Tuple};
use net::key::ct_state::{EST, INV, NEW, RPL};
use net::tcp::flags::{ACK, FIN, SYN};
use proptest::prelude::*;

/// One host, as far as sequence numbers go. `sent` counts from the initial sequence number: SYN
/// is 0, FIN is the last.
#[derive(Clone, Debug)]
struct Host {
    initial: u32,
    scale: u8,
    window: u16,
    /// First number not acknowledged.
    unacked: u32,
    /// Next number to send.
    next: u32,
    /// Next number expected from the other, relative to its initial one; none before its SYN.
    expected: Option<u32>,
    other_initial: u32,
    /// Window of the other side in bytes.
    may_send: u32,
    /// Number of the FIN, once the host wants to close.
    fin: Option<u32>,
}

impl Host {
    fn new(initial: u32, window: u16, scale: u8) -> Self {
        Host {
            initial,
            scale,
            window: window.max(100),
            unacked: 0,
            next: 0,
            expected: None,
            other_initial: 0,
            may_send: 1,
            fin: None,
        }
    }

    /// The segment with the numbers from `from`, at most up to `next`.
    fn segment(&self, from: u32, len: u32) -> TcpInfo {
        let fin = self.fin.is_some_and(|fin| fin >= from && fin < from + len);
        let syn = from == 0 && len > 0;
        let mut flags = 0;
        if syn {
            flags |= SYN;
        }
        if fin {
            flags |= FIN;
        }
        if self.expected.is_some() {
            flags |= ACK;
        }
        TcpInfo {
            seq: self.initial.wrapping_add(from),
            ack: self
                .expected
                .map_or(0, |expected| self.other_initial.wrapping_add(expected)),
            window: self.window,
            flags,
            payload: len - u32::from(syn) - u32::from(fin),
            scale: syn.then_some(self.scale),
        }
    }

    fn receive(&mut self, info: &TcpInfo, other_scale: u8) {
        if info.has(SYN) && self.expected.is_none() {
            self.other_initial = info.seq;
            self.expected = Some(1);
        }
        let Some(expected) = self.expected else {
            return;
        };
        let from = info.seq.wrapping_sub(self.other_initial);
        let end = info.end().wrapping_sub(self.other_initial);
        if from <= expected && end > expected && !info.has(SYN) {
            self.expected = Some(end);
        }
        if info.has(ACK) {
            let acked = info.ack.wrapping_sub(self.initial);
            if acked <= self.next && acked > self.unacked {
                self.unacked = acked;
            }
            let scale = if info.has(SYN) { 0 } else { other_scale };
            self.may_send = u32::from(info.window) << scale;
        }
    }

    fn established(&self) -> bool {
        self.unacked >= 1 && self.expected.is_some()
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Send up to so many new bytes.
    Send { client: bool, len: u32 },
    /// Repeat what is not acknowledged.
    Repeat { client: bool },
    /// Send an acknowledgment.
    Ack { client: bool },
    /// Close.
    Close { client: bool },
    /// Deliver, drop or repeat a segment that is under way.
    Network { which: usize, fate: u8 },
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), 1u32..70_000).prop_map(|(client, len)| Step::Send { client, len }),
        2 => any::<bool>().prop_map(|client| Step::Repeat { client }),
        3 => any::<bool>().prop_map(|client| Step::Ack { client }),
        1 => any::<bool>().prop_map(|client| Step::Close { client }),
        9 => (0usize..1000, any::<u8>())
            .prop_map(|(which, fate)| Step::Network { which, fate }),
    ]
}

struct Story {
    table: ConnTable,
    hosts: [Host; 2],
    /// Segments that have passed the table: to the client?, segment.
    under_way: Vec<(bool, TcpInfo)>,
}

impl Story {
    fn emit(&mut self, client: bool, info: TcpInfo) -> Result<(), TestCaseError> {
        let there = Tuple {
            src: [10, 0, 0, 1].into(),
            dst: [10, 0, 0, 2].into(),
            src_port: 1000,
            dst_port: 80,
            proto: 6,
        };
        let tuple = if client { there } else { there.reverse() };
        let mut state = self.table.track(1, &tuple, Some(&info), 0).state;
        if state & NEW != 0 && self.table.is_empty() {
            self.table
                .commit(
                    &Commit {
                        zone: 1,
                        tuple,
                        tcp: Some(&info),
                        nat: NatRequest::default(),
                        mark: (0, 0),
                        label: (0, 0),
                        force: false,
                    },
                    0,
                )
                .unwrap();
            state = self.table.track(1, &tuple, Some(&info), 0).state;
        }
        prop_assert_eq!(state & INV, 0, "{:?} {:#?}", info, self.hosts);
        if !client {
            prop_assert_eq!(state & (EST | RPL), EST | RPL);
        }
        self.under_way.push((!client, info));
        Ok(())
    }

    fn send(&mut self, client: bool, len: u32) -> Result<(), TestCaseError> {
        let host = &mut self.hosts[usize::from(!client)];
        if host.fin.is_some_and(|fin| host.next > fin) {
            return Ok(());
        }
        let syn_only = host.next == 0;
        if (!client && host.expected.is_none()) || (!syn_only && !host.established()) {
            return Ok(());
        }
        let in_flight = host.next - host.unacked;
        let mut len = if syn_only {
            1
        } else {
            len.min(host.may_send.saturating_sub(in_flight))
        };
        if let Some(fin) = host.fin.filter(|_| !syn_only) {
            len = len.min(fin + 1 - host.next);
        }
        if len == 0 {
            return Ok(());
        }
        let info = host.segment(host.next, len);
        host.next += len;
        self.emit(client, info)
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Send { client, len } => self.send(*client, *len),
            Step::Repeat { client } => {
                let host = &self.hosts[usize::from(!client)];
                let len = host.next - host.unacked;
                if len == 0 {
                    return Ok(());
                }
                // One segment at a time; the SYN alone.
                let len = if host.unacked == 0 {
                    1
                } else {
                    len.min(20_000)
                };
                let info = host.segment(host.unacked, len);
                self.emit(*client, info)
            }
            Step::Ack { client } => {
                let host = &self.hosts[usize::from(!client)];
                if host.expected.is_none() || host.next == 0 || host.unacked == 0 {
                    return Ok(());
                }
                let info = host.segment(host.next, 0);
                self.emit(*client, info)
            }
            Step::Close { client } => {
                let host = &mut self.hosts[usize::from(!client)];
                if host.established() && host.fin.is_none() {
                    host.fin = Some(host.next);
                }
                self.send(*client, 1)
            }
            Step::Network { which, fate } => {
                if self.under_way.is_empty() {
                    return Ok(());
                }
                // Mostly the oldest one, delivered once.
                let at = if *fate < 160 {
                    0
                } else {
                    which % self.under_way.len()
                };
                let (client, info) = if *fate % 8 == 7 {
                    self.under_way[at]
                } else {
                    self.under_way.remove(at)
                };
                if fate % 8 != 0 {
                    let scale = self.hosts[usize::from(client)].scale;
                    self.hosts[usize::from(!client)].receive(&info, scale);
                }
                Ok(())
            }
        }
    }

    /// Lets the network behave and both sides close.
    fn finish(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..200 {
            self.under_way.clear();
            if self
                .hosts
                .iter()
                .all(|host| host.fin.is_some_and(|fin| host.unacked > fin))
            {
                break;
            }
            for client in [true, false] {
                self.step(&Step::Close { client })?;
                self.step(&Step::Repeat { client })?;
                self.step(&Step::Ack { client })?;
                while !self.under_way.is_empty() {
                    self.step(&Step::Network { which: 0, fate: 1 })?;
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn correct_hosts_are_never_invalid_and_end_in_time_wait(
        initial in any::<[u32; 2]>(),
        windows in any::<[u16; 2]>(),
        scales in [0u8..15, 0u8..15],
        steps in prop::collection::vec(steps(), 0..150),
    ) {
        let mut story = Story {
            table: ConnTable::new(&Config { strict: true, ..Config::new(4, [1, 2]) }).unwrap(),
            hosts: [0, 1].map(|i| Host::new(initial[i], windows[i], scales[i])),
            under_way: vec![],
        };
        // A client begins.
        story.send(true, 1)?;
        for step in &steps {
            story.step(step)?;
        }
        // Open what is not open yet, then close.
        for client in [true, false, true, false] {
            story.send(client, 1)?;
            story.step(&Step::Repeat { client })?;
            while !story.under_way.is_empty() {
                story.step(&Step::Network { which: 0, fate: 1 })?;
            }
            story.step(&Step::Ack { client })?;
        }
        story.finish()?;
        let conn = story.table.iter(0).next().unwrap();
        prop_assert_eq!(conn.tcp, Some(TcpState::TimeWait), "{:#?}", story.hosts);
    }
}
