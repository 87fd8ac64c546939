//! The flows of a cache: each has a line of its own in one large array, and a second place only if
//! it needs one.

// Places are handed out by the lists and stay below the length of the arrays; lengths of keys are
// bounded by `exact::WORDS`.
#![allow(clippy::indexing_slicing)]

use conntrack::ConnRef;
use net::edit::Given;
use net::exact::{ExactKey, FRONT, WORDS};
use os::{OsError, Region};
use packet::prefetch;
use zerocopy::FromZeros;

use super::programs::ProgramId;
use crate::program::{Binding, CONNS, Operands};

/// All flows, by place.
pub(super) struct Flows {
    heads: Region<Head>,
    tails: Region<Tail>,
    free_heads: Free,
    free_tails: Free,
}

/// One flow. An IPv4 flow with no more than one connection needs nothing else.
#[derive(FromZeros)]
#[repr(C, align(64))]
struct Head {
    key: [u64; FRONT],
    /// The connection, or zero.
    conn: ConnRef,
    /// IPv4 addresses of [`Operands`]; with a tail, its place in the first four bytes.
    addresses: [[u8; 4]; 2],
    /// Ports of [`Operands`].
    ports: [[u8; 2]; 2],
    link: Link,
}

/// What does not fit into the head.
#[derive(FromZeros)]
#[repr(C, align(64))]
struct Tail {
    key: [u64; WORDS - FRONT],
    /// Addresses of [`Operands`]; IPv4 ones in the first bytes.
    addresses: [[u8; 16]; 2],
    /// All connections.
    conns: [ConnRef; CONNS],
}

const _: () = assert!(size_of::<Head>() == 64 && size_of::<Tail>() <= 192);

/// Which program a flow has, and more in the high bits. Zero: the place is free.
#[derive(Clone, Copy, FromZeros)]
#[repr(transparent)]
struct Link(u32);

impl Link {
    const TAIL: u32 = 1 << 31;
    /// A packet came since the last look.
    const SEEN: u32 = 1 << 30;
    /// None came between the last look and the one before.
    const AGED: u32 = 1 << 29;
    const PROGRAM: u32 = Self::AGED - 1;

    fn new(program: ProgramId, has_tail: bool) -> Self {
        let tail = if has_tail { Self::TAIL } else { 0 };
        Link(((program.0 + 1) & Self::PROGRAM) | tail)
    }

    #[inline]
    fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    #[inline]
    fn program(self) -> Option<ProgramId> {
        (self.0 & Self::PROGRAM).checked_sub(1).map(ProgramId)
    }
}

/// What a flow has of its own, where it is.
#[derive(Clone, Copy)]
pub(crate) struct Bound<'a> {
    head: &'a Head,
    tail: Option<&'a Tail>,
}

impl<'a> Bound<'a> {
    /// Its first connection, or zero.
    #[inline]
    pub fn conn(self) -> ConnRef {
        self.head.conn
    }

    /// Its connections; zeros after the last.
    #[inline]
    pub fn conns(self) -> &'a [ConnRef] {
        match self.tail {
            None => std::slice::from_ref(&self.head.conn),
            Some(tail) => &tail.conns,
        }
    }

    /// Of that, what steps for IPv4 write.
    #[inline]
    pub fn given(self) -> Given {
        let [src_port, dst_port] = self.head.ports;
        let [src, dst] = match self.tail {
            None => self.head.addresses,
            Some(tail) => tail.addresses.map(|[a, b, c, d, ..]| [a, b, c, d]),
        };
        Given {
            src,
            dst,
            src_port,
            dst_port,
        }
    }

    /// What its packets get. Addresses of the other family mean nothing.
    #[inline]
    pub fn operands(self) -> Operands {
        let [src_port, dst_port] = self.head.ports;
        let given = |[src, dst]: [[u8; 4]; 2]| Given {
            src,
            dst,
            src_port,
            dst_port,
        };
        match self.tail {
            None => Operands {
                given: given(self.head.addresses),
                v6: [[0; 16]; 2],
            },
            Some(tail) => Operands {
                given: given(tail.addresses.map(|[a, b, c, d, ..]| [a, b, c, d])),
                v6: tail.addresses,
            },
        }
    }
}

