//! What a packet does to the switch, besides being sent: it makes flows and shortens their lives.
//!
//! A program says what its packets do; it is done for each of them, cached or not, before anything
//! happens to the packet. The tables have one writer, which is not here: what must be written is
//! asked for, and only when it is not there yet.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use net::parse::Layout;
use net::tcp::{TcpInfo, flags};
use tables::{Learned, Pipeline, Rule};

use crate::program::ByAddress;
use crate::requests::Request;
use crate::shared::Shared;
use crate::{Counter, Counters};

/// How long a learned flow counts as fresh, in nanoseconds: timeouts are whole seconds.
const FRESH: u64 = 100_000_000;
/// How long the writer is given before it is asked again, in nanoseconds.
const PATIENCE: u64 = 10_000_000;

/// Something that every packet of a program does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Effect {
    /// Makes a flow, or makes it live longer.
    Learn(Learn),
    /// Shortens a flow's timeouts if the packet ends its connection.
    FinTimeout {
        rule: ByAddress<Rule>,
        idle: u16,
        hard: u16,
    },
    /// Would be sampled, were there a collector.
    Sample,
}

/// A flow to be made, and when it was last seen to.
#[derive(Debug)]
pub(crate) struct Learn {
    wanted: Arc<Learned>,
    /// Generation of its table then.
    seen: AtomicU64,
    /// Nothing is to be done before this time while the table is as it was.
    next: AtomicU64,
}

impl Clone for Learn {
    fn clone(&self) -> Self {
        Learn {
            wanted: self.wanted.clone(),
            seen: AtomicU64::new(u64::MAX),
            next: AtomicU64::new(0),
        }
    }
}

impl PartialEq for Learn {
    fn eq(&self, other: &Self) -> bool {
        self.wanted == other.wanted
    }
}

impl Eq for Learn {}

impl Hash for Learn {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.wanted.hash(state);
    }
}

impl Learn {
    /// Not seen to yet.
    pub fn new(wanted: Learned) -> Self {
        Learn {
            wanted: Arc::new(wanted),
            seen: AtomicU64::new(u64::MAX),
            next: AtomicU64::new(0),
        }
    }

    #[inline]
    fn run(&self, pipeline: &Pipeline, shared: &Shared, counters: &Counters, now: u64) {
        let generation = pipeline.table_generation(self.wanted.table());
        if self.seen.load(Relaxed) == generation && now < self.next.load(Relaxed) {
            return;
        }
        self.seen.store(generation, Relaxed);
        if let Some(rule) = pipeline.learned(&self.wanted) {
            rule.begin_again(now);
            self.next.store(now + FRESH, Relaxed);
            return;
        }
        let asked = shared.requests.push(Request::Learn(self.wanted.clone()));
        counters.add(
            match asked {
                true => Counter::LearnRequests,
                false => Counter::LearnOverflows,
            },
            1,
        );
        self.next.store(now + PATIENCE, Relaxed);
    }
}

/// Runs the effects of a program for one packet.
pub(crate) fn run(
    effects: &[Effect],
    pipeline: &Pipeline,
    (shared, worker): (&Shared, usize),
    (head, layout): (&[u8], &Layout),
    now: u64,
) {
    let counters = shared.counters(worker);
    for effect in effects {
        match effect {
            Effect::Learn(learn) => learn.run(pipeline, shared, counters, now),
            Effect::FinTimeout { rule, idle, hard } => {
                let ends = |tcp: TcpInfo| tcp.has(flags::FIN | flags::RST);
                if TcpInfo::read(head, layout).is_some_and(ends)
                    && rule.0.would_shorten(*idle, *hard)
                {
                    shared.requests.push(Request::Shorten {
                        rule: rule.0.clone(),
                        idle: *idle,
                        hard: *hard,
                    });
                }
            }
            Effect::Sample => counters.add(Counter::Sampled, 1),
        }
    }
}
