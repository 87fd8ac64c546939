//! Which packet comes next.

use super::frames::{Next, SERVER_ISN, Tuple, flag};
use super::spec::{GenerateSpec, Mode};

/// A prime above every number of flows but the last few: a step that visits each flow once in a round,
/// far from the one before.
const PRIME: u64 = 4_294_967_291;
/// An odd number with well mixed bits (2^32 divided by the golden ratio): multiplying by it permutes.
const MIX: u32 = 0x9e37_79b1;
/// Draws of the Zipf sequence, repeated for ever.
const DRAWS: usize = 1 << 20;
/// Exponent of the Zipf distribution.
const EXPONENT: f64 = 1.1;
/// Connections that a TCP client has open at a time in each of its phases; answers have come by then.
const LAG: u64 = 256;
/// Port of flow 0.
const FIRST_PORT: u16 = 1024;

/// The endless, or counted, sequence of packets.
pub(super) struct Traffic {
    spec: GenerateSpec,
    /// Packets made, and those that were not.
    made: u64,
    lost: u64,
    /// Flow of the next packet, and the step from it to the one after.
    flow: u64,
    step: u64,
    /// What is left of a pair or an exchange.
    phase: u8,
    draws: Vec<u32>,
}

impl Traffic {
    pub(super) fn new(spec: &GenerateSpec) -> Traffic {
        Traffic {
            made: 0,
            lost: 0,
            flow: 0,
            step: PRIME % u64::from(spec.flows),
            phase: 0,
            draws: match spec.mode {
                Mode::Zipf => zipf(spec.flows),
                _ => Vec::new(),
            },
            spec: spec.clone(),
        }
    }

    /// How many more there are, those included that nobody will take.
    pub(super) fn left(&self) -> u64 {
        match self.spec.count {
            0 => u64::MAX,
            count => count.saturating_sub(self.made + self.lost),
        }
    }

    /// So many will never be made, because nobody took them in time.
    pub(super) fn lose(&mut self, packets: u64) {
        self.lost += packets;
    }

    /// The next packet.
    #[inline]
    pub(super) fn next(&mut self) -> Next {
        let number = self.made;
        self.made += 1;
        match self.spec.mode {
            Mode::Udp | Mode::Zipf => self.flow_packet(number),
            Mode::New | Mode::Fragments => {
                let tuple = self.tuple((number as u32).wrapping_mul(MIX));
                plain(tuple, number as u16)
            }
            Mode::Syn => {
                let flow = (number as u32).wrapping_mul(MIX);
                segment(self.tuple(flow), flag::SYN, isn(flow), 0)
            }
            Mode::Tcp => self.exchange(),
        }
    }

    fn flow_packet(&mut self, number: u64) -> Next {
        if self.phase == 1 {
            self.phase = 0;
            let tuple = self.tuple(self.flow as u32).reversed();
            return Next {
                is_reply: true,
                ..plain(tuple, 0)
            };
        }
        if self.spec.mode == Mode::Zipf {
            let at = (number >> u32::from(self.spec.replies)) as usize % DRAWS;
            self.flow = self.draws.get(at).copied().unwrap_or(0).into();
        } else {
            self.flow += self.step;
            if self.flow >= u64::from(self.spec.flows) {
                self.flow -= u64::from(self.spec.flows);
            }
        }
        self.phase = u8::from(self.spec.replies);
        plain(self.tuple(self.flow as u32), 0)
    }

    /// SYN of one connection, ACK of one begun [`LAG`] before, FIN and last ACK of older ones.
    fn exchange(&mut self) -> Next {
        loop {
            let phase = self.phase;
            self.phase = (phase + 1) % 4;
            let begun = self.flow;
            if self.phase == 0 {
                self.flow += 1;
            }
            let Some(connection) = begun.checked_sub(LAG * u64::from(phase)) else {
                continue; // it has not begun
            };
            let flow = (connection % u64::from(self.spec.flows)) as u32;
            // Later connections of the same ports begin above earlier ones (RFC 9293 3.4.1).
            let round = (connection / u64::from(self.spec.flows)) as u32;
            let isn = isn(flow).wrapping_add(round << 16);
            let after_syn = isn.wrapping_add(1);
            let (flags, seq, ack) = match phase {
                0 => (flag::SYN, isn, 0),
                1 => (flag::ACK, after_syn, SERVER_ISN + 1),
                2 => (flag::FIN | flag::ACK, after_syn, SERVER_ISN + 1),
                _ => (flag::ACK, after_syn.wrapping_add(1), SERVER_ISN + 2),
            };
            return segment(self.tuple(flow), flags, seq, ack);
        }
    }

    /// Addresses and ports of a flow; different for different flows.
    #[inline]
    fn tuple(&self, flow: u32) -> Tuple {
        let spec = &self.spec;
        let hosts = (1 << spec.src_bits) - 1;
        let hashed = u64::from(flow.wrapping_mul(MIX));
        Tuple {
            src: u32::from(spec.src).wrapping_add(flow & hosts),
            // The hash scaled down to the number of destinations.
            dst: u32::from(spec.dst).wrapping_add(((hashed * u64::from(spec.dsts)) >> 32) as u32),
            src_port: FIRST_PORT.wrapping_add((flow >> spec.src_bits) as u16),
            dst_port: spec.port,
        }
    }
}

fn plain(tuple: Tuple, id: u16) -> Next {
    Next {
        tuple,
        is_reply: false,
        tcp: (0, 0, 0),
        id,
    }
}

fn segment(tuple: Tuple, flags: u8, seq: u32, ack: u32) -> Next {
    Next {
        tcp: (flags, seq, ack),
        ..plain(tuple, 0)
    }
}

/// Where a client's sequence numbers begin.
fn isn(flow: u32) -> u32 {
    flow.wrapping_mul(MIX) & 0x0fff_ffff
}

/// Flow numbers drawn from a Zipf distribution, the same in every run.
fn zipf(flows: u32) -> Vec<u32> {
    let mut total = 0.0;
    let cumulated: Vec<f64> = (1..=flows)
        .map(|rank| {
            total += f64::from(rank).powf(-EXPONENT);
            total
        })
        .collect();
    let mut state = 1;
    (0..DRAWS)
        .map(|_| {
            let share = (split_mix(&mut state) >> 11) as f64 / (1_u64 << 53) as f64;
            let rank = cumulated.partition_point(|sum| *sum < share * total);
            // Ranks that follow each other are not neighbours in the tables.
            let rank = u64::try_from(rank).unwrap_or(0).min(u64::from(flows - 1));
            (rank * PRIME % u64::from(flows)) as u32
        })
        .collect()
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
