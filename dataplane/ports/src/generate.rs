//! Devices for measurements: packets out of nothing, and where they end.
//!
//! A generator makes each packet from a template when it is asked for one, so it has millions of flows
//! without storing a packet, connections that are new all the time, and rates that do not wait for the
//! switch (open loop): a packet that nobody took when the ring of a real device would be full is lost
//! and counted. A sink swallows packets and keeps histograms of how long stamped ones were on their way.
//! An echo answers like a server. They are ports like others; what making a packet costs (20 to 30 ns)
//! is part of what is measured with them.

mod delays;
mod frames;
mod spec;
mod traffic;

use crate::counters::{Counters, Lost};
use crate::egress::Finisher;
use crate::{BURST, Burst, Caps, Pools, Port, PortControl, PortError, PortStats};
use arrayvec::ArrayVec;
use delays::Delays;
use frames::Frames;
use net::MacAddr;
use packet::{Packet, Pool};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering::Relaxed};
use traffic::Traffic;

pub use delays::{Delay, Since};
pub use spec::{GenerateSpec, Mode, TestSpec};

/// Packets that wait for a switch that is late, as in the ring of a device; those beyond are lost.
const RING: u64 = 1024;
/// Answers that wait to be taken.
const ANSWERS: usize = 4096;

/// A generator, a sink or an echo.
pub struct TestPort {
    source: Source,
    finisher: Finisher,
    state: Arc<TestControl>,
    control: Arc<dyn PortControl>,
}

enum Source {
    Nothing,
    Generator(Box<Generator>),
    Echo(VecDeque<Packet>),
}

struct Generator {
    frames: Frames,
    traffic: Traffic,
    pool: Pool,
    pace: Option<Pace>,
}

/// When packets are due.
struct Pace {
    rate: u64,
    /// Since when, and how many of them were taken or lost.
    start: Option<u64>,
    past: u64,
}

struct TestControl {
    name: String,
    mtu: AtomicU16,
    up: AtomicBool,
    counters: Counters,
    delays: Delays,
}

impl TestPort {
    /// The device that a specification describes; generators take their packets from `pools`.
    pub fn new(name: &str, spec: &TestSpec, pools: &Pools) -> TestPort {
        let source = match spec {
            TestSpec::Sink => Source::Nothing,
            TestSpec::Echo => Source::Echo(VecDeque::with_capacity(ANSWERS)),
            TestSpec::Generate(spec) => Source::Generator(Box::new(Generator {
                frames: Frames::new(spec),
                traffic: Traffic::new(spec),
                pool: pools.frames.clone(),
                pace: (spec.rate > 0).then_some(Pace {
                    rate: spec.rate,
                    start: None,
                    past: 0,
                }),
            })),
        };
        let state = Arc::new(TestControl {
            name: name.to_owned(),
            mtu: AtomicU16::new(1500),
            up: AtomicBool::new(true),
            counters: Counters::default(),
            delays: Delays::new(),
        });
        let control: Arc<dyn PortControl> = Arc::clone(&state) as _;
        TestPort {
            source,
            finisher: Finisher::new(Caps::default()),
            state,
            control,
        }
    }
}

impl Generator {
    fn rx(&mut self, burst: &mut Burst, counters: &Counters) {
        let now = self.pace.as_ref().map_or(0, |_| delays::now());
        if let Some(pace) = &mut self.pace {
            let lost = pace.overdue(now).min(self.traffic.left());
            self.traffic.lose(lost);
            counters.rx_dropped.add(lost as usize);
        }
        let room = (burst.remaining_capacity() as u64).min(self.traffic.left());
        let wanted = match &mut self.pace {
            None => room,
            Some(pace) => pace.due(now, room),
        };
        let (mut made, size) = (0, self.frames.size());
        for at in 0..wanted {
            let Some(mut packet) = self.pool.alloc() else {
                break;
            };
            let next = self.traffic.next();
            let room = packet.spare_mut();
            if !self.frames.write(&next, room) {
                break;
            }
            if let Some(pace) = &self.pace
                && let Some(payload) = self.frames.payload()
                && let Some(payload) = room.get_mut(payload..size)
            {
                delays::stamp(payload, pace.time_of(at + pace.past - wanted), now);
            }
            packet.grow(size);
            burst.push(packet);
            made += 1;
        }
        counters.rx_packets.add(made);
        counters.rx_bytes.add(made * size);
        if self.pace.is_some() && made < wanted as usize {
            // There was no buffer for these.
            self.traffic.lose(wanted - made as u64);
            counters.rx_dropped.add(wanted as usize - made);
        }
    }
}

