//! The state of a TCP connection as seen from the middle: what each side has sent, and how far it
//! may send (RFC 9293 3.3.2, 3.10.7.4).

use net::tcp::{TcpInfo, flags};
use std::sync::atomic::Ordering::Relaxed;

use crate::dump::TcpState;
use crate::entry::{Direction, Flow, Flows, status};

/// Window that is granted to a side of which no window is known, and slack for acknowledgments
/// of segments that another path has delivered.
const UNKNOWN_WINDOW: u32 = 1 << 16;

/// What a segment means for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It belongs to the connection.
    Belongs,
    /// It cannot be.
    Invalid,
    /// It begins a new connection with the tuple of one that is over.
    Renews,
    /// A reset whose number is not the one that its receiver expects. A receiver that follows RFC
    /// 5961 3.2 asks back, and is reset then with the right number; another one is reset now. The
    /// state stays, but soon ends if nothing follows.
    Doubtful,
}

/// Combinations that no TCP sends.
fn impossible(info: &TcpInfo) -> bool {
    use flags::{ACK, FIN, RST, SYN};
    let bits = info.flags & (SYN | FIN | RST | ACK);
    bits == 0 || bits & (SYN | FIN) == SYN | FIN || bits & (SYN | RST) == SYN | RST || bits == FIN
}

/// How far one side has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// Has sent nothing.
    Silent = 0,
    /// Has sent its SYN.
    SynSent = 1,
    /// Its SYN was acknowledged.
    Established = 2,
    /// Has sent its FIN.
    FinSent = 3,
    /// Its FIN was acknowledged.
    FinAcked = 4,
    /// The connection was reset.
    Reset = 5,
}

impl Side {
    fn from_bits(bits: u32) -> Self {
        match bits & 7 {
            0 => Side::Silent,
            1 => Side::SynSent,
            2 => Side::Established,
            3 => Side::FinSent,
            4 => Side::FinAcked,
            _ => Side::Reset,
        }
    }
}

/// Both sides; 16 bits of the status word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// Originator, responder.
    sides: [Side; 2],
    /// Window scale of each, if its SYN was seen; none before, or where it has no such option.
    scales: [Option<u8>; 2],
}

/// Scale code of a side that was never seen to announce one.
const NO_SCALE: u32 = 15;

impl State {
    /// From the status word.
    pub(crate) fn from_status(word: u32) -> Self {
        let bits = word >> status::TCP_SHIFT;
        let scale = |bits: u32| (bits & 15 != NO_SCALE).then_some((bits & 15) as u8);
        State {
            sides: [Side::from_bits(bits), Side::from_bits(bits >> 4)],
            scales: [scale(bits >> 8), scale(bits >> 12)],
        }
    }

    /// Into the status word.
    pub(crate) fn into_status(self, word: u32) -> u32 {
        let [a, b] = self.sides.map(|side| side as u32);
        let [x, y] = self.scales.map(|scale| scale.map_or(NO_SCALE, u32::from));
        let bits = a | b << 4 | x << 8 | y << 12;
        (word & !status::TCP_MASK) | bits << status::TCP_SHIFT
    }

    /// The state and the sequence spaces of a connection that begins with this segment; none if
    /// it cannot begin with it.
    pub(crate) fn begin(info: &TcpInfo, loose: bool) -> Option<(Self, [[u32; 3]; 2])> {
        if impossible(info) || info.has(flags::RST) {
            return None;
        }
        let window = u32::from(info.window).max(1);
        if info.has(flags::SYN) {
            // A connection never begins with the second step of the handshake.
            let state = State {
                sides: [Side::SynSent, Side::Silent],
                scales: [info.scale, None],
            };
            // Until it is answered it may send nothing more.
            let originator = [info.end(), window, 0];
            let responder = [0, 1, info.end()];
            return (!info.has(flags::ACK)).then_some((state, [originator, responder]));
        }
        if !loose {
            return None;
        }
        // In the middle of a connection: scales are not known, so the largest are assumed.
        let side = if info.has(flags::FIN) {
            Side::FinSent
        } else {
            Side::Established
        };
        let state = State {
            sides: [side, Side::Established],
            scales: [Some(14), Some(14)],
        };
        let window = window << 14;
        let originator = [info.end(), window, info.ack.wrapping_add(window)];
        let responder = [info.ack, window, info.end().wrapping_add(window)];
        Some((state, [originator, responder]))
    }