/// How much a flow is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// A packet came since the last look, or it has not been looked at often enough.
    Young,
    /// No packet since the last look but one.
    Idle,
}

impl Flows {
    /// Room for so many flows, and for half as many that need a tail.
    pub fn new(capacity: usize) -> Result<Self, OsError> {
        Ok(Flows {
            heads: Region::named("cached flows", capacity)?,
            tails: Region::named("long keys of cached flows", capacity / 2)?,
            free_heads: Free::default(),
            free_tails: Free::default(),
        })
    }

    /// Most flows.
    pub fn capacity(&self) -> usize {
        self.heads.len()
    }

    pub fn len(&self) -> usize {
        self.free_heads.used as usize
    }

    /// Bytes that have been used so far.
    pub fn memory(&self) -> usize {
        self.free_heads.fresh as usize * size_of::<Head>()
            + self.free_tails.fresh as usize * size_of::<Tail>()
    }

    /// True if the flow of a key is at a place.
    #[inline]
    pub fn is(&self, place: u32, key: &ExactKey) -> bool {
        let Some(head) = self.heads.get(place as usize) else {
            return false;
        };
        let front = head.key.iter().zip(key.front());
        let differ = front.fold(0, |d, (a, b)| d | (a ^ b));
        if differ != 0 || head.link.0 == 0 {
            return false;
        }
        let rest = key.rest();
        // Keys of one shape are of one length, and their shape is in front.
        rest.is_empty()
            || self
                .tail(head)
                .is_some_and(|tail| tail.key[..rest.len()] == *rest)
    }

    /// The program of the flow at a place if it has that key; notes that a packet came.
    #[inline]
    pub fn seek(&mut self, place: u32, key: &ExactKey) -> Option<ProgramId> {
        if !self.is(place, key) {
            return None;
        }
        self.touch(place)
    }

    #[inline]
    pub fn program(&self, place: u32) -> Option<ProgramId> {
        self.heads.get(place as usize)?.link.program()
    }

    /// A flow's program and what it has of its own.
    #[inline]
    pub fn get(&self, place: u32) -> Option<(ProgramId, Bound<'_>)> {
        let head = self.heads.get(place as usize)?;
        let tail = self.tail(head);
        Some((head.link.program()?, Bound { head, tail }))
    }

    /// Notes that a packet came, and says which program it has.
    #[inline]
    pub fn touch(&mut self, place: u32) -> Option<ProgramId> {
        let head = self.heads.get_mut(place as usize)?;
        if !head.link.has(Link::SEEN) {
            head.link.0 |= Link::SEEN;
        }
        head.link.program()
    }

    #[inline]
    pub fn prefetch(&self, place: u32) {
        self.heads.prefetch(place as usize, 0);
    }

    /// Asks for the second place of a flow, if it has one.
    #[inline]
    pub fn prefetch_tail(&self, place: u32) {
        if let Some(head) = self.heads.get(place as usize)
            && let Some(tail) = self.tail(head)
        {
            prefetch(&tail.key);
            prefetch(&tail.addresses);
        }
    }

    /// True if packets came since the last look.
    pub fn is_seen(&self, place: u32) -> bool {
        let head = self.heads.get(place as usize);
        head.is_some_and(|head| head.link.has(Link::SEEN))
    }

    /// Says how much a flow was used, and begins to watch anew.
    pub fn look(&mut self, place: u32) -> Age {
        let Some(head) = self.heads.get_mut(place as usize) else {
            return Age::Idle;
        };
        let (seen, aged) = (head.link.has(Link::SEEN), head.link.has(Link::AGED));
        head.link.0 &= !(Link::SEEN | Link::AGED);
        if !seen {
            head.link.0 |= Link::AGED;
        }
        match !seen && aged {
            true => Age::Idle,
            false => Age::Young,
        }
    }

    /// Gives a new flow a place. None if there is no room for it.
    pub fn add(&mut self, key: &ExactKey, program: ProgramId, binding: &Binding) -> Option<u32> {
        let heads = &mut self.heads;
        let next = |place: u32| heads[place as usize].key[0] as u32;
        let place = self.free_heads.take(heads.len(), next)?;
        if self.set(place, key, program, binding) {
            return Some(place);
        }
        self.give_back(place);
        None
    }

