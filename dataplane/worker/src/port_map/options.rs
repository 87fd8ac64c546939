//! What a port may have besides its device: a VLAN for OFPP_NORMAL, a rate, and queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_utils::CachePadded;
use net::VlanId;
use ports::{QueueSpec, Shaping};

/// Settings of a port that its device knows nothing of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortOptions {
    /// VLAN that OFPP_NORMAL puts untagged packets of the port into, and leaves untagged on the way
    /// out (an access port); none: the port carries all VLANs, tagged.
    pub vlan: Option<VlanId>,
    /// How fast it sends, and its queues.
    pub shaping: Shaping,
    /// The worker that polls the port spreads its packets over all workers, by flow.
    pub spread: bool,
}

/// The queues of a port.
#[derive(Debug, Default)]
pub struct Queues {
    shaping: Shaping,
    /// By place. In the first one is the queue for packets that chose none: number 0, or, if the port
    /// has no such queue, one that nobody is told of.
    places: Vec<Arc<Queue>>,
    /// The first one is not one of the port's.
    hides_first: bool,
}

/// A queue of a port. Where nothing is shaped, it counts what is sent through it.
#[derive(Debug)]
pub struct Queue {
    /// Its settings; the number is unique on the port.
    pub spec: QueueSpec,
    /// When the port got it, nanoseconds of the workers' clock.
    pub created: u64,
    /// Place among the port's queues.
    pub(crate) place: u8,
    /// Packets wait in it and count when they leave, rather than where they are sent into it.
    pub(crate) is_shaped: bool,
    /// By worker, so that they do not share lines.
    counts: Arc<[CachePadded<Counts>]>,
}

#[derive(Debug, Default)]
struct Counts {
    packets: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
}

impl Queues {
    /// Queues that so many workers send to. What `old` had counted goes on.
    pub(crate) fn new(shaping: &Shaping, workers: usize, now: u64, old: Option<&Queues>) -> Self {
        let is_shaped = shaping.is_shaped();
        let has_zero = shaping.queues.first().is_some_and(|queue| queue.id == 0);
        // Whoever asks for nothing stands behind everyone who does.
        let rest = QueueSpec {
            priority: if shaping.queues.is_empty() { 0 } else { 7 },
            ..QueueSpec::new(0)
        };
        let hidden = (is_shaped && !has_zero).then_some(rest);
        let specs = hidden.iter().chain(&shaping.queues).enumerate();
        let places = specs.map(|(place, spec)| {
            let same = |known: &&Arc<Queue>| known.spec.id == spec.id;
            let known = old.and_then(|old| old.places.iter().find(same));
            Arc::new(Queue {
                spec: *spec,
                created: known.map_or(now, |known| known.created),
                place: place as u8,
                is_shaped,
                counts: match known {
                    Some(known) => known.counts.clone(),
                    None => (0..workers).map(|_| CachePadded::default()).collect(),
                },
            })
        });
        Queues {
            places: places.collect(),
            hides_first: hidden.is_some(),
            shaping: shaping.clone(),
        }
    }

    /// As asked for.
    pub fn shaping(&self) -> &Shaping {
        &self.shaping
    }

    /// The port's queues, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Queue>> {
        self.places.iter().skip(usize::from(self.hides_first))
    }

    /// All places; there is at least one if packets may have to wait.
    pub(crate) fn places(&self) -> &[Arc<Queue>] {
        &self.places
    }

    /// The queue that a packet is to go through that asked for this number: another one if there is
    /// none of that number. None if it makes no difference.
    pub(crate) fn choose(&self, id: u32) -> Option<&Arc<Queue>> {
        let find = |id| self.iter().find(|queue| queue.spec.id == id);
        match &*self.places {
            // A packet that says nothing is in the only queue already.
            [only] if only.is_shaped => None,
            [first, ..] if first.is_shaped => find(id).or(Some(first)),
            _ => find(id).or_else(|| find(0)),
        }
    }
}

impl Queue {
    /// Counts packets that a worker sends; only that worker calls this.
    #[inline]
    pub(crate) fn count(&self, worker: usize, packets: u64, bytes: u64) {
        if let Some(counts) = self.counts.get(worker) {
            add(&counts.packets, packets);
            add(&counts.bytes, bytes);
        }
    }

    /// Counts packets that a worker had no room for, likewise.
    #[inline]
    pub(crate) fn count_drop(&self, worker: usize, packets: u64) {
        if let Some(counts) = self.counts.get(worker) {
            add(&counts.dropped, packets);
        }
    }

    /// Packets and bytes sent so far. A frame that is to be split counts as its pieces.
    pub fn sent(&self) -> (u64, u64) {
        (self.sum(|c| &c.packets), self.sum(|c| &c.bytes))
    }

    /// Packets dropped because too many waited, or for too long.
    pub fn dropped(&self) -> u64 {
        self.sum(|c| &c.dropped)
    }

    fn sum(&self, of: fn(&Counts) -> &AtomicU64) -> u64 {
        self.counts
            .iter()
            .map(|counts| of(counts).load(Relaxed))
            .sum()
    }
}

/// A load and a store, no locked cycle: there is one writer.
#[inline]
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(text: &str, old: Option<&Queues>) -> Queues {
        Queues::new(&text.parse().unwrap(), 2, 7, old)
    }

    #[test]
    fn packets_are_in_the_queue_that_they_ask_for_or_in_the_first() {
        let place = |queues: &Queues, id| queues.choose(id).map(|q| (q.place, q.spec.id));
        let counting = queues("queues=1+5", None);
        assert_eq!(place(&counting, 5), Some((1, 5)));
        assert_eq!(place(&counting, 0), None);
        assert_eq!(counting.iter().count(), 2);
        let shaped = queues("rate=1g,queues=1+5", None);
        assert_eq!(place(&shaped, 5), Some((2, 5)));
        assert_eq!(place(&shaped, 9), Some((0, 0)));
        assert_eq!(shaped.iter().count(), 2);
        let with_zero = queues("rate=1g,queues=0+5", None);
        assert_eq!(place(&with_zero, 9), Some((0, 0)));
        assert_eq!(place(&queues("rate=1g", None), 9), None);
        assert_eq!(queues("rate=1g", None).iter().count(), 0);
    }

    #[test]
    fn counts_go_on_when_the_settings_change() {
        let old = queues("queues=1+5", None);
        old.places[1].count(1, 2, 300);
        old.places[1].count_drop(0, 4);
        let new = queues("rate=1g,queues=0+5:prio=1", Some(&old));
        let five = new.iter().find(|q| q.spec.id == 5).unwrap();
        assert_eq!((five.sent(), five.dropped()), ((2, 300), 4));
    }
}