    /// What the next state is after this segment; changes nothing.
    pub(crate) fn next(
        mut self,
        info: &TcpInfo,
        direction: Direction,
        flows: &Flows<'_>,
        strict: bool,
    ) -> (Verdict, Self) {
        if impossible(info) {
            return (Verdict::Invalid, self);
        }
        let syn_only = info.flags & (flags::SYN | flags::ACK | flags::RST) == flags::SYN;
        let over = self.sides.iter().all(|side| *side >= Side::FinAcked);
        if syn_only && over {
            return (Verdict::Renews, self);
        }
        let before = self;
        if syn_only && self.sides.iter().all(|side| *side >= Side::Established) {
            // A host that has forgotten the connection. The other one answers, and resets it then
            // (RFC 5961 4); both must come through.
            return (Verdict::Belongs, before);
        }
        let [sender, receiver] = match direction {
            Direction::Original => [0, 1],
            Direction::Reply => [1, 0],
        };
        if strict && !self.in_window(info, sender, flows) {
            return (Verdict::Invalid, before);
        }
        let State { sides, scales } = &mut self;
        let (Some(&old_sender), Some(&old_receiver)) = (sides.get(sender), sides.get(receiver))
        else {
            return (Verdict::Invalid, before);
        };
        let mut new_sender = old_sender;
        let mut new_receiver = old_receiver;
        if info.has(flags::RST) {
            if !resets(info, old_sender, flows) {
                return (Verdict::Doubtful, before);
            }
            new_sender = Side::Reset;
            new_receiver = Side::Reset;
        } else {
            if info.has(flags::SYN) {
                if old_sender == Side::Silent {
                    new_sender = Side::SynSent;
                }
                if old_sender <= Side::SynSent
                    && let Some(scale) = scales.get_mut(sender)
                {
                    *scale = info.scale;
                }
            } else if old_sender == Side::Silent {
                // Data before the sender's own SYN.
                return (Verdict::Invalid, before);
            }
            if info.has(flags::FIN) && old_sender < Side::FinSent {
                new_sender = Side::FinSent;
            }
            if info.has(flags::ACK) {
                let acknowledged = !before_in_sequence(info.ack, flows.to.end.load(Relaxed));
                new_receiver = match old_receiver {
                    Side::SynSent => Side::Established,
                    Side::FinSent if acknowledged => Side::FinAcked,
                    other => other,
                };
            }
        }
        if let Some(side) = sides.get_mut(sender) {
            *side = new_sender;
        }
        if let Some(side) = sides.get_mut(receiver) {
            *side = new_receiver;
        }
        (Verdict::Belongs, self)
    }

    /// True if a segment, seen from the middle, can be acceptable to its receiver.
    fn in_window(&self, info: &TcpInfo, sender: usize, flows: &Flows<'_>) -> bool {
        let unseen = |side: usize| self.sides.get(side) == Some(&Side::Silent);
        if unseen(sender) {
            // The first of this side: nothing to compare its own numbers with.
            return !info.has(flags::ACK) || info.ack == flows.to.end.load(Relaxed);
        }
        // Before the other side has answered, only a repeated SYN comes.
        unseen(1 - sender) || window_fits(info, flows)
    }

    /// Moves the sequence spaces on; `self` is the state before the segment. Doing it twice for
    /// one segment does it once.
    pub(crate) fn advance(&self, info: &TcpInfo, direction: Direction, flows: &Flows<'_>) {
        let sender = match direction {
            Direction::Original => 0,
            Direction::Reply => 1,
        };
        let side = |i: usize| self.sides.get(i).copied().unwrap_or(Side::Reset);
        let forgotten = info.has(flags::SYN) && side(sender) > Side::SynSent;
        if info.has(flags::RST) || (forgotten && !info.has(flags::ACK)) {
            return;
        }
        // The window in a SYN is not scaled, and scaling needs both sides (RFC 7323 2.2).
        let scale = match self.scales {
            [Some(originator), Some(responder)] if !info.has(flags::SYN) => match direction {
                Direction::Original => originator,
                Direction::Reply => responder,
            },
            _ => 0,
        };
        // Until the other side has answered, a repeated SYN may bring another first number.
        let first = side(sender) == Side::Silent
            || (info.has(flags::SYN) && side(1 - sender) == Side::Silent);
        if first {
            flows.to.grant.store(info.end(), Relaxed);
            flows.from.end.store(info.end(), Relaxed);
        }
        flows.from.advance(info, scale);
    }