impl Pace {
    /// How many packets wait to be taken.
    fn waiting(&mut self, now: u64) -> u64 {
        let start = *self.start.get_or_insert(now);
        let elapsed = u128::from(now.saturating_sub(start));
        let until_now = (elapsed * u128::from(self.rate) / 1_000_000_000) as u64;
        until_now.saturating_sub(self.past)
    }

    /// How many were lost, because the ring was full.
    fn overdue(&mut self, now: u64) -> u64 {
        let lost = self.waiting(now).saturating_sub(RING);
        self.past += lost;
        lost
    }

    /// How many of at most `room` packets are to be made now.
    fn due(&mut self, now: u64, room: u64) -> u64 {
        let taken = self.waiting(now).min(room);
        self.past += taken;
        taken
    }

    /// When a packet was due, by its number.
    fn time_of(&self, number: u64) -> u64 {
        let after = u128::from(number + 1) * 1_000_000_000 / u128::from(self.rate);
        self.start.unwrap_or(0) + after as u64
    }
}

impl Port for TestPort {
    fn rx(&mut self, burst: &mut Burst) {
        let counters = &self.state.counters;
        if !self.state.up.load(Relaxed) {
            return;
        }
        match &mut self.source {
            Source::Nothing => {}
            Source::Generator(generator) => generator.rx(burst, counters),
            Source::Echo(answers) => {
                while !burst.is_full() {
                    let Some(packet) = answers.pop_front() else {
                        break;
                    };
                    counters.rx_packets.add(1);
                    counters.rx_bytes.add(packet.len());
                    burst.push(packet);
                }
            }
        }
    }

    fn tx(&mut self, burst: &mut Burst) -> usize {
        let state = &self.state;
        let mut lost = Lost::default();
        if !state.up.load(Relaxed) {
            lost.dropped = burst.len();
            packet::free_bulk(burst.drain(..));
            return state.counters.lose(lost);
        }
        let now = delays::now();
        let (mut packets, mut bytes) = (0, 0);
        let mut done: ArrayVec<Packet, BURST> = ArrayVec::new();
        let mut no_room = 0;
        for packet in burst.drain(..) {
            let finished = self.finisher.finish(packet, &mut |mut packet| {
                state.delays.record(&packet, now);
                packets += 1;
                bytes += packet.len();
                if let Source::Echo(answers) = &mut self.source
                    && frames::answer(packet.head_mut())
                {
                    if answers.len() == ANSWERS {
                        no_room += 1;
                    } else {
                        return answers.push_back(packet);
                    }
                }
                if let Err(full) = done.try_push(packet) {
                    packet::free_bulk(done.drain(..));
                    done.push(full.element());
                }
            });
            lost.add(finished);
        }
        packet::free_bulk(done);
        state.counters.tx_packets.add(packets);
        state.counters.tx_bytes.add(bytes);
        state.counters.rx_dropped.add(no_room);
        state.counters.lose(lost)
    }

    fn control(&self) -> &Arc<dyn PortControl> {
        &self.control
    }
}

impl PortControl for TestControl {
    fn name(&self) -> &str {
        &self.name
    }

    fn mac(&self) -> MacAddr {
        crate::mem::mac_for(&self.name)
    }

    fn mtu(&self) -> u16 {
        self.mtu.load(Relaxed)
    }

    fn link_up(&self) -> bool {
        self.up.load(Relaxed)
    }

    fn speed(&self) -> u32 {
        0
    }

    fn caps(&self) -> Caps {
        Caps::default()
    }

    fn stats(&self) -> PortStats {
        self.counters.read()
    }

    fn set_up(&self, up: bool) -> Result<(), PortError> {
        self.up.store(up, Relaxed);
        Ok(())
    }

    fn set_mtu(&self, mtu: u16) -> Result<(), PortError> {
        self.mtu.store(mtu, Relaxed);
        Ok(())
    }

    fn delays(&self) -> Vec<Delay> {
        self.delays.snapshot()
    }
}
