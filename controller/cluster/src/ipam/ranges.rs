//! A set of numbers kept as ranges: what a pool must not hand out.

use std::net::IpAddr;

use crate::addr::{Family, bits};

/// Inclusive ranges, sorted, neither overlapping nor touching.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RangeSet(Vec<(u128, u128)>);

impl RangeSet {
    /// From ranges in any order.
    pub(crate) fn new(mut ranges: Vec<(u128, u128)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last);
                }
                _ => merged.push((first, last)),
            }
        }
        RangeSet(merged)
    }

    /// The last number of the range that has `value` in it.
    pub(crate) fn end_of(&self, value: u128) -> Option<u128> {
        let after = self.0.partition_point(|&(first, _)| first <= value);
        let &(_, last) = self.0.get(after.checked_sub(1)?)?;
        (value <= last).then_some(last)
    }

    /// How many numbers from `first` to `last` are not in the set.
    pub(crate) fn gaps(&self, first: u128, last: u128) -> u128 {
        let inside = self.0.iter().map(|&(from, to)| {
            let (from, to) = (from.max(first), to.min(last));
            if from <= to { to - from + 1 } else { 0 }
        });
        let all = (last - first).saturating_add(1);
        all.saturating_sub(inside.fold(0, u128::saturating_add))
    }

    /// True if `value` is in the set.
    pub(crate) fn contains(&self, value: u128) -> bool {
        self.end_of(value).is_some()
    }
}

/// Reads an entry of `excludeIps`: an address, or `first..last`.
pub(crate) fn parse_range(text: &str) -> Result<(Family, u128, u128), String> {
    let one = |text: &str| -> Result<IpAddr, String> {
        text.trim()
            .parse()
            .map_err(|_| format!("{:?} is not an address", text.trim()))
    };
    let (first, last) = match text.split_once("..") {
        Some((first, last)) => (one(first)?, one(last)?),
        None => {
            let address = one(text)?;
            (address, address)
        }
    };
    if Family::of(first) != Family::of(last) {
        return Err(format!("{first} and {last} are of different families"));
    }
    if first > last {
        return Err(format!(
            "the range ends at {last}, before it begins at {first}"
        ));
    }
    Ok((Family::of(first), bits(first), bits(last)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_exclusion_is_an_address_or_a_range() {
        assert_eq!(parse_range("0.0.0.7"), Ok((Family::V4, 7, 7)));
        assert_eq!(parse_range(" ::5..::9 "), Ok((Family::V6, 5, 9)));
        for (bad, why) in [
            ("10.0.0", "is not an address"),
            ("10.0.0.1..", "is not an address"),
            ("10.0.0.9..10.0.0.1", "before it begins"),
            ("10.0.0.1..::1", "different families"),
            ("10.0.0.0/24", "is not an address"),
        ] {
            assert!(parse_range(bad).unwrap_err().contains(why), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_set_of_ranges_contains_what_its_ranges_contain(
            ranges in proptest::collection::vec((0u128..60, 0u128..8), 0..10),
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(first, len)| (first, first + len)).collect();
            let set = RangeSet::new(ranges.clone());
            for value in 0..80 {
                let wanted = ranges.iter().any(|&(first, last)| (first..=last).contains(&value));
                prop_assert_eq!(set.contains(value), wanted);
                if let Some(end) = set.end_of(value) {
                    prop_assert!(!set.contains(end + 1));
                }
            }
        }
    }
}
