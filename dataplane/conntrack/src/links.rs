//! Doubly linked lists of places, for those who hold the lock of the pool that the places are of.

use crate::sync::{AtomicU32, shared};
use std::sync::atomic::Ordering::Relaxed;

shared! {
    /// What lists know of a place: 16 bytes. Places in links are counted from 1; 0 is none.
    pub(crate) struct Link {
        /// In the list of free places, or in a slot of the wheel.
        pub(crate) next: AtomicU32,
        pub(crate) previous: AtomicU32,
        /// The tick in whose slot of the wheel it is; 0 if it is in none.
        pub(crate) at: AtomicU32,
        /// The pool that the place is of.
        pub(crate) pool: AtomicU32,
    }
}

/// Both ends of a list.
#[derive(Clone, Copy, Default)]
pub(crate) struct List {
    first: u32,
    last: u32,
}

/// Where a list has its links.
pub(crate) trait Linked {
    /// Next and previous of a place.
    fn links(&self, place: u32) -> Option<[&AtomicU32; 2]>;
}

impl Linked for [Link] {
    fn links(&self, place: u32) -> Option<[&AtomicU32; 2]> {
        let link = self.get(place as usize)?;
        Some([&link.next, &link.previous])
    }
}

impl List {
    /// The place at the front.
    pub(crate) fn first(&self) -> Option<u32> {
        self.first.checked_sub(1)
    }

    /// Adds a place at the front.
    pub(crate) fn push_front(&mut self, links: &(impl Linked + ?Sized), place: u32) {
        let Some([next, previous]) = links.links(place) else {
            return;
        };
        next.store(self.first, Relaxed);
        previous.store(0, Relaxed);
        match self.first().and_then(|first| links.links(first)) {
            Some([_, previous]) => previous.store(place + 1, Relaxed),
            None => self.last = place + 1,
        }
        self.first = place + 1;
    }

    /// Adds a place at the end.
    pub(crate) fn push_back(&mut self, links: &(impl Linked + ?Sized), place: u32) {
        let Some([next, previous]) = links.links(place) else {
            return;
        };
        next.store(0, Relaxed);
        previous.store(self.last, Relaxed);
        match self.last.checked_sub(1).and_then(|last| links.links(last)) {
            Some([next, _]) => next.store(place + 1, Relaxed),
            None => self.first = place + 1,
        }
        self.last = place + 1;
    }

    /// Takes a place out, which must be in this list.
    pub(crate) fn remove(&mut self, links: &(impl Linked + ?Sized), place: u32) {
        let Some([next, previous]) = links.links(place) else {
            return;
        };
        let (next, previous) = (next.load(Relaxed), previous.load(Relaxed));
        match previous.checked_sub(1).and_then(|place| links.links(place)) {
            Some([link, _]) => link.store(next, Relaxed),
            None => self.first = next,
        }
        match next.checked_sub(1).and_then(|place| links.links(place)) {
            Some([_, link]) => link.store(previous, Relaxed),
            None => self.last = previous,
        }
    }

    /// Takes the first place out.
    pub(crate) fn pop_front(&mut self, links: &(impl Linked + ?Sized)) -> Option<u32> {
        let place = self.first()?;
        self.remove(links, place);
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(list: &List, links: &[Link]) -> Vec<u32> {
        let mut places = Vec::new();
        let mut next = list.first();
        while let Some(place) = next {
            places.push(place);
            next = links[place as usize].next.load(Relaxed).checked_sub(1);
        }
        places
    }

    #[test]
    fn places_go_in_at_both_ends_and_out_anywhere() {
        let new = || Link {
            next: AtomicU32::new(9),
            previous: AtomicU32::new(9),
            at: AtomicU32::new(0),
            pool: AtomicU32::new(0),
        };
        let links: Vec<Link> = (0..6).map(|_| new()).collect();
        let links = links.as_slice();
        let mut list = List::default();
        assert_eq!(list.pop_front(links), None);
        for place in [2, 3, 4] {
            list.push_back(links, place);
        }
        list.push_front(links, 1);
        list.push_back(links, 5);
        assert_eq!(contents(&list, links), [1, 2, 3, 4, 5]);
        list.remove(links, 3);
        list.remove(links, 5);
        list.push_back(links, 0);
        assert_eq!(contents(&list, links), [1, 2, 4, 0]);
        assert_eq!(list.pop_front(links), Some(1));
        list.remove(links, 0);
        list.remove(links, 2);
        list.remove(links, 4);
        assert_eq!(contents(&list, links), []);
        list.push_front(links, 3);
        assert_eq!(contents(&list, links), [3]);
        assert_eq!(list.pop_front(links), Some(3));
        assert_eq!(list.first(), None);
    }
}