    /// The state of the whole connection.
    pub(crate) fn name(&self) -> TcpState {
        let [a, b] = self.sides;
        let (least, most) = (a.min(b), a.max(b));
        match (least, most) {
            (_, Side::Reset) => TcpState::Closed,
            (Side::FinAcked, _) => TcpState::TimeWait,
            (_, Side::FinSent | Side::FinAcked) => TcpState::FinWait,
            (Side::Established, _) => TcpState::Established,
            (Side::Silent, _) => TcpState::SynSent,
            _ => TcpState::SynReceived,
        }
    }
}

impl Flow {
    /// Moves on by a segment of this direction, whose window is to be scaled by so many bits.
    #[inline(always)]
    fn advance(&self, info: &TcpInfo, scale: u8) {
        let window = (u32::from(info.window) << scale).max(1);
        if before_in_sequence(self.end.load(Relaxed), info.end()) {
            self.end.store(info.end(), Relaxed);
        }
        if self.window.load(Relaxed) < window {
            self.window.store(window, Relaxed);
        }
        if info.has(flags::ACK) {
            let grant = info.ack.wrapping_add(window);
            if before_in_sequence(self.grant.load(Relaxed), grant) {
                self.grant.store(grant, Relaxed);
            }
        }
    }
}

/// The common case apart, for every packet: an acknowledgment or data on a connection that both
/// sides have opened and none has closed changes no state, so the sequence spaces are all that
/// moves on. False if this is not that case, or the segment is outside its window; nothing has
/// been changed then, and [`State::next`] says what is to happen.
#[inline(always)]
pub(crate) fn follow(
    word: u32,
    info: &TcpInfo,
    direction: Direction,
    flows: &Flows<'_>,
    strict: bool,
) -> bool {
    use flags::{ACK, FIN, RST, SYN};
    const SIDES: u32 = 0xff << status::TCP_SHIFT;
    const ESTABLISHED: u32 = (Side::Established as u32 * 0x11) << status::TCP_SHIFT;
    let ordinary = word & SIDES == ESTABLISHED && info.flags & (SYN | FIN | RST | ACK) == ACK;
    if !ordinary || (strict && !window_fits(info, flows)) {
        return false;
    }
    let [originator, responder] = [8, 12].map(|bit| word >> (status::TCP_SHIFT + bit) & 15);
    let scale = match direction {
        _ if originator == NO_SCALE || responder == NO_SCALE => 0,
        Direction::Original => originator,
        Direction::Reply => responder,
    };
    flows.from.advance(info, scale as u8);
    true
}

/// True if a reset has the number that its receiver expects: what follows the last that its sender
/// has sent, or, of a host that refuses a connection, the acknowledgment of its SYN (RFC 9293
/// 3.5.2 and 3.10.7.3).
fn resets(info: &TcpInfo, sender: Side, flows: &Flows<'_>) -> bool {
    if sender == Side::Silent {
        return info.has(flags::ACK) && info.ack == flows.to.end.load(Relaxed);
    }
    info.seq == flows.from.end.load(Relaxed)
}

/// The four conditions under which a segment can be acceptable to its receiver.
#[inline(always)]
fn window_fits(info: &TcpInfo, flows: &Flows<'_>) -> bool {
    let Flows { from, to } = flows;
    let (sent, limit) = (from.end.load(Relaxed), to.grant.load(Relaxed));
    let (other_sent, offered) = (to.end.load(Relaxed), to.window.load(Relaxed));
    let not_beyond_window = !before_in_sequence(limit, info.seq);
    let not_before_window = !before_in_sequence(info.end(), sent.wrapping_sub(offered));
    let slack = from.window.load(Relaxed).max(UNKNOWN_WINDOW);
    let ack_of_something_sent = !info.has(flags::ACK) || !before_in_sequence(other_sent, info.ack);
    let ack_not_too_old =
        !info.has(flags::ACK) || !before_in_sequence(info.ack, other_sent.wrapping_sub(slack));
    not_beyond_window && not_before_window && ack_of_something_sent && ack_not_too_old
}

/// True if `a` comes before `b` in sequence space (RFC 9293 3.4).
fn before_in_sequence(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}
