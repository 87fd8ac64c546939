//! Following a connection's packets: for each packet of an established connection, so it counts.

use std::cell::Cell;
use std::sync::atomic::Ordering::Relaxed;

use net::key::ct_state;
use net::tcp::TcpInfo;

use super::ConnTable;
use crate::config::{Lifetimes, tick};
use crate::dump::TcpState;
use crate::entry::{ConnRef, Direction, Entry, status};
use crate::tcp::{self, State, Verdict};

/// How a packet that others resemble is to find its connection ([`ConnTable::carry`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Expected {
    /// State bits as in [`Tracked::state`].
    pub state: u32,
    /// Revision of mark and label, if they matter.
    pub revision: Option<u8>,
}

/// What a packet means for the connection that it was found to belong to.
enum Followed {
    /// It belongs to it; the status word now.
    Belongs(u32),
    /// It cannot be one of its packets; the status word.
    Invalid(u32),
    /// The connection is over, or is ended by the packet.
    Gone,
}

impl ConnTable {
    /// Asks for the cache lines that [`ConnTable::update`] and [`ConnTable::carry`] need for a
    /// packet of that direction; a hint.
    #[inline(always)]
    pub fn prefetch(&self, conn: ConnRef, direction: Direction) {
        let line = match direction {
            Direction::Original => 1,
            Direction::Reply => 2,
        };
        self.arena.entries.prefetch(conn.index as usize, 0);
        self.arena.entries.prefetch(conn.index as usize, line);
        if self.config.strict {
            self.arena.entries.prefetch(conn.index as usize, 3 - line);
        }
    }

    /// [`ConnTable::update`] and [`ConnTable::count`] in one, for a packet that is expected to
    /// find its connection as others did. True if it is, and the packet is counted; false if not,
    /// and the packet is to be tracked anew.
    #[inline]
    pub fn carry(
        &self,
        conn: ConnRef,
        direction: Direction,
        expected: Expected,
        tcp: Option<&TcpInfo>,
        bytes: u64,
        now: u64,
    ) -> bool {
        let Some(entry) = self.entry(conn) else {
            return false;
        };
        let Followed::Belongs(word) = self.follow(conn, entry, direction, tcp, now) else {
            return false;
        };
        let is_expected = state_bits(word, direction) == expected.state
            && expected.revision.is_none_or(|r| r == revision(word));
        if is_expected {
            entry.flow(direction).count(1, bytes);
        }
        is_expected
    }

    /// Takes a packet of a known connection into account: state bits as in [`Tracked::state`],
    /// and the revision of mark and label. None if the connection is gone, or if the packet begins
    /// another one with the same tuple. Doing it twice for one packet does it once.
    #[inline]
    pub fn update(
        &self,
        conn: ConnRef,
        direction: Direction,
        tcp: Option<&TcpInfo>,
        now: u64,
    ) -> Option<(u32, u8)> {
        let entry = self.entry(conn)?;
        match self.follow(conn, entry, direction, tcp, now) {
            Followed::Belongs(word) => Some((state_bits(word, direction), revision(word))),
            Followed::Invalid(word) => Some((ct_state::TRK | ct_state::INV, revision(word))),
            Followed::Gone => None,
        }
    }

    /// Most packets change neither generation nor status: they are seen to here, by loads and
    /// plain stores.
    #[inline(always)]
    fn follow(
        &self,
        conn: ConnRef,
        entry: &Entry,
        direction: Direction,
        tcp: Option<&TcpInfo>,
        now: u64,
    ) -> Followed {
        let (generation, word) = entry.head();
        let tick = tick(now);
        let deadline = entry.deadline.load(Relaxed);
        if generation != conn.generation || deadline <= tick {
            return Followed::Gone;
        }
        let known = match direction {
            Direction::Original => true,
            Direction::Reply => word & status::OPEN != 0,
        };
        let unchanged = known
            && tcp.is_none_or(|info| {
                tcp::follow(
                    word,
                    info,
                    direction,
                    &entry.flows(direction),
                    self.config.strict,
                )
            });
        if !unchanged {
            return self.change_state(conn, entry, direction, tcp, tick);
        }
        let prolonged = tick.wrapping_add(self.lifetimes.of(word));
        if prolonged != deadline {
            entry.deadline.store(prolonged, Relaxed);
        }
        Followed::Belongs(word)
    }

