//! Which bytes of a datagram have come.

use smallvec::SmallVec;

/// Most gaps, less one. Fragments that come in order leave none.
const MOST: usize = 32;

/// Bytes that have come: disjoint ranges in order, with a gap between any two.
#[derive(Debug, Default)]
pub(super) struct Ranges(SmallVec<[(u32, u32); 2]>);

/// How a range stands to those that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Nothing of it has come.
    New,
    /// All of it has come.
    Known,
    /// Some of it has come.
    Overlaps,
}

impl Ranges {
    /// How `start..end` would fit in.
    pub fn fit(&self, start: u32, end: u32) -> Fit {
        let met = self.0.iter().find(|(_, until)| *until > start);
        match met {
            Some((from, until)) if *from <= start && end <= *until => Fit::Known,
            Some((from, _)) if *from < end => Fit::Overlaps,
            _ => Fit::New,
        }
    }

    /// Adds a range that is new; false if there are too many gaps for that.
    pub fn add(&mut self, start: u32, end: u32) -> bool {
        let at = self.0.partition_point(|(_, until)| *until < start);
        let full = self.0.len() >= MOST;
        let joins_next = self.0.get(at + 1).is_some_and(|(from, _)| *from == end);
        match self.0.get_mut(at) {
            Some((_, until)) if *until == start => {
                *until = end;
                if joins_next {
                    let (_, last) = self.0.remove(at + 1);
                    if let Some((_, until)) = self.0.get_mut(at) {
                        *until = last;
                    }
                }
                true
            }
            Some((from, _)) if *from == end => {
                *from = start;
                true
            }
            _ if full => false,
            _ => {
                self.0.insert(at, (start, end));
                true
            }
        }
    }

    /// Behind the last byte.
    pub fn end(&self) -> u32 {
        self.0.last().map_or(0, |(_, end)| *end)
    }

    /// True if all bytes up to `total` have come.
    pub fn is_whole(&self, total: u32) -> bool {
        matches!(self.0.as_slice(), [(0, end)] if *end == total)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// As a set of bytes does it.
        #[test]
        fn ranges_are_a_set_of_bytes(pieces in proptest::collection::vec((0u32..64, 1u32..8), 1..60)) {
            let mut ranges = Ranges::default();
            let mut bytes = [false; 80];
            for (start, len) in pieces {
                let end = start + len;
                let piece = start as usize..end as usize;
                let known = bytes[piece.clone()].iter().filter(|known| **known).count();
                let fit = ranges.fit(start, end);
                prop_assert_eq!(fit, match known {
                    0 => Fit::New,
                    all if all == len as usize => {
                        // All of it, but perhaps only in two runs with a border: never, for
                        // runs that touch are joined.
                        Fit::Known
                    }
                    _ => Fit::Overlaps,
                });
                if fit == Fit::New {
                    prop_assert!(ranges.add(start, end));
                    bytes[piece].fill(true);
                }
                let behind = bytes.iter().rposition(|known| *known).map_or(0, |at| at + 1);
                prop_assert_eq!(ranges.end() as usize, behind);
                let whole = bytes[..behind].iter().all(|known| *known);
                prop_assert_eq!(ranges.is_whole(behind as u32), whole && behind > 0);
            }
        }
    }

    #[test]
    fn too_many_gaps_are_refused_and_filling_one_makes_room() {
        let mut ranges = Ranges::default();
        for at in 0..MOST as u32 {
            assert!(ranges.add(at * 16, at * 16 + 8));
        }
        assert!(!ranges.add(9000, 9008));
        assert!(ranges.add(8, 16));
        assert!(ranges.add(9000, 9008));
    }
}
