//! A timing wheel: places in slots by the tick in which their connections are to be looked at.
//!
//! Deadlines move with every packet; the wheel does not. What is due is looked at, and queued again
//! if its deadline has moved on meanwhile. Deadlines beyond the wheel's turn are looked at once
//! per turn. Only a deadline that comes closer has to be moved at once.

use std::sync::atomic::Ordering::Relaxed;

use crate::links::{Link, List};

/// Slots; 256 seconds of ticks.
const SLOTS: u32 = 1024;

/// For those who hold the lock of the pool.
pub(crate) struct Wheel {
    slots: Box<[List]>,
    /// The tick whose slot is being emptied; all before have been.
    tick: u32,
    queued: u32,
}

/// What is to be done with a place that is due.
pub(crate) enum Due {
    /// Its connection has until this tick.
    Later(u32),
    /// Take it out.
    Over,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Wheel {
            slots: vec![List::default(); SLOTS as usize].into(),
            tick: 0,
            queued: 0,
        }
    }

    /// Queues a place that is in no slot, to be looked at by `deadline`.
    pub(crate) fn add(&mut self, links: &[Link], place: u32, deadline: u32) {
        let at = deadline.clamp(
            self.tick.saturating_add(1),
            self.tick.saturating_add(SLOTS - 1),
        );
        let (Some(slot), Some(link)) = (
            self.slots.get_mut((at % SLOTS) as usize),
            links.get(place as usize),
        ) else {
            return;
        };
        slot.push_front(links, place);
        link.at.store(at, Relaxed);
        self.queued += 1;
    }

    /// Takes a place out, if it is queued.
    pub(crate) fn remove(&mut self, links: &[Link], place: u32) {
        let Some(link) = links.get(place as usize) else {
            return;
        };
        let at = link.at.load(Relaxed);
        let slot = self.slots.get_mut((at % SLOTS) as usize);
        if let Some(slot) = slot.filter(|_| at != 0) {
            slot.remove(links, place);
            link.at.store(0, Relaxed);
            self.queued -= 1;
        }
    }

    /// Looks at what is due by `tick`, at most `places`; returns at how many.
    pub(crate) fn turn(
        &mut self,
        links: &[Link],
        tick: u32,
        places: u32,
        mut look: impl FnMut(u32) -> Due,
    ) -> u32 {
        if self.queued == 0 {
            self.tick = self.tick.max(tick);
            return 0;
        }
        // One turn passes every slot.
        self.tick = self.tick.max(tick.saturating_sub(SLOTS));
        let mut looked = 0;
        loop {
            while looked < places
                && let Some(place) = self
                    .slots
                    .get((self.tick % SLOTS) as usize)
                    .and_then(List::first)
            {
                looked += 1;
                self.remove(links, place);
                if let Due::Later(deadline) = look(place) {
                    self.add(links, place, deadline);
                }
            }
            if looked == places || self.tick >= tick {
                return looked;
            }
            self.tick += 1;
        }
    }

    /// True if nothing is due by `tick`.
    pub(crate) fn is_idle(&self, tick: u32) -> bool {
        let slot = self.slots.get((self.tick % SLOTS) as usize);
        self.queued == 0 || (self.tick >= tick && slot.is_none_or(|slot| slot.first().is_none()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::AtomicU32;
    use std::collections::BTreeMap;

    fn links(count: u32) -> Vec<Link> {
        let zero = || AtomicU32::new(0);
        let link = |_| Link {
            next: zero(),
            previous: zero(),
            at: zero(),
            pool: zero(),
        };
        (0..count).map(link).collect()
    }

    #[test]
    fn everything_is_found_over_in_its_tick_whether_near_far_moved_or_late() {
        let links = links(200);
        let mut wheel = Wheel::new();
        let mut deadlines: BTreeMap<u32, u32> = BTreeMap::new();
        wheel.turn(&links, 5000, 1, |_| Due::Over);
        for place in 0..200 {
            let deadline = 5001 + place * place;
            deadlines.insert(place, deadline);
            wheel.add(&links, place, deadline);
        }
        // Half of them are put off, one is taken out.
        for (place, deadline) in &mut deadlines {
            *deadline += place % 2 * 777;
        }
        wheel.remove(&links, 7);
        wheel.remove(&links, 7);
        deadlines.remove(&7);
        for tick in 5001..50_000 {
            // Nobody came for a while.
            if (9000..12_000).contains(&tick) {
                continue;
            }
            let looked = wheel.turn(&links, tick, u32::MAX, |place| match deadlines[&place] {
                deadline if deadline > tick => Due::Later(deadline),
                _ => {
                    deadlines.remove(&place);
                    Due::Over
                }
            });
            assert!(looked <= 200);
            assert!(
                deadlines.values().all(|deadline| *deadline > tick),
                "{tick}"
            );
            assert!(wheel.is_idle(tick));
        }
        assert_eq!((deadlines.len(), wheel.queued), (0, 0));
    }

    #[test]
    fn no_call_looks_at_more_than_it_may_and_the_rest_waits_for_the_next() {
        let links = links(100);
        let mut wheel = Wheel::new();
        for place in 0..100 {
            wheel.add(&links, place, 10);
        }
        let mut over = 0;
        for _ in 0..10 {
            assert!(!wheel.is_idle(20));
            let looked = wheel.turn(&links, 20, 10, |_| {
                over += 1;
                Due::Over
            });
            assert_eq!(looked, 10);
        }
        assert_eq!(over, 100);
        assert_eq!(wheel.turn(&links, 20, 10, |_| Due::Over), 0);
    }
}