    /// A packet that may change the state of its connection.
    #[cold]
    fn change_state(
        &self,
        conn: ConnRef,
        entry: &Entry,
        direction: Direction,
        tcp: Option<&TcpInfo>,
        tick: u32,
    ) -> Followed {
        let seen_reply = match direction {
            Direction::Original => 0,
            Direction::Reply => status::SEEN_REPLY,
        };
        let protocol = entry.protocol();
        let flows = entry.flows(direction);
        let verdict = Cell::new(Verdict::Belongs);
        let after = Cell::new(0);
        let before = entry.change_status(conn.generation, |word| {
            let mut new = word | seen_reply;
            if let Some(info) = tcp {
                let (result, next) =
                    State::from_status(word).next(info, direction, &flows, self.config.strict);
                verdict.set(result);
                if result != Verdict::Belongs {
                    return word;
                }
                new = next.into_status(new);
            }
            let handshake_done =
                tcp.is_none() || State::from_status(new).name() >= TcpState::Established;
            if new & status::SEEN_REPLY != 0 && handshake_done {
                new |= status::OPEN;
            }
            new = with_lifetime(new, protocol);
            after.set(new);
            new
        });
        let Some(before) = before else {
            return Followed::Gone;
        };
        match verdict.get() {
            Verdict::Invalid => return Followed::Invalid(before),
            Verdict::Renews => {
                self.remove(conn);
                return Followed::Gone;
            }
            Verdict::Doubtful => {
                // As if one side had closed.
                let closing = (before & !status::LIFETIME_MASK)
                    | (TcpState::FinWait as u32) << status::LIFETIME_SHIFT;
                self.touch(conn, entry, tick, closing);
                return Followed::Belongs(before);
            }
            Verdict::Belongs => {}
        }
        let after = after.get();
        if before & status::OPEN == 0 && after & status::OPEN != 0 {
            self.leave_half_open(conn);
        }
        if status::is_closed(before) != status::is_closed(after)
            && let Some((original, _)) = entry.tuples(conn.generation)
        {
            match status::is_closed(after) {
                true => self.arena.zones.leave(original.zone()),
                false => self.arena.zones.enter_again(original.zone()),
            }
        }
        if let Some(info) = tcp {
            State::from_status(before).advance(info, direction, &flows);
        }
        self.touch(conn, entry, tick, after);
        Followed::Belongs(after)
    }

    /// Adds to a connection's counters. Not exact if two workers carry one direction at once.
    pub fn count(&self, conn: ConnRef, direction: Direction, packets: u64, bytes: u64) {
        let Some(entry) = self.entry(conn) else {
            return;
        };
        if entry.status(conn.generation).is_none() {
            return;
        }
        entry.flow(direction).count(packets, bytes);
    }

    /// Puts the deadline off, or closer where the state says so.
    fn touch(&self, conn: ConnRef, entry: &Entry, tick: u32, word: u32) {
        let deadline = tick.wrapping_add(self.lifetimes.of(word));
        let before = entry.deadline.swap(deadline, Relaxed);
        if deadline < before {
            self.queue_earlier(conn, deadline);
        }
    }
}

/// A status word with the number of the timeout that goes with it.
pub(super) fn with_lifetime(word: u32, protocol: u8) -> u32 {
    let tcp = State::from_status(word).name();
    let number = Lifetimes::number(protocol, tcp, word & status::SEEN_REPLY != 0);
    (word & !status::LIFETIME_MASK) | number << status::LIFETIME_SHIFT
}

/// What a packet of a connection is to the tables.
#[inline(always)]
fn state_bits(word: u32, direction: Direction) -> u32 {
    let seen = match word & status::SEEN_REPLY != 0 {
        true => ct_state::EST,
        false => ct_state::NEW,
    };
    let reply = match direction {
        Direction::Original => 0,
        Direction::Reply => ct_state::RPL,
    };
    ct_state::TRK | seen | reply
}

#[inline(always)]
pub(super) fn revision(word: u32) -> u8 {
    (word >> status::REVISION_SHIFT) as u8
}