    /// Takes a flow away; says which program it had.
    pub fn remove(&mut self, place: u32) -> Option<ProgramId> {
        let program = self.program(place)?;
        self.drop_tail(place);
        self.give_back(place);
        Some(program)
    }

    /// Gives a flow another program. False if there is no room for what it has of its own; it is
    /// to be removed then.
    pub fn replace(
        &mut self,
        place: u32,
        key: &ExactKey,
        program: ProgramId,
        binding: &Binding,
    ) -> bool {
        self.drop_tail(place);
        self.set(place, key, program, binding)
    }

    /// Forgets all flows.
    pub fn clear(&mut self) {
        for head in self.heads.iter_mut().take(self.free_heads.fresh as usize) {
            head.link = Link(0);
        }
        self.free_heads = Free::default();
        self.free_tails = Free::default();
    }

    fn set(&mut self, place: u32, key: &ExactKey, program: ProgramId, binding: &Binding) -> bool {
        let Binding { conns, operands } = binding;
        let given = &operands.given;
        let v4 = [given.src, given.dst];
        let v6 = operands.v6 != [[0; 16]; 2];
        let has_tail = !key.rest().is_empty() || conns.len() > 1 || v6;
        let mut addresses = v4;
        if has_tail {
            if conns.len() > CONNS || (v6 && v4 != [[0; 4]; 2]) {
                return false;
            }
            let tails = &mut self.tails;
            let next = |place: u32| tails[place as usize].key[0] as u32;
            let Some(at) = self.free_tails.take(tails.len(), next) else {
                return false;
            };
            let tail = &mut self.tails[at as usize];
            tail.key = [0; WORDS - FRONT];
            tail.key[..key.rest().len()].copy_from_slice(key.rest());
            tail.addresses = operands.v6;
            if !v6 {
                for (wide, narrow) in tail.addresses.iter_mut().zip(v4) {
                    wide[..4].copy_from_slice(&narrow);
                }
            }
            tail.conns = [ConnRef::default(); CONNS];
            tail.conns[..conns.len()].copy_from_slice(conns);
            addresses = [at.to_ne_bytes(), [0; 4]];
        }
        self.heads[place as usize] = Head {
            key: *key.front(),
            conn: conns.first().copied().unwrap_or_default(),
            addresses,
            ports: [given.src_port, given.dst_port],
            link: Link::new(program, has_tail),
        };
        true
    }

    #[inline]
    fn tail(&self, head: &Head) -> Option<&Tail> {
        if !head.link.has(Link::TAIL) {
            return None;
        }
        let [place, _] = head.addresses.map(u32::from_ne_bytes);
        self.tails.get(place as usize)
    }

    fn drop_tail(&mut self, place: u32) {
        let head = &mut self.heads[place as usize];
        if head.link.has(Link::TAIL) {
            let [tail, _] = head.addresses.map(u32::from_ne_bytes);
            self.tails[tail as usize].key[0] = self.free_tails.give(tail).into();
        }
        head.link.0 &= !Link::TAIL;
    }

    fn give_back(&mut self, place: u32) {
        let head = &mut self.heads[place as usize];
        head.link = Link(0);
        head.key[0] = self.free_heads.give(place).into();
    }
}

/// Free places of an array: those never used, and a list through those that were given back.
#[derive(Default)]
struct Free {
    /// Places from here on were never used.
    fresh: u32,
    /// One more than the first of the list; 0 if there is none.
    first: u32,
    used: u32,
}

impl Free {
    /// A place below `len`; `next` reads what [`Free::give`] said to write there.
    fn take(&mut self, len: usize, next: impl FnOnce(u32) -> u32) -> Option<u32> {
        let place = match self.first.checked_sub(1) {
            Some(place) => {
                self.first = next(place);
                place
            }
            None if (self.fresh as usize) < len => {
                self.fresh += 1;
                self.fresh - 1
            }
            None => return None,
        };
        self.used += 1;
        Some(place)
    }

    /// Takes a place back; says what is to be written there.
    fn give(&mut self, place: u32) -> u32 {
        self.used -= 1;
        std::mem::replace(&mut self.first, place + 1)
    }
}
