//! The stop watch that a worker carries through a round.

use std::sync::atomic::AtomicU64;

use packet::Packet;
use ports::Burst;

use super::{EVERY, Stage, Telemetry, add};

/// A stamp that seems to be older than this is one of a core whose counter is a moment ahead; of the
/// counter's low 32 bits that leaves durations of more than a second.
const AHEAD: u32 = u32::MAX - (1 << 20);

/// Takes the time of some rounds; in the others every call is one branch.
#[derive(Debug)]
pub(crate) struct Probe {
    is_on: bool,
    /// A packet with a stamp is under way.
    is_stamped: bool,
    stage: Stage,
    /// When the stage began, in ticks.
    since: u64,
    ticks: [u64; Stage::COUNT],
    /// Rounds with packets until the next one that is timed.
    left: u32,
    random: u32,
    /// Nanoseconds in a tick, times 2^32.
    nanos: u64,
}

impl Probe {
    /// Of a worker; `seed` tells workers apart, so that they do not sample in step.
    pub fn new(seed: usize) -> Self {
        let rate = u128::from(os::ticks_per_second().max(1));
        let nanos = (1_000_000_000_u128 << 32) / rate;
        Probe {
            is_on: false,
            is_stamped: false,
            stage: Stage::Control,
            since: 0,
            ticks: [0; Stage::COUNT],
            left: 1,
            random: (seed as u32).wrapping_mul(0x9e37_79b9) | 1,
            nanos: u64::try_from(nanos).unwrap_or(u64::MAX),
        }
    }

    /// A round begins, in [`Stage::Control`].
    #[inline]
    pub fn begin(&mut self) {
        self.is_on = self.left == 0;
        if self.is_on {
            self.start();
        }
    }

    /// A stage begins, and what came before it ends; says what that was.
    #[inline]
    #[allow(clippy::indexing_slicing)] // the array is as long as there are stages
    pub fn enter(&mut self, stage: Stage) -> Stage {
        let before = self.stage;
        if self.is_on {
            let now = os::ticks();
            self.ticks[before as usize] += now.wrapping_sub(self.since);
            self.since = now;
            self.stage = stage;
        }
        before
    }

    /// A packet has come from another worker.
    #[inline]
    pub fn arrived(&mut self, packet: &Packet) {
        self.is_stamped |= packet.meta().stamp != 0;
    }

    /// Packets are about to be given to a device.
    #[inline]
    pub fn leaving(&mut self, packets: &mut [Packet], telemetry: &Telemetry) {
        if self.is_stamped {
            self.leave(packets, telemetry);
        }
    }

    /// When the present stage began, in ticks; means something only while [`Probe::is_on`].
    #[inline]
    pub fn since(&self) -> u64 {
        self.since
    }

    /// This round is timed.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// A round ends, and has taken so many packets.
    #[inline]
    pub fn end(&mut self, packets: usize, telemetry: &Telemetry) {
        if packets == 0 {
            return;
        }
        if self.is_on {
            return self.account(packets, telemetry);
        }
        self.is_stamped = false;
        self.left = self.left.saturating_sub(1);
    }

    #[cold]
    fn start(&mut self) {
        self.stage = Stage::Control;
        self.ticks = [0; Stage::COUNT];
        self.since = os::ticks();
    }

    /// A burst has come in, in a round that is timed: so is one packet of it.
    #[cold]
    pub fn stamp(&mut self, burst: &mut Burst) {
        let at = self.next_random() as usize % burst.len().max(1);
        if let Some(packet) = burst.get_mut(at) {
            packet.meta_mut().stamp = os::ticks() as u32 | 1;
            self.is_stamped = true;
        }
    }

    #[cold]
    fn leave(&mut self, packets: &mut [Packet], telemetry: &Telemetry) {
        let now = os::ticks() as u32;
        for packet in packets {
            let stamp = std::mem::take(&mut packet.meta_mut().stamp);
            if stamp != 0 {
                let ticks = match now.wrapping_sub(stamp) {
                    AHEAD.. => 0,
                    ticks => ticks,
                };
                telemetry.residence.record(self.to_nanos(ticks.into()));
            }
        }
    }

    #[cold]
    fn account(&mut self, packets: usize, telemetry: &Telemetry) {
        self.enter(Stage::Control);
        for (total, ticks) in telemetry.stages.iter().zip(&self.ticks) {
            add(total, *ticks);
        }
        let count = |counter: &AtomicU64, n: usize| add(counter, n as u64);
        count(&telemetry.sampled_rounds, 1);
        count(&telemetry.sampled_packets, packets);
        (self.is_on, self.is_stamped) = (false, false);
        // At random distances: never in step with what the packets or the ports do in turns.
        self.left = EVERY / 2 + self.next_random() % EVERY;
    }

    fn to_nanos(&self, ticks: u64) -> u64 {
        let nanos = (u128::from(ticks) * u128::from(self.nanos)) >> 32;
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// Marsaglia's xorshift, 32 bits (Journal of Statistical Software 8, 14).
    fn next_random(&mut self) -> u32 {
        let mut x = self.random;
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.random = x;
        x
    }
}
