//! Numbers derived from names, so that they are the same after every restart.

use std::collections::{BTreeMap, BTreeSet};

use crate::origin::hash64;

/// Gives each name a number in `first..=last`: its hash, or the next free number where two names
/// hash alike. Names are served in order, so the same set of names always gets the same numbers.
pub fn number<'a>(
    names: impl IntoIterator<Item = &'a str>,
    first: u32,
    last: u32,
    mut taken: BTreeSet<u32>,
) -> BTreeMap<&'a str, u32> {
    let span = u64::from(last - first) + 1;
    let sorted: BTreeSet<&str> = names.into_iter().collect();
    let mut numbers = BTreeMap::new();
    for name in sorted {
        let start = hash64(name.as_bytes()) % span;
        let free = (0..span)
            .map(|step| first + ((start + step) % span) as u32)
            .find(|number| !taken.contains(number));
        // More names than numbers: 2^20 underlay subnets or 2^19 VLANs on one node do not happen.
        if let Some(number) = free {
            taken.insert(number);
            numbers.insert(name, number);
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_stable_distinct_and_avoid_what_is_taken() {
        let names = ["a", "b", "c", "d"];
        let numbers = number(names, 10, 13, BTreeSet::new());
        let distinct: BTreeSet<_> = numbers.values().collect();
        assert_eq!(distinct.len(), 4);
        assert!(numbers.values().all(|n| (10..=13).contains(n)));
        assert_eq!(
            numbers,
            number(["d", "c", "b", "a"], 10, 13, BTreeSet::new())
        );
        let avoiding = number(["a"], 10, 13, BTreeSet::from([numbers["a"]]));
        assert_ne!(avoiding["a"], numbers["a"]);
        assert!(number(["a"], 1, 1, BTreeSet::from([1])).is_empty());
    }
}
